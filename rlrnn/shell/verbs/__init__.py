"""The shell's verbs, one file each: its help, its arguments, and what it does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Protocol

from rlrnn.shell.verbs import (
    check,
    compare,
    completion,
    draw,
    evaluate,
    imitate,
    inspect,
    list,  # noqa: A004  (a module of that name)
    new,
    play,
    plot,
    record,
    report,
    search,
    show,
    train,
    verify,
    watch,
)


class Verb(Protocol):
    """A module of this folder. Slow imports stand in ``run``, so that help is printed at once."""

    SHORT: str  # its line in rlrnn --help
    TEXT: str  # its own help, with examples

    def arguments(self, parser: ArgumentParser) -> None:
        """Add its arguments to its parser."""

    def run(self, arguments: Namespace) -> int | None:
        """Run the verb; returns the exit status, if it is not 0."""


VERBS: dict[str, Verb] = {  # as --help lists them
    "list": list,
    "show": show,
    "check": check,
    "new": new,
    "train": train,
    "verify": verify,
    "search": search,
    "evaluate": evaluate,
    "plot": plot,
    "compare": compare,
    "inspect": inspect,
    "draw": draw,
    "watch": watch,
    "record": record,
    "imitate": imitate,
    "play": play,
    "report": report,
    "completion": completion,
}
