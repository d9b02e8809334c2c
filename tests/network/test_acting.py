"""Playing by kernels is playing by the network's own modules, to rounding, with the same draws."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlrnn.common import compiling
from rlrnn.network import acting
from rlrnn.network.network import NetworkDescription, RecurrentNetwork

SEEN = spaces.Box(-1, 1, (3,))
ACTIONS: list[spaces.Space[Any]] = [
    spaces.Discrete(3),
    spaces.MultiDiscrete([2, 4]),
    spaces.Box(-1, 1, (2, 2)),
]

pytestmark = pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")


def network(action_space: spaces.Space[Any] = ACTIONS[0], **description: Any) -> RecurrentNetwork:
    described = NetworkDescription(**{"hidden_size": 9, "orthogonal": False, **description})
    return RecurrentNetwork(described, SEEN, action_space)


def inputs(net: RecurrentNetwork, rows: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 3), torch.rand(rows) < 0.4, torch.randn(rows, net.state_size)


@torch.no_grad()
def both_ways(net: RecurrentNetwork, *given: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    ways = (acting.acting, acting.by_torch)
    return [way(net, torch.Generator().manual_seed(5))(*given) for way in ways]


@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
@pytest.mark.parametrize("critic", ["own", "shared", "detached", "feedforward"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_kernels_play_as_torch_does(cell: str, critic: str, action_space: spaces.Space[Any]) -> None:
    for layers, activation in ((1, nn.Tanh), (2, nn.ReLU)):
        net = network(action_space, cell=cell, critic=critic, n_layers=layers, activation=activation)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.5)
        assert acting.plans_of(net)
        for ours, theirs in zip(*both_ways(net, *inputs(net)), strict=True):
            assert ours.dtype == theirs.dtype
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize(
    "more",
    [
        {"activation": nn.Identity},
        {"output_layer": False},
        {"output_layer": False, "actor_widths": (), "critic_widths": ()},
        {"share_extractor": False, "normalize_observations": True},
        {"share_extractor": False, "normalize_observations": True, "critic": "feedforward"},
    ],
    ids=str,
)
def test_kernels_play_by_any_head_and_sensors(more: dict[str, Any]) -> None:
    net = network(cell="gru", **more)
    if net.critic_sensors is not None:  # which see otherwise than the actor's
        net.sensors.update(torch.randn(50, 3))
        net.critic_sensors.update(2.0 + 3.0 * torch.randn(50, 3))
    assert acting.plans_of(net)
    for ours, theirs in zip(*both_ways(net, *inputs(net)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("options", [{"bias": False}, {"nonlinearity": "relu"}, {"nonlinearity": "softsign"}])
def test_the_cells_options_are_heard(options: dict[str, Any]) -> None:
    net = network(cell="elman", cell_options=options)
    for ours, theirs in zip(*both_ways(net, *inputs(net)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=3e-6)


def test_weights_are_read_where_they_lie() -> None:
    """An optimizer's step is heard without binding anew."""
    net = network(cell="gru")
    given = inputs(net)
    with torch.no_grad():
        act = acting.acting(net, torch.Generator().manual_seed(0))
        before = act(*given)[2]
        net.value.bias.add_(1.0)
        torch.testing.assert_close(act(*given)[2], before + 1.0)


@pytest.mark.parametrize("critic", ["own", "shared", "feedforward"])
def test_any_number_of_threads_plays_the_same_bytes(critic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(cell="lstm", critic=critic)
    given = torch.randn(50, 3), torch.rand(50) < 0.3, torch.randn(50, net.state_size)

    def play(threads: int) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return acting.acting(net, torch.Generator().manual_seed(0), threads)(*given)

    wanted = play(1)
    monkeypatch.setattr(acting, "SHARE", 0.0)
    for threads in (2, 3):
        assert all(map(torch.equal, play(threads), wanted))


@pytest.mark.parametrize("more", [{}, {"share_extractor": False, "normalize_observations": True}], ids=str)
@pytest.mark.parametrize("critic", ["own", "shared", "detached", "feedforward"])
def test_values_are_those_of_a_step(critic: str, more: dict[str, Any]) -> None:
    net = network(cell="gru", critic=critic, **(more if critic in ("own", "feedforward") else {}))
    if net.critic_sensors is not None:
        net.critic_sensors.update(2.0 + 3.0 * torch.randn(50, 3))
    given = inputs(net)
    with torch.no_grad():
        values = acting.valuing(net)(*given)
        assert torch.equal(values, acting.acting(net, torch.Generator())(*given)[2])
        torch.testing.assert_close(values, net.value_of(*given), rtol=1e-5, atol=3e-6)


def test_a_state_is_never_written_into() -> None:
    net = network(cell="lstm")
    seen, start, state = inputs(net)
    kept = state.clone()
    after = both_ways(net, seen, start, state)[0][3]
    assert torch.equal(state, kept) and after.data_ptr() != state.data_ptr()


@pytest.mark.parametrize("normalize", [False, True])
def test_no_layout_of_observations_is_compiled_for_apart(normalize: bool) -> None:
    from rlrnn.cells.kernels import stepping

    net = network(cell="gru", normalize_observations=normalize)
    x, *more = inputs(net)
    rows = both_ways(net, x, *more)[0]
    known = list(stepping.step.signatures)
    columns = both_ways(net, x.t().contiguous().t(), *more)[0]  # the same numbers, column by column
    assert all(torch.equal(*pair) for pair in zip(rows, columns, strict=True))
    assert stepping.step.signatures == known


def test_choices_have_the_softmax_probabilities() -> None:
    net = network(spaces.MultiDiscrete([2, 3]), cell="elman", critic="shared")
    with torch.no_grad():
        for parameter in net.actuators.parameters():
            parameter.zero_()
        net.actuators.output.bias[:] = torch.tensor([0.0, 1.0, 0.5, -0.5, 0.0])
        rows = 40_000
        act = acting.acting(net, torch.Generator().manual_seed(0))
        given = torch.zeros(rows, 3), torch.ones(rows, dtype=torch.bool), torch.zeros(rows, net.state_size)
        action, log_prob, *_ = act(*given)
    first, second = (torch.softmax(part, 0) for part in net.actuators.output.bias.detach().split([2, 3]))
    expected = np.outer(first, second)
    counts = np.zeros((2, 3))
    np.add.at(counts, (action[:, 0].numpy(), action[:, 1].numpy()), 1)
    np.testing.assert_allclose(counts / rows, expected, atol=4 * np.sqrt(0.25 / rows))
    np.testing.assert_allclose(log_prob.exp(), expected[action[:, 0], action[:, 1]], rtol=1e-5)


def moved(net: RecurrentNetwork) -> None:
    for parameter in net.parameters():
        parameter.data = parameter.data + 0.1


def replaced(net: RecurrentNetwork) -> None:
    net.load_state_dict({name: value + 0.1 for name, value in net.state_dict().items()}, assign=True)


def learned(net: RecurrentNetwork) -> None:
    for parameter in net.parameters():
        parameter.data += 0.1


def part_replaced(net: RecurrentNetwork) -> None:
    net.memory.load_state_dict(
        {name: value + 0.1 for name, value in net.memory.state_dict().items()}, assign=True
    )


@pytest.mark.parametrize("change", [moved, replaced, learned, part_replaced])
@torch.no_grad()
def test_an_actor_that_is_kept_never_plays_by_old_weights(change: Callable[[RecurrentNetwork], None]) -> None:
    net = network(ACTIONS[2], cell="lstm", critic="shared")
    given = inputs(net)
    before = acting.play(net, *given)[0].mode()
    other = copy.deepcopy(net)
    change(net)
    for one in (net, other):
        distribution, state = acting.play(one, *given)
        expected, expected_state = one.act(*given)
        torch.testing.assert_close(distribution.mode(), expected.mode(), rtol=1e-5, atol=3e-6)
        torch.testing.assert_close(state, expected_state, rtol=1e-5, atol=3e-6)
    assert torch.equal(acting.play(other, *given)[0].mode(), before)
    assert not torch.allclose(acting.play(net, *given)[0].mode(), before, atol=1e-2)


@torch.no_grad()
def test_a_kept_actor_goes_with_its_network() -> None:
    net = network(cell="gru")
    acting.play(
        net, *(part[:, :9] if part.dim() == 2 and part.shape[1] > 9 else part for part in inputs(net))
    )
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_what_does_not_fit_plays_by_torch() -> None:
    assert not acting.plans_of(network(cell="fir"))
    assert not acting.plans_of(network(spaces.MultiBinary(2), cell="gru"))
    assert not acting.plans_of(network(cell="gru", activation=nn.ELU))
    assert not acting.plans_of(network(ACTIONS[2], cell="gru", actuator_options={"use_sde": True}))
    assert acting.plans_of(network(ACTIONS[2], cell="gru"))
