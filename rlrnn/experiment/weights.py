"""Saved weights of verified agents, which travel with the package: played straight after installation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlrnn.common import package_data
from rlrnn.errors import UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import Recipe

if TYPE_CHECKING:
    from rlrnn.experiment.agents import Agent

PLACES = "verified", "runs/verified"  # in the wheel's data, in a checkout


def attached(recipe: Recipe) -> dict[int, Path]:
    """Seed -> saved agent, of an agent of the catalogue: in the wheel's data, else in the checkout's runs."""
    if catalogue.agents().get(recipe.name) != recipe:
        return {}
    for place in package_data.folders(*PLACES):
        files = place.glob(f"{recipe.name}-seed*.zip")
        found = {int(file.stem.removeprefix(f"{recipe.name}-seed")): file for file in files}
        if found:
            return found
    return {}


def names() -> list[str]:
    """The agents of the catalogue whose weights are there."""
    return [name for name, recipe in catalogue.agents().items() if attached(recipe)]


def trained(name: str, device: str = "cpu") -> tuple[Agent, Recipe]:
    """A verified agent of the catalogue with its weights, of its first seed, and its recipe."""
    from rlrnn.experiment import agents

    recipe = catalogue.agent(name)
    files = attached(recipe)
    if not files:
        raise UserError(
            f"{name} comes without its weights: rlrnn train {name} makes them; with weights come "
            f"{', '.join(names())}."
        )
    return agents.load(files[min(files)], device), recipe
