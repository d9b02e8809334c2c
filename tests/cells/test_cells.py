"""Cells equal torch's, a fir forgets exactly, and a population equals its members."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlrnn.cells import CELLS, Cell, Elman, Gru, Lstm, make_cell, register_cell
from rlrnn.errors import UserError
from rlrnn.network.layers import Affine, Mlp
from rlrnn.network.memory import Memory

INPUTS, UNITS, ROWS, STEPS = 3, 5, 4, 7

OPTIONS: dict[str, dict[str, Any]] = {
    "elman": {"nonlinearity": "softsign"},
    "fir": {"taps": 3},
    "graph": {"density": 0.6, "delays": [1, 2, 3]},
}


def make(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Cell:
    return make_cell(name, INPUTS, UNITS, **{**OPTIONS.get(name, {}), **options}).to(dtype)


def population(members: Sequence[Any]) -> Any:
    """One module whose parameters are the members', stacked along a leading axis."""
    joint = copy.deepcopy(members[0])
    for name, parameter in joint.named_parameters():
        parameter.data = torch.stack([member.get_parameter(name).data for member in members])
    return joint


def play(cell: Cell, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Step by step, never reset."""
    outputs = []
    for row in x:
        y, state = cell.step(cell.project(row), state)
        outputs.append(y)
    return torch.stack(outputs), state


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("cell", "oracle"),
    [
        (Gru, nn.GRUCell),
        (Lstm, nn.LSTMCell),
        (Elman, nn.RNNCell),
        (
            lambda i, h, bias: Elman(i, h, bias=bias, nonlinearity="relu"),
            lambda *a, **k: nn.RNNCell(*a, **k, nonlinearity="relu"),
        ),
    ],
)
def test_cells_equal_torchs(cell: Callable[..., Cell], oracle: Callable[..., nn.Module], bias: bool) -> None:
    ours = cell(INPUTS, UNITS, bias=bias).double()
    twin = oracle(INPUTS, UNITS, bias=bias, dtype=torch.float64)
    weights = {"weight_ih": ours.weight_input.T, "weight_hh": ours.weight_hidden.T}
    if bias:
        if isinstance(ours, Elman):
            weights |= {"bias_ih": ours.bias, "bias_hh": torch.zeros(UNITS)}
        else:
            weights |= {"bias_ih": ours.bias_input, "bias_hh": ours.bias_hidden}
    twin.load_state_dict(weights)

    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    state = torch.randn(ROWS, ours.state_size, dtype=torch.float64)
    y, last = play(ours, x, state)
    memory: Any = state.chunk(2, dim=-1) if isinstance(ours, Lstm) else state
    for t in range(STEPS):
        memory = twin(x[t], memory)
        h = memory[0] if isinstance(memory, tuple) else memory
        torch.testing.assert_close(y[t], h, rtol=0, atol=1e-12)
    wanted = torch.cat(memory, dim=-1) if isinstance(memory, tuple) else memory
    torch.testing.assert_close(last, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("taps", "dilation"), [(1, 1), (2, 1), (4, 1), (1, 3), (2, 2), (3, 3)])
def test_a_fir_is_a_convolution_over_its_last_inputs(taps: int, dilation: int) -> None:
    cell = make("fir", taps=taps, dilation=dilation)
    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    y, _ = play(cell, x, torch.zeros(ROWS, cell.state_size, dtype=torch.float64))
    kernel = torch.cat((cell.weight_input, cell.weight_delayed)).view(taps, INPUTS, UNITS)
    for t in range(STEPS):
        total = sum(x[t - k * dilation] @ kernel[k] for k in range(taps) if t >= k * dilation) + cell.bias
        torch.testing.assert_close(y[t], torch.tanh(total), rtol=0, atol=1e-12)


def test_a_fir_forgets_exactly_after_its_taps_and_not_before() -> None:
    cell = make("fir", taps=3)
    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    other = x.clone()
    other[0] += 1.0
    empty = torch.zeros(ROWS, cell.state_size, dtype=torch.float64)
    differs = (play(cell, x, empty)[0] != play(cell, other, empty)[0]).flatten(1).any(1)
    assert differs.tolist() == [True, True, True, False, False, False, False]


def test_the_state_of_a_fir_is_its_delay_line_with_the_newest_input_first() -> None:
    cell = make("fir", taps=3)
    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    _, state = play(cell, x, torch.zeros(ROWS, cell.state_size, dtype=torch.float64))
    assert torch.equal(state, torch.cat((x[-1], x[-2]), dim=-1))


def test_no_memory_has_no_state_and_hears_only_the_present() -> None:
    cell = make("none")
    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    y, state = play(cell, x, torch.zeros(ROWS, 0, dtype=torch.float64))
    assert state.shape == (ROWS, 0)
    torch.testing.assert_close(y, torch.tanh(x @ cell.weight_input + cell.bias), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Affine(INPUTS, UNITS),
        lambda: Mlp(INPUTS, (6, UNITS), nn.Tanh),
        lambda: Mlp(INPUTS, (), nn.Tanh),
    ],
)
def test_a_population_of_heads_equals_its_members_one_by_one(build: Callable[[], nn.Module]) -> None:
    members = [build().double() for _ in range(3)]
    joint = population(members)
    x = torch.randn(3, ROWS, INPUTS, dtype=torch.float64)
    for p, member in enumerate(members):
        torch.testing.assert_close(joint(x)[p], member(x[p]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["elman", "gru", "lstm", "fir", "none"])
def test_initial_weights_stay_within_torchs_bound(name: str) -> None:
    options = {"init": "torch"} if name in ("elman", "gru", "lstm") else {}
    cell = make_cell(name, 100, 25, **options)
    # the inputs of a unit, or its fellows
    bound = {"fir": 800, "none": 100, "delay": 100, "legendre": 100}.get(name, 25) ** -0.5
    for parameter in cell.parameters():
        assert 0.8 * bound < parameter.abs().max() <= bound


@pytest.mark.parametrize(("name", "gates", "open_gate"), [("elman", 1, None), ("gru", 3, 1), ("lstm", 4, 1)])
def test_each_gate_begins_with_an_orthogonal_matrix(name: str, gates: int, open_gate: int | None) -> None:
    cell = make_cell(name, 50, 20, init="orthogonal")
    for block in cell.weight_hidden.split(20, dim=1):  # [H, H] per gate
        torch.testing.assert_close(block @ block.t(), torch.eye(20), rtol=0, atol=1e-5)
    assert cell.weight_input.std().item() == pytest.approx(50**-0.5, rel=0.1)
    if open_gate is not None:
        expected = torch.zeros(gates, 20)
        expected[open_gate] = 1.0
        torch.testing.assert_close(cell.bias_hidden, expected.flatten())


def test_an_unknown_initialisation_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"init is 'xavier': choose one of orthogonal, torch"):
        make_cell("gru", 1, 1, init="xavier")


def test_an_unknown_cell_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=rf"'gruu' is not known: choose one of {', '.join(CELLS)}"):
        make_cell("gruu", 1, 1)


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="the gru cell has no option 'taps': it knows bias"):
        make_cell("gru", 1, 1, taps=3)
    with pytest.raises(UserError, match=r"nonlinearity is 'sin': choose one of tanh, relu, softsign"):
        make_cell("elman", 1, 1, nonlinearity="sin")
    with pytest.raises(UserError, match="taps is 0"):
        make_cell("fir", 1, 1, taps=0)
    with pytest.raises(UserError, match="dilation is 0"):
        make_cell("fir", 1, 1, dilation=0)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("fir", {"taps": "8"}, "taps is '8'; the fir cell takes a whole number."),
        ("fir", {"taps": 2.5}, "taps is 2.5"),
        ("fir", {"taps": True}, "taps is True"),
        ("delay", {"taps": "a"}, "taps is 'a'"),
        ("legendre", {"theta": "6"}, "theta is '6'; the legendre cell takes a finite number."),
        ("lstm", {"coupled": "false"}, "coupled is 'false'; the lstm cell takes true or false."),
        ("lstm", {"forget_bias": float("nan")}, "forget_bias is nan"),
        ("gru", {"layer_norm": 1}, "layer_norm is 1"),
        ("reservoir", {"input_scale": float("inf")}, "input_scale is inf"),
        ("storage", {"store": ["gru"]}, r"store is \['gru'\]; the storage cell takes a word."),
        ("storage", {"store_options": 3}, "store_options is 3; the storage cell takes a table."),
        ("storage", {"store_options": {"order": "a"}}, "order is 'a'; the legendre cell takes"),
        ("gru", {"input_size": 3}, "the gru cell has no option 'input_size'"),
    ],
)
def test_an_option_of_another_kind_is_refused_in_a_sentence(
    name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        Memory(name, 1, 8, **options)


def test_an_option_of_a_memory_of_another_kind_is_refused_too() -> None:
    with pytest.raises(UserError, match="residual is 'no'; a memory takes true or false"):
        Memory("gru", 1, 8, residual="no")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="hidden_size is '8'; a memory takes a whole number"):
        Memory("gru", 1, "8")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="dropout is 'a'; a memory takes a finite number"):
        Memory("gru", 1, 8, dropout="a")  # type: ignore[arg-type]


def test_numbers_of_numpy_and_annotations_of_a_users_own_are_taken() -> None:
    assert make_cell("fir", 1, 8, taps=np.int64(3)).state_size == 2
    assert make_cell("legendre", 1, 8, theta=np.float32(3.0), order=None).state_size == 8
    assert make_cell("graph", 1, 2, adjacency=np.eye(2, dtype=bool)).state_size == 2


@pytest.mark.usefixtures("cell_registry")
def test_an_annotation_that_only_a_type_checker_can_read_is_not_looked_at() -> None:
    class Own(Gru):
        def __init__(self, input_size: int, hidden_size: int, *, share: "Unknown" = None) -> None:  # type: ignore[name-defined]  # noqa: F821
            super().__init__(input_size, hidden_size)

    register_cell("own", Own)
    assert isinstance(make_cell("own", 1, 2, share="any"), Own)


@pytest.mark.usefixtures("cell_registry")
def test_a_registered_cell_is_made_by_its_name_with_its_options() -> None:
    class Half(Gru):
        def __init__(self, input_size: int, hidden_size: int, *, share: float = 0.5) -> None:
            super().__init__(input_size, hidden_size)
            self.share = share

    register_cell("half", Half)
    register_cell("half", Half)  # the same once more: a module imported twice
    cell = make_cell("half", 2, 3, share=0.25)
    assert isinstance(cell, Half)
    assert cell.share == 0.25
    with pytest.raises(UserError, match="the half cell has no option 'bias': it knows share"):
        make_cell("half", 2, 3, bias=False)


@pytest.mark.usefixtures("cell_registry")
def test_a_cells_name_is_a_free_lower_case_word() -> None:
    for name in ("Gru2", "my cell", "my-cell", "2cells", ""):
        with pytest.raises(UserError, match="lower-case word"):
            register_cell(name, Gru)
    with pytest.raises(UserError, match="'gru' belongs to Gru already"):
        register_cell("gru", Lstm)


class Recorder(Cell):
    """A cell as a user may write one, with a step that may be wrong."""

    def __init__(self, input_size: int, hidden_size: int, *, wrong: str = "") -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        self.weight = nn.Parameter(torch.ones(input_size, hidden_size))
        self.wrong = wrong
        self.steps = 0

    def project(self, x: Tensor) -> Tensor:
        return x @ self.weight

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.steps += 1
        h = projected + state + torch.rand(())
        made = {
            "width": (h, h[..., 1:]),
            "dtype": (h, h.double()),
            "output": (h[..., 1:], h),
            "one": h,
            "none": (None, h),
            "rows": (h, h[:1]),
        }
        if self.wrong == "raise":
            raise KeyError("boom")
        return made.get(self.wrong, (h, h))  # type: ignore[return-value]


@pytest.mark.usefixtures("cell_registry")
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("width", r"makes state \(2, 3\) of torch.float32 .*says \(2, 4\)"),
        ("rows", r"makes state \(1, 4\)"),
        ("dtype", r"makes state \(2, 4\) of torch.float64 .*of torch.float32"),
        ("output", r"makes output \(2, 3\)"),
        ("none", "makes output NoneType"),
        ("raise", r"raised KeyError in a step of 2 inputs, 4 outputs .*test_cells.py, line \d+\): 'boom'"),
    ],
)
def test_a_users_step_that_is_not_one_is_refused_with_the_cells_name(wrong: str, sentence: str) -> None:
    register_cell("recorder", Recorder)
    with pytest.raises(UserError, match=f"the recorder cell('s step)? {sentence}"):
        make_cell("recorder", 2, 4, wrong=wrong)


@pytest.mark.usefixtures("cell_registry")
def test_asking_a_users_cell_changes_neither_it_nor_what_is_drawn() -> None:
    register_cell("recorder", Recorder)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    cell = make_cell("recorder", 2, 4)
    assert torch.equal(torch.rand(2), wanted) and cell.steps == 0 and cell.training


@pytest.mark.usefixtures("cell_registry")
def test_what_is_no_cell_is_not_registered() -> None:
    class NotACell:
        pass

    class Half(Cell):
        def project(self, x: Tensor) -> Tensor:
            return x

    class Narrow(Gru):
        def __init__(self, size: int) -> None:
            super().__init__(size, size)

    known = dict(CELLS)
    for thing, sentence in (
        (NotACell, "NotACell'> is not a kind of memory: register a class derived from rlrnn.Cell"),
        (Gru(2, 2), "is not a kind of memory"),
        ("gru", "'gru' is not a kind of memory"),
        (Half, "derived from rlrnn.Cell, which says step"),
        (Narrow, r"constructor of Narrow takes \(size: int\).*input_size, hidden_size"),
    ):
        with pytest.raises(UserError, match=sentence):
            register_cell("bad", thing)  # type: ignore[arg-type]
    assert known == CELLS
