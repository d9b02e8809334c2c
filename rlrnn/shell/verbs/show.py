"""rlrnn show: print the file of a game or an agent."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell

SHORT = "print the file of a game or an agent"
TEXT = """
Prints the file of a game or of an agent's recipe, with its path in the first line: a template for your own.

examples:
  rlrnn show pong                          the game
  rlrnn show pong-gru > my-agent.toml      the recipe, to be edited and trained: rlrnn train my-agent.toml
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "name", metavar="GAME|AGENT", help="a game or an agent of the catalogue (see: rlrnn list)"
    )


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment import catalogue

    path = catalogue.file(arguments.name)
    tell(f"# {path}", path.read_text(encoding="utf-8").rstrip("\n"), sep="\n")
