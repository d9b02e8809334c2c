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
  rlrnn list games             or agents: one of the two tables
  rlrnn list pong              rows with this word in their name, game or description
  rlrnn list agents fir        agents with this word there, or as their cell or learner (ppo, evolution)
  rlrnn list --weights         agents whose weights come along: rlrnn watch plays them at once
"""
KINDS = "games", "agents"


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="games or agents, and words that a row must have"
    )
    parser.add_argument("--weights", action="store_true", help="only agents whose weights come along")
    options.add_json(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rich.box import SIMPLE
    from rich.table import Column, Table

    from rlrnn.experiment import catalogue, statistics, weights

    def column(heading: str, names: Iterable[str]) -> Column:
        # Names are for typing or copying: never truncated.
        return Column(heading, no_wrap=True, min_width=max(map(len, names), default=0))

    if arguments.weights and arguments.words[:1] == ["games"]:
        raise UserError("agents have weights, and games none: leave out --weights, or games.")
    kinds = [word for word in arguments.words[:1] if word in KINDS] or list(KINDS)
    words = arguments.words[1 if arguments.words[:1] == kinds else 0 :]
    known = catalogue.list_games(*words) if "games" in kinds and not arguments.weights else {}
    recipes = catalogue.list_agents(*words) if "agents" in kinds else {}
    if arguments.weights:
        there = weights.names()
        recipes = {name: recipe for name, recipe in recipes.items() if name in there}
    if not known and not recipes:
        said = " ".join(words)
        raise UserError(f"no row of the list has {said!r} in it: see all of them with rlrnn list.")
    if arguments.json:
        tell_json({"games": _tables(known), "agents": _tables(recipes)}, arguments.json)
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
