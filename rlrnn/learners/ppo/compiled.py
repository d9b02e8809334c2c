"""Backpropagation through time written out over compiled kernels: how an update runs on a CPU.

What fits: networks with a plan, no dropout, and actuators that choose or draw from a normal
distribution. Sensors are torch's (``features``). Equal to autograd through ``loss.ppo_loss``.

Letters: T time, R rows, N = T * R steps; I inputs and O outputs of a layer; S state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from rlrnn.cells.kernels.recurrence import Array, array
from rlrnn.learners.features import learns
from rlrnn.learners.layers import Layer, Places, backward, can_train, compiled_layer, forward
from rlrnn.learners.ppo.loss import Objective, Sums
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.network import plan
from rlrnn.network.actuators import Actuators, ChoiceActuators, ContinuousActuators
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.plan import Plan
from rlrnn.network.sensors import Sensors
from rlrnn.network.stream import Stream

Totals: TypeAlias = npt.NDArray[np.float64]  # ``loss.Sums`` in an array


@dataclass(frozen=True)
class Batch:
    """Some rows in arrays but for their observations, and the loss of what the network makes of them."""

    start: Array  # [T, R]
    state: Array  # [R, S]
    action: Array  # [N, A]; what follows is [N], as in ``Rows``
    log_prob: Array
    value: Array
    advantage: Array
    target: Array
    weight: Array
    total: float  # steps of the minibatch, of which the rows may be a part
    objective: Objective

    @classmethod
    def of(cls, rows: Rows, total: float, objective: Objective) -> Batch:
        """Of these rows; made before threads share the work, as they would wait for each other."""
        return cls(
            start=array(rows.start),
            state=array(rows.state),
            action=array(_flat(rows.action)),
            log_prob=array(_flat(rows.log_prob)),
            value=array(_flat(rows.value)),
            advantage=array(_flat(rows.advantage)),
            target=array(_flat(rows.target)),
            weight=array(_flat(rows.weight)),
            total=total,
            objective=objective,
        )


# The outputs [N, O] of a head become the loss's gradient by them.
Loss: TypeAlias = Callable[[Array, Batch, Totals], None]


@dataclass(frozen=True)
class Head:
    """Layers from a memory's outputs to the output units, and their loss."""

    layers: Sequence[Layer]
    loss: Loss
    trains_memory: bool = True  # its gradient reaches the memory


@dataclass(frozen=True)
class Part:
    """A memory and the heads that read it: what can be computed apart from the rest."""

    sensors: Sensors  # whose features it reads
    memory: Sequence[Layer]
    columns: slice  # of the state
    heads: Sequence[Head]
    sensors_learn: bool

    def backward(self, batch: Batch, x: Array) -> tuple[Totals, Array | None]:
        """Leave the gradients of all its parameters in place, given the features x [N, F].

        Returns what the rows add to the figures, and the gradient by the features where sensors learn.
        """
        sums, start, state = np.zeros(len(Sums._fields)), batch.start, batch.state[:, self.columns]
        y = forward(self.memory, x, start, state)
        dy: Array | None = None
        for head in self.heads:
            outputs = forward(head.layers, y, start, state)
            head.loss(outputs, batch, sums)
            d = backward(head.layers, outputs, head.trains_memory)
            if d is not None:
                dy = d if dy is None else np.add(dy, d, out=dy)
        assert dy is not None
        return sums, backward(self.memory, dy, self.sensors_learn)


def plans_of(network: RecurrentNetwork) -> tuple[Plan, Plan] | None:
    """The actor's and the critic's plan, if this module can run all that the network is made of."""
    if not can_train(network) or not network.actuators.simple:
        return None
    actor, critic = plan.plan(network.actor), plan.plan(network.critic)
    return None if actor is None or critic is None else (actor, critic)


def parts_of(
    network: RecurrentNetwork, plans: tuple[Plan, Plan], gradients: Mapping[nn.Parameter, Tensor]
) -> list[Part]:
    """The network as one part, or two where actor and critic have nothing in common.

    They work on one set of rows at a time, while weights and gradients stay where they are.
    """
    places = {parameter: gradient.numpy() for parameter, gradient in gradients.items()}

    def layers(plan_layers: Sequence[plan.Layer]) -> list[Layer]:
        return [compiled_layer(layer, places) for layer in plan_layers]

    def head(plan: Plan, loss: Loss, stream: Stream) -> Head:
        return Head(layers((*plan.head, plan.output)), loss, not stream.detached)

    actor, critic = network.actor, network.critic
    actions = head(plans[0], _loss_of(network.actuators, places), actor)
    value = head(plans[1], _value_loss, critic)
    if critic.shared:
        return [
            Part(
                actor.sensors,
                layers(plans[0].memory),
                actor.columns,
                [actions, value],
                learns(actor.sensors),
            )
        ]
    return [
        Part(stream.sensors, layers(plan.memory), stream.columns, [own], learns(stream.sensors))
        for stream, plan, own in zip((actor, critic), plans, (actions, value), strict=True)
    ]


def _loss_of(actuators: Actuators, places: Places) -> Loss:
    """PPO's loss by the numbers of the output units."""
    from rlrnn.learners.ppo import kernels  # late, as numba takes a while to load

    def arguments(numbers: Array, batch: Batch) -> tuple[Any, ...]:
        arrays = batch.action, batch.log_prob, batch.advantage, batch.weight
        return (
            *arrays,
            *_numbers(numbers, batch.total, batch.objective.clip_range, batch.objective.ent_coef),
        )

    if isinstance(actuators, ChoiceActuators):
        ends = np.cumsum(actuators.sizes)

        def choice_loss(logits: Array, batch: Batch, sums: Totals) -> None:
            kernels.choice_loss(logits, ends, *arguments(logits, batch), sums)

        return choice_loss
    assert isinstance(actuators, ContinuousActuators)
    log_std, d_log_std = array(actuators.log_std), places[actuators.log_std]

    def normal_loss(mean: Array, batch: Batch, sums: Totals) -> None:
        kernels.normal_loss(mean, log_std, *arguments(mean, batch), sums, d_log_std)

    return normal_loss


def _value_loss(values: Array, batch: Batch, sums: Totals) -> None:
    from rlrnn.learners.ppo import kernels

    objective = batch.objective
    clip = -1.0 if objective.clip_range_vf is None else objective.clip_range_vf
    numbers = _numbers(values, batch.total, clip, objective.vf_coef)
    kernels.value_loss(values, batch.value, batch.target, batch.weight, *numbers, sums)


def _flat(x: Tensor) -> Tensor:
    """[T, R, ...] -> [N, ...]."""
    return x.flatten(0, 1)


def _numbers(like: Array, *numbers: float) -> list[Any]:
    """In the precision of the arrays: a double among them would make all sums double."""
    return [like.dtype.type(number) for number in numbers]
