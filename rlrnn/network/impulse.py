"""Finite or infinite impulse: which networks forget for certain, and what stands in for those that do.

A network without a circle is of finite impulse: an observation of L steps ago has no effect at all, so that
a strictly feed-forward network of its last L observations does the same. A circle makes the impulse response
infinite, even where it fades. Which it is follows from the graph alone, whatever the weights are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from rlrnn.cells import Cell
from rlrnn.cells.cell import Wire
from rlrnn.common.batches import any_array, map_arrays, take
from rlrnn.errors import UserError
from rlrnn.network.layers import Affine
from rlrnn.network.memory import Memory
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.sensors import Observation
from rlrnn.network.stream import Stream


@dataclass(frozen=True)
class ImpulseResponse:
    """How long one observation can have an effect: a number of steps, its own included, or without an end."""

    steps: int | None  # None: infinite
    circle: tuple[str, ...] = ()  # blocks of units, for an infinite one; the last feeds the first

    @property
    def finite(self) -> bool:
        """Whether there is an end."""
        return self.steps is not None

    def __str__(self) -> str:
        if self.steps is None:
            return f"infinite: {self.path}"
        return f"finite: {self.steps} {'step' if self.steps == 1 else 'steps'}"

    @property
    def path(self) -> str:
        """The circle from its beginning back to it."""
        return " -> ".join((*self.circle, *self.circle[:1]))


def impulse_response(network: Any) -> ImpulseResponse:
    """Of an agent, a learner, a network, a memory or a cell: from its graph, not from a measurement."""
    import networkx as nx

    longest = 1
    for wires in _graphs(_module(network)):
        graph = nx.DiGraph()
        graph.add_nodes_from(("x", "y"))
        for wire in wires:
            delay = max(wire.delay, graph.get_edge_data(wire.source, wire.target, {"delay": 0})["delay"])
            graph.add_edge(wire.source, wire.target, delay=delay)
        relevant = graph.subgraph({"y"} | nx.ancestors(graph, "y"))  # other blocks have no effect on outputs
        try:
            longest = max(longest, 1 + nx.dag_longest_path_length(relevant, weight="delay", default_weight=0))
        except nx.NetworkXUnfeasible:
            return ImpulseResponse(None, tuple(a for a, _ in nx.find_cycle(relevant)))
    return ImpulseResponse(longest)


def unroll_feedforward(network: Any) -> FeedForwardNetwork:
    """A network without state that does what a finite impulse network (of an agent, a policy) does.

    An infinite one is a ``UserError`` that names a circle.
    """
    module = _module(network)
    response = impulse_response(module)
    if response.steps is None:
        raise UserError(
            "this network cannot be unrolled into a feed-forward one, as its impulse response is infinite: "
            f"{response.path} is a circle. Cells without one are none, fir, delay, and graphs and storages "
            "that are built so."
        )
    if not isinstance(module, RecurrentNetwork):
        raise UserError(f"a {type(module).__name__} is not a whole network: give the agent or its network.")
    return FeedForwardNetwork(module, response.steps)


class FeedForwardNetwork(nn.Module):
    """The last L observations -> what the recurrent network outputs after them. It has no state.

    :param network: of finite impulse; its present weights and statistics are copied
    :param steps: L, the length of its impulse response
    """

    def __init__(self, network: RecurrentNetwork, steps: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.steps = steps

    def forward(self, observation: Observation, length: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """observation [B, L, ...], oldest first -> numbers of the output units [B, O], value [B].

        ``length`` [B] says how many of the observations belong to the present episode, if not all: those
        before them are not looked at.
        """
        net = self.network
        first = any_array(observation)
        rows, steps = first.shape[:2]
        if steps != self.steps:
            raise UserError(f"got {steps} observations per row: this network looks at {self.steps}.")
        since = torch.full((rows,), steps, device=first.device) if length is None else length
        start = torch.arange(steps, device=first.device).unsqueeze(1) == steps - since  # [L, B]
        row = map_arrays(lambda each: each.transpose(0, 1), observation)
        actor, critic = net.actor, net.critic
        y = y_critic = self._last(actor, row, start)
        if not critic.shared:
            y_critic = self._last(critic, row, start)
        return actor.read(y), critic.read(y_critic).squeeze(-1)

    def _last(self, stream: Stream, row: Observation, start: Tensor) -> Tensor:
        """A memory's output [B, H] after the row, from zeros: L copies of a step, one above the other."""
        if isinstance(stream.memory, Affine):
            y: Tensor = stream.memory(stream.sensors(take(row, -1)))
            return y
        x = stream.features(row)
        y, state = x[-1], x.new_zeros(start.shape[1], stream.memory.state_size)
        for x_t, start_t in zip(x, start, strict=True):
            y, state = stream.memory.step(x_t, start_t, state)
        return y


def _module(network: Any) -> nn.Module:
    for name in ("policy", "network", "network_"):
        network = getattr(network, name, network)
    if isinstance(network, nn.Module):
        return network
    raise UserError(f"a {type(network).__name__} has no network: give an agent, a policy or a network.")


def _graphs(module: nn.Module) -> Iterator[list[Wire]]:
    """The wires of each memory in it; layers are told apart by their number where there are several."""
    if isinstance(module, RecurrentNetwork):
        for memory in (module.memory, module.critic_memory):
            if isinstance(memory, Memory):
                yield from _graphs(memory)
    elif isinstance(module, Memory):
        yield memory_wires(module)
    elif isinstance(module, Cell):
        yield module.wires()
    elif isinstance(memory := getattr(module, "memory", None), Memory):  # of a SequenceLearner
        yield memory_wires(memory)
    else:
        raise UserError(f"a {type(module).__name__} has no memory: give an agent, a network or a cell.")


def memory_wires(memory: Memory) -> list[Wire]:
    """All layers' wires as one graph from "x" to "y": what a layer calls so is the next one's "x"."""
    layers = cast("list[Cell]", memory.layers)
    wires = []
    for number, layer in enumerate(layers, start=1):
        below = "x" if number == 1 else f"y{number - 1}"
        names = {"x": below, "y": "y" if number == len(layers) else f"y{number}"}
        for wire in layer.wires():
            ends = [
                names.get(end, end if len(layers) == 1 else f"{end} of layer {number}")
                for end in (wire.source, wire.target)
            ]
            wires.append(Wire(ends[0], ends[1], wire.delay, wire.strength))
        if memory.residual and number > 1 and layer.input_size == layer.output_size:
            wires.append(Wire(below, names["y"], 0, torch.eye(layer.output_size)))
    return wires
