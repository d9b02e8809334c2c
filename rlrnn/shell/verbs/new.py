"""rlrnn new: write a recipe and a game file to be edited."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "write a recipe and a game file to be edited"
TEXT = """
Writes agents/NAME.toml and envs/NAME.toml here: the recipe that the game's spaces choose, or that of another
agent, and the game, with every key, its default and its meaning. They run as they are: rlrnn train
agents/NAME.toml. Nothing is written over.

examples:
  rlrnn new my-acrobot --game Acrobot-v1
  rlrnn new my-acrobot --game Acrobot-v1 --wrapper 'hide, drop = [4, 5]' --from cartpole-gru
  rlrnn new my-maze --game mine/Maze-v0 --import my_games.py --kwargs size=7
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("name", metavar="NAME", help="what the agent shall be called")
    options.add_game(parser, required=True)
    parser.add_argument(
        "--from",
        dest="like",
        metavar="AGENT",
        help="an agent of the catalogue, or the path of a recipe, whose settings are taken",
    )
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment import templates

    recipe, game = templates.write(
        arguments.name, arguments.game, like=arguments.like, **options.changes(arguments)
    )
    tell(f"{recipe}: how it learns\n{game}: what it sees, and how that is counted")
    imports = "".join(f" --import {module}" for module in arguments.imports)
    tell(f"to train it as it is: rlrnn train {recipe}{imports}")
