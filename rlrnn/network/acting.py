"""The common networks at play on a CPU, in numpy over the weights' own memory.

A step of a small network is a few microseconds of arithmetic, for which torch's calls take ten times as
long. What fits: compiled cells (``compiled``), heads of tanh or ReLU layers, and actuators that choose or
that draw from a normal distribution. ``by_torch`` does the same for every network, and is the oracle.

Letters: B environments, S state, A numbers in an action.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlrnn.network.actuators import LOG_2PI, Actuators, ChoiceActuators, ContinuousActuators, Distribution
from rlrnn.network.layers import Affine, Mlp
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.paths import gated
from rlrnn.network.sensors import Observation, Sensors
from rlrnn.network.sequence import Memory

Array: TypeAlias = npt.NDArray[Any]
# observation [B, ...], start [B], state [B, S] -> action [B, A], log-probability [B], value [B], next state
Act: TypeAlias = Callable[[Observation, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


def acting(network: RecurrentNetwork, generator: torch.Generator) -> Act:
    """How the network plays, drawing its actions, while its weights stay where they are."""
    return by_numpy(network, generator) if fits(network) else by_torch(network, generator)


def fits(network: RecurrentNetwork) -> bool:
    """Whether ``by_numpy`` knows all that the network is made of."""
    weight = network.value.weight
    memories = [m for m in (network.memory, network.critic_memory) if isinstance(m, Memory)]
    layers: list[Any] = [layer for memory in memories for layer in memory.layers]
    return (
        all(memory.chain for memory in memories)
        and all(gated.knows(layer, weight) for layer in layers)
        and type(network.actor_head.activation) in (nn.Tanh, nn.ReLU)
        and simple(network.actuators)
    )


def simple(actuators: Actuators) -> bool:
    """Whether they choose, or draw from a normal distribution whose spread no state decides."""
    sde = isinstance(actuators, ContinuousActuators) and actuators.use_sde
    return isinstance(actuators, ChoiceActuators | ContinuousActuators) and not sde


def by_torch(network: RecurrentNetwork, generator: torch.Generator) -> Act:
    """By the network's own modules."""

    def act(observation: Observation, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        distribution, values, after = network.step(observation, start, state)
        action = distribution.sample(generator)
        return action, distribution.log_prob(action), values, after

    return act


def by_numpy(network: RecurrentNetwork, generator: torch.Generator) -> Act:
    """The same numbers to rounding, drawn from the same noise."""
    remember = gated.stepper(network.memory.layers)
    critic_memory = network.critic_memory
    remember_critic = project = None
    if isinstance(critic_memory, Memory):
        remember_critic = gated.stepper(critic_memory.layers)
    elif critic_memory is not None:
        project = _affine(critic_memory)
    actor_head, critic_head = _head(network.actor_head), _head(network.critic_head)
    tell, value = _affine(_output(network)), _affine(network.value)
    draw = _draw(network.actuators, generator)

    def act(observation: Observation, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, starts, before = _seen(network.sensors, observation), start.numpy(), state.contiguous().numpy()
        after = np.empty_like(before)
        y = y_critic = remember(x, starts, before, after, 0)
        if network.critic_sensors is not None:
            x = _seen(network.critic_sensors, observation)
        if remember_critic is not None:
            y_critic = remember_critic(x, starts, before, after, network.state_sizes[0])
        elif project is not None:
            y_critic = project(x)
        action, log_prob = draw(tell(actor_head(y)))
        values = value(critic_head(y_critic))[:, 0]
        return (
            torch.from_numpy(action),
            torch.from_numpy(log_prob),
            torch.from_numpy(values),
            torch.from_numpy(after),
        )

    return act


Actor: TypeAlias = Callable[[Array, Array, Array], tuple[Array, Array]]  # x, start, state -> told, next state


def play(
    network: RecurrentNetwork, observation: Observation, start: Tensor, state: Tensor
) -> tuple[Distribution, Tensor]:
    """``network.act``, in numpy where the network fits; without gradients."""
    known = _known.get(network)
    if known is None or not known.holds(network):
        known = _known[network] = _Known(network)
    if known.actor is None:
        return network.act(observation, start, state)
    x = _seen(network.sensors, observation)
    with gated.one_blas_thread():
        told, after = known.actor(x, start.numpy(), state.contiguous().numpy())
    actuators = network.actuators
    assert isinstance(actuators, ChoiceActuators | ContinuousActuators)
    return actuators.told(torch.from_numpy(told)), torch.from_numpy(after)


class _Known:
    """An actor by numpy, as long as the weights are where they were when it was made; None if none fits."""

    def __init__(self, network: RecurrentNetwork) -> None:
        self.output = _output(network).weight
        self.weights = list(network.parameters())
        self.places = [weight.data_ptr() for weight in self.weights]
        self.actor = _actor(network) if fits(network) else None

    def holds(self, network: RecurrentNetwork) -> bool:
        """Neither moved, as ``to`` does, nor replaced."""
        same = self.output is _output(network).weight
        return same and self.places == [weight.data_ptr() for weight in self.weights]


_known: WeakKeyDictionary[RecurrentNetwork, _Known] = WeakKeyDictionary()


def _actor(network: RecurrentNetwork) -> Actor:
    """What the actuators are told [B, ...] and the actor's next state, from features x [B, F]."""
    remember, head = gated.stepper(network.memory.layers), _head(network.actor_head)
    tell = _affine(_output(network))

    def act(x: Array, start: Array, state: Array) -> tuple[Array, Array]:
        after = np.empty_like(state)
        return tell(head(remember(x, start, state, after, 0))), after

    return act


def _seen(sensors: Sensors, observation: Observation) -> Array:
    """Features [B, F] as the kernels take them: other layouts would be compiled for apart."""
    features: Tensor = sensors(observation)
    return features.contiguous().numpy()


def _output(network: RecurrentNetwork) -> Affine:
    return network.actuators.output


def _affine(layer: Affine) -> Callable[[Array], Array]:
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()

    def run(x: Array) -> Array:
        y: Array = x @ weight
        y += bias
        return y

    return run


def _head(head: Mlp) -> Callable[[Array], Array]:
    layers = [_affine(layer) for layer in cast("list[Affine]", head.layers)]
    tanh = isinstance(head.activation, nn.Tanh)

    def run(x: Array) -> Array:
        for layer in layers:
            x = layer(x)
            x = np.tanh(x, out=x) if tanh else np.maximum(x, 0.0, out=x)
        return x

    return run


def _draw(actuators: Actuators, generator: torch.Generator) -> Callable[[Array], tuple[Array, Array]]:
    """What the actuators are told [B, ...] -> an action drawn [B, A] and its log-probability [B]."""
    if isinstance(actuators, ContinuousActuators):
        log_std = actuators.log_std.detach().numpy()
        std, constant = np.exp(log_std), -log_std.sum() - 0.5 * LOG_2PI * len(log_std)

        def draw_normal(mean: Array) -> tuple[Array, Array]:
            noise = torch.empty(mean.shape).normal_(generator=generator).numpy()
            return mean + std * noise, constant - 0.5 * np.square(noise).sum(-1)

        return draw_normal
    assert isinstance(actuators, ChoiceActuators)
    ends = np.cumsum(actuators.sizes).tolist()

    def draw_choice(logits: Array) -> tuple[Array, Array]:
        rows, choices, log_prob = np.arange(len(logits)), [], np.zeros(len(logits), logits.dtype)
        for begin, end in zip((0, *ends), ends, strict=False):
            group = logits[:, begin:end]
            noise = torch.empty(group.shape).exponential_(generator=generator).numpy()
            choice = (group - np.log(noise)).argmax(-1)  # Gumbel-max, as in ``Categorical.sample``
            highest = group.max(-1)
            total = np.log(np.exp(group - highest[:, None]).sum(-1))
            log_prob += group[rows, choice] - highest - total
            choices.append(choice)
        return np.stack(choices, axis=-1), log_prob

    return draw_choice
