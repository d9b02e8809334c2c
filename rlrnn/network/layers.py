"""Feed-forward layers in row form, so that they too take a leading population axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from rlrnn.cells.cell import affine, inverse_root, normalised, ones, uniform
from rlrnn.errors import UserError


class Affine(nn.Module):
    """x [..., I] -> x @ weight [I, O] + bias [O], initialised as ``torch.nn.Linear`` is."""

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        bound = inverse_root(input_size)
        self.weight = uniform(bound, input_size, output_size)
        self.bias = uniform(bound, output_size)

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias)

    def orthogonal(self, gain: float) -> None:
        """Orthogonal weights (Saxe et al. 2014) times a gain, and no bias."""
        with torch.no_grad():
            self.weight.copy_(nn.init.orthogonal_(torch.empty_like(self.weight).t(), gain).t())
            self.bias.zero_()


class FirstUnits(Affine):
    """x [..., I] -> its first O units as they are: an output layer with nothing to learn."""

    def __init__(self, input_size: int, output_size: int) -> None:
        nn.Module.__init__(self)
        if output_size > input_size:
            raise UserError(
                f"without an output layer the first {output_size} units act themselves, but the last layer "
                f"has {input_size}: give it more units, or an output layer."
            )
        self.register_buffer("weight", torch.eye(input_size, output_size))
        self.register_buffer("bias", torch.zeros(output_size))

    def orthogonal(self, gain: float) -> None:
        """There is nothing to set."""


class Mlp(nn.Module):
    """Fully connected layers, each followed by the activation: [..., I] -> [..., last width].

    ``norm``: before the activation each layer's sums are brought to mean 0 and deviation 1 (Ba, Kiros &
    Hinton 2016, eq. 3), times a gain and plus a bias that are learned.
    """

    def __init__(
        self, input_size: int, widths: Sequence[int], activation: type[nn.Module], norm: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.activation = activation()
        for width in widths:
            self.layers.append(Affine(input_size, width))
            input_size = width
        self.output_size, self.norm = input_size, norm
        if norm:
            self.gains = nn.ParameterList([ones(width) for width in widths])
            self.biases = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in widths])

    def forward(self, x: Tensor) -> Tensor:
        for k, layer in enumerate(self.layers):
            x = layer(x)
            x = self.activation(normalised(x, self.gains[k], self.biases[k]) if self.norm else x)
        return x

    def orthogonal(self, gain: float) -> None:
        """Of each layer: see ``Affine.orthogonal``."""
        for layer in self.affine:
            layer.orthogonal(gain)

    @property
    def affine(self) -> list[Affine]:
        """The layers, without the activations."""
        return cast("list[Affine]", list(self.layers))
