"""A simple genetic algorithm: truncation selection, Gaussian mutation, elites; no crossover."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from rlrnn.errors import UserError
from rlrnn.learners.evolution.strategies.strategy import Array, Count, State, Strategy, best_first


@dataclass(frozen=True)
class Genetic(Strategy):
    """Such et al., "Deep neuroevolution" (2017), algorithm 1; defaults are those for Atari.

    Theirs begins with networks that were initialised independently, this one with mutants of the center, as
    far from it as ``first_sigma`` says. Elites are evaluated again in every generation.
    """

    population: Count = 1000  # genomes per generation, elites among them
    parents: Count = 20  # best genomes, of which all children are mutants, each as likely
    elites: int = 1  # best genomes that stay as they are
    sigma: float = 0.002  # standard deviation of a mutation, of every weight
    first_sigma: float | None = None  # of the first generation; not given: sigma

    def __post_init__(self) -> None:
        self._whole("population", 2)
        self._whole("parents", 1)
        self._whole("elites", 0)
        self._number("sigma", 0)
        self._number("first_sigma", 0)
        if not self.elites <= self.parents <= self.population or self.elites == self.population:
            raise UserError(
                f"Genetic: {self.elites} elites, {self.parents} parents and {self.population} members do "
                "not fit together; elites must be parents, parents members, and one member at least a child."
            )

    def center(self, state: State) -> Array:
        return np.asarray(state["parents"][0])

    def spread(self, state: State) -> float:
        sigma = self._sigma(state)
        return math.sqrt(state["parents"].var(axis=0).mean() + sigma**2)

    def _sigma(self, state: State) -> float:
        first = state["generation"] == 0 and self.first_sigma is not None
        return float(self.first_sigma if first and self.first_sigma is not None else self.sigma)

    def _default_size(self, dimension: int) -> int:
        return self.population

    def _start(self, center: Array) -> State:
        return {"parents": center[None]}  # [at most parents, D], best first

    def _ask(self, state: State, rng: Generator) -> Array:
        parents = state["parents"]
        elites = parents[: self.elites]
        parent = rng.integers(len(parents), size=self.population - len(elites))
        noise = rng.standard_normal((len(parent), parents.shape[1]))
        return np.concatenate((elites, parents[parent] + self._sigma(state) * noise))

    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        return {"parents": genomes[best_first(fitness)[: self.parents]]}
