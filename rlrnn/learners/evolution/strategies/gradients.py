"""Strategies that follow an estimated gradient: OpenAI-ES with Adam, PGPE with ClipUp.

Both sample mirrored pairs (row i and row i + P/2 lie opposite each other) and weigh members by centred ranks,
from -1/2 for the worst to 1/2 for the best (Salimans et al. 2017, section 2.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from rlrnn.learners.evolution.strategies.strategy import (
    SMALLEST,
    Array,
    Count,
    State,
    Strategy,
    all_equal,
    root_mean_square,
    shared_among_equals,
)

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's: Kingma & Ba 2015, algorithm 1


def mirrored(center: Array, sigma: Array, population: int, rng: Generator) -> Array:
    """Genomes [P, D]: P/2 draws around the center, then their mirror images."""
    noise = sigma * rng.standard_normal((population // 2, center.size))
    return np.concatenate((center + noise, center - noise))


def pairs(genomes: Array, fitness: Array) -> tuple[Array, Array, Array]:
    """The noise [P/2, D] of each pair, and the centred ranks of its two members."""
    ranks = shared_among_equals(np.linspace(0.5, -0.5, len(fitness)), fitness)
    half = len(fitness) // 2
    return (genomes[:half] - genomes[half:]) / 2, ranks[:half], ranks[half:]


@dataclass(frozen=True)
class OpenAiEs(Strategy):
    """Salimans, Ho, Chen, Sidor & Sutskever, "Evolution strategies as a scalable alternative" (2017).

    Defaults are those of their published configuration, except for the population (theirs, for a cluster, is
    10,000). The search never narrows, so that ``sigma`` and ``learning_rate`` bound what it can find.
    """

    population: Count = 200  # genomes per generation, an even number
    sigma: float = 0.02  # standard deviation of every weight
    learning_rate: float = 0.01  # of Adam: the longest step of a weight, nearly
    weight_decay: float = 0.005  # pull of every weight towards 0, beside a gradient in centred ranks

    def __post_init__(self) -> None:
        self._whole("population", 2, even=True)
        self._number("sigma", 0)
        self._number("learning_rate", 0)
        self._number("weight_decay", 0, above=False)

    def spread(self, state: State) -> float:
        return self.sigma

    def _default_size(self, dimension: int) -> int:
        return self.population

    def _start(self, center: Array) -> State:
        zeros = np.zeros_like(center)
        return {"center": center, "momentum": zeros, "square": zeros, "steps": np.asarray(0)}

    def _ask(self, state: State, rng: Generator) -> Array:
        center = state["center"]
        return mirrored(center, np.asarray(self.sigma), self.population, rng)

    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        noise, plus, minus = pairs(genomes, fitness)
        if all_equal(fitness):
            return state  # else Adam would lengthen the weight decay, alone, to full steps towards 0
        # Their algorithm 2 has 1 / (P sigma); their code, whose weight decay this is, leaves out the sigma.
        gradient = (plus - minus) @ (noise / self.sigma) / len(fitness)
        descent = self.weight_decay * state["center"] - gradient
        steps = int(state["steps"]) + 1
        momentum = BETA_1 * state["momentum"] + (1 - BETA_1) * descent
        square = BETA_2 * state["square"] + (1 - BETA_2) * descent**2
        length = np.sqrt(square / (1 - BETA_2**steps)) + EPSILON
        step = self.learning_rate * momentum / (1 - BETA_1**steps) / length
        return {
            "center": state["center"] - step,
            "momentum": momentum,
            "square": square,
            "steps": steps,
        }


@dataclass(frozen=True)
class Pgpe(Strategy):
    """Sehnke et al., "Parameter-exploring policy gradients" (2010), climbing by ClipUp.

    ClipUp, its rules of thumb and the centred ranks: Toklu, Liskowski & Srivastava, PPSN (2020); defaults are
    those of their published code, the population that for the lunar lander.
    """

    population: Count = 200  # genomes per generation, an even number
    max_speed: float = 0.15  # longest step of the center
    step_size: float | None = None  # step that a gradient of any length adds; not given: max_speed / 2
    momentum: float = 0.9  # part of the velocity that stays
    sigma: float | None = None  # first standard deviation; not given: 15 max_speed / sqrt D
    sigma_min: float = SMALLEST  # standard deviation that no weight falls below
    sigma_learning_rate: float = 0.1  # of the standard deviations
    sigma_max_change: float = 0.2  # largest change of a standard deviation in a generation, as a part of it

    def __post_init__(self) -> None:
        self._whole("population", 2, even=True)
        for name in ("max_speed", "step_size", "sigma", "sigma_min"):
            self._number(name, 0)
        self._number("momentum", 0, 1, above=False)
        self._number("sigma_learning_rate", 0, above=False)
        self._number("sigma_max_change", 0, 1)

    def spread(self, state: State) -> float:
        return root_mean_square(state["sigma"])

    def _default_size(self, dimension: int) -> int:
        return self.population

    def _start(self, center: Array) -> State:
        sigma = 15 * self.max_speed / math.sqrt(center.size) if self.sigma is None else self.sigma
        return {
            "center": center,
            "sigma": np.full(center.size, max(sigma, self.sigma_min)),
            "velocity": np.zeros(center.size),
        }

    def _ask(self, state: State, rng: Generator) -> Array:
        return mirrored(state["center"], state["sigma"], self.population, rng)

    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]:
        noise, plus, minus = pairs(genomes, fitness)
        sigma = state["sigma"]
        # Sehnke et al. 2010, symmetric sampling, as means over pairs; the baseline is the ranks' own mean, 0.
        gradient = (plus - minus) / 2 @ noise / len(noise)
        sigma_gradient = (plus + minus) / 2 @ ((noise**2 - sigma**2) / sigma) / len(noise)
        change = self.sigma_max_change * sigma
        return {
            **self._clip_up(state, gradient),
            "sigma": np.maximum(
                self.sigma_min, sigma + np.clip(self.sigma_learning_rate * sigma_gradient, -change, change)
            ),
        }

    def _clip_up(self, state: State, gradient: Array) -> dict[str, Any]:
        """Toklu et al. 2020, algorithm 1; a gradient of length 0 adds nothing."""
        step_size = self.max_speed / 2 if self.step_size is None else self.step_size
        length = float(np.linalg.norm(gradient))
        velocity = self.momentum * state["velocity"]
        if length > 0:
            velocity = velocity + step_size * (gradient / length)
        speed = float(np.linalg.norm(velocity))
        if speed > self.max_speed:
            velocity = self.max_speed * (velocity / speed)
        return {"center": state["center"] + velocity, "velocity": velocity}
