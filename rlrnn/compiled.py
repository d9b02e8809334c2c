"""Elman, GRU and LSTM over a whole row in one compiled call: the fastest path on a CPU, the extra ``[fast]``.

``kernels`` holds the loops over time. Here torch does what needs no order in time (products with the
inputs, gradients of weights), and autograd is told the rest. Equal to ``sequence.unroll`` in outputs,
last state and every gradient.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import Function

from rlrnn.cells import CELLS, Cell, Elman, Gru, Lstm
from rlrnn.cells.elman import NONLINEARITIES

SWITCH = "RLRNN_FAST"  # "0" in the environment: as if the extra were not installed
PACKAGES = ("numba", "scipy", "threadpoolctl")
COMPILED = (Elman, Gru, Lstm)


@functools.cache
def installed() -> bool:
    """Whether the extra is there and not switched off; the same for the whole process."""
    if os.environ.get(SWITCH, "1") == "0" or not all(map(importlib.util.find_spec, PACKAGES)):
        return False
    try:
        import numba  # noqa: F401
    except ImportError as error:  # it refuses a numpy that is newer than itself
        print(f"rlrnn: doing without its compiled kernels, as numba cannot start: {error}", file=sys.stderr)
        return False
    return True


def recurrence(cell: str, device: str) -> str:
    """What runs that kind of cell on that device, for the record of a run."""
    if CELLS.get(cell) not in COMPILED or device != "cpu" or not installed():
        return "torch"
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "scipy"))


def fits(cell: Cell, x: Tensor) -> bool:
    """Whether these kernels run this cell: a function of cell, device and installation, never of a timing."""
    return (
        type(cell) in COMPILED
        and _weights(cell).dim() == 2  # no population
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and installed()
    )


def unroll(cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As ``sequence.unroll``: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state."""
    bias = cell.bias_hidden if isinstance(cell, Gru) else None
    y, last = _Unrolled.apply(cell.project(x), cell.weight_hidden, bias, state, cell, start)  # type: ignore[no-untyped-call]
    return y, last


@dataclass
class Tape:
    """What a backward pass needs of the forward pass, G the width of the cell's gates; used up by it."""

    cell: Cell
    start: Tensor  # [T, B]
    gates: Tensor  # [T, B, G], or an Elman layer's y
    before: Tensor  # [T, B, H] the h that each step began with
    c: Tensor | None = None  # [T, B, H] of an LSTM
    c0: Tensor | None = None  # [B, H]
    heard_n: Tensor | None = None  # [T, B, H] what a GRU's n hears of the memory before the reset gate


def forward(cell: Cell, projected: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tape]:
    """Without autograd: outputs [T, B, H], last state [B, S] and the tape; ``projected`` is overwritten."""
    steps, rows, _ = projected.shape
    told = (start.shape, start.dtype, state.shape, state.dtype)
    if told != ((steps, rows), torch.bool, (rows, cell.state_size), projected.dtype):  # kernels do not look
        raise ValueError(
            f"{steps} steps of {rows} rows in {projected.dtype} go with start [{steps}, {rows}] bool and a "
            f"state [{rows}, {cell.state_size}] of the same type, not with {told}."
        )
    weights = _pieces(_weights(cell), rows)
    gates, start = projected.contiguous(), start.contiguous()
    before, y = (gates.new_empty(steps, rows, cell.output_size) for _ in range(2))
    if isinstance(cell, Lstm):
        h0, c0 = (part.contiguous() for part in state.split(cell.output_size, dim=-1))
        c = torch.empty_like(y)
        _run("lstm_forward", gates, weights, start, h0, c0, before, y, c)
        return y, torch.cat((y[-1], c[-1]), dim=-1), Tape(cell, start, gates, before, c, c0)
    h0 = state.contiguous()
    if isinstance(cell, Gru):
        heard_n = torch.empty_like(y)
        bias = weights.new_zeros(gates.shape[2]) if cell.bias_hidden is None else cell.bias_hidden
        _run("gru_forward", gates, weights, bias, start, h0, before, y, heard_n)
        return y, y[-1], Tape(cell, start, gates, before, heard_n=heard_n)
    assert isinstance(cell, Elman)
    _run("elman_forward", gates, weights, start, h0, before, y, NONLINEARITY[cell.nonlinearity])
    return y, y[-1], Tape(cell, start, y, before)


def backward(tape: Tape, dy: Tensor, d_last: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Gradients of ``projected``, of the recurrent weights, of their bias (a GRU's) and of the first state.

    dy [T, B, H] is the outputs' gradient, which an Elman layer overwrites, d_last [B, S] the last state's.
    """
    cell, gates, start, before = tape.cell, tape.gates, tape.start, tape.before
    weights_t = _pieces(_weights(cell).t(), start.shape[1])
    if isinstance(cell, Lstm):
        assert tape.c is not None and tape.c0 is not None
        dh, dc = (part.clone(memory_format=torch.contiguous_format) for part in d_last.chunk(2, dim=-1))
        _run("lstm_backward", gates, weights_t, start, tape.c0, tape.c, dy.contiguous(), dh, dc)
        return gates, _weights_gradient(before, gates), None, torch.cat((dh, dc), dim=-1)
    dh = d_last.clone(memory_format=torch.contiguous_format)
    if isinstance(cell, Gru):
        assert tape.heard_n is not None
        _run("gru_backward", gates, weights_t, start, before, tape.heard_n, dy.contiguous(), dh)
        d_weights = _weights_gradient(before, gates)
        d_bias = None if cell.bias_hidden is None else gates.sum((0, 1))
        gates[..., -cell.output_size :] = tape.heard_n  # n's part: what it heard, now what it was told
        return gates, d_weights, d_bias, dh
    assert isinstance(cell, Elman) and dy.is_contiguous()
    _run("elman_backward", gates, weights_t, start, dy, dh, NONLINEARITY[cell.nonlinearity])
    return dy, _weights_gradient(before, dy), None, dh


NONLINEARITY = {name: number for number, name in enumerate(NONLINEARITIES)}


class _Unrolled(Function):
    """The same for autograd, which keeps count of ``weights`` and ``bias`` although the cell has them."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        weights: Tensor,
        bias: Tensor | None,
        state: Tensor,
        cell: Cell,
        start: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weights)  # autograd refuses a backward pass if they have changed since
        y, last, ctx.tape = forward(cell, projected, start, state)
        if isinstance(cell, Elman):  # autograd's own copy: users may overwrite what they are handed
            ctx.tape.gates = y.clone()
        return y, last.clone()

    @staticmethod
    def backward(ctx: Any, dy: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(f"compiled rows know no gradients of gradients: set {SWITCH}=0 to do without.")
        tape, ctx.tape = ctx.tape, None
        if tape is None:
            raise RuntimeError("a second backward pass through the same compiled rows: unroll them again.")
        _ = ctx.saved_tensors  # where autograd looks
        dy = dy.clone(memory_format=torch.contiguous_format) if isinstance(tape.cell, Elman) else dy
        return (*backward(tape, dy, d_last), None, None)


Array: TypeAlias = npt.NDArray[Any]
Step: TypeAlias = Callable[[Array, Array, Array, Array, int], Array]


def stepper(layers: Iterable[Any]) -> Step:
    """One step of layers of memory at play, in numpy, while the weights stay where they are in memory.

    It takes x [B, I], start [B], the state before and after [B, S], and the column of this memory's part of
    them; it writes that part of the state after and returns y [B, H].
    """
    kernels, _ = _loaded()
    calls: list[Any] = []
    columns: list[int] = []
    for cell in layers:
        weights = [cell.weight_input.detach().numpy(), cell.weight_hidden.detach().numpy()]
        biases = [cell.bias] if isinstance(cell, Elman) else [cell.bias_input, cell.bias_hidden]
        empty = np.zeros(weights[1].shape[1], weights[1].dtype)
        weights += [empty if bias is None else bias.detach().numpy() for bias in biases]
        kernel = getattr(kernels, f"{type(cell).__name__.lower()}_step")
        extra = (NONLINEARITY[cell.nonlinearity],) if isinstance(cell, Elman) else ()
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
    return _loaded()[1] if installed() else contextlib.nullcontext()


def _weights_gradient(before: Tensor, felt: Tensor) -> Tensor:
    """[H, G], from what each step began with and what its gates felt."""
    return before.flatten(0, 1).t() @ felt.flatten(0, 1)


def _pieces(weights: Tensor, rows: int) -> Tensor:
    """[K, N] in as few pieces [n, K, N / n] as make the product of up to 8 rows with one of them small."""
    height, width = weights.shape
    wanted, count = min(rows, 8) * height * width / _loaded()[0].SMALL, 1
    while count < wanted and width % (2 * count) == 0 and width // (2 * count) >= 32:
        count *= 2
    return weights.detach().reshape(height, count, -1).transpose(0, 1).contiguous()


def _weights(cell: Cell) -> Tensor:
    weights: Tensor = cell.weight_hidden  # type: ignore[assignment]
    return weights


def _run(kernel: str, *arguments: Tensor | int) -> None:
    arrays = [a.numpy(force=True) if isinstance(a, Tensor) else a for a in arguments]
    kernels, one_thread = _loaded()
    with one_thread:
        getattr(kernels, kernel)(*arrays)


_LOADING = threading.Lock()  # threads that begin together must not load twice


def _loaded() -> tuple[ModuleType, _OneThread]:
    """The kernels, each compiled or found on disk when first called, and what to run them under."""
    with _LOADING:
        return _load()


@functools.cache
def _load() -> tuple[ModuleType, _OneThread]:
    from numba.core import event

    from rlrnn import kernels

    class Announcement(event.Listener):
        made = False

        def on_start(self, event: Any) -> None:
            if self.made or event.data["dispatcher"].py_func.__module__ != kernels.__name__:
                return
            self.made = True
            kept = kernels.sigmoid.stats.cache_path is not None
            how = "once" if kept else "anew in each process (set NUMBA_CACHE_DIR to a folder that keeps them)"
            print(f"rlrnn: compiling its kernels for this machine, {how}: some seconds ...", file=sys.stderr)

        def on_end(self, event: Any) -> None: ...

    event.register("numba:compile", Announcement())
    return kernels, _OneThread()


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
