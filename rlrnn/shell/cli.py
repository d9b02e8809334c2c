"""The command ``rlrnn``: runs a verb, and reports an error in one sentence."""

from __future__ import annotations

import os
import select
import shlex
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from rlrnn.common.modules import import_module
from rlrnn.common.settings import unknown
from rlrnn.common.texts import printable, tell
from rlrnn.errors import (
    GAME_ERRORS,
    TRACEBACK,
    GameExit,
    UserError,
    in_a_line,
    own_frames,
    part_fault,
    show_traceback,
    shows_traceback,
)
from rlrnn.experiment.training.stopping import Terminated
from rlrnn.shell.arguments import parser
from rlrnn.shell.document import document
from rlrnn.shell.verbs import VERBS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0; 1: the system failed, or an agent was not verified; 2: a mistake to mend; 130: Ctrl-C; 143:
    SIGTERM while it trained.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv:
        parser().print_help()
        return 0
    if (name := next((word for word in argv if not word.startswith("-")), None)) not in (None, *VERBS):
        return _fail(UserError(), unknown("command", name, VERBS), 2)
    arguments = parser().parse_args(argv)
    arguments.line = shlex.join(["rlrnn", *argv])
    if arguments.traceback:
        os.environ[TRACEBACK] = "1"  # inherited by the processes of seeds
    try:
        with ExitStack() as block:
            if getattr(arguments, "json", False):
                arguments.json = block.enter_context(document())
            for module in getattr(arguments, "imports", []):
                import_module(module)
            block.enter_context(_warnings_in_a_line())
            status = VERBS[arguments.command].run(arguments) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        return _fail(error, "ended by SIGTERM." if terminated else "interrupted.", 143 if terminated else 130)
    except UserError as error:
        # The operating system's own failures, a full disk above all, are not the user's mistake, nor is a
        # closed window.
        system = _is_systems(error.__cause__) or isinstance(error, GameExit)
        unknown_name = "--import" in str(error)  # which a module would have registered
        remedy = _not_imported(arguments) if unknown_name else ""
        return _fail(error, f"{error}{remedy}", 1 if system else 2)
    except GAME_ERRORS as error:
        if isinstance(error, BrokenPipeError) and _is_closed(sys.stdout):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # which Python flushes at its exit
            return 1
        if (fault := part_fault(error)) is not None:
            return _fail(error, str(fault), 1 if _is_systems(error) else 2)
        if not isinstance(error, OSError):
            raise
        from rlrnn.common.files import sentence

        return _fail(error, sentence(error), 1)


def _is_systems(error: BaseException | None) -> bool:
    """Whether the operating system failed; a file that is not there is looked for by mistake."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def _is_closed(stream: TextIO) -> bool:
    """Whether its reader, such as `head`, has closed the pipe: nothing is said then, as rich does."""
    try:
        stream.flush()
        look = select.poll()
        look.register(stream.fileno(), 0)  # which tells of a closed pipe unasked
        return bool(look.poll(0))
    except BrokenPipeError:
        return True
    except (AttributeError, OSError, ValueError):  # a system without poll, a stream that is no file
        return False


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Print a warning for users as one line, like every message, without this program's file and line."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, UserWarning):
            tell("rlrnn:", " ".join(str(message).split()), file=sys.stderr)
        else:
            usual(message, category, *place)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _not_imported(arguments: Namespace) -> str:
    """The --import options of a run whose game or cell is unknown: no module is imported unasked."""
    from rlrnn.experiment.runs.runs import missing_imports

    given = getattr(arguments, "imports", [])
    named = [getattr(arguments, name, None) for name in ("run", "agent")]
    for folder in (*getattr(arguments, "runs", []), *(name for name in named if name)):
        if missing := missing_imports(folder, given):
            options = " ".join(f"--import {name}" for name in missing)
            return f" {folder} was trained with {options}: add it here, too."
    return ""


def _fail(error: BaseException, sentence: str, status: int) -> int:
    show_traceback(error)
    # Where a user's own function is at fault, its lines help most.
    if not (shows_traceback() or isinstance(error, GameExit | KeyboardInterrupt)):
        sys.stderr.write(printable(own_frames(error)))
    tell("rlrnn:", in_a_line(sentence, error), file=sys.stderr)
    return status
