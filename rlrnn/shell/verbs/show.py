"""rlrnn show: print the file of a game or an agent."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell

SHORT = "print the file of a game or an agent"
TEXT = """
Prints the file of a game or of an agent's recipe, and in its first line where it lies: a beginning for
your own.

examples:
  rlrnn show pong                          the game
  rlrnn show pong-gru > my-agent.toml      the recipe, to be changed and trained: rlrnn train my-agent.toml
"""


def arguments(parser: ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("name", metavar="NAME", help="a game or an agent of the catalogue (see: rlrnn list)")


def run(arguments: Namespace) -> None:
    """Do it."""
    from rlrnn.experiment import catalogue

    path = catalogue.file(arguments.name)
    tell(f"# {path}", path.read_text(encoding="utf-8").rstrip("\n"), sep="\n")
