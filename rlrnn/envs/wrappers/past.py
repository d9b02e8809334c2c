"""Views of the past, late or beside the present: delay, stack, previous action and reward."""

from math import inf
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.batches import copied, new_batch, take
from rlrnn.common.settings import check_whole
from rlrnn.envs.wrappers.base import Array, Parts, View, spaces_of
from rlrnn.envs.wrappers.vectors import bounds, check_room, encode, with_zero
from rlrnn.errors import UserError


class Delay(View):
    """Shows the observation of `steps` steps ago; until then the first observation of the episode."""

    def __init__(
        self,
        venv: VecEnv,
        *,
        steps: int,  # how old what is shown is
    ) -> None:
        check_whole("delay: steps", steps, 0)
        spaces = spaces_of(venv)
        check_room("delay", venv, steps + 1, "its steps, or n_envs")
        self._size = steps + 1
        self._now = 0  # where the newest observations are
        # [B, steps + 1, ...] in turn
        self._past: Parts = new_batch(spaces, venv.num_envs, self._size, make=np.zeros)
        super().__init__(venv, spaces)

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        for key, part in parts.items():
            self._past[key][copies] = part[:, None]
        return copied(parts)

    def advance(self, parts: Parts, actions: Array, rewards: Array) -> Parts:
        self._now = (self._now + 1) % self._size
        for key, part in parts.items():
            self._past[key][:, self._now] = part
        oldest = (self._now + 1) % self._size
        past: Parts = take(self._past, (slice(None), oldest))
        return copied(past)

    def remembered(self) -> dict[str, Any]:
        return {"_past": self._past, "_now": self._now}


class Stack(View):
    """Shows the last `frames` observations at once, oldest first, zeros where the episode was not yet.

    Vectors are joined along the last axis and images along their channels, as by SB3's VecFrameStack. Symbols
    become vectors first: what is Discrete or MultiDiscrete is written one-hot.
    """

    def __init__(
        self,
        venv: VecEnv,
        *,
        frames: int,  # how many observations are shown at once
    ) -> None:
        check_whole("stack: frames", frames, 1)
        check_room("stack", venv, frames, "its frames, or n_envs", one_hot=True)
        self._symbols: dict[str, Space[Any]] = {}  # parts that `encode` makes vectors of
        self._memory: Parts = {}
        self._where: dict[str, tuple[int, Any, Any]] = {}  # axis, index of all but the oldest, of the newest
        stacked: dict[str, Space[Any]] = {}
        for key, space in spaces_of(venv).items():
            if not isinstance(space, Box) or not space.shape:
                self._symbols[key] = space
                low, high = bounds(space)
                space = Box(low.astype(np.float32), high.astype(np.float32))
            first = is_image_space(space) and is_image_space_channels_first(space)
            axis, width = (0, space.shape[0]) if first else (-1, space.shape[-1])
            before: tuple[Any, ...] = (slice(None),) if first else (...,)
            low, high = (np.concatenate([bound] * frames, axis) for bound in (space.low, space.high))
            box = Box(low, high, dtype=space.dtype.type)
            stacked[key] = with_zero("stack", box) if frames > 1 else box
            self._memory[key] = np.zeros((venv.num_envs, *box.shape), box.dtype)
            newest, later = slice(-width, None), slice(width, None)
            self._where[key] = (1 if first else -1, (*before, later), (*before, newest))
        super().__init__(venv, stacked)

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        for key, part in self._vectors(parts).items():
            *_, newest = self._where[key]
            self._memory[key][copies] = 0
            self._memory[key][newest][copies] = part
        view: Parts = take(self._memory, copies)
        return view

    def advance(self, parts: Parts, actions: Array, rewards: Array) -> Parts:
        for key, part in self._vectors(parts).items():
            axis, later, _ = self._where[key]
            self._memory[key] = np.concatenate([self._memory[key][later], part], axis)
        return copied(self._memory)

    def _vectors(self, parts: Parts) -> Parts:
        known = self._symbols
        return {key: encode(known[key], part) if key in known else part for key, part in parts.items()}

    def remembered(self) -> dict[str, Any]:
        return {"_memory": self._memory}


class Previous(View):
    """Adds the previous action and reward to a vector; both are zeros at the start of an episode.

    The result is one float32 vector: the observation, the action, the reward. What is Discrete or
    MultiDiscrete is written one-hot, anything else as it is.
    """

    def __init__(
        self,
        venv: VecEnv,
        *,
        action: bool = True,  # adds the action before
        reward: bool = True,  # adds the reward before
    ) -> None:
        if not (isinstance(action, bool) and isinstance(reward, bool) and (action or reward)):
            raise UserError(
                f"previous has action={action!r} and reward={reward!r}; one of them must be true."
            )
        space = venv.observation_space
        if not isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary) or len(space.shape or ()) > 1:
            raise UserError(
                f"previous needs a vector or one number to add to, but the observations are {space}."
            )
        self._action, self._reward = action, reward
        self._inner_space, self._inner_action_space = space, venv.action_space
        low, high = bounds(space)
        if action:
            # Zeros stand for "no action yet".
            low = np.concatenate([low, np.minimum(bounds(venv.action_space)[0], 0)])
            high = np.concatenate([high, np.maximum(bounds(venv.action_space)[1], 0)])
        if reward:
            low, high = np.append(low, -inf), np.append(high, inf)
        super().__init__(venv, {"": Box(low.astype(np.float32), high.astype(np.float32))})

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        columns = encode(self._inner_space, parts[""])
        view = np.zeros((len(copies), *(self.observation_space.shape or ())), np.float32)
        view[:, : columns.shape[1]] = columns
        return {"": view}

    def advance(self, parts: Parts, actions: Array, rewards: Array) -> Parts:
        columns = [encode(self._inner_space, parts[""])]
        if self._action:
            columns.append(encode(self._inner_action_space, actions))
        if self._reward:
            columns.append(rewards[:, None].astype(np.float32))
        return {"": np.concatenate(columns, axis=1)}
