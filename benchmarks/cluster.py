"""Trainings on clusters that lose workers, nodes and jobs, beside one process: the same file?

    python benchmarks/cluster.py ray
    python benchmarks/cluster.py games
    python benchmarks/cluster.py submitit

ray: an evolution on a Ray cluster of three nodes, all on this machine (``ray.cluster_utils.Cluster``), each
of one core. While an agent of the catalogue evolves, a thread kills a random worker by SIGKILL again and
again, and once in between a node without grace. The training ends with the generation after the one in which
the last kill came; the same number of generations in this process alone must then give the agent's file byte
for byte.

games: on such a cluster, a learner from reward whose copies of a game of Gymnasium's are stepped there, with
the same kills; the training ends with the rollout after the last one.

submitit: jobs of submitit's local executor, a seed each, which are preempted at random moments, as srun does
when a job's time is over, and requeued; then the same seeds without jobs.

What was done is a line in ``results/cluster.jsonl``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # of a cluster that lives as long as this process
os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers give way to all others on this machine

from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common import ray_actors
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import runs
from rlrnn.shell.cli import main as shell

RESULTS = Path(__file__).parent / "results" / "cluster.jsonl"


class Killer(BaseCallback):
    """Kills workers while they play, and stops the training a round after it is done.

    A round is a generation of an evolution, a rollout of any other learner.
    """

    def __init__(self, kills: int, pause: float, remove_node: Any) -> None:
        super().__init__()
        self.kills, self.pause, self.remove_node = kills, pause, remove_node
        self.thread = threading.Thread(target=self._kill, daemon=True)
        self.done: list[str] = []
        self.last = -1  # the round that was played when the last kill came
        self.rollouts = 0

    def _on_training_start(self) -> None:
        self.thread.start()

    def _kill(self) -> None:
        chance = random.Random(0)
        half, kills = self.kills // 2, self.kills + 1
        while len(self.done) < kills:
            time.sleep(0.1)
            ready = [one for one in self._workers() if one.pid and not one.died]
            if self.rounds <= self.last or len(ready) < 2:  # a round goes by, and one lives on
                continue
            time.sleep(self.pause * chance.random())
            self.last = self.rounds
            if len(self.done) == half:
                self.remove_node()
                self.done.append("node")
            else:
                with contextlib.suppress(ProcessLookupError):  # it was on the node
                    os.kill(chance.choice(ready).pid, signal.SIGKILL)
                    self.done.append("worker")

    @property
    def rounds(self) -> int:
        """That were played."""
        return getattr(self.model, "generations", self.rollouts)

    def _workers(self) -> list[Any]:
        if not hasattr(self.model, "generations"):
            return list(self.training_env.unwrapped._engine._workers)
        fitness = self.model._fitness
        return list(fitness.scheduler.workers) if fitness else []

    def _on_rollout_end(self) -> None:
        self.rollouts += 1

    def _on_step(self) -> bool:
        return self.thread.is_alive() or self.rounds < self.last + 2


class Count(BaseCallback):
    """Stops after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.steps


def trained(recipe: Recipe, callback: Any, workers: int | None = None, on: str | None = None) -> Any:
    """The agent after a training that the callback ends."""
    game = catalogue.game_of(recipe)
    with contextlib.closing(agents.copies(recipe, game, 0, workers, on=on)) as env:
        agent = agents.learner(recipe, env, 0)
        agents.share(agent, game, workers, on=on)
        agent.learn(10**9, callback)
    return agent


def digest(agent: Any) -> str:
    """Of the agent's file."""
    file = io.BytesIO()
    agent.save(file)
    return hashlib.sha256(file.getvalue()).hexdigest()


def on_ray(recipe: Recipe, kills: int, pause: float) -> dict[str, Any]:
    """On three nodes with kills, then alone."""
    ray_actors._ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    killer = Killer(kills, pause, lambda: cluster.remove_node(nodes[0], allow_graceful=False))
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        shared = trained(recipe, killer, 3, f"ray:{cluster.address}")
    seconds = time.perf_counter() - began
    lines = [line for line in said.getvalue().splitlines() if "takes its place" in line]
    alone = trained(recipe, Count(shared.num_timesteps), 0)
    return {
        "agent": recipe.name,
        "game": catalogue.game_of(recipe).id,
        "nodes": 3,
        "kills": {what: killer.done.count(what) for what in ("worker", "node")},
        "replaced": len(lines),
        "said": sorted({line.split(" ended ")[1] for line in lines}),
        "rounds": killer.rounds,
        "steps": [shared.num_timesteps, alone.num_timesteps],
        "sha256": [digest(shared), digest(alone)],
        "equal": digest(shared) == digest(alone),
        "seconds": round(seconds, 1),
        **ray_actors.facts(),
    }


def by_jobs(recipe: Recipe, kills: int, pause: float, seeds: int = 2) -> dict[str, Any]:
    """A job for each seed, of which the first is preempted again and again; then without jobs."""
    import submitit
    from submitit.local.local import LocalJobEnvironment

    made: list[Any] = []
    real = submitit.AutoExecutor.submit
    submitit.AutoExecutor.submit = lambda self, job: made.append(real(self, job)) or made[-1]
    chance, began = random.Random(0), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", recipe.name, "--seeds", str(seeds), "--quiet", "--out"]
        there, alone = Path(folder, "jobs"), Path(folder, "alone")
        rlrnn(*words, str(there), "--on", "local:timeout_min=60")
        controller, log = made[0]._process.pid, there / "seed0" / "episodes.csv"
        done = 0  # that executor starts a job six times at most
        while done < min(kills, 5) and played_on(made[0], log):
            time.sleep(pause * chance.random())
            children = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
            if not children or runs.is_finished(there / "seed0"):
                break
            os.kill(int(children[0]), LocalJobEnvironment._usr_sig())
            done += 1
            while printed(made[0]).count("Resuming from") < done and made[0]._process.poll() is None:
                time.sleep(0.1)
        for job in made:
            job.result()
        seconds, said = time.perf_counter() - began, printed(made[0])
        rlrnn(*words, str(alone), "--jobs", "1")
        files = [
            [
                hashlib.sha256((at / f"seed{k}" / "agent.zip").read_bytes()).hexdigest()
                for at in (there, alone)
            ]
            for k in range(seeds)
        ]
    return {
        "agent": recipe.name,
        "jobs": seeds,
        "preempted": done,
        "resumed": said.count("Resuming from"),
        "steps": recipe.steps,
        "sha256": files,
        "equal": all(one == other for one, other in files),
        "seconds": round(seconds, 1),
        "submitit": submitit.__version__,
        **ray_actors.facts(),
    }


def played_on(job: Any, log: Path) -> bool:
    """Wait until a job has played more episodes; False where it ends before."""

    def size() -> int:
        return log.stat().st_size if log.exists() else 0

    before = size()
    while size() == before:
        if job._process.poll() is not None:
            return False
        time.sleep(0.1)
    return True


def printed(job: Any) -> str:
    """What a job has printed so far."""
    return "".join(path.read_text() for path in (job.paths.stdout, job.paths.stderr) if path.exists())


def rlrnn(*words: str) -> None:
    if status := shell(list(words)):
        sys.exit(status)


WORK: dict[str, tuple[Callable[..., dict[str, Any]], str, str]] = {
    "ray": (on_ray, "pong-evolved", ""),
    "games": (on_ray, "cartpole-gru", "CartPole-v1"),
    "submitit": (by_jobs, "recall-4-gru", ""),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(WORK))
    parser.add_argument("--agent", help="of the catalogue")
    parser.add_argument("--game", help="instead of the agent's")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds at most from a round to a kill")
    told = parser.parse_args()
    work, name, game = WORK[told.what]
    recipe, game = catalogue.agent(told.agent or name), told.game or game
    if game:
        recipe = dataclasses.replace(recipe, game=game, verified=None)
    row = {"on": told.what, **work(recipe, told.kills, told.pause)}
    print(json.dumps(row, indent=2))
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    sys.exit(not row["equal"])


if __name__ == "__main__":
    main()
