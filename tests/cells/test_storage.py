"""A storage is an LSTM's gates around any memory, and each store is what its papers say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.signal import cont2discrete
from scipy.special import eval_legendre
from tiny_games import clocks
from torch import Tensor

from rlrnn import Evolution, RecurrentPPO
from rlrnn.cells import Cell, make_cell, register_cell
from rlrnn.cells.cell import Wire
from rlrnn.common import compiling
from rlrnn.errors import UserError
from rlrnn.network.memory import Memory
from rlrnn.network.paths import delay_line, loop

INPUTS, UNITS, ROWS, STEPS = 3, 6, 4, 9
STORES = ["delay", "legendre", "reservoir", "matrix", "gru", "lstm", "elman", "fir", "storage"]


def make(name: str, units: int = UNITS, **options: Any) -> Cell:
    return make_cell(name, INPUTS, units, **options).double()


def inputs(steps: int = STEPS, rows: int = ROWS, size: int = INPUTS) -> Tensor:
    return torch.randn(steps, rows, size, dtype=torch.float64)


def play(cell: Cell, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Never reset, from an empty memory unless another is given: y [T, B, H], states [T, B, S]."""
    state = x.new_zeros(x.shape[1], cell.state_size) if state is None else state
    outputs, states = [], []
    for row in x:
        y, state = cell.step(cell.project(row), state)
        outputs.append(y)
        states.append(state)
    return torch.stack(outputs), torch.stack(states)


def by_wires(wires: list[Wire], shown: Tensor, size: int) -> Tensor:
    """What a linear graph of the blocks x and y makes of inputs [T, B, I]."""
    past: dict[str, list[Tensor]] = {"x": [], "y": []}
    for t, x in enumerate(shown):
        past["x"].append(x)
        heard = [past[w.source][t - w.delay] @ w.strength for w in wires if w.delay <= t]
        past["y"].append(sum(heard, x.new_zeros(len(x), size)))
    return torch.stack(past["y"])


# ---- the mechanism


class Sum(Cell):
    """state' = state + x: the LSTM's carousel."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        assert input_size == hidden_size

    def project(self, x: Tensor) -> Tensor:
        return x

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state + projected, state + projected


@pytest.mark.usefixtures("cell_registry")
def test_over_a_sum_it_is_the_lstm_of_1997() -> None:
    register_cell("sum", Sum)
    cell = make("storage", units=5, store="sum", width=UNITS, store_size=UNITS)
    torch.nn.init.normal_(cell.bias)
    x = inputs()
    y, states = play(cell, x)
    c, h = (np.zeros((ROWS, UNITS)) for _ in range(2))
    weights, heard, bias, read = (
        p.detach().numpy() for p in (cell.weight_input, cell.weight_feedback, cell.bias, cell.weight_read)
    )
    for t in range(STEPS):
        told = x[t].numpy() @ weights + h @ heard + bias
        g, i, o, candidate = np.split(told, [UNITS, 2 * UNITS, 3 * UNITS], axis=1)
        c = c + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        np.testing.assert_allclose(states[t].detach().numpy(), np.hstack((c, h)), rtol=0, atol=1e-12)
        np.testing.assert_allclose(y[t].detach().numpy(), np.tanh(candidate + h @ read), rtol=0, atol=1e-12)


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("store", STORES)
def test_any_cell_may_be_the_store_and_hears_what_the_controller_writes(store: str, feedback: bool) -> None:
    cell = make("storage", store=store, width=4, store_size=8, feedback=feedback)
    assert cell.output_size == UNITS and cell.state_size == cell.store.state_size + 8 * feedback
    x = inputs()
    _, states = play(cell, x)
    kept = states[..., : cell.store.state_size]
    before, read = torch.zeros_like(kept[0]), x.new_zeros(ROWS, 8)
    for t in range(STEPS):  # the store alone, fed by hand
        told = x[t] @ cell.weight_input + cell.bias + (read @ cell.weight_feedback if feedback else 0.0)
        written = torch.tanh(told[:, :4]) * torch.sigmoid(told[:, 4:8])
        m, before = cell.store.step(cell.store.project(written), before)
        read = torch.sigmoid(told[:, 8:16]) * torch.tanh(m)
        torch.testing.assert_close(kept[t], before, rtol=0, atol=1e-12)
    if feedback:
        torch.testing.assert_close(states[-1, :, -8:], read, rtol=0, atol=1e-12)


@pytest.mark.parametrize("store", ["delay", "legendre", "matrix"])
def test_through_a_shut_write_gate_nothing_comes_in(store: str) -> None:
    cell = make("storage", store=store)
    with torch.no_grad():
        cell.bias[UNITS : 2 * UNITS] = -1000.0
    _, states = play(cell, inputs())
    inside = states[..., : UNITS * 8 if store == "matrix" else cell.store.state_size]
    assert not inside.any()
    with torch.no_grad():
        cell.bias[UNITS : 2 * UNITS] = 1000.0
    assert play(cell, inputs())[1].any()


def test_through_a_shut_read_gate_nothing_comes_out() -> None:
    cell = make("storage", store="delay")
    with torch.no_grad():
        cell.bias[2 * UNITS : 3 * UNITS] = -1000.0
    x = inputs()
    wanted = torch.tanh(x @ cell.weight_input[:, -UNITS:])
    torch.testing.assert_close(play(cell, x)[0], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("feedback", [True, False])
def test_over_a_delay_line_feedback_alone_makes_the_impulse_infinite(feedback: bool) -> None:
    cell = make("storage", store="delay", store_options={"taps": 3}, feedback=feedback)
    x = inputs()
    other = x.clone()
    other[1] += 1.0
    differs = (play(cell, x)[0] != play(cell, other)[0]).flatten(1).any(1).tolist()
    assert differs == [False, True, True, True, *[feedback] * (STEPS - 4)]


def test_a_store_without_a_state_is_refused() -> None:
    for store, options in (("none", {}), ("delay", {"taps": 1}), ("fir", {"taps": 1})):
        with pytest.raises(
            UserError, match=f"over '{store}' .* store nothing, .* neither delay nor feedback"
        ):
            make("storage", store=store, store_options=options)


def test_what_a_storage_cannot_be_made_of_is_said() -> None:
    with pytest.raises(UserError, match="cell 'lethe' is not known"):
        make("storage", store="lethe")
    with pytest.raises(UserError, match="the delay cell has no option 'order'"):
        make("storage", store="delay", store_options={"order": 3})
    with pytest.raises(UserError, match="width is 0, but must be a whole number of at least 1"):
        make("storage", width=0)


@pytest.mark.parametrize("feedback", [True, False])
def test_the_wires_of_a_storage_hold_its_stores(feedback: bool) -> None:
    wires = make("storage", store="matrix", feedback=feedback).wires()
    ends = {(wire.source, wire.target, wire.delay) for wire in wires}
    store = {(f"store.{w.source}", f"store.{w.target}", w.delay) for w in make("matrix").wires()}
    around = {
        ("x", "controller", 0),
        ("controller", "store.x", 0),
        ("store.y", "read", 0),
        ("controller", "read", 0),
        ("controller", "y", 0),
        ("read", "y", 0),
    }
    assert ends == store | around | ({("read", "controller", 1)} if feedback else set())
    nested = make("storage", store="storage").wires()
    assert ("store.store.y", "store.read") in {(wire.source, wire.target) for wire in nested}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", ["delay", "legendre", "reservoir", "matrix", "storage"])
def test_blocks_have_one_size_each(name: str, store: str) -> None:
    cell = make("storage", store=store, width=4) if name == "storage" else make(name)
    sizes = {"x": INPUTS, "y": UNITS}
    for wire in cell.wires():
        if wire.strength is not None:
            for block, size in zip((wire.source, wire.target), wire.strength.shape, strict=True):
                assert sizes.setdefault(block, size) == size


# ---- the delay line


@pytest.mark.parametrize("taps", [1, 2, 6])
def test_a_delay_tells_its_last_inputs_with_the_newest_first(taps: int) -> None:
    cell = make("delay", taps=taps)
    x = inputs()
    y, states = play(cell, x)
    u = torch.cat((x.new_zeros(taps, ROWS, INPUTS), x)) @ cell.weight_input
    for t in range(STEPS):
        wanted = torch.cat([u[taps + t - ago] for ago in range(taps)], dim=-1)
        torch.testing.assert_close(y[t], wanted, rtol=0, atol=1e-12)
    assert torch.equal(states, y[..., : UNITS - UNITS // taps])


@pytest.mark.parametrize(("taps", "bias"), [(1, False), (3, False), (3, True), (6, True)])
def test_rows_of_a_delay_need_no_loop(taps: int, bias: bool) -> None:
    memory = Memory("delay", INPUTS, UNITS, taps=taps, bias=bias).double()
    (cell,) = memory.layers
    x, start = inputs().requires_grad_(), torch.rand(STEPS, ROWS) < 0.3
    state = torch.randn(ROWS, cell.state_size, dtype=torch.float64, requires_grad=True)
    assert delay_line.fits(cell, x) and not delay_line.fits(cell, x.unsqueeze(1))
    leaves = [x, state, *memory.parameters()]
    results = [memory.unroll(x, start, state), loop.unroll(cell, x, start, state)]
    fast, slow = (
        (y, last, *torch.autograd.grad((y.sin().sum() + last.cos().sum()), leaves, materialize_grads=True))
        for y, last in results
    )
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "share"), [("delay", "taps"), ("legendre", "order")])
def test_units_are_shared_evenly(name: str, share: str) -> None:
    for parts in (0, -1, 4, 12):
        with pytest.raises(UserError, match=rf"{share} is {parts}, .* divisor of the {UNITS} units"):
            make(name, **{share: parts})
    known = {1: 1, 2: 2, 6: 6, 12: 6, 64: 8, 67: 67, 74: 2, 256: 8}
    assert {units: getattr(make(name, units), share) for units in known} == known


@pytest.mark.parametrize("name", ["delay", "legendre"])
def test_the_wires_of_a_linear_cell_are_the_cell(name: str) -> None:
    cell, x = make(name), inputs()
    torch.testing.assert_close(by_wires(cell.wires(), x, UNITS), play(cell, x)[0], rtol=0, atol=1e-12)


# ---- the Legendre delay system


def voelker(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """The system in continuous time, entry by entry (Voelker et al. 2019, eq. 2)."""
    a = [
        [(2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1)) / theta for j in range(order)]
        for i in range(order)
    ]
    return np.array(a), np.array([[(2 * i + 1) * (-1) ** i / theta] for i in range(order)])


@pytest.mark.parametrize(("order", "theta"), [(1, 1.0), (3, 7.5), (6, 20.0), (12, 4.0), (24, 100.0)])
def test_the_legendre_system_equals_scipys_zero_order_hold(order: int, theta: float) -> None:
    a, b = voelker(order, theta)
    held = cont2discrete((a, b, np.eye(order), np.zeros((order, 1))), 1.0, method="zoh")
    cell = make_cell("legendre", 1, order, order=order, theta=theta)
    np.testing.assert_allclose(cell.A.numpy(), held[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(cell.B.numpy(), held[1][:, 0], rtol=0, atol=1e-6)


def test_a_legendre_step_equals_a_fine_integration() -> None:
    order, theta = 6, 5.0
    cell = make("legendre", order, order=order, theta=theta)
    torch.nn.init.ones_(cell.weight_input)
    x = inputs(rows=1)
    a, b = voelker(order, theta)
    m = np.zeros(order)
    for row, y in zip(x, play(cell, x)[0], strict=True):
        u = float(row.sum())
        m = solve_ivp(lambda _, m, u=u: a @ m + b[:, 0] * u, (0, 1), m, rtol=1e-9, atol=1e-9).y[:, -1]
        np.testing.assert_allclose(y[0].detach().numpy(), m, atol=1e-5)  # A and B are of 32 bits


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.75, 1.0])
def test_legendre_polynomials_read_the_delayed_signal(share: float) -> None:
    """The closed form: u(t - s) = sum_i m_i P_i(2 s / theta - 1), for a slow signal and any s up to theta."""
    order, theta, steps = 12, 200.0, 900
    cell = make("legendre", 2 * order, order=order, theta=theta)
    with torch.no_grad():
        cell.weight_input.zero_()
        cell.weight_input[0, 1] = 1.0  # the second channel
    t = np.arange(steps)
    signal = np.sin(2 * np.pi * t / 190) + 0.5 * np.cos(2 * np.pi * t / 140)
    x = torch.zeros(steps, 1, INPUTS, dtype=torch.float64)
    x[:, 0, 0] = torch.from_numpy(signal)
    y = play(cell, x)[0][:, 0].detach().numpy()
    ago = round(share * theta)
    decoder = [eval_legendre(i, 2 * ago / theta - 1) for i in range(order)]
    told = y[:, order:] @ decoder
    late = slice(500, steps)
    # the held signal lags half a step
    assert np.abs(told[late] - signal[500 - ago : steps - ago]).max() < 0.03
    assert np.abs(told[late] - signal[480 - ago : steps - 20 - ago]).max() > 0.3
    assert not y[:, :order].any()


@pytest.mark.parametrize("theta", [0.0, -3.0, math.inf, math.nan])
def test_a_window_is_a_number_of_steps(theta: float) -> None:
    with pytest.raises(UserError, match=f"theta is {theta}"):
        make("legendre", theta=theta)


# ---- the reservoir


@pytest.mark.parametrize("units", [1, 5, 40])
def test_a_reservoir_has_its_radius_and_its_fan_in(units: int) -> None:
    cell = make("reservoir", units, radius=0.8, fan_in=3)
    weights = cell.weight_hidden.numpy()
    assert np.abs(np.linalg.eigvals(weights)).max() == pytest.approx(0.8, rel=1e-4)
    assert (np.count_nonzero(weights, axis=0) == min(3, units)).all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_reservoir_equals_its_equation(bias: bool) -> None:
    cell = make("reservoir", leak=0.3, bias=bias)
    weights, hidden = cell.weight_input.numpy(), cell.weight_hidden.numpy()
    x, s = inputs(), np.zeros((ROWS, UNITS))
    for row, y in zip(x, play(cell, x)[0], strict=True):
        constant = cell.bias.numpy() if bias else 0.0
        s = 0.7 * s + 0.3 * np.tanh(row.numpy() @ weights + s @ hidden + constant)
        np.testing.assert_allclose(y.numpy(), s, rtol=0, atol=1e-12)


def test_where_a_reservoir_began_is_forgotten_below_radius_1_and_not_above() -> None:
    """The echo state property."""

    def distance(radius: float) -> float:
        cell = make("reservoir", 30, radius=radius, input_scale=0.1)
        x = inputs(steps=200)
        one, other = (play(cell, x, torch.randn(ROWS, 30, dtype=torch.float64))[0][-1] for _ in range(2))
        return float((one - other).abs().max())

    assert distance(0.7) < 1e-9
    assert distance(3.0) > 0.1


def test_a_reservoir_follows_from_the_seed_and_is_saved() -> None:
    torch.manual_seed(1)
    first = make("reservoir")
    torch.manual_seed(1)
    again, other = make("reservoir"), make("reservoir")
    x = inputs()
    assert torch.equal(play(first, x)[0], play(again, x)[0])
    assert not torch.equal(play(first, x)[0], play(other, x)[0])
    other.load_state_dict(first.state_dict())
    assert torch.equal(play(first, x)[0], play(other, x)[0])


@pytest.mark.parametrize("options", [{"radius": 0.0}, {"leak": 0.0}, {"leak": 1.5}, {"fan_in": 0}])
def test_a_reservoir_without_echo_is_refused(options: dict[str, Any]) -> None:
    (name, value) = next(iter(options.items()))
    with pytest.raises(UserError, match=f"{name} is {value}"):
        make("reservoir", **options)


# ---- the addressable matrix


def head(numbers: np.ndarray, before: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Where one head of one row attends, slot by slot (Graves et al. 2014, eq. 5 to 9)."""
    slots, size = matrix.shape
    key, (strength, gate, sharpening), shifts = numbers[:size], numbers[size : size + 3], numbers[size + 3 :]
    length = math.sqrt(key @ key + 0.01)
    alike = [key @ row / length / math.sqrt(row @ row + 0.01) for row in matrix]
    content = np.exp(math.log1p(math.exp(strength)) * np.array(alike))
    content /= content.sum()
    gate = 1 / (1 + math.exp(-gate))
    mixed = gate * content + (1 - gate) * before
    shifts = np.exp(shifts) / np.exp(shifts).sum()
    moved = np.zeros(slots)
    for slot in range(slots):
        for j in range(slots):
            for by, how_much in zip((-1, 0, 1), shifts, strict=True):
                moved[slot] += mixed[j] * how_much * ((j + by) % slots == slot)
    sharp = moved ** (1 + math.log1p(math.exp(sharpening)))
    return sharp / sharp.sum()


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_matrix_memory_equals_the_papers_equations(slots: int) -> None:
    cell = make("matrix", slots=slots)
    x = inputs()
    ys, states = play(cell, x)
    weights, content, bias = (p.detach().numpy() for p in (cell.weight_heads, cell.weight_content, cell.bias))
    for b in range(ROWS):
        matrix = np.zeros((slots, UNITS))
        write, read = np.eye(slots)[0], np.eye(slots)[0]
        for t in range(STEPS):
            row = x[t, b].numpy()
            controls = (row @ weights + bias).reshape(2, -1)
            erase, add = np.split(np.tanh(row @ content), 2)
            write, read = (
                head(numbers, w, matrix) for numbers, w in zip(controls, (write, read), strict=True)
            )
            for slot in range(slots):
                matrix[slot] = matrix[slot] * (1 - write[slot] * np.maximum(erase, 0)) + write[slot] * add
            np.testing.assert_allclose(ys[t, b].detach().numpy(), read @ matrix, rtol=0, atol=1e-12)
            away = np.concatenate((write, read)) - np.tile(np.eye(slots)[0], 2)
            wanted = np.concatenate((matrix.ravel(), away))
            np.testing.assert_allclose(states[t, b].detach().numpy(), wanted, rtol=0, atol=1e-12)


def test_an_empty_input_moves_heads_and_leaves_the_matrix_as_it_is() -> None:
    cell = make("matrix")
    _, states = play(cell, inputs())
    _, later = play(cell, torch.zeros_like(inputs()), states[-1])
    inside = 8 * UNITS
    assert states[-1, :, :inside].all() and (later[..., :inside] == states[-1, :, :inside]).all()
    assert (later[-1, :, inside:] != states[-1, :, inside:]).any()


def controls(cell: Any, **numbers: float) -> Tensor:
    """Projected controls [1, G] of two heads alike, which add 1 everywhere and erase nothing."""
    size = cell.output_size
    names = ("gate", "sharpening", "back", "stay", "on")
    one = torch.cat((torch.zeros(size), torch.tensor([numbers.get(name, 0.0) for name in names])))
    return torch.cat((one, one, torch.zeros(size), torch.ones(size))).double().unsqueeze(0)


def test_heads_walk_around_the_slots_both_ways() -> None:
    cell = make("matrix", slots=4)
    for way, visited in (("on", [1, 2, 3, 0, 1]), ("back", [3, 2, 1, 0, 3]), ("stay", [0] * 5)):
        state = torch.zeros(1, cell.state_size, dtype=torch.float64)
        for slot in visited:
            before = state[:, : 4 * UNITS].reshape(4, UNITS)
            y, state = cell.step(controls(cell, sharpening=1.0, **{way: 1.0}), state)
            after = state[:, : 4 * UNITS].reshape(4, UNITS)
            assert torch.equal(after - before, torch.eye(4)[slot].double().unsqueeze(1).expand(4, UNITS))
            assert torch.equal(y[0], after[slot])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_a_matrix_memory_stays_finite_there_and_back(size: float, dtype: torch.dtype) -> None:
    """Empty rows, keys of 0, gates wide open and powers that underflow."""
    cell = make_cell("matrix", INPUTS, UNITS, slots=16).to(dtype)
    x = (size * inputs(steps=30)).to(dtype).requires_grad_()
    state = torch.zeros(ROWS, cell.state_size, dtype=dtype, requires_grad=True)
    y, states = play(cell, x, state)
    assert y.isfinite().all()
    weights = states[..., 16 * UNITS :].unflatten(-1, (2, 16)).sum(-1)  # less those at home
    torch.testing.assert_close(weights, torch.zeros_like(weights), rtol=0, atol=1e-5)
    gradients = torch.autograd.grad(y.sum(), [x, state, *cell.parameters()], materialize_grads=True)
    assert all(gradient.isfinite().all() for gradient in gradients)


needs_kernels = pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")


def there_and_back(step: Any, given: tuple[Tensor, Tensor], to: list[Tensor]) -> tuple[Tensor, ...]:
    """y, the state after, and both gradients; neither what is given nor its gradient lies in order."""
    projected, state = (part.mT.contiguous().mT.requires_grad_() for part in given)
    y, after = step(projected, state)
    towards = [part.mT.contiguous().mT for part in to]
    return y, after, *torch.autograd.grad([y, after], [projected, state], towards)


@needs_kernels
@pytest.mark.parametrize(
    ("dtype", "size", "tolerance"),
    [(torch.float32, 6, 2e-5), (torch.float64, 6, 1e-12), (torch.float64, 300, 1e-6)],
)
@pytest.mark.parametrize("slots", [1, 2, 7])
@pytest.mark.parametrize("members", [(), (3,)])
def test_a_compiled_step_equals_torchs_there_and_back(
    members: tuple[int, ...], slots: int, dtype: torch.dtype, size: float, tolerance: float
) -> None:
    cell = make_cell("matrix", INPUTS, UNITS, slots=slots).to(dtype)
    torch.manual_seed(0)
    x = size * torch.randn(*members, ROWS, INPUTS, dtype=dtype)  # heads that are sharp, wide, or wide open
    given = cell.project(x).detach(), torch.randn(*members, ROWS, cell.state_size, dtype=dtype) / 4
    to = [torch.randn(*members, ROWS, size, dtype=dtype) for size in (UNITS, cell.state_size)]
    ours, theirs = (there_and_back(step, given, to) for step in (cell.step, cell._step_by_torch))
    assert type(ours[0].grad_fn).__name__ == "_StepBackward" != type(theirs[0].grad_fn).__name__
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@needs_kernels
@pytest.mark.parametrize("where", [0, 1])
def test_a_compiled_step_shows_what_is_no_number_where_torch_does(where: int) -> None:
    cell = make("matrix")
    given = cell.project(inputs()[0]).detach(), torch.randn(ROWS, cell.state_size).double() / 4
    given[where][1, 2] = math.nan
    to = [torch.ones(ROWS, size).double() for size in (UNITS, cell.state_size)]
    ours, theirs = (there_and_back(step, given, to) for step in (cell.step, cell._step_by_torch))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.isnan() >= other.isnan()).all() and not one[[0, 2, 3]].isnan().any()


@needs_kernels
def test_what_does_not_fit_a_compiled_step_is_refused_before_it_reads_over_an_edge() -> None:
    cell = make("matrix")
    projected, state = cell.project(inputs()[0]), torch.zeros(ROWS, cell.state_size).double()
    for wrong in (
        (projected[:1], state),
        (projected, state[:1]),
        (projected, state[:, :-1]),
        (projected[:, 1:], state),
        (projected, state.repeat(2, 1)),
    ):
        with pytest.raises(ValueError, match=r"a matrix of 8 slots of 6 goes with .*\[\.\.\., 34\]"):
            cell.step(*wrong)
    with pytest.raises(RuntimeError, match="know no gradients of gradients: set RLRNN_FAST=0"):
        torch.autograd.grad(cell.step(projected, state)[0].sum(), projected, create_graph=True)
    with pytest.raises(RuntimeError, match="expected scalar type"):  # left to torch, as types are mixed
        cell.step(projected.float(), state)


def test_a_matrix_without_slots_is_refused() -> None:
    with pytest.raises(UserError, match="slots is 0"):
        make("matrix", slots=0)


# ---- in an agent


@pytest.mark.parametrize("cell", ["delay", "legendre", "reservoir", "matrix", "storage"])
@pytest.mark.parametrize("learner", [RecurrentPPO, Evolution])
def test_a_saved_agent_plays_as_before(learner: Any, cell: str, tmp_path: Any) -> None:
    kwargs = {"cell": cell, "hidden_size": 6, "net_arch": []}
    settings = {"n_steps": 8} if learner is RecurrentPPO else {"strategy_kwargs": {"population": 4}}
    agent = learner("MlpPolicy", clocks(5), policy_kwargs=kwargs, seed=0, device="cpu", **settings).learn(80)
    agent.save(tmp_path / "agent.zip")
    loaded = learner.load(tmp_path / "agent.zip", device="cpu")
    assert loaded.policy.network.memory.cell_name == cell
    seen = torch.randn(STEPS, 5, agent.policy.network.sensors.output_size)
    start = torch.rand(STEPS, 5) < 0.3
    told = []
    for network in (agent.policy.network, loaded.policy.network):
        with torch.no_grad():
            told.append(
                network.unroll_actor(seen, start, network.initial_state(5)).log_prob(torch.zeros(STEPS, 5, 1))
            )
    assert torch.equal(*told)


def test_options_of_a_store_are_saved_with_the_agent(tmp_path: Any) -> None:
    options = {"store": "storage", "store_options": {"store": "legendre", "store_options": {"theta": 7.0}}}
    kwargs = {"cell": "storage", "hidden_size": 6, "net_arch": [], "cell_options": options}
    agent = RecurrentPPO("MlpPolicy", clocks(2), n_steps=8, policy_kwargs=kwargs, device="cpu").learn(16)
    agent.save(tmp_path / "agent.zip")
    loaded = RecurrentPPO.load(tmp_path / "agent.zip", device="cpu")
    inner = loaded.policy.network.memory.layers[0].store.store
    assert torch.equal(inner.A, make_cell("legendre", 6, 6, theta=7.0).A)
