"""Evaluations along a training: what they hold, and the file that keeps them, evaluations.npz.

The file is the one that SB3's EvalCallback writes (``timesteps`` [N], ``results`` and ``ep_lengths`` [N, E],
``successes`` [N, E] where the game says what winning is), with ``wiped`` [N, E] beside: the points with the
memory wiped before every step.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlrnn.common.files import replacing
from rlrnn.errors import FileFault

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluations:
    """What an agent won at several times of its training: N evaluations of E episodes each."""

    steps: NDArray[np.int64]  # [N] of the training so far, rising
    points: Array  # [N, E] per episode
    lengths: NDArray[np.int64]  # [N, E] steps
    wiped: Array | None = None  # [N, E] points with the memory wiped; None of a network that has none
    successes: NDArray[np.bool_] | None = None  # [N, E] episodes won, where the game says what winning is

    def __repr__(self) -> str:
        if not len(self):
            return "no evaluations"
        said = [f"{mean:.2f}" for mean in self.points.mean(axis=1)]
        if self.wiped is not None:
            wiped = self.wiped.mean(axis=1)
            said = [f"{mean} (memory wiped {other:.2f})" for mean, other in zip(said, wiped, strict=True)]
        pairs = zip(self.steps.tolist(), said, strict=True)
        lines = [f"after {steps:,} steps: {words} points" for steps, words in pairs]
        return "\n".join([f"{len(self)} evaluations of {self.points.shape[1]} episodes", *lines])

    def __len__(self) -> int:
        return len(self.steps)

    def before(self, step: int) -> Evaluations:
        """Those made earlier than at a step of the training."""
        count = int(np.searchsorted(self.steps, step))
        cut: dict[str, Any] = {
            name: None if table is None else table[:count] for name, table in vars(self).items()
        }
        return replace(self, **cut)

    def with_one(self, other: Evaluations) -> Evaluations:
        """These, and then another one's."""
        if not len(self):
            return other
        both: dict[str, Any] = {}
        for name, table in vars(other).items():
            own = getattr(self, name)
            both[name] = None if table is None or own is None else np.concatenate([own, table])
        return replace(other, **both)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        names: dict[str, Any] = {"timesteps": self.steps, "results": self.points, "ep_lengths": self.lengths}
        names |= {"wiped": self.wiped, "successes": self.successes}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, **{name: table for name, table in names.items() if table is not None})


def read_evaluations(path: Path) -> Evaluations:
    """What the file holds, SB3's as well; one that is not whole is a ``FileFault``."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no .npz")
            with np.load(file, allow_pickle=False) as data:
                tables: dict[str, Any] = dict(data)
        steps, points = tables["timesteps"], tables["results"].astype(np.float64)
        more = tables.get("wiped"), tables.get("successes")
        found = Evaluations(steps.astype(np.int64), points, tables["ep_lengths"], *more)
        shapes = {table.shape for table in (points, found.lengths, *more) if table is not None}
        if len(shapes) != 1 or points.ndim != 2 or steps.shape != points.shape[:1] or not points.shape[1]:
            raise ValueError(f"its tables have the shapes {sorted(shapes)}, and its steps {steps.shape}")
        if not np.isfinite(points).all() or (np.diff(found.steps) <= 0).any():
            raise ValueError("its steps do not rise, or not all of its points are finite")
        return found
    except FileNotFoundError:
        raise FileFault(f"there is no {path}.") from None
    except Exception as error:  # a file may hold anything
        raise FileFault(f"{path} is not a file of evaluations: {str(error).rstrip('.')}.") from None
