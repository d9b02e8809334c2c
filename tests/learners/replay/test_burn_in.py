"""Over its first steps a row's memory is brought up to date, and nothing is learned from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from rlrnn.common.batches import map_arrays
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.replay.burn_in import after_burn_in
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.testing.rounding import assert_close, bound

STEPS, ROWS = 12, 3
BOX = spaces.Box(-1, 1, (3,))
KEYED = spaces.Dict({"a": BOX, "b": BOX})
CELLS = ["elman", "gru", "lstm", "fir", "mingru"]


def network(cell: str) -> RecurrentNetwork:
    """Actor and critic remember apart."""
    how: dict[str, Any] = {"cell": cell, "hidden_size": 5, "n_layers": 2, "orthogonal": False}
    return RecurrentNetwork(NetworkDescription(**how), BOX, spaces.Discrete(2))


def rows_of(net: RecurrentNetwork) -> Rows:
    shape = (STEPS, ROWS)
    return Rows(
        observation=torch.randn(STEPS + 1, ROWS, 3),
        start=torch.rand(STEPS + 1, ROWS) < 0.15,
        state=torch.randn(ROWS, net.state_size),
        action=torch.zeros(*shape, 1, dtype=torch.int64),
        reward=torch.zeros(shape),
        terminated=torch.zeros(shape, dtype=torch.bool),
        weight=torch.ones(STEPS + 1, ROWS),
    )


@pytest.mark.parametrize("burn_in", [1, 5, STEPS - 1])
@pytest.mark.parametrize("which", ["actor", "critic"])
@pytest.mark.parametrize("cell", CELLS)
def test_what_comes_after_it_is_as_without_it(cell: str, which: str, burn_in: int) -> None:
    """With the weights as they are, from the same first state; each stream in its own part of the state."""
    net = network(cell)
    stream, rows = getattr(net, which), rows_of(net)
    with torch.no_grad():
        whole = stream.outputs(stream.features(rows.observation), rows.start, rows.state)
        observation, start, state = after_burn_in(stream, rows, rows.state, burn_in)
        later = stream.outputs(stream.features(observation), start, state)
    assert torch.equal(start, rows.start[burn_in:]) and torch.equal(observation, rows.observation[burn_in:])
    assert_close([later], [whole[burn_in:]], bound(torch.float32, STEPS, ROWS, 10))
    others = torch.ones(net.state_size, dtype=torch.bool)
    others[stream.columns] = False
    assert torch.equal(state[:, others], rows.state[:, others]) and others.any()


@pytest.mark.parametrize("cell", CELLS)
def test_a_whole_prefix_mends_whatever_was_stored(cell: str) -> None:
    """Over an episode from its beginning, nothing is left of what other weights had remembered."""
    net = network(cell)
    rows = rows_of(net)
    rows.start[:], rows.start[0] = False, True
    with torch.no_grad():
        found = [after_burn_in(net.actor, rows, state, 6)[2] for state in (rows.state, 9.0 - rows.state)]
    own = [state[:, net.actor.columns] for state in found]
    assert torch.equal(*own) and not torch.equal(own[0], rows.state[:, net.actor.columns])


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_enters_it(cell: str) -> None:
    net = network(cell)
    stream, rows = net.actor, rows_of(net)
    rows.start[:] = False

    def gradients(burn_in: int, state: Tensor, observation: Tensor) -> list[Tensor]:
        """By observations, by the first state, and by the weights of the memory."""
        observation, state = observation.clone().requires_grad_(), state.clone().requires_grad_()
        given = Rows(**{**vars(rows), "observation": observation, "start": rows.start[-len(observation) :]})
        later, start, burned = after_burn_in(stream, given, state, burn_in)
        loss = stream.outputs(stream.features(later), start, burned).square().sum()
        return list(torch.autograd.grad(loss, (observation, state, *net.memory.parameters())))

    by_seen, by_state, *by_weights = gradients(5, rows.state, rows.observation)
    assert not by_seen[:5].any() and by_seen[5:].any() and not by_state[:, stream.columns].any()
    held = after_burn_in(stream, rows, rows.state, 5)[2]
    expected = gradients(0, held, rows.observation[5:])[2:]
    assert_close(by_weights, expected, bound(torch.float32, STEPS, ROWS, 10))
    through = gradients(0, rows.state, rows.observation)  # the control: without it all of them are
    assert through[0][:5].any() and through[1].any()


def test_without_it_rows_are_as_they_were() -> None:
    net = network("gru")
    rows = rows_of(net)
    observation, start, state = after_burn_in(net.actor, rows, rows.state, 0)
    assert observation is rows.observation and start is rows.start and state is rows.state


def test_the_stored_state_is_not_written_into() -> None:
    net = network("gru")
    rows = rows_of(net)
    kept = rows.state.clone()
    assert not torch.equal(after_burn_in(net.actor, rows, rows.state, 4)[2], kept)
    assert torch.equal(rows.state, kept)


def test_a_row_keeps_one_step_to_learn_from() -> None:
    """As where nothing remembers, and rows are of one step."""
    net = network("gru")
    rows = rows_of(net)
    for burn_in in (STEPS - 1, STEPS, 100):
        assert len(after_burn_in(net.actor, rows, rows.state, burn_in)[1]) == 2


def test_a_dict_is_cut_key_by_key() -> None:
    from stable_baselines3.common.torch_layers import CombinedExtractor

    description = NetworkDescription(cell="gru", hidden_size=5, extractor_class=CombinedExtractor)
    net = RecurrentNetwork(description, KEYED, spaces.Discrete(2))
    rows = rows_of(net)
    keyed = {key: torch.randn(STEPS + 1, ROWS, 3) for key in "ab"}
    rows = Rows(**{**vars(rows), "observation": keyed})
    with torch.no_grad():
        observation, _, state = after_burn_in(net.actor, rows, rows.state, 4)
        for t in range(4):
            rows.state[:, net.actor.columns] = net.act(
                map_arrays(lambda a: a[t], keyed),  # noqa: B023
                rows.start[t],
                rows.state[:, net.actor.columns],
            )[1]
    assert all(torch.equal(observation[key], keyed[key][4:]) for key in "ab")
    own = [each[:, net.actor.columns] for each in (state, rows.state)]
    assert_close(own[:1], own[1:], bound(torch.float32, 4, ROWS, 5))
