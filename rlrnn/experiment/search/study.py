"""A study: what is searched, how many trials, and how they are judged; a file's and a folder's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from rlrnn.common.records import Count, build, read_toml, to_mapping
from rlrnn.common.settings import check_number, check_seed
from rlrnn.common.texts import check_name
from rlrnn.errors import UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.search.space import Space

Seed = Annotated[int, 0]


@dataclass(frozen=True)
class Study:
    """What ``rlrnn search`` reads in a study's file."""

    name: str  # of the study, and of the recipe that it finds; a file's own name if not given
    recipe: str  # an agent of the catalogue or a recipe's file: what is not searched stays as it is there
    trials: Count = 64  # recipes that are tried; the first is the recipe as it is
    wave: Count = 8  # trials that are drawn at once, whatever the number of workers
    seeds: tuple[Seed, ...] = (200, 201, 202)  # of the trials' trainings: one more with every rung
    rungs: tuple[float, ...] = (0.1, 0.3, 1.0)  # shares of the recipe's steps at which trials are compared
    keep: float = 1 / 3  # share of the drawn trials of a rung that goes on; the recipe as it is always does
    episodes: Count = 20  # of each comparison; four times as many halve their part of the noise
    sampler: Literal["tpe", "random"] = "tpe"  # how trials are drawn: by what earlier waves won, or evenly
    first: Count = 10  # trials that are drawn evenly before those by what was won
    seed: Seed = 0  # of the draws
    best: Count = 3  # trials that are trained again on fresh seeds, beside the recipe as it is
    verify: tuple[Seed, ...] = (0, 1, 2, 3, 4)  # those seeds; none: the best is not verified
    controls: Seed = 2  # of those, the first so many on which the winner's controls are trained
    space: dict[str, Any] = field(default_factory=dict)  # by dotted key; not given: that of the learner

    def __post_init__(self) -> None:
        check_name(self.name, "a study")
        what = f"the study {self.name}"
        check_number(f"{what}: keep", self.keep, 0, 1, ends="()")
        rising = all(a < b for a, b in zip(self.rungs, self.rungs[1:], strict=False))
        if not (self.rungs and rising and self.rungs[0] > 0 and self.rungs[-1] == 1):
            raise UserError(
                f"{what}: rungs is {list(self.rungs)}, but must rise from more than 0 to 1: shares of the "
                "recipe's steps."
            )
        for name in ("seeds", "verify"):
            numbers = getattr(self, name)
            for seed in numbers:
                check_seed(seed)
            if len(set(numbers)) < len(numbers):
                raise UserError(f"{what}: {name} is {list(numbers)}, but each seed counts once.")
        if not self.seeds:
            raise UserError(f"{what}: seeds is empty, but trials are trained on one seed at least.")
        if both := sorted(set(self.seeds) & set(self.verify)):
            raise UserError(
                f"{what}: the seed {both[0]} is among both seeds and verify: what was chosen by a seed is "
                "not verified by it."
            )
        if len(self.verify) == 1:
            raise UserError(
                f"{what}: verify is one seed alone, which shows no spread: give two or more, or none."
            )

    def seeds_of(self, rung: int) -> tuple[int, ...]:
        """The seeds of the trials at a rung, 0 being the first: as many more with each as there are."""
        return self.seeds[: max(1, round(len(self.seeds) * (rung + 1) / len(self.rungs)))]

    def going_on(self, drawn: int) -> int:
        """How many of so many drawn trials of a rung go on to the next."""
        return int(drawn * self.keep + 1e-9)

    def steps_of(self, rung: int, recipe: Recipe) -> int:
        """Steps of a training until a rung."""
        return max(1, round(self.rungs[rung] * recipe.steps))

    def steps_at_most(self, recipe: Recipe) -> int:
        """Steps of the game that all trials take at most, without the verification."""
        total, drawn = 0, self.trials - 1  # and the recipe as it is, which plays to the end
        for rung in range(len(self.rungs)):
            before = self.seeds_of(rung - 1) if rung else ()
            for seed in self.seeds_of(rung):
                begun = self.steps_of(rung - 1, recipe) if seed in before else 0
                total += (drawn + 1) * (self.steps_of(rung, recipe) - begun)
            drawn = min(drawn, max(1, self.going_on(drawn)))
        return total


def read_study(path: str | Path) -> tuple[Study, Recipe]:
    """The study in a TOML file, and its recipe; a relative path of that counts from the file's own folder."""
    path = Path(path)
    table = {"name": path.stem, **read_toml(path)}
    named = table.get("recipe")
    if isinstance(named, str) and named.endswith(".toml"):
        table["recipe"] = str(path.parent / named)
    study = build(Study, table, str(path))
    recipe = catalogue.agent(study.recipe)
    space_of(study, recipe, str(path))
    return study, recipe


def is_study(path: str | Path) -> bool:
    """Whether a TOML file is a study's, and not a recipe's."""
    return "recipe" in read_toml(Path(path))


def space_of(study: Study, recipe: Recipe, where: str) -> Space:
    """What a study searches."""
    return Space.read(study.space, recipe, where) if study.space else Space.default(recipe)


def settings(study: Study) -> Mapping[str, Any]:
    """All that decides the answer of a study, besides its recipe; with more trials it only goes on."""
    table = to_mapping(study)
    for name in ("name", "recipe", "trials", "best", "verify", "controls", "space"):
        table.pop(name)
    return table


def with_space(study: Study, space: Space) -> Study:
    """The study with its space written out."""
    default = to_mapping(type(next(iter(space.parameters.values())))())
    tables = {
        key: {name: value for name, value in to_mapping(parameter).items() if value != default.get(name)}
        for key, parameter in space.parameters.items()
    }
    return dataclasses.replace(study, space=tables)
