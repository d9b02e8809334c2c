"""Many steps of one of our games in one compiled call, where nobody listens to each of them.

The same bytes as step by step (``collect``): a step of a small network in an array game takes less time than
the words of Python around it. Callbacks that say ``may_be_late = True`` hear of each step afterwards, in
order and with the counts of that step, but cannot change the game meanwhile: where one of them asks to stop
or raises, the game stands at the end of these steps, and ``num_timesteps`` at that one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    ConvertCallback,
    ProgressBarCallback,
)
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.threads import share
from rlrnn.envs.compiled import CompiledView, compiled_view
from rlrnn.envs.vec import GameVecEnv
from rlrnn.errors import UserError
from rlrnn.learners.ppo.rollout import Rollout
from rlrnn.network.acting import SHARE, Value, plans_of, program_of
from rlrnn.network.actuators import ChoiceActuators
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.program import Program
from rlrnn.network.sensors import RunningNormalizer

Array = npt.NDArray[Any]

CHUNK = 1 << 16  # steps of all copies at once, between which Ctrl-C is heard


def may_be_late(callback: BaseCallback) -> bool:
    """Whether all that listen may be told of steps afterwards."""
    if type(callback) is CallbackList:
        return all(map(may_be_late, callback.callbacks))
    if type(callback) is ConvertCallback:
        return callback.callback is None  # SB3's for nobody
    if type(callback) is ProgressBarCallback:
        return True
    for kind in (vars(callback), *map(vars, type(callback).__mro__)):
        if "may_be_late" in kind:
            return bool(kind["may_be_late"])
        if "_on_step" in kind:  # a class derived from one that may be late, which listens otherwise
            return False
    return False


@dataclass(frozen=True)
class Ahead:
    """A network that plays a compiled game ahead."""

    network: RecurrentNetwork
    view: CompiledView
    program: Program
    generator: torch.Generator
    threads: int

    @classmethod
    def of(
        cls, network: RecurrentNetwork, env: VecEnv, generator: torch.Generator, threads: int
    ) -> Ahead | None:
        """None where game or network are none that one call can run."""
        plans, actuators = plans_of(network), network.actuators
        sensors = [each for each in (network.sensors, network.critic_sensors) if each is not None]
        game = compiled_view(env)
        if (
            plans is None
            or game is None
            or 0 in game.game.addresses
            or not isinstance(actuators, ChoiceActuators)
            or len(actuators.sizes) > 1
            or not all(each.plain and each.space.dtype == np.float32 for each in sensors)
        ):
            return None
        return cls(network, game, program_of(network, plans, pack=True), generator, threads)

    def play(
        self, rollout: Rollout, at: int, seen: Array, start: Array, state: Array, value_of: Value
    ) -> Played:
        """Fill some steps of the rollout from ``at`` on, but for rewards; the play then stands elsewhere.

        seen [B, ...], start [B], state [B, S]: where it stands.
        """
        copies, size = state.shape
        if state.dtype != np.float32 or size != self.program.state_size or len(seen) != copies:
            raise UserError(
                f"the memory is {state.dtype} {state.shape}, where this network needs float32 "
                f"{(len(seen), self.program.state_size)}."
            )
        steps = max(1, min(len(rollout.rewards) - at, CHUNK // copies))
        rows = slice(at, at + steps)
        flat = seen.reshape(copies, -1)
        actuators: Any = self.network.actuators
        noise = np.stack([actuators.noise(copies, self.generator) for _ in range(steps)])
        observations = np.empty((steps + 1, *flat.shape), np.float32)
        starts, states = (
            np.empty((steps + 1, copies), np.bool_),
            np.empty((steps + 1, copies, size), np.float32),
        )
        observations[0], starts[0], states[0] = flat, start, state
        rewards, finals = np.empty((steps, copies)), np.empty((steps, *flat.shape), np.float32)
        end_points, end_lengths = np.empty((steps, copies)), np.empty((steps, copies), np.int64)
        norms = self._norms(flat.shape[1])
        made = self.program
        arguments = (
            *(observations, starts, states, rollout.actions[rows], int(actuators.first[0])),
            *(rollout.log_probs[rows], rollout.values_and_last[rows], rewards),
            *(rollout.terminated[rows], rollout.truncated[rows], finals, *self.view.env.counts),
            *(end_points, end_lengths),
        )
        game = self.view.game
        functions, shown = np.array(game.addresses), np.empty((copies, self.view.width), np.float32)
        limit = np.float32(RunningNormalizer.CLIP)

        def run(first: int, last: int) -> None:
            from rlrnn.learners.ppo import play_kernels  # late, as numba takes a while to load

            play_kernels.play(
                *(made.layers, made.inner, made.room, norms, limit, noise, game.address),
                *(functions, shown, self.view.columns, first, last, *arguments),
            )

        weights = sum(parameter.numel() for parameter in self.network.parameters())
        work = steps * copies * weights
        threads = min(self.threads, copies) if work >= self.threads * SHARE else 1
        ends = [copies * k // threads for k in range(threads + 1)]
        if threads == 1:
            run(0, copies)
        else:
            share(self.threads, run, list(itertools.pairwise(ends)))
        shape = (steps + 1, *seen.shape)
        rollout.observations[rows] = observations.reshape(shape)[:-1]  # type: ignore[index]
        rollout.episode_starts[rows] = starts[:-1]
        rollout.states += torch.from_numpy(states[:-1]).unbind()
        self._value_cut(rollout, rows, finals.reshape(steps, *seen.shape), states[1:], value_of)
        return Played(
            observations.reshape(shape), starts, states, rewards, finals.reshape(steps, *seen.shape),
            rollout.truncated[rows], end_points, end_lengths, at,
        )  # fmt: skip

    def _value_cut(
        self, rollout: Rollout, rows: slice, finals: Array, states: Array, value_of: Value
    ) -> None:
        """The values of what truncated episodes saw last."""
        cut = np.nonzero(rollout.truncated[rows])
        if len(cut[0]):
            no_starts = torch.zeros(len(cut[0]), dtype=torch.bool)
            values = value_of(torch.from_numpy(finals[cut]), no_starts, torch.from_numpy(states[cut]))
            rollout.final_values[rows][cut] = values.numpy()

    def _norms(self, features: int) -> Array:
        """Mean and deviation of actor and critic [4, F], or [0, F]."""
        both = self.network.sensors, self.network.critic_sensors or self.network.sensors
        parts: list[Any] = [part for sensors in both for part in sensors.normalizers.children()]
        flat = [each.numpy().ravel() for part in parts for each in (part.mean, part.deviation)]
        return np.array(flat, np.float32).reshape(-1, features)


@dataclass(frozen=True)
class Played:
    """What some steps gave."""

    observations: Array  # [T + 1, B, ...]
    starts: Array  # [T + 1, B]
    states: Array  # [T + 1, B, S]
    rewards: Array  # [T, B] points
    finals: Array  # [T, B, ...] where episodes ended
    truncated: Array  # [T, B]
    points: Array  # [T, B] of episodes that ended
    lengths: Array  # [T, B] their steps
    at: int  # of the first step in the rollout

    def tell(self, env: GameVecEnv, on_step: Callable[[dict[str, Any]], bool]) -> bool:
        """Tell of each step in turn; False if one asks to stop."""
        for t in range(len(self.rewards)):
            dones, rewards = self.starts[t + 1], self.rewards[t].astype(np.float32)
            infos: list[dict[str, Any]] = [{} for _ in dones]
            for b in np.flatnonzero(dones).tolist():
                cut, points, length = bool(self.truncated[t, b]), self.points[t, b], self.lengths[t, b]
                infos[b] = env.info_of_end(self.finals[t, b].copy(), cut, float(points), int(length))
            local = {"dones": dones, "infos": infos, "rewards": rewards, "n_steps": self.at + t}
            if not on_step(local):
                return False
        return True
