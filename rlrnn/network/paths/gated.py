"""Elman, GRU and LSTM over a whole row in one compiled call: the fastest path on a CPU, the extra ``[fast]``.

``kernels`` holds the loops over time, ``recurrences`` what is around them; here autograd is told, and the
extra is looked for. Equal to ``sequence.unroll`` in outputs, last state and every gradient.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import threading
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from rlrnn.cells import CELLS, Cell, Elman, Gru, Lstm, Matrix, Storage
from rlrnn.cells.kernels.recurrences import (
    NUMBER_OF,
    Array,
    ElmanRecurrence,
    array,
    own_parameters,
    recurrence,
)
from rlrnn.cells.linear import LinearCell
from rlrnn.common.announcing import announce
from rlrnn.common.compilation import SWITCH as SWITCH
from rlrnn.common.compilation import can_compile

COMPILED = (Elman, Gru, Lstm)


@functools.cache
def installed() -> bool:
    """Whether the extra is there and not switched off; the same for the whole process."""
    return can_compile() and importlib.util.find_spec("scipy") is not None


def what_runs(cell: str, device: str, options: Mapping[str, Any] | None = None) -> str:
    """What runs that kind of cell, with these options, on that device: for the record of a run."""
    kind: type[Cell] | None = CELLS.get(cell)
    if kind is Storage:  # its steps are torch's, those of a matrix in it are not
        kind = CELLS.get((options or {}).get("store", "legendre"))
        known = kind is Matrix
    else:
        known = kind in (*COMPILED, Matrix)
        known |= kind is not None and issubclass(kind, LinearCell) and kind.step is LinearCell.step
    if not known or device != "cpu" or not installed():
        return "torch"
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "scipy"))


def knows(cell: Cell, x: Tensor) -> bool:
    """Whether kernels of single steps and of whole networks run this cell, too: not the variants."""
    return fits(cell, x) and cell.plain


def fits(cell: Cell, x: Tensor) -> bool:
    """Whether these kernels run this cell: a function of cell, device and installation, never of a timing."""
    return (
        type(cell) in COMPILED  # a class derived from one of them may step otherwise
        and _weights(cell).dim() == 2  # no population
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and installed()
    )


def unroll(cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``sequence.unroll``: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state."""
    own = own_parameters(cell)
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
        cell: Cell,
        start: Tensor,
        *own: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        _check(cell, projected, start, state)
        ctx.save_for_backward(weights, *own)  # autograd refuses a backward pass if they have changed since
        kernels, one_thread = loaded()
        ctx.recurrence = recurrence(cell, kernels)
        with one_thread:
            y, last = ctx.recurrence.forward(array(projected), array(start), array(state))
        if isinstance(ctx.recurrence, ElmanRecurrence):  # its own copy: users may overwrite theirs
            ctx.recurrence.y = y.copy()
        return torch.from_numpy(y), torch.from_numpy(last.copy())

    @staticmethod
    def backward(ctx: Any, dy: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(f"compiled rows know no gradients of gradients: set {SWITCH}=0 to do without.")
        told, ctx.recurrence = ctx.recurrence, None
        if told is None:
            raise RuntimeError("a second backward pass through the same compiled rows: unroll them again.")
        weights, *own = ctx.saved_tensors
        d_weights = torch.empty(weights.shape, dtype=weights.dtype)
        wanted = zip(own, ctx.needs_input_grad[5:], strict=True)
        d_own = [torch.zeros_like(one) if wants else None for one, wants in wanted]
        with loaded()[1]:
            elman = isinstance(told, ElmanRecurrence)  # which overwrites what is not its own
            d_projected, d_first = told.backward(
                array(dy.clone() if elman else dy),
                array(d_last),
                d_weights.numpy(),
                [None if one is None else one.numpy() for one in d_own],
            )
        return torch.from_numpy(d_projected), d_weights, torch.from_numpy(d_first), None, None, *d_own


def _check(cell: Cell, projected: Tensor, start: Tensor, state: Tensor) -> None:
    steps, rows, _ = projected.shape
    told = (start.shape, start.dtype, state.shape, state.dtype)
    if told != ((steps, rows), torch.bool, (rows, cell.state_size), projected.dtype):  # kernels do not look
        raise ValueError(
            f"{steps} steps of {rows} rows in {projected.dtype} go with start [{steps}, {rows}] bool and a "
            f"state [{rows}, {cell.state_size}] of the same type, not with {told}."
        )


Step: TypeAlias = Callable[[Array, Array, Array, Array, int], Array]


def stepper(layers: Iterable[Any]) -> Step:
    """One step of layers of memory at play, in numpy, while the weights stay where they are in memory.

    It takes x [B, I], start [B], the state before and after [B, S], and the column of this memory's part of
    them; it writes that part of the state after and returns y [B, H].
    """
    kernels, _ = loaded()
    calls: list[Any] = []
    columns: list[int] = []
    for cell in layers:
        weights = [cell.weight_input.detach().numpy(), cell.weight_hidden.detach().numpy()]
        biases = [cell.bias] if isinstance(cell, Elman) else [cell.bias_input, cell.bias_hidden]
        empty = np.zeros(weights[1].shape[1], weights[1].dtype)
        weights += [empty if bias is None else bias.detach().numpy() for bias in biases]
        kernel = getattr(kernels, f"{type(cell).__name__.lower()}_step")
        extra = (NUMBER_OF[cell.nonlinearity],) if isinstance(cell, Elman) else ()
        calls.append((kernel, weights, extra, cell.output_size))
        columns.append(cell.state_size)

    def step(x: Array, start: Array, before: Array, after: Array, column: int) -> Array:
        for (kernel, weights, extra, units), size in zip(calls, columns, strict=True):
            y = np.empty((len(x), units), x.dtype)
            kernel(x, *weights, start, before, after, column, y, *extra)
            x, column = y, column + size
        return x

    return step


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """What every call of a kernel runs under; cheaper where it is entered once around many."""
    return loaded()[1] if installed() else contextlib.nullcontext()


def _weights(cell: Cell) -> Tensor:
    weights: Tensor = cell.weight_hidden  # type: ignore[assignment]
    return weights


_LOADING = threading.Lock()  # threads that begin together must not load twice


def loaded() -> tuple[ModuleType, _OneThread]:
    """The kernels, each compiled or found on disk when first called, and what to run them under."""
    with _LOADING:
        return _load()


@functools.cache
def _load() -> tuple[ModuleType, _OneThread]:
    from rlrnn.cells.kernels import gated as kernels
    from rlrnn.cells.kernels import matrix, scan
    from rlrnn.learners.ppo import kernels as losses

    for module in (kernels, losses, matrix, scan):
        announce(module.__name__)
    return kernels, _OneThread()


def scan_kernels() -> ModuleType:
    """Those of linear recurrences, which multiply no matrices and so need no ``one_blas_thread``."""
    loaded()  # whose announcement is theirs too
    return importlib.import_module("rlrnn.cells.kernels.scan")


def matrix_kernels() -> ModuleType:
    """Those of the addressable matrix, whose products are too small for BLAS."""
    loaded()
    return importlib.import_module("rlrnn.cells.kernels.matrix")


class _OneThread:
    """BLAS works with one thread while kernels run: more would wait for each other on products this small.

    The user's own number comes back when the last of the kernels that run at the same time has ended.
    """

    def __init__(self) -> None:
        import scipy.linalg.cython_blas  # noqa: F401  (which numba calls)
        from threadpoolctl import ThreadpoolController

        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.lock, self.running = threading.Lock(), 0
        self.before: list[tuple[Any, int]] = []

    def __enter__(self) -> None:
        with self.lock:
            if self.running == 0:
                threads = [(library, library.get_num_threads()) for library in self.libraries]
                self.before = [(library, n) for library, n in threads if n != 1]
                for library, _ in self.before:
                    library.set_num_threads(1)
            self.running += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.running -= 1
            if self.running == 0:
                for library, n in self.before:
                    library.set_num_threads(n)
