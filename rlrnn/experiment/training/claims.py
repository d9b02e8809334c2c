"""What an agent's finished runs have won, as its recipe claims it: the table [verified]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Protocol

from rlrnn.experiment.evaluation import WIPED, WITH_MEMORY, Score
from rlrnn.experiment.recipes import Recipe, Verified

DIGITS = 3  # decimals of the points


class Finished(Protocol):
    """A run, or what was kept of one."""

    @property
    def recipe(self) -> Recipe:
        """As used."""

    @property
    def seed(self) -> int:
        """Of its training."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Its versions, processor and seconds."""

    def scores(self) -> Mapping[str, Score]:
        """By the way of playing."""


def claim(
    runs: Sequence[Finished], command: str, controls: Mapping[str, Sequence[Finished]] | None = None
) -> Verified:
    """Of the runs of an agent, one of each seed, and of those of its controls by their kind."""
    kinds = {kind: means(found, WITH_MEMORY) for kind, found in (controls or {}).items()}
    return Verified(
        points=means(runs, WITH_MEMORY),
        seeds=tuple(run.seed for run in runs),
        version=str(runs[0].facts["rlrnn"]),
        command=command,
        wiped=means(runs, WIPED) if runs[0].recipe.network.cell != "none" else (),
        **kinds,
        seconds=round(median(run.facts["seconds"] for run in runs), 1),
        processor=" or ".join(sorted({run.facts.get("processor", "") for run in runs} - {""})),
    )


def means(runs: Sequence[Finished], player: str) -> tuple[float, ...]:
    """Mean points of a player, run by run."""
    return tuple(round(run.scores()[player].mean, DIGITS) for run in runs)
