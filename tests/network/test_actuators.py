"""Probabilities equal torch's and SB3's, samples follow them, and every action lies inside its space."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy import stats
from stable_baselines3.common import distributions as sb3
from torch import Tensor
from torch import distributions as oracle

from rlrnn.errors import UserError
from rlrnn.network.actuators import (
    Bernoulli,
    Categorical,
    ContinuousActuators,
    Gaussian,
    StateDependentNoise,
    make_actuators,
)

LATENT = 6
DRAWS = 20_000
UNLIKELY = 1e-3  # the p-value below which a sample is said not to follow its law

UNEVEN = spaces.Box(np.float32([[-1, 0], [2, -9]]), np.float32([[1, 5], [2.5, -3]]))
SPACES: dict[str, tuple[spaces.Space[Any], dict[str, Any]]] = {
    "Discrete": (spaces.Discrete(4), {}),
    "Discrete from 3": (spaces.Discrete(4, start=3), {}),
    "Discrete from -2": (spaces.Discrete(5, start=-2), {}),
    "MultiDiscrete": (spaces.MultiDiscrete([3, 2, 4]), {}),
    "MultiDiscrete from": (spaces.MultiDiscrete([3, 2], start=[5, -1]), {}),
    "MultiDiscrete 2-D": (spaces.MultiDiscrete([[3, 2, 4], [1, 5, 2]]), {}),
    "MultiDiscrete 2-D from": (spaces.MultiDiscrete([[3, 2], [4, 5]], start=[[1, 2], [3, 4]]), {}),
    "MultiDiscrete narrow": (spaces.MultiDiscrete([3, 2], dtype=np.int32, start=[1, 1]), {}),
    "MultiBinary": (spaces.MultiBinary(3), {}),
    "MultiBinary 2-D": (spaces.MultiBinary((2, 3)), {}),
    "Box": (spaces.Box(-2.0, 2.0, (3,)), {}),
    "Box 0-D": (spaces.Box(-2.0, 2.0, ()), {}),
    "Box uneven": (UNEVEN, {}),
    "Box double": (spaces.Box(-0.1, 0.1, (2,), dtype=np.float64), {}),
    "Box integer": (spaces.Box(0, 9, (2,), dtype=np.int32), {"log_std_init": 2.0}),
    "gSDE": (UNEVEN, {"use_sde": True}),
    "gSDE one std": (UNEVEN, {"use_sde": True, "full_std": False}),
    "squashed": (UNEVEN, {"use_sde": True, "squash_output": True}),
    "squashed expln": (
        UNEVEN,
        {"use_sde": True, "squash_output": True, "use_expln": True, "log_std_init": 2.0},
    ),
}


@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_categorical_equals_torchs(shape: tuple[int, ...]) -> None:
    logits, sizes = torch.randn(*shape, 9), [4, 2, 3]
    ours = Categorical(logits, sizes)
    theirs = [oracle.Categorical(logits=group) for group in logits.split(sizes, -1)]
    action = ours.sample()
    assert action.shape == (*shape, 3) and action.dtype == torch.int64
    wanted = sum(one.log_prob(choice) for one, choice in zip(theirs, action.unbind(-1), strict=True))
    torch.testing.assert_close(ours.log_prob(action), wanted)
    torch.testing.assert_close(ours.entropy(), sum(one.entropy() for one in theirs))
    torch.testing.assert_close(ours.mode(), torch.stack([one.probs.argmax(-1) for one in theirs], -1))


@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_bernoulli_equals_torchs(shape: tuple[int, ...]) -> None:
    logits = 3 * torch.randn(*shape, 4)
    ours, theirs = Bernoulli(logits), oracle.Independent(oracle.Bernoulli(logits=logits), 1)
    action = ours.sample()
    assert action.shape == (*shape, 4) and action.dtype == torch.int64
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action.float()))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.mode().float(), (theirs.mean > 0.5).float())


@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_gaussian_equals_torchs(shape: tuple[int, ...]) -> None:
    mean, std = torch.randn(*shape, 3), torch.rand(3) + 0.1
    ours, theirs = Gaussian(mean, std), oracle.Independent(oracle.Normal(mean, std.expand_as(mean)), 1)
    action = ours.sample()
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), mean)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("expln", [False, True])
@pytest.mark.parametrize("full_std", [False, True])
def test_state_dependent_noise_equals_sb3s(full_std: bool, expln: bool, squash: bool) -> None:
    ours = ContinuousActuators(
        UNEVEN, LATENT, use_sde=True, full_std=full_std, use_expln=expln, squash_output=squash
    )
    torch.nn.init.uniform_(ours.log_std, -2.0, 1.0)  # below and above 0, where expln turns linear
    theirs = sb3.StateDependentNoiseDistribution(
        4, full_std, expln, squash, learn_features=False, epsilon=1e-6
    )
    theirs.proba_distribution_net(LATENT, latent_sde_dim=LATENT)
    theirs.sample_weights(ours.log_std, batch_size=7)

    latent = torch.randn(7, LATENT)
    ours.sample_exploration(7)
    theirs.exploration_matrices = ours.exploration
    mine = ours(latent)
    theirs.proba_distribution(ours.output(latent), ours.log_std, latent)
    assert isinstance(mine, StateDependentNoise)
    action = mine.sample()
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(action, theirs.sample(), **close)
    torch.testing.assert_close(mine.mode(), theirs.mode(), **close)
    torch.testing.assert_close(mine.log_prob(action), theirs.log_prob(action), rtol=1e-3, atol=1e-3)
    if squash:
        assert mine.entropy() is None and theirs.entropy() is None
    else:
        torch.testing.assert_close(mine.entropy(), theirs.entropy(), **close)


def test_the_exploration_matrices_have_the_std_that_probabilities_assume() -> None:
    for options in ({}, {"full_std": False}, {"use_expln": True}):
        actuators = ContinuousActuators(UNEVEN, LATENT, use_sde=True, **options)
        torch.nn.init.uniform_(actuators.log_std, -1.0, 1.0)
        latent = torch.randn(1, LATENT)
        actuators.sample_exploration(DRAWS)
        many = actuators(latent.expand(DRAWS, LATENT))
        z = ((many.sample() - many.mean) / many.std).detach()
        for column in z.T:
            assert stats.kstest(column, "norm").pvalue > UNLIKELY


def test_the_exploration_matrix_stays_until_it_is_drawn_anew() -> None:
    actuators = ContinuousActuators(UNEVEN, LATENT, use_sde=True)
    actuators.sample_exploration(3)
    latent = torch.randn(3, LATENT)
    first = actuators(latent).sample()
    assert torch.equal(actuators(latent).sample(), first)
    actuators.sample_exploration(3)
    assert (actuators(latent).sample() != first).all()
    alone = actuators(latent[:2])  # another number of environments: drawn from the same law
    assert (alone.sample() != alone.sample()).all()


def test_no_gradient_reaches_the_latent_units_through_the_noise() -> None:
    actuators = ContinuousActuators(UNEVEN, LATENT, use_sde=True)
    latent = torch.randn(3, LATENT, requires_grad=True)
    distribution = actuators(latent)
    assert torch.autograd.grad(distribution.std.sum(), actuators.log_std)[0].abs().min() > 0
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(actuators(latent).std.sum(), latent)


def observed(action: Tensor, sizes: list[int]) -> np.ndarray:
    """How often each combination of choices was drawn."""
    flat = np.ravel_multi_index(action.numpy().T, sizes)
    return np.bincount(flat, minlength=math.prod(sizes))


def test_choices_follow_their_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, -0.5])
    action = Categorical(logits.expand(DRAWS, 6), [4, 2]).sample(torch.Generator().manual_seed(1))
    p = torch.outer(logits[:4].softmax(0), logits[4:].softmax(0)).flatten().double()
    assert stats.chisquare(observed(action, [4, 2]), DRAWS * (p / p.sum())).pvalue > UNLIKELY


def test_switches_follow_their_probabilities() -> None:
    logits = torch.tensor([-2.0, 0.3])
    action = Bernoulli(logits.expand(DRAWS, 2)).sample(torch.Generator().manual_seed(1))
    on = logits.sigmoid().double()
    p = torch.outer(torch.stack((1 - on[0], on[0])), torch.stack((1 - on[1], on[1]))).flatten()
    assert stats.chisquare(observed(action, [2, 2]), DRAWS * p).pvalue > UNLIKELY


def test_normal_actions_follow_their_law_independently() -> None:
    mean, std = torch.tensor([-3.0, 2.0]), torch.tensor([0.1, 4.0])
    action = Gaussian(mean.expand(DRAWS, 2), std).sample(torch.Generator().manual_seed(1))
    z = (action - mean) / std
    assert all(stats.kstest(column, "norm").pvalue > UNLIKELY for column in z.T)
    assert stats.pearsonr(*z.T).pvalue > UNLIKELY


def test_squashed_density_integrates_to_one() -> None:
    latent = torch.ones(1, 1)
    space = spaces.Box(-1, 1, (1,))
    actuators = ContinuousActuators(space, 1, use_sde=True, squash_output=True)
    grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1].unsqueeze(-1)
    density = actuators.double()(latent.double()).log_prob(grid).exp()
    assert float(density.sum().detach()) * 1e-5 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("kind", SPACES)
def test_a_generator_makes_the_draw_and_leaves_torchs_own_alone(kind: str) -> None:
    space, options = SPACES[kind]
    actuators = make_actuators(space, LATENT, **options)
    latent, before = torch.randn(50, LATENT), torch.get_rng_state()

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if options.get("use_sde"):
            assert isinstance(actuators, ContinuousActuators)
            actuators.sample_exploration(50, generator)
        return actuators(latent).sample(generator)

    before = torch.get_rng_state()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", SPACES)
def test_every_action_lies_inside_its_space(kind: str) -> None:
    space, options = SPACES[kind]
    actuators = make_actuators(space, LATENT, **options)
    distribution = actuators(10 * torch.randn(300, LATENT))
    for flat in (distribution.sample(), distribution.mode()):
        assert flat.shape == (300, actuators.action_size)
        actions = actuators.to_space(flat.detach().numpy().astype(actuators.action_dtype))
        assert actions.shape == (300, *space.shape)
        assert actions.dtype == space.dtype
        assert all(space.contains(np.asarray(action)) for action in actions)
        assert distribution.log_prob(flat).isfinite().all()


@pytest.mark.parametrize("kind", [kind for kind in SPACES if not kind.startswith(("Box", "gSDE", "sq"))])
def test_every_value_of_a_finite_space_can_be_played(kind: str) -> None:
    space, _ = SPACES[kind]
    actuators = make_actuators(space, LATENT)
    actions = actuators.to_space(actuators(torch.zeros(2000, LATENT)).sample().numpy()).reshape(2000, -1)
    wanted = np.stack([np.ravel(space.sample()) for _ in range(2000)])
    for column in range(actions.shape[1]):
        assert set(actions[:, column]) == set(wanted[:, column])


def test_squashed_actions_fill_their_box_from_end_to_end() -> None:
    actuators = make_actuators(UNEVEN, LATENT, use_sde=True, squash_output=True)
    to_space: Callable[[np.ndarray], np.ndarray] = actuators.to_space
    np.testing.assert_allclose(to_space(-np.ones((1, 4), np.float32))[0], UNEVEN.low)
    np.testing.assert_allclose(to_space(np.ones((1, 4), np.float32))[0], UNEVEN.high)
    np.testing.assert_allclose(to_space(np.zeros((1, 4), np.float32))[0], (UNEVEN.low + UNEVEN.high) / 2)


def test_unsquashed_actions_are_played_as_they_are_and_clipped_to_their_box() -> None:
    actuators = make_actuators(UNEVEN, LATENT)
    action = np.float32([[0.25, 7.0, 0.0, -4.0]])
    np.testing.assert_array_equal(actuators.to_space(action)[0], np.float32([[0.25, 5.0], [2.0, -4.0]]))


def test_probabilities_reach_every_weight() -> None:
    for space, options in SPACES.values():
        actuators = make_actuators(space, LATENT, **options)
        distribution = actuators(torch.randn(8, LATENT))
        distribution.log_prob(distribution.sample().detach()).sum().backward()
        for name, parameter in actuators.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, (space, name)


def test_a_population_of_continuous_actuators_equals_its_members() -> None:
    for options in ({}, {"use_sde": True}, {"use_sde": True, "full_std": False}):
        members = [ContinuousActuators(UNEVEN, LATENT, **options) for _ in range(3)]
        joint = ContinuousActuators(UNEVEN, LATENT, **options)
        for name, parameter in joint.named_parameters():
            parameter.data = torch.stack([torch.randn_like(m.get_parameter(name)) for m in members])
            for member, own in zip(members, parameter.data, strict=True):
                member.get_parameter(name).data = own
        latent = torch.randn(3, 5, LATENT)
        together = joint(latent)
        action = together.mode() + 0.1
        for p, member in enumerate(members):
            torch.testing.assert_close(together.log_prob(action)[p], member(latent[p]).log_prob(action[p]))


def test_an_infinite_box_is_refused_with_the_remedy() -> None:
    for space in (spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(0, np.float32([1, np.inf]))):
        with pytest.raises(UserError, match=r"infinite bound: .*RescaleAction"):
            make_actuators(space, LATENT)


def test_other_action_spaces_are_refused_with_the_supported_ones() -> None:
    for space in (spaces.Tuple([spaces.Discrete(2)]), spaces.Text(3), spaces.Dict({"a": spaces.Discrete(2)})):
        with pytest.raises(UserError, match="not supported: use Discrete, Box, MultiDiscrete or MultiBinary"):
            make_actuators(space, LATENT)
