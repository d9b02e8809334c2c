"""Strategies climb what they should, see ranks alone, and are what the papers' formulas say."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator, Philox
from scipy.linalg import expm, inv, sqrtm

from rlrnn.common.records import build
from rlrnn.errors import UserError
from rlrnn.learners.evolution.strategies import (
    STRATEGIES,
    Snes,
    State,
    Strategy,
    make_strategy,
    register_strategy,
)
from rlrnn.learners.evolution.strategies.cma import CmaEs, Rates, SepCmaEs, full_rates, separable_rates
from rlrnn.learners.evolution.strategies.genetic import Genetic
from rlrnn.learners.evolution.strategies.gradients import OpenAiEs, Pgpe
from rlrnn.learners.evolution.strategies.nes import XNes, utilities
from rlrnn.learners.evolution.strategies.strategy import WIDEST, Array, shared_among_equals

D = 10
SCALES = 1e6 ** (np.arange(D) / (D - 1))
Function = Callable[[Array], Array]


def sphere(x: Array) -> Array:
    return np.asarray(-(x**2).sum(-1))


def ellipsoid(x: Array) -> Array:
    return np.asarray(-(SCALES[: x.shape[-1]] * x**2).sum(-1))


def rosenbrock(x: Array) -> Array:
    """Largest, 0, at (1, ..., 1)."""
    ahead, here = x[..., 1:], x[..., :-1]
    return np.asarray(-(100 * (ahead - here**2) ** 2 + (1 - here) ** 2).sum(-1))


SMALL: dict[str, dict[str, Any]] = {  # settings for small problems
    "openai_es": {"population": 20, "weight_decay": 0.0},
    "pgpe": {"population": 20, "max_speed": 0.02},
    "snes": {"sigma": 0.5},
    "xnes": {"sigma": 0.5},
    "genetic": {"population": 50, "parents": 10, "sigma": 0.02},
    "cma_es": {"sigma": 0.5},
    "sep_cma_es": {"sigma": 0.5},
}
EVERY = pytest.mark.parametrize("name", STRATEGIES)
FOLLOWS_UTILITIES = ("openai_es", "pgpe", "snes", "xnes")


def small(name: str, **settings: Any) -> Strategy:
    return make_strategy(name, **{**SMALL[name], **settings})


def search(
    strategy: Strategy,
    function: Function,
    start: Array,
    evaluations: int,
    goal: float = math.inf,
    seed: int = 1,
) -> tuple[int, float, State]:
    """How many evaluations were made until one reached the goal, the best, and the last state."""
    state, made, best = strategy.start(start), 0, -math.inf
    while made < evaluations and best < goal:
        genomes = strategy.ask(state, seed)
        fitness = function(genomes)
        made, best = made + len(genomes), max(best, float(fitness.max()))
        state = strategy.tell(state, genomes, fitness)
    return made, best, state


# Evaluations that pycma 4.5.0 and cmaes 0.13.1 need from the same start and sigma, 5 seeds: CMA-ES 1,230 to
# 1,490 (sphere), 3,650 to 4,370 (ellipsoid), 4,570 to 5,620 (Rosenbrock); sep-CMA-ES 1,070 to 1,300, 2,300
# to 2,720, and over 60,000. Rosenbrock's valley is bent across the axes, which separable strategies feel, and
# those of a fixed step reach a fixed distance only: hence goals other than -1e-8.
COSTS = [
    ("cma_es", sphere, -1e-8, 1_800),
    ("cma_es", ellipsoid, -1e-8, 5_000),
    ("cma_es", rosenbrock, -1e-8, 6_500),
    ("sep_cma_es", sphere, -1e-8, 1_600),
    ("sep_cma_es", ellipsoid, -1e-8, 3_300),
    ("sep_cma_es", rosenbrock, -1.0, 20_000),
    pytest.param("sep_cma_es", rosenbrock, -1e-8, 120_000, marks=pytest.mark.slow),
    ("xnes", sphere, -1e-8, 7_000),
    ("xnes", ellipsoid, -1e-8, 10_500),
    ("xnes", rosenbrock, -1e-8, 12_500),
    ("snes", sphere, -1e-8, 2_200),
    ("snes", ellipsoid, -1e-8, 3_300),
    ("snes", rosenbrock, -6.0, 10_000),
    pytest.param("snes", rosenbrock, -2.0, 60_000, marks=pytest.mark.slow),
    ("openai_es", sphere, -1e-2, 3_500),  # at 0.01 a generation and weight, 2,000 lead straight there
    ("openai_es", ellipsoid, -50.0, 20_000),
    ("openai_es", rosenbrock, -0.5, 20_000),
    ("pgpe", sphere, -1e-2, 4_300),  # at 0.02 a generation, 3,200 lead straight there
    ("pgpe", ellipsoid, -1e-1, 11_000),
    ("pgpe", rosenbrock, -0.5, 20_000),
    ("genetic", sphere, -1e-2, 7_000),
    ("genetic", ellipsoid, -200.0, 20_000),
    ("genetic", rosenbrock, -3.0, 20_000),
]


@pytest.mark.parametrize(("name", "function", "goal", "cost"), COSTS)
def test_known_hills_are_climbed_at_the_known_cost(
    name: str, function: Function, goal: float, cost: int
) -> None:
    start = np.zeros(D) if function is rosenbrock else np.ones(D)
    made, best, _ = search(small(name), function, start, cost, goal)
    assert best >= goal, f"{best} after {made} evaluations"


@EVERY
def test_a_strictly_monotone_transformation_changes_no_bit(name: str) -> None:
    def in_ranks(x: Array) -> Array:
        ranks = np.argsort(np.argsort(rosenbrock(x))).astype(float)
        return np.where(ranks == 0, -np.inf, ranks**3)

    strategy = small(name)
    plain = search(strategy, rosenbrock, np.zeros(D), 1_000)[2]
    ranked = search(strategy, in_ranks, np.zeros(D), 1_000)[2]
    assert_same_bits(plain, ranked)
    other = search(strategy, lambda x: np.asarray(np.abs(rosenbrock(x) + 9)), np.zeros(D), 1_000)[2]
    assert (strategy.center(other) != strategy.center(plain)).any()


class Turned(Generator):
    """Normal numbers of another generator, each row multiplied by a matrix."""

    def __init__(self, key: int, matrix: Array) -> None:
        super().__init__(Philox(key=key))
        self.matrix = matrix

    def standard_normal(self, size: Any) -> Any:  # type: ignore[override]
        return super().standard_normal(size) @ self.matrix.T


def twins(
    strategy: Strategy, state: State, image: State, of_x: Array, of_noise: Array
) -> tuple[State, State]:
    """Two searches on the same landscape, the second in coordinates that ``of_x`` made of the first's."""
    for generation in range(60):
        genomes = strategy._ask(state, Turned(generation, np.eye(D)))
        images = strategy._ask(image, Turned(generation, of_noise))
        np.testing.assert_allclose(images, genomes @ of_x.T, rtol=1e-6, atol=1e-9)
        fitness = rosenbrock(genomes)
        state = strategy.tell(state, genomes, fitness)
        image = strategy.tell(image, images, fitness)
    return state, image


def rotation() -> Array:
    return np.asarray(np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0])


@pytest.mark.parametrize("name", ["xnes", "cma_es"])
def test_a_turned_space_is_searched_alike(name: str) -> None:
    strategy, turn = small(name), rotation()
    center = np.random.default_rng(4).standard_normal(D)
    state, image = twins(strategy, strategy.start(center), strategy.start(turn @ center), turn, turn)
    np.testing.assert_allclose(image["center"], turn @ state["center"], rtol=1e-6)
    matrix = "shape" if name == "xnes" else "covariance"
    np.testing.assert_allclose(image[matrix], turn @ state[matrix] @ turn.T, rtol=1e-5, atol=1e-7)
    assert np.linalg.cond(state[matrix]) > 2


@pytest.mark.parametrize("name", ["snes", "sep_cma_es"])
def test_a_separable_strategy_does_not_turn_but_may_be_permuted_and_scaled(name: str) -> None:
    strategy, turn = small(name), rotation()
    center = np.random.default_rng(4).standard_normal(D)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        twins(strategy, strategy.start(center), strategy.start(turn @ center), turn, turn)
    rng = np.random.default_rng(5)
    permutation, scale = np.eye(D)[rng.permutation(D)], rng.uniform(0.1, 10, D)
    of_x = scale[:, None] * permutation
    image = strategy.start(of_x @ center)
    if name == "snes":
        image["sigma"] = image["sigma"] * scale
    else:
        image["covariance"] = image["covariance"] * scale**2
    state, image = twins(strategy, strategy.start(center), image, of_x, permutation)
    np.testing.assert_allclose(image["center"], of_x @ state["center"], rtol=1e-6)


def told(strategy: Strategy, generations: int = 5, seed: int = 8) -> tuple[State, Array, Array]:
    """A state some generations old, genomes asked of it, and their fitness."""
    state = search(strategy, rosenbrock, np.linspace(-1, 1, D), generations * strategy.size(D), seed=seed)[2]
    genomes = strategy.ask(state, seed)
    return state, genomes, rosenbrock(genomes)


def test_snes_is_the_formula() -> None:
    strategy = Snes()
    state, genomes, fitness = told(strategy)
    population, center, sigma = len(fitness), state["center"], state["sigma"]
    order = sorted(range(population), key=lambda i: fitness[i], reverse=True)
    raw = [max(0, math.log(population / 2 + 1) - math.log(k)) for k in range(1, population + 1)]
    new_center, new_sigma = [], []
    for d in range(D):
        s = [(genomes[i][d] - center[d]) / sigma[d] for i in order]
        u = [value / sum(raw) - 1 / population for value in raw]
        by_center = sum(a * b for a, b in zip(u, s, strict=True))
        by_sigma = sum(a * (b**2 - 1) for a, b in zip(u, s, strict=True))
        new_center.append(center[d] + sigma[d] * by_center)
        new_sigma.append(sigma[d] * math.exp((3 + math.log(D)) / (5 * math.sqrt(D)) / 2 * by_sigma))
    new = strategy.tell(state, genomes, fitness)
    np.testing.assert_allclose(new["center"], new_center, rtol=1e-12)
    np.testing.assert_allclose(new["sigma"], new_sigma, rtol=1e-12)
    faster = dataclasses.replace(strategy, learning_rate=2.0, sigma_learning_rate=0.0 + 1e-9)
    new = faster.tell(state, genomes, fitness)
    np.testing.assert_allclose(new["center"] - center, 2 * (np.array(new_center) - center), rtol=1e-9)
    np.testing.assert_allclose(new["sigma"], sigma, rtol=1e-8)


def test_xnes_is_the_formula_in_one_matrix() -> None:
    """A = sigma B is multiplied by exp((eta_sigma G_sigma I + eta_B G_B) / 2), by scipy's exponential."""
    strategy = XNes(sigma_learning_rate=0.2, shape_learning_rate=0.1)
    state, genomes, fitness = told(strategy, 20)
    a = state["sigma"] * state["shape"]
    order = np.argsort(fitness)[::-1]
    g_delta, g_m = np.zeros(D), np.zeros((D, D))
    for u, x in zip(utilities(len(fitness)), genomes[order], strict=True):
        s = inv(a) @ (x - state["center"])
        g_delta += u * s
        g_m += u * (np.outer(s, s) - np.eye(D))
    g_sigma = np.trace(g_m) / D * np.eye(D)
    new = strategy.tell(state, genomes, fitness)
    np.testing.assert_allclose(new["center"], state["center"] + a @ g_delta, rtol=1e-9)
    wanted = a @ expm(0.2 / 2 * g_sigma + 0.1 / 2 * (g_m - g_sigma))
    np.testing.assert_allclose(new["sigma"] * new["shape"], wanted, rtol=1e-8, atol=1e-10)
    assert np.linalg.det(new["shape"]) == pytest.approx(1)
    default = XNes().tell(state, genomes, fitness)
    rate = (9 + 3 * math.log(D)) / (5 * D * math.sqrt(D))
    assert default["sigma"] == pytest.approx(state["sigma"] * math.exp(rate / 2 * g_sigma[0, 0]), rel=1e-9)
    wanted = state["shape"] @ expm(rate / 2 * (g_m - g_sigma))
    np.testing.assert_allclose(default["shape"], wanted, rtol=1e-8, atol=1e-10)


def test_openai_es_is_torchs_adam_on_the_published_gradient() -> None:
    strategy = OpenAiEs(population=12, sigma=0.1, learning_rate=0.03, weight_decay=0.5)
    state = strategy.start(np.linspace(-1, 1, D))
    weights = torch.tensor(state["center"].copy(), requires_grad=True)
    adam = torch.optim.Adam([weights], lr=0.03, weight_decay=0.5)
    for _ in range(7):
        genomes = strategy.ask(state, 5)
        fitness = rosenbrock(genomes)
        ranks = [sum(other < mine for other in fitness) / 11 - 0.5 for mine in fitness]
        total = sum(r * (x - state["center"]) / 0.1 for r, x in zip(ranks, genomes, strict=True)) / 12
        weights.grad = -torch.tensor(total)
        adam.step()
        state = strategy.tell(state, genomes, fitness)
        np.testing.assert_allclose(state["center"], weights.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("rate", [0.1, 5.0])
def test_pgpe_is_the_formula(rate: float) -> None:
    strategy = Pgpe(population=8, max_speed=0.3, sigma_learning_rate=rate)
    state = strategy.start(np.linspace(-1, 1, D))
    np.testing.assert_allclose(np.linalg.norm(state["sigma"]), 15 * 0.3)
    velocity, speeds = np.zeros(D), []
    for _ in range(12):
        genomes = strategy.ask(state, 6)
        fitness = rosenbrock(genomes)
        rank = [sum(other < mine for other in fitness) / 7 - 0.5 for mine in fitness]
        gradient, sigma_gradient = np.zeros(D), np.zeros(D)
        for i in range(4):
            noise = genomes[i] - state["center"]
            gradient += noise * (rank[i] - rank[i + 4]) / 2 / 4
            sigma = state["sigma"]
            sigma_gradient += (rank[i] + rank[i + 4]) / 2 * (noise**2 - sigma**2) / sigma / 4
        velocity = 0.9 * velocity + 0.15 * gradient / math.sqrt(sum(gradient**2))
        velocity *= min(1, 0.3 / math.sqrt(sum(velocity**2)))
        speeds.append(math.sqrt(sum(velocity**2)))
        wanted = [
            min(1.2 * a, max(0.8 * a, a + rate * b))
            for a, b in zip(state["sigma"], sigma_gradient, strict=True)
        ]
        center = state["center"]
        state = strategy.tell(state, genomes, fitness)
        np.testing.assert_allclose(state["center"], center + velocity, rtol=1e-9)
        np.testing.assert_allclose(state["sigma"], wanted, rtol=1e-9)
    assert speeds[0] == pytest.approx(0.15) and max(speeds) == pytest.approx(0.3)  # both sides of the bound
    coasting = strategy.tell(state, strategy.ask(state, 6), np.zeros(8))
    np.testing.assert_allclose(coasting["center"], state["center"] + 0.9 * velocity, rtol=1e-9)


def test_genetic_keeps_the_best_and_mutates_them_alone() -> None:
    strategy = Genetic(population=40, parents=5, elites=2, sigma=0.1, first_sigma=3.0)
    state = strategy.start(np.zeros(D))
    first = strategy.ask(state, 1)
    assert (first[0] == 0).all() and len(first) == 40
    assert first[1:].std() == pytest.approx(3.0, rel=0.15)
    assert strategy.spread(state) == pytest.approx(3.0)
    fitness = rosenbrock(first)
    state = strategy.tell(state, first, fitness)
    best = [genome for _, genome in sorted(zip(-fitness, first.tolist(), strict=True))][:5]
    assert state["parents"].tolist() == best
    assert strategy.center(state).tolist() == best[0]
    second = strategy.ask(state, 1)
    assert second[:2].tolist() == best[:2]
    noise = second[2:, None] - np.array(best)  # [38, 5, D]
    parent = np.abs(noise).mean(-1).argmin(-1)
    assert set(parent) == {0, 1, 2, 3, 4}
    assert noise[np.arange(38), parent].std() == pytest.approx(0.1, rel=0.15)
    variance = np.var(best, axis=0).mean() + 0.1**2
    assert strategy.spread(state) == pytest.approx(math.sqrt(variance))


def one_step_of_cma(state: State, genomes: Array, fitness: Array, rates: Rates, separable: bool) -> State:
    """The tutorial's equations 41 to 47, word by word."""
    sigma, c = float(state["sigma"]), state["covariance"]
    c = np.diag(c) if separable else c
    root = inv(sqrtm(c).real)
    y = [(genomes[i] - state["center"]) / sigma for i in np.argsort(fitness)[::-1]]
    y_w = sum(w * v for w, v in zip(rates.weights, y, strict=True) if w > 0)
    a, b = rates.c_sigma, rates.c_c
    sigma_path = (1 - a) * state["sigma_path"] + math.sqrt(a * (2 - a) * rates.mu_eff) * root @ y_w
    normal = math.sqrt(D) * (1 - 1 / (4 * D) + 1 / (21 * D**2))
    norm = math.sqrt(sum(sigma_path**2))
    left = norm / math.sqrt(1 - (1 - a) ** (2 * (int(state["generation"]) + 1)))
    h = 1.0 if left < (1.4 + 2 / (D + 1)) * normal else 0.0
    path = (1 - b) * state["path"] + h * math.sqrt(b * (2 - b) * rates.mu_eff) * y_w
    new = (1 + rates.c_1 * (1 - h) * b * (2 - b) - rates.c_1 - rates.c_mu * sum(rates.weights)) * c
    new = new + rates.c_1 * np.outer(path, path)
    for w, v in zip(rates.weights, y, strict=True):
        new = new + rates.c_mu * (w if w >= 0 else w * D / sum((root @ v) ** 2)) * np.outer(v, v)
    return {
        "center": state["center"] + sigma * y_w,
        "sigma": np.asarray(sigma * math.exp(a / rates.d_sigma * (norm / normal - 1))),
        "sigma_path": sigma_path,
        "path": path,
        "covariance": np.diag(new) if separable else new,
        "h": np.asarray(h),
    }


@pytest.mark.parametrize(
    "strategy", [CmaEs(), SepCmaEs(), CmaEs(population=7)], ids=["full", "separable", "odd"]
)
def test_cma_is_the_tutorial_step_by_step(strategy: CmaEs | SepCmaEs) -> None:
    separable = isinstance(strategy, SepCmaEs)
    state = strategy.start(np.full(D, 30.0))  # far off: the path grows long, h_sigma 0 for some time
    held = set()
    for _ in range(60):
        genomes = strategy.ask(state, 2)
        fitness = rosenbrock(genomes)
        rates = (separable_rates if separable else full_rates)(D, len(fitness))
        wanted = one_step_of_cma(state, genomes, fitness, rates, separable)
        held.add(float(wanted.pop("h")))
        state = strategy.tell(state, genomes, fitness)
        for name, value in wanted.items():
            np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-8, err_msg=name)
    assert held == {0.0, 1.0}


def test_rates_are_the_published_ones() -> None:
    """For D = 10: the first as printed by cmaes 0.13.1; the second by hand."""
    rates = full_rates(10, 10)
    assert len(rates.weights) == 10 and rates.weights[:5].sum() == pytest.approx(1)
    raw = [math.log(5.5 / k) for k in range(1, 11)]
    np.testing.assert_allclose(rates.weights[:5], np.array(raw[:5]) / sum(raw[:5]))
    assert (rates.mu_eff, rates.weights.sum()) == pytest.approx((3.1672992814107026, -0.7583412769304296))
    assert (rates.c_sigma, rates.d_sigma) == pytest.approx((0.2844285879463675, 1.2844285879463675))
    assert rates.c_c == pytest.approx(0.29499038303562225)
    assert (rates.c_1, rates.c_mu) == pytest.approx((0.015283824524751714, 0.02015428276120838))
    rates = separable_rates(10, 10)
    w = [math.log(6 / k) for k in range(1, 6)]
    mu = sum(w) ** 2 / sum(value**2 for value in w)
    c_cov = 4 * (2 / (10 + 2**0.5) ** 2 / mu + (1 - 1 / mu) * (2 * mu - 1) / (144 + mu))
    assert rates.c_1 + rates.c_mu == pytest.approx(c_cov)
    assert rates.c_mu / rates.c_1 == pytest.approx(mu - 1)
    assert (rates.c_sigma, rates.c_c) == pytest.approx(((mu + 2) / (mu + 13), 4 / 14))
    assert rates.d_sigma == pytest.approx(1 + rates.c_sigma)
    assert rates.weights.tolist() == pytest.approx([value / sum(w) for value in w] + [0] * 5)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("population", [10, 25])
def test_cma_is_the_package_cmaes(separable: bool, population: int) -> None:
    cmaes = pytest.importorskip("cmaes")
    strategy = SepCmaEs(population=population) if separable else CmaEs(population=population)
    state = strategy.start(np.linspace(-3, 3, D))
    package = (cmaes.SepCMA if separable else cmaes.CMA)(
        np.linspace(-3, 3, D), 1.0, population_size=population
    )
    if separable:  # the package mixes the rates of two papers
        rates = separable_rates(D, population)
        package._c1, package._cmu = rates.c_1, rates.c_mu
    for generation in range(80):
        genomes = strategy.ask(state, 3)
        fitness = rosenbrock(genomes)
        state = strategy.tell(state, genomes, fitness)
        package._g = generation - 1  # it counts from 1 where the tutorial counts from 0
        package.tell(list(zip(genomes, -fitness, strict=True)))
        np.testing.assert_allclose(state["center"], package._mean, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(state["sigma"], package._sigma, rtol=1e-6)
        np.testing.assert_allclose(state["covariance"], package._C, rtol=1e-4, atol=1e-6)


@EVERY
def test_genomes_are_a_function_of_seed_and_state(name: str) -> None:
    strategy = small(name)
    state, genomes, fitness = told(strategy)
    before = {key: value.copy() for key, value in state.items()}
    assert genomes.dtype == np.float64 and genomes.shape == (strategy.size(D), D)
    np.random.default_rng(0).standard_normal(7)
    np.testing.assert_array_equal(strategy.ask(state, 8), genomes)
    later = strategy.tell(state, genomes, fitness)
    assert int(later["generation"]) == int(state["generation"]) + 1
    assert_same_bits(state, before)
    moved = {**state, "generation": np.asarray(99)}
    for other in (strategy.ask(state, 9), strategy.ask(moved, 8)):
        assert (other[-1] != genomes[-1]).any()
    assert strategy.ask(state, 2**64 - 1).shape == genomes.shape


@EVERY
def test_genomes_follow_their_law(name: str) -> None:
    """Their mean is the center and their spread what is said to be it, to 4 standard errors or so."""
    strategy = small(name, population=4000, **({"parents": 1, "elites": 0} if name == "genetic" else {}))
    state = strategy.start(np.linspace(-1, 1, D))
    skew = np.eye(D) + 0.4 * np.eye(D, k=1)
    covariance = skew @ skew.T
    if name == "xnes":
        state["shape"] = skew
    elif name == "cma_es":
        squares, axes = np.linalg.eigh(covariance)
        state |= {"covariance": covariance, "axes": axes, "scales": np.sqrt(squares)}
    else:
        covariance = np.eye(D)
    genomes = strategy.ask(state, 1)
    spread = strategy.spread(state)
    covariance *= spread**2 / np.diagonal(covariance).mean()
    np.testing.assert_allclose(
        genomes.mean(0), strategy.center(state), atol=4.5 * spread * 1.2 / math.sqrt(4000)
    )
    np.testing.assert_allclose(np.cov(genomes.T), covariance, atol=8 * spread**2 / math.sqrt(4000))


@pytest.mark.parametrize("name", ["openai_es", "pgpe"])
def test_mirrored_pairs_sum_to_twice_the_center(name: str) -> None:
    strategy = small(name)
    state, genomes, _ = told(strategy)
    np.testing.assert_allclose(genomes[:10] + genomes[10:], np.tile(2 * state["center"], (10, 1)), rtol=1e-13)
    assert (genomes[:10] != genomes[10:]).all()


def assert_same_bits(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert np.asarray(value).tobytes() == np.asarray(other[key]).tobytes(), key


@EVERY
def test_nan_is_the_worst_fitness(name: str) -> None:
    strategy = small(name)
    state, genomes, fitness = told(strategy)
    worst = fitness.argsort()[0]
    changed = fitness.copy()
    changed[worst] = np.nan
    assert_same_bits(strategy.tell(state, genomes, fitness), strategy.tell(state, genomes, changed))
    lowest = np.where(np.arange(len(fitness)) == worst, -np.inf, fitness)
    assert_same_bits(strategy.tell(state, genomes, lowest), strategy.tell(state, genomes, changed))


def test_equals_share_what_they_get() -> None:
    values = np.array([10.0, 5.0, 1.0, -4.0])
    assert shared_among_equals(values, np.array([0.0, 3.0, 1.0, 3.0])).tolist() == [-4.0, 7.5, 1.0, 7.5]
    assert shared_among_equals(values, np.array([-np.inf, 2.0, np.inf, -np.inf])).tolist() == [
        -1.5,
        5,
        10,
        -1.5,
    ]
    assert utilities(10).sum() == pytest.approx(0, abs=1e-15)
    assert utilities(4).argmax() == 0 and utilities(4)[2] == utilities(4)[3] == -0.25


@pytest.mark.parametrize("name", FOLLOWS_UTILITIES)
def test_the_order_of_equals_does_not_matter(name: str) -> None:
    strategy = small(name, **({"population": 8} if name in ("openai_es", "pgpe") else {}))
    state, genomes, _ = told(strategy)
    fitness = np.array([2.0, 1, 2, 2, 0, 0, 1, 3, 0, 0][: len(genomes)])
    fitness = fitness if name not in ("openai_es", "pgpe") else np.array([2.0, 1, 2, 0, 2, 1, 0, 3])
    order = np.array([4, 5, 6, 7, 0, 1, 2, 3]) if len(genomes) == 8 else np.arange(len(genomes))[::-1]
    one = strategy.tell(state, genomes, fitness)
    other = strategy.tell(state, genomes[order], fitness[order])
    for key, value in one.items():
        np.testing.assert_allclose(other[key], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, -np.inf, np.nan, 1e300])
@EVERY
def test_flat_fitness_neither_stops_nor_blows_up(name: str, value: float) -> None:
    strategy = small(name)
    start = np.linspace(-1, 1, D)
    state = search(strategy, lambda x: np.full(len(x), value), start, 200 * strategy.size(D))[2]
    assert int(state["generation"]) == 200
    assert 1e-3 < strategy.spread(state) < 1e3
    if name != "genetic":  # which drifts; the others learned nothing
        np.testing.assert_allclose(state["center"], start, atol=1e-12)
        assert strategy.spread(state) == pytest.approx(strategy.spread(strategy.start(start)))
    hill = search(strategy, sphere, start, 200 * strategy.size(D))[2]
    assert sphere(strategy.center(hill)) > sphere(start)


def test_weight_decay_alone_is_no_reason_to_move() -> None:
    strategy = OpenAiEs(population=4)
    state = strategy.start(np.ones(D))
    still = strategy.tell(state, strategy.ask(state, 1), np.zeros(4))
    np.testing.assert_array_equal(still["center"], state["center"])


@EVERY
def test_an_endless_slope_stays_within_numbers(name: str) -> None:
    strategy = small(name, population=10) if name != "genetic" else small(name, population=20)
    state = search(strategy, lambda x: x @ np.arange(1.0, D + 1), np.zeros(D), 1000 * strategy.size(D))[2]
    assert all(np.isfinite(value).all() for value in state.values())
    assert np.isfinite(strategy.ask(state, 1)).all()
    assert strategy.spread(state) <= WIDEST and strategy.center(state)[-1] > 1
    if name in ("snes", "xnes", "cma_es", "sep_cma_es"):
        assert strategy.spread(state) > WIDEST / 1e5  # it was stopped, or will soon be


@EVERY
def test_a_search_long_after_its_end_stays_sound(name: str) -> None:
    strategy = small(name)
    state = search(strategy, lambda x: sphere(x - 3.7), np.zeros(D), 800 * strategy.size(D))[2]
    assert all(np.isfinite(value).all() for value in state.values())
    np.testing.assert_allclose(strategy.center(state), 3.7, atol=0.1)
    assert strategy.spread(state) > 0


@pytest.mark.parametrize("name", ["snes", "xnes", "pgpe", "cma_es", "sep_cma_es"])
def test_sigma_has_a_floor(name: str) -> None:
    strategy = small(name, sigma=0.7, sigma_min=0.5)
    state = search(strategy, sphere, np.ones(D), 150 * strategy.size(D))[2]
    assert state["sigma"].min() == 0.5


@EVERY
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_few_weights_are_enough(name: str, dimension: int) -> None:
    strategy = small(name)
    state = search(strategy, sphere, np.full(dimension, 0.5), 100 * strategy.size(dimension))[2]
    assert sphere(strategy.center(state)) > -0.05


def test_populations_are_the_published_functions_of_dimension() -> None:
    for name in ("snes", "xnes", "cma_es", "sep_cma_es"):
        strategy = make_strategy(name)
        assert [strategy.size(d) for d in (1, 4, 10, 100, 1000)] == [4, 8, 10, 17, 24]
        assert make_strategy(name, population=33).size(10) == 33


@pytest.mark.parametrize(("name", "instead"), [("cma_es", "sep_cma_es"), ("xnes", "snes")])
def test_large_matrices_are_refused(name: str, instead: str) -> None:
    said = f"{name} keeps a matrix of 2001 x 2001 numbers .* at most 2000 weights are allowed: take {instead}"
    with pytest.raises(UserError, match=said):
        make_strategy(name).start(np.zeros(2001))
    make_strategy(instead).start(np.zeros(2001))


NONSENSE = [
    ("snes", {"population": 1}, "Snes: population is 1, but must be a whole number of at least 2."),
    ("snes", {"population": 10.0}, "population is 10.0"),
    ("snes", {"population": True}, "population is True"),
    ("snes", {"sigma": 0}, "Snes: sigma is 0, but must be a number above 0."),
    ("snes", {"sigma": None}, "sigma is None"),
    ("snes", {"sigma": math.nan}, "sigma is nan"),
    ("snes", {"sigma": math.inf}, "sigma is inf"),
    ("snes", {"sigma": "1"}, "sigma is '1'"),
    ("snes", {"sigma_min": -1.0}, "sigma_min is -1.0"),
    ("snes", {"learning_rate": 0.0}, "learning_rate is 0.0"),
    ("xnes", {"shape_learning_rate": -0.1}, "shape_learning_rate is -0.1"),
    ("cma_es", {"population": 3}, "population is 3, but must be a whole number of at least 4"),
    ("sep_cma_es", {"sigma": -1.0}, "SepCmaEs: sigma is -1.0"),
    ("openai_es", {"population": 7}, "population is 7, but must be even, .*mirrored pairs"),
    ("openai_es", {"population": None}, "population is None"),
    (
        "openai_es",
        {"weight_decay": -1.0},
        "weight_decay is -1.0, but must be a number of at least 0",
    ),
    ("pgpe", {"population": 0}, "population is 0"),
    ("pgpe", {"momentum": 1.0}, "momentum is 1.0, but must be a number of at least 0 and below 1"),
    ("pgpe", {"sigma_max_change": 1.0}, "sigma_max_change is 1.0, but must be a number above 0 and below 1"),
    ("genetic", {"parents": 0}, "parents is 0"),
    ("genetic", {"elites": 30}, "30 elites, 20 parents and 1000 members do not fit"),
    ("genetic", {"population": 10, "parents": 10, "elites": 10}, "one member at least a child"),
    ("genetic", {"sigma": 0.0}, "sigma is 0.0"),
    ("snes", {"sgima": 1.0}, "strategy snes has no setting 'sgima': it knows population, sigma, "),
    ("sness", {}, "strategy 'sness' is not known: choose one of openai_es, pgpe, snes"),
]


@pytest.mark.parametrize(("name", "settings", "said"), NONSENSE)
def test_nonsense_is_refused_in_a_sentence(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_strategy(name, **settings)


@EVERY
def test_wrong_arrays_are_refused(name: str) -> None:
    strategy = small(name)
    for center in (np.zeros((2, 2)), np.zeros(0), [0.0, np.nan]):
        with pytest.raises(UserError, match=r"the search cannot start at"):
            strategy.start(center)
    state = strategy.start(np.zeros(D))
    genomes = strategy.ask(state, 0)
    for wrong, fitness in ((genomes[1:], np.zeros(len(genomes))), (genomes, np.zeros(3))):
        with pytest.raises(UserError, match=r"as ask\(\) gave them"):
            strategy.tell(state, wrong, fitness)


def test_settings_are_tables_of_a_recipe() -> None:
    assert build(STRATEGIES["snes"], {"sigma": 2, "population": 8.0}, "x.toml") == Snes(8, sigma=2.0)
    with pytest.raises(UserError, match=r"x.toml: unknown key 'sgima'; did you mean 'sigma'"):
        build(STRATEGIES["snes"], {"sgima": 2}, "x.toml")
    with pytest.raises(UserError, match=r"population is 0; it takes a whole number of at least 1"):
        build(STRATEGIES["openai_es"], {"population": 0}, "x.toml")
    for kind in STRATEGIES.values():
        assert build(kind, {}, "x.toml") == kind()


def test_a_strategy_of_ones_own_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Snes):
        pass

    monkeypatch.setattr("rlrnn.learners.evolution.strategies.STRATEGIES", dict(STRATEGIES))
    register_strategy("mine", Mine)
    register_strategy("mine", Mine)
    assert isinstance(make_strategy("mine", sigma=2.0), Mine)
    with pytest.raises(UserError, match="belongs to Snes already"):
        register_strategy("snes", Mine)
    with pytest.raises(UserError, match="should be a lower-case word"):
        register_strategy("My-Own", Mine)


@pytest.mark.parametrize("name", ["cma_es", "sep_cma_es"])
def test_a_search_that_stalls_begins_again_elsewhere(name: str) -> None:
    """After ``patience`` generations without a new best: the first state again, but other draws."""
    strategy, plain = make_strategy(name, patience=4), make_strategy(name)
    state = first = strategy.start(np.arange(5.0))
    twin = plain.start(np.arange(5.0))
    records = [1.0, 3.0, 2.0, 3.0, -math.inf, 2.9]  # the best of each generation: the second is never beaten
    for best in records[:-1]:
        genomes = strategy.ask(state, 7)
        assert np.array_equal(genomes, plain.ask(twin, 7))  # until then nothing changes
        fitness = best - np.arange(len(genomes), dtype=np.float64)
        state, twin = strategy.tell(state, genomes, fitness), plain.tell(twin, genomes, fitness)
        assert all(np.array_equal(state[key], twin[key]) for key in twin)
    genomes = strategy.ask(state, 7)
    again = strategy.tell(state, genomes, records[-1] - np.arange(len(genomes), dtype=np.float64))
    for key in set(first) - {"generation", "begun"}:
        assert np.array_equal(again[key], first[key]), key
    assert int(again["generation"]) == int(again["begun"]) == len(records)
    assert not np.array_equal(strategy.ask(again, 7), strategy.ask(first, 7))
    with pytest.raises(UserError, match="patience is 0, but must be a whole number of at least 1"):
        make_strategy(name, patience=0)


def test_what_is_no_strategy_is_not_registered() -> None:
    for thing in (Generator, Strategy, Snes(), "snes"):
        with pytest.raises(UserError, match="is not a strategy: register a frozen dataclass"):
            register_strategy("bad", thing)  # type: ignore[arg-type]
    assert "bad" not in STRATEGIES
