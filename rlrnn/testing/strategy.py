"""Checks of a search strategy: ask, tell, ranks, seeds, files, and that fitness rises."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

from rlrnn.errors import UserError
from rlrnn.learners.evolution.strategies import STRATEGIES, Strategy, register_strategy
from rlrnn.testing import strategy_protocol, strategy_search
from rlrnn.testing.failing import laws_without, running
from rlrnn.testing.naming import named
from rlrnn.testing.strategy_part import StrategyPart

LAWS = {**strategy_protocol.LAWS, **strategy_search.LAWS}


def check_strategy(
    strategy: str | type[Strategy],
    /,
    *,
    dimension: int = 10,
    skip: Collection[str] = (),
    **settings: Any,
) -> None:
    """Check a search strategy by the laws that this package's own keep.

    Parameters
    ----------
    strategy
        A class derived from ``rlrnn.Strategy``, registered or not, or a registered name.
    dimension
        Weights of the genomes, at least 2; a strategy of one's own should do with 1, 2 and 3, too.
    skip
        Laws to leave out, by name: "settings", "starts", "sizes", "purity", "seeds", "generations",
        "resuming", "spreads", "climbs", "ranks", "worst", "equals", "slopes".
    **settings
        Settings of the strategy, such as a population for small problems.

    Raises
    ------
    rlrnn.errors.CheckError
        At the first law that it breaks: one sentence with the values, and how to mend it.

    Examples
    --------
    >>> from rlrnn.testing import check_strategy
    >>> check_strategy("snes", sigma=0.5)
    """
    chosen = laws_without(skip, LAWS, "check_strategy")
    if dimension < 2:
        raise UserError(f"dimension is {dimension}; check_strategy searches among at least 2 weights.")
    known = nullcontext(strategy) if isinstance(strategy, str) else None
    with known or named(strategy, STRATEGIES, register_strategy) as name:
        part = StrategyPart(name, dimension, settings)
        for law in chosen:
            with running(f"{part}, in the law {law!r},"):
                LAWS[law](part)
