"""What an agent may do in each situation: distributions of actions, drawn, weighed and compared.

Letters: B environments (any leading axes: time, population), A numbers in an action, O output units.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

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

    @abstractmethod
    def decisive(self) -> Tensor:
        """The numbers that decide an action, such as log-probabilities of choices: [..., O]."""

    @abstractmethod
    def distance(self, other: Self) -> Tensor:
        """Total variation from another of the kind: [...], from 0, the same, to 1.

        The least probability that draws from the two differ, if each is drawn as like the other as can be.
        """

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

    def decisive(self) -> Tensor:
        return torch.cat(self.log_p, dim=-1)

    def distance(self, other: Self) -> Tensor:
        """Half the sum of the differences in probability of one choice; several: ``_joint_distance``."""
        pairs = zip(self.log_p, other.log_p, strict=True)
        return _joint_distance(torch.stack([(p.exp() - q.exp()).abs().sum(-1) / 2 for p, q in pairs], dim=-1))

    @property
    def distribution(self) -> torch.distributions.Categorical | list[torch.distributions.Categorical]:
        categoricals = [torch.distributions.Categorical(logits=logits) for logits in self.groups]
        return categoricals[0] if len(categoricals) == 1 else categoricals


class EpsilonGreedy(Categorical):
    """The choice of the highest value [..., N], but with probability ``rate`` one drawn evenly."""

    def __init__(self, values: Tensor, rate: float) -> None:
        best = nn.functional.one_hot(values.argmax(dim=-1), values.shape[-1])
        probability = rate / values.shape[-1] + (1.0 - rate) * best.to(values.dtype)
        super().__init__(probability.log(), [values.shape[-1]])
        self.values = values

    def mode(self) -> Tensor:
        return self.values.argmax(dim=-1, keepdim=True)

    def entropy(self) -> Tensor:
        entropy: Tensor = torch.special.entr(self.log_p[0].exp()).sum(-1)
        return entropy

    def decisive(self) -> Tensor:
        return self.values


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

    def decisive(self) -> Tensor:
        return self.logits

    def distance(self, other: Self) -> Tensor:
        """The difference in probability of one switch; of several, see ``_joint_distance``."""
        return _joint_distance((self.logits.sigmoid() - other.logits.sigmoid()).abs())

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

    def decisive(self) -> Tensor:
        return self.mean / self.std

    def distance(self, other: Self) -> Tensor:
        """erf(d / sqrt(8)), d the distance of the means in units of the std, where both have the same.

        gSDE's std moves with the features, and the root mean square of both stands for it.
        """
        std = ((self.std.square() + other.std.square()) / 2).sqrt()
        return torch.erf(((self.mean - other.mean) / std).norm(dim=-1) / math.sqrt(8.0))

    @property
    def distribution(self) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.mean, self.std)


class StateDependentNoise(Gaussian):
    """gSDE (Raffin, Kober & Stulp 2022): the noise is a linear function of the latent units.

    Its matrix ``exploration`` [..., L, A] is kept for many steps, so that exploration is smooth; over
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


class SquashedGaussian(Gaussian):
    """tanh of independent normal numbers; mean, log_std [..., A] (Haarnoja et al. 2018, appendix C)."""

    LOG_STD = (-20.0, 2.0)  # as SB3 bounds it

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        super().__init__(mean, log_std.clamp(*self.LOG_STD).exp())

    def with_spread(self, std: float) -> SquashedGaussian:
        """The same mean with that spread everywhere, through which no gradient goes."""
        return SquashedGaussian(self.mean, torch.full_like(self.mean, math.log(std)))

    def draw(
        self, generator: torch.Generator | None = None, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """An action [..., A] and its log-density [...], with gradients; by that standard normal noise."""
        if noise is None:
            noise = torch.empty_like(self.mean).normal_(generator=generator)
        u = self.mean + self.std * noise
        # By the noise, not by (u - mean) / std, of which rounding leaves little where the spread is small.
        log_prob = (-0.5 * noise.square() - self.std.log() - 0.5 * LOG_2PI).sum(-1)
        return torch.tanh(u), log_prob - self._log_slope(u)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return torch.tanh(super().sample(generator))

    def mode(self) -> Tensor:
        return torch.tanh(self.mean)

    def log_prob(self, action: Tensor) -> Tensor:
        bound = 1.0 - torch.finfo(action.dtype).eps
        u = torch.atanh(action.clamp(-bound, bound))
        return super().log_prob(u) - self._log_slope(u)

    def entropy(self) -> Tensor | None:
        return None

    @staticmethod
    def _log_slope(u: Tensor) -> Tensor:
        """log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)): tanh(u) has the density of u over it."""
        return (2.0 * (math.log(2.0) - u - nn.functional.softplus(-2.0 * u))).sum(-1)


def _joint_distance(parts: Tensor) -> Tensor:
    """Of several choices or switches: from each's [..., A] to 1 - product of (1 - each's) [...]."""
    return -torch.expm1(torch.log1p(-parts.clamp(max=1.0)).sum(-1))
