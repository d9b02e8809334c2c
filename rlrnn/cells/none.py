"""No memory at all: the honest baseline beside every claim that memory matters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, affine, inverse_root, uniform


class FeedForward(Cell):
    """y = tanh(x W + b): an Elman layer without its recurrent weights, and a state of size 0."""

    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
    ) -> None:
        super().__init__(input_size, hidden_size, 0)
        bound = inverse_root(input_size)
        self.weight_input = uniform(bound, input_size, hidden_size)
        self.bias = uniform(bound, hidden_size) if bias else None

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(projected), state

    def wires(self) -> list[Wire]:
        return [Wire("x", "y", 0, self.weight_input)]
