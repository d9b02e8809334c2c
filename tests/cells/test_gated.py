"""Options of lstm and gru equal the formulas they come from, and change nothing where they are off."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from rlrnn.cells import Gru, Lstm, make_cell
from rlrnn.cells.cell import exactly
from rlrnn.common import compiling
from rlrnn.errors import UserError
from rlrnn.learners.ppo import compiled
from rlrnn.network import acting, population
from rlrnn.network.memory import Memory
from rlrnn.network.paths import fused
from rlrnn.network.paths.loop import unroll as loop

INPUTS, UNITS, ROWS, STEPS = 3, 5, 4, 7
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("lstm", {"layer_norm": True}),
    ("lstm", {"coupled": True}),
    ("lstm", {"layer_norm": True, "coupled": True}),
    ("gru", {"layer_norm": True}),
]


def make(name: str, bias: bool = True, **options: Any) -> Any:
    """A cell in float64, all of whose parameters are drawn: gains and biases too."""
    cell = make_cell(name, INPUTS, UNITS, bias=bias, **options).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return cell


def given(cell: Any) -> tuple[Tensor, Tensor]:
    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    return x, torch.randn(ROWS, cell.state_size, dtype=torch.float64)


def normal(x: Tensor, gain: Tensor) -> Tensor:
    return layer_norm(x, (x.shape[-1],), gain)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("coupled", [True, False])
def test_an_lstms_options_equal_their_formulas_gate_by_gate(coupled: bool, norm: bool, bias: bool) -> None:
    cell = make("lstm", bias, coupled=coupled, layer_norm=norm)
    assert cell.weight_input.shape == (INPUTS, (3 if coupled else 4) * UNITS)
    x, state = given(cell)
    h, c = state.chunk(2, dim=-1)
    names = "fgo" if coupled else "ifgo"
    for x_t in x:
        y, state = cell.step(cell.project(x_t), state)
        from_x, from_h = x_t @ cell.weight_input, h @ cell.weight_hidden
        if norm:  # over all gates together, as eq. 20 of Ba et al. has it
            from_x, from_h = normal(from_x, cell.gain_input), normal(from_h, cell.gain_hidden)
        heard = from_x + from_h + (cell.bias_input + cell.bias_hidden if bias else 0.0)
        gate = {name: heard[:, k * UNITS : (k + 1) * UNITS] for k, name in enumerate(names)}
        f, g, o = torch.sigmoid(gate["f"]), torch.tanh(gate["g"]), torch.sigmoid(gate["o"])
        i = 1.0 - f if coupled else torch.sigmoid(gate["i"])
        c = f * c + i * g
        shown = layer_norm(c, (UNITS,), cell.gain_cell, cell.bias_cell) if norm else c
        h = o * torch.tanh(shown)
        torch.testing.assert_close(y, h, rtol=0, atol=1e-12)
        torch.testing.assert_close(state, torch.cat((h, c), dim=-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_a_grus_layer_norm_equals_its_formula_gate_by_gate(bias: bool) -> None:
    cell = make("gru", bias, layer_norm=True)
    x, h = given(cell)
    for x_t in x:
        y, state = cell.step(cell.project(x_t), h)
        parts = []
        for told, weight, gain, added in (
            (x_t, cell.weight_input, cell.gain_input, cell.bias_input),
            (h, cell.weight_hidden, cell.gain_hidden, cell.bias_hidden),
        ):
            gates = normal(told @ weight[:, : 2 * UNITS], gain[: 2 * UNITS])
            n = normal(told @ weight[:, 2 * UNITS :], gain[2 * UNITS :])
            if bias:
                gates, n = gates + added[: 2 * UNITS], n + added[2 * UNITS :]
            parts.append((gates[:, :UNITS], gates[:, UNITS:], n))
        (x_r, x_z, x_n), (h_r, h_z, h_n) = parts
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        h = (1.0 - z) * torch.tanh(x_n + r * h_n) + z * h
        torch.testing.assert_close(y, h, rtol=0, atol=1e-12)
        assert state is y


@pytest.mark.parametrize("init", ["torch", "orthogonal"])
def test_the_forget_gate_begins_at_its_bias(init: str) -> None:
    for coupled, gate in ((False, 1), (True, 0)):
        cell: Any = make_cell("lstm", INPUTS, UNITS, init=init, coupled=coupled, forget_bias=2.5)
        biases = (cell.bias_input + cell.bias_hidden).view(-1, UNITS)
        assert (biases[gate] == 2.5).all()
        others = torch.cat((biases[:gate], biases[gate + 1 :]))
        assert not (others == 2.5).any()
    with pytest.raises(UserError, match=r"forget_bias is 1.0, but this lstm has no biases"):
        make_cell("lstm", INPUTS, UNITS, bias=False, forget_bias=1.0)


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3)])
def test_with_options_off_parameters_and_draws_are_what_they_were(name: str, gates: int) -> None:
    """Names and order, as saved agents and optimizers have them, and no random number more or less."""
    torch.manual_seed(3)
    cell = make_cell(name, INPUTS, UNITS, init="torch")
    after = torch.rand(1)
    assert [n for n, _ in cell.named_parameters()] == [
        "weight_input",
        "weight_hidden",
        "bias_input",
        "bias_hidden",
    ]
    torch.manual_seed(3)
    for wanted, shape in zip(
        cell.parameters(),
        [(INPUTS, gates * UNITS), (UNITS, gates * UNITS), *[(gates * UNITS,)] * 2],
        strict=True,
    ):
        assert torch.equal(wanted, torch.empty(shape).uniform_(-(UNITS**-0.5), UNITS**-0.5))
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_population_of_variants_equals_its_members(name: str, options: dict[str, Any], bias: bool) -> None:
    members = [make(name, bias, **options) for _ in range(3)]
    joint = copy.deepcopy(members[0])
    for key, parameter in joint.named_parameters():
        parameter.data = torch.stack([m.get_parameter(key).data for m in members])
    x = torch.randn(STEPS, 3, ROWS, INPUTS, dtype=torch.float64)
    start = torch.rand(STEPS, 3, ROWS) < 0.3
    state = torch.randn(3, ROWS, joint.state_size, dtype=torch.float64)
    y, last = loop(joint, x, start, state)
    for p, member in enumerate(members):
        wanted = loop(member, x[:, p], start[:, p], state[p])
        torch.testing.assert_close((y[:, p], last[p]), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_variants_step_as_they_go_over_rows_and_paths_of_the_plain_ones_leave_them_alone(
    name: str, options: dict[str, Any]
) -> None:
    memory = Memory(name, INPUTS, UNITS, 2, **options).double()
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.copy_(torch.randn_like(parameter))
    x, state = given(memory)
    for layer in memory.layers:
        assert not layer.plain and not fused.fits(layer)
    start = torch.rand(STEPS, ROWS) < 0.3
    y, last = memory.unroll(x, start, state)
    torch.testing.assert_close(memory.outputs(x, start, state), y, rtol=0, atol=1e-12)
    for t in range(STEPS):
        one, state = memory.step(x[t], start[t], state)
        torch.testing.assert_close(one, y[t], rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)


def test_a_path_takes_exactly_its_kinds() -> None:
    assert exactly(make_cell("gru", 1, 1), Gru, Lstm)
    assert not exactly(make_cell("gru", 1, 1), Lstm)
    assert not exactly(type("Other", (Gru,), {})(1, 1), Gru)
    assert not exactly(make_cell("gru", 1, 2, layer_norm=True), Gru)
    assert exactly(make_cell("lstm", 1, 2, forget_bias=1.0), Lstm)  # which changes no step


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "none", "mingru"])
@pytest.mark.parametrize("way", ["step", "unroll", "outputs"])
def test_a_residual_layer_adds_what_it_is_fed(cell: str, way: str) -> None:
    memory = Memory(cell, UNITS, UNITS, 3, residual=True).double()
    x = torch.randn(STEPS, ROWS, UNITS, dtype=torch.float64)
    state = torch.randn(ROWS, memory.state_size, dtype=torch.float64)
    start = torch.rand(STEPS, ROWS) < 0.3
    wanted, lasts = x, []
    for k, (layer, own) in enumerate(
        zip(memory.layers, state.split(memory.state_sizes, dim=-1), strict=True)
    ):
        y, last = loop(layer, wanted, start, own)
        wanted = wanted + y if k > 0 else y  # the first too has as many outputs as inputs here
        lasts.append(last)
    if way == "outputs":
        torch.testing.assert_close(memory.outputs(x, start, state), wanted, rtol=0, atol=1e-12)
    elif way == "unroll":
        found = memory.unroll(x, start, state)
        torch.testing.assert_close(found, (wanted, torch.cat(lasts, dim=-1)), rtol=0, atol=1e-12)
    else:
        for t in range(STEPS):
            one, state = memory.step(x[t], start[t], state)
            torch.testing.assert_close(one, wanted[t], rtol=0, atol=1e-12)


def test_what_a_residual_layer_adds_is_not_dropped() -> None:
    memory = Memory("none", UNITS, UNITS, 2, residual=True, dropout=0.9)
    with torch.no_grad():
        for parameter in memory.layers[1].parameters():
            parameter.zero_()  # it says 0 whatever it is fed
    x, start = torch.randn(STEPS, ROWS, UNITS), torch.zeros(STEPS, ROWS, dtype=torch.bool)
    below = memory.layers[0].step(memory.layers[0].project(x), x[..., :0])[0]
    assert torch.equal(memory.outputs(x, start, torch.zeros(ROWS, 0)), below)


@pytest.mark.parametrize(
    ("options", "n_layers", "known"),
    [
        ({}, 2, True),
        ({"residual": True}, 1, True),
        ({"residual": True}, 2, False),
        ({"layer_norm": True}, 1, False),
        ({"coupled": True}, 1, False),
        ({"forget_bias": 1.0}, 1, True),
    ],
)
def test_whole_network_paths_refuse_what_they_do_not_know(
    options: dict[str, Any], n_layers: int, known: bool
) -> None:
    from gymnasium import spaces

    from rlrnn.network.network import NetworkDescription, RecurrentNetwork

    if not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    description = NetworkDescription(cell="lstm", hidden_size=4, n_layers=n_layers, cell_options=options)
    network = RecurrentNetwork(description, spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(2))
    plans = acting.plans_of(network), compiled.plans_of(network), population.plan_of(network)
    assert [plan is not None for plan in plans] == [known] * 3


@pytest.mark.parametrize(("name", "options"), [*VARIANTS, ("gru", {"residual": True})])
def test_a_population_plays_variants_as_each_would_alone(name: str, options: dict[str, Any]) -> None:
    import numpy as np
    from gymnasium import spaces

    from rlrnn.network.network import NetworkDescription, RecurrentNetwork

    description = NetworkDescription(cell=name, hidden_size=4, n_layers=2, cell_options=options)
    network = RecurrentNetwork(description, spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(4))
    one = population.genome(network)
    genomes = one + np.random.default_rng(0).normal(size=(3, len(one)))
    crowd = population.Population(network, genomes, 2)
    seen = np.random.default_rng(1).normal(size=(6, 6, 3)).astype(np.float32)  # [T, P * E, F]
    acts = [crowd.act(row, np.arange(6), np.arange(3)) for row in seen]
    for p in range(3):
        population.write(network, genomes[p])
        state = network.initial_state(2)[:, : network.state_sizes[0]]
        for t, row in enumerate(seen):
            own = torch.from_numpy(row[2 * p : 2 * p + 2])
            distribution, state = network.act(own, torch.zeros(2, dtype=torch.bool), state)
            assert distribution.mode().flatten().tolist() == acts[t].flatten()[2 * p : 2 * p + 2].tolist()


def test_a_grus_horizon_is_how_long_its_units_remember_at_first() -> None:
    cell = make_cell("gru", 1, 5, horizon=162.0)
    assert isinstance(cell, Gru) and cell.bias_input is not None and cell.bias_hidden is not None
    with torch.no_grad():
        cell.weight_input.zero_()
        cell.weight_hidden.zero_()
        cell.bias_input[10:].zero_()
        _, state = cell.step(cell.project(torch.zeros(1, 1)), torch.ones(1, 5))
    # Of what a unit held it keeps 1 - 1/2, 1 - 1/6, 1 - 1/18, 1 - 1/54 and 1 - 1/162.
    kept = torch.tensor([[1 / 2, 5 / 6, 17 / 18, 53 / 54, 161 / 162]])
    torch.testing.assert_close(state, kept, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"horizon": 1}, "horizon is 1, but must be a number of at least 2"),
        ({"horizon": 9.0, "bias": False}, "horizon is 9.0, but this gru has no biases: leave out bias=False"),
    ],
)
def test_a_horizon_that_a_gru_cannot_have(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make_cell("gru", 1, 5, **options)
