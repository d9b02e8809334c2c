"""The compiled recurrences equal the reference loop, keep rows and episodes apart, and hide no NaN."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rlrnn
from rlrnn.cells import Cell, make_cell
from rlrnn.cells.elman import NONLINEARITIES
from rlrnn.cells.gated import kernels_of
from rlrnn.common import compiling
from rlrnn.network.memory import Memory
from rlrnn.network.paths import gated, loop
from rlrnn.testing.rounding import assert_close, bound

if not compiling.can_compile():
    pytest.skip("numba is missing or switched off", allow_module_level=True)

PACKAGE = Path(rlrnn.__file__).parent
INPUTS = 3
KINDS: dict[str, Callable[..., Cell]] = {
    "gru": partial(make_cell, "gru"),
    "lstm": partial(make_cell, "lstm"),
    "gru normed": partial(make_cell, "gru", layer_norm=True),
    "lstm normed": partial(make_cell, "lstm", layer_norm=True),
    "lstm coupled": partial(make_cell, "lstm", coupled=True),
    "lstm coupled normed": partial(make_cell, "lstm", coupled=True, layer_norm=True),
    **{f"elman {name}": partial(make_cell, "elman", nonlinearity=name) for name in NONLINEARITIES},
}
WAYS = ("forward", "backward")
ONE_OF_EACH = ("gru", "lstm", "elman tanh")
# steps, rows, units: alone, in one block, in several, in blocks that do not come out even
SIZES = ((1, 1, 1), (1, 3, 5), (9, 1, 5), (7, 8, 64), (12, 17, 5), (4, 21, 130))
# A product with the recurrent weights is above 1_000_000: blocks of 32 rows
LARGE = {"gru": 578, "lstm": 501, "elman tanh": 1001}
Path_ = Callable[[Cell, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def make(kind: str, units: int, dtype: torch.dtype = torch.float32, **options: Any) -> Cell:
    cell = KINDS[kind](INPUTS, units, **options).to(dtype)
    with torch.no_grad():  # gains and biases that begin as 1 and 0 would hide who leaves them out
        for parameter in cell.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return cell


def rows(cell: Cell, steps: int, n: int, resets: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs [T, B, I], starts [T, B] and a first state [B, S]."""
    like = next(cell.parameters())
    x = torch.randn(steps, n, INPUTS, dtype=like.dtype)
    return x, torch.rand(steps, n) < resets, torch.randn(n, cell.state_size, dtype=like.dtype)


def results(path: Path_, cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> list[Tensor]:
    """Outputs, last state, and the gradients of inputs, first state and every parameter."""
    x, state = x.detach().requires_grad_(), state.detach().requires_grad_()
    y, last = path(cell, x, start, state)
    loss = sum(
        (part * torch.linspace(-1, 1, part.numel(), dtype=x.dtype).view_as(part)).sum() for part in (y, last)
    )
    return [y, last, *torch.autograd.grad(loss, (x, state, *cell.parameters()))]


def same_bytes(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_last_state_and_every_gradient_equal_the_reference_loop(kind: str, bias: bool) -> None:
    options = {} if bias else {"bias": False}
    for steps, n, units in SIZES:
        for resets in (0.0, 0.2, 1.0):
            exact = make(kind, units, torch.float64, **options)
            x, start, state = rows(exact, steps, n, resets)
            wanted = results(loop.unroll, exact, x, start, state)
            size = (steps, n, units, "normed" in kind)
            found = results(gated.unroll, exact, x, start, state)
            assert_close(found, wanted, bound(torch.float64, *size))
            single = results(gated.unroll, exact.float(), x.float(), start, state.float())
            assert single[0].dtype == torch.float32
            assert_close(single, wanted, bound(torch.float32, *size))


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_parameter_changes_no_other_gradient(kind: str) -> None:
    cell = make(kind, 5, torch.float64)
    x, start, state = rows(cell, 4, 3)

    def gradients() -> dict[str, Tensor | None]:
        cell.zero_grad()
        gated.unroll(cell, x, start, state)[0].square().sum().backward()
        return {name: p.grad for name, p in cell.named_parameters()}

    wanted = gradients()
    for frozen, parameter in cell.named_parameters():
        parameter.requires_grad_(False)
        for name, found in gradients().items():
            assert found is None if name == frozen else torch.equal(found, wanted[name])
        parameter.requires_grad_()


@pytest.mark.parametrize("kind", LARGE)
def test_layers_too_large_for_small_products_equal_the_loop(kind: str) -> None:
    cell = make(kind, LARGE[kind], torch.float64)
    for n in (3, 33):
        given = rows(cell, 2, n)
        found, wanted = (results(path, cell, *given) for path in (gated.unroll, loop.unroll))
        assert_close(found, wanted, bound(torch.float64, 2, n, LARGE[kind]))


def test_no_rows_are_fine() -> None:
    for kind in ONE_OF_EACH:
        cell = make(kind, 4)
        given = rows(cell, 2, 0)
        found, wanted = (results(path, cell, *given) for path in (gated.unroll, loop.unroll))
        assert [t.shape for t in found] == [t.shape for t in wanted]
        assert same_bytes(found[2:], wanted[2:])  # gradients of 0, where there are any


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_hides_all_that_was_before_it(kind: str, dtype: torch.dtype) -> None:
    cell = make(kind, 5, dtype)
    x, start, state = rows(cell, 4, 11)
    start[0] = True
    wanted = results(gated.unroll, cell, x, start, torch.zeros_like(state))
    assert torch.count_nonzero(wanted[3]) == 0  # the gradient of the first state
    for broken in (torch.nan, torch.inf, -torch.inf):
        assert same_bytes(results(gated.unroll, cell, x, start, torch.full_like(state, broken)), wanted)

    start[2] = True  # and in the middle of a row
    wanted = results(gated.unroll, cell, x, start, state)
    apart = gated.unroll(cell, x[2:], start[2:], torch.zeros_like(state))
    # Products of other sizes: equal up to rounding.
    assert_close([wanted[0][2:], wanted[1]], apart, bound(dtype, 2, 11, 5, "normed" in kind))
    x[1, 3:] = torch.nan
    y, last = gated.unroll(cell, x, start, state)
    assert y[1, 3:].isnan().all()
    assert same_bytes([y[2:], last], [wanted[0][2:], wanted[1]]) and y[2:].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_shows_where_the_loop_shows_it(kind: str, dtype: torch.dtype) -> None:
    cell = make(kind, 5, dtype)
    x, start, state = rows(cell, 6, 11)
    start[0, 9] = False
    within = bound(dtype, 6, 11, 5, "normed" in kind)

    def assert_as_the_loop() -> Tensor:
        found, wanted = (results(path, cell, x, start, state) for path in (gated.unroll, loop.unroll))
        assert_close(found, wanted, within)
        return found[0].isnan()

    assert not assert_as_the_loop().any()
    kept = x[2, 4, 0].clone()
    x[2, 4, 0] = torch.nan
    assert assert_as_the_loop()[2, 4].all()
    x[2, 4, 0] = torch.inf  # of which only the outputs are alike: where tanh is flat, 0 * inf is no number
    found, wanted = ([path(cell, x, start, state)[0]] for path in (gated.unroll, loop.unroll))
    assert_close(found, wanted, within)
    x[2, 4, 0] = kept
    state[9, 0] = torch.nan
    assert assert_as_the_loop()[0, 9].all()
    state[9, 0] = 0.0
    with torch.no_grad():
        cell.weight_hidden[1, 2] = torch.nan
    assert assert_as_the_loop().any()


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_rows_do_not_influence_each_other(kind: str) -> None:
    for units in (5, 64, 130):
        cell = make(kind, units)
        x, start, state = rows(cell, 6, 21)
        wanted = results(gated.unroll, cell, x, start, state)
        for row in (0, 7, 13, 20):
            others = torch.arange(21) != row
            for filling in (0.5, torch.nan, torch.inf):
                x_, start_, state_ = x.clone(), start.clone(), state.clone()
                x_[:, others], start_[:, others], state_[others] = filling, False, filling
                found = results(gated.unroll, cell, x_, start_, state_)
                assert torch.equal(found[0][:, row], wanted[0][:, row])
                assert torch.equal(found[1][row], wanted[1][row])
                assert torch.equal(found[2][:, row], wanted[2][:, row])
                assert torch.equal(found[3][row], wanted[3][row])


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_where_a_row_stands_matters_by_rounding_alone(kind: str) -> None:
    """For the kernels a block of eight has the same bytes alone; a row alone is another product for BLAS."""
    cell = make(kind, 64)
    x, start, state = rows(cell, 6, 21)
    y, last = gated.unroll(cell, x, start, state)
    for some in (slice(8, 16), *(slice(row, row + 1) for row in range(21))):
        found = gated.unroll(cell, x[:, some], start[:, some], state[some])
        assert_close(found, [y[:, some], last[some]], bound(torch.float32, 6, 8, 64))
    projected, block = cell.project(x).detach(), slice(8, 16)
    whole = forward(cell, projected.clone(), start, state)
    alone = forward(cell, projected[:, block].contiguous(), start[:, block].contiguous(), state[block])
    assert torch.equal(alone, whole[:, block])


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_the_same_bytes_twice_and_from_two_threads_at_once(kind: str) -> None:
    cell = make(kind, 64)
    work = [rows(cell, 32, 21) for _ in range(8)]
    wanted = [results(gated.unroll, cell, *given) for given in work]
    assert all(
        same_bytes(results(gated.unroll, cell, *given), w) for given, w in zip(work, wanted, strict=True)
    )
    barrier = threading.Barrier(2)

    def half(which: int) -> list[list[Tensor]]:
        torch.set_num_threads(1)
        barrier.wait()
        return [results(gated.unroll, cell, *given) for given in work[which::2]]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(half, (0, 1)))
    assert all(same_bytes(found[i % 2][i // 2], wanted[i]) for i in range(8))


def test_a_backward_pass_that_would_be_wrong_is_refused() -> None:
    cell = make("gru", 5)
    x, start, state = rows(cell, 3, 2)
    y = gated.unroll(cell, x, start, state)[0].sum()
    y.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"^a second backward pass through .*: unroll them again\.$"):
        y.backward()

    for kind, changed in (
        ("gru", "weight_hidden"),
        ("gru normed", "gain_hidden"),
        ("lstm normed", "gain_hidden"),
        ("lstm normed", "gain_cell"),
    ):
        other = make(kind, 5)
        y = gated.unroll(other, *rows(other, 3, 2))[0].sum()
        with torch.no_grad():
            other.get_parameter(changed).mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()

    y = gated.unroll(cell, x, start, state.requires_grad_())[0].sum()
    with pytest.raises(RuntimeError, match="know no gradients of gradients: set RLRNN_FAST=0"):
        torch.autograd.grad(y, state, create_graph=True)


def test_what_does_not_fit_together_is_refused_before_a_kernel_runs_over_its_edge() -> None:
    cell = make("lstm", 5)
    x, start, state = rows(cell, 3, 4)
    for wrong in (
        (x, start[:, :3], state),
        (x, start[:2], state),
        (x, start, state[:1]),
        (x, start, state[:, :5]),
        (x, start, state.double()),
        (x, start.float(), state),
    ):
        with pytest.raises(ValueError, match=r"3 steps of 4 rows .* start \[3, 4\] bool .* state \[4, 10\]"):
            gated.unroll(cell, *wrong)


def test_results_belong_to_the_user() -> None:
    """What is done to them changes no gradient, and nothing that was given is changed."""
    for kind in KINDS:
        cell = make(kind, 5)
        x, start, state = rows(cell, 4, 9)
        given = [t.clone() for t in (x, start, state, *cell.parameters())]
        wanted = results(gated.unroll, cell, x, start, state)

        def spoilt(*arguments: Any) -> tuple[Tensor, Tensor]:
            y, last = gated.unroll(*arguments)
            kept = y.clone(), last.clone()
            y.detach().zero_()
            assert torch.equal(last, kept[1])
            last.detach().zero_()
            return kept

        assert same_bytes(results(spoilt, cell, x, start, state), wanted)
        assert same_bytes([x, start, state, *cell.parameters()], given)

        ends = gated.unroll(cell, x, start, state)
        slopes = [torch.randn_like(end) for end in ends]
        kept = [slope.clone() for slope in slopes]
        torch.autograd.grad(ends, cell.weight_hidden, slopes)
        assert same_bytes(slopes, kept)


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_layout_default_type_and_mode_change_nothing_but_by_rounding(kind: str) -> None:
    cell = make(kind, 5)
    x, start, state = rows(cell, 4, 9)
    within = bound(torch.float32, 4, 9, 5)
    wanted = results(gated.unroll, cell, x, start, state)

    def elsewhere(t: Tensor) -> Tensor:
        """The same numbers, every second one of a larger array, rows and columns turned."""
        wide = t.new_empty(*t.shape[2:], t.shape[1], 2 * t.shape[0])
        view = wide.movedim((-1, -2), (0, 1))[::2]
        view.copy_(t)
        assert not view.is_contiguous()
        return view

    def path(cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, last = gated.unroll(cell, elsewhere(x), elsewhere(start), elsewhere(state))
        return elsewhere(y), elsewhere(last)  # whose gradients come back just as scattered

    kernels = [getattr(kernels_of(cell), way) for way in WAYS]
    made = [kernel.signatures for kernel in kernels]
    assert_close(results(path, cell, x, start, state), wanted, within)
    for name, parameter in list(cell.named_parameters()):
        if parameter.dim() == 2:
            setattr(cell, name, torch.nn.Parameter(elsewhere(parameter.detach())))
    assert_close(results(path, cell, x, start, state), wanted, within)
    assert [kernel.signatures for kernel in kernels] == made  # nobody waits for another compilation

    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y = gated.unroll(cell, x, start, state)[0]
            assert not y.requires_grad
            assert_close([y], [wanted[0]], within)
    torch.set_default_dtype(torch.float64)
    try:
        found = results(gated.unroll, cell, x, start, state)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(t.dtype == torch.float32 for t in found)
    assert_close(found, wanted, within)


def test_what_fits_and_what_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(2, 3, INPUTS)
    for kind in KINDS:
        cell = make(kind, 5)
        assert gated.fits(cell, x) and gated.fits(cell.double(), x.double())
        assert not gated.fits(type("Other", (type(cell),), {})(INPUTS, 5), x)  # another step, maybe
        for dtype in (torch.float16, torch.bfloat16):
            assert not gated.fits(cell.to(dtype), x.to(dtype))
        assert not gated.fits(cell.float(), x.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not gated.fits(cell, x)
        for parameter in cell.parameters():
            parameter.data = torch.stack((parameter.data, parameter.data))
        assert not gated.fits(cell, x)  # a population
    assert not any(gated.fits(make_cell(name, INPUTS, 5), x) for name in ("fir", "none"))


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_memory_is_the_same_with_and_without_the_extra(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(cell, INPUTS, 5, 2).double()
    x, start, state = rows(memory, 7, 9)
    paths: dict[str, Path_] = {
        "unroll": lambda memory, *given: memory.unroll(*given),
        "outputs": lambda memory, *given: (memory.outputs(*given), given[-1]),
    }
    calls: list[Cell] = []
    real = gated.kernels_of
    monkeypatch.setattr(gated, "kernels_of", lambda cell: (calls.append(cell), real(cell))[1])
    fast = [results(path, memory, x, start, state) for path in paths.values()]
    assert calls == [*memory.layers] * 2
    monkeypatch.setattr(gated, "can_compile", lambda: False)
    for path, found in zip(paths.values(), fast, strict=True):
        assert_close(found, results(path, memory, x, start, state), 2 * bound(torch.float64, 7, 9, 5))
    assert len(calls) == 4


def forward(cell: Cell, projected: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """What the kernels make of what was projected."""
    y, _ = kernels_of(cell).recurrence(cell).forward(projected.numpy(), start.numpy(), state.numpy())
    return torch.from_numpy(y)


def test_single_precision_tanh_is_within_5e_7_odd_and_never_above_1() -> None:
    """Elman units without weights between them: their outputs are the tanh of what they are told."""
    cell = make("elman tanh", 1000)
    with torch.no_grad():
        cell.weight_hidden.zero_()
    told = torch.cat((torch.linspace(-12, 12, 999_000), torch.logspace(-30, 2, 1000))).view(50, 20, 1000)

    def tanh(x: Tensor) -> Tensor:
        start, state = torch.zeros(50, 20, dtype=torch.bool), torch.zeros(20, 1000)
        return forward(cell, x.clone(), start, state)

    found = tanh(told)
    assert (found.double() - told.double().tanh()).abs().max() < 5e-7
    assert found.abs().max() <= 1.0
    assert torch.equal(tanh(-told), -found)
    assert (found / told)[told.abs() < 1e-4].sub(1.0).abs().max() < 1e-6  # small numbers keep their digits


def multiplies_and_adds() -> bool:
    """Whether kernels are compiled for a processor that does so in one step: all but the oldest of x86."""
    from llvmlite.binding import get_host_cpu_features

    return os.environ.get("NUMBA_CPU_NAME") != "generic" and get_host_cpu_features().get("fma", True)


def test_single_precision_sigmoid_keeps_its_relative_precision() -> None:
    """A GRU with a memory of 1, a candidate of 0 and no weights between its units puts out its z."""
    cell = make("gru", 1000, bias=False)
    with torch.no_grad():
        cell.weight_hidden.zero_()
    told = torch.cat((torch.linspace(-80, 20, 19_999), torch.zeros(1))).view(1, 20, 1000)
    nothing = torch.zeros_like(told)
    start, state = torch.zeros(1, 20, dtype=torch.bool), torch.ones(20, 1000)
    found = forward(cell, torch.cat((nothing, told, nothing), dim=-1), start, state)
    error = (found.double() / told.double().sigmoid() - 1.0).abs()
    # exp takes multiples of ln 2 off its argument, in two parts. Where a processor cannot multiply and add in
    # one step, both go at once, for half a unit in the argument's last place; all others keep every digit.
    lost = 0.0 if multiplies_and_adds() else torch.finfo(torch.float32).eps / 2
    assert (error <= 5e-7 + lost * told.double().abs()).all()
    assert found.max() <= 1.0 and found[0, -1, -1] == 0.5
