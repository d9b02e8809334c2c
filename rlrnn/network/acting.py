"""The common networks at play on a CPU, by one compiled call over the weights' own memory.

A step of a small network is a few microseconds of arithmetic, for which torch's calls take ten times as
long. What fits: plans of gated cells and dense layers, and actuators that choose or that draw from a normal
distribution. ``by_torch`` does the same for every network, and is the oracle.

Letters: B environments, S state, A numbers in an action, O output units.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlrnn.common.batches import map_arrays
from rlrnn.common.compiling import can_compile
from rlrnn.common.threads import share
from rlrnn.errors import UserError
from rlrnn.network import program
from rlrnn.network.distributions import Distribution
from rlrnn.network.memory import Memory
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.plan import Layer, Plan, memory_layers, plan
from rlrnn.network.program import Program
from rlrnn.network.sensors import Observation
from rlrnn.network.stream import Stream

Array: TypeAlias = npt.NDArray[Any]
# observation [B, ...], start [B], state [B, S] -> action [B, A], log-probability [B], value [B], next state
Act: TypeAlias = Callable[[Observation, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
Value: TypeAlias = Callable[[Observation, Tensor, Tensor], Tensor]  # the same three -> value [B]
Plans: TypeAlias = tuple[Plan, Plan | None]  # the actor's, the critic's if there is one


SHARE = 5e6  # multiplications of a step that are worth a thread


def acting(network: RecurrentNetwork, generator: torch.Generator, threads: int = 1) -> Act:
    """How the network plays, drawing its actions, while its weights stay where they are."""
    plans = plans_of(network)
    return by_torch(network, generator) if plans is None else by_kernels(network, plans, generator, threads)


def plans_of(network: RecurrentNetwork) -> Plans | None:
    """The plans of actor and critic, if compiled steps can run all of both."""
    actor = plan(network.actor)
    if actor is None or not network.actuators.simple or not program.runs(actor):
        return None
    if not network.has_critic:
        return actor, None
    critic = plan(network.critic)
    return (actor, critic) if critic is not None and program.runs(critic) else None


def by_torch(network: RecurrentNetwork, generator: torch.Generator) -> Act:
    """By the network's own modules."""

    def act(observation: Observation, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        distribution, values, after = network.step(observation, start, state)
        action = distribution.sample(generator)
        return action, distribution.log_prob(action), values, after

    return act


def by_kernels(network: RecurrentNetwork, plans: Plans, generator: torch.Generator, threads: int = 1) -> Act:
    """The same numbers to rounding, drawn from the same noise; for any number of threads the same bytes."""
    step, draw = _stepping(network, plans, threads), network.actuators.draw(generator)
    read = network.sensors.reader()
    read_critic = None if network.critic_sensors is None else network.critic_sensors.reader()

    def act(observation: Observation, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        seen = map_arrays(Tensor.numpy, observation)
        x = read(seen)
        x_critic = x if read_critic is None else read_critic(seen)
        numbers, values, after = step(x, x_critic, start.numpy(), state.contiguous().numpy())
        action, log_prob = draw(numbers)
        return (
            torch.from_numpy(action),
            torch.from_numpy(log_prob),
            torch.from_numpy(values[:, 0]),
            torch.from_numpy(after),
        )

    return act


def valuing(network: RecurrentNetwork) -> Value:
    """``network.value_of``, by kernels where the network fits: of states that nothing is done in."""
    plans = plans_of(network)
    if plans is None:
        return network.value_of
    read, step = (network.critic_sensors or network.sensors).reader(), _stepping(network, plans, actor=False)

    def value_of(observation: Observation, start: Tensor, state: Tensor) -> Tensor:
        x = read(map_arrays(Tensor.numpy, observation))
        return torch.from_numpy(step(x, x, start.numpy(), state.contiguous().numpy())[1][:, 0])

    return value_of


Decide: TypeAlias = Callable[[Observation, Tensor, Tensor], tuple[Array, Tensor]]


def deciding(network: RecurrentNetwork, beside: Stream | None = None, threads: int = 1) -> Decide:
    """What the actor's output units say, and the next state, while the weights stay where they are.

    observation [B, ...], start [B], state [B, S] -> numbers [B, O], state. The memory of a stream ``beside``
    goes along: its part of the state follows the actor's own.
    """
    own = network.state_sizes[0]
    further_size = beside.memory.state_size if beside and isinstance(beside.memory, Memory) else 0
    if not further_size:
        beside = None
    plans, further = plans_of(network), None if beside is None else _memory_of(beside, network)
    if plans is None or (beside is not None and further is None):

        def by_modules(observation: Observation, start: Tensor, state: Tensor) -> tuple[Array, Tensor]:
            with torch.no_grad():
                actor = network.actor
                y, after = actor.step(actor.sensors(observation), start, state[:, :own])
                if beside is not None:
                    x = beside.sensors(observation)
                    after = torch.cat((after, beside.step(x, start, state)[1]), dim=-1)
                return actor.read(y).cpu().numpy(), after

        return by_modules

    read = network.sensors.reader()
    read_beside = None if beside is None else beside.sensors.reader()
    step = _stepping(
        network, plans, threads, critic=False, beside=further or (), state_size=own + further_size
    )

    def by_kernels(observation: Observation, start: Tensor, state: Tensor) -> tuple[Array, Tensor]:
        seen = map_arrays(Tensor.numpy, observation)
        x = read(seen)
        x_beside = x if read_beside is None else read_beside(seen)
        numbers, _, after = step(x, x_beside, start.numpy(), state.contiguous().numpy())
        return numbers, torch.from_numpy(after)

    return by_kernels


def drawing(network: RecurrentNetwork, generator: torch.Generator) -> Callable[[Array], Array]:
    """Actions drawn from the numbers of the output units: [B, O] -> [B, A]."""
    if can_compile() and network.like.device.type == "cpu":
        draw = network.actuators.draw(generator)
        return lambda numbers: draw(numbers)[0]

    def by_torch(numbers: Array) -> Array:
        distribution = network.actuators.distribution(torch.from_numpy(numbers).to(network.like.device))
        drawn: Array = distribution.sample(generator).cpu().numpy()
        return drawn

    return by_torch


def _memory_of(stream: Stream, network: RecurrentNetwork) -> tuple[Layer, ...] | None:
    """The layers of its memory, if all of them have compiled steps."""
    layers = memory_layers(stream.memory, network.like)
    return layers if layers is not None and program.steps(layers) else None


# features x [B, F] of the actor and of the critic, start [B], state [B, S] -> numbers of the output units
# [B, O], values [B, 1], the next state
Stepping: TypeAlias = Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]


def program_of(
    network: RecurrentNetwork,
    plans: Plans,
    actor: bool = True,
    critic: bool = True,
    pack: bool = False,
    beside: Sequence[Layer] = (),
    state_size: int | None = None,
) -> Program:
    """The table of the whole network, or of what the actor or the critic alone needs of it.

    With ``pack`` it is true while the weights keep their values. ``beside``: a further memory, which reads
    the critic's features, and whose state follows the actor's in one of ``state_size``.
    """
    from rlrnn.cells.kernels.stepping import CRITIC_FEATURES, FEATURES, OUTPUTS, VALUES

    first = network.state_sizes[0]
    shared = critic and network.critic.shared
    size = network.state_size if critic else first
    writer = program.Writer(size if state_size is None else state_size, pack=pack)
    y = writer.chain(plans[0].memory, FEATURES) if actor or shared else FEATURES
    if actor:
        writer.chain((*plans[0].head, plans[0].output), y, OUTPUTS)
    if critic:
        assert plans[1] is not None
        y_critic = y if shared else writer.chain(plans[1].memory, CRITIC_FEATURES, column=first)
        writer.chain((*plans[1].head, plans[1].output), y_critic, VALUES)
    if beside:
        writer.chain(beside, CRITIC_FEATURES, column=first)
    return writer.program()


def _stepping(
    network: RecurrentNetwork, plans: Plans, threads: int = 1, *, actor: bool = True, **which: Any
) -> Stepping:
    """``which`` as of ``program_of``."""
    from rlrnn.cells.kernels import stepping

    made = program_of(network, plans, actor, **which)
    units = network.actuators.output.weight.shape[1]
    work = sum(array.size for array in made.kept)  # of a row, in multiplications

    def step(x: Array, x_critic: Array, start: Array, before: Array) -> tuple[Array, Array, Array]:
        rows = len(x)
        fits = before.shape == (rows, made.state_size) and start.shape == (rows,)
        if not fits or before.dtype != np.float32:
            raise UserError(
                f"the memory is {before.dtype} {before.shape} and the starts are {start.shape}, where this "
                f"network needs float32 {(rows, made.state_size)} and {(rows,)} for {rows} observations."
            )
        after = np.empty_like(before)
        numbers, values = np.empty((rows, units), np.float32), np.empty((rows, 1), np.float32)

        def run(first: int, last: int) -> None:
            own = (a[first:last] for a in (x, x_critic, start, before, after, numbers, values))
            stepping.step(made.layers, made.inner, made.room, *own)

        if threads == 1 or rows * work < threads * SHARE:
            run(0, rows)
        else:
            ends = [rows * k // threads for k in range(threads + 1)]
            share(threads, run, list(itertools.pairwise(ends)))
        return numbers, values, after

    return step


def play(
    network: RecurrentNetwork, observation: Observation, start: Tensor, state: Tensor
) -> tuple[Distribution, Tensor]:
    """``network.act``, by kernels where the network fits; without gradients."""
    cached = _actors.get(network)
    if cached is None or not cached.valid():
        cached = _actors[network] = _CachedActor(network)
    if cached.step is None:
        return network.act(observation, start, state)
    x = cached.read(map_arrays(Tensor.numpy, observation))
    numbers, _, after = cached.step(x, x, start.numpy(), state.contiguous().numpy())
    return network.actuators.distribution(torch.from_numpy(numbers)), torch.from_numpy(after)


class _CachedActor:
    """An actor by kernels, as long as the weights are where they were when it was made; None if none fits."""

    def __init__(self, network: RecurrentNetwork) -> None:
        owners = [module._parameters for module in network.modules() if module._parameters]
        self.weights = [
            (own, name, weight) for own in owners for name, weight in own.items() if weight is not None
        ]
        self.places = [weight.data_ptr() for *_, weight in self.weights]
        plans = plans_of(network)
        self.read = network.sensors.reader()
        self.step = None if plans is None else _stepping(network, plans, critic=False)

    def valid(self) -> bool:
        """Neither moved, as ``to`` does, nor replaced."""
        here = [own.get(name) is weight for own, name, weight in self.weights]
        return all(here) and self.places == [weight.data_ptr() for *_, weight in self.weights]


_actors: WeakKeyDictionary[RecurrentNetwork, _CachedActor] = WeakKeyDictionary()
