"""A graph of units does what its edges say; layered, Elman's and finite impulse networks are some of them."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from rlrnn.cells import Cell, Graph, graph_edges, make_cell
from rlrnn.errors import UserError
from rlrnn.network.memory import Memory
from rlrnn.network.paths import delay_line
from rlrnn.network.paths.loop import unroll

INPUTS, UNITS, ROWS, STEPS = 3, 6, 4, 11
LAYERED = [["x", "h0-2"], ["h0-2", "h0-2"], ["h0-2", "h3-5", 0], ["h3-5", "h3-5"]]
RANDOM = {"density": 0.5, "delays": [1, 2, 4], "seed": 3}
FINITE = [
    ["x", "h0-1", 0],
    ["x0", "h2", 3],
    ["h0", "h2", 2],
    ["h0-2", "h3", 0],
    ["h1", "h4-5", 5],
    ["h3", "h5", 1],
]


def make(**options: Any) -> Graph:
    cell = make_cell("graph", INPUTS, UNITS, **options).double()
    assert isinstance(cell, Graph)
    if cell.bias is not None:
        torch.nn.init.normal_(cell.bias)
    return cell


def case(cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(STEPS, ROWS, INPUTS, dtype=torch.float64)
    return x, torch.rand(STEPS, ROWS) < 0.2, torch.randn(ROWS, cell.state_size, dtype=torch.float64)


@torch.no_grad()
def by_hand(cell: Graph, x: Tensor, start: Tensor) -> Tensor:
    """Unit by unit, from an empty memory: [T, B, H], as the sum over edges is written."""
    values = torch.cat((x, torch.full((STEPS, ROWS, UNITS), torch.nan, dtype=x.dtype)), dim=-1)
    for row in range(ROWS):
        begin = 0
        for t in range(STEPS):
            begin = t if start[t, row] else begin
            while values[t, row].isnan().any():  # in whatever order it can be done
                for unit in range(UNITS):
                    told = 0.0 if cell.bias is None else cell.bias[unit]
                    for edge, weight in zip(cell.edges, cell.weight, strict=True):
                        if edge.target == INPUTS + unit and t - edge.delay >= begin:
                            told = told + weight * values[t - edge.delay, row, edge.source]
                    values[t, row, INPUTS + unit] = torch.tanh(torch.as_tensor(told))
    return values[..., INPUTS:]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"edges": LAYERED}, {"edges": FINITE}, RANDOM])
def test_units_hear_what_their_edges_say(options: dict[str, Any], bias: bool) -> None:
    cell = make(**options, bias=bias)
    x, start, _ = case(cell)
    y, _ = unroll(cell, x, start, torch.zeros(ROWS, cell.state_size, dtype=torch.float64))
    torch.testing.assert_close(y, by_hand(cell, x, start), rtol=0, atol=1e-12)


def test_a_fully_connected_graph_is_elmans_layer() -> None:
    elman, graph = make_cell("elman", INPUTS, UNITS).double(), make()
    torch.nn.init.normal_(elman.bias)
    put(graph, torch.cat((elman.weight_input, elman.weight_hidden)))
    graph.bias.data = elman.bias.data
    compare(graph, elman)


def test_layers_that_hear_themselves_are_layers_of_elmans() -> None:
    memory = Memory("elman", INPUTS, 3, 2).double()
    graph = make(edges=LAYERED, outputs=["h3-5"])
    whole = torch.zeros(INPUTS + UNITS, UNITS, dtype=torch.float64)
    whole[:3, :3], whole[3:6, :3] = memory.layers[0].weight_input.data, memory.layers[0].weight_hidden.data
    whole[3:6, 3:], whole[6:, 3:] = memory.layers[1].weight_input.data, memory.layers[1].weight_hidden.data
    put(graph, whole)
    graph.bias.data.zero_()
    assert graph.output_size == 3
    compare(graph, memory)


def test_delayed_inputs_are_a_finite_impulse_cell() -> None:
    fir = make_cell("fir", INPUTS, UNITS, taps=3, dilation=2).double()
    graph = make(edges=[["x", "h", 0], ["x", "h", 2], ["x", "h", 4]])
    weights = {0: fir.weight_input, 2: fir.weight_delayed[:INPUTS], 4: fir.weight_delayed[INPUTS:]}
    found = [weights[e.delay][e.source, e.target - INPUTS] for e in graph.edges]
    graph.weight.data = torch.stack(found).detach()
    graph.bias.data = fir.bias.data
    assert graph.state_size == fir.state_size
    compare(graph, fir)


def put(graph: Graph, whole: Tensor) -> None:
    """Weights [I + H, H] onto the edges."""
    graph.weight.data = torch.stack([whole[e.source, e.target - INPUTS] for e in graph.edges]).detach()


def compare(graph: Graph, other: Cell | Memory) -> None:
    """Outputs and last state over rows with resets, from an empty memory."""
    x, start, _ = case(graph)
    empty = torch.zeros(ROWS, graph.state_size, dtype=torch.float64)
    wanted = other.unroll(x, start, empty) if isinstance(other, Memory) else unroll(other, x, start, empty)
    torch.testing.assert_close(unroll(graph, x, start, empty), wanted, rtol=0, atol=1e-12)


def test_a_graph_without_a_circle_needs_no_loop_over_time() -> None:
    for options in (
        {"edges": FINITE},
        {"edges": FINITE, "outputs": ["h5", "h2"]},
        {"edges": [["x", "h", 0]]},
    ):
        cell = make(**options)
        x, start, state = case(cell)
        x.requires_grad_(), state.requires_grad_()
        assert delay_line.fits(cell, x)
        leaves = [x, *([state] if cell.state_size else []), *cell.parameters()]
        slow, fast = unroll(cell, x, start, state), delay_line.unroll(cell, x, start, state)
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
        weights = [torch.randn_like(part) for part in slow]
        sums = [sum((part * w).sum() for part, w in zip(told, weights, strict=True)) for told in (slow, fast)]
        found = [torch.autograd.grad(total, leaves, materialize_grads=True) for total in sums]
        torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
    assert not delay_line.fits(make(), x)
    assert not delay_line.fits(make(edges=LAYERED), x)


def test_a_state_holds_each_value_until_its_last_edge_has_heard_it() -> None:
    cell = make(edges=[["x0", "h", 0], ["x2", "h1", 2], ["h1", "h0", 1], ["h5", "h5", 3]])
    x, start, _ = case(cell)
    y, last = unroll(
        cell, x, torch.zeros_like(start), torch.zeros(ROWS, cell.state_size, dtype=torch.float64)
    )
    wanted = (x[-1, :, 2], y[-1, :, 1], y[-1, :, 5], x[-2, :, 2], y[-2, :, 5], y[-3, :, 5])
    torch.testing.assert_close(last, torch.stack(wanted, dim=-1), rtol=0, atol=0)


def test_each_kind_of_edge_brings_a_unit_variance_one_at_first() -> None:
    cell = make_cell("graph", 40, 60)
    assert isinstance(cell, Graph)
    inputs = torch.tensor([e.source < 40 for e in cell.edges])
    weights = cell.weight.detach()
    assert float(weights[inputs].var()) == pytest.approx(1 / 40, rel=0.1)
    assert float(weights[~inputs].var()) == pytest.approx(1 / 60, rel=0.1)


def test_a_weight_may_be_given_at_first() -> None:
    cell = make(edges=[["x0", "h0", 0, 0.5], ["x", "h1-5"], ["h0", "h0", 1, -2.0]])
    assert cell.weight[[0, -1]].tolist() == [0.5, -2.0]


def test_graphs_of_networkx_and_matrices_become_edges() -> None:
    graph = nx.MultiDiGraph()
    graph.add_edge("x0", "h0")
    graph.add_edge("h0", "h1", delay=3, weight=0.25)
    graph.add_edge("h0", "h1")
    graph.add_edge("h1", "h2", delay=0)
    wanted = [["x0", "h0", 0], ["h0", "h1", 3, 0.25], ["h0", "h1", 1], ["h1", "h2", 0]]
    assert graph_edges(graph) == wanted
    assert graph_edges(nx.DiGraph([(0, 1), (1, 0)])) == [["x", "h", 0], ["h0", "h1", 1], ["h1", "h0", 1]]
    units = np.array([[0, 1], [1, 0]])
    assert graph_edges(units) == [["x", "h", 0], ["h0", "h1", 1], ["h1", "h0", 1]]
    whole = np.array([[1, 0], [0, 1], [0, 1]])
    assert graph_edges(whole) == [["x0", "h0", 0], ["h0", "h1", 1], ["h1", "h1", 1]]
    assert graph_edges(whole, delays=[[2, 0], [0, 5], [0, 1]])[:2] == [["x0", "h0", 2], ["h0", "h1", 5]]


def test_an_adjacency_matrix_is_its_edges() -> None:
    matrix = (np.random.default_rng(0).random((INPUTS + UNITS, UNITS)) < 0.7).astype(int).tolist()
    cell = make(adjacency=matrix)
    found = sorted([e.source, e.target - INPUTS] for e in cell.edges)
    assert found == np.argwhere(matrix).tolist()


def test_a_random_graph_is_a_function_of_its_seed_and_hears_its_inputs() -> None:
    first, second, third = (make(density=0.02, seed=seed) for seed in (1, 1, 2))
    assert first.edges == second.edges != third.edges
    big = make_cell("graph", 10, 200, density=0.1, delays=[1, 2])
    assert isinstance(big, Graph)
    assert len(big.edges) == pytest.approx(0.1 * 210 * 200, rel=0.05)
    recurrent = [e.delay for e in big.edges if e.source >= 10]
    assert np.mean(recurrent) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"edges": [["x", "h"], ["h1", "h2", 0], ["h2", "h1", 0]]},
            "h1 -> h2 -> h1 make a circle",
        ),
        ({"edges": [["x", "h"], ["h3", "h3", 0]]}, "h3 -> h3 make a circle"),
        (
            {"edges": [["x", "h"], ["h0", "h6", 1]]},
            "names 'h6', but there are x0 to x2 and h0 to h5",
        ),
        ({"edges": [["x7", "h0"]]}, "names 'x7'"),
        ({"edges": [["a", "h0"]]}, "names 'a'"),
        ({"edges": [["h0", "x0", 1]]}, "ends in an input"),
        ({"edges": [["x", "h", -1]]}, "the delay -1"),
        (
            {"edges": [["x", "h"], ["h0-2", "h3", 1], ["h2", "h3-4", 2], ["h2", "h3", 1, 0.5]]},
            r"the edges \['h0-2', 'h3', 1\] and \['h2', 'h3', 1, 0.5\] join the same two nodes after 1 step",
        ),
        ({"edges": [["x", "h"]] * 2}, "join the same two nodes after 0 step"),
        ({"edges": [["x", "h", 0.5]]}, "the delay 0.5"),
        ({"edges": [["x"]]}, "not .source, target, delay."),
        ({"edges": [["x", "h0-4"]]}, "no path leads from an input to the output h5"),
        ({"edges": [["x", "h0-1"], ["h3", "h4"]], "outputs": ["h1", "h4"]}, "no path .* to the output h4"),
        ({"edges": []}, "no path leads from an input"),
        ({"outputs": ["h0", "h0-2"]}, "each once"),
        ({"outputs": ["x0"]}, "names 'x0'"),
        ({"density": 0.0}, "density is 0.0"),
        ({"density": 0.5, "delays": [0, 1]}, r"delays is \[0, 1\]"),
        ({"density": 0.5, "edges": LAYERED}, "give one of them"),
        ({"adjacency": [[1, 0, 1]]}, r"1 rows of 3 entries, .* need \[6, 6\], or \[9, 6\]"),
        ({"adjacency": [[1, 0], [1]]}, "2 rows of 1 or 2 entries"),
        ({"adjacency": [["a"] * 6] * 6}, "takes a list, each of it a list, each of it a finite number"),
        ({"edges": 5}, "edges is 5; the graph cell takes a list"),
        ({"edges": ["x", "h"]}, "takes a list, each of it a list."),
        ({"edges": [["x", "h", 0, "w"]]}, "the weight 'w'"),
        ({"outputs": "h0"}, "outputs is 'h0'; the graph cell takes a list"),
        ({"density": 0.5, "delays": 3}, "delays is 3; .* each of it a whole number"),
        ({"density": 0.5, "seed": -1}, "seed is -1"),
        ({"delays": [2]}, r"delays=\[2\] and seed=0 are for a graph that is drawn"),
        ({"seed": 7}, "seed=7 are for a graph that is drawn"),
        ({"nonlinearity": "sin"}, "nonlinearity is 'sin'"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(**options)


def test_an_undirected_graph_is_refused() -> None:
    with pytest.raises(UserError, match="undirected"):
        graph_edges(nx.Graph([(0, 1)]))
    with pytest.raises(UserError, match=r"delays have the shape \[1, 2\]"):
        graph_edges(np.eye(2), delays=[[1, 1]])
