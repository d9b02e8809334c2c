"""Several single environments stepped as one batch by worker processes.

A worker is a fresh interpreter that reads commands from standard input and answers on standard output. It is
started by `subprocess` rather than `multiprocessing` because it then inherits no threads, never runs the
user's script again (which so needs no `if __name__ == "__main__"`), and leaves no helper process behind. It
holds the same `Copies` as the parent would: the number of workers cannot change what is played.
"""

import itertools
import os
import pickle
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np

from rlrnn.copies import Copies, Description, Maker, Observations, Step, join
from rlrnn.errors import EnvironmentFault, UserError

# The parent's search path comes first, so that the worker finds the same modules.
_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); import rlrnn.workers as w; w.serve()"
)
_PATIENCE = 10.0  # seconds that a worker gets to close its environments
_SILENCE, _HANGING = (
    60.0,
    900.0,
)  # seconds without an answer until that is told, and until it ends


def sendable(makers: Sequence[Maker], name: str = "", first: int = 0) -> bytes:
    """The makers as bytes that a worker can read."""
    try:
        return bytes(cloudpickle.dumps((list(makers), name, first)))
    except Exception as error:
        raise UserError(
            f"What makes {name or 'the environments'} cannot be sent to a worker process"
            f" ({type(error).__name__}: {error}); use workers=0, or register it as 'module:Class'."
        ) from error


class Workers:
    """The copies that the makers make, spread evenly over worker processes."""

    def __init__(self, makers: Sequence[Maker], name: str, n_workers: int) -> None:
        bounds = [len(makers) * k // n_workers for k in range(n_workers + 1)]
        self._parts = [slice(low, high) for low, high in itertools.pairwise(bounds)]
        self._workers: list[_Worker] = []
        self._playing = False  # a step was sent and its answer not yet read
        try:
            for part in self._parts:
                self._workers.append(_Worker(makers[part], name, part.start))
            described: list[Description] = self._answers()
            if any(other[1:3] != described[0][1:3] for other in described):
                raise UserError(f"The copies of {described[0].name} differ in their spaces; make them alike.")
            self._description = described[0]
        except BaseException:
            self.close()
            raise

    def describe(self) -> Description:
        """What all copies have in common."""
        return self._description

    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]
    ) -> tuple[Observations, list[dict[str, Any]]]:
        """Begin an episode in every copy; returns (observations [B, ...], infos [B])."""
        self._settle()
        for worker, part in zip(self._workers, self._parts, strict=True):
            worker.send("reset", seeds[part], options[part])
        answers = self._answers()
        return join([first for first, _ in answers]), [info for _, infos in answers for info in infos]

    def start(self, actions: Any) -> None:
        """Send the actions [B, ...] of the next step."""
        self._settle()
        for worker, part in zip(self._workers, self._parts, strict=True):
            worker.send("step", actions[part])
        self._playing = True

    def finish(self) -> Step:
        """Wait for the step that `start` sent."""
        self._playing = False
        steps: list[Step] = self._answers()
        return Step(
            join([step.observations for step in steps]),
            np.concatenate([step.rewards for step in steps]),
            np.concatenate([step.terminated for step in steps]),
            np.concatenate([step.truncated for step in steps]),
            [info for step in steps for info in step.infos],
            join([step.finals for step in steps]),
            [info for step in steps for info in step.begun],
        )

    def read(self, copies: Sequence[int], attribute: str) -> list[Any]:
        """The attribute of these copies."""
        return self._ask("read", copies, attribute)

    def has(self, copies: Sequence[int], attribute: str) -> list[bool]:
        """Whether these copies have the attribute."""
        return self._ask("has", copies, attribute)

    def write(self, copies: Sequence[int], attribute: str, value: Any) -> list[bool]:
        """Set the attribute of these copies."""
        return self._ask("write", copies, attribute, value)

    def call(self, copies: Sequence[int], method: str, args: Any, kwargs: Any) -> list[Any]:
        """What the method of each of these copies returns."""
        return self._ask("call", copies, method, args, kwargs)

    def wrapped(self, copies: Sequence[int], wrapper: type) -> list[bool]:
        """Whether these copies have such a wrapper."""
        return self._ask("wrapped", copies, wrapper)

    def close(self) -> None:
        """Close every copy and end every worker; doing it again does nothing."""
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.close()

    def _ask(self, verb: str, copies: Sequence[int], *arguments: Any) -> list[Any]:
        self._settle()
        found: dict[int, Any] = {}
        chosen = [[i for i in copies if part.start <= i < part.stop] for part in self._parts]
        for worker, part, mine in zip(self._workers, self._parts, chosen, strict=True):
            worker.send(verb, [i - part.start for i in mine], *arguments)
        for mine, answers in zip(chosen, self._answers(), strict=True):
            found.update(zip(mine, answers, strict=True))
        return [found[i] for i in copies]

    def _answers(self) -> list[Any]:
        """One answer of every worker; all are read before the first error is raised, to stay in step."""
        answers = [worker.receive() for worker in self._workers]
        for good, answer in answers:
            if not good:
                raise answer
        return [answer for _, answer in answers]

    def _settle(self) -> None:
        """Drop the answer to a step that nobody waited for."""
        if self._playing:
            self._playing = False
            for worker in self._workers:
                worker.receive()


class _Worker:
    """The parent's end of one worker process."""

    def __init__(self, makers: Sequence[Maker], name: str, first: int) -> None:
        self._holds = f"copies {first} to {first + len(makers) - 1} of {name or 'the environments'}"
        payload = sendable(makers, name, first)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        self._write(pickle.dumps(sys.path))
        self.send("make", payload)

    def send(self, verb: str, *arguments: Any) -> None:
        self._write(_pickled((verb, arguments)))

    def receive(self) -> tuple[bool, Any]:
        """(True, the answer) or (False, the error)."""
        assert self._process.stdout is not None
        if not self._speaks(_SILENCE):
            print(
                f"rlrnn: the worker process with {self._holds} has been silent for {_SILENCE:.0f} s. Is its "
                "game stuck? Ctrl-C stops everything and keeps the agent.",
                file=sys.stderr,
            )
            if not self._speaks(_HANGING - _SILENCE):
                self._process.kill()
                self._process.wait()
                return False, EnvironmentFault(
                    f"The worker process with {self._holds} has not answered for {_HANGING:.0f} s: it was "
                    "ended, as its game seems to hang."
                )
        try:
            good, answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._process.wait()
            return False, EnvironmentFault(f"The worker process with {self._holds} died (exit code {code}).")
        return good, answer

    def _speaks(self, seconds: float) -> bool:
        """Whether an answer, or the worker's end, comes within so many seconds."""
        assert self._process.stdout is not None
        if os.name != "posix":  # elsewhere pipes cannot be waited for
            return True
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def dismiss(self) -> None:
        """Tell the worker to close its environments and stop."""
        if not self._stdin.closed:
            self.send("close")

    def close(self) -> None:
        """Wait until the worker has stopped; one that does not hear is killed."""
        if self._stdin.closed:
            return
        try:
            self._process.communicate(timeout=_PATIENCE)  # reads on, so that no worker is stuck in an answer
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _write(self, message: bytes) -> None:
        try:
            self._stdin.write(message)
            self._stdin.flush()
        except BrokenPipeError:
            pass  # it died, as `receive` will say


def serve() -> None:
    """What a worker does: hold its copies and answer commands until told to close or left alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes its workers
    commands = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an environment prints must not mix with the answers
    copies: Copies | None = None
    while True:
        try:
            verb, arguments = pickle.load(commands)
        except EOFError:
            break
        if verb == "close":
            break
        try:
            if copies is None:
                copies = Copies(*cloudpickle.loads(*arguments))
                answer = copies.describe()
            else:
                answer = getattr(copies, verb)(*arguments)
            message = _pickled((True, answer))
        except Exception as error:
            message = _pickled((False, _plain(error)))
        answers.write(message)
        answers.flush()
    if copies is not None:
        copies.close()


def _plain(error: Exception) -> Exception:
    """An error that any process can read, with the worker's traceback as a note."""
    told: Exception
    if isinstance(error, AttributeError):
        told = AttributeError(str(error))  # how SB3 asks whether there is such an attribute
    elif isinstance(error, UserError):
        told = type(error)(str(error))
    else:
        told = EnvironmentFault(f"A worker process raised {type(error).__name__}: {error}")
    told.add_note(traceback.format_exc())
    return told


def _pickled(message: Any) -> bytes:
    try:
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    except Exception:  # holds something defined in a script, which only cloudpickle takes along
        return bytes(cloudpickle.dumps(message))
