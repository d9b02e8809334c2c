"""Elman, GRU and LSTM over a whole row in one compiled call: the fastest path on a CPU.

A cell's kernels hold the loop over time, and its ``Recurrence`` what is around them; here autograd is joined.
Equal to ``loop.unroll`` in outputs, last state and every gradient.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.autograd import Function

from rlrnn.cells import Cell
from rlrnn.cells.gated import GatedCell, has_kernels, kernels_of
from rlrnn.cells.kernels.recurrence import array
from rlrnn.common.compiling import SWITCH, can_compile


def compiled(kind: type[Cell]) -> bool:
    """Whether this path runs cells of that class by compiled kernels."""
    return has_kernels(kind)


def fits(cell: Cell, x: Tensor) -> TypeGuard[GatedCell]:
    """Whether kernels run this cell: a function of cell, device and installation, never of a timing."""
    return (
        has_kernels(type(cell))
        and isinstance(cell, GatedCell)
        and cell.weight_hidden.dim() == 2  # no population
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and can_compile()
    )


def unroll(cell: GatedCell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``loop.unroll``: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state."""
    own = cell.recurrent_parameters()
    y, last = _Unrolled.apply(cell.project(x), cell.weight_hidden, state, cell, start, *own)  # type: ignore[no-untyped-call]
    return y, last


class _Unrolled(Function):
    """The same for autograd, which keeps count of the parameters although the cell has them."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        weights: Tensor,
        state: Tensor,
        cell: GatedCell,
        start: Tensor,
        *own: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        _check(cell, projected, start, state)
        ctx.save_for_backward(weights, *own)  # autograd refuses a backward pass if they have changed since
        ctx.recurrence = kernels_of(cell).recurrence(cell)
        y, last = ctx.recurrence.forward(array(projected), array(start), array(state))
        if ctx.recurrence.in_place:  # users may overwrite theirs
            y = y.copy()
        return torch.from_numpy(y), torch.from_numpy(last.copy())

    @staticmethod
    def backward(ctx: Any, dy: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(f"compiled rows know no gradients of gradients: set {SWITCH}=0 to do without.")
        recurrence, ctx.recurrence = ctx.recurrence, None
        if recurrence is None:
            raise RuntimeError("a second backward pass through the same compiled rows: unroll them again.")
        weights, *own = ctx.saved_tensors
        d_weights = torch.empty(weights.shape, dtype=weights.dtype)
        needed = zip(own, ctx.needs_input_grad[5:], strict=True)
        d_own = [torch.zeros_like(one) if needs else None for one, needs in needed]
        d_projected, d_first = recurrence.backward(
            array(dy.clone() if recurrence.in_place else dy),
            array(d_last),
            d_weights.numpy(),
            [None if one is None else one.numpy() for one in d_own],
        )
        return torch.from_numpy(d_projected), d_weights, torch.from_numpy(d_first), None, None, *d_own


def _check(cell: Cell, projected: Tensor, start: Tensor, state: Tensor) -> None:
    steps, rows, _ = projected.shape
    found = (start.shape, start.dtype, state.shape, state.dtype)
    if found != ((steps, rows), torch.bool, (rows, cell.state_size), projected.dtype):  # kernels trust it
        raise ValueError(
            f"{steps} steps of {rows} rows in {projected.dtype} go with start [{steps}, {rows}] bool and a "
            f"state [{rows}, {cell.state_size}] of the same type, not with {found}."
        )
