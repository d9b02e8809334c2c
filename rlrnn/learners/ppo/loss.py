"""The loss of proximal policy optimisation (Schulman et al. 2017): a pure function of arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlrnn.common.compiling import can_compile
from rlrnn.learners.ppo.rollout import Rows


@dataclass(frozen=True)
class Objective:
    """What PPO optimises, at one point of its schedules."""

    clip_range: float  # of the probability ratio
    clip_range_vf: float | None  # of the change of a value; None: not clipped
    ent_coef: float  # weight of the entropy
    vf_coef: float  # weight of the value's error


def normalized(rows: Rows) -> Rows:
    """The rows with advantages of mean 0, std 1 over the steps of weight 1; a single step stays as it is."""
    total = rows.weight.sum()
    if total <= 1:
        return rows
    if rows.weight.device.type == "cpu" and can_compile():
        from rlrnn.learners.ppo import kernels  # late, as numba takes a while to load

        advantage = torch.empty(rows.advantage.shape, dtype=rows.advantage.dtype)
        kernels.normalise(*(a.reshape(-1).numpy() for a in (rows.advantage, rows.weight, advantage)))
        return replace(rows, advantage=advantage)
    centred = rows.advantage - (rows.advantage * rows.weight).sum() / total
    std = ((centred.square() * rows.weight).sum() / (total - 1)).sqrt()
    return replace(rows, advantage=centred / (std + 1e-8))


FIGURES = ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction", "loss")


class Sums(NamedTuple):
    """What the steps of a minibatch add up to, each by its share of them; numbers, or tensors of one."""

    policy_loss: Any
    value_loss: Any
    entropy: Any  # nats
    kl: Any  # divergence from the policy that played, Schulman's k3 estimate
    clipped: Any  # share of the steps whose ratio left the clip range

    def figures(self, objective: Objective) -> tuple[Any, ...]:
        """The FIGURES, the last of which is the loss (eq. 9)."""
        loss = self.policy_loss - objective.ent_coef * self.entropy + objective.vf_coef * self.value_loss
        return self.policy_loss, self.value_loss, -self.entropy, self.kl, self.clipped, loss


@dataclass(frozen=True)
class Derivatives:
    """Of the loss, by the network's outputs at each step [L, R]."""

    log_prob: Tensor
    entropy: Tensor | None  # None: it has no part in the loss
    values: Tensor


@torch.no_grad()
def ppo_loss(
    rows: Rows,
    log_prob: Tensor,
    entropy: Tensor | None,
    values: Tensor,
    total: Tensor,
    objective: Objective,
) -> tuple[Tensor, Derivatives]:
    """The clipped surrogate (eq. 7) plus value and entropy terms (eq. 9), over the steps of weight 1.

    ``log_prob``, ``entropy`` and ``values`` [L, R] are what the present network makes of the rows, ``total``
    the number of steps of the minibatch: where the rows are but a part of it, what comes out adds up.
    Returns the FIGURES and the derivatives, for which autograd would take several times as long.
    """
    share = rows.weight / total
    log_ratio = (log_prob - rows.log_prob) * rows.weight  # so that no step of weight 0 can overflow
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - objective.clip_range, 1.0 + objective.clip_range)
    free, bounded = rows.advantage * ratio, rows.advantage * clipped
    policy_loss = -torch.min(free, bounded).mul_(share).sum()
    d_log_prob = (free <= bounded) * free * -share

    error, share_inside = values - rows.target, share
    if objective.clip_range_vf is not None:
        change = values - rows.value
        share_inside = share * (change.abs() <= objective.clip_range_vf)
        change = change.clamp(-objective.clip_range_vf, objective.clip_range_vf)
        error = rows.value + change - rows.target
    value_loss = (error.square() * share).sum()
    d_values = error * share_inside * (2.0 * objective.vf_coef)

    d_entropy = None
    if entropy is None:  # estimated by -log_prob (Haarnoja et al. 2018)
        mean_entropy = -(log_prob * share).sum()
        d_log_prob += objective.ent_coef * share
    else:
        mean_entropy = (entropy * share).sum()
        d_entropy = -objective.ent_coef * share if objective.ent_coef else None
    kl = ((ratio - 1.0 - log_ratio) * share).sum()
    clip_fraction = (((ratio - 1.0).abs() > objective.clip_range) * share).sum()
    sums = Sums(policy_loss, value_loss, mean_entropy, kl, clip_fraction)
    return torch.stack(sums.figures(objective)), Derivatives(d_log_prob, d_entropy, d_values)
