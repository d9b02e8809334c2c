"""The recurrent part of a gated cell over rows of steps, forward and backward, in numpy around its kernels.

A recurrence runs forward once, then backward once: in between it keeps what the backward pass needs, which
overwrites that. Products with the inputs are not part of it. It runs under ``compiling.one_blas_thread``.

Letters: T time, B rows, H units, G the width of the cell's gates, S state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array: TypeAlias = npt.NDArray[Any]
Pair: TypeAlias = tuple[Array, Array]
Places: TypeAlias = Sequence[Array | None]  # where gradients are written; None: not asked for

SMALL = 1_000_000  # multiplications of a product that BLAS still counts as small


def array(tensor: Tensor) -> Array:
    """The tensor's own memory, if its rows lie in order, else a copy."""
    result: Array = tensor.detach().contiguous().numpy()
    return result


def product(a: Array, b: Array, out: Array) -> Array:
    """``a @ b``, by torch, whose products are the fastest here."""
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))
    return out


def flat(x: Array) -> Array:
    """[T, B, ...] -> [T * B, ...]."""
    return x.reshape(-1, x.shape[-1])


class Recurrence(ABC):
    """One layer's recurrent weights [H, G], as they are now, and what one forward pass keeps."""

    before: Array  # [T, B, H] the h that each step began with
    in_place: ClassVar[bool] = False  # whether it keeps the y that it returns, and overwrites dy

    def __init__(self, weights: Tensor) -> None:
        self.weights = array(weights)

    @abstractmethod
    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        """projected [T, B, G], which it overwrites, start [T, B], state [B, S] -> y [T, B, H], last state."""

    @abstractmethod
    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        """Gradients by outputs [T, B, H] and last state -> by what was projected and by the first state.

        Those of the weights and of the cell's ``recurrent_parameters`` are left in their places, which hold 0
        before.
        """

    def pieces(self, weights: Array, rows: int) -> Array:
        """[K, N] in as few pieces [n, K, N / n] as make the product of 8 rows with one of them small."""
        height, width = weights.shape
        wanted, count = min(rows, 8) * height * width / SMALL, 1
        while count < wanted and width % (2 * count) == 0 and width // (2 * count) >= 32:
            count *= 2
        if count == 1:
            return np.ascontiguousarray(weights)[None]
        return np.ascontiguousarray(weights.reshape(height, count, -1).swapaxes(0, 1))

    def weights_gradient(self, d_hidden: Array, d_weights: Array) -> None:
        """From the h that each step began with, and the gradient by its product with the weights."""
        product(flat(self.before).T, flat(d_hidden), d_weights)
