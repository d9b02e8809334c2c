"""The recurrent part of a compiled cell over rows of steps, there and back, in numpy over ``kernels``.

A recurrence goes forward once, then backward once: in between it keeps what the way back needs, and the way
back uses that up. Products with the inputs are not its business. Kernels run under ``one_blas_thread``.

Letters: T time, B rows, H units, G the width of the cell's gates, S state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlrnn.cells import Cell, Elman, Gru, Lstm
from rlrnn.cells.elman import NONLINEARITIES

Array: TypeAlias = npt.NDArray[Any]
Pair: TypeAlias = tuple[Array, Array]
Own: TypeAlias = Sequence[Array | None]  # places of gradients; None: not asked for
NUMBER_OF = {name: number for number, name in enumerate(NONLINEARITIES)}  # as kernels know them


def array(tensor: Tensor) -> Array:
    """The tensor's own memory, if its rows lie in order, else a copy."""
    result: Array = tensor.detach().contiguous().numpy()
    return result


def product(a: Array, b: Array, out: Array) -> Array:
    """``a @ b``, by torch, whose products are the fastest here."""
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))
    return out


class Recurrence(ABC):
    """One layer's recurrent weights [H, G], and what one way forward left behind."""

    before: Array  # [T, B, H] the h that each step began with

    def __init__(self, kernels: Any, weights: Array) -> None:
        self.kernels, self.weights = kernels, weights

    @abstractmethod
    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        """projected [T, B, G], which it overwrites, start [T, B], state [B, S] -> y [T, B, H], last state."""

    @abstractmethod
    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Own = ()) -> Pair:
        """Gradients by outputs [T, B, H] and last state -> by what was projected and by the first state.

        Those of the weights and of ``own_parameters`` are left in their places, which for gains and the bias
        of an LSTM's cell hold 0 before. An Elman layer overwrites ``dy``.
        """

    def _pieces(self, weights: Array, rows: int) -> Array:
        """[K, N] in as few pieces [n, K, N / n] as make the product of 8 rows with one of them small."""
        height, width = weights.shape
        wanted, count = min(rows, 8) * height * width / self.kernels.SMALL, 1
        while count < wanted and width % (2 * count) == 0 and width // (2 * count) >= 32:
            count *= 2
        if count == 1:
            return np.ascontiguousarray(weights)[None]
        return np.ascontiguousarray(weights.reshape(height, count, -1).swapaxes(0, 1))

    def _weights_gradient(self, felt: Array, d_weights: Array) -> None:
        """From what each step began with and what its gates felt."""
        product(_flat(self.before).T, _flat(felt), d_weights)


class LstmRecurrence(Recurrence):
    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.gates, self.start, size = projected, start, len(self.weights)
        h0, self.c0 = np.ascontiguousarray(state[:, :size]), np.ascontiguousarray(state[:, size:])
        y, self.before, self.c = (np.empty((*start.shape, size), projected.dtype) for _ in range(3))
        pieces = self._pieces(self.weights, start.shape[1])
        self.kernels.lstm_forward(self.gates, pieces, start, h0, self.c0, self.before, y, self.c)
        return y, np.concatenate((y[-1], self.c[-1]), axis=1)

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Own = ()) -> Pair:
        size = len(self.weights)
        dh, dc = d_last[:, :size].copy(), d_last[:, size:].copy()
        pieces = self._pieces(self.weights.T, len(dh))
        self.kernels.lstm_backward(self.gates, pieces, self.start, self.c0, self.c, dy, dh, dc)
        self._weights_gradient(self.gates, d_weights)
        return self.gates, np.concatenate((dh, dc), axis=1)


class LstmVariantRecurrence(Recurrence):
    """With coupled gates, or layer norm, or both."""

    def __init__(self, kernels: Any, cell: Lstm) -> None:
        super().__init__(kernels, array(cell.weight_hidden))
        self.coupled, self.normed = cell.coupled, cell.layer_norm
        size, dtype = cell.output_size, self.weights.dtype
        self.gain = self.gain_cell = self.bias_cell = np.empty(0, dtype)
        if self.normed:
            bias = cell.bias_cell
            self.gain, self.gain_cell = array(cell.gain_hidden), array(cell.gain_cell)
            self.bias_cell = np.zeros(size, dtype) if bias is None else array(bias)

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.gates, self.start, size = projected, start, len(self.weights)
        h0, self.c0 = np.ascontiguousarray(state[:, :size]), np.ascontiguousarray(state[:, size:])
        y, self.before, self.c = (np.empty((*start.shape, size), projected.dtype) for _ in range(3))
        self.shown = np.empty_like(self.c) if self.normed else self.c
        width = self.normed * (projected.shape[-1] + size)
        self.norms, self.scale = (np.empty((*start.shape, n), projected.dtype) for n in (width, 2))
        self.kernels.lstm_variant_forward(
            self.gates,
            self._pieces(self.weights, start.shape[1]),
            start,
            h0,
            self.c0,
            self.before,
            y,
            self.c,
            self.coupled,
            self.gain,
            self.gain_cell,
            self.bias_cell,
            self.norms,
            self.shown,
            self.scale,
        )
        return y, np.concatenate((y[-1], self.c[-1]), axis=1)

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Own = ()) -> Pair:
        size = len(self.weights)
        dh, dc = d_last[:, :size].copy(), d_last[:, size:].copy()
        places = self.gain, self.gain_cell, self.bias_cell
        d_places = [
            np.zeros_like(one) if d is None else d
            for one, d in zip(places, d_own or (None, None, None), strict=True)
        ]
        self.kernels.lstm_variant_backward(
            self.gates,
            self._pieces(self.weights.T, len(dh)),
            self.start,
            self.c0,
            self.c,
            dy,
            dh,
            dc,
            self.coupled,
            self.gain,
            self.gain_cell,
            self.norms,
            self.shown,
            self.scale,
            *d_places,
        )
        felt = self.norms[..., :-size] if self.normed else self.gates
        self._weights_gradient(np.ascontiguousarray(felt), d_weights)
        return self.gates, np.concatenate((dh, dc), axis=1)


class GruRecurrence(Recurrence):
    def __init__(self, kernels: Any, cell: Gru) -> None:
        super().__init__(kernels, array(cell.weight_hidden))
        bias, dtype = cell.bias_hidden, self.weights.dtype
        self.bias = np.zeros(self.weights.shape[1], dtype) if bias is None else array(bias)
        self.gain = array(cell.gain_hidden) if cell.layer_norm else np.empty(0, dtype)

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.gates, self.start = projected, start
        y, self.before, self.heard_n = (
            np.empty((*start.shape, len(self.weights)), projected.dtype) for _ in range(3)
        )
        self.normed, self.scale = (np.empty((*start.shape, n), y.dtype) for n in (len(self.gain), 2))
        pieces = self._pieces(self.weights, start.shape[1])
        known = start, np.ascontiguousarray(state)
        norms = self.gain, self.normed, self.scale
        self.kernels.gru_forward(self.gates, pieces, self.bias, *known, self.before, y, self.heard_n, *norms)
        return y, y[-1]

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Own = ()) -> Pair:
        d_bias, d_gain = (*d_own, None, None)[:2]
        dh = d_last.copy()
        pieces = self._pieces(self.weights.T, len(dh))
        norms = self.gain, self.normed, self.scale, np.zeros_like(self.gain) if d_gain is None else d_gain
        self.kernels.gru_backward(self.gates, pieces, self.start, self.before, self.heard_n, dy, dh, *norms)
        self._weights_gradient(self.normed if len(self.gain) else self.gates, d_weights)
        if d_bias is not None:
            self.kernels.sum_rows(_flat(self.gates), d_bias)
        self.gates[..., -dh.shape[1] :] = self.heard_n  # n's part: what it heard, now what it was told
        return self.gates, dh


class ElmanRecurrence(Recurrence):
    def __init__(self, kernels: Any, weights: Array, nonlinearity: str) -> None:
        super().__init__(kernels, weights)
        self.nonlinearity = NUMBER_OF[nonlinearity]

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.start = start
        self.y, self.before = np.empty_like(projected), np.empty_like(projected)
        known = self._pieces(self.weights, start.shape[1]), start, np.ascontiguousarray(state)
        self.kernels.elman_forward(projected, *known, self.before, self.y, self.nonlinearity)
        return self.y, self.y[-1]

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Own = ()) -> Pair:
        dh = d_last.copy()
        pieces = self._pieces(self.weights.T, len(dh))
        self.kernels.elman_backward(self.y, pieces, self.start, dy, dh, self.nonlinearity)
        self._weights_gradient(dy, d_weights)
        return dy, dh


def recurrence(cell: Cell, kernels: Any) -> Recurrence:
    """That of a compiled cell, with its weights as they are now."""
    if isinstance(cell, Lstm):
        if not cell.plain:
            return LstmVariantRecurrence(kernels, cell)
        return LstmRecurrence(kernels, array(cell.weight_hidden))
    if isinstance(cell, Gru):
        return GruRecurrence(kernels, cell)
    assert isinstance(cell, Elman)
    return ElmanRecurrence(kernels, array(cell.weight_hidden), cell.nonlinearity)


def own_parameters(cell: Cell) -> list[Tensor | None]:
    """What a compiled cell has within its recurrence, beside the weights."""
    if isinstance(cell, Lstm):
        return [cell.gain_hidden, cell.gain_cell, cell.bias_cell] if cell.layer_norm else []
    if isinstance(cell, Gru):
        return [cell.bias_hidden, cell.gain_hidden] if cell.layer_norm else [cell.bias_hidden]
    return []


def _flat(x: Array) -> Array:
    """[T, B, ...] -> [T * B, ...]."""
    return x.reshape(-1, x.shape[-1])
