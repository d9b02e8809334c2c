"""A stream as a flat list of layers with its weights: what acting, updates and populations execute.

No other file inspects modules to find out what they compute. A stream that has a part beyond these kinds of
layer has no plan, and torch runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from torch import Tensor, nn

from rlrnn.cells import Cell, FeedForward, Fir
from rlrnn.cells.cell import exactly
from rlrnn.cells.gated import GatedCell
from rlrnn.network.layers import Affine
from rlrnn.network.memory import Memory
from rlrnn.network.paths import gated
from rlrnn.network.stream import Stream

ACTIVATIONS: dict[type[nn.Module], str] = {nn.Identity: "identity", nn.Tanh: "tanh", nn.ReLU: "relu"}


@dataclass(frozen=True)
class Dense:
    """activation(x W + b): W [I, O], b [O]."""

    weight: Tensor
    bias: Tensor | None
    activation: str  # a name in ``cells.kernels.dense.ACTIVATIONS``


@dataclass(frozen=True)
class Gated:
    """A plain cell that compiled kernels run."""

    cell: GatedCell
    columns: slice  # of the memory's part of the state


@dataclass(frozen=True)
class DelayLine:
    """A finite impulse layer: tanh(x W + b + what the delay line holds times V)."""

    cell: Fir
    columns: slice


Layer: TypeAlias = Dense | Gated | DelayLine


@dataclass(frozen=True)
class Plan:
    """The layers of a stream, between its sensors' features and its output units' numbers."""

    memory: tuple[Layer, ...]
    head: tuple[Dense, ...]
    output: Dense

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them, in the order in which they run."""
        return *self.memory, *self.head, self.output


def plan(stream: Stream) -> Plan | None:
    """Its layers, or None where one is of no known kind or where kernels are missing."""
    output = stream.output
    memory = memory_layers(stream.memory, output.weight)
    activation = ACTIVATIONS.get(type(stream.head.activation))
    if memory is None or activation is None or stream.head.norm:
        return None
    head = tuple(Dense(*_weights(layer), activation) for layer in stream.head.layers)
    return Plan(memory, head, Dense(output.weight, output.bias, "identity"))


def memory_layers(memory: Memory | Affine, like: Tensor) -> tuple[Layer, ...] | None:
    """Those of a memory, or None as of ``plan``; ``like``: a tensor where the weights are, of their type."""
    if isinstance(memory, Affine):
        return (Dense(memory.weight, memory.bias, "identity"),)
    if not memory.chain:
        return None
    ends = accumulate(memory.state_sizes)
    columns = [slice(end - size, end) for size, end in zip(memory.state_sizes, ends, strict=True)]
    layers = [_layer(cell, own, like) for cell, own in zip(memory.layers, columns, strict=True)]
    result = tuple(layer for layer in layers if layer is not None)
    return result if len(result) == len(layers) else None


def _layer(cell: nn.Module, columns: slice, like: Tensor) -> Layer | None:
    assert isinstance(cell, Cell)
    if exactly(cell, FeedForward):
        return Dense(cell.weight_input, cell.bias, "tanh")
    if exactly(cell, Fir):
        return DelayLine(cell, columns)
    return Gated(cell, columns) if gated.fits(cell, like) and cell.plain else None


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, Affine)
    return layer.weight, layer.bias
