"""The linear recurrent unit: complex numbers that turn and fade at rates of their own."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from rlrnn.cells.cell import Wire, affine, inverse_root
from rlrnn.cells.elman import NONLINEARITIES
from rlrnn.cells.linear import LinearCell
from rlrnn.common.settings import check_choice, check_number, check_whole
from rlrnn.errors import UserError


class Lru(LinearCell):
    """Orvieto et al., "Resurrecting recurrent neural networks for long sequences" (2023).

    h' = lambda * h + gamma * (x B), y = f(Re(h' C) + x D + b), with N = ``state_units`` complex numbers in h
    (not given: ``hidden_size``) and lambda = exp(-exp(nu) + i exp(theta)), which no step of a learner can
    bring out of the unit circle. At first lambda is uniform on the ring between ``r_min`` and ``r_max``, its
    phase within [0, ``max_phase``] radians, and gamma = sqrt(1 - |lambda|^2) makes h as large as x B.
    Theirs is f = 1, with a nonlinear layer above; here f is that layer, all but its weights.

    Columns of ``weight_input``: Re B, Im B [I, N] each; rows of ``weight_output``: Re C, -Im C [N, H] each.
    """

    complex_state: ClassVar[bool] = True
    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        state_units: int | None = None,  # complex numbers of its state; not given: hidden_size
        r_min: float = 0.0,  # smallest radius of an eigenvalue at first: near 1 remembers long
        r_max: float = 1.0,  # largest radius of an eigenvalue at first
        max_phase: float = 2.0 * math.pi,  # largest phase of an eigenvalue at first, radians per step
        nonlinearity: str = "tanh",  # f, of the output: tanh, relu or softsign
    ) -> None:
        units = hidden_size if state_units is None else state_units
        check_whole("state_units", units, 1)
        if not 0.0 <= r_min < r_max <= 1.0:
            raise UserError(f"r_min is {r_min} and r_max {r_max}, but a ring has 0 <= r_min < r_max <= 1.")
        check_number("max_phase", max_phase, 0, 2.0 * math.pi, "(]", " (2 pi)")
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        super().__init__(input_size, hidden_size, 2 * units)
        self.units, self.nonlinearity = units, nonlinearity
        share = torch.empty(2, units).uniform_(1e-6, 1.0 - 1e-6)  # both ends have an infinite logarithm
        square = r_min**2 + share[0] * (r_max**2 - r_min**2)  # of the radius: uniform in area
        self.nu = nn.Parameter(torch.log(-0.5 * torch.log(square)))
        self.theta = nn.Parameter(torch.log(max_phase * share[1]))
        self.log_gamma = nn.Parameter(0.5 * torch.log1p(-square))
        self.weight_input = _normal(inverse_root(2 * input_size), input_size, 2 * units)
        self.weight_output = _normal(inverse_root(units), 2 * units, hidden_size)
        self.weight_skip = _normal(inverse_root(input_size), input_size, hidden_size)
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if bias else None

    def eigenvalues(self) -> Tensor:
        """lambda, [2N] or [P, 2N]: real parts, then imaginary ones."""
        radius, phase = torch.exp(-torch.exp(self.nu)), torch.exp(self.theta)
        return torch.cat((radius * torch.cos(phase), radius * torch.sin(phase)), dim=-1)

    def project(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., 2N + H]: gamma * (x B), and x D + b."""
        gamma = torch.exp(self.log_gamma).unsqueeze(-2)
        gamma_b = self.weight_input * torch.cat((gamma, gamma), dim=-1)
        return torch.cat((affine(x, gamma_b, None), affine(x, self.weight_skip, self.bias)), dim=-1)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        return self.eigenvalues().unsqueeze(-2), projected[..., : self.state_size]

    def read(self, projected: Tensor, state: Tensor) -> Tensor:
        pre_activation = affine(state, self.weight_output, None) + projected[..., self.state_size :]
        return NONLINEARITIES[self.nonlinearity](pre_activation)

    def wires(self) -> list[Wire]:
        n = self.units

        def size(real: Tensor, imaginary: Tensor) -> Tensor:
            """How strong complex weights are."""
            return torch.hypot(real, imaginary)

        radius = torch.exp(-torch.exp(self.nu))
        return [
            Wire("x", "h", 0, size(self.weight_input[..., :n], self.weight_input[..., n:])),
            Wire("h", "h", 1, torch.diag_embed(radius)),
            Wire("h", "y", 0, size(self.weight_output[..., :n, :], self.weight_output[..., n:, :])),
            Wire("x", "y", 0, self.weight_skip),
        ]


def _normal(deviation: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * deviation)
