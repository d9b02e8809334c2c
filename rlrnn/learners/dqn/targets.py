"""What values of actions should have been: a pure function of arrays."""

from __future__ import annotations

import torch
from torch import Tensor

TRACES = ("watkins", "peng")


def lambda_targets(
    reward: Tensor,
    terminated: Tensor,
    weight: Tensor,
    next_value: Tensor,
    greedy: Tensor,
    gamma: float,
    q_lambda: float,
    trace: str,
) -> Tensor:
    """Lambda-returns over rows, bootstrapped by the value of where each step led: [L, R].

        G_t = r_t + gamma (1 - terminated_t) ((1 - lambda_t) V_{t+1} + lambda_t G_{t+1})

    lambda_t is 0 at a row's last step, and where step t + 1 is none (``weight`` 0: the final observation of
    an episode); with "watkins" also where action t + 1 was not the best one, as what followed it says nothing
    of the best (Watkins 1989, section 7.6; Peng and Williams 1996 keep it always). lambda 0 is one-step
    Q-learning.

    :param reward, terminated, greedy: [L, R]; greedy: whether the action of that step was the best one
    :param weight: [L + 1, R] 1 where something was done
    :param next_value: [L, R] V_{t+1}, of the observation after each step
    """
    follows = weight[1:].clone()  # 1 where there is a return of step t + 1
    follows[-1] = 0.0
    if trace == "watkins":
        follows[:-1] *= greedy[1:]
    share, live = q_lambda * follows, gamma * (~terminated).to(reward.dtype)
    targets = torch.empty_like(reward)
    after = torch.zeros_like(reward[0])
    for t in range(len(reward) - 1, -1, -1):
        after = reward[t] + live[t] * ((1.0 - share[t]) * next_value[t] + share[t] * after)
        targets[t] = after
    return targets
