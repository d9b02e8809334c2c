"""The recurrent part of a gated cell over rows of steps, forward and backward, in numpy around its kernels.

A recurrence runs forward once, then backward once: in between it keeps what the backward pass needs, which
overwrites that. Products with the inputs are not part of it.

Letters: T time, B rows, H units, G the width of the cell's gates, S state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy.typing as npt
from torch import Tensor

Array: TypeAlias = npt.NDArray[Any]
Pair: TypeAlias = tuple[Array, Array]
Places: TypeAlias = Sequence[Array | None]  # where gradients are written; None: not asked for


def array(tensor: Tensor) -> Array:
    """The tensor's own memory, if its rows lie in order, else a copy."""
    result: Array = tensor.detach().contiguous().numpy()
    return result


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

    def weights_gradient(self, d_hidden: Array, d_weights: Array) -> None:
        """From the h that each step began with, and the gradient by its product with the weights."""
        from rlrnn.cells.kernels.products import weights_gradient  # late, as numba takes a while to load

        weights_gradient(flat(self.before), flat(d_hidden), d_weights)
