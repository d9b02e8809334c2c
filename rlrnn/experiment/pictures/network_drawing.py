"""A picture of a network: its units and their weighted, delayed connections, or its blocks if it is large."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from rlrnn.experiment.pictures.network_diagram import diagram_of
from rlrnn.experiment.pictures.network_graph import INPUTS, MEMORY, wiring
from rlrnn.experiment.pictures.network_layout import BOX, RADIUS, Array, Arrow, Diagram, Node, curve
from rlrnn.experiment.pictures.plotting import COLOURS, SMALL, TITLE, save
from rlrnn.experiment.pictures.showing import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCH = 0.42  # per unit of distance
MORE, LESS, UNSIGNED = COLOURS[0], COLOURS[1], "#404040"
TITLES = {INPUTS: "inputs x", MEMORY: "hidden y"}
FILLS = {"input": "#e6e6e6", "hidden": "#ffffff", "output": "#fbeecb"}
THIN, THICK, PALE = 0.5, 3.0, 0.22  # widths of lines in points; how much of its colour the weakest has
FEW = 12  # arrows of two steps and more that have their delay written beside them
LINES, WIDE = 3, 19  # lines of a block, and letters of one, that fit at full size
PROFILE = 1.0  # height of the bars that show many delays
PAPER = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6}}
DASH, GAP, DOT, MOST_DOTS = 4.5, 1.8, 1.0, 5  # points; steps that the dots of a line count


def draw_network(agent: Any, path: str | Path, title: str = "") -> Picture:
    """Draw the network of an agent or a policy, trained or not, as .png, .svg or .pdf.

    Up to 40 units and 300 connections all are drawn, else its blocks of units. A critic is drawn where it
    shares the actor's memory.
    """
    return save(draw(diagram_of(wiring(agent)), title), path)


def draw(diagram: Diagram, title: str = "") -> Figure:
    """The picture of a diagram."""
    ways = [curve(diagram, arrow) for arrow in diagram.arrows]
    left, low, right, high = _extent(diagram, ways)
    barred = {
        number
        for number, (arrow, way) in enumerate(zip(diagram.arrows, ways, strict=True))
        if not diagram.units and _barred(arrow, way, [*ways[:number], *ways[number + 1 :]])
    }
    legend = _legend(diagram, bool(barred))
    columns = max(1, -(-len(legend) // 4))
    below, above = 0.2 + 0.19 * -(-len(legend) // columns), 0.62 if title else 0.38  # inches
    inner = INCH * np.array([right - left, high - low])
    width = max(inner[0] + 0.4, 2.3 * columns, *(0.09 * len(t) + 0.4 for t in (title, diagram.caption)))
    size = np.array([width, inner[1] + below + above])
    figure = Figure(figsize=size.tolist(), dpi=150)
    FigureCanvasAgg(figure)
    corner = np.array([(width - inner[0]) / 2, below])
    axes = figure.add_axes((*(corner / size), *(inner / size)), xlim=(left, right), ylim=(low, high))
    axes.set_axis_off()
    strongest = _strongest(diagram)
    order = sorted(range(len(ways)), key=lambda n: _strength(diagram.arrows[n]) or 0.0)
    for rank, number in enumerate(order):
        _draw_arrow(axes, diagram, number, ways[number], strongest, 2 + rank / len(order))
    late = sum(min(arrow.strengths)[0] > 1 for arrow in diagram.arrows)
    for number, (arrow, way) in enumerate(zip(diagram.arrows, ways, strict=True)):
        if not diagram.units:
            _write_between(axes, arrow, way, number in barred)
        elif arrow.strengths[0][0] > 1 and late <= FEW:
            _write(axes, way[len(way) // 2], str(arrow.strengths[0][0]), color=_colour(arrow), **PAPER)
    for node in diagram.nodes:
        (_draw_unit if diagram.units else _draw_block)(axes, node)
    if diagram.units:
        _write_headings(axes, diagram)
    figure.text(0.2 / width, 1 - 0.3 / size[1], title, fontsize=TITLE)
    figure.text(0.2 / width, 1 - (above - 0.12) / size[1], diagram.caption, fontsize=SMALL, color="0.35")
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.06 / width, 0.0), "ncols": columns}
    figure.legend(handles=legend, fontsize=SMALL, frameon=False, handlelength=3.4, **place)
    return figure


def _extent(diagram: Diagram, ways: list[Array]) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of all that is drawn."""
    places = np.array([node.place for node in diagram.nodes])
    points = np.concatenate([places - diagram.half, places + diagram.half, *ways])
    (left, low), (right, high) = points.min(axis=0) - 0.1, points.max(axis=0) + 0.1
    for node in diagram.nodes if diagram.units else ():
        reach = RADIUS + 0.2 + 0.17 * len(node.label)
        left = min(left, node.place[0] - reach) if node.kind == "input" else left
        right = max(right, node.place[0] + reach) if node.kind == "output" else right
        high = max(high, node.place[1] + 1.1)
    for arrow, way in zip(diagram.arrows, ways, strict=True):
        if not diagram.units:
            place, below = _written(way)
            tall = 0.9 + PROFILE * (len(arrow.strengths) > 2)
            low, high = (min(low, place[1] - tall), high) if below else (low, max(high, place[1] + tall))
    return float(left), float(low), float(right), float(high)


def _written(way: Array) -> tuple[Array, bool]:
    """Where something is written beside an arrow between blocks, and whether that is below it."""
    middle, chord = way[len(way) // 2], way[-1] - way[0]
    below = bool(middle[1] < (way[0] + way[-1])[1] / 2 - 0.05)
    lift = 0.1 + 0.5 * min(
        1.0, abs(chord[1]) / max(abs(chord[0]), 0.1)
    )  # of the words' own width, on a slope
    return middle + np.array([0.0, -lift if below else lift]), below


def _draw_arrow(
    axes: Axes, diagram: Diagram, number: int, way: Array, strongest: float, above: float
) -> None:
    arrow = diagram.arrows[number]
    strength = _strength(arrow)
    share = 0.5 if strength is None else strength / strongest
    width = THIN + (THICK - THIN) * share
    colour = _pale(_colour(arrow) if diagram.units else UNSIGNED, PALE + (1 - PALE) * share**0.7)
    inhibits = diagram.units and arrow.signed and (arrow.strengths[0][1] or 0.0) < 0
    tip, back = way[-1], way[-1] - way[max(-12, -len(way))]
    along = back / (np.hypot(*back) or 1.0)
    aside = np.array([along[1], -along[0]])
    length = 0.13 + 0.035 * width
    if inhibits:
        bar = np.stack((tip - 0.05 * along + 0.6 * length * aside, tip - 0.05 * along - 0.6 * length * aside))
        axes.plot(*bar.T, color=colour, linewidth=max(1.0, 0.8 * width), zorder=above, solid_capstyle="butt")
    else:
        base = tip - length * along
        head = np.stack((tip, base + 0.45 * length * aside, base - 0.45 * length * aside))
        axes.add_patch(Polygon(head, closed=True, facecolor=colour, linewidth=0, zorder=above))
        way = way[np.hypot(*(way - tip).T) > 0.8 * length]
    style = _dashes(min(arrow.strengths)[0], width)
    axes.plot(*way.T, color=colour, linewidth=width, linestyle=style, zorder=above, dash_capstyle="butt")


def _dashes(delay: int, width: float) -> Any:
    """A line style: solid without delay, dashed for one step of it, and a dot more for each further step."""
    if delay == 0:
        return "-"
    pattern = [DASH, GAP, *[DOT, GAP] * (min(delay, MOST_DOTS) - 1)]
    return 0, [length / width for length in pattern]  # matplotlib takes them times the width


def _write(axes: Axes, place: Array, words: str, **how: Any) -> None:
    how = {"fontsize": SMALL, "ha": "center", "va": "center", "zorder": 5, **how}
    axes.text(place[0], place[1], words, **how)


def _write_between(axes: Axes, arrow: Arrow, way: Array, barred: bool) -> None:
    """Next to an arrow between blocks, its number of connections, their weights and delays."""
    place, below = _written(way)
    delays = [delay for delay, _ in arrow.strengths]
    known = sorted(strength for _, strength in arrow.strengths if strength is not None)
    listed = ", ".join(map(str, delays)) if len(delays) < 4 else f"{delays[0]} to {delays[-1]}"
    when = _steps(delays[0]) if len(delays) == 1 else f"delays {listed} steps"
    range_ = dict.fromkeys(f"{strength:.2g}" for strength in known[:: max(1, len(known) - 1)])
    how = f"{arrow.count:,} × {' to '.join(range_)}" if known else ""
    lines = [words for words in (how, "" if delays == [0] else when) if words]
    _write(axes, place, "\n".join(lines), va="top" if below else "bottom", **PAPER)
    if barred:
        strengths = np.array([strength or 0.0 for _, strength in arrow.strengths])
        aside = 0.42 * len(lines) + 0.1
        wide, foot = 2.2 / len(delays), place[1] + (-aside - PROFILE + 0.2 if below else aside)
        left = place[0] - 1.1 + wide * np.arange(len(delays))
        tall = (PROFILE - 0.2) * strengths / strengths.max()
        axes.bar(left, tall, 0.8 * wide, foot, align="edge", color=UNSIGNED, zorder=5)


def _barred(arrow: Arrow, way: Array, others: Sequence[Array]) -> bool:
    """Whether the strengths by delay are drawn as bars: of three and more, where no other arrow passes."""
    if len(arrow.strengths) < 3 or None in dict(arrow.strengths).values():
        return False
    place, below = _written(way)
    points = np.concatenate([way[:0], *others])
    off = points - place - np.array([0.0, -1.0 if below else 1.0])
    return not ((np.abs(off[:, 0]) < 1.6) & (np.abs(off[:, 1]) < 1.2)).any()


def _steps(delay: int) -> str:
    return "no delay" if delay == 0 else f"delay {delay} step{'s' if delay > 1 else ''}"


def _draw_unit(axes: Axes, node: Node) -> None:
    axes.add_patch(
        Circle(node.place, RADIUS, facecolor=FILLS[node.kind], edgecolor="0.15", linewidth=0.9, zorder=4)
    )
    x, y = node.place
    inside = node.name.removeprefix(f"{node.block} ").partition(" of ")[0]
    if len(inside) < 4 and not (node.kind == "input" and node.label):
        axes.text(x, y, inside, fontsize=SMALL - 1, ha="center", va="center_baseline", zorder=6)
    if node.label:
        side = -1 if node.kind == "input" else 1
        how: dict[str, Any] = {"ha": "right" if side < 0 else "left", "va": "center", "fontsize": SMALL + 1}
        axes.text(x + side * (RADIUS + 0.2), y, node.label, zorder=6, **how)


def _draw_block(axes: Axes, node: Node) -> None:
    corner = node.place[0] - BOX[0], node.place[1] - BOX[1]
    axes.add_patch(
        FancyBboxPatch(
            corner, 2 * BOX[0], 2 * BOX[1],
            boxstyle="round,pad=0,rounding_size=0.25",
            facecolor=FILLS[node.kind], edgecolor="0.15", linewidth=0.9, zorder=4,
        )
    )  # fmt: skip
    units = (
        ""
        if node.size is None or node.kind != "hidden"
        else f"{node.size:,} unit{'s' if node.size > 1 else ''}"
    )
    lines = [TITLES.get(node.name, node.name), *filter(None, (units, node.label))]
    lines = "\n".join(lines).split("\n")
    small = min(1.0, LINES / len(lines), WIDE / max(map(len, lines)))  # so that they fit into the box
    axes.text(*node.place, "\n".join(lines), fontsize=SMALL * small, ha="center", va="center", zorder=6)


def _write_headings(axes: Axes, diagram: Diagram) -> None:
    """The name of each block of several units, above them."""
    blocks: dict[str, list[Node]] = {}
    for node in diagram.nodes:
        blocks.setdefault(node.block, []).append(node)
    for name, members in blocks.items():
        if len(members) > 1:
            x, y = max((node.place for node in members), key=lambda place: place[1])
            how = {"fontsize": SMALL + 1, "va": "bottom", "color": "0.25", **PAPER}
            _write(axes, np.array([x, y + RADIUS + 0.35]), TITLES.get(name, name), **how)


def _legend(diagram: Diagram, barred: bool) -> list[Line2D]:
    """The legend of colours, heads, dashes and widths, as far as they occur."""
    arrows, lines = diagram.arrows, []

    def line(label: str, color: str = "0.15", linewidth: float = 1.8, **how: Any) -> None:
        lines.append(Line2D([0, 1], [0, 0], color=color, linewidth=linewidth, label=label, **how))

    known = [strength for arrow in arrows for _, strength in arrow.strengths if strength is not None]
    gated = not all(arrow.signed for arrow in arrows)
    if not diagram.units:
        gates = ", over all gates" if gated else ""
        if known:
            line(f"connections × RMS weight{gates}", linewidth=THICK)
        if barred:
            line("bars: RMS weight by delay", UNSIGNED, linewidth=5)
        return lines
    signs = {np.sign(arrow.strengths[0][1] or 0.0) for arrow in arrows if arrow.signed}
    if 1.0 in signs:
        line("positive weight", MORE, marker=">", markersize=5, markevery=[1])
    if -1.0 in signs:
        line("negative weight", LESS, marker="|", markersize=9, markeredgewidth=1.8, markevery=[1])
    if gated:
        line("norm of weights over all gates", UNSIGNED, marker=">", markersize=5, markevery=[1])
    if known:
        line(f"largest: {_strongest(diagram):.2g}", linewidth=THICK)
    delays = sorted({delay for arrow in arrows for delay, _ in arrow.strengths})
    for delay in sorted({min(delay, MOST_DOTS) for delay in delays}):
        more = " and more" if delay == MOST_DOTS < delays[-1] else ""
        line(_steps(delay) + more, linewidth=1.3, linestyle=_dashes(delay, 1.3))
    return lines


def _strength(arrow: Arrow) -> float | None:
    """The absolute weight; of blocks with several delays between them, the strongest's."""
    known = [abs(strength) for _, strength in arrow.strengths if strength is not None]
    return max(known, default=None)


def _strongest(diagram: Diagram) -> float:
    return max((_strength(arrow) or 0.0 for arrow in diagram.arrows), default=0.0) or 1.0


def _colour(arrow: Arrow) -> str:
    if not arrow.signed:
        return UNSIGNED
    return LESS if (arrow.strengths[0][1] or 0.0) < 0 else MORE


def _pale(colour: str, share: float) -> tuple[float, ...]:
    """So much of a colour on white."""
    return tuple(1.0 - share * (1.0 - part) for part in to_rgb(colour))
