"""Each law of ``check_strategy`` refuses, by its own sentence, what breaks it; our strategies keep them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, Philox

from rlrnn.errors import CheckError, UserError
from rlrnn.learners.evolution.strategies import STRATEGIES, State, Strategy
from rlrnn.learners.evolution.strategies.strategy import Array, all_equal, best_first
from rlrnn.testing import check_strategy

SKIPPED = ("purity", "seeds")


@dataclass(frozen=True)
class Hill(Strategy):
    """The mean of the best quarter, which keeps all laws."""

    sigma: float = 0.3  # standard deviation of a mutation

    def spread(self, state: State) -> float:
        return self.sigma

    def _default_size(self, dimension: int) -> int:
        return 20

    def _start(self, center: Array) -> State:
        return {"center": center}

    def _ask(self, state: State, rng: Generator) -> Array:
        center = state["center"]
        return np.asarray(center + self.sigma * rng.standard_normal((self.size(center.size), center.size)))

    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        if all_equal(fitness):
            return {"center": state["center"]}
        return {"center": genomes[best_first(fitness)[: len(genomes) // 4]].mean(axis=0)}


class Annotated(Hill):
    speed: float = 1.0


@dataclass(frozen=True)
class Needy(Hill):
    speed: float = field(kw_only=True)


def broken(**methods: Any) -> type[Strategy]:
    """A class "Broken" that differs from a sound one in these methods."""
    return type("Broken", (Hill,), methods)


def asking(change: Callable[[Array], Any]) -> type[Strategy]:
    return broken(_ask=lambda self, state, rng: change(Hill._ask(self, state, rng)))


def starting(more: dict[str, Any]) -> type[Strategy]:
    return broken(
        start=lambda self, center: {**Strategy.start(self, center), **more},
        _tell=lambda self, state, genomes, fitness: {**Hill._tell(self, state, genomes, fitness), **more},
    )


def telling(change: Callable[..., Any]) -> type[Strategy]:
    """What is told before the sound thing is done."""

    def _tell(self: Any, state: State, genomes: Array, fitness: Array) -> Any:
        made = Hill._tell(self, state, genomes, fitness)
        return change(self, state, genomes, fitness) or made

    return broken(_tell=_tell)


def unguarded(change: Callable[[Any, State, Array, Array], Any]) -> type[Strategy]:
    """A strategy with a tell of its own."""

    def tell(self: Any, state: State, genomes: Any, fitness: Any) -> State:
        made = change(self, state, np.asarray(genomes), np.asarray(fitness))
        return {"generation": np.asarray(state["generation"] + 1), **made}

    return broken(tell=tell)


def trusting(self: Any, center: Any) -> State:
    return {"generation": np.asarray(0), "center": np.array(center)}


def growing(self: Any, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
    return {**Hill._tell(self, state, genomes, fitness), "sigma": state["sigma"] * 1.1}


def proportional(self: Any, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
    weights = np.exp(np.maximum(fitness - fitness.max(), -700.0))
    return {"center": weights @ genomes / weights.sum()}


def loving_nan(self: Any, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
    if (fitness == fitness[0]).all() or np.isnan(fitness).all():
        return {"center": state["center"]}
    return {"center": genomes[fitness.argsort()[::-1][: len(genomes) // 4]].mean(axis=0)}


def overflowing(self: Any, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
    fitness = np.where(np.isnan(fitness), -np.inf, fitness)
    made = Hill._tell(self, state, genomes, fitness)
    with np.errstate(all="ignore"):
        return {"center": made["center"] * (1e200 if 1e3 < fitness.max() < 1e300 else 1.0)}


def leaving(self: Any, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
    alike = all_equal(np.where(np.isnan(fitness), -np.inf, fitness))
    with np.errstate(all="ignore"):
        return {
            "center": state["center"] * 1e3 if alike else Hill._tell(self, state, genomes, fitness)["center"]
        }


COUNTS: dict[int, int] = {}


def counting(self: Any, state: State, rng: Generator) -> Array:
    """Remembers how often each object was asked, where nobody sees it."""
    COUNTS[id(self)] = COUNTS.get(id(self), 0) + 1
    return Hill._ask(self, state, rng) * (1.0 if COUNTS[id(self)] < 8 else 0.5)


def in_place(what: str) -> type[Strategy]:
    def tell(self: Any, state: State, genomes: Any, fitness: Any) -> State:
        later = Strategy.tell(self, state, genomes, fitness)
        {"center": state["center"], "genomes": genomes, "fitness": fitness}[what][...] += 1.0
        return later

    return broken(tell=tell)


N = r"[-+\w.]+"  # a number
BROKEN: dict[str, tuple[Any, str]] = {
    "not a strategy": (Generator, "<class .*Generator'> is not a strategy: register a frozen dataclass .*"),
    "an unknown name": ("sness", "strategy 'sness' is not known: choose one of .*"),
    "a setting that is none": (
        Annotated,
        r"speed of the strategy annotated is annotated, but no setting: put @dataclass\(frozen=True\) "
        "above .*",
    ),
    "a setting that is missing": (
        Needy,
        "the constructor of the strategy needy raised TypeError: .* missing 1 required keyword-only "
        "argument.*",
    ),
    "a constructor that raises": (
        broken(__post_init__=lambda self: {}["sigma"]),
        r"the constructor of the strategy broken raised KeyError \(.*test_strategy.py, line \d+\): "
        "'sigma'",
    ),
    "any population": (
        broken(__post_init__=lambda self: None),
        "the strategy broken takes population=0: refuse it in __post_init__, by .*",
    ),
    "no whole size": (
        broken(_default_size=lambda self, dimension: 20.0),
        "size of the strategy broken is 20.0 for 1 weights: a generation has a whole number of genomes, .*",
    ),
    "a size of its own": (
        broken(size=lambda self, dimension: 20),
        r"the strategy broken makes 20 genomes where population=40 was asked for: leave size\(\) to .*",
    ),
    "a genome too few": (
        asking(lambda genomes: genomes[1:]),
        r"ask of the strategy broken gives shape \(19, 1\) for 1 weights, but its size is \(20, 1\): .*",
    ),
    "a list of genomes": (
        asking(lambda genomes: genomes.tolist()),
        "ask of the strategy broken gives type list for 1 weights, but .*",
    ),
    "small genomes": (
        asking(lambda genomes: genomes.astype(np.float32)),
        "ask of the strategy broken gives weights of float32: genomes are finite float64 numbers.",
    ),
    "no numbers": (
        asking(lambda genomes: genomes * np.nan),
        "ask of the strategy broken gives nan among its weights: genomes are finite float64 numbers.",
    ),
    "a word in the state": (
        starting({"phase": "early"}),
        "the state of the strategy broken holds phase, of type str: states are arrays of numbers, which .*",
    ),
    "objects in the state": (
        starting({"kept": np.array([None])}),
        "the state of the strategy broken holds kept, of type object: states are arrays of numbers, .*",
    ),
    "a word that comes later": (
        broken(
            _start=lambda self, center: {"center": center, "phase": np.asarray(0)},
            tell=lambda self, state, genomes, fitness: {
                **Strategy.tell(self, {**state, "phase": np.asarray(1)}, genomes, fitness),
                "phase": "late",
            },
        ),
        "the state of the strategy broken holds phase, of type str: .*",
    ),
    "no generation": (
        broken(start=lambda self, center: {"center": np.array(center)}),
        "the state of the strategy broken begins with generation None: let rlrnn.Strategy start .*",
    ),
    "another center": (
        broken(_start=lambda self, center: {"center": center + 1.0}),
        f"the strategy broken starts around {N} for {N} instead: the center of its first state is the .*",
    ),
    "a center that is shared": (
        broken(start=lambda self, center: {"generation": np.asarray(0), "center": center}),
        "the state of the strategy broken changes with the array that start was given: keep a copy of it.",
    ),
    "any center": (
        broken(start=trusting),
        r"the strategy broken starts at an array of shape \(2, 2\) with 4 numbers: refuse what is no row .*",
    ),
    "a start that raises": (
        broken(_start=lambda self, center: {"center": center @ center[:2]}),
        r"start of the strategy broken, given 10 weights, raised ValueError \(.*",
    ),
    "an ask that raises": (
        broken(_ask=lambda self, state, rng: state["shape"]),
        r"ask of the strategy broken, with the seed 1, raised KeyError \(.*\): 'shape'",
    ),
    "a tell that raises": (
        telling(lambda self, state, genomes, fitness: state["shape"]),
        r"tell of the strategy broken, given 20 genomes, raised KeyError \(.*\): 'shape'",
    ),
    "noise of another generator": (
        broken(_ask=lambda self, state, rng: Hill._ask(self, state, np.random.default_rng())),
        f"ask of the strategy broken gives other genomes for the same state and seed, {N} for {N}: draw .*",
    ),
    "a tell that draws": (
        telling(
            lambda self, state, genomes, fitness: {
                "center": genomes.mean(axis=0) + 0.1 * np.random.default_rng().random()
            }
        ),
        "tell of the strategy broken gives another center for the same genomes and fitness the second "
        "time: .*",
    ),
    "a state written over": (
        in_place("center"),
        "ask or tell of the strategy broken changes center of the state that it is given: make new arrays.",
    ),
    "genomes written over": (
        in_place("genomes"),
        "tell of the strategy broken changes the genomes that it is given: work on a copy.",
    ),
    "fitness written over": (
        in_place("fitness"),
        "tell of the strategy broken changes the fitness that it is given: work on a copy.",
    ),
    "memory of its own": (
        telling(lambda self, state, genomes, fitness: vars(self).update(seen=fitness.max())),
        "ask or tell of the strategy broken changes its own seen: what changes belongs in the state.",
    ),
    "numpy's global generator": (
        asking(lambda genomes: genomes + 0.0 * np.random.rand()),  # noqa: NPY002
        "the strategy broken draws from numpy's global generator: use the one that _ask is given.",
    ),
    "a seed not heard": (
        broken(_ask=lambda self, state, rng: Hill._ask(self, state, Generator(Philox(key=1)))),
        "ask of the strategy broken draws 20 of 20 genomes with the seed 9 as with 8: draw from .*",
    ),
    "a generation not heard": (
        broken(ask=lambda self, state, seed: self._ask(state, Generator(Philox(key=seed)))),
        "ask of the strategy broken draws 20 of 20 genomes with generation 99 as in another: draw from .*",
    ),
    "small seeds": (
        broken(
            ask=lambda self, state, seed: self._ask(
                state, Generator(Philox(key=[np.array(seed, np.int64), int(state["generation"])]))
            )
        ),
        r"ask of the strategy broken, with the seed 18446744073709551615, raised OverflowError \(.*",
    ),
    "no count of generations": (
        broken(tell=lambda self, state, genomes, fitness: {**state, "generation": np.asarray(0)}),
        r"the state of the strategy broken has generation 0 after the first tell\(\): leave tell\(\) to .*",
    ),
    "entries that come": (
        telling(
            lambda self, state, genomes, fitness: {"center": genomes[fitness.argmax()], "best": fitness.max()}
        ),
        "the state of the strategy broken has 'best' only after the first generation: name the same .*",
    ),
    "any arrays": (
        unguarded(lambda self, state, genomes, fitness: {"center": genomes[0]}),
        r"tell of the strategy broken takes genomes of shape \(19, 10\) with 20 numbers of fitness: .*",
    ),
    "a spread of no number": (
        broken(spread=lambda self, state: np.full(3, 0.3)),
        r"spread of the strategy broken is array\(\[0.3, 0.3, 0.3\]\): it is one finite number above 0.",
    ),
    "a wrong spread": (
        broken(spread=lambda self, state: 1.0),
        f"spread of the strategy broken is 1, but its genomes are {N} around their center .*: return the "
        "deviation .*",
    ),
    "downwards": (
        telling(lambda self, state, genomes, fitness: Hill._tell(self, state, genomes, -fitness)),
        r"the strategy broken does not climb: 50 generations up the sphere from \(1, ..., 1\) changed the "
        f"fitness of its center by -{N}; larger fitness is better, .*",
    ),
    "fitness by its size": (
        telling(proportional),
        "the strategy broken comes to other genomes where the fitness is given times 2: use ranks alone, .*",
    ),
}
LATER: dict[str, tuple[Any, tuple[str, ...], str]] = {  # told by no earlier law, but by those left out
    "a memory nobody sees": (
        broken(_ask=counting),
        SKIPPED,
        "the strategy broken resumes from a saved state to another center: whatever decides what comes .*",
    ),
    "a spread that walks": (
        broken(
            _start=lambda self, center: {"center": center, "sigma": np.asarray(self.sigma)},
            _tell=growing,
            spread=lambda self, state: float(state["sigma"]),
            _ask=lambda self, state, rng: (
                state["center"] + state["sigma"] * rng.standard_normal((self.size(10), state["center"].size))
            ),
        ),
        ("climbs", "ranks"),
        f"the strategy broken has a spread of {N}, from 0.3, after 200 generations in which all fitness is "
        "0.0: give equals equal shares.",
    ),
    "NaN as the best": (
        unguarded(loving_nan),
        ("generations",),
        "the strategy broken comes to other genomes where the worst fitness is given as nan: take NaN for .*",
    ),
    "equals that lead away": (
        unguarded(leaving),
        ("generations",),
        "center of the strategy broken is -inf after 200 generations in which all fitness is 0.0: keep .*",
    ),
    "a slope that leads out": (
        unguarded(overflowing),
        ("generations",),
        "center of the strategy broken is inf after 1000 generations on an endless slope: keep the step .*",
    ),
}


@pytest.mark.parametrize(("strategy", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_strategy_is_refused_by_its_sentence(strategy: Any, sentence: str) -> None:
    known = dict(STRATEGIES)
    with pytest.raises(CheckError) as caught:
        check_strategy(strategy)
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)
    assert known == STRATEGIES


@pytest.mark.parametrize(("strategy", "skip", "sentence"), LATER.values(), ids=LATER)
def test_what_one_law_lets_pass_another_refuses(strategy: Any, skip: tuple[str, ...], sentence: str) -> None:
    COUNTS.clear()
    with pytest.raises(CheckError) as caught:
        check_strategy(strategy, skip=skip)
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)


def test_a_setting_without_a_default_is_refused_even_where_it_is_given() -> None:
    with pytest.raises(CheckError, match="the setting speed of the strategy needy has no default: give one"):
        check_strategy(Needy, speed=1.0)


def test_a_sound_strategy_of_ones_own_keeps_the_laws_and_leaves_no_trace() -> None:
    known = dict(STRATEGIES)
    check_strategy(Hill, sigma=0.2)
    assert known == STRATEGIES


def test_an_unknown_setting_or_law_is_refused() -> None:
    with pytest.raises(
        CheckError, match="the strategy hill has no setting 'sgima': it knows population, sigma"
    ):
        check_strategy(Hill, sgima=1.0)
    with pytest.raises(
        UserError, match="check_strategy has no law 'rank' to skip: it knows settings, starts"
    ):
        check_strategy(Hill, skip="rank")
    with pytest.raises(UserError, match="dimension is 1; check_strategy searches among at least 2 weights"):
        check_strategy(Hill, dimension=1)


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in STRATEGIES),
    ("openai_es", {"population": 20, "weight_decay": 0.0}),
    ("pgpe", {"population": 20, "max_speed": 0.02}),
    *((name, {"sigma": 0.5}) for name in ("snes", "xnes", "cma_es", "sep_cma_es")),
    ("genetic", {"population": 50, "parents": 10, "sigma": 0.02}),
    *((name, {"patience": 30}) for name in ("cma_es", "sep_cma_es")),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_our_strategies_keep_the_laws(name: str, settings: dict[str, Any]) -> None:
    check_strategy(name, **settings)
