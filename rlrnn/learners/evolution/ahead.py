"""Whole rounds of one of our games in compiled calls: the same points, byte for byte, as step by step.

A member's weights are read at every step of its episodes. Members are played a few at a time, of as many
weights as stay in a core's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rlrnn.common import arrays
from rlrnn.common.processes import beat
from rlrnn.common.threads import workers
from rlrnn.envs.compiled import CompiledView, compiled_view
from rlrnn.network import population
from rlrnn.network.actuators import ChoiceActuators, ContinuousActuators
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.program import Program
from rlrnn.network.sensors import RunningNormalizer

Array = npt.NDArray[Any]

CACHE = 1 << 18  # bytes of weights that are played at once
TOGETHER = 16  # members at most: as many carts as one step of two poles takes


@dataclass(frozen=True)
class Ahead:
    """A population that plays a compiled game ahead, from the beginning of a round."""

    network: RecurrentNetwork
    game: CompiledView
    program: Program
    members: int

    @classmethod
    def of(cls, network: RecurrentNetwork, genomes: Array, env: Any) -> Ahead | None:
        """None where game or network are none that one call can run."""
        plan, sensors, actuators = population.plan_of(network), network.sensors, network.actuators
        game = compiled_view(env)
        exact = not sensors.normalizers or sensors.space.dtype == np.float32
        known = (isinstance(actuators, ChoiceActuators) and len(actuators.sizes) == 1) or (
            isinstance(actuators, ContinuousActuators) and not actuators.squashed
        )
        if plan is None or game is None or not (sensors.plain and exact and known):
            return None
        return cls(network, game, population.program_of(network, plan, genomes), len(genomes))

    def play(self, observation: Array, episodes: int, threads: int) -> tuple[Array, Array, Array]:
        """From what all members' rows see first [B, ...] -> points [B], lengths [B], moments [2, B, F].

        Moments are sums of what was seen less the present mean, and of its squares, where the network keeps
        statistics; else F is 0.
        """
        copies, made = self.members * episodes, self.program
        seen = np.ascontiguousarray(observation, np.float32).reshape(copies, -1)
        seen = seen.copy() if np.shares_memory(seen, observation) else seen
        norm, features = self._norm(seen.shape[1]), seen.shape[1]
        state = np.zeros((copies, made.state_size), np.float32)
        moments = np.zeros((2, copies, features if len(norm) else 0))
        points, lengths = np.zeros(copies), np.zeros(copies, np.int64)
        actuators, nothing = self.network.actuators, np.empty(0, np.float32)
        offset, low, high = 0, nothing, nothing
        if isinstance(actuators, ChoiceActuators):
            offset = int(actuators.first[0])
        else:
            low, high = (np.float32(each).ravel() for each in (actuators.space.low, actuators.space.high))  # type: ignore[attr-defined]
        units = actuators.output.weight.shape[1]
        view, game = self.game, self.game.game
        functions, shown = np.array(game.addresses), np.empty((copies, view.width), np.float32)

        def run(first: int, last: int) -> None:
            from rlrnn.learners.evolution import kernels  # late, as numba takes a while to load

            numbers, ended = kernels.play(
                *(made.layers, made.inner, made.room, norm, np.float32(RunningNormalizer.CLIP)),
                *(game.address, functions, shown, view.columns, first, last, episodes, units, offset),
                *(low, high, seen, state, moments, points, lengths, arrays.LONGEST),
            )
            if not numbers:
                game.refuse(np.full((copies, len(low)), np.nan))
            if not ended:
                arrays.check_length(arrays.LONGEST, game.name)

        self._share(run, episodes, threads)
        return points, lengths, moments

    def _share(self, run: Callable[[int, int], None], episodes: int, threads: int) -> None:
        """All members, a few at a time, by so many threads."""
        weights = sum(array.nbytes for array in self.program.kept) / self.members
        together = max(1, min(TOGETHER // episodes, int(CACHE / weights)))
        begins = range(0, self.members, together)
        groups: list[tuple[int, int]] = [(first, min(first + together, self.members)) for first in begins]
        if threads == 1:
            for group in groups:
                run(*group)
                beat()
            return
        for _ in workers(threads).map(run, *zip(*groups, strict=True)):
            beat()

    def _norm(self, features: int) -> Array:
        """Mean and deviation [2, F], or [0, F]."""
        parts: list[Any] = list(self.network.sensors.normalizers.children())
        flat = [each.numpy().ravel() for part in parts for each in (part.mean, part.deviation)]
        return np.array(flat, np.float32).reshape(-1, features)
