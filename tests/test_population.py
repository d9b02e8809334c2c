"""A population acts as its members would alone, whoever else is in it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlrnn.cells import CELLS
from rlrnn.errors import UserError
from rlrnn.network import NetworkDescription, RecurrentNetwork
from rlrnn.population import Population, genome, write

SEEN = spaces.Box(-1, 1, (3,))
ACTIONS = {
    "choice": spaces.Discrete(5),
    "choices": spaces.MultiDiscrete([2, 3]),
    "bits": spaces.MultiBinary(2),
    "box": spaces.Box(-0.3, 0.4, (2,)),
}
P, E, STEPS = 5, 3, 7


def network(cell: str = "gru", action: str = "choice", **more: object) -> RecurrentNetwork:
    described = NetworkDescription(cell=cell, hidden_size=6, n_layers=2, actor_widths=(4,))
    return RecurrentNetwork(dataclasses.replace(described, **more), SEEN, ACTIONS[action])


def genomes(net: RecurrentNetwork, members: int = P) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(members, len(genome(net))))


def played(population: Population, seen: torch.Tensor, starts: torch.Tensor) -> list[np.ndarray]:
    state, actions = population.initial_state(E), []
    for observation, start in zip(seen, starts, strict=True):
        action, state = population.act(observation, start, state)
        actions.append(action)
    return actions


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_population_acts_as_its_members_alone(cell: str, action: str) -> None:
    net = network(cell, action)
    table = genomes(net)
    seen, starts = torch.randn(STEPS, P * E, 3), torch.rand(STEPS, P * E) < 0.2
    together = played(Population(net, table), seen, starts)
    assert any((a != together[0]).any() for a in together)
    for member in range(P):
        write(net, table[member])
        np.testing.assert_allclose(genome(net), table[member], rtol=1e-7)
        state = net.initial_state(E)[:, : net.state_sizes[0]]
        rows = slice(member * E, (member + 1) * E)
        for t in range(STEPS):
            with torch.no_grad():
                told, state = net.act(seen[t, rows], starts[t, rows], state)
            alone = net.actuators.to_space(told.mode().numpy())
            np.testing.assert_allclose(together[t][rows], alone, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_who_else_is_there_changes_no_bit(cell: str) -> None:
    net = network(cell, "box")
    table = genomes(net, 9)
    seen, starts = torch.randn(STEPS, 9, E, 3), torch.rand(STEPS, 9, E) < 0.2
    everyone = played(Population(net, table), seen.flatten(1, 2), starts.flatten(1, 2))
    for some in ([0], [8], [1, 4, 5], [2, 3, 4, 5, 6, 7, 8]):
        kept = Population(net, table)
        kept.keep(np.array(some))
        for population in (kept, Population(net, table[some])):
            fewer = played(population, seen[:, some].flatten(1, 2), starts[:, some].flatten(1, 2))
            for one, all_ in zip(fewer, everyone, strict=True):
                assert one.tobytes() == all_.reshape(9, E, -1)[some].tobytes()


def test_what_only_the_learner_from_reward_needs_is_not_in_the_genome() -> None:
    own, shared = network(action="box"), network(action="box", critic="shared")
    assert len(genome(own)) == len(genome(shared))
    before = genome(own)
    with torch.no_grad():
        own.value.weight.add_(1.0)
        own.actuators.log_std.add_(1.0)
    assert (genome(own) == before).all()


def test_genomes_that_do_not_fit_are_refused() -> None:
    net = network()
    size = len(genome(net))
    for table in (np.zeros((2, size + 1)), np.zeros(size)):
        with pytest.raises(UserError, match=rf"do not fit: this network has {size} weights"):
            Population(net, table)
    pictures = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    from stable_baselines3.common.torch_layers import NatureCNN

    net = RecurrentNetwork(NetworkDescription(extractor_class=NatureCNN), pictures, ACTIONS["choice"])
    with pytest.raises(UserError, match="sensors that learn"):
        genome(net)
