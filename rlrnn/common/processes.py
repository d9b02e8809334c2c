"""An object in another process: commands go there, answers come back.

A process is a fresh interpreter that reads commands from standard input and answers on standard output. Every
message has a number and says how long it is, and an answer has the number of its command: an exchange that an
exception broke off, or an answer that cannot be read, puts nothing out of step. A process at work sends a
heartbeat from time to time (``beat``), so that only a game that is stuck is silent. Where making the object
is itself the work, of hours, it may report on its way (``report``) and be broken off (``interruptible``). A
process is started by `subprocess` rather than `multiprocessing` because it then inherits no threads, never
runs the user's script again (which so needs no `if __name__ == "__main__"`), and leaves no helper behind.
"""

import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rlrnn import errors
from rlrnn.common.messages import Holder, packed, read_answer, sendable, values
from rlrnn.errors import GAME_ERRORS, EnvironmentFault

# The parent's search path comes first, so that the process finds the same modules.
_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "import rlrnn.common.processes as p; p.serve()"
)
_PATIENCE = 10.0  # seconds that all objects together get to close
_SILENCE, _HANGING = 60.0, 900.0  # seconds of silence until a warning, and until the process is ended
_BEAT = 1.0  # seconds at least between two heartbeats
_HEAD = struct.Struct("<QQ")  # before every message: its number (0: no answer; the end), bytes that follow
_CHUNK = 1 << 20  # bytes read at once
# Unlike select(), it takes descriptors above 1,023. Windows cannot wait for pipes at all.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.DefaultSelector)
_WAITS = os.name == "posix"


class Process:
    """The parent's end of a process that holds one object; ``holds`` says what that is, for errors."""

    died = ""  # how, where it did before it had answered: "by SIGKILL", "with status 7"

    def __init__(self, maker: Callable[[], Any], name: str, holds: str) -> None:
        self.holds = holds
        self._sent = self._answered = 0  # numbers of the last command and of the last answer
        self._broken = False  # while a message is being written or read
        self._buffer = bytearray()  # of answers that are not complete
        self._answer: bytearray | Exception = bytearray()  # the last one
        self._last_beat, self._warned = 0.0, False
        payload = sendable(maker, name)
        with _interrupts_delayed():
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            assert self._process.stdin is not None and self._process.stdout is not None
            self._stdin, self.stdout = self._process.stdin, self._process.stdout
            self._process.stdin = None  # it is closed here
            self._write(pickle.dumps(sys.path))
        self.send("make", payload)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def pending(self) -> bool:
        """Whether the last command has not been answered yet."""
        return self._answered < self._sent

    def send(self, verb: str, *arguments: Any) -> None:
        """Send a command; unread answers to earlier ones are dropped."""
        message = packed((verb, arguments))
        receive_all([self])
        self._broken = True
        self._sent += 1
        self._write(_HEAD.pack(self._sent, len(message)), message)
        self._last_beat, self._warned = time.monotonic(), False
        self._broken = False

    def check_whole(self) -> None:
        """Refuse to go on where an exception came in the middle of a message: what follows it is unknown."""
        if self._broken:
            raise EnvironmentFault(
                f"A message of the worker process with {self.holds} was broken off by an interrupt: make the "
                "environment anew."
            )

    def receive(self) -> list[Any]:
        """Read what has arrived, and return the reports among it; waits where nothing has."""
        self._broken, reports = True, []
        try:
            chunk = os.read(self.stdout.fileno(), _CHUNK)
        except OSError:
            chunk = b""
        self._last_beat = time.monotonic()
        self._buffer += chunk
        while len(self._buffer) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + size
            if len(self._buffer) < end:
                break
            if number:
                self._answer, self._answered = self._buffer[_HEAD.size : end], number
            elif size:
                reports.append(pickle.loads(self._buffer[_HEAD.size : end]))
            del self._buffer[:end]
        if not chunk and self.pending:
            code = self._process.wait()
            name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
            self.died = f"by {name}" if code < 0 else f"with status {code}"
            self._fail(f"The worker process with {self.holds} ended {self.died}.")
        self._broken = False
        return reports

    def answer(self) -> tuple[bool, Any]:
        """(True, the answer to the last command) or (False, the error), once it has come."""
        answer, self._answer = self._answer, bytearray()
        if isinstance(answer, Exception):
            return False, answer
        return read_answer(answer, f"The worker process with {self.holds}")

    def time_left(self) -> float:
        """Seconds that may still pass in silence; then comes a warning, and later the process is ended."""
        silent = time.monotonic() - self._last_beat
        if silent >= _HANGING:
            self.kill()
            self._fail(
                f"The worker process with {self.holds} has not answered for {_HANGING:.0f} s: it was ended, "
                "as its game seems to hang."
            )
            return 0.0
        if silent >= _SILENCE and not self._warned:
            self._warned = True
            print(
                f"rlrnn: the worker process with {self.holds} has been silent for {_SILENCE:.0f} s. Is its "
                "game stuck? Ctrl-C stops everything and keeps the agent.",
                file=sys.stderr,
            )
        return (_HANGING if self._warned else _SILENCE) - silent

    def finish(self) -> None:
        """Let the process close its object and stop: it reads to the end of its commands."""
        if not self._stdin.closed:
            self._write(_HEAD.pack(0, 0))  # a child that a game forked here keeps the pipe open
            self._stdin.close()

    def wait(self, seconds: float) -> None:
        """Wait until the process has stopped; one that does not is killed."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self.kill()
        self.stdout.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def _fail(self, sentence: str) -> None:
        self._answer, self._answered = EnvironmentFault(sentence), self._sent

    def _write(self, *parts: bytes) -> None:
        with suppress(OSError):  # it died, as its answer will say
            _write(self._stdin.fileno(), *parts)


def gather(processes: Sequence[Process]) -> list[Any]:
    """The answer of every process to its last command; all are there before the first error is raised."""
    receive_all(processes)
    return values([process.answer() for process in processes])


def end(processes: Sequence[Process]) -> None:
    """Close all objects and end their processes; doing it again does nothing."""
    for process in processes:
        process.finish()
    left = [process for process in processes if not process.stdout.closed]
    until = time.monotonic() + _PATIENCE
    if _WAITS:
        with _Selector() as selector:  # their last answers are read, so that none blocks on writing
            for process in left:
                selector.register(process.stdout, selectors.EVENT_READ)
            while selector.get_map() and time.monotonic() < until:
                for key, _ in selector.select(max(0.0, until - time.monotonic())):
                    if not os.read(key.fd, _CHUNK):
                        selector.unregister(key.fileobj)
    for process in left:
        process.wait(until - time.monotonic())


def receive_all(processes: Sequence[Process]) -> None:
    """Wait until all have answered their last commands; a process that is silent for too long is ended."""
    _receive(processes, 0)


def receive_any(processes: Sequence[Process]) -> None:
    """Wait until one of these pending processes has answered; where none can be waited for, the first."""
    _receive(processes if _WAITS else processes[:1], len(processes) - 1)


def _receive(processes: Sequence[Process], pending: int) -> None:
    """Wait until no more of them than this are pending."""
    for process in processes:
        process.check_whole()
    waiting = [process for process in processes if process.pending]
    if not _WAITS:
        for process in waiting:
            while process.pending:
                process.receive()
    elif len(waiting) > pending:
        with _Selector() as selector:
            for process in waiting:
                selector.register(process.stdout, selectors.EVENT_READ, process)
            while len(waiting) > pending:
                for key, _ in selector.select(max(0.0, min(process.time_left() for process in waiting))):
                    key.data.receive()
                for process in [process for process in waiting if not process.pending]:
                    selector.unregister(process.stdout)
                    waiting.remove(process)


class Processes:
    """Processes of this machine: a ``Pool``."""

    here = True

    def __init__(self, makers: Sequence[Callable[[], Any]], name: str, holds: Sequence[str]) -> None:
        self.makers, self.name, self.holds = makers, name, holds  # by place

    def start(self, place: int) -> Process:
        """As ``Pool.start``."""
        return Process(self.makers[place], self.name, self.holds[place])

    def wait(self, processes: Sequence[Process]) -> None:
        """As ``Pool.wait``."""
        receive_any(processes)

    def wait_all(self, processes: Sequence[Process]) -> None:
        """As ``Pool.wait_all``."""
        receive_all(processes)

    def end(self, processes: Sequence[Process]) -> None:
        """As ``Pool.end``."""
        end(processes)

    def lost(self, process: Process) -> str:
        """As ``Pool.lost``."""
        return f"The worker process with {process.holds} ended {process.died}"


_answers: int | None = None  # in a worker process, the descriptor that answers go to
_last_beat = 0.0


def beat() -> None:
    """Send the parent a heartbeat, not too often; does nothing in a process that is no worker."""
    global _last_beat
    if _answers is not None and time.monotonic() - _last_beat >= _BEAT:
        _last_beat = time.monotonic()
        with suppress(OSError):  # the parent is gone
            _write(_answers, _HEAD.pack(0, 0))


def report(message: Any) -> None:
    """Tell the parent something on the way to an answer; does nothing in a process that is no worker."""
    if _answers is not None:
        body = packed(message)
        with suppress(OSError):  # the parent is gone
            _write(_answers, _HEAD.pack(0, len(body)) + body)  # at once: no interrupt comes in between


@contextmanager
def interruptible() -> Iterator[None]:
    """In a worker process: ``finish`` raises KeyboardInterrupt in the block, as does a parent that is gone.

    It is for the last command: another one would break it off, too.
    """
    told = threading.Event()

    def interrupted(*_: Any) -> None:
        if told.is_set():  # else it is the terminal's Ctrl-C, which is for the parent
            raise KeyboardInterrupt

    def listen() -> None:
        os.read(0, 1)
        told.set()
        interrupt_main()

    signal.signal(signal.SIGINT, interrupted)
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def serve() -> None:
    """What a process does: hold its object and answer commands until these end or the parent is gone."""
    global _answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes them
    signal.signal(signal.SIGTERM, _for_the_parent)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    commands, sys.stdin = sys.stdin.buffer, open(os.devnull)  # noqa: SIM115  # no environment reads commands
    _answers = os.dup(1)
    os.dup2(2, 1)  # what an environment prints must not mix with the answers
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave)
    holder = Holder()
    while len(head := commands.read(_HEAD.size)) == _HEAD.size:
        number, size = _HEAD.unpack(head)
        if not number:
            break
        body = commands.read(size)
        if len(body) < size:
            break
        message = holder.do(body)
        try:
            _write(_answers, _HEAD.pack(number, len(message)), message)
        except OSError:  # the parent is gone
            break
    try:
        holder.close()
    except GAME_ERRORS as error:
        print(f"rlrnn: {errors.game_fault('A worker process', 'close()', error)}", file=sys.stderr)
    os.close(_answers)


def _for_the_parent(*_: Any) -> None:
    """SIGTERM, which a scheduler sends to all processes: the parent then closes them, or is gone.

    Unlike SIG_IGN, no program that a game starts inherits it.
    """


def _leave() -> None:
    """In a process that a game forks off a worker: that alone hears from the parent and answers it.

    Else the parent would not notice that the worker is gone as long as the other process lives.
    """
    global _answers
    if _answers is not None:
        os.close(_answers)
        _answers = None
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _interrupts_delayed() -> Iterator[None]:
    """Ctrl-C comes after the block; a process that is started in it hears none until it asks for them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _write(descriptor: int, *parts: bytes) -> None:
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
