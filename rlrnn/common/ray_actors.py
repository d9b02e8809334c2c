"""Objects in actors of a Ray cluster, as ``processes`` holds them in processes of this machine.

An actor is started once, does one command at a time, and is not started again by Ray: whoever hands out work
starts another one, which is made anew. Every actor tells what decides last bits (versions, the kind of
processor) before it is made: one that would round otherwise is refused. https://docs.ray.io
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rlrnn.common.messages import Holder, packed, read_answer, sendable
from rlrnn.common.texts import tell
from rlrnn.errors import EnvironmentFault, MissingExtraError, UserError

DECISIVE = ("rlrnn", "torch", "numpy", "numba")  # packages whose versions decide last bits
_PATIENCE = 10.0  # seconds for a cluster to be reached, and for all objects together to close
_SILENCE = 60.0  # seconds without any answer until that is said, once
_CLIENT_PORT, _PORT = 10001, 6379  # Ray's own defaults
_LOOK, _HEADLESS = 5.0, 20.0  # seconds between two looks for the cluster's head, and until it counts as dead


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
    check_name(on)
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


def check_name(on: str) -> None:
    """Refuse what names no cluster, also where none would be asked."""
    if (on != "ray" and not on.startswith("ray:")) or on == "ray:":
        raise UserError(f"on is {on!r}, but takes 'ray', 'ray:ADDRESS' or 'ray://HOST:PORT'.")


def _check_reached(on: str, address: str) -> None:
    """Ray itself tries for minutes."""
    host, port = _host_and_port(address)
    if not port.isdecimal():
        raise UserError(f"on is {on!r}, but {port!r} is no port: write HOST:PORT, such as 10.0.0.1:{_PORT}.")
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise EnvironmentFault(
            f"no Ray cluster answers at {host}:{port} ({error}): start one with `ray start --head` there, "
            "check the address and the firewall, or take --on ray for this machine's cores."
        ) from error


def _host_and_port(address: str) -> tuple[str, str]:
    client = address.startswith("ray://")
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    host, port = (host, port) if host else (port, str(_CLIENT_PORT if client else _PORT))
    return host.strip("[]"), port


class Head:
    """The head of a cluster, without which Ray ends this program after a minute, and nothing is saved.

    One that cannot be reached from here from the beginning on, as by Ray's client, is not watched.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._looked = time.monotonic()
        self._silent: float | None = None  # since when
        self._watched = self.answers()

    def check(self) -> None:
        """From time to time look whether it answers; one that is dead is an ``EnvironmentFault``."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        if not self.is_gone():
            self._silent = None
        elif self._silent is None:
            self._silent = now
        elif now - self._silent >= _HEADLESS:
            raise EnvironmentFault(
                f"the head of the Ray cluster at {self.address} does not answer any more: start another one, "
                "and go on there."
            )

    def is_gone(self) -> bool:
        """Whether it answered once, and does not now."""
        return self._watched and not self.answers()

    def answers(self) -> bool:
        """Whether it takes a connection."""
        host, port = _host_and_port(self.address)
        try:
            socket.create_connection((host, int(port)), _LOOK).close()
        except (OSError, ValueError):
            return False
        return True


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
    """Actors of the cluster that was joined: a ``Pool``.

    ``keeps`` says whether each has a CPU of the cluster for itself. One that has not needs a free one only to
    be placed, so that those who wait for each other never wait for CPUs, however few are left.
    """

    here = False

    def __init__(
        self, makers: Sequence[Callable[[], Any]], name: str, holds: Sequence[str], keeps: bool = True
    ) -> None:
        self._ray = _ray()
        once = {id(maker): sendable(maker, name) for maker in makers}
        # By place. They are kept here, and not on a node, which may die.
        self._payloads, self.holds = [(sys.path, once[id(maker)]) for maker in makers], holds
        how: dict[str, Any] = {"num_cpus": 1} if keeps else {}
        self._actor = self._ray.remote(max_restarts=0, scheduling_strategy="SPREAD", **how)(_Actor)
        self._head = Head(self._ray.get_runtime_context().gcs_address)
        self._warned = False

    def start(self, place: int) -> ActorWorker:
        """As ``Pool.start``."""
        return ActorWorker(self._actor.remote(), self._payloads[place], self.holds[place])

    def wait(self, workers: Sequence[ActorWorker]) -> None:
        """As ``Pool.wait``."""
        self._wait(workers, 1)

    def wait_all(self, workers: Sequence[ActorWorker]) -> None:
        """As ``Pool.wait_all``."""
        pending = [worker for worker in workers if worker.pending]
        if pending:
            self._wait(pending, len(pending))

    def _wait(self, workers: Sequence[ActorWorker], count: int) -> None:
        """Until so many have answered."""
        waiting = {worker.reference: worker for worker in workers}
        until = time.monotonic() + _SILENCE
        while True:
            self._head.check()
            try:
                ready, _ = self._ray.wait(list(waiting), num_returns=count, timeout=1.0)
            except Exception as error:  # as of Ray's client, which the head has left
                raise EnvironmentFault(
                    f"the Ray cluster does not answer any more ({_first_line(error)}): start another one, "
                    "and go on there."
                ) from error
            if len(ready) >= count:
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
        if not left or not self._ray.is_initialized() or self._head.is_gone():
            return  # they end with their cluster
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

    def __init__(self, actor: Any, payload: tuple[list[str], bytes], holds: str) -> None:
        self.actor, self.holds = actor, holds
        self.starting, self.ended = True, False
        self._told: tuple[bool, Any] = (True, None)
        self.reference: Any = actor.make.remote(payload)  # of the answer under way

    @property
    def pending(self) -> bool:
        """Whether the last command has not been answered yet."""
        return self.reference is not None

    def send(self, verb: str, *arguments: Any) -> None:
        """Send a command; the answer to an earlier one is dropped."""
        self.reference = self.actor.do.remote(packed((verb, arguments)))

    def answer(self) -> tuple[bool, Any]:
        """(True, the answer to the last command) or (False, the error), once it has come."""
        return self._told

    def take(self) -> None:
        """Take the answer that has come."""
        self._told = self._read()
        self.reference = None

    def _read(self) -> tuple[bool, Any]:
        from ray import exceptions, get

        try:
            answer = get(self.reference)
            if self.starting:
                facts, node, self.pid, answer = answer
                self.starting = False
                check_alike(facts, node)
            return read_answer(answer, f"The worker with {self.holds}")
        except UserError as error:
            return False, error
        except exceptions.RayTaskError as error:
            return False, self._fault(error)
        except exceptions.RayError as error:  # the actor, its node, or what it had answered is gone
            if self.starting and "No module named" in str(error):
                return False, self._fault(error)
            self.died = "as its process or its node died"
            return False, EnvironmentFault(f"The worker with {self.holds} ended {self.died}.")

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
    """In the cluster: holds an object."""

    def __init__(self) -> None:
        self.holder = Holder()

    def make(self, paths_and_maker: tuple[list[str], bytes]) -> tuple[dict[str, str], str, int, bytes]:
        """Make the object: what decides last bits there, the node, the process, and the answer."""
        paths, maker = paths_and_maker
        sys.path += [path for path in paths if path not in sys.path and os.path.isdir(path)]
        answer = self.holder.do(packed(("make", (maker,))))
        return facts(), platform.node(), os.getpid(), answer

    def do(self, command: bytes) -> bytes:
        """As ``Holder.do``."""
        return self.holder.do(command)

    def close(self) -> None:
        """Close the object."""
        self.holder.close()
