"""What of a network is shown: every unit of a small one, of a large one its blocks of units."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rlrnn.experiment.pictures.network_graph import ACTIONS, Block, Link, Wiring
from rlrnn.experiment.pictures.network_layout import Arrow, Diagram, Node, arrange, columns

NODES, ARROWS, TAPS = 40, 300, 4  # more units, connections, or of these between two units, are summarised
COLUMNS = 8  # single units are grouped by the column where they'd stand, if these are not more


def diagram_of(wired: Wiring) -> Diagram:
    """The picture of a wiring: its units, if they are few and no arrow must cross one; else its blocks."""
    if is_small(wired):
        units = _units(wired)
        if units.clear:
            return units
    return _blocks(wired)


def is_small(wired: Wiring) -> bool:
    """Whether every unit and every connection can be distinguished in a picture."""
    sizes = [block.size for block in wired.blocks.values()]
    weights = [link.weights for link in wired.links]
    taps = Counter((link.source, link.target) for link in wired.links)
    return bool(
        None not in sizes
        and sum(size or 0 for size in sizes) <= NODES
        and sum(ARROWS + 1 if w is None else np.count_nonzero(w) for w in weights) <= ARROWS
        and max(taps.values(), default=0) <= TAPS
    )


def _units(wired: Wiring) -> Diagram:
    nodes: list[Node] = []
    numbers: dict[tuple[str, int], int] = {}
    for block in wired.blocks.values():
        for unit in range(block.size or 0):
            numbers[block.name, unit] = len(nodes)
            name = block.name if block.size == 1 else f"{block.name} {unit}"
            label = block.labels[unit] if block.labels else ""
            nodes.append(Node(name, block.kind, block.name, (0.0, 0.0), label))
    arrows = []
    for link in wired.links:
        assert link.weights is not None
        for i, j in np.argwhere(link.weights).tolist():
            strength = ((link.delay, float(link.weights[i, j])),)
            ends = numbers[link.source, i], numbers[link.target, j]
            if wired.direct and link.target == ACTIONS:  # the unit is what acts
                acting = nodes[ends[1]]
                nodes[ends[0]] = replace(nodes[ends[0]], kind="output", label=acting.label)
                nodes[ends[1]] = replace(acting, kind="")
            else:
                arrows.append(Arrow(*ends, strength, link.signed))
    kept = {old: new for new, old in enumerate(n for n, node in enumerate(nodes) if node.kind)}
    arrows = [replace(a, source=kept[a.source], target=kept[a.target]) for a in arrows]
    return arrange([nodes[old] for old in kept], arrows, True, wired.caption)


def _blocks(wired: Wiring) -> Diagram:
    names = list(wired.blocks)
    number = {name: n for n, name in enumerate(names)}
    column = columns(
        [block.kind for block in wired.blocks.values()],
        [(number[link.source], number[link.target], link.delay) for link in wired.links],
    )
    group = _groups(wired.blocks, column)
    nodes: dict[str, Node] = {}
    for block in wired.blocks.values():
        name = group[block.name]
        size, known = block.size, nodes.get(name)
        if known is not None and known.size is not None and size is not None:
            size += known.size
        nodes[name] = Node(name, block.kind, name, (0.0, 0.0), block.words, size)
    between: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for link in wired.links:
        between[group[link.source], group[link.target]].append(link)
    place = {name: n for n, name in enumerate(nodes)}
    arrows = []
    for (source, target), links in between.items():
        weights = [link.weights[link.weights != 0] for link in links if link.weights is not None]
        strengths: list[tuple[int, float | None]] = []
        for delay in sorted({link.delay for link in links}):
            matrices = [w for w, link in zip(weights, links, strict=False) if link.delay == delay]
            unknown = len(weights) < len(links) or not matrices
            rms = None if unknown else float(np.sqrt(np.mean(np.square(np.concatenate(matrices)))))
            strengths.append((delay, rms))
        count = sum(map(len, weights)) if len(weights) == len(links) else 0
        signed = all(link.signed for link in links)
        arrows.append(Arrow(place[source], place[target], tuple(strengths), signed, count))
    return arrange(list(nodes.values()), arrows, False, wired.caption)


def _groups(blocks: dict[str, Block], column: Sequence[int]) -> dict[str, str]:
    """The name of the node that each block is part of: single units of a memory are drawn together."""
    kin: dict[str, tuple[str, str]] = {}
    for name, block in blocks.items():
        match = re.fullmatch(r"(\D+)\d+( of layer \d+)?", name)
        if match and block.size == 1:
            kin[name] = match[1], match[2] or ""
    at = dict(zip(blocks, column, strict=True))
    many = {
        family: len({at[name] for name, other in kin.items() if other == family}) for family in kin.values()
    }
    group = {name: name for name in blocks}
    for name, (stem, layer) in kin.items():
        ranks = sorted({at[other] for other, family in kin.items() if family == (stem, layer)})
        rank = f" {ranks.index(at[name]) + 1}" if 1 < many[stem, layer] <= COLUMNS else ""
        group[name] = f"{stem}{rank}{layer}"
    return group
