"""Laws of a search: its spread is right, fitness rises, ranks alone count, and all numbers stay finite."""

from __future__ import annotations

import numpy as np

from rlrnn.learners.evolution.strategies import State, Strategy
from rlrnn.learners.evolution.strategies.strategy import Array
from rlrnn.testing.failing import fail
from rlrnn.testing.strategy_part import Function, StrategyPart, rosenbrock, sphere

EVALUATIONS = 1000  # at least, of a search that must have improved
LONG = 200  # generations of one that must not break


def spreads(part: StrategyPart) -> None:
    """``spread`` is the deviation of the genomes' weights around the center."""
    strategy = part.make()
    center = np.linspace(-1, 1, part.dimension)
    state = part.start(strategy, center)
    spread = strategy.spread(state)
    size = strategy.size(part.dimension)
    drawn = np.concatenate([part.ask(strategy, state, seed) for seed in range(-(-4000 // size))]) - center
    found = float(np.sqrt(np.mean(drawn**2)))
    if not 0.9 < found / spread < 1.1:
        fail(
            f"spread of {part} is {spread:.3g}, but its genomes are {found:.3g} around their center (root "
            "mean square over the weights): return the deviation that _ask samples with."
        )


def climbs(part: StrategyPart) -> None:
    """It ascends the sphere function, and descends it where the sign is flipped."""
    strategy, start = part.make(), np.ones(part.dimension)
    generations = max(20, -(-EVALUATIONS // strategy.size(part.dimension)))
    for seed in (1, 2, 3):
        for sign, way in ((1.0, "up"), (-1.0, "down")):
            state = part.search(strategy, lambda x, sign=sign: sign * sphere(x), start, generations, seed)  # type: ignore[misc]
            gain = sign * float(sphere(strategy.center(state)) - sphere(start))
            if not gain > 0.0:
                fail(
                    f"{part} does not climb: {generations} generations {way} the sphere from (1, ..., 1) "
                    f"changed the fitness of its center by {gain:.3g}; larger fitness is better, and "
                    "genomes come in the order in which they were asked for."
                )


def ranks(part: StrategyPart) -> None:
    """Fitness moved, scaled, or bent by any rising function changes no bit of the search."""
    strategy = part.make()
    plain = _asked(part, strategy, _searched(part, strategy, rosenbrock))
    for what, function in (
        ("times 2", lambda x: 2.0 * rosenbrock(x)),
        ("divided by 1024", lambda x: rosenbrock(x) / 1024.0),
        ("by its logarithm, the worst -inf", _bent),
    ):
        if not np.array_equal(plain, _asked(part, strategy, _searched(part, strategy, function))):
            fail(
                f"{part} comes to other genomes where the fitness is given {what}: use ranks alone, as "
                "games score in any units (rlrnn.learners.evolution.strategies.strategy has best_first and "
                "shared_among_equals)."
            )


def worst(part: StrategyPart) -> None:
    """NaN and -inf count as the worst fitness there is."""
    strategy = part.make()
    state, genomes, fitness = part.searched(strategy)
    least = fitness.argmin()
    known = _asked(part, strategy, part.tell(strategy, state, genomes, fitness))
    for value in (-np.inf, np.nan):
        changed = np.where(np.arange(len(fitness)) == least, value, fitness)
        if not np.array_equal(known, _asked(part, strategy, part.tell(strategy, state, genomes, changed))):
            fail(
                f"{part} comes to other genomes where the worst fitness is given as {value}: take NaN for "
                "-inf, and -inf for a fitness like any other (ranks of it are)."
            )


def equals(part: StrategyPart) -> None:
    """Where all genomes have equal fitness, the search continues and stays near."""
    strategy, start = part.make(), np.linspace(-1, 1, part.dimension)
    began = strategy.spread(part.start(strategy, start))
    for value in (0.0, -np.inf, np.nan, 1e300):
        state = part.search(strategy, lambda x, value=value: np.full(len(x), value), start, LONG)  # type: ignore[misc]
        _check_finite(part, strategy, state, f"{LONG} generations in which all fitness is {value}")
        spread = strategy.spread(state)
        if not 1e-3 < spread / began < 1e3:
            fail(
                f"{part} has a spread of {spread:.3g}, from {began:.3g}, after {LONG} generations in which "
                f"all fitness is {value}: give equals equal shares."
            )


def slopes(part: StrategyPart) -> None:
    """An endless slope is ascended, and all numbers stay finite."""
    strategy, start = part.make(), np.zeros(part.dimension)
    weights = np.arange(1.0, part.dimension + 1)
    state = part.search(strategy, lambda x: np.asarray(x @ weights), start, 5 * LONG)
    _check_finite(part, strategy, state, f"{5 * LONG} generations on an endless slope")


def _check_finite(part: StrategyPart, strategy: Strategy, state: State, after: str) -> None:
    for name, value in [*state.items(), ("genomes", part.ask(strategy, state))]:
        odd = value[~np.isfinite(value)]
        if odd.size:
            fail(
                f"{name} of {part} is {odd.flat[0]} after {after}: keep the step finite, or leave "
                "tell() to rlrnn.Strategy, which does not make such an update."
            )


def _searched(part: StrategyPart, strategy: Strategy, function: Function) -> State:
    size = strategy.size(part.dimension)
    generations = max(5, -(-EVALUATIONS // size))
    return part.search(strategy, function, np.zeros(part.dimension), generations)


def _asked(part: StrategyPart, strategy: Strategy, state: State) -> Array:
    """The center [1, D] and the next genomes [P, D] that a search has come to."""
    return np.concatenate((strategy.center(state)[None], part.ask(strategy, state)))


def _bent(genomes: Array) -> Array:
    fitness = rosenbrock(genomes)
    return np.where(fitness == fitness.min(), -np.inf, -np.log1p(-fitness))


LAWS = {law.__name__: law for law in (spreads, climbs, ranks, worst, equals, slopes)}
