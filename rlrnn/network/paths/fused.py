"""torch's fused LSTM and GRU kernels with exact episode resets, by reset tokens.

A fused kernel runs a whole row in one call but has no episodes. So one dummy step is inserted
before each episode's start, on which an extra input channel drives the gates so far that they are
exactly 0 in floating point: the state after it is exactly 0 and no gradient passes through. The
dummy steps' outputs are then dropped. (On a CPU torch's GRU kernel gains too little over the loop for
that: see benchmarks/README.md. There ``gated`` does better for both.)
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from rlrnn.cells import Cell, Gru, Lstm
from rlrnn.cells.cell import exactly
from rlrnn.network.paths import loop

# sigmoid(-1000) is exactly 0 in float32 and float64, and so is its derivative.
SHUT = -1000.0


def fits(cell: Cell) -> TypeGuard[Lstm | Gru]:
    """Whether a fused kernel pays for this cell where it is: never a question of a timing."""
    if not exactly(cell, Lstm) and not (exactly(cell, Gru) and cell.weight_input.is_cuda):
        return False
    return cell.weight_input.dim() == 2  # torch's kernels take no populations


def outputs(cell: Lstm | Gru, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """The outputs of ``loop.unroll``: x [T, B, I], start [T, B], state [B, S] -> y [T, B, H].

    A gate of exactly 0 does not stop NaN or infinity, as 0 times NaN is NaN: episodes with such inputs, or
    begun with such a state, are run by the loop, and all others do not depend on them.
    """
    if x.isfinite().all() and state.isfinite().all():
        return _outputs(cell, x, start, state)
    bad_x, bad_state = ~x.isfinite().all(dim=-1), ~state.isfinite().all(dim=-1)  # [T, B], [B]
    episode = start.cumsum(0)  # [T, B]
    per_episode = bad_x.new_zeros(len(x) + 1, x.shape[1]).to(torch.long).scatter_add(0, episode, bad_x.long())
    invalid = (per_episode.gather(0, episode) > 0) | (bad_state & (episode == 0))  # [T, B]
    x_valid = x.masked_fill(invalid.unsqueeze(-1), 0.0)
    y_valid = _outputs(cell, x_valid, start, state.masked_fill(bad_state.unsqueeze(-1), 0.0))
    return torch.where(invalid.unsqueeze(-1), loop.unroll(cell, x, start, state)[0], y_valid)


def _outputs(cell: Lstm | Gru, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    steps, rows, _ = x.shape
    # position[t, b]: where step t of row b stands once its dummy steps have been inserted
    position = torch.arange(steps, device=x.device).unsqueeze(1) + start.cumsum(0)  # [T, B]
    column = torch.arange(rows, device=x.device).expand_as(position)
    length = steps + int(start.sum(0).max())
    dummy = x.new_ones(length, rows)
    dummy[position, column] = 0.0
    padded = x.new_zeros(length, rows, x.shape[2]).index_put((position, column), x)
    y = _kernel(cell, torch.cat((padded, dummy.unsqueeze(-1)), dim=-1), state)  # [length, B, H]
    return y[position, column]


def _kernel(cell: Lstm | Gru, x: Tensor, state: Tensor) -> Tensor:
    """torch's kernel over x [length, B, I + 1], whose last channel shuts all gates."""
    shut = x.new_full((1, cell.weight_input.shape[1]), SHUT)
    if isinstance(cell, Gru):
        # r = z = 0 makes h' = n = tanh(the input's part alone): its bias, unless the channel takes it back.
        n = slice(2 * cell.output_size, None)
        shut[:, n] = 0.0 if cell.bias_input is None else -cell.bias_input[n]
    weights = [torch.cat((cell.weight_input, shut)).t().contiguous(), cell.weight_hidden.t().contiguous()]
    if cell.bias_input is not None and cell.bias_hidden is not None:
        weights += [cell.bias_input, cell.bias_hidden]
    options = (weights, len(weights) == 4, 1, 0.0, False, False, False)
    if isinstance(cell, Gru):
        return torch.gru(x, state.contiguous().unsqueeze(0), *options)[0]
    h, c = (part.contiguous().unsqueeze(0) for part in state.split(cell.output_size, dim=-1))
    return torch.lstm(x, (h, c), *options)[0]
