"""Jobs of a scheduler: one a seed, which go on after they were interrupted. Local ones need submitit."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlrnn.errors import EnvironmentFault, MissingExtraError, UserError
from rlrnn.experiment.training import jobs
from rlrnn.shell.cli import main

RECIPE = """
game = "mine/Gated-v0"
steps = 400
[network]
cell = "elman"
hidden_size = 2
[evolution]
strategy = "snes"
settings = { population = 8, sigma = 0.5 }
episodes = 1
[evaluation]
episodes = 2
"""
# Its hundredth episode waits until the gate is open.
GAME = """
import os, time
from pathlib import Path
import gymnasium as gym
import numpy as np

class Gated(gym.Env):
    observation_space, action_space = gym.spaces.Box(-9, 9, (2,)), gym.spaces.Discrete(2)
    episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Gated.episodes += 1
        while Gated.episodes > 100 and not Path(os.environ["GATE"], "open").exists():
            Path(os.environ["GATE"], f"{os.getpid()}").touch()
            time.sleep(0.05)
        self.goal, self.steps = self.np_random.normal(size=2), 0
        return self.goal.clip(-9, 9).astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), float(self.goal[action]), self.steps == 2, False, {}

gym.register("mine/Gated-v0", Gated)
"""


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("slurm:gpu", "'gpu' is no NAME=VALUE; write it as in slurm:partition=gpu,timeout_min=60"),
        ("slurm:=3", "'=3' is no NAME=VALUE"),
        ("local:timeout_min=", "'timeout_min=' is no NAME=VALUE"),
    ],
)
def test_parameters_that_are_none_are_refused(on: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        jobs.submit(on, [["list"]], tmp_path, "mine")
    assert not list(tmp_path.iterdir())


def test_without_submitit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rlrnn\[slurm\]'"):
        jobs.submit("slurm", [["list"]], tmp_path, "mine")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--on", "slurm"], "submits a job for each of several seeds: add --seeds N"),
        (["--on", "ray", "--seeds", "2"], "leave out --seeds, or take --on slurm"),
    ],
)
def test_what_does_not_go_together_is_said(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "cartpole-evolved", *more]) == 2
    assert said in capsys.readouterr().err


def test_without_slurm_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit", reason="submitit is not installed: pip install 'rlrnn[slurm]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"--on slurm finds no SLURM here .*srun.*: run it where srun"):
        jobs.submit("slurm", [["list"]], tmp_path, "mine")
    with pytest.raises(UserError, match=r"--on local:colour=red is not what submitit takes"):
        jobs.submit("local:colour=red", [["list"]], tmp_path, "mine")
    assert submitit.__version__ >= "1.5"


@pytest.mark.parametrize(("status", "waits"), [(143, [jobs._GRACE]), (-15, [jobs._GRACE]), (1, []), (-9, [])])
def test_a_job_whose_training_a_signal_ended_leaves_what_comes_next_to_the_scheduler(
    status: int, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler sends SIGTERM twice, or before a training can save: it requeues the job all the same."""
    naps: list[float] = []
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda _: SimpleNamespace(wait=lambda: status))
    monkeypatch.setattr(jobs.time, "sleep", naps.append)
    monkeypatch.setattr(jobs, "_running", [])
    with pytest.raises(RuntimeError, match=rf"^rlrnn list ended with status {status}: see its errors above"):
        jobs.RunJob(("list",))()
    assert naps == waits


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for a process where Linux tells")
@pytest.mark.filterwarnings("ignore")
def test_a_job_that_is_preempted_is_requeued_and_ends_in_the_same_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitit = pytest.importorskip("submitit", reason="submitit is not installed: pip install 'rlrnn[slurm]'")
    from submitit.local.local import LocalJobEnvironment

    made = []
    real = submitit.AutoExecutor.submit
    monkeypatch.setattr(
        submitit.AutoExecutor, "submit", lambda self, job: made.append(real(self, job)) or made[-1]
    )
    (tmp_path / "mine.toml").write_text(RECIPE)
    (tmp_path / "gated.py").write_text(GAME)
    gate = tmp_path / "gate"
    gate.mkdir()
    monkeypatch.setenv("GATE", str(gate))
    words = ["train", str(tmp_path / "mine.toml"), "--import", str(tmp_path / "gated.py"), "--seeds", "2"]
    assert (
        main([*words, "--quiet", "--on", "local:timeout_min=60", "--out", str(tmp_path / "jobs-runs")]) == 0
    )
    said = capsys.readouterr().out
    assert [f"seed {k}: job {job.job_id}" in said for k, job in enumerate(made)] == [True, True]
    until(lambda: len(list(gate.iterdir())) == 2)
    controller = made[0]._process.pid
    (task,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(task), LocalJobEnvironment._usr_sig())  # as srun does when a job's time is over
    until(lambda: "requeue" in printed(made[0]).lower())
    (gate / "open").touch()
    for job in made:
        job.result()
    assert "Stopped after" in printed(made[0]) and "Resuming from" in printed(made[0])
    assert main([*words, "--quiet", "--jobs", "1", "--out", str(tmp_path / "runs")]) == 0
    for seed in ("seed0", "seed1"):
        files = [(tmp_path / name / seed / "agent.zip").read_bytes() for name in ("jobs-runs", "runs")]
        assert files[0] == files[1]


def until(true: Callable[[], bool]) -> None:
    """Wait for it, for ten minutes at most."""
    for _ in range(6_000):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("it did not come")


def printed(job: Any) -> str:
    """What a job has printed so far."""
    return "".join(path.read_text() for path in (job.paths.stdout, job.paths.stderr) if path.exists())
