"""A memory over time: the only place that knows both the cell and where episodes begin.

Letters: T time, B environments, I inputs, H outputs, S state. ``start[t]`` is true where row t
begins an episode: the state is cleared before that step, so nothing crosses the border, neither
values nor gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.cells import Cell


def clear(state: Tensor, start: Tensor) -> Tensor:
    """The state [..., B, S] with zeros where an episode begins (start [..., B], bool)."""
    return state.masked_fill(start.unsqueeze(-1), 0.0)


def unroll(cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The reference loop, the specification of every faster path.

    x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], state after the last step [B, S].
    """
    # unbind and stack, not indexing: the gradient of a slice is a whole tensor of zeros per step.
    outputs, step = [], cell.ready()
    resets = start.flatten(1).any(dim=1).tolist()  # one wait for the device, not T
    for projected, begins, any_begins in zip(cell.project(x).unbind(0), start.unbind(0), resets, strict=True):
        if any_begins:
            state = clear(state, begins)
        y, state = step(projected, state)
        outputs.append(y)
    return torch.stack(outputs), state
