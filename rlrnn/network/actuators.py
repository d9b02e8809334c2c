"""Output units to actions: the distribution that fits the action space.

Letters: B environments (any leading axes: time, population), L latent units, A numbers in an action,
N choices. An action travels as a flat tensor [..., A]: int64 for Discrete (A = 1), MultiDiscrete and
MultiBinary, float for Box; ``Actuators.to_space`` shapes it for the environment.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlrnn.errors import UserError
from rlrnn.network.layers import Affine, FirstUnits

LOG_2PI = math.log(2.0 * math.pi)


class Distribution(ABC):
    """What an agent may do in each of [...] situations."""

    @abstractmethod
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """An action drawn at random: [..., A]."""

    @abstractmethod
    def mode(self) -> Tensor:
        """The most likely action: [..., A]."""

    @abstractmethod
    def log_prob(self, action: Tensor) -> Tensor:
        """The logarithm of the probability (or density) of an action [..., A]: [...]."""

    @abstractmethod
    def entropy(self) -> Tensor | None:
        """Entropy in nats [...], or None where it has no closed form."""

    @property
    @abstractmethod
    def distribution(self) -> torch.distributions.Distribution | list[torch.distributions.Categorical]:
        """The same as torch's own, under SB3's name; of MultiDiscrete one for each choice."""


class Categorical(Distribution):
    """Discrete and MultiDiscrete: one choice from each group of logits; logits [..., sum of sizes]."""

    def __init__(self, logits: Tensor, sizes: list[int]) -> None:
        self.groups = logits.split(sizes, dim=-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        # Gumbel-max: argmax(logit + g), g = -log(exponential noise), is a draw from softmax(logits).
        choices = []
        for logits in self.groups:
            noise = torch.empty_like(logits).exponential_(generator=generator)
            choices.append((logits - noise.log()).argmax(dim=-1))
        return torch.stack(choices, dim=-1)

    def mode(self) -> Tensor:
        return torch.stack([logits.argmax(dim=-1) for logits in self.groups], dim=-1)

    @cached_property
    def log_p(self) -> list[Tensor]:
        """The log-probability of every choice, group by group."""
        return [logits.log_softmax(dim=-1) for logits in self.groups]

    def log_prob(self, action: Tensor) -> Tensor:
        choices = action.long().unsqueeze(-1).unbind(-2)  # [..., 1] each
        parts = [log_p.gather(-1, choice) for log_p, choice in zip(self.log_p, choices, strict=True)]
        return parts[0].squeeze(-1) if len(parts) == 1 else torch.cat(parts, dim=-1).sum(-1)

    def entropy(self) -> Tensor:
        parts = [-(log_p.exp() * log_p).sum(-1) for log_p in self.log_p]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    @property
    def distribution(self) -> torch.distributions.Categorical | list[torch.distributions.Categorical]:
        known = [torch.distributions.Categorical(logits=logits) for logits in self.groups]
        return known[0] if len(known) == 1 else known


class Bernoulli(Distribution):
    """MultiBinary: each actuator on or off on its own; logits [..., A]."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        uniform = torch.empty_like(self.logits).uniform_(generator=generator)
        return (uniform < self.logits.sigmoid()).long()

    def mode(self) -> Tensor:
        return (self.logits > 0.0).long()

    def log_prob(self, action: Tensor) -> Tensor:
        return -nn.functional.binary_cross_entropy_with_logits(
            self.logits, action.to(self.logits.dtype), reduction="none"
        ).sum(-1)

    def entropy(self) -> Tensor:
        p = self.logits.sigmoid()
        return nn.functional.binary_cross_entropy_with_logits(self.logits, p, reduction="none").sum(-1)

    @property
    def distribution(self) -> torch.distributions.Bernoulli:
        return torch.distributions.Bernoulli(logits=self.logits)


class Gaussian(Distribution):
    """Box: independent normal actuators; mean [..., A], std broadcastable to it."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean = mean
        self.std = std

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + self.std * noise

    def mode(self) -> Tensor:
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        z = (action - self.mean) / self.std
        return (-0.5 * z.square() - self.std.log() - 0.5 * LOG_2PI).sum(-1)

    def entropy(self) -> Tensor | None:
        return (0.5 + 0.5 * LOG_2PI + self.std.log()).expand_as(self.mean).sum(-1)

    @property
    def distribution(self) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.mean, self.std)


class StateDependentNoise(Gaussian):
    """gSDE (Raffin, Kober & Stulp 2022): the noise is a linear function of the latent units.

    Its matrix ``exploration`` [..., L, A] is held for many steps, so that exploration is smooth; over
    the draw of the matrix an action is normal with the given std. ``squashed``: actions pass through
    tanh, and probabilities are those of the squashed action.
    """

    EPSILON = 1e-6

    def __init__(
        self, mean: Tensor, std: Tensor, latent: Tensor, exploration: Tensor | None, squashed: bool
    ) -> None:
        super().__init__(mean, std)
        self.latent = latent
        self.exploration = exploration
        self.squashed = squashed

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        if self.exploration is None:
            return self._squash(super().sample(generator))
        noise = (self.latent.unsqueeze(-2) @ self.exploration).squeeze(-2)
        return self._squash(self.mean + noise)

    def mode(self) -> Tensor:
        return self._squash(self.mean)

    def log_prob(self, action: Tensor) -> Tensor:
        if not self.squashed:
            return super().log_prob(action)
        # Haarnoja et al. (2018), appendix C: the density of tanh(u) is that of u over 1 - tanh(u)^2.
        bound = 1.0 - torch.finfo(action.dtype).eps
        action = action.clamp(-bound, bound)
        correction = torch.log(1.0 - action.square() + self.EPSILON).sum(-1)
        return super().log_prob(torch.atanh(action)) - correction

    def entropy(self) -> Tensor | None:
        return None if self.squashed else super().entropy()

    def _squash(self, action: Tensor) -> Tensor:
        return torch.tanh(action) if self.squashed else action


class Actuators(nn.Module, ABC):
    """The output units: latent [..., L] -> Distribution; and the shape that actions have outside."""

    action_size: int
    action_dtype: type[np.generic] = np.int64

    def __init__(self, space: spaces.Space[Any], latent_size: int, numbers: int, output_layer: bool) -> None:
        super().__init__()
        self.space = space
        self.output = (Affine if output_layer else FirstUnits)(latent_size, numbers)

    @abstractmethod
    def forward(self, latent: Tensor) -> Distribution: ...

    def to_space(self, action: np.ndarray) -> np.ndarray:
        """Flat actions [B, A] -> what a batch of environments takes, inside the space: [B, ...]."""
        return action.reshape(-1, *(self.space.shape or ()))


class ChoiceActuators(Actuators):
    """Discrete and MultiDiscrete spaces, of any shape and first value."""

    def __init__(
        self, space: spaces.Discrete | spaces.MultiDiscrete, latent_size: int, *, output_layer: bool = True
    ) -> None:
        sizes = [int(n) for n in np.atleast_1d(getattr(space, "nvec", getattr(space, "n", 0))).ravel()]
        super().__init__(space, latent_size, sum(sizes), output_layer)
        self.sizes, self.action_size = sizes, len(sizes)
        self.first = np.atleast_1d(space.start).ravel()

    def forward(self, latent: Tensor) -> Distribution:
        return self.told(self.output(latent))

    def told(self, logits: Tensor) -> Distribution:
        """What the output units say, as a distribution."""
        return Categorical(logits, self.sizes)

    def to_space(self, action: np.ndarray) -> np.ndarray:
        return super().to_space(action + self.first).astype(self.space.dtype, copy=False)


class BinaryActuators(Actuators):
    """MultiBinary spaces of any shape."""

    def __init__(self, space: spaces.MultiBinary, latent_size: int, *, output_layer: bool = True) -> None:
        super().__init__(space, latent_size, int(np.prod(space.shape)), output_layer)
        self.action_size = int(np.prod(space.shape))

    def forward(self, latent: Tensor) -> Distribution:
        return Bernoulli(self.output(latent))

    def to_space(self, action: np.ndarray) -> np.ndarray:
        return super().to_space(action).astype(self.space.dtype)


class ContinuousActuators(Actuators):
    """Box spaces of any shape: normal actuators clipped to the box, or gSDE, squashed if asked for."""

    action_dtype = np.float32

    def __init__(
        self,
        space: spaces.Box,
        latent_size: int,
        *,
        output_layer: bool = True,
        log_std_init: float = 0.0,
        use_sde: bool = False,
        full_std: bool = True,
        use_expln: bool = False,
        squash_output: bool = False,
    ) -> None:
        super().__init__(space, latent_size, int(np.prod(space.shape)), output_layer)
        self.action_size = int(np.prod(space.shape))
        self.squashed = squash_output
        self.use_expln = use_expln
        columns = self.action_size if full_std else 1
        shape = (latent_size, columns) if use_sde else (self.action_size,)
        self.log_std = nn.Parameter(torch.full(shape, float(log_std_init)))
        self.use_sde = use_sde
        self.exploration: Tensor | None = None  # [B, L, A], drawn by sample_exploration

    def forward(self, latent: Tensor) -> Distribution:
        mean = self.output(latent)
        if not self.use_sde:
            return self.told(mean)
        # The std is a function of the latent units, but does not teach them (as in the paper's code).
        latent = latent.detach()
        variance = latent.square() @ self._noise_std().square()
        std = (variance + StateDependentNoise.EPSILON).sqrt()
        fits = self.exploration is not None and self.exploration.shape[:-2] == latent.shape[:-1]
        return StateDependentNoise(mean, std, latent, self.exploration if fits else None, self.squashed)

    def told(self, mean: Tensor) -> Distribution:
        """What the output units say, as a distribution; not of gSDE, which looks further back."""
        return Gaussian(mean, self.log_std.exp().unsqueeze(-2).expand_as(mean))

    def sample_exploration(self, n_envs: int, generator: torch.Generator | None = None) -> None:
        """Draw each environment's gSDE matrix anew: it stays until the next call."""
        with torch.no_grad():
            std = self._noise_std()
            noise = torch.empty((n_envs, *std.shape), device=std.device, dtype=std.dtype)
            self.exploration = noise.normal_(generator=generator) * std

    def _noise_std(self) -> Tensor:
        """The std of each entry of the exploration matrix: [L, A]."""
        std = self.log_std.exp()
        if self.use_expln:  # grows linearly above 1, so that it cannot explode
            above = self.log_std > 0.0
            std = torch.where(above, torch.log1p(self.log_std.clamp(min=0.0)) + 1.0, std)
        return std.expand(*std.shape[:-1], self.action_size)

    def to_space(self, action: np.ndarray) -> np.ndarray:
        assert isinstance(self.space, spaces.Box)
        low, high = self.space.low, self.space.high
        action = super().to_space(action)
        if self.squashed:
            action = low + 0.5 * (action + 1.0) * (high - low)
        clipped: np.ndarray = np.minimum(np.maximum(action, low), high)  # half of what np.clip takes
        return clipped.astype(self.space.dtype, copy=False)


def make_actuators(
    space: spaces.Space[Any], latent_size: int, *, output_layer: bool = True, **continuous: Any
) -> Actuators:
    """The actuators for an action space; ``continuous`` are options that only Box spaces take.

    Without ``output_layer`` the first units of what they are told by are the output units themselves.
    """
    check_supported(space)
    if isinstance(space, spaces.Box):
        return ContinuousActuators(space, latent_size, output_layer=output_layer, **continuous)
    if isinstance(space, spaces.MultiBinary):
        return BinaryActuators(space, latent_size, output_layer=output_layer)
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
    return ChoiceActuators(space, latent_size, output_layer=output_layer)


def check_supported(space: spaces.Space[Any]) -> None:
    """Refuse the action spaces that no actuator fits."""
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box):
        raise UserError(
            f"the action space {space} is not supported: use Discrete, Box, MultiDiscrete or MultiBinary "
            "(gymnasium.spaces.flatten_space turns many others into one of these)."
        )
    if 0 in (space.shape or ()):
        raise UserError(
            f"the action space {space} is empty, so that there is nothing to do: give it a number."
        )
    if isinstance(space, spaces.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UserError(
            f"the action space {space} has an infinite bound: give every action a finite low and high "
            "(gymnasium.wrappers.RescaleAction or a wrapper of your own does it)."
        )
