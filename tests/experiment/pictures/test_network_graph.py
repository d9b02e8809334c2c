"""What is said of a network is what it is: blocks, links, meanings and the number of its weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from tiny_networks import BOX, network

from rlrnn.errors import UserError
from rlrnn.experiment import agents
from rlrnn.experiment.catalogue import agent as recipe_named
from rlrnn.experiment.pictures.network_graph import wiring
from rlrnn.experiment.recipes import override


def ends(wired):
    return [(link.source, link.target, link.delay) for link in wired.links]


def test_links_hold_the_weights_themselves():
    net = network(actor_widths=(5,))
    wired = wiring(net)
    assert ends(wired) == [
        ("x", "y", 0),
        ("y", "y", 1),
        ("y", "actor 1", 0),
        ("actor 1", "actions", 0),
        ("y", "value", 0),
    ]
    cell = net.memory.layers[0]
    for link, weight in zip(
        wired.links,
        (
            cell.weight_input,
            cell.weight_hidden,
            net.actor_head.layers[0].weight,
            net.actuators.output.weight,
            net.value.weight,
        ),
        strict=True,
    ):
        assert np.array_equal(link.weights, weight.detach().numpy()) and link.signed
    assert {name: block.size for name, block in wired.blocks.items()} == {
        "x": 3, "y": 4, "actor 1": 5, "actions": 2, "value": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("space", "labels", "words"),
    [
        (BOX, ["input 0", "input 1", "input 2"], "3 numbers"),
        (spaces.Box(-1, 1, (1, 2)), ["input 0,0", "input 0,1"], "2 numbers"),
        (spaces.Discrete(2, start=5), ["value 5", "value 6"], "one of 2 values"),
        (spaces.MultiDiscrete([2, 1]), ["number 0 is 0", "number 0 is 1", "number 1 is 0"], "2 choices"),
        (spaces.MultiBinary(2), ["switch 0", "switch 1"], "2 switches"),
    ],
)
def test_inputs_are_called_by_what_they_mean(space, labels, words):
    net = network(space)
    block = wiring(net).blocks["x"]
    assert list(block.labels) == labels and block.words == words
    assert block.size == len(labels) == net.sensors.output_size


def test_inputs_of_a_dict_are_called_by_key():
    space = spaces.Dict({"pole": spaces.Box(-1, 1, (2,)), "card": spaces.Discrete(3)})
    net = network(space, extractor_class=CombinedExtractor)
    block = wiring(net).blocks["x"]
    assert block.size == len(block.labels) == 5 and block.words == "card: one of 3 values\npole: 2 numbers"
    # The unit that a label names is the one that hears it.
    seen = {"card": torch.tensor([2]), "pole": torch.tensor([[0.25, 0.5]])}
    x = net.sensors(seen)[0].tolist()
    assert dict(zip(block.labels, x, strict=True)) == {
        "card: value 0": 0, "card: value 1": 0, "card: value 2": 1, "pole: input 0": 0.25,
        "pole: input 1": 0.5,
    }  # fmt: skip


def test_an_image_stands_before_the_features_made_of_it():
    space = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    wired = wiring(network(space, extractor_class=NatureCNN, extractor_options={"features_dim": 7}))
    assert (
        wired.blocks["observation"].words == "image 3 × 36 × 36" and wired.blocks["observation"].size is None
    )
    assert (wired.blocks["x"].kind, wired.blocks["x"].size) == ("hidden", 7)
    assert ends(wired)[0] == ("observation", "x", 0) and wired.links[0].weights is None


@pytest.mark.parametrize(
    ("space", "labels"),
    [
        (spaces.Discrete(2, start=3), ["action 3", "action 4"]),
        (spaces.MultiDiscrete([1, 2]), ["choice 0 is 0", "choice 1 is 0", "choice 1 is 1"]),
        (spaces.MultiBinary(2), ["switch 0", "switch 1"]),
        (spaces.Box(-1, 1, (2,)), ["mean of action 0", "mean of action 1"]),
    ],
)
def test_outputs_are_called_by_what_they_do(space, labels):
    net = network(acts=space)
    block = wiring(net).blocks["actions"]
    assert list(block.labels) == labels and block.size == net.actuators.output.weight.shape[1]


@pytest.mark.parametrize(
    ("actions", "space", "labels", "words"),
    [
        (
            "greedy",
            spaces.Discrete(2, start=3),
            ["value of action 3", "value of action 4"],
            "values of\n2 actions",
        ),
        (
            "squashed",
            spaces.Box(-1, 1, (1,)),
            ["mean of action 0", "spread of action 0"],
            "1 number:\nmean and spread",
        ),
        (
            "squashed",
            spaces.Box(-1, 1, (2,)),
            ["mean of action 0", "mean of action 1", "spread of action 0", "spread of action 1"],
            "2 numbers:\nmeans and spreads",
        ),
    ],
)
def test_outputs_of_learners_from_replay_are_values_or_means_and_spreads(actions, space, labels, words):
    net = network(acts=space, actions=actions, critic="none")
    block = wiring(net).blocks["actions"]
    assert list(block.labels) == labels and block.words == words
    assert block.size == net.actuators.output.weight.shape[1]


@pytest.mark.parametrize(
    ("cell", "unsigned"), [("elman", []), ("gru", [0, 1]), ("lstm", [0, 1, 2, 3]), ("fir", []), ("graph", [])]
)
def test_norms_over_gates_are_told_from_weights(cell, unsigned):
    net = network(cell=cell)
    with torch.no_grad():  # weights that are all above 0 are weights nevertheless
        net.memory.layers[0].get_parameter("weight" if cell == "graph" else "weight_input").abs_()
    signed = [link.signed for link in wiring(net).links]
    assert [n for n, has in enumerate(signed) if not has] == unsigned


def test_outputs_that_are_units_by_another_name_are_left_out():
    edges = [["x", "h0"], ["h0", "h1", 2], ["h1", "h0", 1], ["h1", "h2", 0]]
    net = network(cell="graph", hidden_size=3, cell_options={"edges": edges, "outputs": ["h2", "h0"]})
    wired = wiring(net)
    assert "y" not in wired.blocks
    rows = {link.source: link.weights for link in wired.links if link.target == "actions"}
    weight = net.actuators.output.weight.detach().numpy()
    assert set(rows) == {"h2", "h0"}
    assert np.array_equal(rows["h2"], weight[:1]) and np.array_equal(rows["h0"], weight[1:])
    # An LSTM's output is no name of its cell, not even where there is one unit.
    assert ("c", "y", 0) in ends(wiring(network(cell="lstm", hidden_size=1)))


def test_layers_are_chained():
    wired = wiring(network(cell="gru", n_layers=2))
    assert ends(wired)[:4] == [("x", "y1", 0), ("y1", "y1", 1), ("y1", "y", 0), ("y", "y", 1)]


@pytest.mark.parametrize(
    ("critic", "drawn"), [("own", False), ("feedforward", False), ("shared", True), ("detached", True)]
)
def test_the_value_is_shown_where_it_reads_the_same_memory(critic, drawn):
    assert ("value" in wiring(network(critic=critic)).blocks) == drawn


def test_an_evolved_agent_has_no_value_and_a_known_number_of_weights():
    agent = agents.untrained(recipe_named("cartpole-evolved"))
    wired = wiring(agent)
    assert "value" not in wired.blocks
    # 3 gates x 8 units x (2 inputs + 8 units + 2 biases), 2 actions x (8 units + 1 bias); as its recipe says
    assert wired.caption == "gru, 8 units; 306 parameters; infinite impulse response: y -> y"
    assert wiring(agents.untrained(recipe_named("double-pole-evolved"))).caption.startswith(
        "elman, 1 unit; 4 parameters; "
    )


def test_long_circles_are_counted():
    edges = [["x", "h"], *([f"h{k}", f"h{(k + 1) % 9}", 1] for k in range(9))]
    wired = wiring(network(cell="graph", hidden_size=9, cell_options={"edges": edges}))
    assert wired.caption.endswith("infinite impulse response: a cycle of 9 units")
    finite = wiring(network(cell="fir", cell_options={"taps": 9}))
    assert finite.caption.endswith("finite impulse response: 9 steps")


def test_an_untrained_agent_is_that_of_its_recipe():
    recipe = override(recipe_named("pong-gru"), ["network.cell=lstm", "network.hidden_size=5"])
    network = agents.untrained(recipe).policy.network
    assert (network.description.cell, network.description.hidden_size) == ("lstm", 5)


def test_what_has_no_network_is_refused():
    with pytest.raises(UserError, match="a SimpleNamespace cannot be drawn: give an agent"):
        wiring(SimpleNamespace())
