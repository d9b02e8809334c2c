"""An object that lives in another process: commands go there, answers come back.

A process is a fresh interpreter that reads commands from standard input and answers on standard output. It is
started by `subprocess` rather than `multiprocessing` because it then inherits no threads, never runs the
user's script again (which so needs no `if __name__ == "__main__"`), and leaves no helper process behind.
"""

import os
import pickle
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from rlrnn.errors import EnvironmentFault, UserError

# The parent's search path comes first, so that the process finds the same modules.
_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); import rlrnn.processes as p; p.serve()"
)
_PATIENCE = 10.0  # seconds that an object gets to close
_SILENCE, _HANGING = 60.0, 900.0  # seconds without an answer until that is told, and until it ends


def sendable(maker: Callable[[], Any], name: str) -> bytes:
    """What makes an object, as bytes that a process can read."""
    try:
        return bytes(cloudpickle.dumps(maker))
    except Exception as error:
        raise UserError(
            f"What makes {name} cannot be sent to a worker process"
            f" ({type(error).__name__}: {error}); use workers=0, or register it as 'module:Class'."
        ) from error


class Process:
    """The parent's end of a process that holds one object; ``holds`` says what that is, for errors."""

    def __init__(self, maker: Callable[[], Any], name: str, holds: str) -> None:
        self._holds = holds
        payload = sendable(maker, name)
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
        """Tell the process to close its object and stop."""
        if not self._stdin.closed:
            self.send("close")

    def close(self) -> None:
        """Wait until the process has stopped; one that does not hear is killed."""
        if self._stdin.closed:
            return
        try:
            self._process.communicate(timeout=_PATIENCE)  # reads on, so that it is not stuck in an answer
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _write(self, message: bytes) -> None:
        try:
            self._stdin.write(message)
            self._stdin.flush()
        except BrokenPipeError:
            pass  # it died, as `receive` will say


def gather(processes: Sequence[Process]) -> list[Any]:
    """One answer of every process; all are read before the first error is raised, to stay in step."""
    answers = [process.receive() for process in processes]
    for good, answer in answers:
        if not good:
            raise answer
    return [answer for _, answer in answers]


def serve() -> None:
    """What a process does: hold its object and answer commands until told to close or left alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes them
    commands = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an environment prints must not mix with the answers
    held: Any = None
    while True:
        try:
            verb, arguments = pickle.load(commands)
        except EOFError:
            break
        if verb == "close":
            break
        try:
            if verb == "make":
                held = cloudpickle.loads(*arguments)()
                answer = None
            else:
                answer = getattr(held, verb)(*arguments)
            message = _pickled((True, answer))
        except Exception as error:
            message = _pickled((False, _plain(error)))
        answers.write(message)
        answers.flush()
    if held is not None:
        held.close()


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
