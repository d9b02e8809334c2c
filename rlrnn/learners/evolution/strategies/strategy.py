"""What a strategy is: settings that turn a state into genomes, and their fitness into the next state.

Letters: P genomes in a generation, D weights in a genome. All strategies look at ranks alone, so nothing
depends on the scale of the fitness, and -inf (or NaN, which counts as that) is a fitness like any other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import ArrayLike, NDArray

from rlrnn.common.settings import check_number, check_whole, plain
from rlrnn.errors import UserError

Array = NDArray[np.float64]
State = dict[str, NDArray[Any]]  # arrays by name, scalars as arrays of shape (): what a checkpoint keeps
Count = Annotated[int, 1]  # a whole number of at least 1

WIDEST = 1e10  # spread that no search outgrows: far from any useful weight, far from overflow
SMALLEST = 1e-10  # standard deviation that float32 weights near 1 no longer show
MATRIX_LIMIT = 2000  # weights of which a strategy may keep a matrix [D, D]


@dataclass(frozen=True)
class Strategy(ABC):
    """A family of search distributions, told apart by its settings; it holds nothing that changes."""

    population: Count | None = None  # genomes per generation; not given: a function of D

    def __post_init__(self) -> None:
        self._whole("population", 2)

    def size(self, dimension: int) -> int:
        """P for genomes of D weights."""
        return self._default_size(dimension) if self.population is None else self.population

    def start(self, center: ArrayLike) -> State:
        """The state before the first generation, around a genome [D]."""
        center = np.array(center, np.float64)
        if center.ndim != 1 or not center.size or not np.isfinite(center).all():
            raise UserError(
                f"the search cannot start at an array of shape {center.shape}, with "
                f"{np.isfinite(center).sum()} finite numbers; give one row of finite weights."
            )
        return {"generation": np.asarray(0), **self._start(center)}

    def ask(self, state: State, seed: int) -> Array:
        """The genomes [P, D] of this generation, a pure function of state and seed (0 to 2**64 - 1)."""
        key = np.array([seed, int(state["generation"])], np.uint64)
        return self._ask(state, Generator(Philox(key=key)))

    def tell(self, state: State, genomes: ArrayLike, fitness: ArrayLike) -> State:
        """The next generation's state, given the fitness [P] of genomes [P, D]; larger is better.

        An update that leaves the range of useful numbers is not made.
        """
        genomes, fitness = np.asarray(genomes, np.float64), np.asarray(fitness, np.float64)
        dimension = self.center(state).size
        wanted = (self.size(dimension), dimension)
        if genomes.shape != wanted or fitness.shape != wanted[:1]:
            raise UserError(
                f"genomes have shape {genomes.shape} and their fitness {fitness.shape}; they must have "
                f"{wanted} and {wanted[:1]}, as ask() gave them."
            )
        fitness = np.where(np.isnan(fitness), -np.inf, fitness)
        later = {"generation": np.asarray(state["generation"] + 1)}
        with np.errstate(all="ignore"):
            update = {name: np.asarray(value) for name, value in self._tell(state, genomes, fitness).items()}
            new = {**update, **later}
            useful = all(np.isfinite(value).all() for value in new.values()) and self.spread(new) <= WIDEST
        return new if useful else {**state, **later}

    def center(self, state: State) -> Array:
        """The genome [D] that the search stands for."""
        return state["center"]

    @abstractmethod
    def spread(self, state: State) -> float:
        """Standard deviation of a genome's weight (root mean square over the weights)."""

    @abstractmethod
    def _default_size(self, dimension: int) -> int: ...

    @abstractmethod
    def _start(self, center: Array) -> State: ...

    @abstractmethod
    def _ask(self, state: State, rng: Generator) -> Array: ...

    @abstractmethod
    def _tell(self, state: State, genomes: Array, fitness: Array) -> dict[str, Any]: ...

    def _whole(self, name: str, low: int, *, even: bool = False) -> None:
        """Refuse a setting that is no whole number of at least ``low``; None passes if it is the default."""
        value, whose = self._plain(name), f"{type(self).__name__}: {name}"
        if self._left_out(name):
            return
        check_whole(whose, value, low)
        if even and value % 2:
            raise UserError(f"{whose} is {value}, but must be even, as genomes come in mirrored pairs.")

    def _number(self, name: str, low: float, below: float = math.inf, *, above: bool = True) -> None:
        """Refuse a setting that is no number above (or at) ``low`` and below ``below``; None as above."""
        value = self._plain(name)
        if not self._left_out(name):
            check_number(f"{type(self).__name__}: {name}", value, low, below, "()" if above else "[)")

    def _plain(self, name: str) -> Any:
        """A setting, which is Python's own from now on, whatever a tuner gave."""
        value = plain(getattr(self, name))
        object.__setattr__(self, name, value)
        return value

    def _left_out(self, name: str) -> bool:
        return getattr(self, name) is None and getattr(type(self), name) is None


def best_first(fitness: Array) -> NDArray[np.intp]:
    """Members [P] in the order of their fitness, equal ones in the order of their draw, which is fair."""
    return np.argsort(-fitness, kind="stable")


def all_equal(fitness: Array) -> bool:
    """Whether all members are equal."""
    return bool((fitness == fitness[0]).all())


def shared_among_equals(values: Array, fitness: Array) -> Array:
    """Hand out ``values`` [P], the best member's first; members of equal fitness share theirs equally."""
    per_member = np.empty_like(values)
    per_member[best_first(fitness)] = values
    _, group, members = np.unique(fitness, return_inverse=True, return_counts=True)
    return np.asarray((np.bincount(group, per_member) / members)[group])


def root_mean_square(values: NDArray[Any]) -> float:
    """Of all entries."""
    return float(np.sqrt(np.mean(np.square(values))))


def refuse_matrix(strategy: str, instead: str, dimension: int) -> None:
    """Refuse matrices [D, D] that are too large to store and decompose."""
    if dimension > MATRIX_LIMIT:
        raise UserError(
            f"{strategy} keeps a matrix of {dimension} x {dimension} numbers for {dimension} weights, but at "
            f"most {MATRIX_LIMIT} weights are allowed: take {instead}, or a smaller network."
        )
