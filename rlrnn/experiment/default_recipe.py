"""The recipe of a game that has none, chosen by its spaces alone (default_recipe.toml), with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn.common.records import build, read_toml
from rlrnn.common.settings import takes_plain
from rlrnn.envs import games
from rlrnn.experiment import catalogue, spaces
from rlrnn.experiment.recipes import Recipe

if TYPE_CHECKING:
    from rich.table import Table

PATH = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Choice:
    """A recipe, and why it is as it is."""

    recipe: Recipe
    sees: str  # in words, what an agent sees in each step
    does: str  # and what it does
    reasons: tuple[str, ...]  # one sentence for each rule that was followed

    def table(self) -> Table:
        """What was chosen and why, in a few lines for the shell."""
        from rich.table import Table

        recipe = self.recipe
        network, how = recipe.network, recipe.ppo
        memory = f"{network.cell} of {network.hidden_size} units, {how.n_envs} copies, {recipe.steps:,} steps"
        grid = Table.grid(padding=(0, 2))
        grid.title, grid.title_justify = f"{recipe.game}: a recipe by its spaces alone", "left"
        for name, text in (("sees", self.sees), ("does", self.does), ("learns by", memory)):
            grid.add_row(name, text)
        for i, reason in enumerate(self.reasons):
            grid.add_row("because" if i == 0 else "", f"{reason}.")
        return grid


@takes_plain
def default_recipe(
    game: str | Path,
    *,
    steps: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any]] = (),
    name: str | None = None,
) -> Recipe:
    """A recipe for any game, chosen by its spaces alone: ``rlrnn.train(rlrnn.default_recipe("Acrobot-v1"))``.

    :param game: a game of the catalogue, the path of a game file, or any registered Gymnasium id
    :param steps: of the game in training; default: 200,000
    :param kwargs: further keyword arguments of the game
    :param wrappers: ours by name, around the game's own, innermost first
    :param name: of the agent; default: the game's
    """
    return choose(game, steps=steps, kwargs=kwargs, wrappers=wrappers, name=name).recipe


def choose(
    game: str | Path,
    *,
    steps: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any]] = (),
    name: str | None = None,
) -> Choice:
    """``default_recipe``, with its reasons."""
    chosen = games.game(game)
    table: dict[str, Any] = {
        "name": name or chosen.name.replace("/", "-"),
        "game": str(game),
        "kwargs": dict(kwargs or {}),
        "wrappers": [dict(wrapper) for wrapper in wrappers],
    }
    plain = build(Recipe, {**table, "steps": 1}, "the default recipe")
    with closing(games.make_vec(catalogue.game_of(plain), workers=0)) as env:
        sees, does = env.observation_space, env.action_space
    spaces.check_supported(sees, does)
    rules = read_toml(PATH)
    kinds = {"observations": spaces.observation_kinds(sees), "actions": (spaces.action_kind(does),)}
    reasons = []
    for rule in (rules["all"], *rules["rule"]):
        if all(rule[what] in kinds[what] for what in kinds if what in rule):
            table = _merged(table, rule.get("recipe", {}))
            reasons.append(rule["because"])
    if steps is not None:
        table["steps"] = steps
    recipe = build(Recipe, table, "the default recipe")
    return Choice(recipe, spaces.words(sees), spaces.words(does), tuple(reasons))


def _merged(table: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The table with more in it: tables in tables are merged, lists are joined, anything else is replaced."""
    merged = dict(table)
    for key, value in more.items():
        before = merged.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            merged[key] = _merged(before, value)
        elif key == "wrappers" and before:
            merged[key] = [*before, *value]
        else:
            merged[key] = value
    return merged
