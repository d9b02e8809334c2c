"""A memory given as a directed graph of units: which unit feeds which, and after how many steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rlrnn.cells.cell import Cell, Wire, add_product, affine
from rlrnn.cells.edges import (
    adjacency_edges,
    check_paths,
    drawn_edges,
    levels,
    read_edges,
    read_units,
    stages,
)
from rlrnn.cells.elman import NONLINEARITIES
from rlrnn.common.capacity import check_fits
from rlrnn.common.settings import check_choice
from rlrnn.errors import UserError

ELMAN = (("x", "h", 0), ("h", "h", 1))


EDGE = 300  # bytes of one, with where it stands and its weight


class Graph(Cell):
    """h_j(t) = f(b_j + sum of w h_i(t - k) over its edges i -> j, each of a weight w and a delay k).

    ``edges`` are ``[source, target, delay]``: "x" are all inputs, "x3" is one, "x0-3" are some, and so are
    "h", "h5", "h4-7" units. A delay that is left out is 0 from inputs and 1 from units; a fourth number is
    the weight at first. ``rlrnn.graph_edges`` makes them of networkx's graphs and of matrices, such as
    ``adjacency`` is. Instead, a ``density`` draws each connection with that probability, and one of the
    ``delays`` for each between units. Without any of them, units receive all inputs at once and each other
    one step late, as Elman's do. ``outputs`` are the units that make up y: all, if not given.

    The state keeps each value until its last edge has used it, the newest first.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    places: Tensor  # [E] where an edge's weight stands in the matrix of all of them
    shift: Tensor  # [S] what a step leaves in the state, of inputs, units and state before
    order: Tensor  # [H] the units in the order in which they are worked out
    at: Tensor  # [E] where an edge's weight stands in ``by_delay``
    outputs: Tensor  # [O] where the outputs stand in that order

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        edges: Sequence[Sequence[Any]]
        | None = None,  # connections: [source, target, delay], as ["x", "h0-3", 0]
        adjacency: Sequence[Sequence[float | bool]]
        | None = None,  # instead of edges: a matrix of weights between inputs and units
        density: float | None = None,  # instead of edges: the probability of each connection, drawn at random
        delays: Sequence[int] = (1,),  # of drawn connections between units, steps: one of them each
        seed: int = 0,  # of drawn connections
        outputs: Sequence[str] | None = None,  # units that the next layer sees, as ["h0-3"]; not given: all
        nonlinearity: str = "tanh",  # f, of every unit: tanh, relu or softsign
    ) -> None:
        if sum(option is not None for option in (edges, adjacency, density)) > 1:
            raise UserError("a graph takes edges, an adjacency or a density: give one of them.")
        if density is None and (seed != 0 or tuple(delays) != (1,)):
            raise UserError(
                f"delays={list(delays)} and seed={seed} are for a graph that is drawn: give a density, or "
                "say the delays in the edges."
            )
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        sizes = input_size, hidden_size
        if edges is None and adjacency is None:
            count = hidden_size * (input_size + hidden_size) * (1.0 if density is None else density)
            check_fits(f"a graph of {hidden_size:,} units", int(count * EDGE), "hidden_size, or the density")
        if density is not None:
            graph = drawn_edges(*sizes, density, delays, seed)
        elif adjacency is not None:
            graph = adjacency_edges(adjacency, *sizes)
        else:
            graph = read_edges(ELMAN if edges is None else edges, *sizes)
        units_out = read_units(["h"] if outputs is None else outputs, hidden_size)
        groups = levels(graph, *sizes)
        check_paths(graph, input_size, units_out)

        longest: Counter[int] = Counter()  # for how many steps a node's values are needed
        for edge in graph:
            longest[edge.source] = max(longest[edge.source], edge.delay)
        nodes = input_size + hidden_size
        delayed = [
            (k, n) for k in range(1, max(longest.values()) + 1) for n in range(nodes) if longest[n] >= k
        ]
        super().__init__(input_size, len(units_out), len(delayed))
        self.edges, self.delayed, self.units, self.nonlinearity = graph, delayed, hidden_size, nonlinearity
        self.stages = stages(graph, *sizes)  # None: there is a circle, and its impulse response has no end
        delays_to: dict[int, set[int]] = {unit: set() for unit in range(hidden_size)}
        for edge in graph:
            delays_to[edge.target - input_size].add(edge.delay)
        self.delays = [sorted(set().union(*(delays_to[u] for u in units))) for units in self.stages or ()]
        self.longest = max(edge.delay for edge in graph)
        at = [(e.delay * nodes + e.source) * hidden_size + e.target - input_size for e in graph]
        self._index("at", at)

        # Within a step, units stand in the order in which they are worked out.
        order = [unit for group in groups for unit in group]
        self.ends = list(accumulate(map(len, groups)))
        place = {input_size + unit: input_size + number for number, unit in enumerate(order)}
        place |= {node: node for node in range(input_size)}
        # What a step reads: inputs and units as they are, then the state; and in which row its weights stand.
        row = {(0, node): place[node] for node in range(nodes)}
        row |= {pair: nodes + number for number, pair in enumerate(delayed)}
        width = hidden_size
        places = [row[e.delay, e.source] * width + place[e.target] - input_size for e in graph]
        self._index("places", places)
        self._index("shift", [row[k - 1, node] for k, node in delayed])
        self._index("order", order)
        self._index("outputs", [place[input_size + unit] - input_size for unit in units_out])

        kinds = Counter((e.target, e.source < input_size) for e in graph)
        bounds = torch.tensor([math.sqrt(3.0 / kinds[e.target, e.source < input_size]) for e in graph])
        weights = torch.tensor([math.nan if e.weight is None else e.weight for e in graph])
        initial = torch.empty(len(graph)).uniform_(-1.0, 1.0) * bounds  # of variance 1 / how many of a kind
        self.weight = nn.Parameter(torch.where(weights.isnan(), initial, weights))
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if bias else None

    def project(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., H + I]: the undelayed inputs' part of the sums, and the inputs to be delayed."""
        bias = None if self.bias is None else self.bias.index_select(-1, self.order)
        return torch.cat((affine(x, self._matrices()[0], bias), x), dim=-1)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self._step(projected, state, *self._matrices()[1:])

    def ready(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        _, w_h, w_s = self._matrices()
        return partial(self._step, w_h=w_h, w_s=w_s)

    def wires(self) -> list[Wire]:
        one, inputs = self.weight.new_ones(1, 1), self.input_size
        weights = self.weight.detach()
        wires = []
        for edge, weight in zip(self.edges, weights, strict=True):
            unit = f"h{edge.target - inputs}"
            if edge.source < inputs:
                row = weights.new_zeros(inputs, 1)
                row[edge.source] = weight
                wires.append(Wire("x", unit, edge.delay, row))
            else:
                wires.append(Wire(f"h{edge.source - inputs}", unit, edge.delay, one * weight))
        for number, unit in enumerate(self.order[self.outputs].tolist()):
            wires.append(Wire(f"h{unit}", "y", 0, torch.eye(self.output_size)[number : number + 1]))
        return wires

    def by_delay(self) -> Tensor:
        """The weights of all edges from nodes to units, [1 + longest delay, I + H, H]."""
        nodes = self.input_size + self.units
        weights = self.weight.new_zeros((1 + self.longest) * nodes * self.units)
        return weights.index_add(0, self.at, self.weight).view(-1, nodes, self.units)

    def _step(self, projected: Tensor, state: Tensor, w_h: Tensor, w_s: Tensor) -> tuple[Tensor, Tensor]:
        """``w_h`` [H, H] are the weights from units within the step, ``w_s`` [S, H] those from the state."""
        f = NONLINEARITIES[self.nonlinearity]
        pre_activation, x = projected.split((self.units, self.input_size), dim=-1)
        if self.state_size:
            pre_activation = add_product(pre_activation, state, w_s)
        h = f(pre_activation[..., : self.ends[0]])
        for begin, end in zip(self.ends, self.ends[1:], strict=False):
            group = add_product(pre_activation[..., begin:end], h, w_h[..., :begin, begin:end])
            h = torch.cat((h, f(group)), dim=-1)
        after = torch.cat((x, h, state), dim=-1).index_select(-1, self.shift)
        return h.index_select(-1, self.outputs), after

    def _matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """The weights as matrices from inputs [I, H], from units [H, H] and from the state [S, H]."""
        sizes = self.input_size, self.units, self.state_size
        empty = self.weight.new_zeros(*self.weight.shape[:-1], sum(sizes) * self.units)
        weights = empty.index_add(-1, self.places, self.weight)
        rows = weights.view(*weights.shape[:-1], sum(sizes), self.units)
        inputs, units, state = rows.split(sizes, dim=-2)
        return inputs, units, state

    def _index(self, name: str, numbers: list[int]) -> None:
        self.register_buffer(name, torch.tensor(numbers, dtype=torch.long), persistent=False)
