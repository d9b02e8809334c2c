"""What an agent may see: hide, delay, flatten, flicker, noise, one-hot, stack, previous; over any VecEnv."""

import inspect
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.errors import UserError
from rlrnn.view import Array, Parts, View, spaces_of


class Hide(View):
    """Drops fields of a vector, or keys of a Dict; the rest keeps its order."""

    def __init__(
        self,
        venv: VecEnv,
        *,
        drop: Sequence[int | str] | None = None,
        keep: Sequence[int | str] | None = None,
    ) -> None:
        space = venv.observation_space
        if isinstance(space, Dict):
            known: list[Any] = list(space.keys())
        elif isinstance(space, Box | MultiDiscrete | MultiBinary) and len(space.shape) == 1:
            known = list(range(space.shape[0]))
        else:
            raise UserError(f"hide cannot drop fields of {space}; it needs a vector or a Dict.")
        named = keep if drop is None else drop
        if named is None or (drop is not None and keep is not None):
            raise UserError(f"hide needs either drop=[...] or keep=[...], out of {known}.")
        listed = isinstance(named, Sequence) and not isinstance(named, str)
        if not listed or len(named) != sum(field in named for field in known):
            raise UserError(f"hide cannot find {named!r}; give a list that names each once, out of {known}.")
        self._kept = [field for field in known if (field in named) == (drop is None)]
        if not self._kept:
            raise UserError(f"hide would leave nothing to see; keep at least one of {known}.")
        fields = (
            {key: space[key] for key in self._kept} if isinstance(space, Dict) else {"": self._rest(space)}
        )
        super().__init__(venv, fields)

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        if "" in seen:
            return {"": seen[""][:, self._kept]}
        return {key: seen[key].copy() for key in self._kept}

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        return self.begin(seen, self.everyone)

    def _rest(self, space: Box | MultiDiscrete | MultiBinary) -> Space[Any]:
        if isinstance(space, Box):
            return Box(space.low[self._kept], space.high[self._kept], dtype=space.dtype.type)
        if isinstance(space, MultiDiscrete):
            return MultiDiscrete(space.nvec[self._kept], space.dtype.type, start=space.start[self._kept])
        return MultiBinary(len(self._kept))


class Delay(View):
    """Shows what there was to see `steps` steps ago; until then the first observation of the episode."""

    def __init__(self, venv: VecEnv, *, steps: int) -> None:
        _check_number("delay", "steps", steps, 0, whole=True)
        spaces = spaces_of(venv)
        self._size = steps + 1
        self._now = 0  # where the newest observations are
        self._past = {  # [B, steps + 1, ...] in turn
            key: np.zeros((venv.num_envs, self._size, *(space.shape or ())), space.dtype)
            for key, space in spaces.items()
        }
        super().__init__(venv, spaces)

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        for key, part in seen.items():
            self._past[key][copies] = part[:, None]
        return {key: part.copy() for key, part in seen.items()}

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        self._now = (self._now + 1) % self._size
        for key, part in seen.items():
            self._past[key][:, self._now] = part
        oldest = (self._now + 1) % self._size
        return {key: past[:, oldest].copy() for key, past in self._past.items()}

    def remembered(self) -> dict[str, Any]:
        return {"_past": self._past, "_now": self._now}


class Flatten(View):
    """Writes all there is to see as one float32 vector, whole numbers one-hot, in Gymnasium's order."""

    def __init__(self, venv: VecEnv) -> None:
        self._spaces = spaces_of(venv)
        bounds = [_bounds(space) for space in self._spaces.values()]
        low, high = (np.concatenate(bound).astype(np.float32) for bound in zip(*bounds, strict=True))
        super().__init__(venv, {"": Box(low, high)})

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        columns = [_encode(space, seen[key]) for key, space in self._spaces.items()]
        return {"": np.concatenate(columns, axis=1)}

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        return self.begin(seen, self.everyone)


class Flicker(View):
    """Replaces the whole observation by zeros with a probability, at each step of each copy anew."""

    def __init__(self, venv: VecEnv, *, probability: float) -> None:
        _check_number("flicker", "probability", probability, 0, 1)
        self._probability = probability
        super().__init__(venv, {key: _with_zero("flicker", space) for key, space in spaces_of(venv).items()})

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        dark = self.chance.uniform(copies, 1)[0] < self._probability  # [N]
        view = {key: part.copy() for key, part in seen.items()}
        for part in view.values():
            part[dark] = 0
        return view

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        return self.begin(seen, self.everyone)


class Noise(View):
    """Adds Gaussian noise of mean 0 and standard deviation `std` to every number of every float Box."""

    def __init__(self, venv: VecEnv, *, std: float) -> None:
        _check_number("noise", "std", std, 0)
        self._std = std
        spaces = spaces_of(venv)
        self._noisy = [
            key for key, space in spaces.items() if isinstance(space, Box) and space.dtype.kind == "f"
        ]
        if not self._noisy:
            raise UserError(f"noise needs a Box of floats to add to, but the observations are {spaces}.")
        for key in self._noisy:
            spaces[key] = Box(-inf, inf, spaces[key].shape, spaces[key].dtype.type)  # type: ignore[union-attr]
        super().__init__(venv, spaces)

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        view = {key: part.copy() for key, part in seen.items()}
        for key in self._noisy:
            view[key] += (self._std * self._gauss(copies, view[key].shape)).astype(view[key].dtype)
        return view

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        return self.begin(seen, self.everyone)

    def _gauss(self, copies: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Numbers ~ N(0, 1), [N, ...], by Box & Muller (1958): two normal ones from two uniform ones."""
        size = int(np.prod(shape[1:]))
        half = (size + 1) // 2
        uniform = self.chance.uniform(copies, 2 * half)  # [2 half, N] in [0, 1)
        radius, angle = np.sqrt(-2 * np.log1p(-uniform[:half])), 2 * np.pi * uniform[half:]
        pairs = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])  # [2 half, N]
        return pairs[:size].T.reshape(shape)


class Stack(View):
    """Shows the last `frames` observations at once, oldest first, zeros where the episode was not yet.

    Vectors are joined along the last axis and images along their channels, as by SB3's VecFrameStack.
    """

    def __init__(self, venv: VecEnv, *, frames: int) -> None:
        _check_number("stack", "frames", frames, 1, whole=True)
        self._memory: Parts = {}
        self._where: dict[str, tuple[int, Any, Any]] = {}  # axis, index of all but the oldest, of the newest
        stacked: dict[str, Space[Any]] = {}
        for key, space in spaces_of(venv).items():
            if not isinstance(space, Box) or not space.shape:
                raise UserError(f"stack needs a Box of at least one axis, but an observation is {space}.")
            first = is_image_space(space) and is_image_space_channels_first(space)
            axis, width = (0, space.shape[0]) if first else (-1, space.shape[-1])
            before: tuple[Any, ...] = (slice(None),) if first else (...,)
            low, high = (np.concatenate([bound] * frames, axis) for bound in (space.low, space.high))
            box = Box(low, high, dtype=space.dtype.type)
            stacked[key] = _with_zero("stack", box) if frames > 1 else box
            self._memory[key] = np.zeros((venv.num_envs, *box.shape), box.dtype)
            newest, later = slice(-width, None), slice(width, None)
            self._where[key] = (1 if first else -1, (*before, later), (*before, newest))
        super().__init__(venv, stacked)

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        for key, part in seen.items():
            *_, newest = self._where[key]
            self._memory[key][copies] = 0
            self._memory[key][newest][copies] = part
        return {key: memory[copies] for key, memory in self._memory.items()}

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        for key, part in seen.items():
            axis, later, _ = self._where[key]
            self._memory[key] = np.concatenate([self._memory[key][later], part], axis)
        return {key: memory.copy() for key, memory in self._memory.items()}

    def remembered(self) -> dict[str, Any]:
        return {"_memory": self._memory}


class Previous(View):
    """Adds the previous action and reward to a vector; both are zeros at the start of an episode.

    The result is one float32 vector: the observation, the action, the reward. What is Discrete or
    MultiDiscrete is written one-hot, anything else as it is.
    """

    def __init__(self, venv: VecEnv, *, action: bool = True, reward: bool = True) -> None:
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
        self._seen_space, self._done_space = space, venv.action_space
        low, high = _bounds(space)
        if action:
            # Zeros stand for "no action yet".
            low = np.concatenate([low, np.minimum(_bounds(venv.action_space)[0], 0)])
            high = np.concatenate([high, np.maximum(_bounds(venv.action_space)[1], 0)])
        if reward:
            low, high = np.append(low, -inf), np.append(high, inf)
        super().__init__(venv, {"": Box(low.astype(np.float32), high.astype(np.float32))})

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        known = _encode(self._seen_space, seen[""])
        view = np.zeros((len(copies), *(self.observation_space.shape or ())), np.float32)
        view[:, : known.shape[1]] = known
        return {"": view}

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        columns = [_encode(self._seen_space, seen[""])]
        if self._action:
            columns.append(_encode(self._done_space, actions))
        if self._reward:
            columns.append(rewards[:, None].astype(np.float32))
        return {"": np.concatenate(columns, axis=1)}


class OneHot(View):
    """Writes each number of a vector or an image as zeros with a one at its place in `values`, as one vector.

    `key` takes one part of a Dict and `channel` one of an image; the rest is dropped. A number that is none
    of the `values` is all zeros. Most of MiniGrid fits: key "image", channel 0, the objects that occur.
    """

    def __init__(
        self, venv: VecEnv, *, values: Sequence[int], key: str | None = None, channel: int | None = None
    ) -> None:
        self._key, self._channel = key or "", slice(None) if channel is None else channel
        space = spaces_of(venv).get(self._key)
        if not isinstance(space, Box | MultiDiscrete) or not space.shape:
            raise UserError(
                f"one_hot needs a Box or a MultiDiscrete, named by key=... if it is in a Dict; key={key!r} "
                f"names none in {venv.observation_space}."
            )
        if channel is not None:
            _check_number("one_hot", "channel", channel, 0, space.shape[-1] - 1, whole=True)
        whole = isinstance(values, Sequence) and all(type(value) is int for value in values)
        if not whole or not 0 < len(set(values)) == len(values):
            raise UserError(f"one_hot has values={values!r}; give a list of whole numbers, each once.")
        self._values = np.array(values)
        size = int(np.prod(space.shape)) // (1 if channel is None else space.shape[-1])
        super().__init__(venv, {"": Box(0.0, 1.0, (size * len(values),))})

    def begin(self, seen: Parts, copies: NDArray[np.intp]) -> Parts:
        numbers = seen[self._key][..., self._channel].reshape(len(copies), -1, 1)
        return {"": (numbers == self._values).reshape(len(copies), -1).astype(np.float32)}

    def advance(self, seen: Parts, actions: Array, rewards: Array) -> Parts:
        return self.begin(seen, self.everyone)


WRAPPERS: dict[str, type[View]] = {
    "delay": Delay,
    "flatten": Flatten,
    "flicker": Flicker,
    "hide": Hide,
    "noise": Noise,
    "one_hot": OneHot,
    "previous": Previous,
    "stack": Stack,
}


def wrap(env: VecEnv, specs: Sequence[Mapping[str, Any]]) -> VecEnv:
    """The environment in its wrappers, innermost first: {"name": "delay", "steps": 2}."""
    for spec in specs:
        options = dict(spec)
        name = options.pop("name", None)
        if name not in WRAPPERS:
            raise UserError(f"The wrapper {name!r} is unknown; the known ones are {', '.join(WRAPPERS)}.")
        accepted = [p for p in inspect.signature(WRAPPERS[name]).parameters.values() if p.name != "venv"]
        known = ", ".join(p.name for p in accepted)
        for option in options:
            if option not in [p.name for p in accepted]:
                raise UserError(f"The wrapper {name} has no option {option!r}; it knows {known}.")
        for p in accepted:
            if p.default is p.empty and p.name not in options:
                raise UserError(f"The wrapper {name} needs the option {p.name!r}.")
        env = WRAPPERS[name](env, **options)
    return env


def _check_number(
    wrapper: str, option: str, value: Any, low: float, high: float = inf, whole: bool = False
) -> None:
    """Refuse what is not a (whole) number from low to high."""
    kinds: Any = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    # Written so that NaN does not fit.
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high or value == inf:
        kind = "a whole number" if whole else "a number"
        limit = f"of at least {low}" if high == inf else f"from {low} to {high}"
        raise UserError(f"{wrapper} has {option}={value!r}; give {kind} {limit}.")


def _with_zero(wrapper: str, space: Space[Any]) -> Space[Any]:
    """The space, made large enough to hold zeros."""
    if space.contains(np.zeros(space.shape or (), space.dtype)):
        return space
    if isinstance(space, Box):
        return Box(np.minimum(space.low, 0), np.maximum(space.high, 0), dtype=space.dtype.type)
    raise UserError(f"{wrapper} shows zeros, which are not in {space}; use a space that contains 0.")


def _sizes(space: Space[Any]) -> Array:
    """How many values each number of the space has that is written one-hot."""
    if isinstance(space, Discrete):
        return np.array([space.n])
    return space.nvec.ravel() if isinstance(space, MultiDiscrete) else np.array([], np.int64)


def _bounds(space: Space[Any]) -> tuple[Array, Array]:
    """The least and greatest numbers that `_encode` gives, [width] each."""
    if isinstance(space, Box):
        return space.low.ravel(), space.high.ravel()
    width = int(_sizes(space).sum()) or int(np.prod(space.shape or ()))
    return np.zeros(width), np.ones(width)


def _encode(space: Space[Any], values: Array) -> NDArray[np.float32]:
    """[N, ...] as [N, width]: one-hot for Discrete and MultiDiscrete, flat for the rest."""
    flat = values.reshape(len(values), -1)
    if not isinstance(space, Discrete | MultiDiscrete):
        return flat.astype(np.float32)
    columns = (flat - np.ravel(space.start)).T  # [numbers, N] from 0
    hot = [np.eye(n, dtype=np.float32)[column] for n, column in zip(_sizes(space), columns, strict=True)]
    return np.concatenate(hot, axis=1)
