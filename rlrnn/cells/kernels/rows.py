"""What a reset does to a row's state and gradient, and how many rows go through time together.

B rows, H units.
"""

# mypy: ignore-errors

from rlrnn.cells.kernels.arithmetic import inner_kernel, kernel
from rlrnn.cells.kernels.products import ROWS

BLOCK = 2 * ROWS  # rows at once: two tiles of products read a panel of weights while it is in the cache


@kernel
def enter(start, state, before):
    """The memory [b, H] that a step begins with: cleared where an episode starts."""
    for b in range(len(start)):
        old, new = state[b], before[b]
        if start[b]:
            new[:] = 0
        else:
            for j in range(len(new)):  # copied as an array, numba compiles for seconds what would raise
                new[j] = old[j]


@kernel
def leave(start, d_state):
    """No gradient passes the start of an episode."""
    for b in range(len(start)):
        if start[b]:
            d_state[b, :] = 0


@inner_kernel
def add_to_rows(x, rows):
    """x [H] is added to each of the rows [b, H]."""
    for b in range(len(rows)):
        row = rows[b]
        for j in range(len(x)):
            row[j] += x[j]


@kernel
def sum_rows(x, total):
    """[N, O] -> [O]."""
    total[:] = 0
    for n in range(len(x)):
        row = x[n]
        for j in range(len(total)):
            total[j] += row[j]
