"""The shell's verbs, one file each: what it says of itself, what it takes, and what it does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Protocol

from rlrnn.shell.verbs import (
    compare,
    draw,
    evaluate,
    inspect,
    list,  # noqa: A004  (a module of that name)
    plot,
    report,
    show,
    train,
    verify,
    watch,
)


class Verb(Protocol):
    """A module of this folder. It imports what is heavy in ``run``, so that help need not wait for it."""

    SHORT: str  # a line of rlrnn --help
    TEXT: str  # its own help, with examples

    def arguments(self, parser: ArgumentParser) -> None:
        """Add what it takes to its parser."""

    def run(self, arguments: Namespace) -> int | None:
        """Do it; returns the exit status, if it is not 0."""


VERBS: dict[str, Verb] = {  # as --help lists them
    "list": list,
    "show": show,
    "train": train,
    "verify": verify,
    "evaluate": evaluate,
    "plot": plot,
    "compare": compare,
    "inspect": inspect,
    "draw": draw,
    "watch": watch,
    "report": report,
}
