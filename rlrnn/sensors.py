"""Observation space to features: what the input units receive.

SB3's feature extractors do the work on images and dictionaries; observation statistics live here, as
buffers of the network, so that the saved agent, the learner and the player share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rlrnn.errors import UserError

Observation: TypeAlias = Tensor | dict[str, Tensor]


class RunningNormalizer(nn.Module):
    """(x - mean) / std, clipped to [-10, 10], by running statistics that move only in ``update``."""

    CLIP = 10.0
    EPSILON = 1e-8

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.deviation).clamp(-self.CLIP, self.CLIP)

    @property
    def deviation(self) -> Tensor:
        """What values are divided by, never 0."""
        return (self.variance + self.EPSILON).sqrt()

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Fold a batch [N, ...] in."""
        x = x.double()
        self.fold(x.mean(0), x.var(0, correction=0), float(x.shape[0]))

    @torch.no_grad()
    def fold(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Fold the statistics of ``count`` values in (Chan, Golub & LeVeque 1979, their pairwise update)."""
        total = self.count.double() + count
        delta = mean - self.mean.double()
        spread = self.variance.double() * self.count + variance * count
        spread += delta.square() * self.count.double() * count / total
        self.mean.add_(delta * count / total)
        self.variance.copy_(spread / total)
        self.count.copy_(total)


class Sensors(nn.Module):
    """Observations [B, ...] (a dict of them for Dict spaces) -> features [B, F]."""

    def __init__(
        self,
        space: spaces.Space[Any],
        extractor_class: type[BaseFeaturesExtractor],
        extractor_options: Mapping[str, Any],
        *,
        normalize_images: bool = True,
        normalize_observations: bool = False,
    ) -> None:
        super().__init__()
        check_supported(space)
        self.space = space
        self.normalize_images = normalize_images
        self.extractor = extractor_class(space, **extractor_options)
        self.output_size: int = self.extractor.features_dim
        self.normalizers = nn.ModuleDict()
        if normalize_observations:
            parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
            for key, part in parts.items():
                if isinstance(part, spaces.Box) and not is_image_space(part):
                    self.normalizers[f"field_{key}"] = RunningNormalizer(part.shape)

    def forward(self, observation: Observation) -> Tensor:
        prepared = preprocess_obs(self._from_zero(observation), self.space, self.normalize_images)
        if self.normalizers:
            if isinstance(prepared, dict):
                prepared = {key: self._normalize(key, value) for key, value in prepared.items()}
            else:
                prepared = self._normalize("", prepared)
        features: Tensor = self.extractor(prepared)
        return features

    def update(self, observation: Observation) -> None:
        """Fold observations [N, ...] into the statistics: never within an update, whose ratios start at 1."""
        for key, value in observation.items() if isinstance(observation, dict) else (("", observation),):
            if f"field_{key}" in self.normalizers:
                self.normalizers[f"field_{key}"].update(value)  # type: ignore[operator]

    def _normalize(self, key: str, value: Tensor) -> Tensor:
        name = f"field_{key}"
        return self.normalizers[name](value) if name in self.normalizers else value

    def _from_zero(self, observation: Observation) -> Observation:
        """Discrete and MultiDiscrete values counted from 0, as their one-hot units are."""
        if isinstance(observation, dict):
            assert isinstance(self.space, spaces.Dict)
            return {key: _shift(value, self.space[key]) for key, value in observation.items()}
        return _shift(observation, self.space)


def _shift(value: Tensor, space: spaces.Space[Any]) -> Tensor:
    start = getattr(space, "start", None)
    if start is None or not start.any():
        return value
    return value - torch.as_tensor(start, device=value.device)


def check_supported(space: spaces.Space[Any]) -> None:
    """Refuse the observation spaces that no sensor fits."""
    for part in space.spaces.values() if isinstance(space, spaces.Dict) else (space,):
        _check_part(part)


def _check_part(space: spaces.Space[Any]) -> None:
    if isinstance(space, spaces.Dict):
        raise UserError(
            "the observation space has a Dict inside a Dict, which is not supported: flatten it to one "
            "level, for instance with gymnasium.wrappers.FlattenObservation."
        )
    table = isinstance(space, spaces.MultiDiscrete) and len(space.shape) > 1  # SB3's one-hot knows rows alone
    known = isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
    if table or not known:
        raise UserError(
            f"the observation space {space} is not supported: use Box, Discrete, MultiDiscrete of one axis, "
            "MultiBinary or a Dict of these (gymnasium.wrappers.FlattenObservation makes a Box of others)."
        )
