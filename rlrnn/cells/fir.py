"""A finite impulse memory: a tapped delay line of the last inputs."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, add_product, affine, inverse_root, uniform
from rlrnn.common.settings import check_whole


class Fir(Cell):
    """y_t = tanh(x_t W_0 + x_{t-d} W_1 + ... + x_{t-(k-1)d} W_{k-1} + b), k = ``taps``, d = ``dilation``.

    The time-delay network of Waibel et al. (1989), one layer; dilation as van den Oord et al. (2016) have it.
    Its state is the delay line, the last (k - 1) d inputs with the newest first, and not its output: inputs
    of more than (k - 1) d steps ago are gone.
    """

    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        taps: int = 8,  # inputs that it sees, the present one among them
        dilation: int = 1,  # steps from one tap to the next
    ) -> None:
        check_whole("taps", taps, 1)
        check_whole("dilation", dilation, 1)
        super().__init__(input_size, hidden_size, (taps - 1) * dilation * input_size)
        self.taps, self.dilation = taps, dilation
        bound = inverse_root(taps * input_size)
        self.weight_input = uniform(bound, input_size, hidden_size)
        self.weight_delayed = uniform(bound, (taps - 1) * input_size, hidden_size)
        self.bias = uniform(bound, hidden_size) if bias else None

    def project(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., H + I]: the current tap's part of the sum, and the input to be remembered."""
        return torch.cat((affine(x, self.weight_input, self.bias), x), dim=-1)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        current, x = projected.split((self.output_size, self.input_size), dim=-1)
        if self.taps == 1:
            return torch.tanh(current), state
        line = state.unflatten(-1, (self.taps - 1, self.dilation, self.input_size))
        y = torch.tanh(add_product(current, line[..., -1, :].flatten(-2), self.weight_delayed))
        return y, torch.cat((x, state[..., : -self.input_size]), dim=-1)

    def wires(self) -> list[Wire]:
        delayed = self.weight_delayed.unflatten(-2, (self.taps - 1, self.input_size)).unbind(-3)
        taps = enumerate((self.weight_input, *delayed))
        return [Wire("x", "y", tap * self.dilation, weight) for tap, weight in taps]
