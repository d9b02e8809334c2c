"""Backpropagation through time written out over compiled kernels: how an update runs on a CPU.

Small networks pay less for arithmetic than for calls: autograd makes hundreds per minibatch, this makes some
thirty. What fits: networks with a plan, no dropout, and actuators that choose or draw from a normal
distribution. Sensors are torch's (``features``). Equal to autograd through ``loss.ppo_loss``.

Letters: T time, R rows, N = T * R steps; I inputs and O outputs of a layer; S state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlrnn.cells.gated import kernels_of
from rlrnn.cells.kernels.recurrence import Array, array
from rlrnn.common.compiling import can_compile
from rlrnn.learners.ppo.features import divisible, learns
from rlrnn.learners.ppo.loss import Objective, Sums
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.network import plan
from rlrnn.network.actuators import Actuators, ChoiceActuators, ContinuousActuators
from rlrnn.network.memory import Memory
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.paths.delay_line import windows
from rlrnn.network.plan import Plan
from rlrnn.network.sensors import Sensors
from rlrnn.network.stream import Stream

Places: TypeAlias = Mapping[Any, Array]  # where the gradient of each parameter is written
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


class Layer(Protocol):
    """Runs forward once, then backward once; keeps what that needs, and leaves gradients in their places."""

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        """x [N, I], start [T, R], state [R, S] -> y [N, O]."""

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        """dy [N, O], which it may overwrite, -> dx [N, I], if ``needs_dx``: where a layer below learns."""


class Dense:
    """activation(x W + b)."""

    def __init__(self, layer: plan.Dense, places: Places) -> None:
        from rlrnn.cells.kernels import dense  # late, as numba takes a while to load

        self.kernels = dense
        self.weight, self.d_weight = array(layer.weight), places[layer.weight]
        self.bias, self.d_bias = _bias(layer.bias, self.weight, places)
        self.activation = dense.ACTIVATIONS[layer.activation]

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.x, self.y = x, np.empty((len(x), len(self.bias)), x.dtype)
        self.kernels.forward(x, self.weight, self.bias, self.activation, self.y)
        return self.y

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        dx = np.empty_like(self.x if needs_dx else self.x[:0])
        arguments = self.x, self.y, self.weight, self.activation, dy, self.d_weight, self.d_bias, dx
        self.kernels.backward(*arguments)
        return dx if needs_dx else None


class Gated:
    """A cell with kernels."""

    def __init__(self, layer: plan.Gated, places: Places) -> None:
        from rlrnn.cells.kernels import products, rows

        self.products, self.sum_rows = products, rows.sum_rows
        cell, self.columns = layer.cell, layer.columns
        self.recurrence = kernels_of(cell).recurrence(cell)
        self.weight, self.d_weight = array(cell.weight_input), places[cell.weight_input]
        self.d_hidden = places[cell.weight_hidden]
        biases = [bias for bias in cell.projected_biases() if bias is not None]
        self.biases = [array(bias) for bias in biases] or [np.zeros_like(self.weight[0])]
        self.d_biases = [places[bias] for bias in biases] or [np.empty_like(self.biases[0])]
        self.d_recurrent = [None if p is None else places[p] for p in cell.recurrent_parameters()]

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.x = x
        projected = np.empty((len(x), self.weight.shape[1]), x.dtype)
        self.products.multiply(x, self.weight, np.add.reduce(self.biases), projected)
        y, last = self.recurrence.forward(projected.reshape(*start.shape, -1), start, state[:, self.columns])
        self.d_last = np.zeros_like(last)
        outputs: Array = y.reshape(len(x), -1)
        return outputs

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        dy = dy.reshape(-1, len(self.d_last), dy.shape[1])
        d, _ = self.recurrence.backward(dy, self.d_last, self.d_hidden, self.d_recurrent)
        d = d.reshape(len(self.x), -1)
        self.sum_rows(d, self.d_biases[0])
        for other in self.d_biases[1:]:
            other[:] = self.d_biases[0]
        self.products.weights_gradient(self.x, d, self.d_weight)
        if not needs_dx:
            return None
        dx = np.empty_like(self.x)
        self.products.multiply_transposed(d, self.weight, dx)
        return dx


class DelayLine:
    """A finite impulse cell."""

    def __init__(self, layer: plan.DelayLine, places: Places) -> None:
        from rlrnn.cells.kernels import dense, products

        self.kernels, self.products, cell = dense, products, layer.cell
        self.columns, self.dilation = layer.columns, cell.dilation
        self.weight, self.d_weight = array(cell.weight_input), places[cell.weight_input]
        self.weight_delayed, self.d_delayed = array(cell.weight_delayed), places[cell.weight_delayed]
        self.bias, self.d_bias = _bias(cell.bias, self.weight, places)

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.window_arguments = (
            torch.from_numpy(x).view(*start.shape, -1),
            torch.from_numpy(start),
            torch.from_numpy(state[:, self.columns]),
            self.dilation,
        )
        self.x, self.delayed = x, windows(*self.window_arguments).flatten(0, 1).numpy()
        self.y = np.empty((len(x), len(self.bias)), x.dtype)
        self.products.multiply(x, self.weight, self.bias, self.y)
        self.products.accumulate(self.delayed, self.products.packed(self.weight_delayed), self.y)
        self.kernels.activate(self.y, TANH)
        return self.y

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        self.kernels.deactivate(dy, self.y, TANH, self.d_bias)
        self.products.weights_gradient(self.x, dy, self.d_weight)
        self.products.weights_gradient(self.delayed, dy, self.d_delayed)
        if not needs_dx:
            return None
        d_windows = np.empty_like(self.delayed)
        self.products.multiply_transposed(dy, self.weight_delayed, d_windows)
        with torch.enable_grad():  # backward through the windows
            x = self.window_arguments[0].requires_grad_()
            delayed = windows(x, *self.window_arguments[1:]).flatten(0, 1)
        (d_delayed,) = torch.autograd.grad(delayed, x, torch.from_numpy(d_windows))
        by_x: Array = d_delayed.flatten(0, 1).numpy()
        self.products.accumulate(dy, self.products.packed_transposed(self.weight), by_x)
        return by_x


TANH = 1  # as the kernels number activations


def _bias(bias: Tensor | None, weight: Array, places: Places) -> tuple[Array, Array]:
    """A bias [O] and the place of its gradient; of one that is not there, zeros and a place for nothing."""
    if bias is None:
        return np.zeros_like(weight[0]), np.empty_like(weight[0])
    return array(bias), places[bias]


def _layer(layer: plan.Layer, places: Places) -> Layer:
    if isinstance(layer, plan.Dense):
        return Dense(layer, places)
    return Gated(layer, places) if isinstance(layer, plan.Gated) else DelayLine(layer, places)


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
        y = _forward(self.memory, x, start, state)
        dy: Array | None = None
        for head in self.heads:
            outputs = _forward(head.layers, y, start, state)
            head.loss(outputs, batch, sums)
            d = _backward(head.layers, outputs, head.trains_memory)
            if d is not None:
                dy = d if dy is None else np.add(dy, d, out=dy)
        assert dy is not None
        return sums, _backward(self.memory, dy, self.sensors_learn)


def _forward(layers: Sequence[Layer], x: Array, start: Array, state: Array) -> Array:
    for layer in layers:
        x = layer.forward(x, start, state)
    return x


def _backward(layers: Sequence[Layer], d: Array, needs_dx: bool) -> Array | None:
    for number, layer in reversed(list(enumerate(layers))):
        dx = layer.backward(d, needs_dx or number > 0)
        if dx is None:
            return None
        d = dx
    return d


def plans_of(network: RecurrentNetwork) -> tuple[Plan, Plan] | None:
    """The actor's and the critic's plan, if this module can run all that the network is made of."""
    memories = [m for m in (network.memory, network.critic_memory) if isinstance(m, Memory)]
    sensors = [s for s in (network.sensors, network.critic_sensors) if s is not None]
    of_sensors = {parameter for each in sensors for parameter in each.parameters()}
    own = [parameter for parameter in network.parameters() if parameter not in of_sensors]
    weight = network.value.weight
    if (
        not can_compile()
        or weight.device.type != "cpu"
        or any(memory.dropout > 0.0 for memory in memories)
        or (of_sensors and not all(map(divisible, sensors)))
        or not all(p.requires_grad and p.is_contiguous() for p in own)
        or not network.actuators.simple
        or not isinstance(network.actuators.output.weight, nn.Parameter)
    ):
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
        return [_layer(layer, places) for layer in plan_layers]

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
