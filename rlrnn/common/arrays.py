"""What environments hand in, checked once, where it comes in: behind this it is arrays that can be trusted.

Letters: B environments. ``when`` says in errors at what moment, as "step 3 of a rollout".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Dict, Discrete, MultiDiscrete, Space

from rlrnn.common.batches import map_arrays
from rlrnn.errors import EnvironmentFault

Array = npt.NDArray[Any]
LONGEST = 1_000_000  # steps that an episode may take where its points are counted at its end

_MEND = "so the game or a wrapper around it needs mending."


def observed(observations: Any, space: Space[Any], n: int, when: str, copies: list[int] | None = None) -> Any:
    """Observations of n environments as arrays [n, ...] of finite numbers, in a dict for a Dict space.

    ``copies`` are the environments that the rows belong to, if not all.
    """
    mapping = isinstance(observations, Mapping)
    if isinstance(space, Dict) and not (mapping and observations.keys() >= set(space.keys())):
        found = list(observations) if mapping else type(observations).__name__
        raise EnvironmentFault(
            f"the environments returned observations of {found} at {when}: they must have the keys "
            f"{list(space.keys())}, {_MEND}"
        )
    return map_arrays(lambda part, values: _part(values, part, n, when, copies), space, observations)


def stepped(
    answer: Any, space: Space[Any], n: int, when: str
) -> tuple[Any, Array, npt.NDArray[np.bool_], list[dict[str, Any]]]:
    """What a VecEnv's ``step`` returned: observations [B, ...], rewards [B], dones [B] bool, infos [B].

    Lists become arrays, and dones may be any numbers that are 0 or 1.
    """
    if not isinstance(answer, tuple | list) or len(answer) != 4:
        found = f"{len(answer)} things" if isinstance(answer, tuple | list) else type(answer).__name__
        raise EnvironmentFault(
            f"the environments returned {found} at {when}: a VecEnv's step returns observations, rewards, "
            f"dones and infos, {_MEND}"
        )
    rewards = numbers(answer[1], (n,), "reward", when)
    finite = np.isfinite(rewards)
    if not finite.all():
        row = int(finite.argmin())
        raise _fault(row, rewards[row], "reward", when, "it must be a finite number")
    dones = numbers(answer[2], (n,), "done", when)
    if dones.dtype != np.bool_:
        wrong = (dones != 0) & (dones != 1)
        if wrong.any():
            raise _fault(int(wrong.argmax()), dones[wrong.argmax()], "done", when, "it must be true or false")
        dones = dones.astype(np.bool_)
    infos = list(answer[3]) if isinstance(answer[3], tuple | list) else []
    if len(infos) != n or not all(issubclass(kind, dict) for kind in set(map(type, infos))):
        raise EnvironmentFault(
            f"the environments returned {type(answer[3]).__name__} as infos at {when}: they must be a "
            f"list of {n} dicts, {_MEND}"
        )
    return (
        observed(answer[0], space, n, when),
        rewards.astype(np.float32) if rewards.dtype == np.bool_ else rewards,
        dones,
        [_valid_info(info) if "episode" in info or "is_success" in info else info for info in infos],
    )


def _valid_info(info: dict[str, Any]) -> dict[str, Any]:
    """The info without what is not SB3's under its names: the points and steps of an episode, and success."""
    episode, success = info.get("episode"), info.get("is_success")
    valid_episode = isinstance(episode, Mapping) and all(_is_number(episode.get(key)) for key in "rl")
    invalid = {"episode": not valid_episode, "is_success": not _is_number(success)}
    return {key: value for key, value in info.items() if not invalid.get(key, False)}


def _is_number(value: Any) -> bool:
    array = np.asarray(value) if isinstance(value, bool | int | float | np.generic | np.ndarray) else None
    return array is not None and array.size == 1 and array.dtype.kind in "biuf"


def flaw(array: Array, space: Space[Any]) -> tuple[int, Any, str] | None:
    """The first row of an array [n, ...] with a number that its space does not allow: (row, number, rule)."""
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.all():
            where = tuple(np.argwhere(~finite)[0])
            return int(where[0]), array[where], "it must be a finite number"
    if isinstance(space, Discrete | MultiDiscrete):
        sizes: Any = space.n if isinstance(space, Discrete) else space.nvec
        outside = (array < space.start) | (array >= space.start + sizes)
        if outside.any():
            where = tuple(np.argwhere(outside)[0])
            return int(where[0]), array[where], f"it must lie in {space}"
    return None


def check_length(steps: int, name: str) -> None:
    """Refuse an episode that does not end, where its end is waited for."""
    if steps >= LONGEST:
        raise EnvironmentFault(
            f"an episode of {name} has not ended after {LONGEST:,} steps, so that its points cannot be "
            "counted: give the game a time limit, by kwargs = { max_episode_steps = 1000 } in its TOML file, "
            "or max_episode_steps=1000 where it is registered."
        )


def _part(values: Any, space: Space[Any], n: int, when: str, copies: list[int] | None) -> Array:
    array = numbers(values, (n, *(space.shape or ())), "observation", when)
    found = flaw(array, space)
    if found is not None:
        row, number, rule = found
        raise _fault(row if copies is None else copies[row], number, "observation", when, rule)
    return array


def numbers(values: Any, shape: tuple[int, ...], what: str, when: str) -> Array:
    """The values as an array of that shape, of numbers or booleans."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf" or array.shape != shape:
        found = f"shape {array.shape}" if array.dtype.kind in "biuf" else f"type {array.dtype}"
        raise EnvironmentFault(
            f"the environments returned {what}s of {found} at {when}: they must be numbers of shape {shape}, "
            f"{_MEND}"
        )
    return array


def _fault(copy: int, value: Any, what: str, when: str, rule: str) -> EnvironmentFault:
    return EnvironmentFault(f"environment {copy} returned {value} in its {what} at {when}: {rule}, {_MEND}")
