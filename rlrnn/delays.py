"""A finite impulse memory over a whole row at once: what it holds at every step are windows on its inputs.

Its state is nothing but its last inputs, so that no step waits for the one before: one product takes
the place of the loop. Equal to ``sequence.unroll`` in outputs, last state and every gradient.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from rlrnn.cells import Cell, Delay, Fir
from rlrnn.cells.cell import affine


def fits(cell: Cell, x: Tensor) -> TypeGuard[Fir | Delay]:
    """Whether this path takes the cell: one network's, not a population's."""
    if type(cell) is not Fir and type(cell) is not Delay:
        return False
    return x.dim() == 3 and cell.weight_input.dim() == 2


def unroll(cell: Fir | Delay, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``sequence.unroll``: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state."""
    if isinstance(cell, Delay):
        u = cell.project(x)
        return torch.cat((u, windows(u, start, state)), dim=-1), line_after(u, start, state)
    held = windows(x, start, state, cell.dilation)
    y = torch.tanh(affine(x, cell.weight_input, cell.bias) + affine(held, cell.weight_delayed, None))
    return y, line_after(x, start, state)


def windows(x: Tensor, start: Tensor, state: Tensor, every: int = 1) -> Tensor:
    """What a delay line holds before every step at every so many places, [T, B, S / every], newest first.

    x [T, B, I], start [T, B] bool, state [B, S]. What lies before an episode's start is 0.
    """
    steps, rows, inputs = x.shape
    length = state.shape[1] // inputs
    if length == 0:
        return x.new_empty(steps, rows, 0)
    # An index, not ``Tensor.unfold``, whose windows would have to be turned and copied once more.
    ago = torch.arange(every, length + 1, every, device=x.device)  # [taps] steps
    now = torch.arange(steps, device=x.device)
    held = _joined(x, state)[length + now.unsqueeze(1) - ago]  # [T, taps, B, I]
    within = ago <= _since(start, length).unsqueeze(-1)  # [T, B, taps]
    return torch.where(within.unsqueeze(-1), held.transpose(1, 2), 0.0).flatten(2)


def line_after(x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """The delay line [B, S] after the last step."""
    rows, inputs = x.shape[1:]
    length = state.shape[1] // inputs
    held = _joined(x, state)[len(x) :].flip(0).transpose(0, 1)  # [B, length, I]
    since = _since(start, length)[-1] + 1  # [B] inputs of the episode so far
    within = torch.arange(length, device=x.device) < since.unsqueeze(-1)  # [B, length]
    return torch.where(within.unsqueeze(-1), held, 0.0).reshape(rows, -1)


def _joined(x: Tensor, state: Tensor) -> Tensor:
    """What the line holds at first and what comes in, oldest first: [length + T, B, I]."""
    return torch.cat((state.unflatten(1, (-1, x.shape[2])).flip(1).transpose(0, 1), x))


def _since(start: Tensor, length: int) -> Tensor:
    """How many steps [T, B] the episode of each has had before it; one that was under way, enough."""
    now = torch.arange(len(start), device=start.device).unsqueeze(1)  # [T, 1]
    return now - torch.where(start, now, -length).cummax(0).values
