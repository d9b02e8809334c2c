"""Nodes stand apart, and arrows lead from node to node without touching others."""

from itertools import combinations

import numpy as np
import pytest
from tiny_networks import network

from rlrnn.cells import CELLS
from rlrnn.experiment.pictures.network_diagram import diagram_of
from rlrnn.experiment.pictures.network_graph import wiring
from rlrnn.experiment.pictures.network_layout import BOX, CLEAR, RADIUS, Arrow, Node, arrange, curve

EDGES = [["x", "h0-2"], ["h0-2", "h3", 2], ["h3", "h0", 1], ["x", "h4-5"], ["h4-5", "h3", 0]]
NETWORKS = [
    *((cell, size, {}) for cell in CELLS for size in (1, 4, 64)),
    ("elman", 12, {}),
    ("gru", 2, {"n_layers": 3}),
    ("graph", 6, {"cell_options": {"edges": EDGES}}),
    ("graph", 20, {"cell_options": {"density": 0.12, "delays": [1, 2], "seed": 1}}),
    ("graph", 60, {"cell_options": {"density": 0.1}}),
    ("fir", 4, {"cell_options": {"taps": 3}}),
    ("lstm", 3, {"actor_widths": (3, 2), "critic_widths": (4,)}),
]


@pytest.fixture(scope="module", params=NETWORKS, ids=str)
def diagram(request):
    cell, size, how = request.param
    return diagram_of(wiring(network(cell=cell, hidden_size=size, **how)))


def test_nodes_stand_apart(diagram):
    for one, other in combinations(np.array([node.place for node in diagram.nodes]), 2):
        apart = abs(one - other)
        if diagram.units:
            assert np.hypot(*apart) >= 1.0 - 1e-9
        else:
            assert (apart > 2.2 * np.array(BOX)).any()


def test_inputs_stand_first_and_outputs_last(diagram):
    across = {
        kind: [n.place[0] for n in diagram.nodes if n.kind == kind] for kind in ("input", "hidden", "output")
    }
    assert max(across["input"]) < min(across["hidden"]) <= max(across["hidden"]) < min(across["output"])
    for arrow in diagram.arrows:  # what is heard within the step leads on
        if arrow.strengths[0][0] == 0:
            assert diagram.nodes[arrow.source].place[0] < diagram.nodes[arrow.target].place[0]


def test_arrows_lead_from_border_to_border_past_other_nodes(diagram):
    places = np.array([node.place for node in diagram.nodes])
    for arrow in diagram.arrows:
        way = curve(diagram, arrow)
        assert len(way) > 5
        off = abs(way[:, None] - places)  # [N, nodes, 2]
        if diagram.units:
            near = np.hypot(off[..., 0], off[..., 1]) - RADIUS
            assert near[0, arrow.source] < 0.25 and near[-1, arrow.target] < 0.25
        else:
            near = (off - BOX).max(axis=-1)
        assert near.min() >= -1e-9
        others = np.delete(near, [arrow.source, arrow.target], axis=1)
        assert others.min(initial=np.inf) >= CLEAR - 1e-9


def test_no_arrow_hides_another(diagram):
    seen = set()
    for arrow in diagram.arrows:
        if arrow.source == arrow.target:
            continue
        back = arrow.source > arrow.target
        ends = (arrow.target, arrow.source) if back else (arrow.source, arrow.target)
        way = (*ends, -arrow.bend if back else arrow.bend)
        assert way not in seen
        seen.add(way)


def test_units_that_hear_each_other_share_a_column_and_have_both_its_sides():
    diagram = diagram_of(wiring(network(cell="elman")))
    units = [n for n, node in enumerate(diagram.nodes) if node.block == "y"]
    x = {diagram.nodes[n].place[0] for n in units}
    assert len(x) == 1
    for arrow in diagram.arrows:
        if arrow.source in units and arrow.target in units and arrow.source != arrow.target:
            down = diagram.nodes[arrow.source].place[1] > diagram.nodes[arrow.target].place[1]
            bulge = curve(diagram, arrow)[:, 0] - min(x)
            assert bulge.max() <= RADIUS if down else bulge.min() >= -RADIUS
            assert abs(bulge).max() > 0.2


def test_the_columns_of_the_example_graph():
    diagram = diagram_of(wiring(network(cell="graph", hidden_size=6, cell_options={"edges": EDGES})))
    across = {node.name: node.place[0] for node in diagram.nodes}
    order = [{name for name in across if across[name] == x} for x in sorted(set(across.values()))]
    assert order[1:3] == [{"h0", "h1", "h2", "h4", "h5"}, {"h3"}]


def test_circles_without_delay_and_units_without_inputs_are_drawn_nevertheless():
    nodes = [
        Node(name, kind, name, (0.0, 0.0))
        for name, kind in (("x", "input"), ("a", "hidden"), ("b", "hidden"))
    ]
    nodes.append(Node("c", "output", "c", (0.0, 0.0)))
    arrows = [Arrow(s, t, ((0, 1.0),)) for s, t in ((1, 2), (2, 1), (2, 3))]
    diagram = arrange(nodes, arrows, units=True)
    assert len({node.place for node in diagram.nodes}) == 4
    assert diagram.nodes[0].place[0] < diagram.nodes[1].place[0] < diagram.nodes[3].place[0]
