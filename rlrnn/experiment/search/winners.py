"""The best trials, trained again on fresh seeds beside the recipe as it is; the winner becomes a recipe.

The best of many trials is partly the luckiest (the winner's curse), so what it won in the search is no
promise. The winner is the best of a few over several fresh seeds, which flatters little; its points stand in
[verified].
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rlrnn.common.files import write_whole
from rlrnn.common.texts import tell
from rlrnn.errors import UserError
from rlrnn.experiment.evaluation import WITH_MEMORY
from rlrnn.experiment.recipes import CONTROLS, Recipe, Verified, control, to_toml
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.search.folder import VERIFIED, StudyFolder
from rlrnn.experiment.search.halving import Standing
from rlrnn.experiment.search.waiting import Waiting
from rlrnn.experiment.training.claims import claim, means
from rlrnn.experiment.training.rounding import OtherProcessor
from rlrnn.experiment.training.seeds import Task, train_seeds
from rlrnn.experiment.training.shards import in_words


@dataclass(frozen=True)
class Candidate:
    """A trial, what it won in the search, and what on fresh seeds."""

    trial: int
    recipe: Recipe
    searched: float | None  # mean over the seeds of the last rung to which it came; None: it failed
    rung: int | None  # that rung
    verified: Verified | None = None  # None: it was not trained again

    @property
    def mean(self) -> float | None:
        """Points on fresh seeds."""
        return None if self.verified is None else float(np.mean(self.verified.points))


def verify(
    folder: StudyFolder,
    now: Standing,
    jobs: int,
    *,
    device: str,
    command: str | None,
    imports: tuple[str, ...],
    progress: bool,
) -> tuple[Candidate, ...]:
    """Train the best and the recipe as it is on the study's fresh seeds; the winner comes first."""
    study = folder.study
    chosen = now.best[: study.best]
    found = [_candidate(folder, now, trial) for trial in (*chosen, *([] if 0 in chosen else [0]))]
    if not study.verify:
        return tuple(found)
    how: dict[str, Any] = {"device": device, "command": command, "imports": imports}

    def trained(recipe: Recipe, trial: int, seeds: Sequence[int], kind: str = "") -> list[Run]:
        place = folder.path / VERIFIED / "-".join([f"{trial:03}", *([kind] if kind else [])])
        if progress:
            which = f"trial {trial}" if trial else "the recipe as it is"
            which = f"{which}, {kind}" if kind else which
            tell(f"rlrnn: {which}, on fresh {in_words(seeds)}.", file=sys.stderr)
        tasks = [Task(recipe, seed, place / f"seed{seed}", **how) for seed in seeds]
        waiting = Waiting()
        while True:
            outcome = train_seeds(tasks, jobs, progress)
            if outcome.failed:
                outcome.check()
            if len(outcome.finished) == len(tasks):
                return outcome.finished
            left = list(outcome.elsewhere.values())
            for why in left:
                waiting.leave(why)
            waiting.pause(len(outcome.finished), left, bool(outcome.others))

    failures = []
    for k, candidate in enumerate(found):
        try:
            again = trained(candidate.recipe, candidate.trial, study.verify)
        except OtherProcessor:  # says nothing of the settings
            raise
        except UserError as error:  # settings that fail on a fresh seed do not hold: others may
            failures.append(error)
            which = f"trial {candidate.trial}" if candidate.trial else "the recipe as it is"
            tell(f"rlrnn: {which} is left out: {error}", file=sys.stderr)
        else:
            verified = claim(again, f"rlrnn train {folder.study.name}.toml --seed K")
            found[k] = replace(candidate, verified=verified)
    if len(failures) == len(found):
        raise failures[0]
    found.sort(key=lambda candidate: -math.inf if candidate.mean is None else candidate.mean, reverse=True)
    winner = found[0]
    assert winner.verified is not None
    points: dict[str, Any] = {}
    for kind in CONTROLS if study.controls and winner.recipe.network.cell != "none" else ():
        seeds = study.verify[: study.controls]
        try:
            points[kind] = means(
                trained(control(winner.recipe, kind), winner.trial, seeds, kind), WITH_MEMORY
            )
        except UserError as error:  # what was found holds without it
            tell(f"rlrnn: the control {kind} is left out: {error}", file=sys.stderr)
    found[0] = replace(winner, verified=replace(winner.verified, **points))
    return tuple(found)


def write_recipe(folder: StudyFolder, candidates: Sequence[Candidate]) -> Path:
    """The winner as a recipe of the study's name, in its folder."""
    winner, study = candidates[0], folder.study
    how = f"{folder.recipe.name}, by a search of {study.trials} trials"
    recipe = replace(winner.recipe, name=study.name, description=how, verified=winner.verified)
    path = folder.path / f"{study.name}.toml"
    if recipe.game.endswith(".toml"):
        recipe = replace(recipe, game="game.toml")
    write_whole(path, to_toml(recipe).encode())
    return path


def _candidate(folder: StudyFolder, now: Standing, trial: int) -> Candidate:
    rung = now.reached(trial)
    score = None if rung is None else now.score(trial, rung)
    return Candidate(trial, folder.recipe_of(trial, now.values[trial]), score, rung)
