"""An addressable memory: a matrix that one head writes and another reads, by content and by location."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rlrnn.cells import addressing
from rlrnn.cells.cell import Cell, Wire, affine, inverse_root, uniform
from rlrnn.common.settings import check_whole

HEADS = 2  # the one that writes, then the one that reads
NUMBERS = 6  # of a head, beside its key: strength, gate, sharpening, and shifts by -1, 0 and 1 slots
# Initial weights as a share of what other cells begin with: heads that start sharp, or a matrix that fills up
# in an episode, make gradients many times theirs.
SMALL = 0.3
EPSILON = 0.01  # added to squared lengths: far shorter rows count as empty, and no gradient is divided by 0


class Matrix(Cell):
    """The memory of a neural Turing machine (Graves, Wayne & Danihelka 2014), ``slots`` rows of H numbers.

    What a head attends to, [slots] weights that sum to 1, is found as there: softmax of strength times the
    cosine of its key and each row (eq. 5, 6), mixed by the gate with where it was before (7), moved by the
    shifts (8), sharpened (9). Both heads look at the matrix as it was; then M <- M (1 - w e) + w a (3, 4),
    and y is what the other head reads of that (2). All controls are a projection of x.

    Erase e = relu(tanh(x E)) and add a = tanh(x A) have no bias and a sigmoid would not do: where x is 0,
    the matrix stays as it is. The state is [M, row by row | w | r], both heads' weights less those of a head
    at slot 0: so that 0 is an empty matrix with both heads there.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    home: Tensor  # [slots] the weights of a head at slot 0

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        slots: int = 8,  # rows of the memory
    ) -> None:
        check_whole("slots", slots, 1)
        super().__init__(input_size, hidden_size, slots * (hidden_size + HEADS))
        self.slots = slots
        bound = SMALL * inverse_root(input_size)
        self.weight_heads = uniform(bound, input_size, HEADS * (hidden_size + NUMBERS))
        self.weight_content = uniform(bound, input_size, 2 * hidden_size)  # erase, add
        self.bias = uniform(bound, HEADS * (hidden_size + NUMBERS)) if bias else None
        if self.bias is not None:
            with torch.no_grad():  # at first the last location outweighs the content, and no shift the others
                numbers = self.bias.view(HEADS, -1)[:, hidden_size:]
                numbers += torch.tensor([1.0, -1.0, 0.0, 0.0, 1.0, 0.0])
        self.register_buffer("home", torch.arange(slots).eq(0).to(self.weight_heads))

    def project(self, x: Tensor) -> Tensor:
        """The controls: per head its key times strength, gate, sharpening, shifts; erase and add."""
        heads = affine(x, self.weight_heads, self.bias).unflatten(-1, (HEADS, -1))
        key, strength, gate, sharpening, shifts = heads.split((self.output_size, 1, 1, 1, 3), dim=-1)
        scaled = nn.functional.softplus(strength) * unit(key)
        controls = torch.sigmoid(gate), 1.0 + nn.functional.softplus(sharpening), shifts.softmax(-1)
        content = torch.tanh(affine(x, self.weight_content, None))
        erase, add = content.split(self.output_size, dim=-1)
        return torch.cat((torch.cat((scaled, *controls), dim=-1).flatten(-2), torch.relu(erase), add), dim=-1)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if addressing.fits(projected, state):
            return addressing.step(projected, state, self.slots, self.output_size, EPSILON)
        return self._step_by_torch(projected, state)

    def _step_by_torch(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        size = self.output_size
        heads, erase, add = projected.split((projected.shape[-1] - 2 * size, size, size), dim=-1)
        flat, offsets = state.split((self.slots * size, self.slots * HEADS), dim=-1)
        matrix = flat.unflatten(-1, (self.slots, size))  # [..., slots, H]
        before = offsets.unflatten(-1, (HEADS, self.slots)) + self.home
        weights = attend(matrix, heads.unflatten(-1, (HEADS, -1)), before)  # [..., 2, slots]
        write = weights[..., 0, :].unsqueeze(-1)  # [..., slots, 1]
        matrix = matrix + write * (add.unsqueeze(-2) - matrix * erase.unsqueeze(-2))
        y = (weights[..., 1:, :] @ matrix).squeeze(-2)
        return y, torch.cat((matrix.flatten(-2), (weights - self.home).flatten(-2)), dim=-1)

    @classmethod
    def has_compiled_steps(cls, options: Mapping[str, Any]) -> bool:
        return True

    def wires(self) -> list[Wire]:
        return [
            *(Wire("x", target) for target in ("write", "matrix", "read")),
            *(Wire("matrix", target, 1) for target in ("write", "matrix", "read")),
            *(Wire(head, head, 1) for head in ("write", "read")),
            *(Wire("write", "matrix"), Wire("matrix", "y"), Wire("read", "y")),
        ]


def attend(matrix: Tensor, heads: Tensor, before: Tensor) -> Tensor:
    """Where the heads are now, [..., 2, slots], given where they were and their controls [..., 2, H + 5]."""
    key, gate, sharpening, shifts = heads.split((matrix.shape[-1], 1, 1, 3), dim=-1)
    content = (key @ unit(matrix).transpose(-1, -2)).softmax(-1)
    w = torch.lerp(before, content, gate)
    back, stay, on = shifts.split(1, dim=-1)
    w = back * w.roll(-1, -1) + stay * w + on * w.roll(1, -1)
    w = w.abs()  # no episode leads to weights below 0, but a state given by hand may
    # Relative to the largest, which changes nothing, no power of all of them underflows to 0.
    sharp: Tensor = (w / w.amax(-1, keepdim=True).detach()) ** sharpening
    return sharp / sharp.sum(-1, keepdim=True)


def unit(rows: Tensor) -> Tensor:
    """Rows [..., H] of length 1, but those that are nearly empty stay so."""
    return rows * torch.rsqrt(rows.square().sum(-1, keepdim=True) + EPSILON)
