"""What a game shows and takes, in the words of users, and which kinds of spaces these are."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from rlrnn.common.batches import parts_of
from rlrnn.network import actuators, sensors

OBSERVATIONS = NUMBERS, SYMBOLS, IMAGES, SMALL_IMAGES = "numbers", "symbols", "images", "small_images"
ACTIONS = CONTINUOUS, CHOICES = "continuous", "choices"


def check_supported(observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
    """Refuse spaces that no learner takes, by a sentence that says what would do."""
    sensors.check_supported(observations)
    actuators.check_supported(actions)


def observation_kinds(space: spaces.Space[Any]) -> tuple[str, ...]:
    """The kinds of its parts, each once."""
    return tuple(dict.fromkeys(_kind(part) for part in parts_of(space).values()))


def action_kind(space: spaces.Space[Any]) -> str:
    """Continuous or choices."""
    return CONTINUOUS if isinstance(space, spaces.Box) else CHOICES


def _kind(space: spaces.Space[Any]) -> str:
    if not isinstance(space, spaces.Box):
        return SYMBOLS
    if is_image_space(space):
        return IMAGES if sensors.is_convolvable(space) else SMALL_IMAGES
    return NUMBERS


def words(space: spaces.Space[Any]) -> str:
    """The space in a few words: "4 numbers", "one of 2", "an image of 84 x 84 x 3"."""
    if isinstance(space, spaces.Dict):
        return ", ".join(f"{key}: {words(part)}" for key, part in space.items())
    if isinstance(space, spaces.Discrete):
        return f"one of {space.n}"
    if isinstance(space, spaces.MultiDiscrete):
        sizes = np.unique(space.nvec)
        each = f"of {sizes[0]} each" if len(sizes) == 1 else f"of {', '.join(map(str, space.nvec.ravel()))}"
        return f"{space.nvec.size} choice{'s' * (space.nvec.size > 1)} {each}"
    if isinstance(space, spaces.MultiBinary):
        return f"{int(np.prod(space.shape))} bits"
    if not isinstance(space, spaces.Box):
        return str(space)
    if is_image_space(space):
        return f"an image of {' x '.join(map(str, space.shape))}"
    size = int(np.prod(space.shape))
    return f"{size} number{'s' * (size != 1)}{_limits(space)}"


def _limits(space: spaces.Box) -> str:
    limits = [float(bound) for bound in (space.low.min(), space.high.max())] if space.low.size else [np.inf]
    return f" from {limits[0]:g} to {limits[1]:g}" if np.isfinite(limits).all() else ""
