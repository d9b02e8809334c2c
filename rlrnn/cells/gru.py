"""The gated recurrent unit, in torch's form (the reset gate acts after the recurrent product)."""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, affine, inverse_root, uniform


class Gru(Cell):
    """Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).

    r, z = sigmoid(x W + b + h U + c), n = tanh(x W_n + b_n + r * (h U_n + c_n)), h' = n + z * (h - n).
    Columns of the weights: r, z, n, H each, as ``torch.nn.GRU`` orders its rows.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        bound = inverse_root(hidden_size)
        self.weight_input = uniform(bound, input_size, 3 * hidden_size)
        self.weight_hidden = uniform(bound, hidden_size, 3 * hidden_size)
        self.bias_input = uniform(bound, 3 * hidden_size) if bias else None
        self.bias_hidden = uniform(bound, 3 * hidden_size) if bias else None

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias_input)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        size = self.output_size
        x_gates, x_n = projected.split((2 * size, size), dim=-1)
        h_gates, h_n = affine(state, self.weight_hidden, self.bias_hidden).split((2 * size, size), dim=-1)
        r, z = torch.sigmoid(x_gates + h_gates).split(size, dim=-1)
        n = torch.tanh(torch.addcmul(x_n, r, h_n))
        h = torch.lerp(n, state, z)
        return h, h
