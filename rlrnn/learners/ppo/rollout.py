"""What was played: ``Rollout``, T steps of B environments, and ``Rows``, the same cut up for an update.

Time convention, once: row t holds the observation before action t and the reward after it;
``episode_starts[t]`` is true iff row t begins an episode; ``values`` have one row more inside, the
value of the observation after the last step.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from rlrnn.common.batches import map_arrays, new_batch, parts_of, take
from rlrnn.learners.ppo import returns
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.sensors import Observation

Arrays = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


def to_tensors(arrays: Arrays, device: torch.device) -> Observation:
    """Arrays as tensors, without a copy where the device is the CPU."""
    result: Observation = map_arrays(lambda a: torch.as_tensor(a, device=device), arrays)
    return result


def bytes_of_a_step(space: spaces.Space[Any], action_size: int, action_dtype: npt.DTypeLike) -> int:
    """What ``Rollout`` keeps of one step of one environment, but for its memory."""
    parts = parts_of(space).values()
    total: int = sum(math.prod(part.shape or ()) * np.dtype(part.dtype).itemsize for part in parts)
    return total + action_size * np.dtype(action_dtype).itemsize + 6 * 4 + 3  # six numbers and three flags


@dataclass(frozen=True)
class Rows:
    """Chunks of L steps of one environment each, R of them: what an update works on."""

    observation: Observation  # [L, R, ...]
    start: Tensor  # [L, R] bool
    state: Tensor  # [R, S] at each row's first step
    action: Tensor  # [L, R, A]
    log_prob: Tensor  # [L, R] of that action when it was played
    value: Tensor  # [L, R] as it was then
    advantage: Tensor  # [L, R]
    target: Tensor  # [L, R] what the value should have been
    weight: Tensor  # [L, R] 1, or 0 where a short last chunk was filled up with copies of the last step

    def select(self, rows: Tensor | slice) -> Rows:
        """Some of the rows."""
        fields = {
            name: map_arrays(
                lambda a: a[:, rows] if isinstance(rows, slice) else a.index_select(1, rows), value
            )
            for name, value in vars(self).items()
            if name != "state"
        }
        return Rows(state=self.state[rows], **fields)

    def __len__(self) -> int:
        return self.start.shape[1]


class Rollout:
    """T steps of B environments, under the names that SB3's callbacks read; all arrays are [T, B, ...]."""

    def __init__(
        self,
        n_steps: int,
        n_envs: int,
        observation_space: spaces.Space[Any],
        action_size: int,
        action_dtype: npt.DTypeLike,
    ) -> None:
        self.observations: Arrays = new_batch(observation_space, n_steps, n_envs, make=np.zeros)
        self.actions = np.zeros((n_steps, n_envs, action_size), dtype=action_dtype)
        self.rewards = np.zeros((n_steps, n_envs), dtype=np.float32)  # points, or scaled if asked for
        self.episode_starts = np.zeros((n_steps, n_envs), dtype=np.bool_)
        self.terminated = np.zeros((n_steps, n_envs), dtype=np.bool_)
        self.truncated = np.zeros((n_steps, n_envs), dtype=np.bool_)
        self.log_probs = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.values_and_last = np.zeros((n_steps + 1, n_envs), dtype=np.float32)
        self.final_values = np.zeros((n_steps, n_envs), dtype=np.float32)  # where truncated
        self.advantages = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.returns = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.states: list[Tensor] = []  # T of [B, S], before each step: a row may begin anywhere
        self.pos = 0

    @property
    def values(self) -> npt.NDArray[np.float32]:
        return self.values_and_last[:-1]

    @property
    def full(self) -> bool:
        return self.pos == len(self.rewards)

    @property
    def buffer_size(self) -> int:
        return self.rewards.shape[0]

    @property
    def n_envs(self) -> int:
        return self.rewards.shape[1]

    def reset(self) -> None:
        """Begin to overwrite."""
        self.pos = 0
        self.states = []

    def finish(self, gamma: float, gae_lambda: float) -> None:
        """Compute advantages and returns once all steps are in."""
        self.advantages = returns.advantages(
            self.rewards,
            self.values_and_last,
            self.terminated,
            self.truncated,
            self.final_values,
            gamma,
            gae_lambda,
        )
        self.returns = self.advantages + self.values

    def rows(self, device: torch.device, length: int, first: int | None = None) -> Rows:
        """Cut [T, B] into rows: chunk c of environment b is row c * B + b.

        The first chunk has ``first`` steps (1 to ``length``, which is the default), all others ``length``
        (1 to T) but for the last, which has what remains.
        """
        begins = self._begins(length, first)
        steps, envs = self.rewards.shape
        ends = np.append(begins[1:], steps)
        times = begins + np.arange(length)[:, None]  # [L, C]
        mask = times < ends
        index = torch.as_tensor(np.minimum(times, ends - 1).ravel(), device=device)

        def cut(array: npt.NDArray[Any]) -> Tensor:
            tensor = torch.as_tensor(array, device=device)
            if 1 in (length, len(begins)):  # every step is a row, or every environment: nothing moves
                return tensor.reshape(length, len(begins) * envs, *tensor.shape[2:])
            return tensor[index].view(length, len(begins) * envs, *tensor.shape[2:])

        return Rows(
            observation=map_arrays(cut, self.observations),
            start=cut(self.episode_starts),
            state=torch.cat([self.states[begin] for begin in begins]),
            action=cut(self.actions),
            log_prob=cut(self.log_probs),
            value=cut(self.values),
            advantage=cut(self.advantages),
            target=cut(self.returns),
            weight=torch.as_tensor(np.repeat(mask, envs, axis=1).astype(np.float32), device=device),
        )

    def recompute_states(
        self, network: RecurrentNetwork, device: torch.device, length: int, first: int | None = None
    ) -> None:
        """Replace the memories that rows begin with by what the network would remember now."""
        begins = self._begins(length, first)
        with torch.no_grad():
            for begin, end in itertools.pairwise(begins):
                observations = take(self.observations, slice(begin, end))
                start = torch.as_tensor(self.episode_starts[begin:end], device=device)
                self.states[end] = network.remember(
                    to_tensors(observations, device), start, self.states[begin]
                )

    def _begins(self, length: int, first: int | None) -> npt.NDArray[np.int64]:
        """The first steps [C] of the chunks of an environment."""
        return np.append(0, np.arange(first or length, self.buffer_size, length))
