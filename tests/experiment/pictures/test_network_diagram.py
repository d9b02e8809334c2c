"""What is shown is what there is: every connection once, or blocks with the right numbers."""

import math
from collections import Counter

import numpy as np
import pytest
from gymnasium import spaces
from tiny_networks import network

from rlrnn.experiment import agents
from rlrnn.experiment.catalogue import agent as recipe_named
from rlrnn.experiment.pictures import network_layout
from rlrnn.experiment.pictures.network_diagram import diagram_of, is_small
from rlrnn.experiment.pictures.network_graph import Block, Link, Wiring, wiring


def shown(diagram):
    """Every arrow of units as (source, target, delay, weight)."""
    names = [node.name for node in diagram.nodes]
    return Counter((names[a.source], names[a.target], *a.strengths[0]) for a in diagram.arrows)


def connections(weight, source, target, delay=0):
    """What should be shown of a matrix of weights between units of these names."""
    weight = weight.detach().numpy()
    return Counter(
        (s, t, delay, float(weight[i, j]))
        for i, s in enumerate(source)
        for j, t in enumerate(target)
        if weight[i, j]
    )


def named(block, size):
    return [f"{block} {k}" for k in range(size)]


X, Y, A = named("x", 3), named("y", 4), named("actions", 2)


def test_every_connection_of_an_elman_network_is_shown_once():
    net = network()
    cell = net.memory.layers[0]
    cell.weight_hidden.data[1, 2] = 0.0
    diagram = diagram_of(wiring(net))
    assert diagram.units and len(diagram.nodes) == 3 + 4 + 2 + 1
    assert shown(diagram) == (
        connections(cell.weight_input, X, Y)
        + connections(cell.weight_hidden, Y, Y, 1)
        + connections(net.actuators.output.weight, Y, A)
        + connections(net.value.weight, Y, ["value"])
    )
    assert len(diagram.arrows) == 12 + 15 + 8 + 4


def test_every_tap_is_shown_with_its_delay():
    net = network(cell="fir", cell_options={"taps": 3, "dilation": 2}, critic="own")
    cell = net.memory.layers[0]
    taps = [cell.weight_input, *cell.weight_delayed.view(2, 3, 4)]
    expected = sum((connections(tap, X, Y, 2 * k) for k, tap in enumerate(taps)), Counter())
    assert shown(diagram_of(wiring(net))) == expected + connections(net.actuators.output.weight, Y, A)


def test_every_edge_of_a_graph_is_shown_once():
    edges = [
        ["x0-1", "h0"],
        ["h0", "h3", 2],
        ["h0", "h3", 0],
        ["h3", "h0", 1],
        ["x2", "h1-2", 3],
        ["h2", "h2"],
    ]
    net = network(cell="graph", cell_options={"edges": edges}, critic="own")
    units = [f"h{k}" for k in range(4)]
    expected = connections(net.actuators.output.weight, units, A)
    for delay, weight in enumerate(net.memory.layers[0].by_delay()):
        expected += connections(weight, [*X, *units], units, delay)
    assert shown(diagram_of(wiring(net))) == expected


def test_units_that_act_themselves_are_the_outputs():
    agent = agents.untrained(recipe_named("double-pole-evolved"))
    cell = agent.policy.network.memory.layers[0]
    diagram = diagram_of(wiring(agent))
    assert [(n.name, n.kind) for n in diagram.nodes][-1] == ("y", "output") and len(diagram.nodes) == 4
    assert diagram.nodes[-1].label == "mean of action 0"
    assert shown(diagram) == connections(cell.weight_input, X, ["y"]) + connections(
        cell.weight_hidden, ["y"], ["y"], 1
    )


def test_a_large_network_is_summed_up():
    net = network(acts=spaces.Discrete(5), cell="gru", hidden_size=64)
    diagram = diagram_of(wiring(net))
    assert not diagram.units
    assert [(n.name, n.size, n.label) for n in diagram.nodes] == [
        ("x", 3, "3 numbers"),
        ("actions", 5, "5 actions"),
        ("value", 1, ""),
        ("y", 64, ""),
    ]
    counts = {(diagram.nodes[a.source].name, diagram.nodes[a.target].name): a for a in diagram.arrows}
    assert {pair: arrow.count for pair, arrow in counts.items()} == {
        ("x", "y"): 3 * 64,
        ("y", "y"): 64 * 64,
        ("y", "actions"): 64 * 5,
        ("y", "value"): 64,
    }
    # The root of the mean square of norms over three gates is that of all weights, times the root of 3.
    weights = net.memory.layers[0].weight_hidden.detach().numpy()
    ((delay, strength),) = counts["y", "y"].strengths
    assert delay == 1 and strength == pytest.approx(math.sqrt(3 * np.mean(weights**2)))
    assert not counts["y", "y"].signed and counts["y", "actions"].signed


def test_many_delays_are_one_arrow_that_knows_each():
    net = network(cell="fir", hidden_size=30, cell_options={"taps": 17})
    (arrow,) = [a for a in diagram_of(wiring(net)).arrows if len(a.strengths) > 1]
    assert arrow.count == 17 * 3 * 30 and [delay for delay, _ in arrow.strengths] == list(range(17))
    last = net.memory.layers[0].weight_delayed.detach().numpy()[-3:]
    assert arrow.strengths[-1][1] == pytest.approx(np.sqrt(np.mean(last**2)))


def test_single_units_of_a_large_graph_are_summed_up_by_column():
    edges = [["x", "h0-29"], ["h0-29", "h30-49", 0], ["h30-49", "h30-49", 1]]
    net = network(cell="graph", hidden_size=50, cell_options={"edges": edges}, critic="own")
    diagram = diagram_of(wiring(net))
    names = [node.name for node in diagram.nodes]
    assert {node.name: node.size for node in diagram.nodes} == {"x": 3, "actions": 2, "h 1": 30, "h 2": 20}
    assert {(names[a.source], names[a.target]): a.count for a in diagram.arrows} == {
        ("x", "h 1"): 90, ("h 1", "h 2"): 600, ("h 2", "h 2"): 400, ("h 1", "actions"): 60,
        ("h 2", "actions"): 40,
    }  # fmt: skip
    # A circle keeps its units in one column, however they hear each other.
    ring = [["x", "h0"], *([f"h{k}", f"h{(k + 1) % 60}", 1] for k in range(60))]
    net = network(cell="graph", hidden_size=60, cell_options={"edges": ring})
    assert {n.name: n.size for n in diagram_of(wiring(net)).nodes if n.kind == "hidden"} == {"h": 60}


def test_what_is_not_known_is_shown_without_numbers():
    blocks = [Block("x", "input", 2), Block("state"), Block("y", size=2), Block("actions", "output", 1)]
    links = [
        Link("x", "state"),
        Link("state", "state", 1),
        Link("state", "y"),
        Link("y", "actions", 0, np.ones((2, 1))),
    ]
    wired = Wiring({block.name: block for block in blocks}, links)
    diagram = diagram_of(wired)
    assert not diagram.units and [node.size for node in diagram.nodes] == [2, None, 2, 1]
    assert [(a.strengths, a.count) for a in diagram.arrows] == [
        (((0, None),), 0), (((1, None),), 0), (((0, None),), 0), (((0, 1.0),), 2)
    ]  # fmt: skip


def test_where_an_arrow_would_cross_a_unit_blocks_are_shown(monkeypatch):
    edges = [["x", "h0"], ["h0", "h1", 0], ["x", "h1"]]
    options = {"edges": edges, "outputs": ["h1"]}
    net = network(spaces.Box(-1, 1, (1,)), cell="graph", hidden_size=2, cell_options=options)
    assert diagram_of(wiring(net)).units
    monkeypatch.setattr(network_layout, "BENDS", (0.0,))
    assert not diagram_of(wiring(net)).units


def test_up_to_40_units_and_300_connections_are_shown_one_by_one():
    def wired(inputs, outputs, taps=1):
        blocks = {"x": Block("x", "input", inputs), "actions": Block("actions", "output", outputs)}
        return Wiring(blocks, [Link("x", "actions", k, np.ones((inputs, outputs))) for k in range(taps)])

    assert is_small(wired(35, 5)) and not is_small(wired(36, 5))
    assert is_small(wired(30, 10)) and not is_small(wired(28, 11))
    assert is_small(wired(2, 2, 4)) and not is_small(wired(2, 2, 5))
