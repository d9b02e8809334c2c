"""Objects in actors of a Ray cluster, as ``processes`` holds them in processes of this machine.

An actor is started once, does one command at a time, and is not started again by Ray: whoever hands out work
starts another one, which is made anew. Every actor tells what decides last bits (versions, the kind of
processor) before it is made: one that would round otherwise is refused. https://docs.ray.io
"""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from rlrnn.common.processes import plain, sendable
from rlrnn.common.texts import tell
from rlrnn.errors import GAME_ERRORS, EnvironmentFault, MissingExtraError, UserError

DECISIVE = ("rlrnn", "torch", "numpy", "numba")  # packages whose versions decide last bits
_PATIENCE = 10.0  # seconds for a cluster to be reached, and for all objects together to close
_SILENCE = 60.0  # seconds without any answer until that is said, once
_CLIENT_PORT, _PORT = 10001, 6379  # Ray's own defaults


def connect(on: str) -> None:
    """Join the cluster that "ray", "ray:ADDRESS" or "ray://HOST:PORT" names; one that is joined is kept.

    "ray" is the cluster that this program has joined already, or that of RAY_ADDRESS, else a new one of this
    machine's cores; "ray:auto" the one that runs on this machine.
    """
    ray = _ray()
    if ray.is_initialized():
        return
    begun = None if "RAY_ADDRESS" in os.environ else "local"
    address = on if on.startswith("ray://") else on.partition(":")[2] or begun
    if (on != "ray" and not on.startswith("ray:")) or on == "ray:":
        raise UserError(f"on is {on!r}, but takes 'ray', 'ray:ADDRESS' or 'ray://HOST:PORT'.")
    if address is not None and address not in ("auto", "local"):
        _check_reached(on, address)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        more = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL", **more)
    except Exception as error:
        raise EnvironmentFault(
            f"the Ray cluster of {on!r} could not be joined ({_first_line(error)}): look at `ray status` "
            "there, or take --on ray for this machine's cores."
        ) from error
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)  # Ray ends the program there and then
    # Of each worker that dies it prints a page, of which a line is told here; there is no setting for that.
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _check_reached(on: str, address: str) -> None:
    """Ray itself tries for minutes."""
    client = address.startswith("ray://")
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    host, port = (host, port) if host else (port, str(_CLIENT_PORT if client else _PORT))
    if not port.isdecimal():
        raise UserError(f"on is {on!r}, but {port!r} is no port: write HOST:PORT, such as 10.0.0.1:{_PORT}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise EnvironmentFault(
            f"no Ray cluster answers at {host}:{port} ({error}): start one with `ray start --head` there, "
            "check the address and the firewall, or take --on ray for this machine's cores."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}".removesuffix(": ").removesuffix(".")


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what comes later
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            f"Ray is missing ({error}): install it here and on all nodes with pip install 'rlrnn[ray]'."
        ) from error
    return ray


def cpus() -> int:
    """Of the whole cluster that was joined."""
    return max(1, int(_ray().cluster_resources().get("CPU", 0)))


def facts() -> dict[str, str]:
    """What decides last bits of what is computed here, by its name."""
    from rlrnn.common import processor

    found = {name: _version(name) for name in DECISIVE}
    return {**found, "processor": processor.kind()}


def _version(package: str) -> str:
    if package == "rlrnn":
        import rlrnn

        return rlrnn.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def check_alike(there: dict[str, str], node: str) -> None:
    """Refuse a node whose numbers would be others than here."""
    here = facts()
    for name, version in here.items():
        if there.get(name) == version:
            continue
        if name == "processor":
            raise EnvironmentFault(
                f"the processor of node {node} computes other last bits ({there.get(name)}) than this one "
                f"({version}), so that the result would depend on who plays what: use nodes of one kind, or "
                "set ATEN_CPU_CAPABILITY, OPENBLAS_CORETYPE and NUMBA_CPU_NAME alike on all of them."
            )
        raise EnvironmentFault(
            f"node {node} has {name} {there.get(name)}, but here it is {version}: install the same there."
        )


class Actors:
    """Actors of the cluster that was joined, all with the same object: a ``Pool``."""

    def __init__(self, maker: Callable[[], Any], name: str, holds: str) -> None:
        self._ray = _ray()
        self._payload = self._ray.put(pickle.dumps((sys.path, sendable(maker, name))))
        self.holds = holds  # with {} for a worker's place
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(_Actor)
        self._warned = False

    def start(self, place: int) -> ActorWorker:
        """As ``Pool.start``."""
        return ActorWorker(self._actor.remote(), self._payload, self.holds.format(place))

    def wait(self, workers: Sequence[ActorWorker]) -> None:
        """As ``Pool.wait``."""
        waiting = {worker.reference: worker for worker in workers}
        until = time.monotonic() + _SILENCE
        while True:
            ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=1.0)
            if ready:
                break
            if time.monotonic() > until and not self._warned:
                self._warned = True
                free = int(self._ray.available_resources().get("CPU", 0))
                words = f"no worker of the Ray cluster has answered for {_SILENCE:.0f} s: {free} of its"
                tell(f"rlrnn: {words} {cpus()} CPUs are free. Ctrl-C stops.", file=sys.stderr)
        for reference in ready:
            waiting[reference].take()

    def end(self, workers: Sequence[ActorWorker]) -> None:
        """As ``Pool.end``."""
        left = [worker for worker in workers if not worker.ended]
        closing = [worker.actor.close.remote() for worker in left if not (worker.died or worker.starting)]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=_PATIENCE)
        for worker in left:
            self._ray.kill(worker.actor)
            worker.ended = True

    def lost(self, worker: ActorWorker) -> str:
        """As ``Pool.lost``."""
        return f"The worker with {worker.holds} ended {worker.died}"


class ActorWorker:
    """The end here of an actor; ``holds`` says what it does, for errors."""

    died = ""  # why, where it did before it had answered
    pid = 0  # on its node, once it is made

    def __init__(self, actor: Any, payload: Any, holds: str) -> None:
        self.actor, self.holds = actor, holds
        self.starting, self.ended = True, False
        self._told: tuple[bool, Any] = (True, None)
        self.reference: Any = actor.make.remote(payload)  # of the answer under way

    @property
    def pending(self) -> bool:
        """Whether the last command has not been answered yet."""
        return self.reference is not None

    def send(self, verb: str, *arguments: Any) -> None:
        """Send a command."""
        self.reference = self.actor.do.remote(verb, *arguments)

    def answer(self) -> tuple[bool, Any]:
        """(True, the answer to the last command) or (False, the error), once it has come."""
        return self._told

    def take(self) -> None:
        """Take the answer that has come."""
        from ray import exceptions, get

        reference, self.reference = self.reference, None
        try:
            told = pickle.loads(get(reference))
            self._told = told[-2:]
            if self.starting:
                self.starting, self.pid = False, told[2]
                check_alike(*told[:2])
        except UserError as error:
            self._told = False, error
        except exceptions.RayTaskError as error:
            self._told = False, self._fault(error)
        except exceptions.RayError as error:  # the actor, its node, or what it had answered is gone
            if self.starting and "No module named" in str(error):
                self._told = False, self._fault(error)
            else:
                self.died = "as its process or its node died"
                self._told = False, EnvironmentFault(f"The worker with {self.holds} ended {self.died}.")

    def _fault(self, error: Exception) -> EnvironmentFault:
        if "No module named 'rlrnn" in str(error):
            return EnvironmentFault(
                "a node of the Ray cluster has no rlrnn: install the same version there as here, with pip "
                f"install 'rlrnn[ray]=={_version('rlrnn')}'."
            )
        lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        return EnvironmentFault(
            f"A node of the Ray cluster cannot do its work: {lines[-1] if lines else error}"
        )


class _Actor:
    """In the cluster: an object of which commands are asked."""

    def make(self, payload: bytes) -> bytes:
        """Make the object: what decides last bits there, node, process, and (True, None) or the error."""
        told: tuple[bool, Any] = True, None
        paths, maker = pickle.loads(payload)
        sys.path += [path for path in paths if path not in sys.path and os.path.isdir(path)]
        try:
            self.instance = cloudpickle.loads(maker)()
        except GAME_ERRORS as error:
            told = False, plain(error)
        return pickle.dumps((facts(), platform.node(), os.getpid(), *told))

    def do(self, verb: str, *arguments: Any) -> bytes:
        """What the object answers, or its error."""
        try:
            return bytes(cloudpickle.dumps((True, getattr(self.instance, verb)(*arguments))))
        except GAME_ERRORS as error:
            return pickle.dumps((False, plain(error)))

    def close(self) -> None:
        """Close the object."""
        self.instance.close()
