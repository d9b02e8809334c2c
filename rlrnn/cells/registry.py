"""Kinds of memory by name: ours, which the package fills in, and users' own."""

from __future__ import annotations

import inspect
from typing import Any

from rlrnn.cells.cell import Cell, check_steps
from rlrnn.cells.options import check_options
from rlrnn.common.settings import check_names, check_registered, register, takes_plain
from rlrnn.errors import UserError

CELLS: dict[str, type[Cell]] = {}


def register_cell(name: str, cell: type[Cell]) -> None:
    """Make a kind of memory known by name to recipes, policies and saved agents.

    Its constructor takes ``(input_size, hidden_size, **options)``. Registering the same class twice
    is harmless; another class under a name that is taken is a ``UserError``.
    """
    if not (isinstance(cell, type) and issubclass(cell, Cell)) or inspect.isabstract(cell):
        lacks = ", ".join(sorted(getattr(cell, "__abstractmethods__", ())))
        raise UserError(
            f"{cell!r} is not a kind of memory: register a class derived from rlrnn.Cell"
            f"{f', which says {lacks}' if lacks else ''}."
        )
    try:
        inspect.signature(cell).bind_partial(1, 1)
    except TypeError:
        raise UserError(
            f"the constructor of {cell.__name__} takes {inspect.signature(cell)}: that of a cell takes "
            "(input_size, hidden_size, **options)."
        ) from None
    register("cell", name, cell, CELLS)


@takes_plain
def make_cell(name: str, input_size: int, hidden_size: int, /, **options: Any) -> Cell:
    """Build a cell by its registered name; unknown names and options say which are known."""
    cell = cell_named(name)
    names = [p for p in inspect.signature(cell).parameters if p not in ("input_size", "hidden_size")]
    check_names(f"the {name} cell", "option", options, names)
    check_options(f"the {name} cell", cell.__init__, options)
    made = cell(input_size, hidden_size, **options)
    if type(made).__module__.partition(".")[0] != "rlrnn":
        check_steps(name, made)
    return made


def cell_named(name: str) -> type[Cell]:
    """The registered kind of memory of that name."""
    check_registered("cell", name, CELLS)
    return CELLS[name]
