"""The command ``rlrnn``: runs a verb, and reports an error in one sentence."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rlrnn.common.settings import unknown
from rlrnn.common.texts import tell
from rlrnn.errors import TRACEBACK, GameExit, UserError, sentences, show_traceback
from rlrnn.experiment.imports import import_module
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
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe: quiet, as rich is then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # which Python flushes at its exit
        return 1
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        return _fail(error, "ended by SIGTERM." if terminated else "interrupted.", 143 if terminated else 130)
    except UserError as error:
        # The operating system's own failures, a full disk above all, are not the user's mistake, nor is a
        # closed window.
        system = isinstance(error.__cause__, OSError) and not isinstance(error, FileNotFoundError)
        system = system or isinstance(error, GameExit)
        unknown_name = "--import" in str(error)  # which a module would have registered
        remedy = _not_imported(arguments) if unknown_name else ""
        return _fail(error, f"{error}{remedy}", 1 if system else 2)
    except OSError as error:
        from rlrnn.common.files import sentence

        return _fail(error, sentence(error), 1)


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
    # What an environment or a library said may run over several lines.
    texts = [" ".join(text.split()) for text in (sentence, *sentences(error))]
    ended = [text if text.endswith((".", "?", "!")) else f"{text}." for text in texts]
    tell("rlrnn:", *ended, file=sys.stderr)
    return status
