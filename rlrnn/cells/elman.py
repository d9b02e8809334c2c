"""Elman's fully recurrent layer: each unit hears the inputs and every unit of the step before."""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, add_product, affine, inverse_root, uniform
from rlrnn.errors import UserError

NONLINEARITIES = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": torch.nn.functional.softsign,
}


class Elman(Cell):
    """h' = f(x W + h U + b). Elman, "Finding structure in time", Cognitive Science 14 (1990)."""

    def __init__(
        self, input_size: int, hidden_size: int, *, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        if nonlinearity not in NONLINEARITIES:
            raise UserError(
                f"nonlinearity {nonlinearity!r} is not known to the elman cell: choose one of "
                f"{', '.join(NONLINEARITIES)}."
            )
        self.nonlinearity = nonlinearity
        bound = inverse_root(hidden_size)
        self.weight_input = uniform(bound, input_size, hidden_size)
        self.weight_hidden = uniform(bound, hidden_size, hidden_size)
        self.bias = uniform(bound, hidden_size) if bias else None

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = NONLINEARITIES[self.nonlinearity](add_product(projected, state, self.weight_hidden))
        return h, h
