"""How learners from replay act: squashed normal numbers, and the best choice but for an exploration rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution

from rlrnn.common import compiling
from rlrnn.network.actuators import GreedyActuators, SquashedActuators, make_actuators
from rlrnn.network.distributions import EpsilonGreedy, SquashedGaussian

kernels = pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
# Off centre, off unit, and of several axes: low and high of each number.
UNEVEN = spaces.Box(np.float32([[-1, 0], [-2, 100]]), np.float32([[1, 1], [7, 101]]))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squashed(rows: int = 500, size: int = 3, dtype: torch.dtype = torch.float64) -> SquashedGaussian:
    mean, log_std = torch.randn(rows, size, dtype=dtype), 0.5 * torch.randn(rows, size, dtype=dtype) - 1.5
    return SquashedGaussian(mean, log_std)


def test_squashed_numbers_equal_sb3s() -> None:
    """But for the 1e-6 that SB3 adds to the slope, so that its log is finite: ours is written out."""
    ours = squashed()
    theirs = SquashedDiagGaussianDistribution(3).proba_distribution(ours.mean, ours.std.log())
    torch.testing.assert_close(ours.mode(), theirs.mode(), rtol=0, atol=0)
    u = ours.mean + ours.std * torch.randn_like(ours.mean)
    action = torch.tanh(u)
    slope = 1.0 - action.square()
    added = torch.log1p(theirs.epsilon / slope).sum(-1)
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action) + added, rtol=0, atol=1e-7)
    given = theirs.log_prob(action, u) + added
    noise = (u - ours.mean) / ours.std
    drawn, log_prob = ours.draw(noise=noise)
    torch.testing.assert_close(drawn, action)
    torch.testing.assert_close(log_prob, given, rtol=0, atol=1e-7)
    assert ours.entropy() is None and theirs.entropy() is None


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -0.5), (0.8, -1.0), (-1.5, -0.7), (0.0, 0.3)])
def test_the_density_of_squashed_numbers_integrates_to_one(mean: float, log_std: float) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(400)
    one = SquashedGaussian(torch.tensor([mean]).double(), torch.tensor([log_std]).double())
    density = one.log_prob(torch.from_numpy(nodes)[:, None]).exp()
    assert float(density @ torch.from_numpy(weights)) == pytest.approx(1.0, abs=1e-4)


def test_the_density_of_several_is_the_product_of_each() -> None:
    ours = squashed()
    action = torch.rand_like(ours.mean) * 1.9 - 0.95
    each = [
        SquashedGaussian(ours.mean[:, [a]], ours.std[:, [a]].log()).log_prob(action[:, [a]]) for a in range(3)
    ]
    torch.testing.assert_close(ours.log_prob(action), torch.stack(each).sum(0))


def test_the_spread_is_bounded_and_nothing_is_infinite() -> None:
    numbers = torch.tensor([-1e4, -20.0, 2.0, 50.0])
    wide = SquashedGaussian(torch.zeros(4), numbers)
    torch.testing.assert_close(wide.std.log(), torch.tensor([-20.0, -20.0, 2.0, 2.0]))
    far = SquashedGaussian(torch.tensor([[-40.0, 0.0, 40.0]]), torch.tensor([[2.0, -20.0, 2.0]]))
    _, log_prob = far.draw(noise=torch.tensor([[-4.0, 3.0, 4.0]]))
    assert log_prob.isfinite().all()
    for edge in (-1.0, 1.0):  # which single precision rounds to
        assert far.log_prob(torch.full((1, 3), edge)).isfinite().all()


@kernels
def test_kernels_draw_squashed_numbers_as_torch_does() -> None:
    actuators = SquashedActuators(spaces.Box(-1, 1, (3,)), 4)
    numbers = torch.cat((3 * torch.randn(200, 3), 3 * torch.randn(200, 3)), dim=-1)
    numbers[0], numbers[1] = 1e3, -1e3
    action, log_prob = actuators.draw(generator())(numbers.numpy())
    noise = torch.empty(200, 3).normal_(generator=generator())
    drawn, wanted = actuators.distribution(numbers).draw(noise=noise)
    torch.testing.assert_close(torch.from_numpy(action), drawn, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.from_numpy(log_prob), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("by", ["torch", pytest.param("kernels", marks=kernels)])
def test_squashed_numbers_follow_their_law_independently(by: str) -> None:
    """atanh of what is drawn is normal, with the mean and the spread of the output units."""
    n, actuators = 40_000, SquashedActuators(spaces.Box(-1, 1, (2,)), 4)
    numbers = torch.tensor([[0.3, -0.5, -0.9, -0.2]]).expand(n, 4).contiguous()
    if by == "torch":
        drawn = actuators.distribution(numbers).sample(generator())
    else:
        drawn = torch.from_numpy(actuators.draw(generator())(numbers.numpy())[0])
    z = (torch.atanh(drawn) - numbers[:, :2]) / numbers[:, 2:].exp()
    assert z.mean(0).abs().max() < 5 / math.sqrt(n)
    assert (z.square().mean(0) - 1).abs().max() < 5 * math.sqrt(2 / n)
    assert z.prod(-1).mean().abs() < 5 / math.sqrt(n)


def test_actions_of_a_box_and_back() -> None:
    actuators = SquashedActuators(UNEVEN, 4)
    flat = torch.rand(300, 4, generator=generator()) * 2 - 1
    inside = actuators.to_space(flat.numpy())
    assert inside.shape == (300, 2, 2) and all(UNEVEN.contains(each) for each in inside)
    assert actuators.misfit(inside) == ""
    torch.testing.assert_close(actuators.from_space(inside), flat, rtol=0, atol=2e-5)  # of 100 to 101
    ends = actuators.to_space(np.float32([[-1] * 4, [1] * 4]))
    np.testing.assert_array_equal(ends, np.stack([UNEVEN.low, UNEVEN.high]))
    middle = (UNEVEN.low + UNEVEN.high) / 2
    np.testing.assert_allclose(actuators.to_space(np.zeros((1, 4), np.float32))[0], middle)
    # What is most likely, and the spread, which does not move it.
    numbers = np.float32([[0.5, -2.0, 0.0, 9.0, 1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_array_equal(actuators.choose(numbers), actuators.to_space(np.tanh(numbers[:, :4])))


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("by", ["distribution", "actuators"])
def test_the_best_choice_but_for_the_exploration_rate(rate: float, by: str) -> None:
    n, values = 40_000, torch.tensor([0.5, 3.0, -1.0, 2.9])
    wanted = torch.full((4,), rate / 4) + torch.tensor([0.0, 1.0 - rate, 0.0, 0.0])
    one = EpsilonGreedy(values, rate)
    p = EpsilonGreedy(values.expand(4, 4), rate).log_prob(torch.arange(4)[:, None]).exp()
    torch.testing.assert_close(p, wanted, rtol=1e-6, atol=0)
    assert one.mode().item() == 1
    entropy = -sum(q * math.log(q) for q in wanted.tolist() if q > 0)
    assert float(one.entropy()) == pytest.approx(entropy, rel=1e-6)
    rows = values.expand(n, 4).contiguous()
    if by == "distribution":
        drawn = EpsilonGreedy(rows, rate).sample(generator())
    else:
        actuators = make_actuators(spaces.Discrete(4), 3, actions="greedy")
        assert isinstance(actuators, GreedyActuators)
        actuators.exploration_rate.fill_(rate)
        drawn = torch.from_numpy(actuators.draw(generator())(rows.numpy())[0])
    frequency = torch.bincount(drawn[:, 0], minlength=4) / n
    deviation = (wanted * (1 - wanted) / n).sqrt()
    assert ((frequency - wanted).abs() <= 5 * deviation).all()


def test_equal_values_have_one_best_choice() -> None:
    one = EpsilonGreedy(torch.zeros(3), 0.3)
    torch.testing.assert_close(one.log_p[0].exp(), torch.tensor([0.8, 0.1, 0.1]))
    assert one.mode().item() == 0


def test_values_of_choices_as_the_game_calls_them() -> None:
    actuators: Any = make_actuators(spaces.Discrete(3, start=5), 3, actions="greedy")
    np.testing.assert_array_equal(actuators.choose(np.float32([[0, 1, 0], [2, 1, 0]])), [6, 5])
