"""A search strategy under test: its name, how to make it, and a search by it.

Letters: P genomes in a generation, D weights in a genome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlrnn.learners.evolution.strategies import State, Strategy, make_strategy
from rlrnn.learners.evolution.strategies.strategy import Array
from rlrnn.testing.failing import running

Function = Callable[[Array], Array]  # genomes [P, D] -> fitness [P]


@dataclass(frozen=True)
class StrategyPart:
    """What ``check_strategy`` was given."""

    name: str  # in the registry
    dimension: int  # D
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"the strategy {self.name}"

    def make(self, **settings: Any) -> Strategy:
        """A new one, with these settings added to its own."""
        with running(f"the constructor of {self}"):
            return make_strategy(self.name, **{**self.settings, **settings})

    def start(self, strategy: Strategy, center: Array) -> State:
        """``strategy.start``, with errors as one sentence."""
        with running(f"start of {self}, given {center.size} weights,"):
            return strategy.start(center)

    def ask(self, strategy: Strategy, state: State, seed: int = 1) -> Array:
        """``strategy.ask``, with errors as one sentence."""
        with running(f"ask of {self}, with the seed {seed},"):
            return strategy.ask(state, seed)

    def tell(self, strategy: Strategy, state: State, genomes: Array, fitness: Array) -> State:
        """``strategy.tell``, with errors as one sentence."""
        with running(f"tell of {self}, given {len(genomes)} genomes,"):
            return strategy.tell(state, genomes, fitness)

    def search(
        self, strategy: Strategy, function: Function, center: Array, generations: int, seed: int = 1
    ) -> State:
        """The state after so many generations from a center [D]."""
        state = self.start(strategy, center)
        for _ in range(generations):
            genomes = self.ask(strategy, state, seed)
            state = self.tell(strategy, state, genomes, function(genomes))
        return state

    def searched(self, strategy: Strategy) -> tuple[State, Array, Array]:
        """A state some generations old, the genomes [P, D] asked of it, and their fitness [P]."""
        center = np.linspace(-1, 1, self.dimension)
        state = self.search(strategy, rosenbrock, center, 5, seed=8)
        genomes = self.ask(strategy, state, 8)
        return state, genomes, rosenbrock(genomes)


def sphere(genomes: Array) -> Array:
    """Largest, 0, at 0."""
    with np.errstate(over="ignore"):
        return np.asarray(-(genomes**2).sum(-1))


def rosenbrock(genomes: Array) -> Array:
    """A bent valley, where no two genomes are alike; of one weight, a parabola. Largest, 0, at 1."""
    ahead, here = genomes[..., 1:], genomes[..., :-1]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(-(100 * (ahead - here**2) ** 2).sum(-1) - ((1 - genomes) ** 2).sum(-1))


def difference(one: State, other: State) -> str:
    """The first entry in which two states are not the same bytes; "" where there is none."""
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            return name
        a, b = np.asarray(one[name]), np.asarray(other[name])
        if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            return name
    return ""


def copied(state: State) -> State:
    """The state, of which nothing is shared."""
    return {name: np.array(value) for name, value in state.items()}
