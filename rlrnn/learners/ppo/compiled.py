"""Backpropagation through time written out over compiled kernels: how an update runs with ``[fast]``.

Small networks pay less for arithmetic than for calls: autograd makes hundreds per minibatch, this makes some
thirty. The network is cut into trees: a trunk of memory, branches that end in what to do and in what it is
worth. What fits: compiled, finite impulse or no memory, sensors that do not learn, heads of tanh or ReLU
layers, actuators that choose or draw from a normal distribution. Equal to autograd through
``surrogate.ppo_loss``.

Letters: T time, R rows, N = T * R steps; I inputs and O outputs of a layer; S state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlrnn.cells import Cell, FeedForward, Fir, Gru, Lstm
from rlrnn.cells.cell import exactly
from rlrnn.cells.kernels.recurrences import Array, array, product, recurrence
from rlrnn.learners.ppo.loss import Objective
from rlrnn.learners.ppo.rollout import Rows, map_arrays
from rlrnn.network import acting
from rlrnn.network.actuators import ChoiceActuators, ContinuousActuators
from rlrnn.network.layers import Affine, FirstUnits
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.paths import gated
from rlrnn.network.paths.delay_line import windows
from rlrnn.network.sensors import Sensors
from rlrnn.network.sequence import Memory

Places: TypeAlias = Mapping[nn.Parameter, Array]  # where the gradient of each parameter is written
Sums: TypeAlias = npt.NDArray[np.float64]  # policy loss, value loss, entropy, KL divergence, clip fraction
ACTIVATIONS = {nn.Identity: 0, nn.Tanh: 1, nn.ReLU: 2}  # as kernels know them


@dataclass(frozen=True)
class Case:
    """Some rows, and how outputs are judged there."""

    rows: Rows
    total: float  # steps of the minibatch, of which the rows may be a part
    objective: Objective


class Layer(Protocol):
    """Goes forward once, then back once; what that takes it keeps, gradients it leaves in their places."""

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        """x [N, I], start [T, R], state [R, S] -> y [N, O]."""

    def backward(self, dy: Array, onwards: bool) -> Array | None:
        """dy [N, O], which it may overwrite, -> dx [N, I] if there is a layer below that learns."""


class Dense:
    """activation(x W + b)."""

    def __init__(
        self, weight: nn.Parameter, bias: nn.Parameter | None, activation: type[nn.Module], places: Places
    ) -> None:
        self.kernels = gated.loaded()[0]
        self.weight, self.d_weight = array(weight), places[weight]
        self.bias = np.zeros_like(self.weight[0]) if bias is None else array(bias)
        self.d_bias = np.empty_like(self.bias) if bias is None else places[bias]
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.x, self.y = x, np.empty((len(x), len(self.bias)), x.dtype)
        product(x, self.weight, self.y)
        self.kernels.activate(self.y, self.bias, self.activation)
        return self.y

    def backward(self, dy: Array, onwards: bool) -> Array | None:
        self.kernels.deactivate(dy, self.y, self.activation, self.d_bias)
        product(self.x.T, dy, self.d_weight)
        return product(dy, self.weight.T, np.empty_like(self.x)) if onwards else None


class Recurrent:
    """A compiled cell, whose state lies in some columns of the trunk's."""

    def __init__(self, cell: Any, columns: slice, places: Places) -> None:
        self.kernels, self.columns = gated.loaded()[0], columns
        self.recurrence = recurrence(cell, self.kernels)
        of = {name: (array(p), places[p]) for name, p in cell.named_parameters(recurse=False)}
        self.weight, self.d_weight = of["weight_input"]
        self.d_recurrent = of["weight_hidden"][1]
        nothing = np.zeros_like(self.weight[0])
        self.bias, self.d_bias = of.get("bias", of.get("bias_input", (nothing, nothing.copy())))
        more, d_more = of.get("bias_hidden", (None, None))
        self.d_own = [d_more] if isinstance(cell, Gru) else []  # within the recurrence
        self.bias_more, self.d_bias_more = (more, d_more) if isinstance(cell, Lstm) else (None, None)

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.x = x
        projected = np.empty((len(x), len(self.bias)), x.dtype)
        product(x, self.weight, projected)
        bias = self.bias if self.bias_more is None else self.bias + self.bias_more
        self.kernels.activate(projected, bias, ACTIVATIONS[nn.Identity])
        y, last = self.recurrence.forward(projected.reshape(*start.shape, -1), start, state[:, self.columns])
        self.nothing = np.zeros_like(last)
        return y.reshape(len(x), -1)

    def backward(self, dy: Array, onwards: bool) -> Array | None:
        dy = dy.reshape(-1, len(self.nothing), dy.shape[1])
        d, _ = self.recurrence.backward(dy, self.nothing, self.d_recurrent, self.d_own)
        d = d.reshape(len(self.x), -1)
        self.kernels.sum_rows(d, self.d_bias)
        if self.d_bias_more is not None:
            self.d_bias_more[:] = self.d_bias
        product(self.x.T, d, self.d_weight)
        return product(d, self.weight.T, np.empty_like(self.x)) if onwards else None


class Delayed:
    """A finite impulse cell, whose delay line lies in some columns of the trunk's state."""

    def __init__(self, cell: Fir, columns: slice, places: Places) -> None:
        self.kernels, self.columns, self.dilation = gated.loaded()[0], columns, cell.dilation
        self.weight, self.d_weight = array(cell.weight_input), places[cell.weight_input]
        self.weight_delayed, self.d_delayed = array(cell.weight_delayed), places[cell.weight_delayed]
        self.bias = np.zeros_like(self.weight[0]) if cell.bias is None else array(cell.bias)
        self.d_bias = np.empty_like(self.bias) if cell.bias is None else places[cell.bias]

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.seen = (
            torch.from_numpy(x).view(*start.shape, -1),
            torch.from_numpy(start),
            torch.from_numpy(state[:, self.columns]),
            self.dilation,
        )
        self.x, self.held = x, windows(*self.seen).flatten(0, 1).numpy()
        self.y = product(self.held, self.weight_delayed, np.empty((len(x), len(self.bias)), x.dtype))
        self.y += product(x, self.weight, np.empty_like(self.y))
        self.kernels.activate(self.y, self.bias, ACTIVATIONS[nn.Tanh])
        return self.y

    def backward(self, dy: Array, onwards: bool) -> Array | None:
        self.kernels.deactivate(dy, self.y, ACTIVATIONS[nn.Tanh], self.d_bias)
        product(self.x.T, dy, self.d_weight)
        product(self.held.T, dy, self.d_delayed)
        if not onwards:
            return None
        d_held = torch.from_numpy(product(dy, self.weight_delayed.T, np.empty_like(self.held)))
        with torch.enable_grad():  # back through the windows
            x = self.seen[0].requires_grad_()
            held = windows(x, *self.seen[1:]).flatten(0, 1)
        d_delayed: Array = torch.autograd.grad(held, x, d_held)[0].flatten(0, 1).numpy()
        return np.add(d_delayed, product(dy, self.weight.T, np.empty_like(self.x)), out=d_delayed)


# The outputs [N, O] of a branch become the loss's gradient by them.
Judge: TypeAlias = Callable[[Array, Case, Sums], None]


@dataclass(frozen=True)
class Branch:
    """Layers from a memory's outputs to outputs that are judged."""

    layers: Sequence[Layer]
    judge: Judge
    teaches: bool = True  # the gradient goes on into the memory


@dataclass(frozen=True)
class Tree:
    """Sensors, a memory and what grows from it."""

    sensors: Sensors
    trunk: Sequence[Layer]
    columns: slice  # of the state
    branches: Sequence[Branch]

    def descend(self, case: Case) -> Sums:
        """Leave the gradients of all its parameters in place; returns what the rows add to the figures."""
        sums, rows = np.zeros(5), case.rows
        start, state = array(rows.start), array(rows.state)[:, self.columns]
        y = _through(self.trunk, array(self.sensors(map_arrays(_flat, rows.observation))), start, state)
        d_y: Array | None = None
        for branch in self.branches:
            d = _through(branch.layers, y, start, state)
            branch.judge(d, case, sums)
            back = _back(branch.layers, d, branch.teaches)
            if back is not None:
                d_y = back if d_y is None else np.add(d_y, back, out=d_y)
        assert d_y is not None
        _back(self.trunk, d_y, onwards=False)
        return sums


def _through(layers: Sequence[Layer], x: Array, start: Array, state: Array) -> Array:
    for layer in layers:
        x = layer.forward(x, start, state)
    return x


def _back(layers: Sequence[Layer], d: Array, onwards: bool) -> Array | None:
    for number, layer in reversed(list(enumerate(layers))):
        found = layer.backward(d, onwards or number > 0)
        if found is None:
            return None
        d = found
    return d


def fits(network: RecurrentNetwork) -> bool:
    """Whether this module knows all that the network is made of."""
    memories = [m for m in (network.memory, network.critic_memory) if isinstance(m, Memory)]
    sensors = [s for s in (network.sensors, network.critic_sensors) if s is not None]
    weight = network.value.weight
    return (
        gated.installed()
        and weight.device.type == "cpu"
        and all(memory.chain and memory.dropout == 0.0 for memory in memories)
        and all(
            exactly(layer, FeedForward, Fir) or gated.knows(cast("Cell", layer), weight)
            for memory in memories
            for layer in memory.layers
        )
        and not any(True for s in sensors for _ in s.parameters())
        and all(p.requires_grad and p.is_contiguous() for p in network.parameters())
        and type(network.actor_head.activation) in (nn.Tanh, nn.ReLU)
        and acting.simple(network.actuators)
        and not isinstance(network.actuators.output, FirstUnits)
    )


def trees(network: RecurrentNetwork, gradients: Mapping[nn.Parameter, Tensor]) -> list[Tree]:
    """The network as one tree, or two where actor and critic have nothing in common.

    They work on one set of rows at a time, while weights and gradients stay where they are.
    """
    places = {parameter: gradient.numpy() for parameter, gradient in gradients.items()}

    def head(layers: nn.ModuleList, output: Any) -> list[Layer]:
        activation = type(network.actor_head.activation)
        hidden = [Dense(a.weight, a.bias, activation, places) for a in cast("list[Affine]", layers)]
        return [*hidden, Dense(output.weight, output.bias, nn.Identity, places)]

    act = Branch(
        head(network.actor_head.layers, network.actuators.output), _judge_of(network.actuators, places)
    )
    teaches = network.description.critic != "detached"
    value = Branch(head(network.critic_head.layers, network.value), _judge_values, teaches)
    trunk, columns = _trunk(network.memory, places), slice(0, network.state_sizes[0])
    if network.critic_memory is None:
        return [Tree(network.sensors, trunk, columns, [act, value])]
    sensors, own = network.critic_sensors or network.sensors, slice(network.state_sizes[0], None)
    return [
        Tree(network.sensors, trunk, columns, [act]),
        Tree(sensors, _trunk(network.critic_memory, places), own, [value]),
    ]


def _trunk(memory: Memory | Affine, places: Places) -> list[Layer]:
    if isinstance(memory, Affine):
        return [Dense(memory.weight, memory.bias, nn.Identity, places)]
    layers: list[Layer] = []
    ends = list(accumulate(memory.state_sizes))
    for layer, size, end in zip(memory.layers, memory.state_sizes, ends, strict=True):
        if isinstance(layer, FeedForward):
            layers.append(Dense(layer.weight_input, layer.bias, nn.Tanh, places))
        elif isinstance(layer, Fir):
            layers.append(Delayed(layer, slice(end - size, end), places))
        else:
            layers.append(Recurrent(layer, slice(end - size, end), places))
    return layers


def _judge_of(actuators: nn.Module, places: Places) -> Judge:
    """PPO's loss by what the actuators are told."""
    from rlrnn.learners.ppo import kernels  # late, as numba takes a while to load

    def known(told: Array, case: Case) -> tuple[Any, ...]:
        rows, objective = case.rows, case.objective
        arrays = [array(_flat(a)) for a in (rows.action, rows.log_prob, rows.advantage, rows.weight)]
        return (*arrays, *_numbers(told, case.total, objective.clip_range, objective.ent_coef))

    if isinstance(actuators, ChoiceActuators):
        ends = np.cumsum(actuators.sizes)

        def judge_choices(logits: Array, case: Case, sums: Sums) -> None:
            kernels.choice_loss(logits, ends, *known(logits, case), sums)

        return judge_choices
    assert isinstance(actuators, ContinuousActuators)
    log_std, d_log_std = array(actuators.log_std), places[actuators.log_std]

    def judge_means(mean: Array, case: Case, sums: Sums) -> None:
        kernels.normal_loss(mean, log_std, *known(mean, case), sums, d_log_std)

    return judge_means


def _judge_values(values: Array, case: Case, sums: Sums) -> None:
    from rlrnn.learners.ppo import kernels

    rows, objective = case.rows, case.objective
    arrays = [array(_flat(a)) for a in (rows.value, rows.target, rows.weight)]
    clip = -1.0 if objective.clip_range_vf is None else objective.clip_range_vf
    numbers = _numbers(values, case.total, clip, objective.vf_coef)
    kernels.value_loss(values, *arrays, *numbers, sums)


def _flat(x: Tensor) -> Tensor:
    """[T, R, ...] -> [N, ...]."""
    return x.flatten(0, 1)


def _numbers(like: Array, *numbers: float) -> list[Any]:
    """In the precision of the arrays: a double among them would make all sums double."""
    return [like.dtype.type(number) for number in numbers]
