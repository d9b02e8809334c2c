"""Laws of asking and telling: settings, shapes, purity, seeds, and resuming from a file."""

from __future__ import annotations

import dataclasses
import io
import typing
from typing import Any

import numpy as np

from rlrnn.errors import UserError
from rlrnn.learners.evolution.strategies import State
from rlrnn.testing.failing import fail
from rlrnn.testing.strategy_part import StrategyPart, copied, difference, rosenbrock

NO_POPULATIONS: tuple[Any, ...] = (0, -8, 8.5, "8", True)
MOST = 2**64 - 1  # the largest seed


def settings(part: StrategyPart) -> None:
    """It is a dataclass of its settings, each with a default, and refuses a nonsensical population."""
    kind = type(part.make())
    known = {known.name for known in dataclasses.fields(kind)}
    for name, hint in vars(kind).get("__annotations__", {}).items():
        if name not in known and "ClassVar" not in str(hint):
            fail(
                f"{name} of {part} is annotated, but no setting: put @dataclass(frozen=True) above "
                f"{kind.__name__} (or call it a ClassVar)."
            )
    for each in dataclasses.fields(kind):
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            fail(f"the setting {each.name} of {part} has no default: give one, as recipes may leave it out.")
    for value in NO_POPULATIONS:
        try:
            part.make(population=value)
        except UserError:
            continue
        fail(
            f"{part} takes population={value!r}: refuse it in __post_init__, "
            'by super().__post_init__() or self._whole("population", 2).'
        )


def sizes(part: StrategyPart) -> None:
    """A generation has as many genomes as ``size`` says, for any number of weights."""
    strategy = part.make()
    for dimension in sorted({1, 2, 3, part.dimension}):
        size: Any = strategy.size(dimension)
        if type(size) is not int or size < 2:
            fail(
                f"size of {part} is {size!r} for {dimension} weights: a generation has a whole number of "
                "genomes, at least 2."
            )
        state = part.start(strategy, np.full(dimension, 0.5))
        for _ in range(5):
            genomes: Any = part.ask(strategy, state)
            if not isinstance(genomes, np.ndarray) or genomes.shape != (size, dimension):
                fail(
                    f"ask of {part} gives {_kind(genomes)} for {dimension} weights, but its size is "
                    f"{(size, dimension)}: let both follow from the same number."
                )
            if genomes.dtype != np.float64 or not np.isfinite(genomes).all():
                odd = genomes[~np.isfinite(genomes)][:1]
                what = f"{odd[0]} among its weights" if odd.size else f"weights of {genomes.dtype}"
                fail(f"ask of {part} gives {what}: genomes are finite float64 numbers.")
            state = part.tell(strategy, state, genomes, rosenbrock(genomes))
    twice = 2 * strategy.size(part.dimension)
    if part.make(population=twice).size(part.dimension) != twice:
        found = part.make(population=twice).size(part.dimension)
        fail(
            f"{part} makes {found} genomes where population={twice} was asked for: leave size() to "
            "rlrnn.Strategy, and define _default_size."
        )


def starts(part: StrategyPart) -> None:
    """It begins around the center that it is given, and refuses what is no row of finite weights."""
    strategy = part.make()
    center = np.linspace(-1, 1, part.dimension)
    given = center.copy()
    state: Any = part.start(strategy, given)
    _check_arrays(part, state)
    if int(state.get("generation", -1)) != 0:
        fail(
            f"the state of {part} begins with generation {state.get('generation')}: let "
            "rlrnn.Strategy start it, and define _start, which seeds of noise are counted from."
        )
    if strategy.center(state).tobytes() != center.tobytes():
        fail(
            f"{part} starts around {_first(strategy.center(state), center)} instead: the center of its first "
            "state is the genome that start was given."
        )
    spread: Any = strategy.spread(state)
    if not isinstance(spread, float) or not 0.0 < spread < np.inf:
        fail(f"spread of {part} is {spread!r}: it is one finite number above 0.")
    given += 1.0
    if strategy.center(state).tobytes() != center.tobytes():
        fail(f"the state of {part} changes with the array that start was given: keep a copy of it.")
    for nonsense in (np.zeros((2, 2)), np.zeros(0), np.array([0.0, np.nan])):
        try:
            strategy.start(nonsense)
        except UserError:
            continue
        fail(
            f"{part} starts at an array of shape {nonsense.shape} with {nonsense.size} numbers: refuse "
            "what is no row of finite weights, or leave start() to rlrnn.Strategy."
        )


def purity(part: StrategyPart) -> None:
    """Ask and tell are functions: the same arguments give the same bytes, and stay as they are."""
    strategy = part.make()
    state, genomes, fitness = part.searched(strategy)
    kept, drawn, scored = copied(state), genomes.copy(), fitness.copy()
    before = {name: repr(value) for name, value in vars(strategy).items()}
    world = _global()
    again = part.ask(strategy, state, 8)
    if not np.array_equal(again, genomes):
        fail(
            f"ask of {part} gives other genomes for the same state and seed, {_first(again, drawn)}: draw "
            "from the generator that _ask is given alone."
        )
    later = copied(part.tell(strategy, state, genomes, fitness))
    if name := difference(state, kept):
        fail(f"ask or tell of {part} changes {name} of the state that it is given: make new arrays.")
    for what, value, was in (("genomes", genomes, drawn), ("fitness", fitness, scored)):
        if value.tobytes() != was.tobytes():
            fail(f"tell of {part} changes the {what} that it is given: work on a copy.")
    if name := difference(later, part.tell(strategy, state, genomes, fitness)):
        fail(
            f"tell of {part} gives another {name} for the same genomes and fitness the second time: a "
            "strategy is stateless, and what changes belongs in the state."
        )
    for name, value in vars(strategy).items():
        if before.get(name) != repr(value):
            fail(f"ask or tell of {part} changes its own {name}: what changes belongs in the state.")
    if _global() != world:
        fail(f"{part} draws from numpy's global generator: use the one that _ask is given.")


def seeds(part: StrategyPart) -> None:
    """Another seed, or another generation, draws other genomes."""
    strategy = part.make()
    state, genomes, _ = part.searched(strategy)
    moved = {**state, "generation": np.asarray(99)}
    for what, other in (
        ("the seed 9 as with 8", part.ask(strategy, state, 9)),
        ("generation 99 as in another", part.ask(strategy, moved, 8)),
    ):
        alike = int((other == genomes).all(axis=1).sum())
        if 2 * alike > len(genomes):
            fail(
                f"ask of {part} draws {alike} of {len(genomes)} genomes with {what}: draw from the "
                "generator that _ask is given."
            )
    part.ask(strategy, state, MOST)


def generations(part: StrategyPart) -> None:
    """After ``tell`` the state is one generation older and has the same entries."""
    strategy = part.make()
    state = part.start(strategy, np.zeros(part.dimension))
    genomes = part.ask(strategy, state)
    later: Any = part.tell(strategy, state, genomes, rosenbrock(genomes))
    if int(later.get("generation", 0)) != 1:
        fail(
            f"the state of {part} has generation {later.get('generation')} after the first tell(): leave "
            "tell() to rlrnn.Strategy, and define _tell."
        )
    if odd := sorted(later.keys() ^ state.keys()):
        fail(
            f"the state of {part} has {odd[0]!r} {'only after' if odd[0] in later else 'only before'} the "
            "first generation: name the same entries in _start and _tell, as a saved search needs."
        )
    for wrong, fitness in ((genomes[1:], np.zeros(len(genomes))), (genomes, np.zeros(len(genomes) + 1))):
        try:
            strategy.tell(state, wrong, fitness)
        except UserError:
            continue
        fail(
            f"tell of {part} takes genomes of shape {wrong.shape} with {len(fitness)} numbers of fitness: "
            "refuse what ask() did not give, or leave tell() to rlrnn.Strategy."
        )


def resuming(part: StrategyPart) -> None:
    """A search resumes from a file, with another object, to the same bytes."""
    strategy, other = part.make(), part.make()
    state = part.searched(strategy)[0]
    _check_arrays(part, state)
    file = io.BytesIO()
    np.savez(file, **typing.cast(Any, state))
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        read = dict(archive)
    for _ in range(4):
        genomes, again = part.ask(strategy, state), part.ask(other, read)
        state = part.tell(strategy, state, genomes, rosenbrock(genomes))
        read = part.tell(other, read, again, rosenbrock(again))
    if name := difference(state, read):
        fail(
            f"{part} resumes from a saved state to another {name}: whatever decides what comes next "
            "belongs in the state."
        )


def _global() -> tuple[bytes, Any]:
    """Where numpy's global generator stands."""
    state: Any = np.random.get_state()  # noqa: NPY002  (asked, not drawn from)
    return state[1].tobytes(), state[2:]


def _check_arrays(part: StrategyPart, state: State) -> None:
    for name, value in state.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            fail(
                f"the state of {part} holds {name}, of {_kind(value)}: states are arrays of numbers, which a "
                "checkpoint keeps (np.asarray of a scalar)."
            )


def _kind(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"type {type(value).__name__}"
    return f"shape {value.shape}" if value.dtype.kind in "fiub" else f"type {value.dtype}"


def _first(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> str:
    """Where two arrays first differ."""
    if one.shape != other.shape:
        return f"an array of shape {one.shape} for {other.shape}"
    where = np.flatnonzero(one.ravel() != other.ravel())[:1]
    return "".join(f"{one.ravel()[i]:.6g} for {other.ravel()[i]:.6g}" for i in where)


LAWS = {law.__name__: law for law in (settings, starts, sizes, purity, seeds, generations, resuming)}
