"""The common networks at play on a CPU, in numpy over the weights' own memory.

A step of a small network is a few microseconds of arithmetic, for which torch's calls take ten times as
long. What fits: plans of gated cells and dense layers, and actuators that choose or that draw from a normal
distribution. ``by_torch`` does the same for every network, and is the oracle.

Letters: B environments, S state, A numbers in an action, O output units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlrnn.cells.gated import kernels_of
from rlrnn.common.threads import workers
from rlrnn.network.distributions import Distribution
from rlrnn.network.layers import Affine
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.plan import Dense, Gated, Layer, Plan, plan
from rlrnn.network.sensors import Observation, Sensors

Array: TypeAlias = npt.NDArray[Any]
# observation [B, ...], start [B], state [B, S] -> action [B, A], log-probability [B], value [B], next state
Act: TypeAlias = Callable[[Observation, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
Value: TypeAlias = Callable[[Observation, Tensor, Tensor], Tensor]  # the same three -> value [B]
Plans: TypeAlias = tuple[Plan, Plan]  # the actor's, the critic's


SHARE = 5e6  # multiplications of a step that are worth a thread


def acting(network: RecurrentNetwork, generator: torch.Generator, threads: int = 1) -> Act:
    """How the network plays, drawing its actions, while its weights stay where they are."""
    plans = plans_of(network)
    return by_torch(network, generator) if plans is None else by_numpy(network, plans, generator, threads)


def plans_of(network: RecurrentNetwork) -> Plans | None:
    """The plans of actor and critic, if ``by_numpy`` can run all of both."""
    actor, critic = plan(network.actor), plan(network.critic)
    if actor is None or critic is None or not network.actuators.simple:
        return None
    memories = [actor.memory] if isinstance(network.critic_memory, Affine) else [actor.memory, critic.memory]
    fits = all(isinstance(layer, Gated) and _has_step(layer) for memory in memories for layer in memory)
    return (actor, critic) if fits else None


def _has_step(layer: Gated) -> bool:
    return hasattr(kernels_of(layer.cell), "step")


def by_torch(network: RecurrentNetwork, generator: torch.Generator) -> Act:
    """By the network's own modules."""

    def act(observation: Observation, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        distribution, values, after = network.step(observation, start, state)
        action = distribution.sample(generator)
        return action, distribution.log_prob(action), values, after

    return act


def by_numpy(network: RecurrentNetwork, plans: Plans, generator: torch.Generator, threads: int = 1) -> Act:
    """The same numbers to rounding, drawn from the same noise; for any number of threads the same bytes."""
    first = network.state_sizes[0]
    remember, logits = _memory(plans[0].memory), _dense((*plans[0].head, plans[0].output))
    remember_critic = None if network.critic.shared else _memory(plans[1].memory)
    value = _dense((*plans[1].head, plans[1].output))
    draw = network.actuators.draw(generator)
    work = sum(p.numel() for p in network.parameters())  # of a row, in multiplications

    def act(observation: Observation, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x_critic = _features(network.sensors, observation)
        if network.critic_sensors is not None:
            x_critic = _features(network.critic_sensors, observation)
        starts, before = start.numpy(), state.contiguous().numpy()
        after = np.empty_like(before)

        def run(first_row: int, last_row: int) -> tuple[Array, Array]:
            """Numbers of the output units and values of some rows, whose memory is left in ``after``."""
            rows = slice(first_row, last_row)
            y = y_critic = remember(x[rows], starts[rows], before[rows], after[rows], 0)
            if remember_critic is not None:
                y_critic = remember_critic(x_critic[rows], starts[rows], before[rows], after[rows], first)
            return logits(y), value(y_critic)

        if threads == 1 or len(x) * work < threads * SHARE:
            numbers, values = run(0, len(x))
        else:
            ends = [len(x) * k // threads for k in range(threads + 1)]
            parts = workers(threads).map(run, ends[:-1], ends[1:])
            numbers, values = map(np.concatenate, zip(*parts, strict=True))
        action, log_prob = draw(numbers)
        return (
            torch.from_numpy(action),
            torch.from_numpy(log_prob),
            torch.from_numpy(values[:, 0]),
            torch.from_numpy(after),
        )

    return act


def valuing(network: RecurrentNetwork) -> Value:
    """``network.value_of``, in numpy where the network fits: of states that nothing is done in."""
    plans = plans_of(network)
    if plans is None:
        return network.value_of
    sensors, shared = network.critic_sensors or network.sensors, network.critic.shared
    remember = _memory(plans[0 if shared else 1].memory)
    value, column = _dense((*plans[1].head, plans[1].output)), 0 if shared else network.state_sizes[0]

    def value_of(observation: Observation, start: Tensor, state: Tensor) -> Tensor:
        before = state.contiguous().numpy()
        y = remember(_features(sensors, observation), start.numpy(), before, np.empty_like(before), column)
        return torch.from_numpy(value(y)[:, 0])

    return value_of


# features x [B, F], start [B], state [B, S] -> numbers of the output units [B, O], next state
Actor: TypeAlias = Callable[[Array, Array, Array], tuple[Array, Array]]


def play(
    network: RecurrentNetwork, observation: Observation, start: Tensor, state: Tensor
) -> tuple[Distribution, Tensor]:
    """``network.act``, in numpy where the network fits; without gradients."""
    cached = _actors.get(network)
    if cached is None or not cached.valid(network):
        cached = _actors[network] = _CachedActor(network)
    if cached.actor is None:
        return network.act(observation, start, state)
    x = _features(network.sensors, observation)
    numbers, after = cached.actor(x, start.numpy(), state.contiguous().numpy())
    return network.actuators.distribution(torch.from_numpy(numbers)), torch.from_numpy(after)


class _CachedActor:
    """An actor by numpy, as long as the weights are where they were when it was made; None if none fits."""

    def __init__(self, network: RecurrentNetwork) -> None:
        self.output = network.actuators.output.weight
        self.weights = list(network.parameters())
        self.places = [weight.data_ptr() for weight in self.weights]
        plans = plans_of(network)
        self.actor = None if plans is None else _actor(plans[0])

    def valid(self, network: RecurrentNetwork) -> bool:
        """Neither moved, as ``to`` does, nor replaced."""
        same = self.output is network.actuators.output.weight
        return same and self.places == [weight.data_ptr() for weight in self.weights]


_actors: WeakKeyDictionary[RecurrentNetwork, _CachedActor] = WeakKeyDictionary()


def _actor(plan: Plan) -> Actor:
    remember, logits = _memory(plan.memory), _dense((*plan.head, plan.output))

    def act(x: Array, start: Array, state: Array) -> tuple[Array, Array]:
        after = np.empty_like(state)
        return logits(remember(x, start, state, after, 0)), after

    return act


def _features(sensors: Sensors, observation: Observation) -> Array:
    """Features [B, F] as the kernels take them: other layouts would be compiled for apart."""
    features: Tensor = sensors(observation)
    return features.contiguous().numpy()


# x [B, I], start [B], the state before and after [B, S], this memory's first column of them -> y [B, H]
Remember: TypeAlias = Callable[[Array, Array, Array, Array, int], Array]


def _memory(layers: Sequence[Layer]) -> Remember:
    """One step of layers of memory; it writes their part of the state after."""
    steps = [_step(layer) if isinstance(layer, Gated) else _projection(layer) for layer in layers]

    def remember(x: Array, start: Array, before: Array, after: Array, column: int) -> Array:
        for step in steps:
            x = step(x, start, before, after, column)
        return x

    return remember


def _step(layer: Gated) -> Remember:
    cell, kernel, own = layer.cell, kernels_of(layer.cell).step, layer.columns.start
    inputs, weights = cell.weight_input.detach().numpy(), cell.weight_hidden.detach().numpy()
    empty = np.zeros(weights.shape[1], weights.dtype)
    biases = [empty if bias is None else bias.detach().numpy() for bias in cell.biases()]
    options, units = cell.kernel_options(), cell.output_size

    def step(x: Array, start: Array, before: Array, after: Array, column: int) -> Array:
        y = np.empty((len(x), units), x.dtype)
        kernel(x, inputs, weights, *biases, start, before, after, column + own, y, *options)
        return y

    return step


def _projection(layer: Layer) -> Remember:
    assert isinstance(layer, Dense)
    project = _dense((layer,))
    return lambda x, start, before, after, column: project(x)


def _dense(layers: Sequence[Dense]) -> Callable[[Array], Array]:
    from rlrnn.cells.kernels import dense  # late, as numba takes a while to load

    arrays = []
    for layer in layers:
        weight = layer.weight.detach().numpy()
        bias = np.zeros_like(weight[0]) if layer.bias is None else layer.bias.detach().numpy()
        arrays.append((weight, bias, dense.ACTIVATIONS[layer.activation]))

    def run(x: Array) -> Array:
        for weight, bias, activation in arrays:
            x, before = np.empty((len(x), len(bias)), x.dtype), x
            dense.step(before, weight, bias, activation, x)
        return x

    return run
