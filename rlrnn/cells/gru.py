"""The gated recurrent unit, in torch's form (the reset gate acts after the recurrent product)."""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, affine, gate_norm, recurrent_bias, recurrent_weights


class Gru(Cell):
    """Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).

    r, z = sigmoid(x W + b + h U + c), n = tanh(x W_n + b_n + r * (h U_n + c_n)), h' = n + z * (h - n).
    Columns of the weights: r, z, n, H each, as ``torch.nn.GRU`` orders its rows.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, bias: bool = True, init: str = "orthogonal"
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        self.weight_input, self.weight_hidden = recurrent_weights(init, input_size, hidden_size, gates=3)
        self.bias_input = recurrent_bias(init, hidden_size, gates=3) if bias else None
        self.bias_hidden = recurrent_bias(init, hidden_size, gates=3) if bias else None
        if self.bias_hidden is not None and init == "orthogonal":
            with torch.no_grad():  # z begins near 0.73: remember rather than overwrite
                self.bias_hidden[hidden_size : 2 * hidden_size] = 1.0

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

    def wires(self) -> list[Wire]:
        size = self.output_size
        return [
            Wire("x", "y", 0, gate_norm(self.weight_input, size)),
            Wire("y", "y", 1, gate_norm(self.weight_hidden, size)),
        ]
