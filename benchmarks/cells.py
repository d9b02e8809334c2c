"""Every kind of memory under every way of learning: points on three games, and on two that take long.

    python benchmarks/cells.py --jobs 2            what is missing; finished ones lie in results/cells
    python benchmarks/cells.py --row gru lru --learner reward --task recall-4
    python benchmarks/cells.py --long --jobs 2     recall at lag 32, T-maze of 100 cells: equally many weights
    python benchmarks/cells.py --report            the tables, from what lies there

Reward: the recipes in ``agents/`` of a GRU for these games, with another memory of 64 units in its place.
Fitness: small memories, searched for by PGPE (recall) and SNES. Targets: the network of the first recipe
imitates recorded episodes of who knows the game (the scripts ``perfect``; for CartPole the verified agent),
and sees no reward. All are judged by the points that they win. "Learns": at least 0.9, 3.8 and 450 of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import torch

from rlrnn.envs import games
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.evaluation import WIPED, WITH_MEMORY, evaluate
from rlrnn.experiment.recipes import EvolutionRecipe, NetworkRecipe, NormalizeRecipe, Recipe
from rlrnn.experiment.recording import record
from rlrnn.experiment.training.training import train
from rlrnn.games.players import recall, tmaze
from rlrnn.learners.sequences.imitation import imitate

RESULTS = Path(__file__).parent / "results" / "cells"
RUNS = Path(__file__).parents[1] / "runs" / "long"
TEACHER = Path(__file__).parents[1] / "runs" / "verified" / "cartpole-gru-seed0.zip"
WATCHED = {"recall-4": 1000, "t-maze-20": 1000, "cartpole-no-velocity": 100}  # episodes to be imitated
FIRST_WATCHED = 20_000_000  # the seed of the first: nobody else's
EPOCHS = 100  # of imitation, at most
PATIENCE = {"recall-4": 40, "t-maze-20": 10, "cartpole-no-velocity": 20}  # epochs that no error falls
LEARNERS = ("reward", "fitness", "targets")
ENOUGH = {"recall-4": 0.9, "t-maze-20": 3.8, "cartpole-no-velocity": 450.0}
LONG = {"recall-32": 0.9, "t-maze-100": 3.8}
AGENTS = {
    "recall-4": "recall-4-gru",
    "t-maze-20": "t-maze-20-gru",
    "cartpole-no-velocity": "cartpole-gru",
    "recall-32": "recall-4-gru",
    "t-maze-100": "t-maze-100-gru",
}
KWARGS = {"recall-32": {"lag": 32, "length": 96}}
CHANGES = {"recall-32": {"n_steps": 96, "batch_size": 1536}}
STEPS = {"recall-32": 3_000_000}
LINEAR, LONGER = ("delay", "legendre", "reservoir"), 5  # times the steps of CartPole
SEARCH: dict[str, tuple[int, int, EvolutionRecipe]] = {  # units, steps, and how
    "recall-4": (32, 60_000_000, EvolutionRecipe("pgpe", {"population": 128}, 2, target=0.95)),
    "t-maze-20": (8, 20_000_000, EvolutionRecipe("snes", {"population": 64, "sigma": 0.5}, 8, target=3.99)),
    "cartpole-no-velocity": (
        8,
        15_000_000,
        EvolutionRecipe("snes", {"population": 64, "sigma": 0.5}, 4, target=499.0),
    ),
}
SCALED = ("cartpole-no-velocity",)  # games whose numbers are small beside weights that are drawn


@dataclass(frozen=True)
class Row:
    """A kind of memory."""

    cell: str
    options: dict[str, Any] = field(default_factory=dict)
    layers: int = 1
    least: int = 1  # units that it needs


def storage(store: str, **more: Any) -> Row:
    """Controlled storage over another cell."""
    return Row("storage", {"store": store, **more})


ROWS = {
    "none": Row("none"),
    "elman": Row("elman"),
    "gru": Row("gru"),
    "gru, layer norm": Row("gru", {"layer_norm": True}),
    "lstm": Row("lstm"),
    "lstm, coupled, layer norm": Row("lstm", {"coupled": True, "layer_norm": True, "forget_bias": 1.0}),
    "mingru": Row("mingru"),
    "mingru, 3 layers": Row("mingru", {"candidate": "tanh", "residual": True}, layers=3),
    "lru": Row("lru"),
    "fir, 4 taps": Row("fir", {"taps": 4}),
    "fir, 24 taps": Row("fir", {"taps": 24}),
    "graph": Row("graph", {"density": 0.25, "delays": [1, 2, 4, 8]}),
    "delay": Row("delay", {"taps": 24}, least=72),
    "legendre": Row("legendre", {"order": 16}, least=16),
    "reservoir": Row("reservoir", least=64),
    "matrix": Row("matrix"),
    "storage: delay": storage("delay", store_size=48, store_options={"taps": 24}),
    "storage: legendre": storage("legendre", store_size=64, store_options={"order": 16}),
    "storage: reservoir": storage("reservoir", store_size=64),
    "storage: matrix": storage("matrix"),
    "storage: gru": storage("gru"),
}
WIDER = "storage: legendre, theta 40"  # steps that it looks back: 24, if not given, are fewer than 32
LONG_ROWS = ("elman", "gru", "lstm", "mingru, 3 layers", "lru", "storage: legendre", WIDER)
ALL = ROWS | {WIDER: storage("legendre", store_size=64, store_options={"order": 16, "theta": 40.0})}


def by_reward(row: Row, task: str, units: int = 64) -> Recipe:
    """The verified agent's recipe for this game with this memory in it."""
    recipe = catalogue.agent(AGENTS[task])
    longer = LONGER if task == "cartpole-no-velocity" and row.cell in LINEAR else 1
    network = replace(
        recipe.network,
        cell=row.cell,
        cell_options=row.options,
        n_layers=row.layers,
        hidden_size=max(units, row.least),
    )
    return replace(
        recipe,
        steps=STEPS.get(task, recipe.steps) * longer,
        kwargs=KWARGS.get(task, {}),
        network=network,
        ppo=replace(recipe.ppo, **CHANGES.get(task, {})),
        verified=None,
    )


def by_fitness(row: Row, task: str) -> Recipe:
    """Evolved."""
    units, steps, how = SEARCH[task]
    network = NetworkRecipe(row.cell, max(units, row.least), row.layers, row.options, net_arch=())
    seen = NormalizeRecipe(observations=task in SCALED)
    return Recipe(task, task, steps, network=network, normalize=seen, evolution=how)


def play(recipe: Recipe, seed: int, imitated: list[Any] | None = None) -> dict[str, Any]:
    """Train by the recipe, or by imitation alone, judge, and tell what it took."""
    game = catalogue.game_of(recipe)
    with closing(agents.copies(recipe, game, seed)) as env:
        agent = agents.learner(recipe, env, seed)
        begun = time.perf_counter()
        if imitated is None:
            agent.learn(recipe.steps, **agents.budgets(recipe, 0.0))
            steps = agent.num_timesteps
        else:
            how = {"epochs": EPOCHS, "patience": PATIENCE[recipe.game], "seed": seed}
            epochs = imitate(agent, imitated, **how, progress=False)
            steps = len(epochs) * sum(map(len, imitated))
        seconds = time.perf_counter() - begun
    network = agent.policy.network
    return {
        "units": recipe.network.hidden_size,
        "memory": sum(p.numel() for p in network.memory.parameters()),
        "parameters": sum(p.numel() for p in network.parameters()),
        "points": evaluate(agent, game).mean,
        "wiped": evaluate(agent, game, wiped=True).mean,
        "steps": steps,
        "seconds": seconds,
    }


def at_length(row: str, task: str, seed: int) -> dict[str, Any]:
    """Train as many weights as a GRU of 64 units has; the run keeps its learning curve."""
    units = equal_units(ALL[row], task)
    recipe = replace(by_reward(ALL[row], task, units), name=f"{task} {row}")
    run = train(recipe, seed, RUNS / task / row / f"seed{seed}", overwrite=True, progress=False)
    scores = run.scores()
    return {
        "units": units,
        "parameters": weights(ALL[row], task, units),
        "points": scores[WITH_MEMORY].mean,
        "wiped": scores[WIPED].mean,
        "steps": run.facts["steps"],
        "seconds": run.facts["seconds"],
    }


def watched(task: str) -> list[Any]:
    """Episodes of who knows the game."""
    if task == "cartpole-no-velocity":
        agent = agents.load(TEACHER, "cpu")
        return record(agent, task, WATCHED[task], seed=FIRST_WATCHED)
    game = games.game(task)
    copies = gymnasium.make_vec(game.id, num_envs=WATCHED[task], **game.kwargs)
    players = recall if task == "recall-4" else tmaze
    return record(players.PLAYERS["perfect"](copies), copies, WATCHED[task], seed=FIRST_WATCHED)


@dataclass(frozen=True)
class Case:
    """One training."""

    row: str
    learner: str
    task: str
    seed: int

    @property
    def path(self) -> Path:
        """Where its result lies."""
        name = self.row.replace(", ", "-").replace(": ", "-").replace(" ", "-")
        return RESULTS / f"{name}.{self.learner}.{self.task}.{self.seed}.json"

    def run(self) -> str:
        """Train, write, and say it in a line."""
        torch.set_num_threads(1)
        row = ALL[self.row]
        if self.task in LONG:
            result = at_length(self.row, self.task, self.seed)
        elif self.learner == "fitness":
            result = play(by_fitness(row, self.task), self.seed)
        else:
            imitated = watched(self.task) if self.learner == "targets" else None
            result = play(by_reward(row, self.task), self.seed, imitated)
        RESULTS.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(self.path)
        speed = result["steps"] / result["seconds"]
        name = self.path.stem
        return f"{name}: {result['points']:.3f} points, {result['seconds']:.0f} s, {speed:,.0f} steps/s"


def equal_units(row: Row, task: str) -> int:
    """How many units make as many weights as a GRU of 64 has, memory and heads together."""
    wanted = weights(ROWS["gru"], task, 64)
    return min(range(8, 513, 8), key=lambda units: abs(weights(row, task, units) - wanted))


def weights(row: Row, task: str, units: int) -> int:
    """Of the whole agent."""
    recipe = by_reward(row, task, units)
    game = catalogue.game_of(recipe)
    with closing(games.make_vec(game, 1, workers=0)) as env:
        agent = agents.learner(recipe, env, 0)
    return sum(p.numel() for p in agent.policy.network.parameters())


def report() -> None:
    """The tables."""
    for task, enough in ENOUGH.items():
        print(f"\n| {task} | weights | " + " | ".join(LEARNERS) + " |\n| --- | --: | --: | --: | --: |")
        for name in ROWS:
            found = [_results(name, learner, task) for learner in LEARNERS]
            size = f"{found[0][0]['memory']:,}" if found[0] else "-"
            print(f"| {name} | {size} | " + " | ".join(_told(one, enough) for one in found) + " |")
    print("\n| long | units | " + " | ".join(LONG) + " |\n| --- | --: | --: | --: |")
    for name in LONG_ROWS:
        found = [_results(name, "reward", task) for task in LONG]
        size = f"{found[0][0]['units']}" if found[0] else "-"
        print(f"| {name} | {size} | " + " | ".join(map(_told, found, LONG.values())) + " |")


def _results(row: str, learner: str, task: str) -> list[dict[str, Any]]:
    paths = [Case(row, learner, task, seed).path for seed in range(10)]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def _told(found: list[dict[str, Any]], enough: float) -> str:
    if not found:
        return "-"
    points = " ".join(f"{one['points']:.2f}" for one in found)
    speed = found[0]["steps"] / found[0]["seconds"]
    mark = "**" if all(one["points"] >= enough for one in found) else ""
    per_second = f"{speed / 1e3:.0f}k/s" if speed >= 1e3 else f"{speed:.0f}/s"
    return f"{mark}{points}{mark} ({per_second})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--row", nargs="+", choices=ALL)
    parser.add_argument("--learner", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--task", nargs="+", choices=[*ENOUGH, *LONG])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seeds", default="0:1", help="first:end")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.report:
        report()
        return
    first, end = map(int, arguments.seeds.split(":"))
    tasks = arguments.task or list(LONG if arguments.long else ENOUGH)
    ways = ["reward"] if arguments.long else arguments.learner
    rows = arguments.row or list(LONG_ROWS if arguments.long else ROWS)
    cases = [Case(r, w, t, s) for s in range(first, end) for w in ways for t in tasks for r in rows]
    cases = [case for case in cases if not case.path.exists()]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=1) as pool:
        for line in pool.imap_unordered(Case.run, cases):
            print(line, flush=True)


if __name__ == "__main__":
    main()
