"""A step of the addressable matrix by compiled kernels, for autograd: what ``Matrix.step`` takes if it can.

Rows do not depend on each other and kernels take no weights: a population's members are rows like others.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from rlrnn.common.compiling import SWITCH, can_compile


def fits(projected: Tensor, state: Tensor) -> bool:
    """Whether kernels run it: a matter of device, type and installation, never of a timing."""
    return (
        projected.device.type == "cpu"
        and projected.dtype == state.dtype
        and projected.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and can_compile()
    )


def step(projected: Tensor, state: Tensor, slots: int, size: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """As ``Matrix.step``: projected [..., G], state [..., S] -> y [..., H], the state after [..., S].

    ``size`` is H, ``epsilon`` what is added to squared lengths.
    """
    rows = projected.shape[:-1]
    shapes, width = (projected.shape, state.shape), 2 * (size + 5) + 2 * size
    if shapes != ((*rows, width), (*rows, slots * (size + 2))):  # kernels do not check
        raise ValueError(
            f"a matrix of {slots} slots of {size} goes with controls [..., {width}] and a state "
            f"[..., {slots * (size + 2)}] of as many rows, not with {tuple(shapes[0])} and "
            f"{tuple(shapes[1])}."
        )
    y, after = _Step.apply(projected, state, slots, size, epsilon)  # type: ignore[no-untyped-call]
    return y, after


class _Step(Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, state: Tensor, slots: int, size: int, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(projected, state)
        ctx.constants = slots, NUMBER[projected.dtype](epsilon)
        y, after = projected.new_empty(*state.shape[:-1], size), _empty(state)
        _kernels().forward(_rows(projected), _rows(state), *ctx.constants, _rows(y), _rows(after))
        return y, after

    @staticmethod
    def backward(ctx: Any, dy: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"compiled steps know no gradients of gradients: set {SWITCH}=0 to do without."
            )
        projected, state = ctx.saved_tensors
        d_projected, d_state = _empty(projected), _empty(state)
        arguments = _rows(projected), _rows(state), *ctx.constants, _rows(dy), _rows(d_after)
        _kernels().backward(*arguments, _rows(d_projected), _rows(d_state))
        return d_projected, d_state, None, None, None


@functools.cache
def _kernels() -> ModuleType:
    """Loaded late, as numba takes a while. They multiply too little for BLAS to be called."""
    return importlib.import_module("rlrnn.cells.kernels.matrix")


NUMBER = {torch.float32: np.float32, torch.float64: np.float64}


def _empty(tensor: Tensor) -> Tensor:
    """Of its shape, its rows in order."""
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _rows(tensor: Tensor) -> Any:
    """[..., N] -> an array [rows, N] of the tensor's own memory, if its rows lie in order."""
    return tensor.detach().contiguous().view(-1, tensor.shape[-1]).numpy()
