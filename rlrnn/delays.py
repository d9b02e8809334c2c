"""A finite impulse memory over a whole row at once: what it holds at every step are windows on its inputs.

Its state is nothing but its last inputs, so that no step waits for the one before: one product takes
the place of the loop. Equal to ``sequence.unroll`` in outputs, last state and every gradient.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from rlrnn.cells import Cell, Fir
from rlrnn.cells.cell import affine


def fits(cell: Cell, x: Tensor) -> TypeGuard[Fir]:
    """Whether this path takes the cell: one network's, not a population's."""
    return type(cell) is Fir and x.dim() == 3 and cell.weight_input.dim() == 2


def unroll(cell: Fir, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``sequence.unroll``: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state."""
    held = windows(x, start, state)
    current = affine(x, cell.weight_input, cell.bias)
    return torch.tanh(current + affine(held[:-1], cell.weight_delayed, None)), held[-1]


def windows(x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """The delay line before every step and after the last, [T + 1, B, S], S = taps * I, newest input first.

    x [T, B, I], start [T, B] bool, state [B, S]. What lies before an episode's start is 0.
    """
    steps, rows, inputs = x.shape
    taps = state.shape[1] // inputs
    if taps == 0:
        return x.new_empty(steps + 1, rows, 0)
    before = state.reshape(rows, taps, inputs).flip(1).transpose(0, 1)  # [taps, B, I], oldest first
    line = torch.cat((before, x))  # [taps + T, B, I]
    now = torch.arange(steps, device=x.device).unsqueeze(1)  # [T, 1]
    began = torch.where(start, now, -taps).cummax(0).values  # [T, B] when the episode of step t did
    since = torch.cat((now - began, steps - began[-1:]))  # [T + 1, B] inputs of it so far
    # An index, not ``Tensor.unfold``, whose windows would have to be turned and copied once more.
    ago = torch.arange(taps - 1, -1, -1, device=x.device)
    held = line[torch.arange(steps + 1, device=x.device).unsqueeze(1) + ago]  # [T + 1, taps, B, I]
    held = held.transpose(1, 2)  # [T + 1, B, taps, I]
    within = torch.arange(taps, device=x.device) < since.unsqueeze(-1)  # [T + 1, B, taps]
    return torch.where(within.unsqueeze(-1), held, 0.0).flatten(2)
