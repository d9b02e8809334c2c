"""Linear recurrences over a whole row: products for all steps at once, and one short loop between them.

h_t = a_t * h_{t-1} + b_t, real or complex, with resets. Forward and backward are written out, in torch and,
on a CPU, compiled (``cells/kernels/scan``). Equal to ``loop.unroll`` in outputs, last
state and every gradient.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.autograd import Function

from rlrnn.cells import Cell
from rlrnn.cells.kernels.recurrence import array
from rlrnn.cells.linear import LinearCell
from rlrnn.common.compiling import can_compile


def compiled(kind: type[Cell]) -> bool:
    """Whether this path runs cells of that class by compiled kernels."""
    return issubclass(kind, LinearCell) and kind.step is LinearCell.step


def fits(cell: Cell, x: Tensor) -> TypeGuard[LinearCell]:
    """Whether the cell steps as ``LinearCell`` says, in a class of ours or a user's."""
    return compiled(type(cell))


def unroll(cell: LinearCell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``loop.unroll``: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state.

    A population's x is [T, P, B, I], its start [T, P, B] and its state [P, B, S].
    """
    projected = cell.project(x)
    a, b = cell.coefficients(projected)
    states = scan(a, b, start, state, cell.complex_state)
    return cell.read(projected, states), states[-1]


def scan(a: Tensor, b: Tensor, start: Tensor, state: Tensor, complex_state: bool = False) -> Tensor:
    """Every h [T, ..., B, S]: b has that shape, a one that broadcasts to it, and state is the h before.

    Where ``complex_state``, numbers stand as [real | imaginary] along the last axis.
    """
    dtype = torch.result_type(b, state)  # autocast may have made b narrower
    h: Tensor = _Scan.apply(a.to(dtype), b.to(dtype), start, state.to(dtype), complex_state)  # type: ignore[no-untyped-call]
    return h


class _Scan(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor, state: Tensor, complex_state: bool) -> Tensor:
        forward = _compiled_forward if _kernels_fit(b) else _torch_forward
        h = forward(a, b, start, state, complex_state)
        ctx.complex_state = complex_state
        ctx.save_for_backward(a, start, state, h)
        return h

    @staticmethod
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("scanned rows know no gradients of gradients: use loop.unroll for those.")
        a, start, state, h = ctx.saved_tensors
        backward = _compiled_backward if _kernels_fit(h) else _torch_backward
        d_a, d_b, d_state = backward(a, start, state, h, d_h, ctx.complex_state)
        return d_a, d_b, None, d_state, None


def _kernels_fit(b: Tensor) -> bool:
    """Whether compiled kernels run it: a function of shape, type and installation, never of a timing."""
    dtypes = (torch.float32, torch.float64)
    return b.dim() == 3 and b.device.type == "cpu" and b.dtype in dtypes and can_compile()


def _compiled_forward(a: Tensor, b: Tensor, start: Tensor, state: Tensor, complex_state: bool) -> Tensor:
    _check(b, start, state)
    kernels, h = _kernels(), torch.empty(b.shape, dtype=b.dtype)
    kernel = kernels.complex_forward if complex_state else kernels.real_forward
    kernel(array(_expand(a, b)), array(b), array(start), array(state), h.numpy())
    return h


def _compiled_backward(
    a: Tensor, start: Tensor, state: Tensor, h: Tensor, d_h: Tensor, complex_state: bool
) -> tuple[Tensor, Tensor, Tensor]:
    kernels, a_rows = _kernels(), _expand(a, h)
    kernel = kernels.complex_backward if complex_state else kernels.real_backward
    d_a = torch.zeros(a_rows.shape, dtype=h.dtype)
    d_b, d_state = torch.empty(h.shape, dtype=h.dtype), torch.empty(state.shape, dtype=h.dtype)
    arrays = (array(t) for t in (a_rows, start, state, h, d_h))
    kernel(*arrays, d_a.numpy(), d_b.numpy(), d_state.numpy())
    return d_a.sum_to_size(a.shape), d_b, d_state


@functools.cache
def _kernels() -> ModuleType:
    """Loaded late, as numba takes a while. They multiply no matrices, so that BLAS is not called."""
    return importlib.import_module("rlrnn.cells.kernels.scan")


def _expand(a: Tensor, b: Tensor) -> Tensor:
    """a as the kernels take it: [1, 1, S] where it is the same everywhere, else [T, B, S]."""
    return a.view(1, 1, -1) if a.numel() == b.shape[-1] else a.expand_as(b)


def _check(b: Tensor, start: Tensor, state: Tensor) -> None:
    steps, rows, size = b.shape
    found = (start.shape, start.dtype, state.shape)
    if found != ((steps, rows), torch.bool, (rows, size)):  # kernels do not check
        raise ValueError(
            f"{steps} steps of {rows} rows go with start [{steps}, {rows}] bool and a state [{rows}, {size}]"
            f", not with {found}."
        )


def _torch_forward(a: Tensor, b: Tensor, start: Tensor, state: Tensor, complex_state: bool) -> Tensor:
    if complex_state:
        a, b, state = map(_complex, (a, b, state))
    a_all, h = a.expand_as(b), b.clone()
    before = state
    for t, any_begins in enumerate(start.flatten(1).any(dim=1).tolist()):
        if any_begins:
            before = before.masked_fill(start[t].unsqueeze(-1), 0.0)
        before = h[t].addcmul_(a_all[t], before)
    return _parts(h) if complex_state else h


def _torch_backward(
    a: Tensor, start: Tensor, state: Tensor, h: Tensor, d_h: Tensor, complex_state: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if complex_state:
        a, state, h, d_h = map(_complex, (a, state, h, d_h))
    a_all, d_b = a.conj().expand_as(h), d_h.clone()
    d_carry = torch.zeros_like(state)
    for t, any_begins in reversed(list(enumerate(start.flatten(1).any(dim=1).tolist()))):
        d_carry = d_b[t].add_(d_carry) * a_all[t]
        if any_begins:
            d_carry = d_carry.masked_fill(start[t].unsqueeze(-1), 0.0)
    before = torch.cat((state.unsqueeze(0), h[:-1])).masked_fill_(start.unsqueeze(-1), 0.0)
    d_a = (d_b * before.conj()).sum_to_size(a.shape)
    return (_parts(d_a), _parts(d_b), _parts(d_carry)) if complex_state else (d_a, d_b, d_carry)


def _complex(parts: Tensor) -> Tensor:
    """[..., 2N] -> [..., N] complex numbers."""
    re, im = parts.chunk(2, dim=-1)
    return torch.complex(re.contiguous(), im.contiguous())


def _parts(numbers: Tensor) -> Tensor:
    """[..., N] complex numbers -> [..., 2N]."""
    return torch.cat((numbers.real, numbers.imag), dim=-1)
