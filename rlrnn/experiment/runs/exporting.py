"""A comparison as data, for scripts and papers: JSON, CSV and a table of LaTeX."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rlrnn.common.files import write_whole
from rlrnn.common.records import to_mapping
from rlrnn.experiment import statistics
from rlrnn.experiment.runs.comparing import Comparison, Row

FIGURES = ("mean", "low", "high", "sd", "median", "iqm", "normalised")
COLUMNS = ("agent", "playing", "seeds", "episodes", *FIGURES)
HEADINGS = ("player", "", "seeds", "mean", r"95\,\% interval", "sd", "median", "IQM")
SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def to_json(comparison: Comparison) -> dict[str, Any]:
    """All that ``compare`` prints, and the points of every episode."""
    rows = [
        {**_figures(row, comparison), "points": [list(seed) for seed in row.points]}
        for row in comparison.rows
    ]
    return {
        "game": comparison.game.name,
        "unit": comparison.game.points.unit,
        "rows": rows,
        "steps": dict(comparison.steps),
        "improvement": [vars(duel) for duel in comparison.duels],
        "references": {name: to_mapping(reference) for name, reference in comparison.game.references.items()},
    }


def write_csv(comparison: Comparison, path: str | Path) -> Path:
    """A row for each agent and way of playing; numbers in full, none where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_figures(row, comparison) for row in comparison.rows)
    write_whole(Path(path), text.getvalue().encode("utf-8"))
    return Path(path)


def write_latex(comparison: Comparison, path: str | Path) -> Path:
    r"""The same as a ``tabular`` with the rules of ``booktabs``."""
    decimals = 1 if max(abs(row.mean) for row in comparison.rows) >= 100 else 2

    def number(value: float) -> str:
        return f"${value:.{decimals}f}$"

    lines = [rf"\begin{{tabular}}{{ll{'r' * (len(HEADINGS) - 2)}}}", r"\toprule"]
    lines += [" & ".join(HEADINGS) + r" \\", r"\midrule"]
    for row in comparison.rows:
        one = _figures(row, comparison)
        interval = f"{number(one['low'])} to {number(one['high'])}"
        spread = [number(one[name]) for name in ("sd", "median", "iqm")]
        seeds = str(one["seeds"] or "--")
        cells = [escaped(row.agent), escaped(row.label), seeds, number(one["mean"]), interval, *spread]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    write_whole(Path(path), "\n".join(lines).encode("utf-8"))
    return Path(path)


def escaped(text: str) -> str:
    """Text as LaTeX prints it, sign by sign."""
    return "".join(SIGNS.get(sign, sign) for sign in text)


def _figures(row: Row, comparison: Comparison) -> dict[str, Any]:
    low, high = row.possible
    scale = comparison.scale
    return {
        "agent": row.agent,
        "playing": row.playing,
        "seeds": len(row.points) if row.agent else None,
        "episodes": sum(map(len, row.points)),
        "mean": row.mean,
        "low": low,
        "high": high,
        "sd": statistics.sd(row.points),
        "median": statistics.median(row.points),
        "iqm": statistics.iqm(row.points),
        "normalised": statistics.normalised(row.mean, *scale) if scale else None,
    }
