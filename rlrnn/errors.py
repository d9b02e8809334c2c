"""Mistakes that a user can mend: the shell prints their one sentence and no traceback."""

import os
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# What the code of a game may raise: one that calls sys.exit must not end the program that plays it.
GAME_ERRORS = (Exception, SystemExit)

TRACEBACK = "RLRNN_TRACEBACK"  # set to 1, the shell shows the traceback of an error, too
_HEADING = "Traceback "

_PACKAGE = str(Path(__file__).parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class UserError(ValueError):
    """Names the offending value, the allowed ones and the remedy."""

    def __str__(self) -> str:
        return re.sub(r"\s*\n\s*", " ", super().__str__())  # spaces and others' errors have lines


class OptionsError(UserError, AssertionError):
    """Options that exclude each other (an AssertionError too, as SB3's own checks are)."""


class CheckError(UserError, AssertionError):
    """A part of a user's own breaks a law that the package holds its parts to (``rlrnn.testing``)."""


class MissingExtraError(UserError, ImportError):
    """Something needs an optional dependency; the sentence names the extra to install."""


class EnvironmentFault(UserError, RuntimeError):
    """An environment raised, hung up, or returned something that is not a number."""


class GameExit(EnvironmentFault):
    """A game asked to end the program, as some do whose window was closed."""


class FileFault(UserError, OSError):
    """A file is missing, incomplete, corrupted, from a newer version, or cannot be written."""


class Flaw(Exception):
    """What a game gave that cannot be taken, as words after "gave": "the reward 'a', which is no number,"."""


def warn(sentence: str) -> None:
    """A ``UserWarning`` at the innermost line that is neither ours nor Stable-Baselines3's."""
    frame, level = sys._getframe(1), 2
    while _is_library(frame) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, UserWarning, stacklevel=level)


def _is_library(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("rlrnn", "stable_baselines3")


def place(error: BaseException) -> str:
    """Where in the user's code an error arose, as " (game.py, line 12)".

    That is the innermost line outside of Python's and installed packages' code; where all of it is such
    code, the innermost line outside of this package; "" where there is none.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename[:7] != "<frozen"]
    others = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
    own = [frame for frame in others if not frame.filename.startswith(_LIBRARIES)]
    innermost = (own or others)[-1:]
    return "".join(f" ({frame.filename}, line {frame.lineno})" for frame in innermost)


def game_fault(who: str, where: str, error: BaseException) -> EnvironmentFault:
    """What ``who`` raised in ``where``, in one sentence."""
    if isinstance(error, SystemExit):
        return GameExit(
            f"{who} asked to end the program in {where}{place(error)}: a game may not call sys.exit; if its "
            "window was closed, leave it open."
        )
    if isinstance(error, Flaw):
        return EnvironmentFault(f"{who} gave {error} in {where}")
    try:
        words = str(error).strip()
    except Exception:  # some cannot say what they are
        words = ""
    told = f": {words}" if words else ""
    return EnvironmentFault(f"{who} raised {type(error).__name__} in {where}{told}{place(error)}")


@contextmanager
def games_of(env: object, where: str) -> Iterator[None]:
    """Where the games of an environment of others are played: one that calls sys.exit ends no program.

    What else they raise is the user's own, as it is under SB3, and goes on as it is.
    """
    try:
        yield
    except SystemExit as error:
        raise game_fault(f"A game of {type(env).__name__}", where, error) from error


def sentences(error: BaseException) -> list[str]:
    """What was noted with an error for its reader, without the traceback of another process."""
    return [note for note in getattr(error, "__notes__", []) if not note.startswith(_HEADING)]


def show_traceback(error: BaseException) -> None:
    """Print the whole traceback on stderr if that was asked for."""
    if os.environ.get(TRACEBACK, "0") not in ("", "0"):
        traceback.print_exception(error)
