"""Natural evolution strategies: Wierstra, Schaul, Glasmachers, Sun, Peters & Schmidhuber, JMLR 15 (2014)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from rlrnn.learners.evolution.strategies.strategy import (
    SMALLEST,
    Array,
    State,
    Strategy,
    refuse_matrix,
    root_mean_square,
    shared_among_equals,
)


def utilities(population: int) -> Array:
    """What the best, the second, ... member weighs [P]; the sum is 0 (2014, section 3.1)."""
    raw = np.maximum(0.0, math.log(population / 2 + 1) - np.log(np.arange(1, population + 1)))
    return np.asarray(raw / raw.sum() - 1 / population)


@dataclass(frozen=True)
class Snes(Strategy):
    """Separable NES (2014, algorithm 6): one standard deviation per weight.

    P is 4 + floor(3 ln D) if not given (2014, table 1).
    """

    sigma: float = 1.0  # first standard deviation of every weight
    sigma_min: float = SMALLEST  # standard deviation that no weight falls below
    learning_rate: float = 1.0  # of the center, eta_mu
    sigma_learning_rate: float | None = None  # eta_sigma; not given: (3 + ln D) / (5 sqrt D)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sigma", "learning_rate", "sigma_learning_rate"):
            self._number(name, 0)
        self._number("sigma_min", 0)

    def spread(self, state: State) -> float:
        return root_mean_square(state["sigma"])

    def _default_size(self, dimension: int) -> int:
        return 4 + math.floor(3 * math.log(dimension))

    def _start(self, center: Array) -> State:
        return {"center": center, "sigma": np.full(center.size, max(self.sigma, self.sigma_min))}

    def _ask(self, state: State, rng: Generator) -> Array:
        center, sigma = state["center"], state["sigma"]
        return np.asarray(center + sigma * rng.standard_normal((self.size(center.size), center.size)))

    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        center, sigma = state["center"], state["sigma"]
        rate = self.sigma_learning_rate
        if rate is None:
            rate = (3 + math.log(center.size)) / (5 * math.sqrt(center.size))  # table 1
        s = (genomes - center) / sigma  # [P, D] ~ N(0, 1)
        u = shared_among_equals(utilities(len(fitness)), fitness)
        return {
            "center": center + self.learning_rate * sigma * (u @ s),
            "sigma": np.maximum(self.sigma_min, sigma * np.exp(rate / 2 * (u @ (s * s - 1)))),
        }


@dataclass(frozen=True)
class XNes(Strategy):
    """Exponential NES (2014, algorithm 5): x = center + sigma B s, det B = 1; D is at most 2000.

    P is 4 + floor(3 ln D) if not given (2014, table 1).
    """

    sigma: float = 1.0  # first standard deviation of every weight
    sigma_min: float = SMALLEST  # step size that it does not fall below
    learning_rate: float = 1.0  # of the center, eta_mu
    sigma_learning_rate: float | None = None  # eta_sigma; not given: (9 + 3 ln D) / (5 D sqrt D)
    shape_learning_rate: float | None = None  # eta_B; not given: the same formula

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sigma", "sigma_min", "learning_rate", "sigma_learning_rate", "shape_learning_rate"):
            self._number(name, 0)

    def spread(self, state: State) -> float:
        return float(state["sigma"]) * math.sqrt(len(state["shape"])) * root_mean_square(state["shape"])

    def _default_size(self, dimension: int) -> int:
        return 4 + math.floor(3 * math.log(dimension))

    def _start(self, center: Array) -> State:
        refuse_matrix("xnes", "snes", center.size)
        sigma = np.asarray(max(self.sigma, self.sigma_min))
        return {"center": center, "sigma": sigma, "shape": np.eye(center.size)}

    def _ask(self, state: State, rng: Generator) -> Array:
        center = state["center"]
        s = rng.standard_normal((self.size(center.size), center.size))
        return np.asarray(center + state["sigma"] * (s @ state["shape"].T))

    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        center, sigma, shape = state["center"], state["sigma"], state["shape"]
        dimension = center.size
        default = (9 + 3 * math.log(dimension)) / (5 * dimension * math.sqrt(dimension))  # table 1
        sigma_rate, shape_rate = (
            default if rate is None else rate for rate in (self.sigma_learning_rate, self.shape_learning_rate)
        )
        s = np.linalg.solve(shape, (genomes - center).T / sigma)  # [D, P] ~ N(0, I)
        u = shared_among_equals(utilities(len(fitness)), fitness)
        g_matrix = (s * u) @ s.T - u.sum() * np.eye(dimension)  # G_M
        g_sigma = np.trace(g_matrix) / dimension
        growth, axes = np.linalg.eigh(g_matrix - g_sigma * np.eye(dimension))  # of G_B
        return {
            "center": center + self.learning_rate * sigma * (shape @ (s @ u)),
            "sigma": np.maximum(self.sigma_min, sigma * np.exp(sigma_rate / 2 * g_sigma)),
            "shape": shape @ ((axes * np.exp(shape_rate / 2 * growth)) @ axes.T),
        }
