"""A network as the table that compiled kernels step it by (``cells/kernels/stepping.py``).

It holds addresses: it is true while the weights stay where they are, whatever their values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlrnn.cells.gated import kernels_of
from rlrnn.common.compiling import can_compile
from rlrnn.network.plan import Dense, Gated, Layer, Plan

Array: TypeAlias = npt.NDArray[Any]
Tables: TypeAlias = Mapping[Tensor, Array]  # weights [P, ...] float32 of each of P members


@dataclass(frozen=True)
class Program:
    """What ``stepping.run`` needs but for the places outside."""

    layers: npt.NDArray[np.int64]  # [layers, stepping.WIDTH]
    inner: npt.NDArray[np.int64]  # numbers a row of the places within the network
    room: int  # numbers a row, of those places and of what a step may use
    state_size: int
    kept: tuple[Array, ...]  # the arrays that the table has addresses of


def runs(plan: Plan) -> bool:
    """Whether there are compiled steps for all of its layers."""
    return steps(plan.layers)


def steps(layers: Sequence[Layer]) -> bool:
    """Whether there are compiled steps for all of these."""
    return (
        can_compile()
        and all(isinstance(layer, Dense) or _has_step(layer) for layer in layers)
        and all(_fits(weights) for layer in layers for weights in _weights(layer))
    )


def _has_step(layer: Layer) -> bool:
    return isinstance(layer, Gated) and hasattr(kernels_of(layer.cell), "step")


def _weights(layer: Layer) -> tuple[Tensor | None, ...]:
    """In the order in which steps number them."""
    if isinstance(layer, Dense):
        return layer.weight, layer.bias
    cell = cast("Gated", layer).cell
    return cell.weight_input, cell.weight_hidden, *cell.biases()


def _fits(weights: Tensor | None) -> bool:
    if weights is None:
        return True
    return weights.dtype == torch.float32 and weights.device.type == "cpu" and weights.is_contiguous()


class Writer:
    """Writes a network's layers one by one; with ``pack`` as their weights are now, copied for products."""

    def __init__(self, state_size: int, tables: Tables | None = None, *, pack: bool = False) -> None:
        from rlrnn.cells.kernels import stepping  # late, as numba takes a while to load

        self.k = stepping
        self.state_size, self.tables, self.pack = state_size, tables or {}, pack
        self.rows: list[npt.NDArray[np.int64]] = []
        self.inner: list[int] = []
        self.kept: list[Array] = []
        self.widest = 0  # numbers a row of the widest weights

    def chain(self, layers: Sequence[Layer], source: int, target: int | None = None, column: int = 0) -> int:
        """These layers from one place to another, or to one within, whose number is returned.

        ``column``: where the state of this memory begins.
        """
        for number, layer in enumerate(layers):
            last = number == len(layers) - 1 and target is not None
            into = cast("int", target) if last else self.k.INNER + len(self.inner)
            width = self._layer(layer, source, into, column)
            if not last:
                self.inner.append(width)
            source = into
        return source

    def program(self) -> Program:
        """All that was written."""
        room = sum(self.inner) + self.k.ROOM * self.widest
        inner = np.array(self.inner, np.int64)
        return Program(np.stack(self.rows), inner, room, self.state_size, tuple(self.kept))

    def _layer(self, layer: Layer, source: int, target: int, column: int) -> int:
        """Returns how many numbers come out."""
        if isinstance(layer, Dense):
            from rlrnn.cells.kernels import dense

            options: Sequence[float] = [dense.ACTIVATIONS[layer.activation]]
            self._row(dense.step, source, target, 0, options)
        else:
            gated = cast("Gated", layer)
            column, options = column + gated.columns.start, gated.cell.kernel_options()
            self._row(kernels_of(gated.cell).step, source, target, column, options)
        width = 0
        for index, weights in enumerate(_weights(layer)):
            width = self._array(index, weights, width)
        return width if isinstance(layer, Dense) else cast("Gated", layer).cell.output_size

    def _row(self, step: Any, source: int, target: int, column: int, options: Sequence[float]) -> None:
        assert len(options) <= self.k.ARRAYS - self.k.OPTION, "two options are all that a table has room for"
        row = np.zeros(self.k.WIDTH, np.int64)
        row[: self.k.OPTION] = step.address, source, target, self.state_size, column
        row[self.k.OPTION : self.k.OPTION + len(options)] = np.array(options, np.float64).view(np.int64)
        self.rows.append(row)

    def _array(self, index: int, weights: Tensor | None, width: int = 0) -> int:
        """Weights of the layer written last, zeros if there are none; returns how many columns they have."""
        from rlrnn.cells.kernels import products

        table = None if weights is None else self.tables.get(weights)
        if table is None:
            own = np.zeros(width, np.float32) if weights is None else weights.detach().numpy()
            table = np.ascontiguousarray(own)[None]
        assert table.dtype == np.float32 and table.flags.c_contiguous
        rows, columns = table.shape[1] if table.ndim == 3 else 1, table.shape[-1]
        stride = table[0].nbytes if len(table) > 1 else 0
        at = self.k.ARRAYS + self.k.NUMBERS * index
        panels = 0
        if self.pack and rows > 1:
            self.kept.append(products.packed(table[0]))
            panels = self.kept[-1].ctypes.data
        self.rows[-1][at : at + self.k.NUMBERS] = table.ctypes.data, stride, rows, columns, panels
        self.kept.append(table)
        self.widest = max(self.widest, columns)
        return int(columns)
