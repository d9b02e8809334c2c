"""An agent as blocks of units and the links between them, from observations to actions.

The memory describes its own (see ``impulse.memory_wires``); sensors, heads, actuators and, where it shares
the memory, the value are added here. It is data: ``network_layout`` says where it stands, ``network_diagram``
what of it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import networkx as nx
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from torch import Tensor, nn

from rlrnn.common.batches import parts_of
from rlrnn.errors import UserError
from rlrnn.network.actuators import Actuators, GreedyActuators, SquashedActuators
from rlrnn.network.impulse import impulse_response, memory_wires
from rlrnn.network.layers import FirstUnits, Mlp
from rlrnn.network.memory import Memory
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.sensors import Sensors

OBSERVATION, INPUTS, MEMORY, ACTIONS, VALUE = (
    "observation",
    "x",
    "y",
    "actions",
    "value",
)  # blocks, beside the cells' own
KEYS = 4  # of a Dict that are named
LONGEST = 6  # of cycles that are named whole


@dataclass(frozen=True)
class Block:
    """Units that are named, and wired, together."""

    name: str
    kind: Literal["input", "hidden", "output"] = "hidden"
    size: int | None = None  # None: not known
    labels: tuple[str, ...] = ()  # of its units, where they have a meaning
    words: str = ""  # all of it at once


@dataclass(frozen=True)
class Link:
    """All connections from one block to another with the same delay."""

    source: str
    target: str
    delay: int = 0  # steps
    weights: NDArray[Any] | None = None  # [source units, target units], 0: no connection; None: not known
    signed: bool = True  # false: how strongly alone, over all gates of a unit


@dataclass(frozen=True)
class Wiring:
    """A network as a directed graph of blocks."""

    blocks: dict[str, Block]
    links: list[Link]
    caption: str = ""
    direct: bool = False  # the actions are the last layer's first units themselves, not sums of them


def wiring(agent: Any) -> Wiring:
    """The connections of an agent, a policy or a network, without a critic's own memory."""
    network = agent
    for name in ("policy", "network"):
        network = getattr(network, name, network)
    if not isinstance(network, RecurrentNetwork):
        raise UserError(f"a {type(agent).__name__} cannot be drawn: give an agent, a policy or a network.")
    sensors, output = network.sensors, network.actuators.output
    blocks, links = _inputs(sensors), _recurrent(network.memory)
    blocks.append(_actions(network.actuators))
    links += _head("actor", network.actor_head, output, ACTIONS)
    parts: list[nn.Module] = [sensors, network.memory, network.actor_head, output]
    valued: list[nn.Module] = []
    if network.has_critic and network.critic_memory is None and getattr(agent, "has_value", True):
        blocks.append(Block(VALUE, "output", 1, ("value",)))
        links += _head("critic", network.critic_head, network.value, VALUE)
        valued = [network.critic_head, network.value]
        parts += valued
    if blocks[0].name == OBSERVATION:
        links.insert(0, Link(OBSERVATION, INPUTS))
    links = _without_names(links)
    counts = f"{sum(p.numel() for part in parts for p in part.parameters()):,} parameters"
    if of_value := sum(p.numel() for part in valued for p in part.parameters()):
        counts += f", {of_value:,} of them of the value head"
    known = {block.name: block for block in blocks}
    for link in links:
        for end, axis in ((link.source, 0), (link.target, 1)):
            size = None if link.weights is None else link.weights.shape[axis]
            block = known.get(end, Block(end))
            known[end] = replace(block, size=block.size if size is None else size)
    if MEMORY in known:
        known[MEMORY] = replace(known[MEMORY], size=network.memory.output_size)
    return Wiring(known, links, _caption(network, counts), isinstance(output, FirstUnits))


def _inputs(sensors: Sensors) -> list[Block]:
    """The inputs with their meaning; or the observation, if a feature extractor makes them of it."""
    space, words = sensors.space, _words(sensors.space)
    parts = parts_of(space).values()
    whole = isinstance(sensors.extractor, CombinedExtractor) and not any(map(is_image_space, parts))
    if whole or isinstance(sensors.extractor, FlattenExtractor):
        return [Block(INPUTS, "input", sensors.output_size, tuple(_labels(space)), words)]
    maker = type(sensors.extractor).__name__
    return [
        Block(OBSERVATION, "input", words=words),
        Block(INPUTS, size=sensors.output_size, words=f"by {maker}"),
    ]


def _recurrent(memory: Memory) -> list[Link]:
    own = {
        w for t in (*memory.parameters(), *memory.buffers()) for w in t.detach().float().flatten().tolist()
    }
    links = []
    for wire in memory_wires(memory):
        if wire.strength is None:
            links.append(Link(wire.source, wire.target, wire.delay))
            continue
        weights = wire.strength.detach().float()
        # What has no sign and is none of the weights is a norm of several: of a unit's gates.
        signed = bool((weights < 0).any() or own.issuperset(weights[weights != 0].tolist()))
        links.append(Link(wire.source, wire.target, wire.delay, weights.cpu().numpy(), signed))
    return links


def _head(name: str, head: Mlp, output: nn.Module, target: str) -> Iterator[Link]:
    """The layers between memory and outputs."""
    source = MEMORY
    names = [*(f"{name} {number}" for number in range(1, len(head.layers) + 1)), target]
    for end, layer in zip(names, (*head.layers, output), strict=True):
        assert isinstance(layer.weight, Tensor)
        yield Link(source, end, 0, layer.weight.detach().cpu().numpy())
        source = end


def _without_names(links: list[Link]) -> list[Link]:
    """The links without outputs of a layer that are but other names of single units, as a graph's are."""
    cycles = {
        end for ring in nx.strongly_connected_components(_graph(links)) if len(ring) > 1 for end in ring
    }
    for name in [end for end in dict.fromkeys(link.target for link in links) if re.fullmatch(r"y\d*", end)]:
        incoming = [link for link in links if link.target == name]
        rows = [link.weights for link in incoming if link.weights is not None and link.delay == 0]
        whole = np.concatenate(rows) if len(rows) == len(incoming) else np.zeros((0, 0))
        same = len(whole) == whole.shape[1] == len(incoming) and (np.sort(whole, axis=0)[:-1] == 0).all()
        if (
            name in cycles
            or not same
            or not (whole.max(axis=0) == 1).all()
            or not (whole.sum(axis=1) == 1).all()
        ):
            continue
        unit = {int(row.argmax()): link.source for row, link in zip(whole, incoming, strict=True)}
        kept = []
        for link in links:
            if link.source == name and link.weights is not None:
                rows = [link.weights[number : number + 1] for number in range(len(unit))]
                kept += [
                    replace(link, source=unit[k], weights=row) for k, row in enumerate(rows) if row.any()
                ]
            elif link.target != name:
                kept.append(link)
        links = kept
    return links


def _graph(links: list[Link]) -> nx.DiGraph:
    return nx.DiGraph([(link.source, link.target) for link in links])


def _caption(network: RecurrentNetwork, counts: str) -> str:
    d, response = network.description, impulse_response(network.memory)
    layers = f"{d.n_layers} layers of " if d.n_layers > 1 else ""
    units = f"{layers}{d.hidden_size} unit{'s' if d.hidden_size > 1 else ''}"
    impulse = str(response).replace(":", " impulse response:", 1)
    if len(response.circle) > LONGEST:
        impulse = f"infinite impulse response: a cycle of {len(response.circle)} units"
    return f"{d.cell}, {units}; {counts}; {impulse}"


def _actions(actuators: Actuators) -> Block:
    """The output units: one of each choice or number, or two where a number's spread is one, too."""
    labels, words = tuple(_labels(actuators.space, acting=True)), _words(actuators.space, acting=True)
    if isinstance(actuators, GreedyActuators):
        labels, words = tuple(f"value of {label}" for label in labels), f"values of\n{words}"
    elif isinstance(actuators, SquashedActuators):
        labels += tuple(label.replace("mean", "spread", 1) for label in labels)
        words = f"{words}:\nmean and spread" if actuators.action_size == 1 else f"{words}:\nmeans and spreads"
    return Block(ACTIONS, "output", len(labels), labels, words)


def _labels(space: spaces.Space[Any], acting: bool = False) -> Iterator[str]:
    """What each number that stands for a value of the space means."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from (f"{key}: {label}" for label in _labels(part, acting))
    elif isinstance(space, spaces.Discrete):
        yield from (f"{'action' if acting else 'value'} {k + space.start}" for k in range(space.n))
    elif isinstance(space, spaces.MultiDiscrete):
        first = space.start.ravel()
        for i, n in enumerate(space.nvec.ravel()):
            yield from (f"{'choice' if acting else 'number'} {i} is {k + first[i]}" for k in range(n))
    else:
        name = "switch" if isinstance(space, spaces.MultiBinary) else "mean of action" if acting else "input"
        yield from (f"{name} {','.join(map(str, i))}" for i in np.ndindex(space.shape or (1,)))


def _words(space: spaces.Space[Any], acting: bool = False) -> str:
    """The space in a few words, one line per key."""
    if isinstance(space, spaces.Dict):
        words = [f"{key}: {_words(part, acting)}" for key, part in space.spaces.items()]
        more = [f"and {len(words) - KEYS + 1} more"] if len(words) > KEYS else []
        return "\n".join([*words[: KEYS - len(more)], *more])
    size = int(np.prod(space.shape or (1,)))
    many = "" if size == 1 else "s"
    if is_image_space(space):
        return "image " + " × ".join(map(str, space.shape or ()))
    if isinstance(space, spaces.Discrete):
        return f"{space.n} actions" if acting else f"one of {space.n} values"
    if isinstance(space, spaces.MultiDiscrete):
        return f"{size} choice{many}"
    return (
        f"{size} switch{'es' if many else ''}"
        if isinstance(space, spaces.MultiBinary)
        else f"{size} number{many}"
    )
