"""Two poles balanced without seeing a speed: evaluations until an evolved network does it, seed by seed.

    python benchmarks/double_pole.py --row snes-1 cma_es-4 --seeds 0:50 --jobs 2
    python benchmarks/double_pole.py --report

A row is a strategy with its settings on one of two tasks. "-1": one tanh unit, 4 weights, solved when a
member balances 100,000 steps. "-4": 4 fully connected softsign units, 28 weights, damping fitness, solved
when the best of a generation passes the full test (100,000 steps, and 200 of 625 starts). Evaluations are
members of generations; neither the center of the search nor the test counts. A seed that needs more than the
budget counts as infinite. Finished seeds lie in ``results/double_pole``, and only missing ones are run.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.envs.vec import GameVecEnv, vectorize
from rlrnn.experiment import statistics
from rlrnn.games.players.double_pole_criterion import ENOUGH, SHORT_STEPS, STEPS
from rlrnn.learners.evolution.evolution import Evolution
from rlrnn.learners.evolution.fitness import SerialFitness
from rlrnn.learners.evolution.strategies import make_strategy
from rlrnn.network import population
from rlrnn.network.network import RecurrentNetwork

RESULTS = Path(__file__).parent / "results" / "double_pole"
BUDGET = 10_000  # evaluations
ENDLESS = 10**15  # steps
UNSOLVED = 1e12  # evaluations that stand for infinitely many in sums, and lead beyond any that are shown

BARE: dict[str, Any] = {"n_layers": 1, "net_arch": [], "output_layer": False}
UNIT = {**BARE, "hidden_size": 1, "cell_options": {"bias": False}}
FOUR = {**BARE, "hidden_size": 4, "cell_options": {"bias": False, "nonlinearity": "softsign"}}
FOUR_MEMORYLESS = {**BARE, "hidden_size": 4, "cell_options": {"bias": False}}  # of tanh, as the cell has it


@dataclass(frozen=True)
class Row:
    """Who searches for what."""

    strategy: str
    settings: dict[str, Any]
    fitness: str  # "standard", or "damping", which asks for the full test too
    network: dict[str, Any]
    weights: int
    policy: str = "MlpElmanPolicy"
    from_zero: bool = True


def one(strategy: str, **settings: Any) -> Row:
    """One tanh unit and standard fitness."""
    return Row(strategy, settings, "standard", UNIT, 4)


def four(strategy: str, **settings: Any) -> Row:
    """Four softsign units and damping."""
    return Row(strategy, settings, "damping", FOUR, 28)


ROWS = {
    "snes-1": one("snes", population=8, sigma=1.0),
    "cma_es-4": four("cma_es", sigma=1.0, sigma_min=0.5),
    "cma_es-4-wide": four("cma_es", sigma=1.0, sigma_min=1.0),
    "cma_es-4-patience": four("cma_es", sigma=1.0, sigma_min=0.5, patience=150),
    "cma_es-4-wide-patience": four("cma_es", sigma=1.0, sigma_min=1.0, patience=150),
    "xnes-1": one("xnes", population=8, sigma=1.0),
    "cma_es-1": one("cma_es", population=8, sigma=1.0),
    "sep_cma_es-1": one("sep_cma_es", population=8, sigma=1.0),
    "pgpe-1": one("pgpe", population=16, sigma=1.0, max_speed=1.0),
    "openai_es-1": one("openai_es", population=16, sigma=1.0, learning_rate=0.3, weight_decay=0.0),
    "genetic-1": one("genetic", population=16, parents=4, sigma=0.5, first_sigma=1.0),
    "snes-4": four("snes", sigma=1.0, sigma_min=0.5),
    "xnes-4": four("xnes", sigma=1.0, sigma_min=0.5),
    "sep_cma_es-4": four("sep_cma_es", sigma=1.0, sigma_min=0.5),
    "pgpe-4": four("pgpe", population=32, sigma=1.0, sigma_min=0.5, max_speed=1.0),
    "openai_es-4": four("openai_es", population=32, sigma=1.0, learning_rate=0.3, weight_decay=0.0),
    "genetic-4": four("genetic", population=32, parents=8, sigma=0.5, first_sigma=1.0),
    "snes-1-memoryless": replace(one("snes", population=8, sigma=1.0), policy="MlpPolicy", weights=3),
    "cma_es-4-memoryless": replace(
        four("cma_es", sigma=1.0, sigma_min=0.5), policy="MlpPolicy", network=FOUR_MEMORYLESS, weights=12
    ),
}


class Watch(BaseCallback):
    """Ends the search at the first generation that holds a solution."""

    def __init__(self, fitness: str) -> None:
        super().__init__()
        self.damping = fitness == "damping"
        self.solved, self.longest, self.starts, self.tests = False, 0, 0, 0
        self.seconds = 0.0  # of the processor that went into the test

    def _on_step(self) -> bool:
        genomes, result = self.locals["genomes"], self.locals["result"]  # of the center too, the last row
        self.longest = max(self.longest, int(result.lengths[:-1].max()))
        if self.damping:
            best = int(self.locals["fitness"].argmax())
            if result.lengths[best, 0] == SHORT_STEPS:
                began = time.process_time()
                network: Any = self.model.policy.network
                self.solved = self.passes(network, genomes[best])
                self.seconds += time.process_time() - began
        else:
            self.solved = self.longest == STEPS and bool(self.locals["fitness"].max() == STEPS)
        return not self.solved

    def passes(self, network: RecurrentNetwork, genome: NDArray[np.float64]) -> bool:
        """The full test; its second part first, which most of those who fail leave earlier."""
        self.tests += 1
        starts = int((_balanced(network, genome, 625, SHORT_STEPS, start="grid") == SHORT_STEPS).sum())
        self.starts = max(self.starts, starts)
        if starts < ENOUGH:
            return False
        steps = int(_balanced(network, genome, 1, STEPS)[0])
        self.longest = max(self.longest, steps)
        return steps == STEPS


def _copies(n: int, **kwargs: Any) -> GameVecEnv:
    return vectorize("rlrnn/DoublePole-v0", n, kwargs=kwargs)


def _balanced(
    network: RecurrentNetwork, genome: NDArray[np.float64], n: int, steps: int, **kwargs: Any
) -> NDArray[np.float64]:
    """Steps balanced [n], at most ``steps``, from the first n starts."""
    env = _copies(n, max_episode_steps=steps, **kwargs)
    return SerialFitness(env).play(network, genome[None], range(n)).points[0]


def solve(row: Row, seed: int) -> dict[str, Any]:
    """One search, and what became of it."""
    members = make_strategy(row.strategy, **row.settings).size(row.weights)
    env = _copies(members + 1, fitness=row.fitness)  # the center plays along
    agent = Evolution(
        row.policy,
        env,
        row.strategy,
        row.settings,
        from_zero=row.from_zero,
        policy_kwargs=row.network,
        seed=seed,
    )
    assert len(population.genome(agent.policy.network)) == row.weights
    watch = Watch(row.fitness)
    wall, cpu = time.perf_counter(), time.process_time()
    agent.learn(ENDLESS, watch, evaluations=BUDGET)
    return {
        "seed": seed,
        "solved": watch.solved,
        "evaluations": agent.evaluations,
        "steps": agent.num_timesteps,  # of members and center, tests left out
        "longest": watch.longest,  # steps balanced by any member, with damping at most 1,000 outside a test
        "tests": watch.tests,
        "starts": watch.starts,  # of 625, the most in a test
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "cpu_seconds_of_tests": round(watch.seconds, 2),
    }


def run(name: str, seeds: range, jobs: int) -> None:
    """Add the missing seeds to the row's file: a line of settings, then a line per seed."""
    path, settings = RESULTS / f"{name}.jsonl", json.dumps({"budget": BUDGET, **asdict(ROWS[name])})
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settings + "\n")
    kept, *lines = path.read_text().splitlines()
    if kept != settings:
        raise SystemExit(
            f"{path} holds seeds with other settings: remove it to measure these.\n{kept}\n{settings}"
        )
    done = {json.loads(line)["seed"] for line in lines}
    missing = [seed for seed in seeds if seed not in done]
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs) if jobs > 1 else _Alone() as pool, path.open("a") as file:
        for result in pool.imap(partial(solve, ROWS[name]), missing):
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(name, json.dumps(result), flush=True)


class _Alone:
    """A pool of this process alone."""

    def __enter__(self) -> _Alone:
        return self

    def __exit__(self, *_: object) -> None: ...

    imap = staticmethod(map)


def report() -> None:
    """The table, as Markdown."""
    print("| row | seeds | unsolved | mean (95 %) | of the solved | median (95 %) | longest | CPU s (most) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in ROWS:
        path = RESULTS / f"{name}.jsonl"
        if not path.exists():
            continue
        found = sorted(map(json.loads, path.read_text().splitlines()[1:]), key=lambda result: result["seed"])
        if not found:
            continue
        evaluations = [[r["evaluations"] if r["solved"] else UNSOLVED] for r in found]
        solved = [r["evaluations"] for r in found if r["solved"]]
        seconds = [r["cpu_seconds"] for r in found]
        cells = (
            name,
            f"{len(found)}",
            f"{sum(not r['solved'] for r in found)}",
            _with_interval(evaluations, np.mean),
            f"{np.mean(solved):,.0f}" if solved else "-",
            _with_interval(evaluations, np.median),
            f"{max(r['longest'] for r in found):,}",
            f"{np.mean(seconds):.1f} ({max(seconds):.1f})",
        )
        print(f"| {' | '.join(cells)} |")


def _with_interval(evaluations: list[list[float]], statistic: Any) -> str:
    """The figure with its bootstrap interval over seeds, infinite where unsolved seeds make it so."""
    middle = float(statistic(evaluations))
    low, high = statistics.bootstrap(evaluations, partial(statistic, axis=-1))
    middle, low, high = (math.inf if value > 100 * BUDGET else value for value in (middle, low, high))
    return f"{middle:,.0f} ({low:,.0f} to {high:,.0f})".replace("inf", "∞")


def main() -> None:
    """Measure rows, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--row", nargs="+", choices=list(ROWS), default=[])
    parser.add_argument("--seeds", default="0:50", help="first:last+1")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--report", action="store_true", help="print the table of what was measured")
    arguments = parser.parse_args()
    for name in arguments.row:
        run(name, range(*map(int, arguments.seeds.split(":"))), arguments.jobs)
    if arguments.report:
        report()


if __name__ == "__main__":
    main()
