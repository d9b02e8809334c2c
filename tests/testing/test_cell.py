"""Each law of ``check_cell`` refuses, by its own sentence, the cell that breaks it; ours keep them all."""

import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlrnn.cells import CELLS, Cell, Gru, LinearCell
from rlrnn.cells.cell import Wire, add_product, affine, recurrent_weights, uniform
from rlrnn.cells.gated import GatedCell
from rlrnn.cells.kernels.recurrence import Recurrence
from rlrnn.common import compiling
from rlrnn.errors import CheckError, UserError
from rlrnn.testing import check_cell
from rlrnn.testing.cell import LAWS

Pair = tuple[Tensor, Tensor]


class Leaky(Cell):
    """h' = h + rate * (tanh(x W + b) - h), which keeps all laws."""

    def __init__(self, input_size: int, hidden_size: int, *, rate: float = 0.25) -> None:
        super().__init__(input_size, hidden_size, state_size=hidden_size)
        self.rate = rate
        self.weight = uniform(1.0, input_size, hidden_size)
        self.bias = uniform(1.0, hidden_size)

    def project(self, x: Tensor) -> Tensor:
        return torch.tanh(affine(x, self.weight, self.bias))

    def step(self, projected: Tensor, state: Tensor) -> Pair:
        h = torch.lerp(state, projected, self.rate)
        return h, h


class Linear(LinearCell):
    """The same as a linear recurrence."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        self.weight = uniform(1.0, input_size, hidden_size)

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, None)

    def coefficients(self, projected: Tensor) -> Pair:
        return torch.sigmoid(projected), projected

    def read(self, projected: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(state)


def broken(base: type[Cell] = Leaky, /, **methods: Any) -> type[Cell]:
    """A class "Broken" that differs from a sound one in these methods."""
    return type("Broken", (base,), methods)


def made(change: Callable[[Any], None], base: type[Cell] = Leaky) -> type[Cell]:
    """One whose constructor ends in a change."""

    def __init__(self: Any, input_size: int, hidden_size: int) -> None:  # noqa: N807
        base.__init__(self, input_size, hidden_size)
        change(self)

    return broken(base, __init__=__init__)


def stepping(step: Callable[[Any, Tensor, Tensor], Any]) -> type[Cell]:
    return broken(step=step)


def sound(self: Any, projected: Tensor, state: Tensor) -> Pair:
    return Leaky.step(self, projected, state)


def takes_all(self: Any, input_size: int, hidden_size: int, **more: Any) -> None:
    Leaky.__init__(self, input_size, hidden_size)


def takes_more(self: Any, input_size: int, hidden_size: int, *more: Any) -> None:
    Leaky.__init__(self, input_size, hidden_size)


def one_more(self: Any, input_size: int, hidden_size: int) -> None:
    Cell.__init__(self, input_size + 1, hidden_size, hidden_size)
    self.weight, self.rate = nn.Parameter(torch.ones(hidden_size)), 0.5


def fails(self: Any, input_size: int, hidden_size: int) -> None:
    raise KeyError("rate")


def in_place(what: str) -> Callable[[Any, Tensor, Tensor], Pair]:
    def step(self: Any, projected: Tensor, state: Tensor) -> Pair:
        y = sound(self, projected, state)
        with torch.no_grad():
            {"projected": projected, "state": state, "weight": self.weight.data}[what].mul_(0.5)
        return y

    return step


def noisy(self: Any, projected: Tensor, state: Tensor) -> Pair:
    h = sound(self, projected, state)[0]
    return h + 0.1 * torch.rand_like(h), h


def remembering(self: Any, projected: Tensor, state: Tensor) -> Pair:
    h = sound(self, projected, state)[0]
    kept = getattr(self, "kept", None)
    self.kept = h.detach()
    return (h if kept is None or kept.shape != h.shape else h + kept), h


def hiding(self: Any, projected: Tensor, state: Tensor) -> Pair:
    """Remembers in a way that numbers do not show, but NaN does."""
    h = sound(self, projected, state)[0]
    kept = getattr(self, "kept", None)
    self.kept = h.detach()
    return (h if kept is None or kept.shape != h.shape else h + 0.0 * kept), h


def ready_that_counts(self: Any) -> Callable[[Tensor, Tensor], Pair]:
    steps = [0]

    def step(projected: Tensor, state: Tensor) -> Pair:
        steps[0] += 1
        y, state = self.step(projected, state)
        return y + (steps[0] > 3), state

    return step


def ready_that_leaks(self: Any) -> Callable[[Tensor, Tensor], Pair]:
    """Its numbers are right, its gradients are not."""
    kept: list[Tensor] = []

    def step(projected: Tensor, state: Tensor) -> Pair:
        y, state = self.step(projected, state)
        kept.append(state)
        return y + sum(h - h.detach() for h in kept[:-1]), state

    return step


def ready_that_keeps(self: Any) -> Callable[[Tensor, Tensor], Pair]:
    if not hasattr(self, "known"):
        self.known = float(self.weight.detach().sum())
    away = self.known - float(self.weight.detach().sum())
    return lambda projected, state: (lambda y, h: (y + away, h))(*self.step(projected, state))


def another(self: Any, memo: Any) -> Any:
    return type(self)(self.input_size, self.output_size).to(self.weight.dtype)


def over_time(self: Any, projected: Tensor) -> Pair:
    a, b = Linear.coefficients(self, projected)
    return a, (b.cumsum(0) if b.dim() == 3 else b)


def cut_off(self: Any, projected: Tensor) -> Pair:
    a, b = Linear.coefficients(self, projected)
    return (a.detach() if a.dim() == 3 else a), b


def wiring(*wires: Wire) -> type[Cell]:
    return broken(wires=lambda self: list(wires))


N = r"[-+\w.]+"  # a number
ITSELF = Wire("y", "y", 1)
BROKEN: dict[str, tuple[Any, str]] = {
    "not a cell": (
        nn.Linear,
        "<class '.*Linear'> is not a kind of memory: register a class derived from rlrnn.Cell.",
    ),
    "an unknown name": ("gruu", "cell 'gruu' is not known: choose one of .*"),
    "no constructor of a cell": (
        broken(__init__=lambda self, size: None),
        r"the constructor of Broken takes \(size\): that of a cell takes \(input_size, hidden_size, .*",
    ),
    "a constructor that raises": (
        broken(__init__=fails),
        r"the constructor of the broken cell raised KeyError \(.*test_cell.py, line \d+\): 'rate'",
    ),
    "a step that raises": (
        stepping(lambda self, projected, state: {}["h"]),
        r"the broken cell raised KeyError in a step of 3 inputs, 5 outputs and a state of 5 \(.*",
    ),
    "any options": (
        broken(__init__=takes_all),
        r"the constructor of the broken cell takes \*\*more, so that a misspelt option .*",
    ),
    "nameless options": (
        broken(__init__=takes_more),
        r"the constructor of the broken cell takes \*more, but options are given by name: .*",
    ),
    "a size of numpy's": (
        made(lambda self: setattr(self, "state_size", np.int64(5))),
        r"the broken cell has the state_size np.int64\(5\), but sizes are whole numbers of at least 0: .*",
    ),
    "no output": (
        made(lambda self: setattr(self, "output_size", 0)),
        r"the broken cell's step makes output \(2, 5\) of torch.float32 .* says \(2, 0\) .*",
    ),
    "other inputs": (
        broken(__init__=one_more, project=lambda self, x: torch.tanh(x.sum(-1, keepdim=True) * self.weight)),
        "the broken cell has input_size 4, but was made for 3 inputs: give super.* the input_size of "
        "the argument.",
    ),
    "parts that do not add up": (
        broken(parts=("h", "c")),
        r"the broken cell has a state of 5 numbers, but its parts \('h', 'c'\) of 5 units each make 10: .*",
    ),
    "no first weights": (
        made(lambda self: self.weight.data.fill_(torch.nan)),
        "the weight weight of the broken cell is initialised with nan: use finite numbers.",
    ),
    "weights drawn by numpy": (
        made(lambda self: self.bias.data.copy_(torch.from_numpy(np.random.rand(5)))),  # noqa: NPY002
        "the weight bias of the broken cell differs between two that were made after the same torch.manual.*",
    ),
    "a project that folds time": (
        broken(project=lambda self, x: Leaky.project(self, x).flatten(0, -2)),
        r"project of the broken cell gives \(3, 5\) of torch.float32 for 1 rows of torch.float32: it keeps "
        ".*",
    ),
    "a step of few rows": (
        stepping(lambda self, projected, state: (projected, state[:2])),
        r"the step of the broken cell makes state \(2, 5\) of torch.float32 for 7 rows, but its state_size "
        r"means \(7, 5\) of torch.float32: compute with tensors of the inputs' type .*",
    ),
    "a step of one type": (
        stepping(lambda self, projected, state: (sound(self, projected, state)[0].float(), state)),
        r"the step of the broken cell makes output \(1, 5\) of torch.float32 for 1 rows, but its "
        r"output_size means \(1, 5\) of torch.float64: .*",
    ),
    "a step that raises for many rows": (
        stepping(lambda self, projected, state: ([projected][len(state) // 5], state)),
        r"the step of the broken cell, given a state \(7, 5\) of float32, raised IndexError \(.*",
    ),
    "numbers that explode": (
        stepping(lambda self, projected, state: (100 * state + projected,) * 2),
        f"the output of the broken cell is {N} after 200 steps of normal inputs: bound it, for instance .*",
    ),
    "inputs written over": (
        broken(project=lambda self, x: Leaky.project(self, x) + 0.0 * x.detach().mul_(0.5).sum()),
        "the broken cell changes its inputs in place, of which the network keeps no copy: .*",
    ),
    "projected written over": (
        stepping(in_place("projected")),
        "the broken cell changes its projected in .*",
    ),
    "state written over": (stepping(in_place("state")), "the broken cell changes its state in place, .*"),
    "weights written over": (
        stepping(in_place("weight")),
        "a step of the broken cell changes its own weight: a cell is a function of its parameters, .*",
    ),
    "noise": (
        stepping(noisy),
        f"the broken cell gives another result for the same inputs and state the second time, {N} apart: .*",
    ),
    "memory beside the state": (
        stepping(remembering),
        "the broken cell gives another result for the same .*",
    ),
    "another network in training": (
        stepping(
            lambda self, projected, state: sound(self, projected * (0.5 if self.training else 1.0), state)
        ),
        rf"the broken cell gives another result after .eval\(\) than in training, {N} apart: .*",
    ),
    "a mean over the batch": (
        stepping(lambda self, projected, state: sound(self, projected - projected.mean(-2, True), state)),
        f"row 0 of the broken cell depends on other rows, by a gradient of up to {N}: these are other .*",
    ),
    "the number of rows": (
        stepping(lambda self, projected, state: sound(self, projected / len(projected), state)),
        f"row 0 of the broken cell is {N} apart from what a batch of that row alone gives: .*",
    ),
    "a project over time": (
        broken(project=lambda self, x: Leaky.project(self, x.cumsum(0) if x.dim() == 3 else x)),
        f"project of the broken cell, given a sequence, is {N} apart from project of its steps: .*",
    ),
    "steps that count": (
        broken(ready=ready_that_counts),
        f"6 steps of the broken cell in 1 layers are {N} apart from the unrolled row of 1 environments with "
        "resets nowhere: .*",
    ),
    "coefficients over time": (
        broken(Linear, coefficients=over_time),
        f"6 steps of the broken cell in 1 layers are {N} apart from the unrolled row .*",
    ),
    "coefficients without gradient": (
        broken(Linear, coefficients=cut_off),
        f"the broken cell over a whole row is {N} apart from its loop in the gradient by its inputs, with .*",
    ),
    "a gradient across a reset": (
        broken(ready=ready_that_leaks),
        f"the gradient of the broken cell crosses a reset: by the inputs before it, .* {N}, where exactly "
        "0 .*",
    ),
    "NaN across a reset": (
        stepping(hiding),
        "NaN before a reset changes the outputs of the broken cell after it, to NaN: keep nothing outside .*",
    ),
    "deaf": (
        stepping(lambda self, projected, state: (0.9 * state + 0.0 * projected.detach(),) * 2),
        "no output of the broken cell depends on its inputs: let project and step read them.",
    ),
    "forgetful": (
        stepping(lambda self, projected, state: (projected, sound(self, projected, state)[1])),
        "the broken cell has a state of 5 numbers, but no output depends on what came before: let step "
        "read .*",
    ),
    "a bias without members": (
        broken(project=lambda self, x: torch.tanh(x @ self.weight + self.bias)),
        f"a population of the broken cell is {N} apart from its members one by one: count axes from the "
        "last .*",
    ),
    "a product without members": (
        broken(project=lambda self, x: torch.tanh(x @ self.weight.t().t() + self.bias[None])),
        r"a population of three of the broken cell, with weights \[P, ...\] and .* raised RuntimeError \(.*",
    ),
    "another class": (
        broken(__new__=lambda cls, *sizes: Gru(*sizes)),
        "the broken cell is a Broken, but its constructor makes a Gru: let each class make itself, as a .*",
    ),
    "a wrong gradient": (
        broken(project=lambda self, x: Leaky.project(self, 2.0 * x - x.detach())),
        f"the gradient of the broken cell by its inputs is {N} by autograd, but {N} by finite differences: "
        ".*",
    ),
    "a weight cut off": (
        broken(project=lambda self, x: torch.tanh(affine(x, self.weight, self.bias.detach()))),
        "the weight bias of the broken cell affects neither its outputs nor its state: use it, or keep it .*",
    ),
    "a weight that is not saved": (
        made(lambda self: setattr(self, "rate", float(torch.rand(())))),
        "the broken cell, made anew and given the saved weights, gives other outputs: what it samples .*",
    ),
    "another copy": (broken(__deepcopy__=another), "a copy of the broken cell gives other outputs: .*"),
    "weights of before": (
        broken(ready=ready_that_keeps),
        r"the broken cell ignores that its weights have changed: compute anew .*",
    ),
    "an end that does not come": (
        wiring(Wire("x", "y")),
        "wires of the broken cell give an impulse response of 1 steps, but an input has effects for "
        "6 and more: give every wire with its delay in steps.",
    ),
    "an end that comes": (
        broken(
            __init__=lambda self, input_size, hidden_size: (
                Leaky.__init__(self, input_size, hidden_size),
                setattr(self, "rate", 1.0),
            )[0],
            step=lambda self, projected, state: (projected + 0.0 * state + state, 0.0 * state + projected),
            wires=lambda self: [Wire("x", "y"), ITSELF],
        ),
        r"wires of the broken cell give an infinite impulse response \(y -> y\), but an input has "
        "effects for 2 steps: leave out the wires of that cycle, or mend the step.",
    ),
    "a strength of one axis": (
        wiring(Wire("x", "y", 0, torch.ones(5)), ITSELF),
        r"the wire x -> y of the broken cell has a strength of shape \(5,\): give \[source units, target .*",
    ),
    "a strength turned": (
        wiring(Wire("x", "y", 0, torch.ones(5, 3)), ITSELF),
        r"the wire x -> y of the broken cell has a strength of shape \(5, 3\), but x has 3 units: give .*",
    ),
    "wires that raise": (
        broken(wires=lambda self: [Wire("x", self.nothing)]),
        r"wires of the broken cell raised AttributeError \(.*",
    ),
}


@pytest.mark.parametrize(("cell", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_cell_is_refused_by_its_sentence(cell: Any, sentence: str) -> None:
    known = dict(CELLS)
    with pytest.raises(CheckError) as caught:
        check_cell(cell)
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)
    assert known == CELLS


@pytest.mark.parametrize("cell", [Leaky, Linear])
def test_a_sound_cell_of_ones_own_keeps_the_laws_and_leaves_no_trace(cell: type[Cell]) -> None:
    known, state = dict(CELLS), torch.get_rng_state()
    check_cell(cell)
    check_cell(cell, input_size=1, hidden_size=1)
    assert known == CELLS and torch.equal(torch.get_rng_state(), state)
    if cell is Leaky:
        check_cell(cell, hidden_size=8, rate=0.5)


def test_an_unknown_option_or_law_is_refused() -> None:
    with pytest.raises(CheckError, match="the leaky cell has no option 'rat': it knows rate"):
        check_cell(Leaky, rat=0.5)
    with pytest.raises(UserError, match="check_cell has no law 'gradient' to skip: it knows options, sizes"):
        check_cell(Leaky, skip=["gradient"])


def test_what_one_law_lets_pass_another_refuses() -> None:
    with pytest.raises(CheckError) as caught:
        check_cell(broken(ready=ready_that_counts), skip=["unrolls"])
    sentence = (
        f"a row of the broken cell is {N} apart from its episodes played one by one: a reset clears the .*"
    )
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)


def test_a_law_may_be_left_out() -> None:
    spiking = broken(project=lambda self, x: Leaky.project(self, 2.0 * x - x.detach()))
    check_cell(spiking, skip=["gradients"])


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CELLS),
    *((name, {"bias": False}) for name in CELLS if name not in ("delay", "legendre")),
    *((name, {"bias": True}) for name in ("delay", "legendre")),
    *(
        ("elman", {"nonlinearity": name, "bias": bias})
        for name in ("softsign", "relu")
        for bias in (True, False)
    ),
    *((name, {"layer_norm": True}) for name in ("gru", "lstm")),
    ("lstm", {"coupled": True}),
    ("lstm", {"coupled": True, "layer_norm": True}),
    ("mingru", {"candidate": "positive"}),
    ("mingru", {"candidate": "tanh"}),
    ("lru", {"state_units": 2}),
    ("fir", {"taps": 1}),
    ("fir", {"taps": 3, "dilation": 2}),
    *(("fir", {"taps": 3, "bias": bias}) for bias in (True, False)),
    *(("graph", {"density": 0.6, "delays": [1, 2, 3], "bias": bias}) for bias in (True, False)),
    ("graph", {"edges": [["x", "h0", 0], ["h0", "h1", 3], ["h1", "h2", 0]], "outputs": ["h0", "h2"]}),
    ("storage", {"store": "delay", "feedback": False}),
    ("storage", {"store": "gru", "width": 2, "store_size": 4}),
    ("reservoir", {"leak": 0.5}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_our_cells_keep_the_laws(name: str, options: dict[str, Any]) -> None:
    normed = options.get("layer_norm", False)  # its roundings are divided by small deviations
    check_cell(name, tolerance=1e-10 if normed else 1e-12, **options)


class Kernelled(GatedCell):
    """h' = h + 0.5 * (tanh(x W + h U) - h), whose kernels are written in numpy: see ``kernels_of_it``."""

    kernels = "kernels_of_a_test"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        self.weight_input, self.weight_hidden = recurrent_weights("torch", input_size, hidden_size, 1)

    def biases(self) -> tuple[None]:
        return (None,)

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, None)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.lerp(state, torch.tanh(add_product(projected, state, self.weight_hidden)), 0.5)
        return h, h


class RightRecurrence(Recurrence):
    def forward(self, projected: Any, start: Any, state: Any) -> Any:
        self.candidates, self.start, h = projected, start, state.copy()
        self.before = np.empty_like(projected)
        y = np.empty_like(projected)
        for t in range(len(projected)):
            h = np.where(start[t][:, None], 0, h).astype(projected.dtype)
            self.before[t], projected[t] = h, np.tanh(projected[t] + h @ self.weights)
            y[t] = h = h + (projected[t] - h) / 2
        return y, y[-1]

    def backward(self, dy: Any, d_last: Any, d_weights: Any, d_own: Any = ()) -> Any:
        dh = d_last.copy()
        for t in reversed(range(len(dy))):
            d = dy[t] + dh
            self.candidates[t] = d / 2 * (1 - self.candidates[t] ** 2)
            dh = d / 2 + self.candidates[t] @ self.weights.T
            dh[self.start[t]] = 0
        self.weights_gradient(self.candidates, d_weights)
        return self.candidates, dh


class ForgetsTheLast(RightRecurrence):
    def backward(self, dy: Any, d_last: Any, d_weights: Any, d_own: Any = ()) -> Any:
        return super().backward(dy, np.zeros_like(d_last), d_weights, d_own)


class WrongAmongMany(RightRecurrence):
    def forward(self, projected: Any, start: Any, state: Any) -> Any:
        y, last = super().forward(projected, start, state)
        y[:, 8:] += 1e-3
        return y, last


class WrongInSingle(RightRecurrence):
    def backward(self, dy: Any, d_last: Any, d_weights: Any, d_own: Any = ()) -> Any:
        found = super().backward(dy, d_last, d_weights, d_own)
        d_weights *= 1.01 if d_weights.dtype == np.float32 else 1.0
        return found


KERNELS: dict[str, tuple[dict[str, Any], str]] = {
    "none wrong": ({"recurrence": RightRecurrence, "step": "right"}, ""),
    "last state": ({"recurrence": ForgetsTheLast}, r".* in the gradient by .* of 1 rows in float64: .*"),
    "many rows": ({"recurrence": WrongAmongMany}, r".* in the outputs of 33 rows in float64: .*"),
    "precision": ({"recurrence": WrongInSingle}, ".* by weight_hidden of 1 rows in float32: .*"),
    "step": ({"recurrence": RightRecurrence, "step": "sevens"}, r".* in the value after a step at play: .*"),
    "members": (
        {"recurrence": RightRecurrence, "step": "everyone_is_the_first"},
        ".* in the outputs of a population: .*",
    ),
}


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_held_to_the_cells_own_functions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions, sentence = KERNELS[name]
    module = ModuleType("kernels_of_a_test")
    recurrence = functions["recurrence"]
    vars(module).update(recurrence=lambda cell: recurrence(cell.weight_hidden))
    if "step" in functions:
        from testing_steps import STEPS

        vars(module).update(step=STEPS[functions["step"]])
    monkeypatch.setitem(sys.modules, "kernels_of_a_test", module)
    if not sentence:
        return check_cell(Kernelled)
    with pytest.raises(CheckError) as caught:
        check_cell(Kernelled, skip=sorted(set(LAWS) - {"kernels"}))
    begin = "the kernels of the .* cell are .* apart from its project and step"
    assert re.fullmatch(begin + sentence, str(caught.value))
    return None
