"""A step of the addressable matrix by compiled kernels, for autograd: what ``Matrix.step`` takes if it can.

Rows know nothing of each other, and kernels nothing of weights: a population's members are rows like others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rlrnn import compiled


def fits(projected: Tensor, state: Tensor) -> bool:
    """Whether kernels run it: a matter of device, type and installation, never of a timing."""
    return (
        projected.device.type == "cpu"
        and projected.dtype == state.dtype
        and projected.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and compiled.installed()
    )


def step(projected: Tensor, state: Tensor, slots: int, size: int, short: float) -> tuple[Tensor, Tensor]:
    """As ``Matrix.step``: projected [..., G], state [..., S] -> y [..., H], the state after [..., S]."""
    y, after = _Step.apply(projected, state, slots, size, short)  # type: ignore[no-untyped-call]
    return y, after


class _Step(Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, state: Tensor, slots: int, size: int, short: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(projected, state)
        ctx.sizes = slots, projected.new_tensor(short).numpy()[()]
        rows = state.shape[:-1]
        y, after = (
            projected.new_empty(*rows, size),
            torch.empty_like(state, memory_format=torch.contiguous_format),
        )
        kernels = compiled.matrix_kernels()
        kernels.forward(_rows(projected), _rows(state), *ctx.sizes, _rows(y), _rows(after))
        return y, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        projected, state = ctx.saved_tensors
        found = torch.empty_like(projected, memory_format=torch.contiguous_format)
        first = torch.empty_like(state, memory_format=torch.contiguous_format)
        known = _rows(projected), _rows(state), *ctx.sizes
        compiled.matrix_kernels().backward(*known, _rows(dy), _rows(d_after), _rows(found), _rows(first))
        return found, first, None, None, None


def _rows(tensor: Tensor) -> Any:
    """[..., N] -> an array [rows, N] of the tensor's own memory, if its rows lie in order."""
    return tensor.detach().contiguous().view(-1, tensor.shape[-1]).numpy()
