"""Advantages by hand, by SB3's buffer, and by what a return means."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from rlrnn.learners.ppo.returns import advantages


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32).reshape(-1, 1)


def flags(steps: int, *true: int) -> np.ndarray:
    return np.isin(np.arange(steps), true).reshape(-1, 1)


def test_a_discount_of_a_tenth_reads_as_decimals() -> None:
    """With gamma 0.1 and lambda 1 a return is written in the digits of its rewards and the last value."""
    values = column(0, 0, 0, 4)
    result = advantages(column(1, 2, 3), values, flags(3), flags(3), column(9, 9, 9), 0.1, 1.0)
    np.testing.assert_allclose(result, column(1.234, 2.34, 3.4), rtol=1e-6)
    baseline = column(5, 6, 7, 4)
    result = advantages(column(1, 2, 3), baseline, flags(3), flags(3), column(9, 9, 9), 0.1, 1.0)
    np.testing.assert_allclose(result, column(1.234 - 5, 2.34 - 6, 3.4 - 7), rtol=1e-6)


def test_lambda_zero_looks_one_step_ahead() -> None:
    result = advantages(column(1, 2, 3), column(5, 6, 7, 4), flags(3), flags(3), column(9, 9, 9), 0.1, 0.0)
    np.testing.assert_allclose(result, column(1 + 0.6 - 5, 2 + 0.7 - 6, 3 + 0.4 - 7), rtol=1e-6)


def test_a_terminated_episode_is_worth_nothing_more() -> None:
    values, finals = column(0, 0, 0, 4), column(9, 9, 9)
    result = advantages(column(1, 2, 3), values, flags(3, 1), flags(3), finals, 0.1, 1.0)
    np.testing.assert_allclose(result, column(1.2, 2.0, 3.4), rtol=1e-6)


def test_a_truncated_episode_goes_on_from_its_final_observation() -> None:
    values, finals = column(0, 0, 0, 4), column(7, 8, 9)
    result = advantages(column(1, 2, 3), values, flags(3), flags(3, 1), finals, 0.1, 1.0)
    np.testing.assert_allclose(result, column(1.28, 2.8, 3.4), rtol=1e-6)


@pytest.mark.parametrize("end", ["truncated", "terminated"])
def test_reward_one_forever_is_worth_one_over_one_minus_gamma(end: str) -> None:
    """An exact value leaves no advantage, but only where a cut episode bootstraps."""
    gamma, steps = 0.9, 50
    worth = np.full((steps + 1, 1), 1 / (1 - gamma), dtype=np.float32)
    cuts = flags(steps, 9, 19, 20, 49)
    ends: dict[str, Any] = {"terminated": flags(steps), "truncated": flags(steps), end: cuts}
    result = advantages(
        np.ones((steps, 1), np.float32), worth, ends["terminated"], ends["truncated"], worth[1:], gamma, 0.95
    )
    if end == "truncated":
        np.testing.assert_allclose(result, 0.0, atol=1e-5)
    else:
        np.testing.assert_allclose(result[cuts], 1 - worth[0, 0], rtol=1e-5)


def test_final_values_are_read_only_where_truncated() -> None:
    garbage = np.full((3, 1), np.nan, np.float32)
    args = (column(1, 2, 3), column(0, 0, 0, 4), flags(3, 0), flags(3))
    assert np.isfinite(advantages(*args, garbage, 0.1, 1.0)).all()


def test_the_arguments_are_left_as_they_were() -> None:
    args = [column(1, 2, 3), column(5, 6, 7, 4), flags(3, 0), flags(3, 2), column(9, 9, 9)]
    before = [array.copy() for array in args]
    advantages(*args, 0.9, 0.9)  # type: ignore[arg-type]
    for array, copy in zip(args, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("seed", range(5))
def test_equals_sb3s_buffer_on_random_play(seed: int) -> None:
    steps, envs, gamma, gae_lambda = 40, 6, 0.97, 0.9
    rng = np.random.default_rng(seed)
    rewards, finals = (rng.normal(size=(steps, envs)).astype(np.float32) for _ in range(2))
    values = rng.normal(size=(steps + 1, envs)).astype(np.float32)
    ended = rng.random((steps, envs)) < 0.2
    truncated = ended & (rng.random((steps, envs)) < 0.5)
    ours = advantages(rewards, values, ended & ~truncated, truncated, finals, gamma, gae_lambda)

    box = spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(steps, box, box, gamma=gamma, gae_lambda=gae_lambda, n_envs=envs)
    starts = np.vstack((np.ones((1, envs)), ended[:-1]))
    for t in range(steps):
        # SB3 adds what a truncated episode would still have brought to its last reward
        reward = rewards[t] + gamma * finals[t] * truncated[t]
        nothing = np.zeros((envs, 1))
        buffer.add(nothing, nothing, reward, starts[t], torch.as_tensor(values[t]), torch.zeros(envs))
    buffer.compute_returns_and_advantage(torch.as_tensor(values[-1]), ended[-1])
    np.testing.assert_allclose(ours, buffer.advantages, atol=1e-5)
    np.testing.assert_allclose(ours + values[:-1], buffer.returns, atol=1e-5)
    assert ours.dtype == np.float32
