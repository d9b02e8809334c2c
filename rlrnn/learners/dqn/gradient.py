"""The gradient of the error of values over replayed rows: by autograd, or by kernels that know the network.

Letters: L steps that are learned from, R rows, T = L + 1 observations of a row, A actions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlrnn.cells.kernels.recurrence import array
from rlrnn.common.batches import map_arrays
from rlrnn.learners.dqn.targets import lambda_targets
from rlrnn.learners.features import Features
from rlrnn.learners.layers import Unread, backward, can_run, can_train, compiled_layer, forward
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.replay.burn_in import after_burn_in
from rlrnn.learners.replay.parting import parts_of
from rlrnn.learners.sharing import Sharing
from rlrnn.learners.vector import GradientVector
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.plan import plan


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


def gradient_of(
    network: RecurrentNetwork, target: RecurrentNetwork, order: list[nn.Parameter], threads: int = 1
) -> QGradient:
    """By kernels if they can; ``order`` is that of the parameters in the gradient."""
    if can_train(network) and can_run(target) and plan(network.actor) is not None:
        return ByKernels(network, target, order, threads)
    return ByAutograd(network, target, order)


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
    """Networks with a plan: forward and backward written out, in blocks of rows that threads may share."""

    compiled = True

    def __init__(
        self,
        network: RecurrentNetwork,
        target: RecurrentNetwork,
        order: list[nn.Parameter],
        threads: int = 1,
    ) -> None:
        super().__init__(network, target, order)
        self.sharing, self.blocks = Sharing(threads), [Block(network, target, self.vector.places)]
        self.gradients = [self.vector.gradient]
        self.work = 8 * sum(p.numel() for p in order if p.dim() > 1)  # of a step, the target's included

    def __call__(self, rows: Rows, objective: Objective) -> Figures:
        burned = min(objective.burn_in, len(rows.action) - 1)
        total = max(float(rows.weight[burned:-1].sum()), 1.0)
        parts = parts_of(rows, self.work)
        while len(self.blocks) < len(parts):
            self.gradients.append(torch.empty_like(self.vector.gradient))
            places = self.vector.within(self.gradients[-1])
            self.blocks.append(Block(self.network, self.target, places))
        tasks = [
            partial(block, part, total, objective) for block, part in zip(self.blocks, parts, strict=False)
        ]
        sums = self.sharing.run(tasks)
        self.sharing.add(self.vector.gradient, self.gradients[1 : len(parts)])
        return Figures(*np.sum(sums, axis=0).tolist())


class Block:
    """Some rows at a time of a minibatch, whose gradient goes to places of its own."""

    def __init__(
        self, network: RecurrentNetwork, target: RecurrentNetwork, places: Mapping[nn.Parameter, Tensor]
    ) -> None:
        self.network, self.target = network, target
        planned, planned_target = plan(network.actor), plan(target.actor)
        assert planned is not None and planned_target is not None
        own = {parameter: part.numpy() for parameter, part in places.items()}
        self.layers = [compiled_layer(layer, own) for layer in planned.layers]
        self.target_layers = [compiled_layer(layer, Unread()) for layer in planned_target.layers]
        self.features, self.target_features = Features(network.sensors, places), Features(target.sensors, {})

    def __call__(self, rows: Rows, total: float, objective: Objective) -> npt.NDArray[np.float64]:
        """What the rows add to the Figures; ``total``: the steps that the minibatch learns from."""
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
        dq, sums = np.zeros_like(q), np.zeros(2)
        kernels.q_loss(
            *(q, q_target, array(rows.action[burned:]), array(rows.reward[burned:])),
            *(array(rows.terminated[burned:]), array(rows.weight[burned:]), np.float32(total)),
            *(np.float32(objective.gamma), np.float32(objective.q_lambda)),
            *(objective.trace == "watkins", objective.double, dq, sums),
        )
        dx = backward(self.layers, dq.reshape(len(self.features.x), -1), self.features.learn)
        if self.features.learn:
            assert dx is not None
            self.features.backward([dx])
        return sums


def values_of(network: RecurrentNetwork, rows: Rows, burn_in: int) -> Tensor:
    """The output units' numbers at the steps after the first ``burn_in`` of rows: [T, R, A]."""
    actor = network.actor
    observation, start, state = after_burn_in(actor, rows, rows.state, burn_in)
    values: Tensor = actor.read(actor.outputs(actor.features(observation), start, state))
    return values
