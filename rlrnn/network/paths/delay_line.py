"""Finite impulse memories over a whole row at once: their graph of units has no circle.

So no step waits for the one before: one product for each stage of the network takes the place of the loop.
Equal to ``loop.unroll`` in outputs, last state and every gradient.
"""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from rlrnn.cells import Cell, Delay, Fir, Graph
from rlrnn.cells.cell import affine, exactly
from rlrnn.cells.elman import NONLINEARITIES


def compiled(kind: type[Cell]) -> bool:
    """Whether this path runs cells of that class by compiled kernels: by torch's products alone."""
    return False


def fits(cell: Cell, x: Tensor) -> TypeGuard[Fir | Delay | Graph]:
    """Whether this path takes the cell: one network's, not a population's."""
    if x.dim() != 3:
        return False
    if exactly(cell, Graph):
        return cell.stages is not None and cell.weight.dim() == 1
    return exactly(cell, Fir, Delay) and next(cell.parameters()).dim() == 2


def unroll(cell: Fir | Delay | Graph, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``loop.unroll``: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state."""
    if isinstance(cell, Graph):
        return _stages(cell, x, start, state)
    if isinstance(cell, Delay):
        u = cell.project(x)
        return torch.cat((u, windows(u, start, state)), dim=-1), line_after(u, start, state)
    delayed = windows(x, start, state, cell.dilation)
    y = torch.tanh(affine(x, cell.weight_input, cell.bias) + affine(delayed, cell.weight_delayed, None))
    return y, line_after(x, start, state)


def _stages(cell: Graph, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Units that depend on the inputs alone over all steps, then those that depend on these, and so on."""
    assert cell.stages is not None
    weights, inputs = cell.by_delay(), cell.input_size
    longest, rows = len(weights) - 1, x.shape[1]
    since = _since(start, longest).unsqueeze(-1)  # [T, B, 1]
    past = x.new_zeros(longest, rows, inputs + cell.units)
    if cell.delayed:
        ago, node = torch.tensor(cell.delayed, device=x.device).t()
        past = past.index_put((longest - ago, torch.arange(rows, device=x.device).unsqueeze(1), node), state)
    ready = list(range(inputs))  # nodes whose values have been worked out
    line = torch.cat((past[..., ready], x))  # [longest + T, B, ready]: their values, oldest first
    for units, delays in zip(cell.stages, cell.delays, strict=True):
        part = weights[:, ready][:, :, units]  # [1 + longest, ready, units]
        activation = x.new_zeros(*start.shape, len(units)) if cell.bias is None else cell.bias[units]
        for delay in delays:
            delayed = line[longest - delay : len(line) - delay]
            activation = activation + torch.where(since >= delay, delayed, 0.0) @ part[delay]
        nodes = [inputs + unit for unit in units]
        values = NONLINEARITIES[cell.nonlinearity](activation.expand(*start.shape, -1))
        line = torch.cat((line, torch.cat((past[..., nodes], values))), dim=-1)
        ready += nodes
    values = line[..., np.argsort(ready)]  # node by node
    y = values[longest:, :, (inputs + cell.order[cell.outputs])]
    if not cell.delayed:
        return y, state
    last = values.flip(0)[ago - 1, :, node].t()  # [B, S]
    return y, torch.where(ago - 1 <= since[-1], last, 0.0)


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
    t = torch.arange(steps, device=x.device)
    delayed = _joined(x, state)[length + t.unsqueeze(1) - ago]  # [T, taps, B, I]
    mask = ago <= _since(start, length).unsqueeze(-1)  # [T, B, taps]
    return torch.where(mask.unsqueeze(-1), delayed.transpose(1, 2), 0.0).flatten(2)


def line_after(x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """The delay line [B, S] after the last step."""
    rows, inputs = x.shape[1:]
    length = state.shape[1] // inputs
    line = _joined(x, state)[len(x) :].flip(0).transpose(0, 1)  # [B, length, I]
    since = _since(start, length)[-1] + 1  # [B] inputs of the episode so far
    mask = torch.arange(length, device=x.device) < since.unsqueeze(-1)  # [B, length]
    return torch.where(mask.unsqueeze(-1), line, 0.0).reshape(rows, -1)


def _joined(x: Tensor, state: Tensor) -> Tensor:
    """What the line holds at first and what comes in, oldest first: [length + T, B, I]."""
    return torch.cat((state.unflatten(1, (-1, x.shape[2])).flip(1).transpose(0, 1), x))


def _since(start: Tensor, length: int) -> Tensor:
    """How many steps [T, B] the episode of each has had before it; one that was under way, enough."""
    t = torch.arange(len(start), device=start.device).unsqueeze(1)  # [T, 1]
    return t - torch.where(start, t, -length).cummax(0).values
