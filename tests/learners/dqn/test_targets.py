"""Lambda-returns by hand, by their definition, and by another's recursion."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_replay import Flags, flags, targets_by_definition

from rlrnn.learners.dqn.targets import TRACES, lambda_targets

Array = np.ndarray


def targets(reward: Array, terminated: Array, weight: Array, next_value: Array, greedy: Array, *how: Any):
    tensors = map(torch.as_tensor, (reward, terminated, weight.astype(reward.dtype), next_value, greedy))
    return lambda_targets(*tensors, *how).numpy()


def column(*numbers: float) -> Array:
    return np.array(numbers, dtype=np.float64)[:, None]


def truths(steps: int, *but: int) -> Array:
    return ~np.isin(np.arange(steps), but)[:, None]


def row(weight: Array | None = None, greedy: Array | None = None, terminated: Array | None = None):
    """Three steps that won 1, 2 and 3, and led to what is worth 5, 6 and 7."""
    return (
        column(1, 2, 3),
        ~truths(3) if terminated is None else terminated,
        truths(4) if weight is None else weight,
        column(5, 6, 7),
        truths(3) if greedy is None else greedy,
    )


def test_a_discount_of_a_tenth_reads_as_decimals() -> None:
    np.testing.assert_allclose(targets(*row(), 0.1, 1.0, "watkins"), column(1.237, 2.37, 3.7))
    np.testing.assert_allclose(targets(*row(), 0.1, 0.0, "watkins"), column(1.5, 2.6, 3.7))
    half = 1 + 0.1 * (0.5 * 5 + 0.5 * (2 + 0.1 * (0.5 * 6 + 0.5 * 3.7)))
    np.testing.assert_allclose(targets(*row(), 0.1, 0.5, "peng")[0, 0], half)


@pytest.mark.parametrize("trace", TRACES)
def test_what_followed_an_action_that_was_not_the_best_counts_for_peng_alone(trace: str) -> None:
    """The action of step 1 was another: the target of step 0 may still look at where it led."""
    given = row(greedy=truths(3, 1))
    wanted = column(1.5, 2.37, 3.7) if trace == "watkins" else column(1.237, 2.37, 3.7)
    np.testing.assert_allclose(targets(*given, 0.1, 1.0, trace), wanted)
    first = row(greedy=truths(3, 0))  # whose own action it was, says nothing of what is to come
    np.testing.assert_allclose(targets(*first, 0.1, 1.0, trace), column(1.237, 2.37, 3.7))


@pytest.mark.parametrize("trace", TRACES)
def test_nothing_comes_from_behind_an_end(trace: str) -> None:
    over = row(terminated=~truths(3, 1))
    np.testing.assert_allclose(targets(*over, 0.1, 1.0, trace), column(1.2, 2, 3.7))
    cut = row(weight=truths(4, 1))  # slot 1 is a final observation: worth 5 and no step
    np.testing.assert_allclose(targets(*cut, 0.1, 1.0, trace)[[0, 2]], column(1.5, 3.7))


@pytest.mark.parametrize("end", ["truncated", "terminated"])
def test_reward_one_forever_is_worth_one_over_one_minus_gamma(end: str) -> None:
    """Exact values stay what they are, but only where a cut episode bootstraps."""
    gamma, steps = 0.9, 40
    terminated = ~truths(steps, 19) if end == "terminated" else ~truths(steps)
    weight = truths(steps + 1, *([20] if end == "truncated" else []))
    worth = np.full((steps, 1), 1 / (1 - gamma))
    found = targets(np.ones((steps, 1)), terminated, weight, worth, truths(steps), gamma, 0.8, "watkins")
    played = weight[:-1]
    assert np.allclose(found[played], worth[played]) == (end == "truncated")
    assert np.isclose(found[19, 0], 1.0) == (end == "terminated")


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("q_lambda", [0.0, 0.3, 0.8, 1.0])
def test_they_are_the_mean_of_n_step_returns(q_lambda: float, trace: str) -> None:
    rng = np.random.default_rng(0)
    for steps, rows in ((1, 3), (2, 4), (23, 9)):
        slots = flags(rng, steps + 1, rows)
        given = (
            rng.normal(size=(steps, rows)),
            slots.terminated[:-1],
            slots.weight,
            rng.normal(size=(steps, rows)),
            rng.random((steps, rows)) < 0.6,
        )
        found = targets(*given, 0.9, q_lambda, trace)
        wanted = targets_by_definition(*given, 0.9, q_lambda, trace)
        played = slots.weight[:-1]
        np.testing.assert_allclose(found[played], wanted[played], rtol=1e-12, atol=1e-12)


def pqn_targets(reward: Array, done: Array, q: Array, last_q: Array, gamma: float, lam: float) -> Array:
    """purejaxql's, a rollout [L, R] without slots for final observations: whatever ends is done.

    q [L, R, A] of the rollout's steps; last_q [R] the best value of what was seen after them.
    """
    after = reward[-1] + gamma * (1 - done[-1]) * last_q
    found, next_q = [after], q[-1].max(-1)
    for t in range(len(reward) - 2, -1, -1):
        bootstrapped = reward[t] + gamma * (1 - done[t]) * next_q
        after = bootstrapped + gamma * lam * (after - next_q)
        after = (1 - done[t]) * after + done[t] * reward[t]
        found.append(after)
        next_q = q[t].max(-1)
    return np.array(found[::-1])


@pytest.mark.parametrize("lam", [0.0, 0.65, 1.0])
def test_those_of_pqn_are_a_limit(lam: float) -> None:
    """No target network, no double estimate, no cut: one rollout, its final observations taken out."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        slots = flags(rng, 30, 1)
        slots = ended(slots)
        q = rng.normal(size=(30, 1, 3))
        reward, best = rng.normal(size=(29, 1)), q.max(-1)
        found = targets(reward, slots.terminated[:-1], slots.weight, best[1:], ~truths(29), 0.9, lam, "peng")
        steps = np.flatnonzero(slots.weight[:-1])
        done, played = slots.terminated[steps], slots.weight[:-1]
        wanted = pqn_targets(reward[steps], done, q[steps], best[-1], 0.9, lam)
        np.testing.assert_allclose(found[played], wanted[:, 0], rtol=1e-12, atol=1e-12)


def ended(slots: Flags) -> Flags:
    """The same with every end a termination; the row's last slot is one in which something is done."""
    last = slots.weight & ~np.roll(slots.weight, -1, axis=0)
    last[-1] = False
    return Flags(slots.start, last, slots.weight)
