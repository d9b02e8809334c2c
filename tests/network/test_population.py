"""A population acts as its members would alone, whoever else is in it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN

from rlrnn.cells import CELLS
from rlrnn.errors import UserError
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.network.population import BLOCK, Population, genome, write

SEEN = spaces.Box(-1, 1, (3,))
ACTIONS: dict[str, spaces.Space[Any]] = {
    "choice": spaces.Discrete(5, start=2),
    "choices": spaces.MultiDiscrete([2, 3]),
    "bits": spaces.MultiBinary(2),
    "box": spaces.Box(-0.3, 0.4, (2,)),
}
P, E, STEPS = BLOCK + 3, 3, 7
EVERYONE = np.arange(P)


def network(cell: str = "gru", action: str = "choice", **more: Any) -> RecurrentNetwork:
    described = NetworkDescription(cell=cell, hidden_size=6, n_layers=2, actor_widths=(4,))
    return RecurrentNetwork(dataclasses.replace(described, **more), SEEN, ACTIONS[action])


def genomes(net: RecurrentNetwork) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(P, len(genome(net))))


SHOWN = np.random.default_rng(1).normal(size=(STEPS, P, E, 3)).astype(np.float32)


def played(net: RecurrentNetwork, table: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Actions [T, P, E, ...] of members who see [T, P, E, 3]."""
    crowd, rows = Population(net, table, E), np.arange(len(table) * E)
    acts = [crowd.act(seen.reshape(-1, 3), rows, np.arange(len(table))) for seen in shown]
    return np.stack(acts).reshape(STEPS, len(table), E, -1)


KINDS = {
    **{cell: {"cell": cell} for cell in CELLS},
    "relu head": {"activation": torch.nn.ReLU},
    "normalised head": {"head_norm": True},
    "softsign, no bias, no output layer": {
        "cell": "elman",
        "cell_options": {"nonlinearity": "softsign", "bias": False},
        "actor_widths": (),
        "output_layer": False,
    },
    "lstm without biases": {"cell": "lstm", "cell_options": {"bias": False}},
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_population_acts_as_its_members_alone(way: str, kind: dict[str, Any], action: str) -> None:
    net = network(action=action, **kind)
    table = genomes(net)
    together = played(net, table, SHOWN)
    assert (together != together[0, 0, 0]).any()
    for member in (0, 15, 16, 18):
        write(net, table[member])
        np.testing.assert_allclose(genome(net), table[member], rtol=1e-7)
        state = net.initial_state(E)[:, : net.state_sizes[0]]
        for t in range(STEPS):
            with torch.no_grad():
                told, state = net.act(
                    torch.from_numpy(SHOWN[t, member]), torch.zeros(E, dtype=torch.bool), state
                )
            alone = net.actuators.to_space(told.mode().numpy()).reshape(E, -1)
            np.testing.assert_allclose(together[t, member], alone, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_who_else_is_there_changes_no_bit(way: str, cell: str) -> None:
    net = network(cell, "box")
    table = genomes(net)
    everyone = played(net, table, SHOWN)
    block = slice(16, 19) if way == "torch" else slice(3, 5)  # torch: whole blocks, by whoever plays them
    assert played(net, table[block], SHOWN[:, block]).tobytes() == everyone[:, block].tobytes()
    crowd, members, rows = Population(net, table, E), EVERYONE, np.arange(P * E)
    rng = np.random.default_rng(2)
    for t in range(STEPS):
        acts = crowd.act(SHOWN[t].reshape(-1, 3)[rows], rows, members)
        assert acts.tobytes() == everyone[t].reshape(P * E, -1)[rows].tobytes()
        rows = rows[rng.random(len(rows)) < 0.7]  # some episodes end
        members = np.unique(rows // E)


def test_dictionaries_and_statistics_reach_the_members() -> None:
    seen = spaces.Dict({"place": spaces.Box(-9, 9, (2,)), "card": spaces.Discrete(3, start=1)})
    from stable_baselines3.common.torch_layers import CombinedExtractor

    described = NetworkDescription(
        cell="gru",
        hidden_size=4,
        actor_widths=(),
        extractor_class=CombinedExtractor,
        normalize_observations=True,
    )
    net = RecurrentNetwork(described, seen, ACTIONS["box"])
    rng = np.random.default_rng(0)
    shown = {"place": rng.normal(3, 5, (8, 2)).astype(np.float32), "card": rng.integers(1, 4, 8)}
    net.observe({key: torch.as_tensor(part) for key, part in shown.items()})
    acts = Population(net, [genome(net)] * 4, 2).act(shown, np.arange(8), np.arange(4))
    tensors = {key: torch.as_tensor(part) for key, part in shown.items()}
    told, _ = net.act(
        tensors, torch.zeros(8, dtype=torch.bool), net.initial_state(8)[:, : net.state_sizes[0]]
    )
    np.testing.assert_allclose(acts, net.actuators.to_space(told.mode().detach().numpy()), atol=1e-6)


@pytest.mark.parametrize("seen", [SEEN, spaces.Box(-1, 1, (2, 3), np.float64)])
@pytest.mark.parametrize("normalize", [False, True])
def test_boxes_are_read_as_the_sensors_read_them_bit_for_bit(seen: spaces.Box, normalize: bool) -> None:
    described = NetworkDescription(cell="gru", hidden_size=4, normalize_observations=normalize)
    net = RecurrentNetwork(described, seen, ACTIONS["box"])
    rng = np.random.default_rng(0)
    net.observe(torch.from_numpy(rng.normal(3, 0.1, (50, *seen.shape))))
    shown = rng.normal(2.9, 0.5, (20, *seen.shape)).astype(seen.dtype)  # some of it far out, and clipped
    read = net.sensors.reader()(shown)
    sensed = net.sensors(torch.from_numpy(shown)).numpy()
    assert read.tobytes() == sensed.tobytes()
    assert (np.abs(read).max() == 10.0) == normalize


def test_genomes_may_lie_in_any_order() -> None:
    net = network()
    table = genomes(net)
    assert (played(net, np.asfortranarray(table), SHOWN) == played(net, table, SHOWN)).all()


def test_what_only_the_learner_from_reward_needs_is_not_in_the_genome() -> None:
    own, shared = network(action="box"), network(action="box", critic="shared")
    assert len(genome(own)) == len(genome(shared))
    before = genome(own)
    with torch.no_grad():
        own.value.weight.add_(1.0)
        own.actuators.log_std.add_(1.0)
    assert (genome(own) == before).all()


def test_one_unit_without_output_layer_has_four_weights() -> None:
    options = {"bias": False}
    net = network(
        "elman", "box", hidden_size=2, n_layers=1, actor_widths=(), output_layer=False, cell_options=options
    )
    assert len(genome(net)) == 3 * 2 + 2 * 2
    with pytest.raises(UserError, match="first 2 units act themselves, but the last layer has 1"):
        network("elman", "box", hidden_size=1, n_layers=1, actor_widths=(), output_layer=False)


def test_genomes_that_do_not_fit_are_refused() -> None:
    net = network()
    size = len(genome(net))
    for table in (np.zeros((2, size + 1)), np.zeros(size)):
        with pytest.raises(UserError, match=rf"do not fit: this network has {size} weights"):
            Population(net, table, 1)
    pictures = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    net = RecurrentNetwork(NetworkDescription(extractor_class=NatureCNN), pictures, ACTIONS["choice"])
    with pytest.raises(UserError, match="sensors that learn"):
        genome(net)


def test_a_network_without_weights_cannot_be_evolved() -> None:
    description = NetworkDescription(
        cell="reservoir",
        hidden_size=4,
        critic="shared",
        actor_widths=(),
        critic_widths=(),
        output_layer=False,
    )
    network = RecurrentNetwork(description, spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2))
    with pytest.raises(UserError, match="no weights to evolve"):
        genome(network)
