"""A learned frame stack: what a few linear channels carried over the last steps, output all at once."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, affine, inverse_root, uniform
from rlrnn.errors import UserError


class Delay(Cell):
    """y_t = [u_t | u_{t-1} | ... | u_{t-taps+1}], u = x W: H / ``taps`` channels in a delay line.

    Its state is the line without the current u, the newest first. Nothing bends or gates what it carries:
    what came in ``taps`` steps ago is gone. ``bias`` adds a learned constant to u, which shows how lately
    the episode began (0 stands before), but also flows in where nothing is written.
    """

    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = False,  # learned constants beside the weights
        taps: int | None = None,  # inputs that are kept, the present one among them; not given: near 8
    ) -> None:
        self.taps = divisor(hidden_size, near=8) if taps is None else taps
        self.channels = share(hidden_size, "taps", self.taps, "a delay")
        super().__init__(input_size, hidden_size, hidden_size - self.channels)
        bound = inverse_root(input_size)
        self.weight_input = uniform(bound, input_size, self.channels)
        self.bias = uniform(bound, self.channels) if bias else None

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.cat((projected, state), dim=-1)
        return y, y[..., : self.state_size]

    def wires(self) -> list[Wire]:
        tap = torch.eye(self.taps).to(self.weight_input)
        return [Wire("x", "y", ago, torch.kron(tap[ago], self.weight_input)) for ago in range(self.taps)]


def divisor(size: int, near: int) -> int:
    """The divisor of a size that is nearest to a number, but not 1 unless it must be."""
    divisors = [n for n in range(2, min(size, 8 * near) + 1) if size % n == 0]
    return min(divisors, key=lambda n: abs(n - near)) if divisors else size


def share(size: int, name: str, parts: int, whose: str) -> int:
    """How many of ``size`` units each of as many parts has; a ``UserError`` if they don't share evenly."""
    if parts < 1 or size % parts:
        raise UserError(
            f"{name} is {parts}, but must be a divisor of the {size} units that {whose} has (hidden_size): "
            f"choose another {name} or hidden_size."
        )
    return size // parts
