"""The edges of a graph of units: read from lists, matrices and networkx's graphs, or drawn; and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rlrnn.common.settings import check_number, check_whole, is_number, is_whole
from rlrnn.errors import UserError

Matrix: TypeAlias = npt.NDArray[Any]
NODE = re.compile(r"([xh])(\d+)?(?:-(\d+))?")
DELAYS = {"x": 0, "h": 1}  # steps from inputs and from units, where an edge does not say


@dataclass(frozen=True)
class Edge:
    """A connection between two nodes: inputs are 0 to I - 1, units follow."""

    source: int
    target: int
    delay: int  # steps
    weight: float | None = None  # at first; None: drawn


def read_edges(listed: Iterable[Sequence[Any]], inputs: int, units: int) -> tuple[Edge, ...]:
    """``[source, target, delay, weight]`` with names, of which the last two may be missing."""
    edges: list[Edge] = []
    items: dict[tuple[int, int, int], Any] = {}  # connections, and what listed them
    for item in listed:
        if isinstance(item, str) or not hasattr(item, "__len__") or not 2 <= len(item) <= 4:
            raise UserError(f"the edge {item!r} is not [source, target, delay], such as ['x0', 'h1', 0].")
        source, target, *rest = item
        first = str(source)[:1]
        delay = rest[0] if rest else DELAYS.get(first, 0)
        if not is_whole(delay) or delay < 0:
            raise UserError(
                f"the edge {_text(item)} has the delay {delay!r}: give a whole number of steps from 0."
            )
        weight = rest[1] if len(rest) > 1 else None
        if weight is not None and not is_number(weight):
            raise UserError(f"the edge {_text(item)} has the weight {weight!r}: give a finite number.")
        if str(target)[:1] == "x":
            raise UserError(
                f"the edge {_text(item)} ends in an input, which receives nothing: end it in a unit."
            )
        ends = _nodes(source, inputs, units, item), _nodes(target, inputs, units, item)
        weight = None if weight is None else float(weight)
        for a, b in product(*ends):
            key = a, b, int(delay)
            earlier = items.get(key)
            if earlier is not None:
                raise UserError(
                    f"the edges {_text(earlier)} and {_text(item)} join the same two nodes after {delay} "
                    "step(s): leave out one of them."
                )
            items[key] = item
            edges.append(Edge(a, b, int(delay), weight))
    return tuple(edges)


def read_units(names: Sequence[Any], units: int) -> list[int]:
    """The units that names such as "h3" or "h0-3" mean, counted from 0."""
    found = [node for name in names for node in _nodes(name, 0, units, name)]
    if not found or len(set(found)) < len(found):
        raise UserError(f"outputs is {list(names)}: name at least one unit, each once, such as ['h0-3'].")
    return found


def adjacency_edges(matrix: Sequence[Sequence[float | bool]], inputs: int, units: int) -> tuple[Edge, ...]:
    """Those of a matrix [H, H] or [I + H, H]."""
    shapes = {len(row) for row in matrix}
    if shapes != {units} or len(matrix) not in (units, inputs + units):
        raise UserError(
            f"adjacency has {len(matrix)} rows of {' or '.join(map(str, sorted(shapes))) or 0} entries, but "
            f"these {units} units (hidden_size) need [{units}, {units}], or [{inputs + units}, {units}] with "
            f"the {inputs} inputs first."
        )
    return read_edges(graph_edges(matrix), inputs, units)


def graph_edges(graph: Any, delays: Any = None) -> list[list[Any]]:
    """Edges for ``cell_options={"edges": ...}`` from one of networkx's directed graphs or from a matrix.

    A graph's nodes are named "x0", "h3" and so on (a number k means unit "hk"); its edges may have a
    ``delay`` and a ``weight``. In a matrix [H, H] an entry other than 0 connects a unit (row) to a
    unit (column), a matrix [I + H, H] has the inputs as its first rows; ``delays`` is one of the same shape.
    Where no edge begins at an input, all inputs are connected to all units.
    """
    if hasattr(graph, "edges"):
        if not graph.is_directed():
            raise UserError("the graph is undirected, but signals run one way: give an nx.DiGraph.")
        names = {node: f"h{node}" if isinstance(node, Integral) else str(node) for node in graph.nodes}
        edges = [_edge(names[a], names[b], data) for a, b, data in graph.edges(data=True)]
    else:
        edges = list(_matrix_edges(np.asarray(graph), None if delays is None else np.asarray(delays)))
    if not any(source.startswith("x") for source, *_ in edges):
        edges.insert(0, ["x", "h", 0])
    return edges


def drawn_edges(
    inputs: int, units: int, density: float, delays: Sequence[int], seed: int
) -> tuple[Edge, ...]:
    """Each connection with a probability; every unit is reached from an input."""
    check_number("density", density, 0, 1, "(]")
    if not delays or min(delays) < 1:
        raise UserError(f"delays is {list(delays)}: give at least one number of steps from 1.")
    check_whole("seed", seed, 0)
    generator = np.random.default_rng(seed)
    mask = generator.random((inputs + units, units)) < density
    steps = generator.choice(np.asarray(delays), mask.shape)
    steps[:inputs] = 0
    edges = [Edge(a, inputs + b, int(steps[a, b])) for a, b in np.argwhere(mask).tolist()]
    unreachable = set(range(inputs, inputs + units)) - _reachable(edges, range(inputs))
    return (*edges, *(Edge(int(generator.integers(inputs)), unit, 0) for unit in sorted(unreachable)))


def levels(edges: Iterable[Edge], inputs: int, units: int) -> list[list[int]]:
    """Units, counted from 0, in groups that can be worked out one after the other within a step."""
    import networkx as nx  # here and below: it takes a quarter of a second, and few need it

    graph = nx.DiGraph()
    graph.add_nodes_from(range(inputs, inputs + units))
    graph.add_edges_from((e.source, e.target) for e in edges if e.delay == 0 and e.source >= inputs)
    try:
        groups = [sorted(group) for group in nx.topological_generations(graph)]
    except nx.NetworkXUnfeasible:
        cycle = [a for a, _ in nx.find_cycle(graph)]
        path = " -> ".join(f"h{node - inputs}" for node in (*cycle, cycle[0]))
        raise UserError(
            f"the edges {path} make a circle without delay: give one of them a delay of at least 1 step."
        ) from None
    return [[node - inputs for node in group] for group in groups]


def stages(edges: Iterable[Edge], inputs: int, units: int) -> list[list[int]] | None:
    """The same over all delays, one whole row of steps after the other; None where there is a circle."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(inputs, inputs + units))
    graph.add_edges_from((e.source, e.target) for e in edges if e.source >= inputs)
    if not nx.is_directed_acyclic_graph(graph):
        return None
    return [[node - inputs for node in sorted(group)] for group in nx.topological_generations(graph)]


def check_paths(edges: Iterable[Edge], inputs: int, outputs: Iterable[int]) -> None:
    """Refuse outputs that nothing reaches."""
    reachable = _reachable(edges, range(inputs))
    unreachable = [unit for unit in outputs if inputs + unit not in reachable]
    if unreachable:
        raise UserError(
            f"no path leads from an input to the output h{unreachable[0]}: add an edge that reaches it, or "
            "leave it out of outputs."
        )


def _reachable(edges: Iterable[Edge], sources: Iterable[int]) -> set[int]:
    import networkx as nx

    graph = nx.DiGraph((e.source, e.target) for e in edges)
    graph.add_nodes_from(sources)
    return set(sources).union(*(nx.descendants(graph, source) for source in sources))


def _nodes(name: Any, inputs: int, units: int, item: Any) -> range:
    match = NODE.fullmatch(str(name))
    size, offset = (inputs, 0) if str(name).startswith("x") else (units, inputs)
    if match:
        first = int(match[2] or 0)
        last = int(match[3] or match[2] or size - 1)
        if match[2] is None and match[3] is not None:
            match = None
    if match is None or not first <= last < size:
        there = f"x0 to x{inputs - 1} and h0 to h{units - 1}" if inputs else f"h0 to h{units - 1}"
        raise UserError(f"{_text(item)} names {name!r}, but there are {there} (and ranges such as h0-3).")
    return range(offset + first, offset + last + 1)


def _text(item: Any) -> str:
    return repr(item) if isinstance(item, str) else repr(list(item))


def _edge(source: str, target: str, data: dict[str, Any]) -> list[Any]:
    edge = [source, target, data.get("delay", DELAYS.get(source[:1], 1))]
    return [*edge, float(data["weight"])] if "weight" in data else edge


def _matrix_edges(matrix: Matrix, delays: Matrix | None) -> Iterator[list[Any]]:
    if matrix.ndim != 2 or matrix.shape[0] < matrix.shape[1]:
        raise UserError(
            f"the matrix has the shape {list(matrix.shape)}: give [units, units], or [inputs + units, units]."
        )
    if delays is not None and delays.shape != matrix.shape:
        raise UserError(
            f"the delays have the shape {list(delays.shape)}, but the matrix {list(matrix.shape)}: give one "
            "delay for each entry."
        )
    inputs = matrix.shape[0] - matrix.shape[1]
    for a, b in np.argwhere(matrix != 0).tolist():
        source = f"x{a}" if a < inputs else f"h{a - inputs}"
        yield [source, f"h{b}", DELAYS[source[0]] if delays is None else int(delays[a, b])]
