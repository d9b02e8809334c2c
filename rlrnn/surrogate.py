"""The loss of proximal policy optimisation (Schulman et al. 2017): a pure function of arrays."""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.actuators import Distribution
from rlrnn.buffers import Rows


def ppo_loss(
    rows: Rows,
    distribution: Distribution,
    values: Tensor,
    *,
    clip_range: float,
    clip_range_vf: float | None,
    ent_coef: float,
    vf_coef: float,
    normalize_advantage: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate (eq. 7) plus value and entropy terms (eq. 9), over the steps of weight 1.

    ``distribution`` and ``values`` [L, R] are what the present network makes of the rows. Returns the loss,
    to be minimised, and its parts by SB3's names.
    """
    log_prob, entropy = distribution.log_prob(rows.action), distribution.entropy()
    total = rows.weight.sum()

    def mean(x: Tensor) -> Tensor:
        return (x * rows.weight).sum() / total

    advantage = rows.advantage
    if normalize_advantage and total > 1:
        centred = advantage - mean(advantage)
        advantage = centred / ((centred.square() * rows.weight).sum() / (total - 1)).sqrt().add(1e-8)
    log_ratio = (log_prob - rows.log_prob) * rows.weight  # so that no step of weight 0 can overflow
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    policy_loss = -mean(torch.min(advantage * ratio, advantage * clipped))
    if clip_range_vf is not None:
        values = rows.value + (values - rows.value).clamp(-clip_range_vf, clip_range_vf)
    value_loss = mean((rows.target - values).square())
    entropy_loss = -mean(-log_prob if entropy is None else entropy)
    loss = policy_loss + ent_coef * entropy_loss + vf_coef * value_loss
    figures = {
        "policy_gradient_loss": policy_loss,
        "value_loss": value_loss,
        "entropy_loss": entropy_loss,
        "approx_kl": mean(ratio - 1.0 - log_ratio),  # Schulman's k3 estimate
        "clip_fraction": mean(((ratio - 1.0).abs() > clip_range).float()),
        "loss": loss,
    }
    return loss, {name: value.detach() for name, value in figures.items()}
