"""Which convolutions see images, and in which precision they compute."""

from __future__ import annotations

import functools
import platform

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import Tensor, nn

from rlrnn.storage import encoding

PRECISIONS = ("float32", "bfloat16")


class SmallCNN(BaseFeaturesExtractor):
    """For frames of 42 to 64 pixels on a processor: images [N, C, H, W] -> features [N, F].

    The two convolutions and the layer of 256 of Mnih et al. (2013, "Playing Atari with Deep Reinforcement
    Learning"): an eighth of the work, on 64 x 64 pixels, of ``NatureCNN`` on 84 x 84. It stands in the place
    of SB3's extractors, in contrib's policies too: ``policy_kwargs={"features_extractor_class":
    rlrnn.SmallCNN}``; a recipe says ``images = "small"`` in ``[network]``.

    :param observation_space: of images with the channels first, as SB3 hands them over, 20 pixels or more
    :param features_dim: units of the last layer
    :param normalized_image: whether pixels are numbers of any kind and size, not uint8 from 0 to 255
    """

    def __init__(
        self, observation_space: spaces.Box, features_dim: int = 256, normalized_image: bool = False
    ) -> None:
        super().__init__(observation_space, features_dim)
        channels, height, width = observation_space.shape
        places = _left(_left(height, 8, 4), 4, 2) * _left(_left(width, 8, 4), 4, 2)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * places, features_dim),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


encoding.register_class("rlrnn.SmallCNN", SmallCNN)


def convolves(extractor_class: type[BaseFeaturesExtractor]) -> bool:
    """Whether an extractor reads images alone, by convolutions known here."""
    return issubclass(extractor_class, NatureCNN | SmallCNN)


def smallest(extractor_class: type[BaseFeaturesExtractor]) -> int:
    """Pixels of an image's side that its layers need; a ``CombinedExtractor``'s are a ``NatureCNN``'s."""
    return 20 if issubclass(extractor_class, SmallCNN) else 36


def _left(pixels: int, kernel: int, stride: int) -> int:
    """Of a side, after a convolution."""
    return (pixels - kernel) // stride + 1


@functools.cache
def computes(precision: str, device: str) -> bool:
    """Whether a kind of device ("cpu", "cuda") has instructions for a precision, not an emulation."""
    if precision == "float32":
        return True
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
