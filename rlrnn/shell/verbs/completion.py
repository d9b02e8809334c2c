"""rlrnn completion: print what lets a shell complete rlrnn's commands and options."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from rlrnn.errors import MissingExtraError

SHORT = "print a shell's completion of commands and options"
TEXT = """
Prints a script that lets bash or zsh complete rlrnn's commands and options with the tab key. It needs
an extra: pip install "rlrnn[completion]".

examples:
  rlrnn completion bash > ~/.local/share/bash-completion/completions/rlrnn
  rlrnn completion zsh > ~/.zfunc/_rlrnn
"""
SHELLS = ("bash", "zsh")


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("shell", choices=SHELLS, help="whose completion")


def run(arguments: Namespace) -> None:
    """Run the verb."""
    try:
        import shtab
    except ImportError:
        raise MissingExtraError('completion needs an extra: pip install "rlrnn[completion]".') from None
    sys.stdout.write(shtab.complete(arguments.whole, arguments.shell) + "\n")  # a script, not words
