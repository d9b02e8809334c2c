"""Where the nodes of a diagram stand, and which way its arrows go: pure geometry.

Nodes stand in columns: inputs first, outputs last, and a node that receives another's output within the step,
or without a way back to it, further to the right. Nodes of one cycle stand in one column, and their arrows
beside it. Single units are 1 apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RADIUS, BOX = 0.3, (1.35, 0.62)  # of a unit; half the width and height of a block
SPREAD = 1.2  # of a column whose units are connected with each other
CLEAR = 0.08  # between an arrow and a node that it passes
BENDS = (0.0, 0.14, -0.14, 0.28, -0.28, 0.42, -0.42, 0.56, -0.56, 0.75, -0.75, 1.0, -1.0)
ASIDE = (0.5, 0.62, 0.38, 0.74, 0.26)  # within a column: on its left downwards, on its right upwards
STEPS = 128  # points of a curve


@dataclass(frozen=True)
class Node:
    """A unit, or a block of units."""

    name: str
    kind: str  # input, hidden, output
    block: str
    place: tuple[float, float]
    label: str = ""  # what it means
    size: int | None = 1  # units


@dataclass(frozen=True)
class Arrow:
    """A connection of two units; or all those between two blocks."""

    source: int  # number of a node
    target: int
    strengths: tuple[tuple[int, float | None], ...]  # delay and weight; of blocks the root of the mean square
    signed: bool = True
    count: int = 1  # connections
    bend: float = 0.0  # how far it leaves the straight line, to its own right; 1: by half its length


@dataclass(frozen=True)
class Diagram:
    """A picture as data."""

    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    units: bool  # whether nodes are units, or blocks
    caption: str = ""
    clear: bool = True  # no arrow touches a node that is not its own

    @property
    def half(self) -> tuple[float, float]:
        """Half the width and height of a node."""
        return (RADIUS, RADIUS) if self.units else BOX


def arrange(nodes: Sequence[Node], arrows: Sequence[Arrow], units: bool, caption: str = "") -> Diagram:
    """The nodes in columns, the arrows bent, as little as need be, around nodes and apart from each other."""
    return _bent(_placed(list(nodes), list(arrows), caption, units))


def _placed(nodes: list[Node], arrows: list[Arrow], caption: str, units: bool) -> Diagram:
    """The diagram with its nodes in columns, those of a block in the same one."""
    ends = [(a.source, a.target, min(delay for delay, _ in a.strengths)) for a in arrows]
    blocks = {block: number for number, block in enumerate(dict.fromkeys(node.block for node in nodes))}
    of = [blocks[node.block] for node in nodes]
    kinds = [nodes[of.index(number)].kind for number in range(len(blocks))]
    of_blocks = columns(kinds, [(of[s], of[t], delay) for s, t, delay in ends])
    column = [of_blocks[block] for block in of]
    loops = {s for s, t, _ in ends if s == t}
    members: dict[int, list[int]] = defaultdict(list)
    for number, at in enumerate(column):
        members[at].append(number)
    height = np.zeros(len(nodes))
    reach: dict[int, float] = {}  # how far curves within a column bulge
    for at in sorted(members):
        members[at] = inside = _ordered(members[at], nodes, ends, column, height)
        within = any(column[s] == column[t] == at for s, t, _ in ends)
        gaps = [_gap(nodes[n], nodes[m], units, m in loops) for n, m in pairwise(inside)]
        rows = np.cumsum([0.0, *gaps]) * (SPREAD if within and units else 1.0)
        height[inside] = rows[-1] / 2 - rows
        spans = [abs(height[s] - height[t]) for s, t, _ in ends if column[s] == column[t] == at]
        reach[at] = max(spans, default=0.0) * ASIDE[0] / 2
    across = {min(members): 0.0}
    for before, at in pairwise(sorted(members)):
        tall = max(np.ptp(height[members[before]]), np.ptp(height[members[at]]))
        wide = max(2.8, 0.36 * tall, 1.6 + reach[before] + reach[at]) if units else 2 * BOX[0] + 3.4
        across[at] = across[before] + wide
    placed = [replace(n, place=(across[column[k]], float(height[k]))) for k, n in enumerate(nodes)]
    return Diagram(tuple(placed), tuple(arrows), units, caption)


def _gap(above: Node, below: Node, units: bool, loop: bool) -> float:
    """How far apart two neighbours in a column stand; a block with a loop has something written above it."""
    if not units:
        return 2 * BOX[1] + (2.0 if loop else 0.9)
    single = above.block == above.name and below.block == below.name and not below.label
    return 1.0 if above.block == below.block or single else 1.8


def columns(kinds: Sequence[str], ends: Iterable[tuple[int, int, int]]) -> list[int]:
    """The column of each node: 1 + that of the last node with a link to it, along all links that lead on."""
    links = nx.DiGraph()
    links.add_nodes_from(range(len(kinds)))
    links.add_edges_from((source, target) for source, target, _ in ends)
    ring = {n: k for k, group in enumerate(nx.strongly_connected_components(links)) for n in group}
    onward = nx.DiGraph()
    onward.add_nodes_from(links)
    onward.add_edges_from((s, t) for s, t, delay in ends if s != t and (delay == 0 or ring[s] != ring[t]))
    folded = nx.condensation(onward)  # a cycle without delay is no network, but can be drawn
    column = [0] * len(kinds)
    for group in nx.topological_sort(folded):
        inside = folded.nodes[group]["members"]
        first = 0 if any(kinds[n] == "input" for n in inside) else 1
        before = [column[s] + 1 for n in inside for s in onward.predecessors(n) if s not in inside]
        for n in inside:
            column[n] = max([first, *before])
    last = max(column)
    return [
        last if kind == "output" and not links.out_degree(n) else column[n] for n, kind in enumerate(kinds)
    ]


def _ordered(
    inside: list[int],
    nodes: list[Node],
    ends: list[tuple[int, int, int]],
    column: Sequence[int],
    height: Array,
) -> list[int]:
    """A column from the top: single units near their inputs, so that fewer arrows cross."""
    sources: dict[int, list[float]] = defaultdict(list)
    for source, target, _ in ends:
        if column[source] < column[target]:
            sources[target].append(float(height[source]))
    blocks: dict[str, list[int]] = defaultdict(list)
    for number in inside:
        blocks[nodes[number].block].append(number)

    def middle(block: str) -> float:
        known = [h for number in blocks[block] for h in sources[number]]
        return round(float(np.mean(known)), 6) if known else 0.0

    free = [block for block in blocks if nodes[blocks[block][0]].kind == "hidden"]
    order = [b for b in blocks if b not in free]
    return [n for block in sorted(free, key=middle, reverse=True) + order for n in blocks[block]]


def curve(diagram: Diagram, arrow: Arrow) -> Array:
    """The way [N, 2] of an arrow, from the border of its source to that of its target."""
    start, end = (np.array(diagram.nodes[n].place) for n in (arrow.source, arrow.target))
    if arrow.source == arrow.target:
        turn = np.linspace(0.0, 2.0 * np.pi, STEPS)
        if diagram.units:  # above and to the right
            middle, radius, turn = (
                start + 1.35 * RADIUS * np.sqrt([0.5, 0.5]),
                np.full(2, 0.75 * RADIUS),
                turn - 2.4,
            )
        else:
            middle, radius, turn = (
                start + np.array([0.0, BOX[1] + 0.2]),
                np.array([0.5, 0.45]),
                -turn - np.pi / 2,
            )
        way = middle + radius * np.stack((np.cos(turn), np.sin(turn)), axis=1)
    else:
        way = _bow(start, end, arrow.bend, 4 * STEPS)
    outside = ~_covered(way, np.stack((start, end)), diagram, 0.0).any(axis=1)
    shown: Array = way[outside]
    return shown


def _bow(start: Array, end: Array, bend: float, points: int = STEPS) -> Array:
    """A quadratic Bezier curve [N, 2] whose middle is off the straight line, on its right."""
    along = end - start
    control = (start + end) / 2 + bend * np.array([along[1], -along[0]])
    t = np.linspace(0.0, 1.0, points)[:, None]
    bow: Array = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    return bow


def _covered(way: Array, places: Array, diagram: Diagram, margin: float) -> NDArray[np.bool_]:
    """Which points [N] of a way lie within nodes at [M, 2], or nearer than the margin: [N, M]."""
    off = np.abs(way[:, None] - places)
    if diagram.units:
        return np.asarray(np.hypot(off[..., 0], off[..., 1]) < RADIUS + margin)
    return np.asarray((off < np.array(BOX) + margin).all(axis=-1))


def _bent(diagram: Diagram) -> Diagram:
    """The arrows bent, as little as need be, around nodes and apart from those between the same nodes."""
    places = np.array([node.place for node in diagram.nodes])
    taken: dict[tuple[int, int], set[float]] = defaultdict(set)
    arrows, blocked = [], False
    for arrow in diagram.arrows:
        ends = [arrow.source, arrow.target]
        if ends[0] != ends[1]:
            others = np.delete(places, ends, axis=0)
            beside = places[ends[0], 0] == places[ends[1], 0]
            known = taken[ends[0], ends[1]] | {-bend for bend in taken[ends[1], ends[0]]}

            def touched(bend: float, ends: list[int] = ends, others: Array = others) -> int:
                way = _bow(places[ends[0]], places[ends[1]], bend)
                return int(_covered(way, others, diagram, CLEAR).sum())

            free = [bend for bend in (ASIDE if beside else BENDS) if bend not in known]
            clear = next((bend for bend in free if not touched(bend)), None)
            blocked |= clear is None
            arrow = replace(arrow, bend=min(free, key=touched) if clear is None else clear)
            taken[ends[0], ends[1]].add(arrow.bend)
        arrows.append(arrow)
    return replace(diagram, arrows=tuple(arrows), clear=not blocked)
