"""The Legendre delay system: the recent past as coefficients of orthogonal polynomials."""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, affine, inverse_root, uniform
from rlrnn.cells.delay import divisor, share
from rlrnn.common.settings import check_number


class Legendre(Cell):
    """m' = A m + B u, u = x W, y = m: the memory of Voelker, Kajic & Eliasmith (2019), eq. 1 and 2.

    Each of H / ``order`` channels of u is remembered over a window of ``theta`` steps as ``order`` numbers,
    u_{t - s} ~ sum_i m_i P_i(2 s / theta - 1) with Legendre's polynomials P_i, for 0 <= s <= theta. A and B
    are fixed: the system in continuous time, integrated exactly over a step of constant u. Details shorter
    than theta / ``order`` steps blur, and what is older than theta fades. The state is m, channel by
    channel. ``bias`` adds a learned constant to u.
    """

    A: Tensor  # [order, order]
    B: Tensor  # [order]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = False,  # learned constants beside the weights
        order: int | None = None,  # numbers that each channel is remembered by; not given: near 8
        theta: float = 24.0,  # window, steps
    ) -> None:
        self.order = divisor(hidden_size, near=8) if order is None else order
        self.channels = share(hidden_size, "order", self.order, "a legendre cell")
        check_number("theta", theta, 0, ends="(]")
        super().__init__(input_size, hidden_size, hidden_size)
        bound = inverse_root(input_size)
        self.weight_input = uniform(bound, input_size, self.channels)
        self.bias = uniform(bound, self.channels) if bias else None
        a, b = delay_system(self.order, theta)
        self.register_buffer("A", a.to(self.weight_input))
        self.register_buffer("B", b.to(self.weight_input))

    def project(self, x: Tensor) -> Tensor:
        u = affine(x, self.weight_input, self.bias)  # [..., B, channels]
        return (u.unsqueeze(-1) * self.B).flatten(-2)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        m = projected + (state.unflatten(-1, (self.channels, self.order)) @ self.A.t()).flatten(-2)
        return m, m

    def wires(self) -> list[Wire]:
        each = torch.eye(self.channels).to(self.A)
        return [
            Wire("x", "y", 0, torch.kron(self.weight_input, self.B)),
            Wire("y", "y", 1, torch.kron(each, self.A.t().contiguous())),
        ]


def delay_system(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """A [order, order] and B [order] in steps of 1, float64: zero-order hold of the paper's equation 2."""
    i = torch.arange(order, dtype=torch.float64)
    sign = 1.0 - 2.0 * (i % 2)  # (-1)^i
    scale = (2.0 * i + 1.0) / theta
    below = sign.unsqueeze(1) * sign * -1.0  # (-1)^(i - j + 1) where i >= j
    a = torch.where(i.unsqueeze(1) < i, -1.0, below) * scale.unsqueeze(1)
    b = (sign * scale).unsqueeze(1)
    # exp [[a, b], [0, 0]] = [[A, B], [0, 1]]
    block = torch.cat((torch.cat((a, b), dim=1), a.new_zeros(1, order + 1)))
    exponential = torch.linalg.matrix_exp(block)
    return exponential[:order, :order], exponential[:order, order]
