"""What was played and is learned from again and again: ``SequenceReplay``, and the ``Rows`` drawn from it.

Every environment has a ring of slots. A slot holds an observation, whether an episode begins with it, and
what was done there: the action, the reward after it, and whether that ended the episode. An episode of T
steps takes T + 1 slots: the last holds its final observation, where nothing was done (weight 0), so that
whoever looks one step ahead finds it there, with the memory that saw it. So a step of weight 1 that did not
terminate is always followed by a slot of the same episode.

Row k of an environment begins at slot k L of all that it ever played and has ``burn_in`` + L slots and one
observation more; the memory before its first slot is kept. Letters: L ``seq_len``, C slots of an environment,
B environments, R rows, T slots of a row, S state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from rlrnn.common.batches import map_arrays, new_batch, parts_of, put
from rlrnn.common.capacity import check_fits
from rlrnn.errors import UserError
from rlrnn.network.sensors import Observation

Array = npt.NDArray[Any]
# Of a slot beside its observation and action, in the order in which ``add`` takes them.
FLAGS = ("starts", "terminated", "truncated", "weights")


@dataclass(frozen=True)
class Rows:
    """What an update works on: R rows of T slots, T = burn_in + L, in the layout of ``ppo.rollout.Rows``."""

    observation: Observation  # [T + 1, R, ...]
    start: Tensor  # [T + 1, R] bool: an episode begins there
    state: Tensor  # [R, S] before the first slot, as it was remembered at play
    action: Tensor  # [T, R, A]
    reward: Tensor  # [T, R]
    terminated: Tensor  # [T, R] bool: the episode ended there, and nothing is to be won any more
    weight: Tensor  # [T + 1, R] 1 where something was done, else 0

    def select(self, rows: slice) -> Rows:
        """Some of the rows."""
        along = {name: map_arrays(lambda a: a[:, rows], value) for name, value in vars(self).items()}
        return Rows(**{**along, "state": self.state[rows]})

    def __len__(self) -> int:
        return self.start.shape[1]


class SequenceReplay:
    """The newest C slots of each of B environments, as arrays [C, B, ...].

    :param buffer_size: steps that are kept, of all environments together
    :param seq_len: L, slots between two rows' beginnings
    :param burn_in: slots of a row before those L, which belong to the row before
    :param whole_episodes: every episode begins a row, and what is left of the row before stays empty
    """

    def __init__(
        self,
        buffer_size: int,
        n_envs: int,
        seq_len: int,
        burn_in: int,
        observation_space: spaces.Space[Any],
        action_size: int,
        action_dtype: npt.DTypeLike,
        state_size: int,
        *,
        whole_episodes: bool = False,
    ) -> None:
        self.seq_len, self.burn_in, self.whole_episodes = seq_len, burn_in, whole_episodes
        self.observation_space, self.n_envs = observation_space, n_envs
        rows = max(math.ceil(buffer_size / n_envs / seq_len), self.least_rows(seq_len, burn_in))
        slots = rows * seq_len
        self.bytes = slots * n_envs * bytes_of_a_slot(observation_space, action_size, action_dtype)
        self.bytes += rows * n_envs * 4 * state_size
        check_fits(
            f"a replay of buffer_size={buffer_size:,} steps", self.bytes, "buffer_size, n_envs or hidden_size"
        )
        self.observations: Any = new_batch(observation_space, slots, n_envs, make=np.zeros)
        self.actions = np.zeros((slots, n_envs, action_size), action_dtype)
        self.rewards = np.zeros((slots, n_envs), np.float32)  # points, as the game gave them
        self.starts = np.zeros((slots, n_envs), np.bool_)
        self.terminated = np.zeros((slots, n_envs), np.bool_)
        self.truncated = np.zeros((slots, n_envs), np.bool_)
        self.weights = np.zeros((slots, n_envs), np.bool_)
        self.states = np.zeros((rows, n_envs, state_size), np.float32)
        self.written = np.zeros(n_envs, np.int64)  # slots of each environment, ever
        self.open = np.zeros(n_envs, np.bool_)  # whether its newest slot's episode goes on

    @staticmethod
    def least_rows(seq_len: int, burn_in: int) -> int:
        """Rows that an environment's ring has at least: then one of them is whole, wherever it is written."""
        return 2 + math.ceil(burn_in / seq_len)

    @property
    def slots(self) -> int:
        """C."""
        return len(self.rewards)

    @property
    def buffer_size(self) -> int:
        """Slots of all environments together."""
        return self.rewards.size

    def size(self) -> int:
        """Slots in use, of all environments together."""
        return int(np.minimum(self.written, self.slots).sum())

    @property
    def full(self) -> bool:
        """Whether every slot is in use."""
        return self.size() == self.buffer_size

    def add(
        self,
        observation: Any,
        start: npt.NDArray[np.bool_],
        state: Array,
        action: Array,
        reward: Array,
        terminated: npt.NDArray[np.bool_],
        truncated: npt.NDArray[np.bool_],
        finals: dict[int, Any],
        state_after: Array,
        who: Array | None = None,
    ) -> None:
        """A step of all environments: [B, ...] each.

        :param state: [B, S] the memory before the observation, state_after: after it
        :param finals: of each environment whose episode ended, what it saw last; one that is missing is
            never looked at if the episode terminated, and counts as if it had if it was truncated
        :param who: the environments that the arrays are of, where it is a step of some alone
        """
        who = np.arange(self.n_envs) if who is None else who
        self._leave(who[self.open[who] & start])
        lacking = [k for k in np.flatnonzero(truncated) if who[k] not in finals]
        terminated = terminated.copy()
        terminated[lacking] = True
        at = self._take_slots(who, state, start)
        put(self.observations, (at, who), observation)
        self.actions[at, who], self.rewards[at, who] = action, reward
        self.terminated[at, who], self.truncated[at, who] = terminated, truncated
        self.weights[at, who] = True
        ended = np.flatnonzero(terminated | truncated)
        self.open[who] = True
        if len(ended):
            self._close(who[ended], finals, state_after[ended])

    def leave(self) -> None:
        """Break off the episodes under way: what their last steps led to is unknown."""
        self._leave(np.flatnonzero(self.open))

    def _leave(self, who: Array) -> None:
        self.weights[(self.written[who] - 1) % self.slots, who] = False
        self._fill_rows(who)
        self.open[who] = False

    def _take_slots(self, who: Array, state: Array, start: Any) -> Array:
        """The next slot of each of these environments, their number in the ring."""
        count = self.written[who]
        begins = count % self.seq_len == 0
        if begins.any():
            rows = count[begins] // self.seq_len % len(self.states)
            self.states[rows, who[begins]] = state[begins]
        at: Array = count % self.slots
        self.starts[at, who] = start
        self.written[who] += 1
        return at

    def _close(self, ended: Array, finals: dict[int, Any], state_after: Array) -> None:
        """Give the episodes that ended their last slots, each with the memory before it."""
        at = self._take_slots(ended, state_after, False)
        self.weights[at, ended] = self.terminated[at, ended] = self.truncated[at, ended] = False
        self.rewards[at, ended] = self.actions[at, ended] = 0
        for slot, b in zip(at, ended, strict=True):
            if b in finals:
                put(self.observations, (slot, b), finals[b])
        self.open[ended] = False
        self._fill_rows(ended)

    def _fill_rows(self, who: Array) -> None:
        """Leave what remains of these environments' rows empty, where every episode begins one."""
        for b in who if self.whole_episodes else ():
            while self.written[b] % self.seq_len:
                slot = self.written[b] % self.slots
                self.starts[slot, b], self.weights[slot, b] = True, False
                self.written[b] += 1

    def _bounds(self) -> tuple[Array, Array]:
        """The first whole row of each environment, and one past the last: [B] each."""
        length = self.seq_len
        first = np.maximum(-(-(self.written - self.slots) // length), 0)
        last = (self.written - 1 - self.burn_in - length) // length + 1
        return first, np.maximum(last, first)

    def n_rows(self) -> int:
        """Whole rows that can be drawn."""
        first, last = self._bounds()
        return int((last - first).sum())

    def draw(self, order: np.random.Generator, rows: int) -> tuple[Array, Array]:
        """So many rows, evenly and independently: the number of each and its environment, [R] each."""
        first, last = self._bounds()
        ends = np.cumsum(last - first)
        if not ends[-1]:
            raise UserError(
                f"the replay holds no whole row of seq_len={self.seq_len} steps yet: play on, or shorten it."
            )
        drawn = order.integers(ends[-1], size=rows)
        who = np.searchsorted(ends, drawn, side="right")
        return first[who] + drawn - (ends - (last - first))[who], who

    def rows(self, numbers: Array, who: Array, device: torch.device) -> Rows:
        """These rows of these environments, [R] each."""
        length = self.burn_in + self.seq_len
        slots = (numbers * self.seq_len + np.arange(length + 1)[:, None]) % self.slots  # [T + 1, R]

        def gather(array: Array, index: Array) -> Tensor:
            return torch.as_tensor(array[index, who], device=device)

        steps = slots[:-1]
        return Rows(
            observation=map_arrays(lambda array: gather(array, slots), self.observations),
            start=gather(self.starts, slots),
            state=torch.as_tensor(self.states[numbers % len(self.states), who], device=device),
            action=gather(self.actions, steps),
            reward=gather(self.rewards, steps),
            terminated=gather(self.terminated, steps),
            weight=gather(self.weights, slots).float(),
        )

    def sample(self, order: np.random.Generator, rows: int, device: torch.device) -> Rows:
        """So many rows, drawn evenly."""
        return self.rows(*self.draw(order, rows), device)

    def reset(self) -> None:
        """Forget everything."""
        self.written[:] = 0
        self.open[:] = False

    def contents(self) -> dict[str, Any]:
        """All that was written, as arrays: what ``restore`` takes."""
        used = int(min(self.written.max(), self.slots))
        arrays = {name: getattr(self, name) for name in ("actions", "rewards", *FLAGS)}
        arrays = {name: array[:used].copy() for name, array in arrays.items()}
        rows = -(-used // self.seq_len)
        return {
            **arrays,
            "observations": map_arrays(lambda array: array[:used].copy(), self.observations),
            "states": self.states[:rows].copy(),
            "written": self.written.copy(),
            "open": self.open.copy(),
        }

    def restore(self, contents: dict[str, Any]) -> None:
        """Take over what a replay of the same shape had written."""
        for name in ("actions", "rewards", *FLAGS, "states"):
            kept = contents[name]
            getattr(self, name)[: len(kept)] = kept
        map_arrays(
            lambda mine, kept: put(mine, slice(len(kept)), kept), self.observations, contents["observations"]
        )
        self.written[:], self.open[:] = contents["written"], contents["open"]


def bytes_of_a_slot(space: spaces.Space[Any], action_size: int, action_dtype: npt.DTypeLike) -> int:
    """What is kept of one step of one environment, but for its memory."""
    parts = parts_of(space).values()
    seen: int = sum(math.prod(part.shape or ()) * np.dtype(part.dtype).itemsize for part in parts)
    return seen + action_size * np.dtype(action_dtype).itemsize + 4 + len(FLAGS)
