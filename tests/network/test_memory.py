"""Steps repeated equal the unrolled row, nothing crosses a reset, and every fast path equals the loop."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlrnn.cells import CELLS, Gru, Lstm
from rlrnn.errors import UserError
from rlrnn.network.memory import Memory
from rlrnn.network.paths import fused, gated, scan
from rlrnn.network.paths.loop import unroll
from rlrnn.testing.rounding import assert_close, bound

INPUTS, UNITS = 3, 5

RESETS: dict[str, Callable[[int, int], Tensor]] = {
    "nowhere": lambda t, b: torch.zeros(t, b, dtype=torch.bool),
    "everywhere": lambda t, b: torch.ones(t, b, dtype=torch.bool),
    "first step": lambda t, b: torch.arange(t).eq(0).unsqueeze(1).expand(t, b),
    "last step": lambda t, b: torch.arange(t).eq(t - 1).unsqueeze(1).expand(t, b),
    "consecutive": lambda t, b: (torch.arange(t) // 2 % 2).bool().unsqueeze(1).expand(t, b),
    "one row only": lambda t, b: (torch.arange(t).unsqueeze(1) % 3 == 1) & (torch.arange(b) == 0),
    "rarely": lambda t, b: torch.rand(t, b) < 0.1,
    "often": lambda t, b: torch.rand(t, b) < 0.6,
}


def make(
    cell: str, n_layers: int = 1, units: int = UNITS, dtype: torch.dtype = torch.float64, **options: Any
) -> Memory:
    return Memory(cell, INPUTS, units, n_layers, **options).to(dtype)


def row(memory: Memory, steps: int, rows: int) -> tuple[Tensor, Tensor]:
    """Inputs [T, B, I] and a first state [B, S] that gradients can reach."""
    like = next(itertools.chain(memory.parameters(), memory.buffers()))  # a reservoir has no parameters
    x = torch.randn(steps, rows, INPUTS, dtype=like.dtype).requires_grad_()
    return x, torch.randn(rows, memory.state_size, dtype=like.dtype).requires_grad_()


@pytest.mark.parametrize("path", ["unroll", "outputs"])
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_crosses_a_reset(cell: str, n_layers: int, path: str) -> None:
    memory = make(cell, n_layers)
    x, first = row(memory, 7, 3)

    def gradients(border: int | None) -> tuple[Tensor, Tensor]:
        """Of what comes from step 4 on, with respect to all inputs and the first state."""
        start = torch.zeros(7, 3, dtype=torch.bool)
        if border is not None:
            start[border] = True
        y = memory.outputs(x, start, first) if path == "outputs" else memory.unroll(x, start, first)[0]
        weights = torch.arange(1.0, y[4:].numel() + 1).view_as(y[4:])
        return torch.autograd.grad((y[4:] * weights).sum(), (x, first), materialize_grads=True)

    to_x, to_state = gradients(4)
    assert torch.count_nonzero(to_x[:4]) == 0
    assert torch.count_nonzero(to_state) == 0
    assert torch.count_nonzero(to_x[4:]) == to_x[4:].numel()
    if cell != "none":  # without the reset, it does
        to_x, to_state = gradients(None)
        assert torch.count_nonzero(to_x[:4]) > 0
        assert cell in ("fir", "delay") or torch.count_nonzero(to_state) == to_state.numel()


def by_the_loop(memory: Memory, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """The reference for a whole memory: each layer by ``unroll``, nothing else."""
    for layer, own in zip(memory.layers, state.split(memory.state_sizes, dim=-1), strict=True):
        x = unroll(layer, x, start, own)[0]
    return x


@pytest.fixture(params=["as installed", "torch's kernels"])
def _paths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiled kernels, where they are, and without; then torch's run GRUs here too."""
    if request.param == "torch's kernels":
        monkeypatch.setattr(gated, "fits", lambda *_: False)
        monkeypatch.setattr(scan, "_kernels_fit", lambda _: False)
        monkeypatch.setattr(fused, "fits", lambda cell: type(cell) in (Gru, Lstm))


@pytest.mark.usefixtures("_paths")
@pytest.mark.parametrize("resets", RESETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_the_fast_path_equals_the_loop_in_outputs_and_every_gradient(
    cell: str, dtype: torch.dtype, resets: str
) -> None:
    for n_layers, units, steps, rows, bias in (
        (1, 1, 1, 1, True),
        (1, 1, 8, 3, False),
        (1, 8, 1, 4, True),
        (2, 4, 12, 1, False),
        (3, 5, 17, 6, True),
    ):
        options = {"taps": 3, "dilation": 2} if cell == "fir" and not bias else {}
        memory = make(cell, n_layers, units, dtype, bias=bias, **options)
        x, first = row(memory, steps, rows)
        start = RESETS[resets](steps, rows)
        weights = torch.randn(steps, rows, memory.output_size, dtype=dtype)
        leaves = [x, *([first] if memory.state_size else []), *memory.parameters()]
        slow, fast = by_the_loop(memory, x, start, first), memory.outputs(x, start, first)
        found, wanted = (
            (y, *torch.autograd.grad((y * weights).sum(), leaves, materialize_grads=True))
            for y in (fast, slow)
        )
        assert_close(found, wanted, n_layers * bound(dtype, steps, rows, units))


@pytest.mark.usefixtures("_paths")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_no_path_carries_what_is_no_number_across_a_reset(cell: str, dtype: torch.dtype) -> None:
    """Neither from inputs in the middle of a row nor from the first state; it shows where it belongs."""
    memory = make(cell, 2, dtype=dtype).eval()
    x, first = (part.detach() for part in row(memory, 9, 4))
    start = torch.zeros(9, 4, dtype=torch.bool)
    start[2, 0] = start[5, :3] = start[7, 1] = True
    broken, sick = x.clone(), first.clone()
    broken[3, 0], broken[4, 1], sick[2], sick[3] = torch.nan, torch.nan, torch.nan, torch.inf
    with torch.no_grad():
        found, wanted = memory.outputs(broken, start, sick), by_the_loop(memory, broken, start, sick)
        sound = memory.outputs(x, start, first)
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found[5:, :3], sound[5:, :3]) and torch.equal(found[:2, 0], sound[:2, 0])


def test_the_fused_kernel_is_for_the_lstm_itself_and_no_population() -> None:
    lstm = make("lstm").layers[0]
    assert fused.fits(lstm)
    assert not any(fused.fits(make(cell).layers[0]) for cell in CELLS if cell != "lstm")
    # a kind of LSTM with another step must not be run by torch's kernel
    assert not fused.fits(type("Other", (type(lstm),), {})(INPUTS, UNITS))

    memory = make("lstm", 2)
    several = copy.deepcopy(memory)
    for parameter in several.parameters():
        parameter.data = torch.stack((parameter.data, 2 * parameter.data))
    x = torch.randn(4, 2, 3, INPUTS, dtype=torch.float64)  # [T, P, B, I]
    start = torch.rand(4, 2, 3) < 0.3
    state = torch.randn(2, 3, memory.state_size, dtype=torch.float64)
    wanted = memory.outputs(x[:, 0], start[:, 0], state[0])
    torch.testing.assert_close(several.outputs(x, start, state)[:, 0], wanted, rtol=0, atol=1e-12)


def test_a_state_that_overflowed_does_not_survive_a_reset() -> None:
    """Zeros where an episode begins, not a product with zero, which would keep a NaN."""
    memory = make("gru")
    x, first = row(memory, 3, 2)
    broken = torch.full_like(first, torch.nan)
    start = torch.tensor([[True, True], [False, False], [False, False]])
    assert memory.unroll(x, start, broken)[0].isfinite().all()
    assert memory.step(x[0], start[0], broken)[0].isfinite().all()


def test_a_state_is_the_layers_states_side_by_side() -> None:
    memory = make("lstm", 2)
    x, first = row(memory, 5, 2)
    start = RESETS["rarely"](5, 2)
    below, below_state = unroll(memory.layers[0], x, start, first[:, : 2 * UNITS])
    above, above_state = unroll(memory.layers[1], below, start, first[:, 2 * UNITS :])
    y, last = memory.unroll(x, start, first)
    torch.testing.assert_close(y, above, rtol=0, atol=1e-12)
    torch.testing.assert_close(last, torch.cat((below_state, above_state), dim=-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", ["step", "unroll", "outputs"])
def test_dropout_acts_between_layers_while_training_and_nowhere_else(way: str) -> None:
    memory = make("elman", 3, units=40, dropout=0.25)
    x, first = row(memory, 4, 30)
    start = RESETS["nowhere"](4, 30)
    seen: list[Tensor] = []  # what each layer is fed
    for layer in memory.layers:
        project = layer.project
        layer.project = lambda fed, project=project: (seen.append(fed), project(fed))[1]  # type: ignore[method-assign]

    def play() -> Tensor:
        seen.clear()
        if way == "step":
            return memory.step(x[0], start[0], first)[0]
        return memory.outputs(x, start, first) if way == "outputs" else memory.unroll(x, start, first)[0]

    y = play()
    dropped = [float((fed == 0).double().mean()) for fed in seen]
    assert dropped[0] == 0.0
    assert all(share == pytest.approx(0.25, abs=0.05) for share in dropped[1:])
    assert torch.count_nonzero(y) == y.numel()  # the output itself is whole

    memory.eval()
    y = play()
    assert all(torch.count_nonzero(fed) == fed.numel() for fed in seen)
    assert torch.equal(play(), y)


def test_sizes_that_make_no_memory_are_refused() -> None:
    for name, sizes in (("n_layers", (1, 0)), ("hidden_size", (0, 1))):
        with pytest.raises(UserError, match=f"{name} is 0"):
            Memory("gru", INPUTS, *sizes)
    for dropout in (-0.1, 1.0):
        with pytest.raises(UserError, match=f"dropout is {dropout}"):
            Memory("gru", INPUTS, 1, dropout=dropout)
