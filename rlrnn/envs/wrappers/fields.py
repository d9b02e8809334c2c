"""Which parts of an observation are in the view, and how they are written: hide, flatten, one-hot."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, MultiBinary, MultiDiscrete, Space
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.settings import check_whole
from rlrnn.envs.wrappers.base import Parts, Still, spaces_of
from rlrnn.envs.wrappers.vectors import bounds, encode
from rlrnn.errors import UserError


class Hide(Still):
    """Drops fields of a vector, or keys of a Dict; the rest keeps its order."""

    def __init__(
        self,
        venv: VecEnv,
        *,
        drop: Sequence[int | str] | None = None,  # fields of a vector, from 0 on, or keys of a Dict
        keep: Sequence[int | str] | None = None,  # instead of drop: those that are left
    ) -> None:
        space = venv.observation_space
        if isinstance(space, Dict):
            names: list[Any] = list(space.keys())
        elif isinstance(space, Box | MultiDiscrete | MultiBinary) and len(space.shape) == 1:
            names = list(range(space.shape[0]))
        else:
            raise UserError(f"hide cannot drop fields of {space}; it needs a vector or a Dict.")
        selection = keep if drop is None else drop
        if selection is None or (drop is not None and keep is not None):
            raise UserError(f"hide needs either drop=[...] or keep=[...], out of {names}.")
        is_list = isinstance(selection, Sequence) and not isinstance(selection, str)
        if not is_list or len(selection) != sum(field in selection for field in names):
            raise UserError(
                f"hide cannot find {selection!r}; give a list that names each once, out of {names}."
            )
        self.fields = [field for field in names if (field in selection) == (drop is None)]
        if not self.fields:
            raise UserError(f"hide would leave nothing to see; keep at least one of {names}.")
        fields = (
            {key: space[key] for key in self.fields} if isinstance(space, Dict) else {"": self._rest(space)}
        )
        super().__init__(venv, fields)

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        if "" in parts:
            return {"": parts[""][:, self.fields]}
        return {key: parts[key].copy() for key in self.fields}

    def _rest(self, space: Box | MultiDiscrete | MultiBinary) -> Space[Any]:
        if isinstance(space, Box):
            return Box(space.low[self.fields], space.high[self.fields], dtype=space.dtype.type)
        if isinstance(space, MultiDiscrete):
            return MultiDiscrete(space.nvec[self.fields], space.dtype.type, start=space.start[self.fields])
        return MultiBinary(len(self.fields))


class Flatten(Still):
    """Writes the whole observation as one float32 vector, whole numbers one-hot, in Gymnasium's order."""

    def __init__(self, venv: VecEnv) -> None:
        self._spaces = spaces_of(venv)
        limits = [bounds(space) for space in self._spaces.values()]
        low, high = (np.concatenate(limit).astype(np.float32) for limit in zip(*limits, strict=True))
        super().__init__(venv, {"": Box(low, high)})

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        columns = [encode(space, parts[key]) for key, space in self._spaces.items()]
        return {"": np.concatenate(columns, axis=1)}


class OneHot(Still):
    """Writes each number of a vector or an image as zeros with a one at its place in `values`, as one vector.

    `key` takes one part of a Dict and `channel` one of an image; the rest is dropped. A number that is none
    of the `values` is all zeros. Most of MiniGrid fits: key "image", channel 0, the objects that occur.
    """

    def __init__(
        self,
        venv: VecEnv,
        *,
        values: Sequence[int],  # whole numbers that get a place each
        key: str | None = None,  # part of a Dict that is shown; needed there
        channel: int | None = None,  # of an image that alone is shown; not given: all
    ) -> None:
        self._key, self._channel = key or "", slice(None) if channel is None else channel
        space = spaces_of(venv).get(self._key)
        if not isinstance(space, Box | MultiDiscrete) or not space.shape:
            raise UserError(
                f"one_hot needs a Box or a MultiDiscrete, named by key=... if it is in a Dict; key={key!r} "
                f"names none in {venv.observation_space}."
            )
        if channel is not None:
            check_whole("one_hot: channel", channel, 0, space.shape[-1] - 1)
        are_integers = isinstance(values, Sequence) and all(type(value) is int for value in values)
        if not are_integers or not 0 < len(set(values)) == len(values):
            raise UserError(f"one_hot has values={values!r}; give a list of whole numbers, each once.")
        self._values = np.array(values)
        size = int(np.prod(space.shape)) // (1 if channel is None else space.shape[-1])
        super().__init__(venv, {"": Box(0.0, 1.0, (size * len(values),))})

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        numbers = parts[self._key][..., self._channel].reshape(len(copies), -1, 1)
        return {"": (numbers == self._values).reshape(len(copies), -1).astype(np.float32)}
