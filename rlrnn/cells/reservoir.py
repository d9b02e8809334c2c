"""A reservoir: many fixed random units with feedback; only what reads them is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, affine, inverse_root
from rlrnn.common.settings import check_number, check_whole


class Reservoir(Cell):
    """s' = (1 - leak) s + leak tanh(x W + s U + b): an echo state network. Jaeger (2001), GMD report 148.

    All weights are drawn when it is made, saved with the agent, and never trained; those that read y = s are.
    Each unit has ``fan_in`` recurrent inputs, with weights that give U the spectral radius ``radius``: near
    1 the response to an input lasts long, above 1 it may never fade. Small ``input_scale`` keeps the units
    where tanh is nearly linear: they remember more and compute less.
    """

    weight_input: Tensor  # [I, H] ~ N(0, input_scale^2 / I)
    weight_hidden: Tensor  # [H, H]
    bias: Tensor | None  # [H]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        radius: float = 0.95,  # spectral radius: near 1 an input is remembered long
        leak: float = 1.0,  # share of a unit that is replaced in a step
        fan_in: int = 10,  # units that each unit receives
        input_scale: float = 0.5,  # deviation of the input weights: small ones remember more and compute less
    ) -> None:
        check_number("radius", radius, 0, ends="(]")
        check_number("leak", leak, 0, 1, "(]")
        check_whole("fan_in", fan_in, 1)
        super().__init__(input_size, hidden_size, hidden_size)
        self.leak = leak
        scale = input_scale * inverse_root(input_size)
        self.register_buffer("weight_input", torch.randn(input_size, hidden_size) * scale)
        self.register_buffer("weight_hidden", sparse(hidden_size, fan_in, radius))
        self.register_buffer("bias", torch.randn(hidden_size) * 0.1 if bias else None)

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        update = torch.tanh(projected + affine(state, self.weight_hidden, None))
        s = torch.lerp(state, update, self.leak)
        return s, s

    def wires(self) -> list[Wire]:
        decay = (1.0 - self.leak) * torch.eye(self.output_size).to(self.weight_hidden)
        return [
            Wire("x", "y", 0, self.leak * self.weight_input),
            Wire("y", "y", 1, self.leak * self.weight_hidden + decay),
        ]


def sparse(size: int, fan_in: int, radius: float) -> Tensor:
    """Random weights [H, H], ``fan_in`` into each unit, whose largest eigenvalue has that modulus."""
    weights = torch.randn(size, size)
    sources = torch.rand(size, size).topk(min(fan_in, size), dim=0).indices
    weights = torch.zeros_like(weights).scatter(0, sources, weights)
    largest: Tensor = torch.linalg.eigvals(weights).abs().max()
    return weights * (radius / largest)
