"""Who holds a folder: a lock file with a lease, on any file system, also one that several hosts share.

    with held(folder):          # no other process, on this host or another, is in such a block meanwhile
        ...
        check(folder)           # before something is written: raises LostLease where another took over

    with turn(folder):          # the same for a folder that may not be there yet, by a lock beside it
        ...                     # a process is started, which holds the folder

The file says host, process and token of its holder, and a thread rewrites it every ``lease / RENEWALS``
seconds. A lock is free

- where its process is gone, if it was one of this machine, at once;
- else where the file was not renewed for as long as the lease in it says. Both times are the file system's:
  the file's own and that of one that is made now, as the clocks of hosts differ. Some file systems take them
  from the hosts all the same, so it is then watched for the time of three renewals before it is taken.

A lease says that a process lives, not that it gets on: a game that hangs keeps its run until somebody ends
it, as nobody can tell it from a long update. Of this machine's processes it is known that they live, so a
stopped one (Ctrl-Z) keeps its run; on another host its lease ends, and it notices that when it wakes up.

Taking over: the token names a lock, and whoever first makes the file ``lock.<token>`` (O_EXCL, which network
file systems keep) may replace that lock, by a rename. Such a claim is a lock itself: one that was left by a
process killed in between is claimed in turn. So the lock is never missing, and one of many takers wins.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rlrnn.common.files import naming
from rlrnn.common.texts import tell
from rlrnn.errors import FileFault, UserError

LOCK = "lock"  # the file in a folder that is held
LEASE = 180.0  # seconds; network file systems show a file's time up to a minute late
RENEWALS = 18  # in the time of a lease
HOST, DURATION = "RLRNN_HOST", "RLRNN_LEASE"  # environment variables
LARGEST = 4096  # bytes that are read of a lock
T = TypeVar("T")
_PAUSE = 0.05  # seconds between two attempts on Windows, which refuses what another has open just now


class Held(FileFault):
    """Another process, the ``holder``, holds the lock."""

    def __init__(self, sentence: str, holder: Holder) -> None:
        super().__init__(sentence)
        self.holder = holder


class LostLease(UserError):
    """This process held a lock, and another took over."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    token: str  # of this lock, unlike any other
    host: str
    machine: str  # where process numbers mean the same; "" if the system does not say
    process: int  # its number; 0: it has just begun to write the file
    started: int | None  # when, as the system counts, since numbers are used again
    lease: float  # seconds

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}" if self.process else "a process that is not known"


class Lease:
    """A lock that this process holds, until it is released."""

    def __init__(self, lock: Path, what: str, holder: Holder) -> None:
        self.lock, self.what, self.holder = lock.absolute(), what, holder  # wherever a game goes
        self.lost = ""  # a sentence, once another process has taken over
        self._confirmed = _now()
        self._guard, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name="rlrnn lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise ``LostLease`` where another process took over; the file is read if it was not lately."""
        if _now() - self._confirmed > self.holder.lease / 3:  # else the thread has read it
            self.renew()
        if self.lost:
            raise LostLease(self.lost)

    def renew(self) -> None:
        """Show that this process lives, or notice that another took over."""
        with self._guard:
            now = _now()
            try:
                found = None if self.lost else self._touch()
            except FileNotFoundError:
                found = "its lock was removed"
            except OSError:  # the file system does not answer: asked again
                return
            if found:
                self.lost = (
                    f"{self.what} is not this process's any more ({found}): it stops here, and writes "
                    "nothing more there."
                )
            self._confirmed = now

    def rename(self, folder: Path) -> None:
        """Rename the folder that is held."""
        with self._guard:
            self.lock.parent.rename(folder)
            _leases.pop(self.lock, None)
            self.lock = folder.absolute() / self.lock.name
            _leases[self.lock] = self

    def release(self) -> None:
        """End it; in a process that a game forked, whose it is not, nothing happens."""
        if os.getpid() != self.holder.process:
            return
        self._end.set()
        _leases.pop(self.lock, None)
        self.renew()
        if not self.lost:
            with suppress(OSError):  # else it ends with the process
                _insist(self.lock.unlink)

    def _renew(self) -> None:
        while not self._end.wait(self.holder.lease / RENEWALS):
            self.renew()

    def _touch(self) -> str:
        """Renew the file, and return who else took over; "" if nobody did."""
        handle = os.open(self.lock, os.O_RDWR | _BINARY)
        try:
            found = _parse(os.read(handle, LARGEST), os.fstat(handle))
            if found.token != self.holder.token:
                return f"{found} took over"
            if _claim(self.lock, found).exists():
                return f"{_read(_claim(self.lock, found)).holder} takes over"
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, _bytes(self.holder))
        finally:
            os.close(handle)
        return ""


@contextmanager
def held(folder: Path, what: str = "run", use: str = "trained") -> Iterator[Lease]:
    """Keep other processes, on any host, out of such a block for the same folder.

    Raises ``Held``, a ``FileFault``, where another process is in one: "the ``what`` is being ``use``". The
    lock ends with the process, however that ends.
    """
    lease = hold(folder / LOCK, f"the {what} {folder}", use)
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def turn(folder: Path, what: str = "run", use: str = "trained") -> Iterator[Lease]:
    """Keep other processes that ask for their turn from a folder that may not be there yet.

    For those who are about to start a process that holds the folder: the lock lies beside it. Raises ``Held``
    where another has its turn or holds the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = f"the {what} {folder}"
    lease = hold(folder.with_name(f".{folder.name}.turn"), name, use)
    try:
        if (other := holder(folder / LOCK)) is not None:
            raise _held(name, use, other)
        yield lease
    finally:
        lease.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder."""
    return holder(folder / LOCK) is not None


def check(folder: Path) -> None:
    """Before something is written: raises ``LostLease`` where another process took over the folder.

    Nothing where this process did not hold it. It reads the lock; ``Lease.check`` only where that is due.
    """
    lease = lease_of(folder)
    if lease is not None:
        lease.renew()
        lease.check()


def lease_of(folder: Path) -> Lease | None:
    """That of a folder which this process holds."""
    return _leases.get((folder / LOCK).absolute())


def holder(lock: Path) -> Holder | None:
    """Who holds a lock file; None: nobody."""
    found = _chain(lock)
    return found[-1].holder if found and not _is_free(found[-1]) else None


def hold(lock: Path, what: str, use: str = "trained") -> Lease:
    """Take a lock file, which is to be released; see ``held``."""
    me = Holder(secrets.token_hex(8), host(), _machine(), os.getpid(), _started(os.getpid()), _duration())
    with naming(lock):
        while not (_create(lock, me) or _take_over(lock, me, what, use)):
            pass  # it was released, or another took it, between two looks
    lease = Lease(lock, what, me)
    _leases[lease.lock] = lease
    return lease


def host() -> str:
    """The name of this host; RLRNN_HOST, if set, for containers, whose names are random."""
    return os.environ.get(HOST) or socket.gethostname()


def _held(what: str, use: str, holder: Holder) -> Held:
    return Held(f"{what} is being {use} by another process: wait for it ({holder}).", holder)


def _take_over(lock: Path, me: Holder, what: str, use: str) -> bool:
    """Replace a lock that is free; False where it is another by now; ``Held`` where its holder lives."""
    found = _chain(lock)
    if not found:
        return False
    last = found[-1]
    if not _is_free(last):
        raise _held(what, use, last.holder)
    gone = _lives(last.holder) is False
    if not gone and _renewed(last, what):
        return False
    claim = _claim(lock, last.holder)
    if not _create(claim, me):
        return False
    if [each.holder.token for each in _chain(lock)] != [*(each.holder.token for each in found), me.token]:
        claim.unlink(missing_ok=True)
        return False
    try:
        _insist(lambda: claim.replace(lock))
    except FileNotFoundError:
        return False
    for each in found[1:]:
        each.path.unlink(missing_ok=True)
    if not gone:
        tell(f"rlrnn: {what} was taken over from {last.holder}, whose lease has ended.", file=sys.stderr)
    return True


@dataclass(frozen=True)
class _Found:
    """A lock, or the claim to one, as it was read."""

    path: Path
    holder: Holder
    time: int  # ns, when it was renewed, by the file system


def _chain(lock: Path) -> list[_Found]:
    """A lock and the claims to it, each to the one before: the last is who holds it, or is taking it."""
    found: list[_Found] = []
    path = lock
    while True:
        try:
            found.append(_read(path))
        except FileNotFoundError:
            return found
        path = _claim(lock, found[-1].holder)


def _claim(lock: Path, holder: Holder) -> Path:
    return lock.with_name(f"{lock.name}.{holder.token}")


def _read(path: Path) -> _Found:
    handle = _insist(
        lambda: os.open(path, os.O_RDONLY | _BINARY)
    )  # which asks a network anew, as stat does not
    try:
        facts = os.fstat(handle)
        return _Found(path, _parse(os.read(handle, LARGEST), facts), facts.st_mtime_ns)
    finally:
        os.close(handle)


def _parse(content: bytes, facts: os.stat_result) -> Holder:
    """Who wrote a lock; one that was not written to its end is nobody's that is known."""
    try:
        told = Holder(**json.loads(content))
    except (ValueError, TypeError):
        told = Holder("", "", "", 0, None, LEASE)
    named = isinstance(told.token, str) and told.token and set(told.token) <= _HEX
    if not (named and type(told.process) is int and type(told.lease) in (int, float) and told.lease >= 1.0):
        return Holder(f"{facts.st_mtime_ns:x}", "", "", 0, None, LEASE)
    return told


def _create(path: Path, holder: Holder) -> bool:
    """Make a lock; False where there is one."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o666)
    except FileExistsError:
        return False
    except PermissionError:
        if os.name == "nt" and path.exists():  # it is being removed
            return False
        raise
    try:
        os.write(handle, _bytes(holder))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return True


def _bytes(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _is_free(found: _Found) -> bool:
    """Whether its holder is gone, or has not renewed it for too long."""
    lives = _lives(found.holder)
    if lives is not None:
        return not lives
    now = _file_system_time(found.path.parent)
    return now is not None and now - found.time > found.holder.lease * 1e9


def _lives(holder: Holder) -> bool | None:
    """Whether its process lives; None where that cannot be told here."""
    here = holder.process > 0 and (holder.host, holder.machine) == (host(), _machine())
    if not here or sys.platform == "win32":  # where os.kill would end it
        return None
    try:
        os.kill(holder.process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        pass
    started = _started(holder.process)
    return None if None in (started, holder.started) else started == holder.started


def _renewed(found: _Found, what: str) -> bool:
    """Whether a lock that seems to be free is renewed all the same, by a host with another clock."""
    seconds = found.holder.lease * 3 / RENEWALS
    if seconds > 5.0:
        tell(f"rlrnn: {what}: waiting {seconds:.0f} s for a sign of life of {found.holder}.", file=sys.stderr)
    until = _now() + seconds
    while _now() < until:
        time.sleep(found.holder.lease / RENEWALS / 4)
        try:
            if _read(found.path) != found:
                return True
        except FileNotFoundError:
            return True
    return False


def _file_system_time(folder: Path) -> int | None:
    """What a file's time would be now, in ns; None where none can be made."""
    path = folder / f".{secrets.token_hex(4)}.part"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            return os.fstat(handle).st_mtime_ns
        finally:
            os.close(handle)
            path.unlink()
    except OSError:
        return None


@functools.cache
def _machine() -> str:
    """Between two starts of it, and within one container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, ValueError):
        return ""


def _started(process: int) -> int | None:
    """When a process started, in the system's ticks; None: the system does not say; -1: it has ended."""
    try:
        content = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return None
    fields = content.rpartition(b")")[2].split()  # state and all that follows; proc(5)
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


def _duration() -> float:
    text = os.environ.get(DURATION) or str(LEASE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 1e6:
        raise UserError(f"{DURATION} is {text!r}, but must be a lease's seconds, 1 to 1,000,000.")
    return seconds


def _now() -> float:
    """Seconds, of which those that the process or the machine slept are some."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _insist(call: Callable[[], T]) -> T:
    """Windows refuses to remove, replace or open what another process reads just then."""
    for _ in range(20 if os.name == "nt" else 0):
        try:
            return call()
        except PermissionError:
            time.sleep(_PAUSE)
    return call()


_BINARY = getattr(os, "O_BINARY", 0)
_HEX = set("0123456789abcdef")
_leases: dict[Path, Lease] = {}  # that this process holds, by lock
