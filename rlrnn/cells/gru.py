"""The gated recurrent unit, in torch's form (the reset gate acts after the recurrent product)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from rlrnn.cells.cell import (
    Wire,
    affine,
    gate_norm,
    normalised,
    ones,
    recurrent_bias,
    recurrent_weights,
)
from rlrnn.cells.gated import GatedCell
from rlrnn.common.settings import check_number
from rlrnn.errors import UserError


class Gru(GatedCell):
    """Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).

    r, z = sigmoid(x W + b + h U + c), n = tanh(x W_n + b_n + r * (h U_n + c_n)), h' = n + z * (h - n).
    Columns of the weights: r, z, n, H each, as ``torch.nn.GRU`` orders its rows.

    ``horizon``: at first unit k keeps 1 - 1 / tau_k of what it holds, tau from 2 to so many steps, evenly
    spaced on a logarithmic scale (Tallec & Ollivier 2018, whose tau is uniform). ``layer_norm``: the inputs
    of the gates and those of n are normalised, from x and from h, each by itself (Ba, Kiros & Hinton 2016,
    eq. 26 to 28).
    """

    kernels: ClassVar[str] = "rlrnn.cells.kernels.gru"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        init: str = "orthogonal",  # first weights: "orthogonal", or "torch" as torch draws them
        layer_norm: bool = False,  # inputs of the gates are normalised, which steadies them
        horizon: float
        | None = None,  # steps that the slowest unit remembers at first; not given: all alike, some three
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        if horizon is not None:
            check_number("horizon", horizon, 2)
            if not bias:
                raise UserError(f"horizon is {horizon}, but this gru has no biases: leave out bias=False.")
        self.layer_norm = layer_norm
        self.weight_input, self.weight_hidden = recurrent_weights(init, input_size, hidden_size, gates=3)
        self.bias_input = recurrent_bias(init, hidden_size, gates=3) if bias else None
        self.bias_hidden = recurrent_bias(init, hidden_size, gates=3) if bias else None
        if self.bias_hidden is not None and init == "orthogonal":
            with torch.no_grad():  # z begins near 0.73: remember rather than overwrite
                self.bias_hidden[hidden_size : 2 * hidden_size] = 1.0
        if self.bias_input is not None and self.bias_hidden is not None and horizon is not None:
            update = slice(hidden_size, 2 * hidden_size)
            with torch.no_grad():
                tau = torch.logspace(math.log10(2.0), math.log10(horizon), hidden_size)
                self.bias_input[update], self.bias_hidden[update] = 0.0, (tau - 1.0).log()
        if layer_norm:
            self.gain_input, self.gain_hidden = ones(3 * hidden_size), ones(3 * hidden_size)

    @property
    def plain(self) -> bool:
        return not self.layer_norm

    def biases(self) -> tuple[nn.Parameter | None, ...]:
        return self.bias_input, self.bias_hidden

    def projected_biases(self) -> tuple[nn.Parameter | None, ...]:
        return (self.bias_input,)

    def recurrent_parameters(self) -> tuple[nn.Parameter | None, ...]:
        return (self.bias_hidden, self.gain_hidden) if self.layer_norm else (self.bias_hidden,)

    def project(self, x: Tensor) -> Tensor:
        if self.layer_norm:
            return self._normalised(affine(x, self.weight_input, None), self.gain_input, self.bias_input)
        return affine(x, self.weight_input, self.bias_input)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        size = self.output_size
        x_gates, x_n = projected.split((2 * size, size), dim=-1)
        h_gates, h_n = self._hidden(state).split((2 * size, size), dim=-1)
        r, z = torch.sigmoid(x_gates + h_gates).split(size, dim=-1)
        n = torch.tanh(torch.addcmul(x_n, r, h_n))
        h = torch.lerp(n, state, z)
        return h, h

    def _hidden(self, state: Tensor) -> Tensor:
        """What the units contribute to r, z and n: [..., B, H] -> [..., B, 3H]."""
        if self.layer_norm:
            return self._normalised(
                affine(state, self.weight_hidden, None), self.gain_hidden, self.bias_hidden
            )
        return affine(state, self.weight_hidden, self.bias_hidden)

    def _normalised(self, x: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
        """The gates' 2H columns by themselves, and n's H."""
        sizes = 2 * self.output_size, self.output_size
        biases = (None, None) if bias is None else bias.split(sizes, dim=-1)
        parts = zip(x.split(sizes, dim=-1), gain.split(sizes, dim=-1), biases, strict=True)
        return torch.cat([normalised(*part) for part in parts], dim=-1)

    def wires(self) -> list[Wire]:
        size = self.output_size
        return [
            Wire("x", "y", 0, gate_norm(self.weight_input, size)),
            Wire("y", "y", 1, gate_norm(self.weight_hidden, size)),
        ]
