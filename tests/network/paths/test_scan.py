"""A scan equals the loop in every h and every gradient; minGRU and LRU equal their formulas."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rlrnn
from rlrnn.cells import LinearCell, Lru, MinGru, make_cell
from rlrnn.cells.linear import product
from rlrnn.common import compiling
from rlrnn.errors import UserError
from rlrnn.network.memory import Memory
from rlrnn.network.paths import loop, scan
from rlrnn.network.paths.loop import clear

INPUTS, UNITS, ROWS, STEPS = 3, 5, 4, 9


@pytest.fixture(params=["as installed", "torch"], autouse=True)
def _paths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(scan, "_kernels_fit", lambda _: False)


def by_hand(a: Tensor, b: Tensor, start: Tensor, state: Tensor, complex_state: bool) -> Tensor:
    """Step by step, by autograd."""
    kept, rows = a.expand_as(b), []
    for t in range(len(b)):
        state = clear(state, start[t])
        state = (product(kept[t], state) if complex_state else kept[t] * state) + b[t]
        rows.append(state)
    return torch.stack(rows)


SHAPES: dict[str, tuple[int, ...]] = {
    "everywhere its own": (STEPS, ROWS, 6),
    "one for all": (6,),
    "one for all, in rows": (1, 6),
    "by step": (STEPS, 1, 6),
    "by row": (ROWS, 6),
}


@pytest.mark.parametrize("resets", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("complex_state", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_scan_equals_the_loop_in_every_h_and_every_gradient(
    shape: str, complex_state: bool, resets: float
) -> None:
    for dtype, close in (
        (torch.float64, {"rtol": 1e-12, "atol": 1e-12}),
        (torch.float32, {"rtol": 1e-4, "atol": 1e-4}),
    ):
        a = torch.randn(SHAPES[shape], dtype=dtype).requires_grad_()
        b = torch.randn(STEPS, ROWS, 6, dtype=dtype).requires_grad_()
        state = torch.randn(ROWS, 6, dtype=dtype).requires_grad_()
        start, weights = torch.rand(STEPS, ROWS) < resets, torch.randn_like(b)
        results = []
        for path in (scan.scan, by_hand):
            h = path(a, b, start, state, complex_state)
            gradients = torch.autograd.grad((h * weights).sum(), (a, b, state))
            results.append([h, *gradients])
        torch.testing.assert_close(*results, **close)


@pytest.mark.parametrize(("steps", "rows"), [(1, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize("complex_state", [False, True])
def test_a_step_or_a_row_alone_is_no_special_case(steps: int, rows: int, complex_state: bool) -> None:
    a, b = (torch.randn(steps, rows, 2, dtype=torch.float64).requires_grad_() for _ in range(2))
    state = torch.randn(rows, 2, dtype=torch.float64)
    start = torch.zeros(steps, rows, dtype=torch.bool)
    found, wanted = (path(a, b, start, state, complex_state) for path in (scan.scan, by_hand))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(h.sum(), (a, b)) for h in (found, wanted)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("complex_state", [False, True])
def test_gradients_equal_finite_differences(complex_state: bool) -> None:
    a, b = (torch.randn(4, 2, 4, dtype=torch.float64).requires_grad_() for _ in range(2))
    state = torch.randn(2, 4, dtype=torch.float64).requires_grad_()
    start = torch.tensor([[False, True], [False, False], [True, False], [False, False]])
    assert torch.autograd.gradcheck(
        lambda a, b, state: scan.scan(a, b, start, state, complex_state), (a, b, state)
    )


@pytest.mark.parametrize("complex_state", [False, True])
def test_nothing_that_is_no_number_survives_a_reset(complex_state: bool) -> None:
    """Neither forwards, from a state or inputs that overflowed, nor backwards, from gradients that did."""
    a, b = torch.randn(4, 2, 4), torch.randn(4, 2, 4)
    b[:2] = torch.nan
    state = torch.full((2, 4), torch.inf)
    start = torch.zeros(4, 2, dtype=torch.bool)
    start[2] = True
    a, b, state = (t.requires_grad_() for t in (a, b, state))
    h = scan.scan(a, b, start, state, complex_state)
    assert h[:2].isnan().any() and h[2:].isfinite().all()
    d_a, d_b, d_state = torch.autograd.grad(h[2:].sum(), (a, b, state), retain_graph=True)
    assert d_a[2].eq(0.0).all() and d_a[3].isfinite().all()
    assert d_b[:2].eq(0.0).all() and d_state.eq(0.0).all()
    d_b, d_state = torch.autograd.grad((h[2:] * torch.inf).sum(), (b, state))
    assert d_b[:2].eq(0.0).all() and d_state.eq(0.0).all()


def test_a_second_derivative_is_refused() -> None:
    b = torch.randn(STEPS, ROWS, 2, requires_grad=True)
    h = scan.scan(torch.rand(2), b * b, torch.zeros(STEPS, ROWS, dtype=torch.bool), torch.zeros(ROWS, 2))
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        torch.autograd.grad(h.sum(), b, create_graph=True)


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
def test_rows_of_other_shapes_are_refused_before_a_kernel_reads_them(request: pytest.FixtureRequest) -> None:
    if "torch" in request.node.name:
        pytest.skip("torch looks itself")
    b = torch.randn(STEPS, ROWS, 2)
    with pytest.raises(
        ValueError, match=r"9 steps of 4 rows go with start \[9, 4\] bool and a state \[4, 2\]"
    ):
        scan.scan(torch.rand(2), b, torch.zeros(STEPS, 3, dtype=torch.bool), torch.zeros(ROWS, 2))


@pytest.mark.parametrize("candidate", ["linear", "positive", "tanh"])
def test_a_mingru_is_its_formula(candidate: str) -> None:
    cell: Any = make_cell("mingru", INPUTS, UNITS, candidate=candidate).double()
    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    h = torch.randn(ROWS, UNITS, dtype=torch.float64)
    y, last = scan.unroll(cell, x, torch.zeros(STEPS, ROWS, dtype=torch.bool), h)
    g = {
        "linear": lambda c: c,
        "positive": lambda c: c + 0.5 if c > 0 else 1.0 / (1.0 + math.exp(-c)),
        "tanh": math.tanh,
    }[candidate]
    for t in range(STEPS):
        told = x[t] @ cell.weight_input + cell.bias
        z = 1.0 / (1.0 + torch.exp(-told[:, :UNITS]))
        h = (1.0 - z) * h + z * told[:, UNITS:].detach().clone().apply_(g)
        torch.testing.assert_close(y[t], h, rtol=0, atol=1e-12)
    assert torch.equal(last, y[-1])


def test_a_mingru_begins_with_memories_of_all_lengths_up_to_its_horizon() -> None:
    cell: Any = make_cell("mingru", INPUTS, UNITS, horizon=20.0)
    kept = 1.0 - torch.sigmoid(cell.bias[:UNITS])  # of h at each step, where nothing is seen
    wanted = torch.tensor([20.0, 20.0**0.5, 1.0, 20.0**-0.5, 1 / 20.0])  # tau; kept = tau / (1 + tau)
    torch.testing.assert_close(kept, wanted / (1.0 + wanted))
    assert cell.bias[UNITS:].eq(0.0).all()


def test_an_lru_answers_an_impulse_with_powers_of_lambda() -> None:
    """y_k = tanh(Re(C lambda^k gamma B x) + [k = 0] D x + [b]), in torch's complex numbers."""
    cell: Any = make_cell("lru", INPUTS, UNITS, state_units=7, max_phase=2.0).double()
    with torch.no_grad():
        cell.bias.uniform_()
    x = torch.zeros(STEPS, 1, INPUTS, dtype=torch.float64)
    x[0] = torch.randn(1, INPUTS)
    never = torch.zeros(STEPS, 1, dtype=torch.bool)
    y, last = scan.unroll(cell, x, never, torch.zeros(1, cell.state_size, dtype=torch.float64))
    eigenvalue = torch.exp(torch.complex(-torch.exp(cell.nu), torch.exp(cell.theta)))  # [N]
    b = torch.complex(cell.weight_input[:, :7], cell.weight_input[:, 7:]) * torch.exp(cell.log_gamma)
    c = torch.complex(cell.weight_output[:7], -cell.weight_output[7:])
    for k in range(STEPS):
        h = eigenvalue**k * (x[0].to(b.dtype) @ b)
        wanted = torch.tanh((h @ c).real + x[k] @ cell.weight_skip + cell.bias)
        torch.testing.assert_close(y[k], wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(last, torch.cat((h.real, h.imag), dim=-1), rtol=0, atol=1e-12)


def test_lambda_begins_on_its_ring_and_stays_in_the_circle() -> None:
    cell: Any = make_cell("lru", 1, 1, state_units=20000, r_min=0.6, r_max=0.8, max_phase=0.5)
    re, im = cell.eigenvalues().chunk(2)
    radius, phase = torch.hypot(re, im), torch.atan2(im, re)
    assert 0.6 <= radius.min() < 0.601 and 0.799 < radius.max() <= 0.8001
    assert 0.0 < phase.min() < 0.001 and 0.499 < phase.max() <= 0.5001
    # uniform in area: half of them lie beyond the radius that halves the ring's area
    assert (radius > math.sqrt((0.36 + 0.64) / 2)).double().mean().item() == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(torch.exp(cell.log_gamma) ** 2 + radius**2, torch.ones(20000))
    with torch.no_grad():
        cell.nu.uniform_(-15, 15)
    assert torch.hypot(*cell.eigenvalues().chunk(2)).max() <= 1.0


def test_what_is_no_linear_cell_is_refused() -> None:
    for options, message in (
        ({"state_units": 0}, "state_units is 0"),
        ({"r_min": 0.9, "r_max": 0.5}, "r_min is 0.9 and r_max 0.5"),
        ({"r_max": 1.5}, r"r_max 1.5, but a ring has 0 <= r_min < r_max <= 1"),
        ({"max_phase": 7.0}, "max_phase is 7.0"),
        ({"nonlinearity": "sin"}, "nonlinearity is 'sin': choose one of tanh, relu, softsign"),
    ):
        with pytest.raises(UserError, match=message):
            make_cell("lru", 1, 1, **options)
    with pytest.raises(UserError, match=r"horizon is 0.5, but must be a number of at least 1"):
        make_cell("mingru", 1, 1, horizon=0.5)
    with pytest.raises(UserError, match="candidate is 'relu': choose one of linear, positive, tanh"):
        make_cell("mingru", 1, 1, candidate="relu")


class Fading(LinearCell):
    """A user's own: h' = rate * h + x W, whose rate no learner changes."""

    def __init__(self, input_size: int, hidden_size: int, *, rate: float = 0.9) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        self.weight = torch.nn.Parameter(torch.randn(input_size, hidden_size))
        self.rate = rate

    def project(self, x: Tensor) -> Tensor:
        return x @ self.weight

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        return projected.new_tensor([self.rate]).expand(1, self.state_size), projected

    def read(self, projected: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(state)


class Stepping(Fading):
    """Another step: no scan may run it."""

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state, projected


@pytest.mark.usefixtures("cell_registry")
def test_a_users_linear_cell_is_scanned_unless_it_steps_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    rlrnn.register_cell("fading", Fading)
    rlrnn.register_cell("stepping", Stepping)
    scanned: list[str] = []
    real: Callable[..., tuple[Tensor, Tensor]] = scan.unroll
    monkeypatch.setattr(
        scan, "unroll", lambda cell, *a: (scanned.append(type(cell).__name__), real(cell, *a))[1]
    )
    x, start = torch.randn(STEPS, ROWS, INPUTS), torch.rand(STEPS, ROWS) < 0.3
    for name in ("fading", "stepping"):
        memory = Memory(name, INPUTS, UNITS)
        state = torch.randn(ROWS, UNITS)
        wanted = loop.unroll(memory.layers[0], x, start, state)
        torch.testing.assert_close(memory.unroll(x, start, state), wanted)
        torch.testing.assert_close(memory.outputs(x, start, state), wanted[0])
    assert scanned == ["Fading", "Fading"]


@pytest.mark.parametrize("cell", [MinGru, Lru])
def test_a_population_is_scanned_as_its_members(cell: type[LinearCell]) -> None:
    members = [cell(INPUTS, UNITS).double() for _ in range(3)]
    joint = copy.deepcopy(members[0])
    for name, parameter in joint.named_parameters():
        parameter.data = torch.stack([m.get_parameter(name).data for m in members])
    x = torch.randn(STEPS, 3, ROWS, INPUTS, dtype=torch.float64)
    start = torch.rand(STEPS, 3, ROWS) < 0.3
    state = torch.randn(3, ROWS, joint.state_size, dtype=torch.float64)
    y, last = scan.unroll(joint, x, start, state)
    for p, member in enumerate(members):
        wanted = loop.unroll(member, x[:, p], start[:, p], state[p])
        torch.testing.assert_close((y[:, p], last[p]), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", [MinGru, Lru])
def test_half_precision_products_leave_the_state_as_it_is(cell: type[LinearCell]) -> None:
    one = cell(INPUTS, UNITS)
    x, start = torch.randn(STEPS, ROWS, INPUTS), torch.rand(STEPS, ROWS) < 0.3
    state = torch.randn(ROWS, one.state_size)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = scan.unroll(one, x, start, state), loop.unroll(one, x, start, state)
    assert found[1].dtype == wanted[1].dtype == torch.float32
    torch.testing.assert_close(found[1], wanted[1], rtol=0.02, atol=0.02)
