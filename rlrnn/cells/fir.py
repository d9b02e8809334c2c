"""A finite impulse memory: a tapped delay line of the last inputs."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, add_product, affine, inverse_root, uniform
from rlrnn.errors import UserError


class Fir(Cell):
    """y_t = tanh(x_t W_0 + x_{t-1} W_1 + ... + x_{t-k+1} W_{k-1} + b), k = ``taps``.

    The time-delay network of Waibel et al. (1989), one layer. Its state is the delay line, the last
    k - 1 inputs with the newest first, and not its output: what it saw k steps ago is gone.
    """

    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True, taps: int = 8) -> None:
        if taps < 1:
            raise UserError(f"taps is {taps}, but a fir cell needs at least 1 (its current input).")
        super().__init__(input_size, hidden_size, (taps - 1) * input_size)
        self.taps = taps
        bound = inverse_root(taps * input_size)
        self.weight_input = uniform(bound, input_size, hidden_size)
        self.weight_delayed = uniform(bound, (taps - 1) * input_size, hidden_size)
        self.bias = uniform(bound, hidden_size) if bias else None

    def project(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., H + I]: the current tap's part of the sum, and the input to be remembered."""
        return torch.cat((affine(x, self.weight_input, self.bias), x), dim=-1)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        current, x = projected.split((self.output_size, self.input_size), dim=-1)
        if self.taps == 1:
            return torch.tanh(current), state
        y = torch.tanh(add_product(current, state, self.weight_delayed))
        return y, torch.cat((x, state[..., : -self.input_size]), dim=-1)
