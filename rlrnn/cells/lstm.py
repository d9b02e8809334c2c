"""The long short-term memory with a forget gate."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, add_product, affine, gate_norm, recurrent_bias, recurrent_weights


class Lstm(Cell):
    """Hochreiter & Schmidhuber (1997), forget gate by Gers, Schmidhuber & Cummins (2000).

    i, f, o = sigmoid(x W + h U + b + c), g = tanh(...), c' = f * c + i * g, h' = o * tanh(c').
    Columns of the weights: i, f, g, o, H each, as ``torch.nn.LSTM`` orders its rows, and two biases
    as it has, so that its weights and its optimizer's state carry over (and by default its initial weights
    are drawn as torch draws them, which is what users of sb3-contrib know). The state is [h | c], the
    output h.
    """

    parts: ClassVar[tuple[str, ...]] = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True, init: str = "torch") -> None:
        super().__init__(input_size, hidden_size, 2 * hidden_size)
        self.weight_input, self.weight_hidden = recurrent_weights(init, input_size, hidden_size, gates=4)
        self.bias_input = recurrent_bias(init, hidden_size, gates=4) if bias else None
        self.bias_hidden = recurrent_bias(init, hidden_size, gates=4) if bias else None
        if self.bias_hidden is not None and init == "orthogonal":
            with torch.no_grad():  # Gers et al. 2000: begin by remembering
                self.bias_hidden[hidden_size : 2 * hidden_size] = 1.0

    def project(self, x: Tensor) -> Tensor:
        if self.bias_input is None or self.bias_hidden is None:
            return affine(x, self.weight_input, None)
        return affine(x, self.weight_input, self.bias_input + self.bias_hidden)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        size = self.output_size
        h, c = state.split(size, dim=-1)
        i, f, g, o = add_product(projected, h, self.weight_hidden).split(size, dim=-1)
        c = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), torch.tanh(g))
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, torch.cat((h, c), dim=-1)

    def wires(self) -> list[Wire]:
        size = self.output_size
        itself = torch.eye(size)
        return [
            Wire("x", "c", 0, gate_norm(self.weight_input, size)),
            Wire("y", "c", 1, gate_norm(self.weight_hidden, size)),
            Wire("c", "c", 1, itself),
            Wire("c", "y", 0, itself),
        ]
