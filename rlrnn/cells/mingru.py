"""A gated unit whose gate and candidate depend on the inputs alone, which makes it a linear recurrence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlrnn.cells.cell import Wire, affine, gate_norm, inverse_root, recurrent_bias
from rlrnn.cells.linear import LinearCell
from rlrnn.common.settings import check_choice, check_number

CANDIDATES = ("linear", "positive", "tanh")
SHORTEST = 0.05  # steps, see tau below


class MinGru(LinearCell):
    """Feng et al., "Were RNNs all we needed?" (2024): z = sigmoid(x W + b), h' = (1 - z) * h + z * n.

    ``candidate`` says what n is of c = x W_n + b_n: "linear", c itself (their section 3.1); "positive",
    c + 0.5 where c > 0, else sigmoid(c) (their appendix B); "tanh". z's biases begin at
    -log(tau), tau spread evenly in logarithm from ``horizon`` down to 0.05 steps: a unit remembers for about
    1 + tau steps at first (the chrono initialisation of Tallec & Ollivier 2018, whose tau is uniform and at
    least 1; units that forget at once help to tell one step from the next). Columns of the weights: z, n, H
    each.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        candidate: str = "linear",  # what is stored of the input: "linear", "positive" or "tanh"
        horizon: float = 100.0,  # steps that the slowest unit remembers at first
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        check_choice("candidate", candidate, CANDIDATES)
        check_number("horizon", horizon, 1)
        self.candidate = candidate
        self.weight_input = torch.nn.Parameter(
            torch.randn(input_size, 2 * hidden_size) * inverse_root(input_size)
        )
        self.bias = recurrent_bias("orthogonal", hidden_size, gates=2) if bias else None
        if self.bias is not None:
            with torch.no_grad():
                self.bias[:hidden_size] = torch.linspace(-math.log(horizon), -math.log(SHORTEST), hidden_size)

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        gate, n = projected.split(self.output_size, dim=-1)
        if self.candidate == "positive":
            n = torch.where(n > 0.0, n + 0.5, torch.sigmoid(n))
        elif self.candidate == "tanh":
            n = torch.tanh(n)
        z = torch.sigmoid(gate)
        return 1.0 - z, z * n

    def read(self, projected: Tensor, state: Tensor) -> Tensor:
        return state

    def wires(self) -> list[Wire]:
        size = self.output_size
        return [
            Wire("x", "y", 0, gate_norm(self.weight_input, size)),
            Wire("y", "y", 1, torch.eye(size)),
        ]
