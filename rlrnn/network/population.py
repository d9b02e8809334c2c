"""Many networks of one kind at play as one; genomes: all weights that decide what a network does.

Each member has its own weights and plays E copies of a game. What it does depends on no other member: not on
how many there are, and not on who has left. So a population may be spread over any number of processes.

Letters: P members, E rows of each, D weights in a genome, n rows still playing, F features, S state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from rlrnn.cells import Elman, FeedForward, Gru, Lstm
from rlrnn.cells.cell import exactly
from rlrnn.cells.kernels.recurrences import NUMBER_OF
from rlrnn.errors import UserError
from rlrnn.network.actuators import Actuators, ChoiceActuators, ContinuousActuators
from rlrnn.network.layers import FirstUnits
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.paths import gated
from rlrnn.network.sensors import Observation, RunningNormalizer

Array: TypeAlias = npt.NDArray[Any]
# members, x [P, E, F], state [P, E, S] -> what the output units say [P, E, O]; the state changes in place
Step: TypeAlias = Callable[[Array, Array, Array], Array]
Layer: TypeAlias = Callable[[Array, Array, Array, Array], None]  # members, x, state, y to be written

BLOCK = 32  # members of a product by torch: the last bits of its sums depend on how many there are
ACTIVATIONS = {nn.Identity: 0, nn.Tanh: 1, nn.ReLU: 2}  # as the kernels know them


def evolvable(network: RecurrentNetwork) -> Iterator[tuple[nn.Module, str]]:
    """(module, name) of every parameter that decides the most likely action, in a fixed order.

    What a critic has of its own and the spread of drawn actions are not among them.
    """
    if any(True for _ in network.sensors.parameters()):
        raise UserError(
            "sensors that learn (of images, or an extractor of your own) cannot be evolved: give the network "
            "vectors, for instance by a wrapper that flattens the observation."
        )
    for part in (network.memory, network.actor_head, network.actuators):
        for module in part.modules():
            for name, parameter in module._parameters.items():
                spread = isinstance(module, ContinuousActuators) and name == "log_std"
                if parameter is not None and not spread:
                    yield module, name


def genome(network: RecurrentNetwork) -> npt.NDArray[np.float64]:
    """The weights that decide what the network does, in one row [D]."""
    parameters = [getattr(module, name) for module, name in evolvable(network)]
    if not parameters:
        raise UserError(
            "this network has no weights to evolve: give it an output layer, further layers, or a cell that "
            "learns."
        )
    return torch.cat([p.detach().flatten() for p in parameters]).double().cpu().numpy()


def write(network: RecurrentNetwork, row: npt.ArrayLike) -> None:
    """Give the network the weights of a genome [D]."""
    with torch.no_grad():
        for module, name, weights in _stacked(network, np.asarray(row)[None]):
            getattr(module, name).copy_(torch.from_numpy(weights[0]))


class Population:
    """P networks with E rows each, at the start of their episodes."""

    def __init__(self, network: RecurrentNetwork, genomes: npt.ArrayLike, rows: int) -> None:
        self.members, self.rows = len(np.asarray(genomes)), rows
        self.network = network
        self.step = (_by_kernels if fits(network) else _by_torch)(network, genomes)
        self.x = np.zeros((self.members, rows, network.sensors.output_size), np.float32)
        self.state = np.zeros((self.members, rows, network.state_sizes[0]), np.float32)
        self.flat = self.x.reshape(self.members * rows, -1)  # the same numbers, row by row
        self.read = _reader(network)
        self.choose = _chooser(network.actuators)

    def act(self, observation: Any, playing: npt.NDArray[np.intp], members: npt.NDArray[np.intp]) -> Array:
        """The most likely actions [n, ...], ready for the game, for what the rows still playing see [n, ...].

        A row is ``member * E + episode``; ``members`` are those that have such rows. ``playing`` is in order;
        rows may be left out of it from one call to the next, but never come back.
        """
        everyone = len(playing) == len(self.flat)
        self.flat[slice(None) if everyone else playing] = self.read(observation)
        told = self.step(members, self.x, self.state).reshape(len(self.flat), -1)
        return self.choose(told if everyone else told.take(playing, axis=0))


def fits(network: RecurrentNetwork) -> bool:
    """Whether compiled kernels know all that its actor is made of."""
    memory, weight = network.memory, network.value.weight
    known = memory.chain and all(exactly(cell, Elman, Gru, Lstm, FeedForward) for cell in memory.layers)
    heads = type(network.actor_head.activation) in ACTIVATIONS
    return known and heads and weight.dtype == torch.float32 and gated.installed()


def _by_kernels(network: RecurrentNetwork, genomes: npt.ArrayLike) -> Step:
    kernels, _ = gated.loaded()
    tables = {(module, name): weights for module, name, weights in _stacked(network, genomes)}
    members = len(np.asarray(genomes))
    layers: list[tuple[Layer, int]] = []  # and how many units it has

    def table(module: Any, name: str, width: int = 0) -> Array:
        """Weights [P, ...]; where there are none, what all members have in common, or zeros."""
        common = getattr(module, name)
        if (module, name) in tables:
            return tables[module, name]
        return np.repeat(
            np.zeros((1, width), np.float32) if common is None else common.numpy()[None], members, 0
        )

    def dense(module: Any, weight: str, activation: int) -> None:
        weights = table(module, weight)
        arrays = weights, table(module, "bias", weights.shape[-1]), activation
        layers.append((lambda m, x, _, y: kernels.dense_members(m, x, *arrays, y), weights.shape[-1]))

    def recurrent(cell: Any, column: int) -> None:
        kernel = getattr(kernels, f"{type(cell).__name__.lower()}_members")
        inputs = table(cell, "weight_input")
        extra = [NUMBER_OF[cell.nonlinearity]] if isinstance(cell, Elman) else []
        biases = ["bias"] if isinstance(cell, Elman) else ["bias_input", "bias_hidden"]
        arrays = (
            inputs,
            table(cell, "weight_hidden"),
            *(table(cell, name, inputs.shape[-1]) for name in biases),
        )
        layers.append(
            (lambda m, x, state, y: kernel(m, x, *arrays, state, column, y, *extra), cell.output_size)
        )

    column = 0
    for cell, size in zip(network.memory.layers, network.memory.state_sizes, strict=True):
        if isinstance(cell, FeedForward):
            dense(cell, "weight_input", 1)
        else:
            recurrent(cell, column)
        column += size
    for layer in network.actor_head.layers:
        dense(layer, "weight", ACTIVATIONS[type(network.actor_head.activation)])
    told = network.actuators.output.weight.shape[-1]
    if not isinstance(network.actuators.output, FirstUnits):
        dense(network.actuators.output, "weight", 0)
    outputs: list[Array] = []

    def step(members: Array, x: Array, state: Array) -> Array:
        if not outputs:
            outputs.extend(np.empty((*x.shape[:2], width), np.float32) for _, width in layers)
        for (layer, _), y in zip(layers, outputs, strict=True):
            layer(members, x, state, y)
            x = y
        return x[..., :told]

    return step


def _by_torch(network: RecurrentNetwork, genomes: npt.ArrayLike) -> Step:
    """Blocks of as many members, each in the same place of its block whoever else there is."""
    rows = np.asarray(genomes)
    spare = -len(rows) % BLOCK
    rows = np.concatenate((rows, np.repeat(rows[-1:], spare, axis=0)))
    blocks = []
    for first in range(0, len(rows), BLOCK):
        block = copy.deepcopy(network).eval()
        for module, name, weights in _stacked(block, rows[first : first + BLOCK]):
            module._parameters[name] = nn.Parameter(torch.from_numpy(weights), requires_grad=False)
        blocks.append(block)
    width = network.actuators.output.weight.shape[-1]

    @torch.no_grad()
    def step(members: Array, x: Array, state: Array) -> Array:
        told = np.zeros((len(rows), x.shape[1], width), np.float32)
        for number in np.unique(members // BLOCK).tolist():
            part = slice(number * BLOCK, (number + 1) * BLOCK)
            block = blocks[number]
            y, after = block.memory.step(_filled(x[part]), None, _filled(state[part]))
            told[part] = block.actuators.output(block.actor_head(y)).numpy()
            state[part] = after.numpy()[: len(state[part])]
        return told[: len(x)]

    return step


def _filled(part: Array) -> Tensor:
    """Rows of a whole block, with zeros where there are no members."""
    whole = np.zeros((BLOCK, *part.shape[1:]), part.dtype)
    whole[: len(part)] = part
    return torch.from_numpy(whole)


def _reader(network: RecurrentNetwork) -> Callable[[Any], Array]:
    """Observations [n, ...] -> features [n, F]."""
    sensors = network.sensors
    plain = isinstance(sensors.space, spaces.Box) and type(sensors.extractor) is FlattenExtractor
    if plain and np.issubdtype(sensors.space.dtype, np.floating):
        if not sensors.normalizers:
            return lambda observation: observation.reshape(len(observation), -1)
        (normalizer,) = cast("list[RunningNormalizer]", list(sensors.normalizers.children()))
        mean, deviation = normalizer.mean.numpy().copy(), normalizer.deviation.numpy()
        least, most = np.float32(-normalizer.CLIP), np.float32(normalizer.CLIP)

        def scaled(observation: Array) -> Array:
            """As the normaliser says it, bit for bit."""
            away: Array = (observation.astype(np.float32) - mean) / deviation
            return np.minimum(np.maximum(away, least), most).reshape(len(away), -1)

        return scaled

    @torch.no_grad()
    def read(observation: Any) -> Array:
        told: Observation
        if isinstance(observation, dict):
            told = {key: torch.as_tensor(part) for key, part in observation.items()}
        else:
            told = torch.as_tensor(observation)
        features: Array = sensors(told).numpy()
        return features

    return read


def _chooser(actuators: Actuators) -> Callable[[Array], Array]:
    """What the output units say [n, O] -> the most likely actions, as the game takes them."""
    if isinstance(actuators, ContinuousActuators):
        squash = np.tanh if actuators.squashed else lambda mean: mean
        return lambda told: actuators.to_space(squash(told))
    if not isinstance(actuators, ChoiceActuators):
        return lambda told: actuators.to_space(told > 0.0)
    ends = np.cumsum(actuators.sizes)
    groups = list(zip((0, *ends.tolist()), ends.tolist(), strict=False))

    if len(groups) == 1:
        return lambda told: actuators.to_space(told.argmax(-1)[:, None])

    def choose(told: Array) -> Array:
        best = [told[:, begin:end].argmax(-1) for begin, end in groups]
        return actuators.to_space(np.stack(best, axis=-1))

    return choose


def _stacked(network: RecurrentNetwork, genomes: npt.ArrayLike) -> Iterator[tuple[nn.Module, str, Array]]:
    """(module, name, weights [P, ...] float32) of every evolvable parameter, cut from genomes [P, D]."""
    rows = np.asarray(genomes)
    parts = [(module, name, getattr(module, name)) for module, name in evolvable(network)]
    ends = np.cumsum([parameter.numel() for *_, parameter in parts])
    if rows.ndim != 2 or rows.shape[1] != ends[-1]:
        raise UserError(f"genomes of shape {rows.shape} do not fit: this network has {ends[-1]} weights.")
    for (module, name, parameter), end in zip(parts, ends.tolist(), strict=True):
        columns = rows[:, end - parameter.numel() : end].astype(np.float32)
        yield module, name, columns.reshape(len(rows), *parameter.shape)
