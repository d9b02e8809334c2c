"""Covariance matrix adaptation, full and separable.

Numbers in brackets are equations of Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv:1604.00772).
x = center + sigma y, y ~ N(0, C), y = C^(1/2) z with the symmetric root.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlrnn.learners.evolution.strategies.strategy import (
    SMALLEST,
    Array,
    Count,
    State,
    Strategy,
    all_equal,
    best_first,
    refuse_matrix,
)

CONDITION = 1e14  # of C, beyond which its smallest eigenvalues are raised


@dataclass(frozen=True)
class Rates:
    """What the published formulas make of D and P."""

    weights: Array  # [P] best first: the positive ones sum to 1
    mu_eff: float  # how many members with equal weights would average as well
    c_sigma: float  # of the path of sigma
    d_sigma: float  # damping of sigma
    c_c: float  # of the path of C
    c_1: float  # of C, for the path
    c_mu: float  # of C, for the members


def full_rates(dimension: int, population: int) -> Rates:
    """Table 1 of the tutorial, negative weights included."""
    n = dimension
    raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))  # (49)
    half = population // 2
    mu_eff, mu_eff_minus = (float(part.sum() ** 2 / (part**2).sum()) for part in (raw[:half], raw[half:]))
    c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)  # (57)
    c_mu = min(1 - c_1, 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff))  # (58)
    least = min(
        1 + c_1 / c_mu,  # (50)
        1 + 2 * mu_eff_minus / (mu_eff + 2),  # (51)
        (1 - c_1 - c_mu) / (n * c_mu),  # (52)
    )
    weights = np.where(raw >= 0, raw / raw[raw > 0].sum(), least * raw / -raw[raw < 0].sum())  # (53)
    c_sigma, d_sigma = _of_sigma(n, mu_eff, 5)  # (55)
    c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)  # (56)
    return Rates(weights, mu_eff, c_sigma, d_sigma, c_c, c_1, c_mu)


def separable_rates(dimension: int, population: int) -> Rates:
    """Ros & Hansen, "A simple modification in CMA-ES", PPSN (2008): C learns (D + 2) / 3 times as fast."""
    n, half = dimension, population // 2
    raw = np.maximum(0.0, math.log(half + 1) - np.log(np.arange(1, population + 1)))
    weights = raw / raw.sum()
    mu_eff = float(1 / (weights**2).sum())
    c_cov = 2 / (n + math.sqrt(2)) ** 2 / mu_eff
    c_cov += (1 - 1 / mu_eff) * min(1.0, (2 * mu_eff - 1) / ((n + 2) ** 2 + mu_eff))
    c_cov = min(1.0, c_cov * (n + 2) / 3)
    c_sigma, d_sigma = _of_sigma(n, mu_eff, 3)
    return Rates(weights, mu_eff, c_sigma, d_sigma, 4 / (n + 4), c_cov / mu_eff, c_cov * (1 - 1 / mu_eff))


def _of_sigma(n: int, mu_eff: float, offset: int) -> tuple[float, float]:
    c_sigma = (mu_eff + 2) / (n + mu_eff + offset)
    return c_sigma, 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma


@dataclass(frozen=True)
class Cma(Strategy):
    """What the full and the separable strategy share: P is 4 + floor(3 ln D) if not given (48)."""

    sigma: float = 1.0  # first step size: the standard deviation of every weight
    sigma_min: float = SMALLEST  # step size that it does not fall below
    patience: Count | None = (
        None  # generations without a new best before it begins again; none: it never does
    )

    def __post_init__(self) -> None:
        self._whole("population", 4)
        self._number("sigma", 0)
        self._number("sigma_min", 0)
        self._whole("patience", 1)

    def _default_size(self, dimension: int) -> int:
        return 4 + math.floor(3 * math.log(dimension))

    def _start(self, center: Array) -> State:
        state = {
            "center": center,
            "sigma": np.asarray(max(self.sigma, self.sigma_min)),
            "sigma_path": np.zeros(center.size),
            "path": np.zeros(center.size),
        }
        if self.patience is None:
            return state
        least = np.asarray(np.finfo(np.float64).min)
        return {**state, "origin": center, "begun": np.asarray(0), "record": least, "stale": np.asarray(0)}

    def _ask(self, state: State, rng: Generator) -> Array:
        center = state["center"]
        z = rng.standard_normal((self.size(center.size), center.size))
        return np.asarray(center + state["sigma"] * self._colored(state, z))  # (38-40)

    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        if self.patience is None:
            return self._adapt(state, genomes, fitness)
        best = max(fitness.max(), np.finfo(np.float64).min)
        stale = 0 if best > state["record"] else int(state["stale"]) + 1
        if stale < self.patience:
            update = self._adapt(state, genomes, fitness)
            return {**state, **update, "record": np.maximum(best, state["record"]), "stale": stale}
        # Auger & Hansen, "A restart CMA evolution strategy", CEC (2005), here without a larger population:
        # from where it began, with other draws, as these depend on the generation.
        return {**self._start(state["origin"]), "begun": state["generation"] + 1}

    def _adapt(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        if all_equal(fitness):
            return state  # else sigma and C would take a random walk, which leads downwards in the long run
        center, sigma = state["center"], state["sigma"]
        n = center.size
        rates = self._rates(n, len(fitness))
        w = rates.weights
        y = (genomes[best_first(fitness)] - center) / sigma  # [P, D] ~ N(0, C)
        z = self._white(state, y)  # [P, D] ~ N(0, I)
        positive = np.maximum(w, 0.0)
        step = positive @ y  # (41)

        keep = 1 - rates.c_sigma
        push = math.sqrt(rates.c_sigma * (2 - rates.c_sigma) * rates.mu_eff)
        sigma_path = keep * state["sigma_path"] + push * (positive @ z)  # (43)
        expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))  # of |N(0, I)|
        length = np.linalg.norm(sigma_path)
        age = int(state["generation"]) + 1 - int(state.get("begun", 0))
        h_sigma = length / math.sqrt(1 - keep ** (2 * age)) < (1.4 + 2 / (n + 1)) * expected

        lag = rates.c_c * (2 - rates.c_c)
        path = (1 - rates.c_c) * state["path"] + h_sigma * math.sqrt(lag * rates.mu_eff) * step  # (45)
        length_of = (z * z).sum(axis=1) + 1e-8  # the small number is for a genome at the very center
        members = np.where(w >= 0, w, w * n / length_of)  # (46)
        stay = 1 + rates.c_1 * (not h_sigma) * lag - rates.c_1 - rates.c_mu * w.sum()
        covariance = (  # (47)
            stay * state["covariance"]
            + rates.c_1 * self._squares(np.ones(1), path[None])
            + rates.c_mu * self._squares(members, y)
        )
        growth = np.exp(rates.c_sigma / rates.d_sigma * (length / expected - 1))  # (44)
        return {
            "center": center + sigma * step,  # (42)
            "sigma": np.maximum(self.sigma_min, sigma * growth),
            "sigma_path": sigma_path,
            "path": path,
            **self._roots(state, covariance, rates, age),
        }

    @abstractmethod
    def _rates(self, dimension: int, population: int) -> Rates: ...

    @abstractmethod
    def _colored(self, state: State, z: Array) -> Array:
        """C^(1/2) z of each row."""

    @abstractmethod
    def _white(self, state: State, y: Array) -> Array:
        """C^(-1/2) y of each row."""

    @abstractmethod
    def _squares(self, weights: Array, y: Array) -> Array:
        """The weighted sum of the rows' outer products, or what C keeps of them."""

    @abstractmethod
    def _roots(self, state: State, covariance: Array, rates: Rates, age: int) -> State:
        """C as it is kept, with what its roots are made of."""


@dataclass(frozen=True)
class CmaEs(Cma):
    """The full strategy: all correlations between weights, of which there may be at most 2000."""

    def spread(self, state: State) -> float:
        return float(state["sigma"]) * math.sqrt(np.diagonal(state["covariance"]).mean())

    def _start(self, center: Array) -> State:
        refuse_matrix("cma_es", "sep_cma_es", center.size)
        eye = np.eye(center.size)
        return {**super()._start(center), "covariance": eye, "axes": eye, "scales": np.ones(center.size)}

    def _rates(self, dimension: int, population: int) -> Rates:
        return full_rates(dimension, population)

    def _colored(self, state: State, z: Array) -> Array:
        axes = state["axes"]
        return np.asarray((z @ axes * state["scales"]) @ axes.T)

    def _white(self, state: State, y: Array) -> Array:
        axes = state["axes"]
        return np.asarray((y @ axes / state["scales"]) @ axes.T)

    def _squares(self, weights: Array, y: Array) -> Array:
        return np.asarray((y.T * weights) @ y)

    def _roots(self, state: State, covariance: Array, rates: Rates, age: int) -> State:
        gap = max(1, int(1 / (10 * len(covariance) * (rates.c_1 + rates.c_mu))))  # appendix B.2
        if age % gap:
            return {"covariance": covariance, "axes": state["axes"], "scales": state["scales"]}
        covariance = (covariance + covariance.T) / 2
        squares, axes = np.linalg.eigh(covariance)
        return {"covariance": covariance, "axes": axes, "scales": np.sqrt(_floored(squares))}


@dataclass(frozen=True)
class SepCmaEs(Cma):
    """Ros & Hansen 2008: C is a diagonal, so that time and memory grow with D alone."""

    def spread(self, state: State) -> float:
        return float(state["sigma"]) * math.sqrt(state["covariance"].mean())

    def _start(self, center: Array) -> State:
        return {**super()._start(center), "covariance": np.ones(center.size)}

    def _rates(self, dimension: int, population: int) -> Rates:
        return separable_rates(dimension, population)

    def _colored(self, state: State, z: Array) -> Array:
        return np.asarray(z * np.sqrt(state["covariance"]))

    def _white(self, state: State, y: Array) -> Array:
        return np.asarray(y / np.sqrt(state["covariance"]))

    def _squares(self, weights: Array, y: Array) -> Array:
        return np.asarray(weights @ (y * y))

    def _roots(self, state: State, covariance: Array, rates: Rates, age: int) -> State:
        return {"covariance": _floored(covariance)}


def _floored(squares: NDArray[np.float64]) -> Array:
    return np.asarray(np.maximum(squares, squares.max() / CONDITION))
