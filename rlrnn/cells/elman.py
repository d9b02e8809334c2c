"""Elman's fully recurrent layer: each unit receives the inputs and every unit of the step before."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rlrnn.cells.cell import Wire, add_product, affine, recurrent_bias, recurrent_weights
from rlrnn.cells.gated import GatedCell
from rlrnn.common.settings import check_choice

NONLINEARITIES = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": torch.nn.functional.softsign,
}


class Elman(GatedCell):
    """h' = f(x W + h U + b). Elman, "Finding structure in time", Cognitive Science 14 (1990)."""

    kernels: ClassVar[str] = "rlrnn.cells.kernels.elman"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        nonlinearity: str = "tanh",  # f: tanh, relu or softsign
        init: str = "orthogonal",  # first weights: "orthogonal", or "torch" as torch draws them
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.nonlinearity = nonlinearity
        self.weight_input, self.weight_hidden = recurrent_weights(init, input_size, hidden_size, gates=1)
        self.bias = recurrent_bias(init, hidden_size, gates=1) if bias else None

    def biases(self) -> tuple[nn.Parameter | None, ...]:
        return (self.bias,)

    def kernel_options(self) -> tuple[float, ...]:
        return (list(NONLINEARITIES).index(self.nonlinearity),)

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = NONLINEARITIES[self.nonlinearity](add_product(projected, state, self.weight_hidden))
        return h, h

    def wires(self) -> list[Wire]:
        return [Wire("x", "y", 0, self.weight_input), Wire("y", "y", 1, self.weight_hidden)]
