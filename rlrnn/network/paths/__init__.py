"""Ways to run a cell over whole rows of steps, each equal to ``loop``: the first that fits.

Which one fits depends on the cell, the device and the installation, never on a timing.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from rlrnn.cells import CELLS, Cell
from rlrnn.common.compiling import can_compile
from rlrnn.network.paths import delay_line, fused, gated, loop, scan


class Path(Protocol):
    """A module of this folder."""

    def compiled(self, kind: type[Cell]) -> bool:
        """Whether cells of that class may run here by compiled kernels."""

    def fits(self, cell: Cell, x: Tensor) -> bool:
        """Whether this cell runs here over such inputs."""

    def unroll(self, cell: Any, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As ``loop.unroll``."""


PATHS: tuple[Path, ...] = (gated, delay_line, scan)  # tried in this order, before the loop


def unroll(cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``loop.unroll``, by the first path that fits."""
    path = next((path for path in PATHS if path.fits(cell, x)), loop)
    return path.unroll(cell, x, start, state)


def outputs(cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """The outputs of ``unroll`` alone, for which there is one path more."""
    path = next((path for path in PATHS if path.fits(cell, x)), None)
    if path is None and fused.fits(cell):
        return fused.outputs(cell, x, start, state)
    return (path or loop).unroll(cell, x, start, state)[0]


def what_runs(cell: str, device: str, options: Mapping[str, Any] | None = None) -> str:
    """What runs that kind of cell, with these options, on that device: for the record of a run."""
    kind = CELLS.get(cell)
    compiled = kind is not None and (
        any(path.compiled(kind) for path in PATHS) or kind.has_compiled_steps(options or {})
    )
    if not compiled or device != "cpu" or not can_compile():
        return "torch"
    return f"numba {importlib.metadata.version('numba')}"
