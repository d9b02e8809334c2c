"""rlrnn check: describe a game before an agent learns it."""

from __future__ import annotations

import dataclasses
import shlex
from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell_json, terminal
from rlrnn.shell.verbs import options

SHORT = "describe a game: spaces, seeds, rewards, speed, advice"
TEXT = """
Plays a game at random and tells what there is to know before an agent learns it: what is seen and done and
which learners take that, whether the same seed gives the same episode, rewards, lengths of episodes, what a
random player wins, steps per second, whether its state can be saved; warnings, and what one would advise.

examples:
  rlrnn check Acrobot-v1
  rlrnn check mine/Maze-v0 --import my_games.py --kwargs size=7
  rlrnn check pong --episodes 200 --json
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "game", metavar="GAME", help="a game of the catalogue, its TOML file, or any registered Gymnasium id"
    )
    parser.add_argument(
        "--episodes", type=options.count, default=50, help="that a random player plays (default: 50)"
    )
    options.add_json(parser)
    options.add_changes(parser)
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.checking import check

    found = check(arguments.game, arguments.episodes, **options.changes(arguments))
    words = [f"--import {module}" for module in arguments.imports]
    words += [f"--kwargs {shlex.join(arguments.kwargs)}"] if arguments.kwargs else []
    words += [f"--wrapper {shlex.quote(text)}" for text in arguments.wrappers]
    named = f"--game {arguments.game}"
    advice = tuple(sentence.replace(named, " ".join([named, *words])) for sentence in found.advice)
    found = dataclasses.replace(found, advice=advice)
    if arguments.json:
        tell_json(found.to_json(), arguments.json)
    else:
        terminal().print(found.table())
