"""Products of rows with weights, and what a reset does to a row's state and gradient.

Rows are taken a few at a time: their share of ``weights`` products is then small enough for the kernels
that BLAS keeps for small matrices, and stays in the cache from step to step. B rows, K inputs, N outputs.
"""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import kernel
from rlrnn.cells.kernels.recurrence import SMALL


@kernel
def rows_at_once(pieces, rows):
    """How many rows to take: as many as keep their product with a piece of the weights small, up to 8."""
    fit = SMALL // (pieces.shape[1] * pieces.shape[2])
    return max(1, min(rows, 8, fit) if fit > 0 else min(rows, 32))


@kernel
def multiply(a, pieces, out, part):
    """``out`` [b, N] = ``a`` [b, K] times weights [K, N] that come in pieces [n, K, N / n]."""
    if len(pieces) == 1:
        np.dot(a, pieces[0], out)
        return
    width, some = pieces.shape[2], part[: len(a)]
    for k in range(len(pieces)):
        np.dot(a, pieces[k], some)
        for b in range(len(a)):
            for j in range(width):
                out[b, k * width + j] = some[b, j]


@kernel
def times(a, weights):
    """``a`` [B, K] times weights [K, N], some rows at a time where that makes small products."""
    out = np.empty((len(a), weights.shape[1]), a.dtype)
    fit = SMALL // weights.size
    block = min(fit, 32) if fit > 0 else max(1, len(a))
    for first in range(0, len(a), block):
        np.dot(a[first : first + block], weights, out[first : first + block])
    return out


@kernel
def enter(start, state, before):
    """The memory [b, H] that a step begins with: cleared where an episode starts."""
    for b in range(len(start)):
        if start[b]:
            before[b, :] = 0
        else:
            before[b, :] = state[b]


@kernel
def leave(start, d_state):
    """No gradient passes the start of an episode."""
    for b in range(len(start)):
        if start[b]:
            d_state[b, :] = 0


@kernel
def reset_part(state, start, column, size):
    """A part [B, size] of the state [B, S], cleared where an episode starts."""
    part = np.empty((len(state), size), state.dtype)
    enter(start, state[:, column : column + size], part)
    return part


@kernel
def sum_rows(x, total):
    """[N, O] -> [O]."""
    total[:] = 0
    for n in range(len(x)):
        row = x[n]
        for j in range(len(total)):
            total[j] += row[j]
