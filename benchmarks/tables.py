"""Figures as text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def ratio(values: Sequence[float], digits: int = 1) -> str:
    """The median of the rounds, with the least and the most of them."""
    middle, least, most = (f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))
    return f"{middle} ({least}-{most})"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be: the first to the left, figures to the right."""
    rows = [head, *lines]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    return "\n".join(line(row, widths) for row in rows)


def line(row: Sequence[str], widths: Sequence[int]) -> str:
    """One line of a table."""
    first, *others = zip(row, widths, strict=True)
    return "  ".join((first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others))).rstrip()
