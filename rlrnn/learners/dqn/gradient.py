"""The gradient of the error of values over replayed rows: by autograd, or by kernels that know the network.

Letters: L steps that are learned from, R rows, T = L + 1 observations of a row, A actions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.cells.kernels.recurrence import array
from rlrnn.common.batches import map_arrays
from rlrnn.learners.dqn.targets import lambda_targets
from rlrnn.learners.features import Features
from rlrnn.learners.layers import Unread, backward, can_run, compiled_layer, forward
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.replay.burn_in import after_burn_in
from rlrnn.learners.vector import GradientVector
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.plan import Plan, plan


@dataclass(frozen=True)
class Objective:
    """What values are to become: see ``RecurrentDQN``."""

    gamma: float
    q_lambda: float
    trace: str
    double: bool
    has_target: bool  # a target network other than the network
    burn_in: int


class Figures(NamedTuple):
    """Means over the steps that are learned from."""

    loss: float  # Huber's, of the error
    q_mean: float  # the values of the actions that were taken


class QGradient(ABC):
    """Of one network, left in its parameters' ``grad``, while all weights stay where they are."""

    compiled: bool

    def __init__(
        self, network: RecurrentNetwork, target: RecurrentNetwork, order: list[nn.Parameter]
    ) -> None:
        self.network, self.target = network, target
        self.vector = GradientVector(order, compiled=self.compiled)

    @abstractmethod
    def __call__(self, rows: Rows, objective: Objective) -> Figures:
        """The gradient of the mean error of rows."""


def gradient_of(network: RecurrentNetwork, target: RecurrentNetwork, order: list[nn.Parameter]) -> QGradient:
    """By kernels if they can; ``order`` is that of the parameters in the gradient."""
    planned = plan(network.actor) if can_run(network) and can_run(target) else None
    if planned is None:
        return ByAutograd(network, target, order)
    return ByKernels(network, target, order, planned)


class ByAutograd(QGradient):
    """Any network; the specification of ``ByKernels``."""

    compiled = False

    def __call__(self, rows: Rows, objective: Objective) -> Figures:
        q = values_of(self.network, rows, objective.burn_in)  # [T, R, A]
        burned = len(rows.weight) - len(q)
        action, weight = rows.action[burned:], rows.weight[burned:]
        with torch.no_grad():
            q_target = values_of(self.target, rows, objective.burn_in) if objective.has_target else q
            best = (q if objective.double else q_target).argmax(dim=-1, keepdim=True)  # [T, R, 1]
            targets = lambda_targets(
                rows.reward[burned:],
                rows.terminated[burned:],
                weight,
                q_target.gather(-1, best).squeeze(-1)[1:],
                best[:-1, :, 0] == action[..., 0],
                objective.gamma,
                objective.q_lambda,
                objective.trace,
            )
        chosen = q[:-1].gather(-1, action).squeeze(-1)
        share = weight[:-1] / weight[:-1].sum().clamp(min=1.0)
        loss = (nn.functional.smooth_l1_loss(chosen, targets, reduction="none") * share).sum()
        gradients = torch.autograd.grad(loss, self.vector.parameters, materialize_grads=True)
        torch._foreach_copy_(list(self.vector.places.values()), gradients)
        return Figures(float(loss.detach()), float((chosen.detach() * share).sum()))


class ByKernels(QGradient):
    """Networks with a plan: forward and backward written out, but for what sensors do."""

    compiled = True

    def __init__(
        self,
        network: RecurrentNetwork,
        target: RecurrentNetwork,
        order: list[nn.Parameter],
        planned: Plan,
    ) -> None:
        super().__init__(network, target, order)
        places = {parameter: part.numpy() for parameter, part in self.vector.places.items()}
        self.layers = [compiled_layer(layer, places) for layer in planned.layers]
        planned_target = plan(target.actor)
        assert planned_target is not None
        self.target_layers = [compiled_layer(layer, Unread()) for layer in planned_target.layers]
        self.features = Features(network.sensors, self.vector.places)
        self.target_features = Features(target.sensors, {})

    def __call__(self, rows: Rows, objective: Objective) -> Figures:
        from rlrnn.learners.dqn import kernels  # late, as numba takes a while to load

        observation, start, state = after_burn_in(self.network.actor, rows, rows.state, objective.burn_in)
        flat = map_arrays(lambda a: a.flatten(0, 1), observation)
        starts, shape = array(start), start.shape
        self.features.forward(flat)
        q = forward(self.layers, self.features.x, starts, array(state)).reshape(*shape, -1)
        q_target = q
        if objective.has_target:
            x = self.features.x
            if self.features.learn:
                self.target_features.forward(flat)
                x = self.target_features.x
            if objective.burn_in:
                state = after_burn_in(self.target.actor, rows, rows.state, objective.burn_in)[2]
            q_target = forward(self.target_layers, x, starts, array(state)).reshape(*shape, -1)
        burned = len(rows.weight) - len(q)
        weight = array(rows.weight[burned:])
        dq, sums = np.zeros_like(q), np.zeros(2)
        kernels.q_loss(
            *(q, q_target, array(rows.action[burned:]), array(rows.reward[burned:])),
            *(array(rows.terminated[burned:]), weight, np.float32(max(float(weight[:-1].sum()), 1.0))),
            *(np.float32(objective.gamma), np.float32(objective.q_lambda)),
            *(objective.trace == "watkins", objective.double, dq, sums),
        )
        dx = backward(self.layers, dq.reshape(len(self.features.x), -1), self.features.learn)
        if self.features.learn:
            assert dx is not None
            self.features.backward([dx])
        return Figures(*sums.tolist())


def values_of(network: RecurrentNetwork, rows: Rows, burn_in: int) -> Tensor:
    """The output units' numbers at the steps after the first ``burn_in`` of rows: [T, R, A]."""
    actor = network.actor
    observation, start, state = after_burn_in(actor, rows, rows.state, burn_in)
    values: Tensor = actor.read(actor.outputs(actor.features(observation), start, state))
    return values
