"""rlrnn list: list the games and agents of the catalogue."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from rlrnn.common.texts import tell_json, terminal
from rlrnn.errors import UserError
from rlrnn.shell.verbs import options

SHORT = "list the games and agents of the catalogue"
TEXT = """
Lists the games and the agents of the catalogue, with the verified points of each agent.

examples:
  rlrnn list
  rlrnn list pong        rows with this word in their name, their game or what must be remembered
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("word", nargs="?", metavar="WORD", help="only rows with this word")
    options.add_json(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rich.box import SIMPLE
    from rich.table import Column, Table

    from rlrnn.envs.games import games
    from rlrnn.experiment import catalogue, statistics

    def column(heading: str, names: Iterable[str]) -> Column:
        # Names are for typing or copying: never truncated.
        return Column(heading, no_wrap=True, min_width=max(map(len, names), default=0))

    known, recipes = games(), catalogue.agents()
    if arguments.word:
        known = {name: game for name, game in known.items() if _has(arguments.word, name, game.remember)}
        recipes = {
            name: recipe for name, recipe in recipes.items() if _has(arguments.word, name, recipe.game)
        }
    if not known and not recipes:
        raise UserError(f"no row of the list has {arguments.word!r} in it: see all of them with rlrnn list.")
    if arguments.json:
        tell_json({"games": _tables(known), "agents": _tables(recipes)})
        return
    listed = Table(column("game", known), "what must be remembered", box=SIMPLE, pad_edge=False)
    for name, game in known.items():
        listed.add_row(name, game.remember)
    agents = Table(column("agent", recipes), column("game", [r.game for r in recipes.values()]), box=SIMPLE)
    agents.pad_edge, agents.padding = False, (0, 1, 0, 0)
    agents.caption = "verified points: the mean over seeds, and the worst seed"
    for heading in ("steps", "points", "worst"):
        agents.add_column(heading, justify="right", no_wrap=True)
    for name, recipe in recipes.items():
        points = recipe.verified.points if recipe.verified else ()
        shown = (statistics.mean([points]), min(points)) if points else ()
        scores = [f"{number:.{statistics.decimals(*points)}f}" for number in shown] or ["not yet", ""]
        agents.add_row(name, recipe.game, statistics.short(recipe.steps), *scores)
    terminal().print(*([listed] if known else []), *([agents] if recipes else []))


def _tables(records: Mapping[str, Any]) -> dict[str, Any]:
    from rlrnn.common.records import to_mapping

    return {name: to_mapping(record) for name, record in records.items()}


def _has(word: str, *texts: str) -> bool:
    return any(word.lower() in text.lower() for text in texts)
