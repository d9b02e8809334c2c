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

_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_LIBRARIES = tuple(
    {f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_INSTALLED = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"  # a user's own ones, too


class UserError(ValueError):
    """Names the offending value, the allowed ones and the remedy."""

    frames = ""  # ``own_frames`` of an error that came from another process

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


class PartFault(UserError, RuntimeError):
    """A function of the user's own raised: of a wrapper, callback, cell, extractor or fitness, say."""


class PartAttributeFault(PartFault, AttributeError):
    """It raised an AttributeError, by which SB3 asks whether there is such an attribute."""


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
    own = [frame for frame in others if not _is_installed(frame.filename)]
    innermost = (own or others)[-1:]
    return "".join(f" ({frame.filename}, line {frame.lineno})" for frame in innermost)


def _is_installed(filename: str) -> bool:
    """Whether a line of Python's or an installed package's code is in this file."""
    return filename.startswith(_LIBRARIES) or any(part in filename for part in _INSTALLED)


def _is_own(filename: str) -> bool:
    """Whether it is a file of the user's; in "<string>" stands what the code of others has made."""
    return not (filename.startswith((_PACKAGE, "<")) or _is_installed(filename))


def part_fault(error: BaseException) -> PartFault | None:
    """What a function of the user's own raised, in one sentence; None where none of them was at work."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [k for k, code in enumerate(codes) if _is_own(code.co_filename)]
    if not own:
        return None
    ours = [k for k, code in enumerate(codes) if code.co_filename.startswith(_PACKAGE)]
    called = max((k for k in ours if k < own[-1]), default=-1)  # ours, from which all below was called
    names = [codes[k].co_qualname.replace("<locals>.", "") for k in own if k > called]
    named = [name for name in names if not name.endswith(">")] or names  # rather than "<listcomp>"
    who = named[-1] if named[0] == named[-1] else f"{named[-1]}, called by {named[0]},"
    if isinstance(error, SystemExit):
        return PartFault(
            f"{who} asked to end the program{place(error)}: a callback ends a training by returning False."
        )
    below = [codes[k].co_qualname for k in ours if k > own[-1]]
    where, hint = "", ""
    if below:  # which of the two is wrong nobody knows
        where, hint = f" in {below[0]}() of rlrnn", "; --traceback shows all of it"
    kind = PartAttributeFault if isinstance(error, AttributeError) else PartFault
    return kind(f"{who} raised {type(error).__name__}{where}{_words(error)}{place(error)}{hint}.")


def own_frames(error: BaseException | None) -> str:
    """The lines of a traceback that are in files of the user's own, as Python prints them; "" without any.

    They are those of the error, else of what caused it.
    """
    while error is not None:
        stack = traceback.extract_tb(error.__traceback__)
        own = traceback.StackSummary.from_list([frame for frame in stack if _is_own(frame.filename)])
        if frames := "".join(own.format()) or getattr(error, "frames", ""):
            return str(frames)
        error = error.__cause__
    return ""


def game_fault(who: str, where: str, error: BaseException) -> EnvironmentFault:
    """What ``who`` raised in ``where``, in one sentence."""
    if isinstance(error, SystemExit):
        return GameExit(
            f"{who} asked to end the program in {where}{place(error)}: a game may not call sys.exit; if its "
            "window was closed, leave it open."
        )
    if isinstance(error, Flaw):
        return EnvironmentFault(f"{who} gave {error} in {where}")
    return EnvironmentFault(f"{who} raised {type(error).__name__} in {where}{_words(error)}{place(error)}")


def _words(error: BaseException) -> str:
    try:
        words = str(error).strip()
    except Exception:  # some cannot say what they are
        words = ""
    return f": {words}" if words else ""


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


def in_a_line(sentence: str, error: BaseException) -> str:
    """A sentence about an error and what was noted with it, each with its end, as one line."""
    # What an environment or a library said may run over several lines.
    texts = [" ".join(text.split()) for text in (sentence, *sentences(error))]
    return " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in texts)


def shows_traceback() -> bool:
    """Whether the user wants to see the whole traceback of an error."""
    return os.environ.get(TRACEBACK, "0") not in ("", "0")


def show_traceback(error: BaseException) -> None:
    """Print the whole traceback on stderr if that was asked for."""
    if shows_traceback():
        traceback.print_exception(error)
