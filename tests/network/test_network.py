"""What the network says when it acts is what it says when it learns, and who teaches whom."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor
from torch import Tensor, nn

from rlrnn.cells import CELLS
from rlrnn.errors import OptionsError, UserError
from rlrnn.network.network import CRITICS, NetworkDescription, RecurrentNetwork

STEPS, ROWS = 9, 4
VECTOR = spaces.Box(-1, 1, (3,))
BOX = spaces.Box(-2, 2, (2,))

ACTION_SPACES: dict[str, tuple[spaces.Space[Any], dict[str, Any]]] = {
    "Discrete": (spaces.Discrete(3, start=1), {}),
    "MultiDiscrete": (spaces.MultiDiscrete([[3, 2], [2, 4]]), {}),
    "MultiBinary": (spaces.MultiBinary((2, 2)), {}),
    "Box": (BOX, {}),
    "gSDE": (BOX, {"use_sde": True}),
    "squashed": (BOX, {"use_sde": True, "squash_output": True, "log_std_init": -1.0}),
}
OBSERVATION_SPACES: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "Discrete": spaces.Discrete(4, start=-1),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary((2, 2)),
    "Dict": spaces.Dict({"count": spaces.Discrete(3), "vector": VECTOR}),
}


class LinearExtractor(BaseFeaturesExtractor):
    """Sensors with weights of their own, so that it shows who teaches them."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 6) -> None:
        super().__init__(observation_space, features_dim)
        self.linear = nn.Linear(observation_space.shape[0], features_dim)

    def forward(self, observations: Tensor) -> Tensor:
        return self.linear(observations)


def make(
    observation_space: spaces.Space[Any] = VECTOR, action_space: spaces.Space[Any] = BOX, **description: Any
) -> RecurrentNetwork:
    if isinstance(observation_space, spaces.Dict):
        description["extractor_class"] = CombinedExtractor
    small = {"hidden_size": 5, "actor_widths": (6,), "critic_widths": (7,), **description}
    network = RecurrentNetwork(NetworkDescription(**small), observation_space, action_space)
    for parameter in network.parameters():  # away from the tiny initial weights, where much is nearly equal
        nn.init.normal_(parameter, std=0.5)
    return network


def observe(space: spaces.Space[Any], *shape: int) -> Any:
    """Random observations with leading axes."""
    if isinstance(space, spaces.Dict):
        return {key: observe(part, *shape) for key, part in space.items()}
    count = int(torch.tensor(shape).prod())
    space.seed(int(torch.randint(1000, ())))
    one = torch.stack([torch.as_tensor(space.sample()) for _ in range(count)])
    return one.view(*shape, *one.shape[1:])


def at(observation: Any, t: int) -> Any:
    return {k: v[t] for k, v in observation.items()} if isinstance(observation, dict) else observation[t]


def check_that_acting_equals_learning(network: RecurrentNetwork, space: spaces.Space[Any] = VECTOR) -> None:
    """The ratio of the first minibatch is 1, for rows that begin mid-episode and hold episode starts."""
    observation = observe(space, STEPS, ROWS)
    start = torch.rand(STEPS, ROWS) < 0.25
    start[0] = torch.tensor([True, False, False, True])
    state = first = torch.randn(ROWS, network.state_size)
    actions, log_probs, values = [], [], []
    network.sample_exploration(ROWS)
    with torch.no_grad():
        for t in range(STEPS):
            now = at(observation, t)
            torch.testing.assert_close(
                network.value_of(now, start[t], state), network.step(now, start[t], state)[1]
            )
            alone, own = network.act(now, start[t], state[:, : network.state_sizes[0]])
            distribution, value, state = network.step(now, start[t], state)
            torch.testing.assert_close(own, state[:, : network.state_sizes[0]])
            torch.testing.assert_close(alone.mode(), distribution.mode())
            actions.append(distribution.sample())
            log_probs.append(distribution.log_prob(actions[-1]))
            values.append(value)
    again, values_again = network.unroll(observation, start, first)
    ratio = (again.log_prob(torch.stack(actions)) - torch.stack(log_probs)).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-4)
    torch.testing.assert_close(values_again, torch.stack(values), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.remember(observation, start, first), state, rtol=1e-4, atol=1e-5)
    if network.state_size:  # and it is the memory that makes it so
        forgetful, _ = network.unroll(observation, start, torch.zeros_like(first))
        assert not torch.allclose(forgetful.log_prob(torch.stack(actions)), torch.stack(log_probs), atol=1e-4)


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_first_ratio_is_one_for_every_memory(cell: str, n_layers: int, critic: str) -> None:
    check_that_acting_equals_learning(make(cell=cell, n_layers=n_layers, critic=critic))


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_the_first_ratio_is_one_for_every_action_space(kind: str) -> None:
    space, options = ACTION_SPACES[kind]
    check_that_acting_equals_learning(make(action_space=space, actuator_options=options))


@pytest.mark.parametrize("share_extractor", [True, False])
@pytest.mark.parametrize("kind", OBSERVATION_SPACES)
def test_the_first_ratio_is_one_for_every_observation_space(kind: str, share_extractor: bool) -> None:
    space = OBSERVATION_SPACES[kind]
    network = make(space, share_extractor=share_extractor, normalize_observations=True)
    network.observe(observe(space, 50))
    check_that_acting_equals_learning(network, space)


def taught(network: RecurrentNetwork, what: str) -> set[str]:
    """Which parts of the network the gradient of the values, or of the actions, reaches."""
    network.zero_grad()
    observation, start = observe(VECTOR, STEPS, ROWS), torch.rand(STEPS, ROWS) < 0.2
    distribution, values = network.unroll(observation, start, network.initial_state(ROWS))
    if what == "values":
        values.sum().backward()
    else:
        distribution.log_prob(torch.randn(STEPS, ROWS, 2)).sum().backward()
    touched = (n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0)
    return {name.split(".")[0] for name in touched}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("critic", "by_values"),
    [
        ("own", {"sensors", "critic_memory", "critic_head", "value"}),
        ("shared", {"sensors", "memory", "critic_head", "value"}),
        ("detached", {"critic_head", "value"}),
        ("feedforward", {"sensors", "critic_memory", "critic_head", "value"}),
    ],
)
def test_who_is_taught_by_the_values_and_who_by_the_actions(
    critic: str, by_values: set[str], cell: str
) -> None:
    network = make(critic=critic, cell=cell, extractor_class=LinearExtractor)
    assert taught(network, "values") == by_values
    assert taught(network, "actions") == {"sensors", "memory", "actor_head", "actuators"}


def test_a_critic_with_sensors_of_its_own_leaves_the_actors_alone() -> None:
    network = make(extractor_class=LinearExtractor, share_extractor=False)
    assert taught(network, "values") == {"critic_sensors", "critic_memory", "critic_head", "value"}
    assert taught(network, "actions") == {"sensors", "memory", "actor_head", "actuators"}


@pytest.mark.parametrize("critic", ["own", "feedforward"])
@torch.no_grad()
def test_a_critic_with_sensors_of_its_own_observes_by_them_in_steps_and_rows(critic: str) -> None:
    network = make(critic=critic, extractor_class=LinearExtractor, share_extractor=False)
    x, start = torch.randn(STEPS, ROWS, 3), torch.rand(STEPS, ROWS) < 0.3
    first = state = torch.randn(ROWS, network.state_size)
    values, foreseen = [], []
    for row, begins in zip(x, start, strict=True):
        foreseen.append(network.value_of(row, begins, state))
        _, value, state = network.step(row, begins, state)
        values.append(value)
    for found in (network.unroll(x, start, first)[1], network.unroll_critic(x, start, first)):
        torch.testing.assert_close(found, torch.stack(values))
    assert torch.equal(torch.stack(foreseen), torch.stack(values))
    torch.testing.assert_close(network.remember(x, start, first), state)


@pytest.mark.parametrize("critic", CRITICS)
def test_what_the_value_remembers_with(critic: str) -> None:
    network = make(critic=critic)
    actor, critics = network.state_sizes
    assert critics == (actor if critic == "own" else 0)
    state = torch.randn(ROWS, network.state_size)
    other = state.clone()
    other[:, :actor] += 1.0
    x, never = observe(VECTOR, ROWS), torch.zeros(ROWS, dtype=torch.bool)
    follows_actor = not torch.equal(network.value_of(x, never, state), network.value_of(x, never, other))
    assert follows_actor == (critic in ("shared", "detached"))
    other = state.clone()
    other[:, actor:] += 1.0
    follows_own = not torch.equal(network.value_of(x, never, state), network.value_of(x, never, other))
    assert follows_own == (critic == "own")


def test_observed_statistics_reach_both_sets_of_sensors() -> None:
    network = make(share_extractor=False, normalize_observations=True)
    network.observe(torch.tensor([[1.0, 2.0, 3.0], [3.0, 6.0, 9.0]]))
    x = torch.tensor([[2.0, 4.0, 6.0]])
    assert network.critic_sensors is not None
    for sensors in (network.sensors, network.critic_sensors):
        assert sensors(x).tolist() == [[0.0, 0.0, 0.0]]


def layers(network: RecurrentNetwork) -> Iterator[tuple[Tensor, float]]:
    """Weights [I, O] outside the memory, with the gain that they should have."""
    yield network.sensors.extractor.linear.weight, 2**0.5
    for head in (network.actor_head, network.critic_head):
        yield head.layers[0].weight, 2**0.5
    yield network.actuators.output.weight, 0.01
    yield network.value.weight, 1.0


def test_initial_weights_outside_the_memory_are_orthogonal_with_their_gain() -> None:
    space = spaces.Box(-1, 1, (8,))
    description = NetworkDescription(hidden_size=8, actor_widths=(8,), extractor_class=LinearExtractor)
    for weight, gain in layers(RecurrentNetwork(description, space, BOX)):
        narrow = weight if weight.shape[0] <= weight.shape[1] else weight.T
        torch.testing.assert_close(narrow @ narrow.T, gain**2 * torch.eye(len(narrow)), atol=1e-5, rtol=1e-5)
    plain = NetworkDescription(hidden_size=8, extractor_class=LinearExtractor, orthogonal=False)
    weight = RecurrentNetwork(plain, space, BOX).actuators.output.weight
    assert weight.abs().max() > 0.1


def test_cell_options_reach_both_memories() -> None:
    network = make(cell="fir", cell_options={"taps": 3, "dropout": 0.5}, n_layers=2)
    assert network.state_sizes == [2 * 3 + 2 * 5] * 2
    assert network.memory.dropout == network.critic_memory.dropout == 0.5


def test_contradictory_descriptions_are_refused() -> None:
    with pytest.raises(UserError, match=r"'twin': choose one of own, shared, detached, feedforward"):
        NetworkDescription(critic="twin")
    for critic in ("shared", "detached"):
        with pytest.raises(OptionsError, match=r"share_features_extractor=True") as caught:
            NetworkDescription(critic=critic, share_extractor=False)
        assert isinstance(caught.value, AssertionError)
