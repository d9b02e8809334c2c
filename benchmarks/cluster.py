"""Evolutions on a Ray cluster of three nodes, whose workers and one node are killed, beside one process.

    python benchmarks/cluster.py ray

All nodes are on this machine (``ray.cluster_utils.Cluster``), each of one core. While an agent of the
catalogue evolves, a thread kills a random worker by SIGKILL again and again, and once in between a node
without grace. The training ends with the generation after the one in which the last kill came; the same
number of generations in this process alone must then give the agent's file byte for byte. What was done is a
line in ``results/cluster.jsonl``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # of a cluster that lives as long as this process
os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers give way to all others on this machine

from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common import ray_actors
from rlrnn.experiment import agents, catalogue

RESULTS = Path(__file__).parent / "results" / "cluster.jsonl"


class Killer(BaseCallback):
    """Kills workers while a population plays, and stops the training a generation after it is done."""

    def __init__(self, kills: int, pause: float, remove_node: Any) -> None:
        super().__init__()
        self.kills, self.pause, self.remove_node = kills, pause, remove_node
        self.thread = threading.Thread(target=self._kill, daemon=True)
        self.done: list[str] = []
        self.last = -1  # the generation that was played when the last kill came

    def _on_training_start(self) -> None:
        self.thread.start()

    def _kill(self) -> None:
        chance = random.Random(0)
        half, kills = self.kills // 2, self.kills + 1
        while len(self.done) < kills:
            time.sleep(0.1)
            fitness, played = self.model._fitness, self.model.generations
            ready = [one for one in fitness.scheduler.workers if one.pid and not one.died] if fitness else []
            if played <= self.last or len(ready) < 2:  # a generation goes by, and one lives on
                continue
            time.sleep(self.pause * chance.random())
            self.last = self.model.generations
            if len(self.done) == half:
                self.remove_node()
                self.done.append("node")
            else:
                with contextlib.suppress(ProcessLookupError):  # it was on the node
                    os.kill(chance.choice(ready).pid, signal.SIGKILL)
                    self.done.append("worker")

    def _on_step(self) -> bool:
        return self.thread.is_alive() or self.model.generations < self.last + 2


class Count(BaseCallback):
    """Stops after so many generations."""

    def __init__(self, generations: int) -> None:
        super().__init__()
        self.generations = generations

    def _on_step(self) -> bool:
        return self.model.generations < self.generations


def evolve(name: str, callback: Any, on: str | None = None) -> Any:
    """The agent after a training that the callback ends."""
    recipe = catalogue.agent(name)
    game = catalogue.game_of(recipe)
    with contextlib.closing(agents.copies(recipe, game, 0)) as env:
        agent = agents.learner(recipe, env, 0)
        agents.share(agent, game, None, on=on)
        agent.learn(10**12, callback)
    return agent


def digest(agent: Any) -> str:
    """Of the agent's file."""
    file = io.BytesIO()
    agent.save(file)
    return hashlib.sha256(file.getvalue()).hexdigest()


def on_ray(name: str, kills: int, pause: float) -> dict[str, Any]:
    """On three nodes with kills, then alone."""
    ray_actors._ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    killer = Killer(kills, pause, lambda: cluster.remove_node(nodes[0], allow_graceful=False))
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        shared = evolve(name, killer, f"ray:{cluster.address}")
    seconds = time.perf_counter() - began
    lines = [line for line in said.getvalue().splitlines() if "takes its place" in line]
    alone = evolve(name, Count(shared.generations))
    return {
        "agent": name,
        "nodes": 3,
        "kills": {what: killer.done.count(what) for what in ("worker", "node")},
        "replaced": len(lines),
        "said": sorted({line.split(" ended ")[1] for line in lines}),
        "generations": [shared.generations, alone.generations],
        "sha256": [digest(shared), digest(alone)],
        "equal": digest(shared) == digest(alone),
        "seconds": round(seconds, 1),
        **ray_actors.facts(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["ray"])
    parser.add_argument("--agent", default="pong-evolved")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--pause", type=float, default=2.0, help="seconds at most from a generation to a kill"
    )
    told = parser.parse_args()
    row = {"on": told.what, **on_ray(told.agent, told.kills, told.pause)}
    print(json.dumps(row, indent=2))
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    sys.exit(not row["equal"])


if __name__ == "__main__":
    main()
