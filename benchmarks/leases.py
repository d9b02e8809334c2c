"""Many processes, started at once on one tree of runs: is each run trained once, whoever is killed?

    python benchmarks/leases.py --processes 100 --seeds 50 --kills 10

The processes are forks of this one, which has imported everything, on two hosts that are simulated by their
names: of those of another host, only their leases tell whether they live. Each does `rlrnn train tiny.toml
--seeds 50 --jobs 1`; trainings are forks, too, where they are otherwise interpreters of their own, which
take seconds to start. Every training that begins says so in a file. Some are killed (SIGKILL) on the way,
each with its parent, and at last all of one host at once; who is left takes their runs over, and in the end
more such processes come until nothing is missing. Then runs are compared, byte by byte, with those of a
training alone.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rlrnn.common.modules import import_module
from rlrnn.experiment.recipes import EvaluationRecipe, NetworkRecipe, PpoRecipe, Recipe
from rlrnn.experiment.runs import leases, runs
from rlrnn.experiment.training import side_by_side
from rlrnn.experiment.training.side_by_side import Job
from rlrnn.experiment.training.training import train
from rlrnn.shell.cli import main as shell

TINY = Recipe(
    name="tiny",
    game="rlrnn/CartPole-v1",
    steps=8_000,
    wrappers=({"name": "hide", "drop": [1, 3]},),
    callbacks=({"name": "counted"},),
    network=NetworkRecipe(hidden_size=8, net_arch=(8,)),
    ppo=PpoRecipe(n_envs=4, n_steps=32, batch_size=64, n_epochs=2),
    evaluation=EvaluationRecipe(episodes=2),
)
COUNTED = """
import os
import rlrnn
from stable_baselines3.common.callbacks import BaseCallback

class Counted(BaseCallback):
    def _on_training_start(self):
        with open("begun", "ab", buffering=0) as file:
            file.write(f"{self.model.seed} {os.getpid()} {os.getppid()}\\n".encode())

    def _on_step(self):
        return True

rlrnn.register_callback("counted", Counted)
"""
GO, BEGUN, TREE = Path("go"), Path("begun"), Path("runs/tiny")
TAKEN = "was taken over from"
SAME = ("agent.zip", "episodes.csv", "score.json")


def begun() -> list[tuple[int, int, int]]:
    """Of every training that began or went on: seed, process and the one that started it."""
    lines = BEGUN.read_text().splitlines() if BEGUN.exists() else []
    return [tuple(map(int, line.split())) for line in lines]  # type: ignore[misc]


def forked(work: Callable[[], Any], log: str | None = None) -> int:
    """A process that does such work."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if log is not None:
                for stream in (1, 2):
                    os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
            status = work() or 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    return child


def end_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def do(k: int, job: Job, running: Any, shown: Any) -> str:
    """A training in a fork, in the place of ``side_by_side``'s own."""
    code = end_of(forked(job.do))
    return f"its process ended with {code}." if code else ""


def train_seeds(host: str, count: int) -> int:
    os.environ["RLRNN_HOST"] = host
    while not GO.exists():
        time.sleep(0.01)
    return shell(
        ["train", "tiny.toml", "--seeds", str(count), "--jobs", "1", "--quiet", "--import", "counted.py"]
    )


def alone(seed: int) -> Path:
    folder = Path("alone", f"seed{seed}")
    if not folder.exists():
        train("tiny.toml", seed, folder, progress=False)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--lease", type=float, default=60.0, help="seconds (usually: 180)")
    parser.add_argument("--compare", type=int, default=5, help="runs that are trained alone, too")
    given = parser.parse_args()
    os.environ |= {"RLRNN_LEASE": str(given.lease), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    side_by_side._do = do
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("counted.py").write_text(COUNTED)
        Path("tiny.toml").write_text(runs.to_toml(TINY))
        import_module("counted.py")
        for seed in range(given.compare):
            alone(seed)  # which compiles what the forks then have
        BEGUN.unlink()
        measure(given)


def measure(given: argparse.Namespace) -> None:
    rng, start = random.Random(0), time.perf_counter()
    host_of = {
        forked(partial(train_seeds, f"host{k % 2}", given.seeds), f"log{k}"): k % 2
        for k in range(given.processes)
    }
    children = set(host_of)
    print(f"{len(children)} processes forked in {time.perf_counter() - start:.1f} s", flush=True)
    GO.touch()
    start = time.perf_counter()
    ends: Counter[int] = Counter()
    kills: Counter[int] = Counter()
    killed: set[int] = set()
    due = sorted(rng.sample(range(1, given.seeds), given.kills))  # after so many trainings have begun
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            children.remove(child)
            ends[os.waitstatus_to_exitcode(status)] += 1
        now = begun()
        running = [
            row for row in now if row[2] in children - killed and leases._started(row[1]) not in (None, -1)
        ]
        if running and due and len(now) >= due[0]:
            dying = [rng.choice(running)]
            del due[0]
            if not due:  # the host that dies
                dying = [row for row in running if host_of[row[2]] == 1]
                for child in [child for child in children if host_of[child] == 1]:
                    os.kill(child, signal.SIGKILL)
            for seed, training, parent in dying:
                for process in (parent, training):
                    with suppress(ProcessLookupError):  # it has just ended
                        os.kill(process, signal.SIGKILL)
                killed.add(parent)
                kills[seed] += 1
        time.sleep(0.01)
    here = [runs.is_finished(TREE / f"seed{k}") for k in range(given.seeds)]
    print(
        f"{time.perf_counter() - start:.0f} s: {sum(here)} runs finished; statuses {dict(ends)} (-9: killed)"
    )
    start = time.perf_counter()
    later = 0
    while not all(runs.is_finished(TREE / f"seed{k}") for k in range(given.seeds)):
        later += 1
        assert end_of(forked(partial(train_seeds, "later", given.seeds), "late")) == 0, Path(
            "late"
        ).read_text()
        time.sleep(1.0)
    print(f"{later} more processes in turn finished the rest in {time.perf_counter() - start:.0f} s")
    times = Counter(row[0] for row in begun())
    taken = [
        line for log in Path().glob("l*") for line in log.read_text().splitlines() if "taken over" in line
    ]
    print(f"trainings begun: {sum(times.values())}; killed, by seed: {dict(sorted(kills.items()))}")
    print(f"locks that were taken over from another host: {len(taken)}")
    twice = {seed: count for seed, count in times.items() if count > 1 + kills[seed]}
    assert len(times) == given.seeds and not twice, f"trained twice: {twice}"
    assert not [*TREE.rglob("lock*"), *TREE.glob(".*")], "locks are left"
    compared = {*kills, *range(given.compare)}
    for seed in compared:
        for name in SAME:
            one, other = (path / name for path in (TREE / f"seed{seed}", alone(seed)))
            assert one.read_bytes() == other.read_bytes(), one
    print(f"{len(compared)} runs, those that were killed among them, have the bytes of a training alone")


if __name__ == "__main__":
    main()
