"""Views with random numbers in them: flicker and noise."""

from math import inf

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.batches import copied
from rlrnn.common.settings import check_number
from rlrnn.envs.wrappers.base import Parts, Still, spaces_of
from rlrnn.envs.wrappers.vectors import with_zero
from rlrnn.errors import UserError


class Flicker(Still):
    """Replaces the whole observation by zeros with a probability, at each step of each copy anew."""

    def __init__(
        self,
        venv: VecEnv,
        *,
        probability: float,  # of a step in which nothing is seen
    ) -> None:
        check_number("flicker: probability", probability, 0, 1)
        self._probability = probability
        super().__init__(venv, {key: with_zero("flicker", space) for key, space in spaces_of(venv).items()})

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        blank = self.chance.uniform(copies, 1)[0] < self._probability  # [N]
        view = copied(parts)
        for part in view.values():
            part[blank] = 0
        return view


class Noise(Still):
    """Adds Gaussian noise of mean 0 and standard deviation `std` to every number of every float Box."""

    def __init__(
        self,
        venv: VecEnv,
        *,
        std: float,  # standard deviation, in the unit of the observations
    ) -> None:
        check_number("noise: std", std, 0)
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

    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        view = copied(parts)
        for key in self._noisy:
            view[key] += (self._std * self._gauss(copies, view[key].shape)).astype(view[key].dtype)
        return view

    def _gauss(self, copies: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Numbers ~ N(0, 1), [N, ...], by Box & Muller (1958): two normal ones from two uniform ones."""
        size = int(np.prod(shape[1:]))
        half = (size + 1) // 2
        uniform = self.chance.uniform(copies, 2 * half)  # [2 half, N] in [0, 1)
        radius, angle = np.sqrt(-2 * np.log1p(-uniform[:half])), 2 * np.pi * uniform[half:]
        pairs = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])  # [2 half, N]
        return pairs[:size].T.reshape(shape)
