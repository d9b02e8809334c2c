"""The long short-term memory with a forget gate."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rlrnn.cells.cell import (
    Wire,
    add_product,
    affine,
    gate_norm,
    normalised,
    ones,
    recurrent_bias,
    recurrent_weights,
)
from rlrnn.cells.gated import GatedCell
from rlrnn.errors import UserError


class Lstm(GatedCell):
    """Hochreiter & Schmidhuber (1997), forget gate by Gers, Schmidhuber & Cummins (2000).

    i, f, o = sigmoid(x W + h U + b + c), g = tanh(...), c' = f * c + i * g, h' = o * tanh(c').
    Columns of the weights: i, f, g, o, H each, as ``torch.nn.LSTM`` orders its rows, and two biases
    as it has, so that its weights and its optimizer's state carry over (and by default its initial weights
    are drawn as torch draws them, which is what users of sb3-contrib know). The state is [h | c], the
    output h.

    ``coupled``: i = 1 - f, and no columns for i (the CIFG of Greff et al. 2017). ``layer_norm``: x W, h U
    and the c' that the output gate lets out are normalised (Ba, Kiros & Hinton 2016, eq. 20 to 22).
    ``forget_bias``: what the forget gate's two biases add up to at first.
    """

    parts: ClassVar[tuple[str, ...]] = ("h", "c")
    kernels: ClassVar[str] = "rlrnn.cells.kernels.lstm"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        init: str = "torch",  # first weights: "orthogonal", or "torch" as torch draws them
        layer_norm: bool = False,  # inputs of the gates are normalised, which steadies them
        coupled: bool = False,  # the input gate is 1 minus the forget gate: a quarter fewer weights
        forget_bias: float
        | None = None,  # of the forget gate at first: larger ones remember longer; not given: as drawn
    ) -> None:
        super().__init__(input_size, hidden_size, 2 * hidden_size)
        if forget_bias is not None and not bias:
            raise UserError(
                f"forget_bias is {forget_bias}, but this lstm has no biases: leave out bias=False."
            )
        gates = 3 if coupled else 4
        self.coupled, self.layer_norm = coupled, layer_norm
        self.weight_input, self.weight_hidden = recurrent_weights(init, input_size, hidden_size, gates)
        self.bias_input = recurrent_bias(init, hidden_size, gates) if bias else None
        self.bias_hidden = recurrent_bias(init, hidden_size, gates) if bias else None
        forget = slice((gates - 3) * hidden_size, (gates - 2) * hidden_size)
        with torch.no_grad():
            if self.bias_hidden is not None and init == "orthogonal":
                self.bias_hidden[forget] = 1.0  # Gers et al. 2000: begin by remembering
            if self.bias_input is not None and self.bias_hidden is not None and forget_bias is not None:
                self.bias_input[forget], self.bias_hidden[forget] = 0.0, forget_bias
        if layer_norm:
            self.gain_input, self.gain_hidden = ones(gates * hidden_size), ones(gates * hidden_size)
            self.gain_cell = ones(hidden_size)
            self.bias_cell = nn.Parameter(torch.zeros(hidden_size)) if bias else None

    @property
    def plain(self) -> bool:
        return not (self.coupled or self.layer_norm)

    def biases(self) -> tuple[nn.Parameter | None, ...]:
        return self.bias_input, self.bias_hidden

    def recurrent_parameters(self) -> tuple[nn.Parameter | None, ...]:
        return (self.gain_hidden, self.gain_cell, self.bias_cell) if self.layer_norm else ()

    def project(self, x: Tensor) -> Tensor:
        bias = None
        if self.bias_input is not None and self.bias_hidden is not None:
            bias = self.bias_input + self.bias_hidden
        if self.layer_norm:
            return normalised(affine(x, self.weight_input, None), self.gain_input, bias)
        return affine(x, self.weight_input, bias)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        size = self.output_size
        h, c = state.split(size, dim=-1)
        if self.layer_norm:
            gates = projected + normalised(affine(h, self.weight_hidden, None), self.gain_hidden)
        else:
            gates = add_product(projected, h, self.weight_hidden)
        *i, f, g, o = gates.split(size, dim=-1)
        if self.coupled:
            c = torch.lerp(torch.tanh(g), c, torch.sigmoid(f))
        else:
            c = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i[0]), torch.tanh(g))
        c_out = normalised(c, self.gain_cell, self.bias_cell) if self.layer_norm else c
        h = torch.sigmoid(o) * torch.tanh(c_out)
        return h, torch.cat((h, c), dim=-1)

    def wires(self) -> list[Wire]:
        size = self.output_size
        identity = torch.eye(size)
        return [
            Wire("x", "c", 0, gate_norm(self.weight_input, size)),
            Wire("y", "c", 1, gate_norm(self.weight_hidden, size)),
            Wire("c", "c", 1, identity),
            Wire("c", "y", 0, identity),
        ]
