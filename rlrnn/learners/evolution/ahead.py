"""Whole rounds of one of our games in compiled calls: the same points, byte for byte, as step by step.

A member's weights are read at every step of its episodes. Members are played a few at a time, of as many
weights as stay in a core's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rlrnn.common import arrays
from rlrnn.common.processes import beat
from rlrnn.common.threads import share
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
        points, lengths, stop = np.zeros(copies), np.zeros(copies, np.int64), np.zeros(1, np.uint8)
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
                *(low, high, seen, state, moments, points, lengths, arrays.LONGEST, stop),
            )
            if not numbers:
                game.refuse(np.full((copies, len(low)), np.nan))
            if not ended and not stop[0]:
                arrays.check_length(arrays.LONGEST, self.game.env.name)

        share(threads, run, self._groups(episodes), beat, lambda: stop.fill(1))
        return points, lengths, moments

    def _groups(self, episodes: int) -> list[tuple[int, int]]:
        """All members, a few at a time: the first one and the next group's."""
        weights = sum(array.nbytes for array in self.program.kept) / self.members
        together = max(1, min(TOGETHER // episodes, int(CACHE / weights)))
        begins = range(0, self.members, together)
        return [(first, min(first + together, self.members)) for first in begins]

    def _norm(self, features: int) -> Array:
        """Mean and deviation [2, F], or [0, F]."""
        parts: list[Any] = list(self.network.sensors.normalizers.children())
        flat = [each.numpy().ravel() for part in parts for each in (part.mean, part.deviation)]
        return np.array(flat, np.float32).reshape(-1, features)
