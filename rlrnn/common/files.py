"""Files as all of us read and write them: whole or not at all, and with one sentence where that fails."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rlrnn.errors import FileFault

_ROOM = "make room, or choose another place{}"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EACCES: "check its permissions, or choose another place{}",
    errno.EPERM: "check its permissions, or choose another place{}",
    errno.EROFS: "nothing can be written there; choose another place{}",
    errno.ENAMETOOLONG: "choose a shorter name{}",
    errno.ENOENT: "was it moved or removed meanwhile? check the path",
    errno.ENOTDIR: "a part of the path is no folder; check it, or choose another place{}",
    errno.EEXIST: "something else of that name is there; choose another place{}",
    errno.EISDIR: "it is a folder; give the path of a file",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open; close other programs",
    errno.EIO: "the disk does not answer as it should; check it, then try again",
    errno.ESTALE: "the network folder was lost; check its connection, then try again",
    errno.ETIMEDOUT: "the network folder does not answer; check its connection, then try again",
}


def remedy(error: OSError, by: str = " with --out") -> str:
    """What the user can do about a failure of the operating system; ``by``: how another place is chosen."""
    return _REMEDIES.get(error.errno or 0, "try again, or choose another place{}").format(by)


def sentence(error: OSError) -> str:
    """What failed, on which file, and what to do about it; a ``FileFault`` says so by itself."""
    if isinstance(error, FileFault):
        return str(error)
    about = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
    return f"{error.strerror or error}{about}: {remedy(error)}."


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Failures of the operating system in the block name this file: a full disk names none by itself."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and not isinstance(error, FileFault):
            error.filename = str(path)
        raise


def read_text(path: Path) -> str:
    """The text of a file; one that is missing, cannot be read or is no UTF-8 is a ``FileFault``."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileFault(f"there is no {path}.") from None
    except UnicodeDecodeError as error:
        raise FileFault(
            f"{path} is damaged: it is not UTF-8 text ({error.reason} at byte {error.start})."
        ) from None
    except OSError as error:
        raise FileFault(f"cannot read {path} ({error.strerror or error}): {remedy(error)}.") from error


def read_json(path: Path) -> Any:
    """The data in a JSON file."""
    try:
        return json.loads(read_text(path), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileFault):
            raise
        raise FileFault(f"{path} is damaged: {error}.") from None


def write_json(path: Path, data: Any) -> None:
    """Write JSON at once or not at all, lists of numbers on one line each."""
    text = re.sub(r"\[\n[^]{[]*\]", lambda match: " ".join(match[0].split()), json.dumps(data, indent=1))
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and its folders, in one go; where that fails, a ``FileFault`` says so."""
    try:
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, open(part, "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise FileFault(
            f"cannot save {path}: {error.strerror or error} (what was there before is unchanged): "
            f"{remedy(error, by='')}."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to; it takes its place when the block ends well, else it goes.

    A link stays a link; a pipe or a device, which nothing can take the place of, is written to itself.
    """
    goal = Path(os.path.realpath(path))
    if goal.exists() and not (goal.is_file() or goal.is_dir()):
        with naming(path):
            yield goal
        return
    part = goal.with_name(f".{goal.stem}.{secrets.token_hex(4)}.part{goal.suffix}")
    try:
        with naming(path):
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(goal)
    finally:
        with suppress(OSError):
            part.unlink()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
