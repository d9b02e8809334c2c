"""A fitness of the user's own: what a search maximises instead of the points that the game counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rlrnn.common.batches import parts_of, whole_of
from rlrnn.common.messages import sendable
from rlrnn.common.settings import check_registered, is_number, plain, register
from rlrnn.errors import GAME_ERRORS, PartFault, UserError, place

Array = npt.NDArray[Any]
POINTS = "points"  # the fitness that is none of the user's


@dataclass(frozen=True)
class PlayedEpisode:
    """A member's episode of T steps: row t holds the observation before action t and the reward after it."""

    observations: Any  # [T, ...], or a dict of such
    actions: Array  # [T, ...] as the game takes them
    rewards: Array  # [T] points
    points: float  # of the whole episode

    @property
    def length(self) -> int:
        """Steps."""
        return len(self.actions)


Judge: TypeAlias = Callable[[PlayedEpisode], float]
FITNESSES: dict[str, Judge] = {}


def register_fitness(name: str, fitness: Judge) -> None:
    """Make a function of an episode known by name to recipes: ``[evolution] fitness = "mine"``.

    It gets ``observations`` [T, ...] (or a dict of such), ``actions`` [T, ...], ``rewards`` [T], ``points``
    and ``length`` of an episode of T steps, and returns a finite number, larger where the member did better.
    Registering the same function twice is harmless; another one under a name that is taken is a
    ``UserError``.
    """
    if not (callable(fitness) and hasattr(fitness, "__qualname__")) or isinstance(fitness, type):
        raise UserError(f"{fitness!r} is no fitness: register a function of an episode.")
    if name == POINTS:
        raise UserError("fitness name 'points' belongs to the points that the game counts: choose another.")
    register("fitness", name, fitness, FITNESSES)


def judge_of(fitness: str | Judge) -> Judge | None:
    """The function, by its registered name or itself; None of the game's points."""
    if fitness == POINTS:
        return None
    if not isinstance(fitness, str):
        return fitness
    check_registered("fitness", fitness, {POINTS: None, **FITNESSES})
    return FITNESSES[fitness]


def name_of(fitness: str | Judge) -> str:
    """What it is called in sentences."""
    return fitness if isinstance(fitness, str) else getattr(fitness, "__qualname__", repr(fitness))


def check_fitness(fitness: Any) -> None:
    """Refuse what is neither a function nor the name of one, which may be registered before it learns."""
    if not (isinstance(fitness, str) or callable(fitness)) or isinstance(fitness, type):
        raise UserError(
            f"fitness is {fitness!r}: give 'points', a name that rlrnn.register_fitness was given, or a "
            "function of an episode."
        )


def check_sendable(fitness: str | Judge) -> None:
    """Refuse a function that worker processes cannot be sent; a name they find among what they import."""
    if isinstance(fitness, str):
        return
    function: Any = fitness
    try:
        sendable(function, "")
    except UserError as error:
        raise UserError(
            f"the fitness {name_of(fitness)} cannot be sent to a worker process ({error.__cause__}): use "
            "workers=0, or a function that holds nothing but data."
        ) from error


class Judging:
    """Keeps the episodes under way in the rows of a round, and judges each one as it ends."""

    def __init__(self, judge: Judge, name: str, rows: int) -> None:
        self.judge, self.name = judge, name
        self.fitness = np.zeros(rows)  # [B]
        self._steps: list[list[tuple[Any, Array, float]]] = [[] for _ in range(rows)]

    def add(self, observation: Any, actions: Array, rewards: Array, playing: npt.NDArray[np.intp]) -> None:
        """A step of these rows [n], from what they saw [n, ...]."""
        parts = parts_of(observation)
        for row, b in enumerate(playing.tolist()):
            seen = {key: np.array(part[row]) for key, part in parts.items()}
            self._steps[b].append((seen, np.array(actions[row]), float(rewards[row])))

    def end(self, rows: npt.NDArray[np.intp], points: Array) -> None:
        """These rows [n] have won so many points [n] in all."""
        for b, won in zip(rows.tolist(), points.tolist(), strict=True):
            seen, done, rewards = zip(*self._steps[b], strict=True)
            self._steps[b] = []
            observations = whole_of({key: np.stack([each[key] for each in seen]) for key in seen[0]})
            self.fitness[b] = self._judged(
                PlayedEpisode(observations, np.stack(done), np.array(rewards), won)
            )

    def _judged(self, episode: PlayedEpisode) -> float:
        which = f"an episode of {episode.length:,} steps and {episode.points:g} points"
        try:
            value = plain(self.judge(episode))
        except UserError:
            raise
        except GAME_ERRORS as error:
            raise PartFault(
                f"the fitness {self.name} raised {type(error).__name__} for {which}: {error}{place(error)}."
            ) from error
        if not is_number(value):
            raise PartFault(
                f"the fitness {self.name} returned {value!r} for {which}, but must return a finite number."
            )
        return float(value)
