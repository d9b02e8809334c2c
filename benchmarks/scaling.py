"""How a generation scales with workers: measured times of its parts, handed out by the package's own rule.

    python benchmarks/scaling.py t-maze-1000-evolved --population 4096 --parts 6
    python benchmarks/scaling.py pong-evolved --population 4096

Measured, in this process on one core: the processor's seconds of parts of a population as they are cut for so
many workers (``--parts N``: N of each size, drawn by chance; else all of them), of ``ask`` and ``tell``, and
the bytes of messages, pickled. Simulated: so many workers of that speed, each handed the next part when it is
free, all by one master, which sends one message at a time over ``--bandwidth`` and waits ``--latency`` for
each answer. Part times that were not measured are drawn from those that were, 20 times over. Not simulated:
nodes of different speeds, a network that is shared, deaths. ``--real`` plays the same population by 1 and 2
workers. Efficiency is the time of one worker over W times that of W. Lines go to ``results/scaling.jsonl``.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import pickle
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlrnn.common import processor
from rlrnn.common.threads import one_blas_thread
from rlrnn.experiment import agents, catalogue
from rlrnn.learners.evolution import fitness
from rlrnn.network import population

RESULTS = Path(__file__).parent / "results" / "scaling.jsonl"
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DRAWS = 20


class Generation:
    """One generation of an agent of the catalogue, the first of its search."""

    def __init__(self, name: str, members: int) -> None:
        recipe = catalogue.agent(name)
        settings = {**recipe.evolution.settings, "population": members}
        evolution = dataclasses.replace(recipe.evolution, settings=settings, n_envs=None)
        self.recipe = dataclasses.replace(recipe, evolution=evolution)
        self.game = catalogue.game_of(recipe)
        self.env = agents.copies(self.recipe, self.game, 0)
        self.agent: Any = agents.learner(self.recipe, self.env, 0)
        self.network = self.agent.policy.network
        self.seeds = self.agent._seeds(0, self.agent.episodes)
        strategy, search = self.agent._strategy, self.agent.search
        self.serial = np.inf  # seconds of ask and tell, at best
        for _ in range(5):
            began = time.process_time()
            with one_blas_thread():
                drawn = strategy.ask(search, 1)
                strategy.tell(search, drawn, np.arange(len(drawn), dtype=float))
            self.serial = min(self.serial, time.process_time() - began)
        self.genomes = np.concatenate((drawn, strategy.center(search)[None])).astype(np.float32)
        wave = fitness._wave(self.network, self.env.num_envs, len(self.seeds))
        piece = 1 if population.plan_of(self.network) else min(wave, population.BLOCK)
        self.cuts = partial(fitness._cuts, len(self.genomes), piece, wave)
        self.fitness = fitness.SerialFitness(self.env)
        self.fitness.play(self.network, self.genomes[-1:], self.seeds[:1])  # compiled

    def seconds(self, first: int, last: int) -> tuple[float, int, int]:
        """Of a part, and the bytes of its question and of its answer."""
        part = self.genomes[first:last]
        began = time.process_time()
        told = self.fitness.play(self.network, part, self.seeds)
        return time.process_time() - began, len(pickle.dumps(part)), len(pickle.dumps((True, told)))


def makespan(times: list[float], workers: int, send: float, latency: float) -> float:
    """Seconds until all parts are answered, handed out in order to whoever is free."""
    free = [0.0] * workers
    master = end = 0.0
    for seconds in times:
        worker = heapq.heappop(free)
        master = max(master, worker) + send  # one message after the other
        done = master + seconds + latency
        heapq.heappush(free, done)
        end = max(end, done)
    return end


def main() -> None:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("agent", nargs="?", default="t-maze-1000-evolved")
    parser.add_argument("--population", type=int, default=4096)
    parser.add_argument("--parts", type=int, default=0, help="measured of each size (default: all)")
    parser.add_argument("--latency", type=float, default=1e-3, help="seconds (default: 0.001)")
    parser.add_argument("--bandwidth", type=float, default=1e9, help="bits a second (default: 1e9)")
    parser.add_argument("--real", action="store_true", help="play it by 1 and 2 workers, too")
    told = parser.parse_args()
    torch.set_num_threads(1)
    made, chance = Generation(told.agent, told.population), np.random.default_rng(0)
    measured: dict[tuple[int, ...], list[tuple[float, int, int]]] = {}
    rows: list[dict[str, Any]] = []
    common = len(pickle.dumps((fitness.statistics(made.network), made.seeds)))
    for workers in WORKERS:
        cuts = made.cuts(workers)
        parts = list(pairwise(cuts))
        if tuple(cuts) not in measured:
            chosen = range(len(parts))
            if told.parts:
                chosen = chance.choice(len(parts), min(told.parts, len(parts)), replace=False)
            measured[tuple(cuts)] = [made.seconds(*parts[k]) for k in chosen]
        times, asks, answers = (np.array(each) for each in zip(*measured[tuple(cuts)], strict=True))
        sent, received = len(parts) * asks.mean() + workers * common, len(parts) * answers.mean()
        ends, totals = [], []
        for _ in range(DRAWS if len(times) < len(parts) else 1):
            drawn = times if len(times) == len(parts) else chance.choice(times, len(parts))
            ends.append(makespan(list(drawn), workers, asks.mean() * 8 / told.bandwidth, told.latency))
            totals.append(drawn.sum())
        rows.append(
            {
                "workers": workers,
                "parts": len(parts),
                "measured": len(times),
                "part": [round(float(f(times)), 4) for f in (np.min, np.mean, np.max)],
                "played": round(float(np.mean(ends)), 3),
                "generation": round(float(np.mean(ends)) + made.serial, 3),
                "sent": int(sent),
                "received": int(received),
            }
        )
    for row in rows:
        for what in ("played", "generation"):
            row[f"efficiency {what}"] = round(rows[0][what] / row["workers"] / row[what], 3)
        print(row, flush=True)
    result = {
        **{name: getattr(told, name) for name in ("agent", "population", "latency", "bandwidth")},
        "members": len(made.genomes),
        "weights": made.genomes.shape[1],
        "episodes": len(made.seeds),
        "ask and tell": round(made.serial, 5),
        "rows": rows,
        "processor": processor.kind(),
    }
    if told.real:
        result["real"] = {workers: real(made, workers) for workers in (1, 2)}
        print(result["real"])
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")


def real(made: Generation, workers: int) -> float:
    """Seconds that so many processes take, the second time."""
    make = partial(agents._worker_games, made.game, made.env.num_envs, (), {})
    playing = fitness.ParallelFitness(make, made.env.num_envs, workers, made.network)
    try:
        for _ in range(2):
            began = time.perf_counter()
            playing.play(made.network, made.genomes, made.seeds)
        return round(time.perf_counter() - began, 3)
    finally:
        playing.close()


if __name__ == "__main__":
    main()
