"""Checks of a recurrent cell: step, sequence, reset, population, gradient, file, graph."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

import torch

from rlrnn.cells import CELLS, Cell, register_cell
from rlrnn.testing import cell_kernels, cell_steps, cell_time, cell_weights
from rlrnn.testing.cell_part import CellPart
from rlrnn.testing.failing import laws_without, running
from rlrnn.testing.naming import named

LAWS = {
    **cell_steps.LAWS,
    **cell_time.LAWS,
    **cell_weights.LAWS,
    "populations": cell_time.populations,
    **cell_kernels.LAWS,
}


def check_cell(
    cell: str | type[Cell],
    /,
    *,
    input_size: int = 3,
    hidden_size: int = 5,
    tolerance: float = 1e-9,
    skip: Collection[str] = (),
    **options: Any,
) -> None:
    """Check a recurrent cell by the laws that this package's own keep.

    Parameters
    ----------
    cell
        A class derived from ``rlrnn.Cell``, registered or not, or a registered name.
    input_size, hidden_size
        Sizes to make it with; give others where its options need them.
    tolerance
        How far float64 numbers (up to 20, and beyond in proportion) may be apart that are computed in two
        ways. This package's own keep to 1e-12. What is exact, such as the gradient across a reset, has none.
    skip
        Laws to leave out, by name: "options", "sizes", "weights", "shapes", "numbers", "purity", "repeats",
        "rows", "moments", "unrolls", "paths", "episodes", "resets", "registration", "gradients", "saving",
        "wires", "populations", "kernels".
    **options
        Options of the cell.

    Raises
    ------
    rlrnn.errors.CheckError
        At the first law that it breaks: one sentence with the values, and how to mend it.

    Notes
    -----
    Numbers are sampled by torch, whose generator is left as it was: ``torch.manual_seed`` chooses others. It
    takes some seconds.

    Examples
    --------
    >>> from rlrnn.testing import check_cell
    >>> check_cell("fir", taps=3)
    """
    chosen = laws_without(skip, LAWS, "check_cell")
    with nullcontext(cell) if isinstance(cell, str) else named(cell, CELLS, register_cell) as name:
        part = CellPart(name, input_size, hidden_size, options, tolerance)
        for law in chosen:
            with torch.random.fork_rng(devices=[]), running(f"{part}, in the law {law!r},"):
                LAWS[law](part)
