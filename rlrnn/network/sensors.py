"""Observation space to features: what the input units receive.

SB3's feature extractors do the work on images and dictionaries; observation statistics live here, as
buffers of the network, so that the saved agent, the learner and the player share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
    preprocess_obs,
)
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from torch import Tensor, nn

from rlrnn.common.batches import any_array, map_arrays, parts_of
from rlrnn.errors import OptionsError, UserError, place
from rlrnn.network.convolutions import SmallCNN, computes, convolves, smallest

Array: TypeAlias = npt.NDArray[Any]
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

    def in_numpy(self, x: Array) -> Array:
        """``forward`` in numpy, bit for bit: x [B, ...] -> [B, F]."""
        mean, deviation = self.mean.numpy(), self.deviation.numpy()
        z: Array = (np.ascontiguousarray(x, np.float32) - mean) / deviation
        limit = np.float32(self.CLIP)
        return np.minimum(np.maximum(z, -limit), limit).reshape(len(z), -1)

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
        squares = self.variance.double() * self.count + variance * count
        squares += delta.square() * self.count.double() * count / total
        self.mean.add_(delta * count / total)
        self.variance.copy_(squares / total)
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
        precision: str = "float32",
    ) -> None:
        super().__init__()
        check_supported(space)
        self.space = space
        self.normalize_images = normalize_images
        self.precision = precision
        parts: Mapping[Any, spaces.Space[Any]] = parts_of(space)
        # SB3's extractors make a module of each key and want an axis; a user's own get the space as it is.
        self.adapts = extractor_class in (FlattenExtractor, CombinedExtractor)
        # A user's own may ask for views of pixels that this order in memory does not allow.
        self.channels_last = extractor_class in (NatureCNN, SmallCNN, CombinedExtractor)
        self.names = module_names({key: key for key in parts})
        if self.adapts:
            subspaces = {self.names[key]: _with_axis(part) for key, part in parts.items()}
            extractor_space = (
                spaces.Dict(list(subspaces.items())) if isinstance(space, spaces.Dict) else _with_axis(space)
            )
        else:
            extractor_space = space
        _check_images(parts, extractor_class, normalize_images)
        try:
            self.extractor = extractor_class(extractor_space, **extractor_options)
        except TypeError as error:
            raise UserError(
                f"the extractor {extractor_class.__name__} cannot be made of {dict(extractor_options)}: "
                f"{error}{place(error)}."
            ) from error
        self.output_size: int = self.extractor.features_dim
        self.fields = module_names({key: f"field_{key}" for key in parts})
        self.normalizers = nn.ModuleDict()
        if normalize_observations:
            for key, part in parts.items():
                if isinstance(part, spaces.Box) and not is_image_space(part):
                    self.normalizers[self.fields[key]] = RunningNormalizer(part.shape)

    def forward(self, observation: Observation) -> Tensor:
        from_zero = map_arrays(_from_zero, observation, self.space)
        values = preprocess_obs(from_zero, self.space, self.normalize_images)
        parts = parts_of(values)
        if self.normalizers:
            parts = {key: self._normalize(key, value) for key, value in parts.items()}
        if self.adapts:
            parts = {self.names[key]: _axis(value) for key, value in parts.items()}
        if self.channels_last:
            parts = {key: _channels_last(value) for key, value in parts.items()}
        values = parts if isinstance(values, dict) else any_array(parts)
        device = any_array(parts).device.type
        if self.precision == "float32" or not computes(self.precision, device):
            features: Tensor = self.extractor(values)
            if features.shape != (len(features), self.output_size):
                raise UserError(
                    f"the features that {type(self.extractor).__name__} made have the shape "
                    f"{tuple(features.shape)}, where its features_dim says (rows, {self.output_size})."
                )
            return features
        with torch.autocast(device, dtype=getattr(torch, self.precision)):
            features = self.extractor(values)
        return features.float()

    @property
    def plain(self) -> bool:
        """Whether features are the numbers of a Box of floats, or these normalised."""
        floats = isinstance(self.space, spaces.Box) and np.issubdtype(self.space.dtype, np.floating)
        return floats and type(self.extractor) is FlattenExtractor

    def reader(self) -> Callable[[Any], Array]:
        """Observations [B, ...] in numpy -> features [B, F], float32, their rows in order.

        The same as ``forward``, bit for bit, with the statistics as they are then.
        """
        if self.plain and not self.normalizers:
            return lambda observation: np.ascontiguousarray(observation, np.float32).reshape(
                len(observation), -1
            )
        if self.plain:
            (normalizer,) = cast("list[RunningNormalizer]", list(self.normalizers.children()))
            return normalizer.in_numpy

        @torch.no_grad()
        def read(observation: Any) -> Array:
            features: Tensor = self(map_arrays(torch.as_tensor, observation))
            return features.float().contiguous().numpy()

        return read

    @property
    def normalized(self) -> dict[Any, RunningNormalizer]:
        """The parts of an observation that are normalised ("" where it has none), and by what."""
        named = {key: name for key, name in self.fields.items() if name in self.normalizers}
        return {key: cast("RunningNormalizer", self.normalizers[name]) for key, name in named.items()}

    def update(self, observation: Observation) -> None:
        """Fold observations [N, ...] into the statistics: never within an update, whose ratios start at 1."""
        for key, value in parts_of(observation).items():
            if self.fields[key] in self.normalizers:
                self.normalizers[self.fields[key]].update(value)  # type: ignore[operator]

    def _normalize(self, key: str, value: Tensor) -> Tensor:
        name = self.fields[key]
        return self.normalizers[name](value) if name in self.normalizers else value


def _from_zero(value: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Discrete and MultiDiscrete values counted from 0, as their one-hot units are."""
    start = getattr(space, "start", None)
    if start is None or not start.any():
        return value
    return value - torch.as_tensor(start, device=value.device)


def _with_axis(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """A Box of one number as a vector of one."""
    if isinstance(space, spaces.Box) and space.shape == ():
        return spaces.Box(space.low.reshape(1), space.high.reshape(1), dtype=space.dtype.type)
    return space


def _axis(value: Tensor) -> Tensor:
    """[N] -> [N, 1]; what has features stays as it is."""
    return value.unsqueeze(-1) if value.dim() == 1 else value


def _channels_last(value: Tensor) -> Tensor:
    """Images [N, C, H, W] with a pixel's channels side by side in memory, as convolutions run faster."""
    if value.dim() != 4:
        return value
    n, channels, height, width = value.shape
    # Strides in full: those of a single channel may be anything, and torch would leave them as they are.
    strides = (height * width * channels, 1, width * channels, channels)
    return value.permute(0, 2, 3, 1).contiguous().as_strided((n, channels, height, width), strides)


def module_names(wanted: Mapping[Any, Any]) -> dict[Any, str]:
    """For each key the name of a module, all different: what is wanted, or one like it that torch takes."""
    names: dict[Any, str] = {}
    for plain in (True, False):  # those that torch takes come first, so that none loses its name
        for key, name in wanted.items():
            if _names_a_module(name) == plain:
                chosen = name if plain else f"{name}_".replace(".", "_")
                while chosen in names.values():
                    chosen += "_"
                names[key] = chosen
    return {key: names[key] for key in wanted}


def _names_a_module(name: Any) -> bool:
    return isinstance(name, str) and name != "" and "." not in name and not hasattr(_NO_MODULES, name)


_NO_MODULES = nn.ModuleDict()


def is_convolvable(
    space: spaces.Space[Any], extractor_class: type[BaseFeaturesExtractor] = NatureCNN
) -> bool:
    """Whether its convolutions fit: images [C, H, W] or [H, W, C] that are large enough."""
    return is_image_space(space) and min(_sides(space)) >= smallest(extractor_class)


def _sides(space: spaces.Space[Any]) -> tuple[int, ...]:
    """Height and width of an image."""
    assert space.shape is not None
    return space.shape[1:] if is_image_space_channels_first(space) else space.shape[:2]  # type: ignore[arg-type]


def _check_images(
    parts: Mapping[Any, spaces.Space[Any]],
    extractor_class: type[BaseFeaturesExtractor],
    normalize_images: bool,
) -> None:
    """Refuse what convolutions do not fit: no image, or one that is too small."""
    one = convolves(extractor_class)
    if not one and not issubclass(extractor_class, CombinedExtractor):
        return
    if one:
        for part in parts.values():
            if not is_image_space(part, check_channels=False, normalized_image=not normalize_images):
                kind = "uint8 from 0 to 255" if normalize_images else "any numbers"
                raise OptionsError(
                    f"{extractor_class.__name__} reads images, which the observation space {part} is not: "
                    f"take an Mlp policy, or show a Box of {kind} with height, width and channels"
                    + (", or set normalize_images=False." if normalize_images else ".")
                )
    needed = smallest(extractor_class)
    for key, part in parts.items():
        if is_image_space(part, normalized_image=not normalize_images) and min(_sides(part)) < needed:
            height, width = _sides(part)
            raise UserError(
                f"the images{'' if one else f' {key!r}'} are {width} x {height} pixels, but "
                f"{extractor_class.__name__} needs at least {needed} x {needed}: "
                "enlarge them (gymnasium.wrappers.ResizeObservation), "
                "give a features_extractor_class of your own, or "
                + ("take an Mlp policy" if one else "the wrapper flatten")
                + ", which reads pixels as plain numbers."
            )


def check_supported(space: spaces.Space[Any]) -> None:
    """Refuse the observation spaces that no sensor fits."""
    parts = parts_of(space).values()
    for part in parts:
        _check_part(part)
    if not parts or any(0 in (part.shape or ()) for part in parts):
        raise UserError(
            f"the observation space {space} has {'a part without' if parts else 'no'} numbers, so that there "
            "is nothing to see: leave such a part out, or show a Box of shape (1,) that is always 0."
        )


def _check_part(space: spaces.Space[Any]) -> None:
    if isinstance(space, spaces.Dict):
        raise UserError(
            "the observation space has a Dict inside a Dict, which is not supported: flatten it to one "
            "level, for instance with gymnasium.wrappers.FlattenObservation."
        )
    table = isinstance(space, spaces.MultiDiscrete) and len(space.shape) > 1  # SB3's one-hot takes rows alone
    supported = isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
    if table or not supported:
        raise UserError(
            f"the observation space {space} is not supported: use Box, Discrete, MultiDiscrete of one axis, "
            "MultiBinary or a Dict of these (gymnasium.wrappers.FlattenObservation makes a Box of others)."
        )
