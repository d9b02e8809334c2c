"""Seeds side by side: each ends as it would alone, and none takes another down."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tiny_runs import CARTPOLE, SAME, stopped_after

from rlrnn.errors import UserError
from rlrnn.experiment.runs import leases, runs
from rlrnn.experiment.training import seeds, side_by_side, training
from rlrnn.experiment.training.seeds import Task, train_seeds
from rlrnn.shell.cli import main

RECIPE = dataclasses.replace(CARTPOLE, wrappers=({"name": "hide", "drop": [1, 3]},))
CRASHING = """
    import os
    import gymnasium as gym
    import numpy as np
    from gymnasium import spaces

    class Crashing(gym.Env):
        observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.fatal = seed is not None and seed // 10_000_000 == 2  # of run 1
            self.steps = 0
            return np.zeros(1, np.float32), {{}}

        def step(self, action):
            self.steps += 1
            if self.fatal:
                {how}
            return np.zeros(1, np.float32), 1.0, self.steps == 5, False, {{}}

    gym.register("test_seeds/{name}-v0", entry_point=Crashing)
"""


def tasks(folder: Path, count: int = 3, recipe=RECIPE, **options) -> list[Task]:
    return [Task(recipe, k, folder / f"seed{k}", **options) for k in range(count)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return [training.train(RECIPE, k, folder / f"seed{k}", progress=False).folder for k in range(3)]


def test_each_seed_ends_as_it_would_alone_and_broken_off_ones_go_on(alone, tmp_path):
    with stopped_after(2):
        training.train(RECIPE, 1, tmp_path / "seed1", progress=False, checkpoint_seconds=0.0)
    training.train(RECIPE, 2, tmp_path / "seed2", progress=False)
    before = (tmp_path / "seed2" / "agent.zip").stat().st_mtime_ns
    outcome = train_seeds(tasks(tmp_path), jobs=2, progress=False)
    assert [run.seed for run in outcome.finished] == [0, 1, 2]
    assert outcome.skipped == [2] and not outcome.failed
    assert (tmp_path / "seed2" / "agent.zip").stat().st_mtime_ns == before
    for folder in alone:
        for name in SAME:
            assert (tmp_path / folder.name / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "how", "told"),
    [
        (
            "killed",
            "os.kill(os.getpid(), 9)",
            "its process ended by SIGKILL. To resume it: rlrnn train --resume",
        ),
        pytest.param(
            "broken",
            "return np.zeros(1, np.float32), np.nan, False, False, {}",
            "gave the reward nan",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_seed_that_fails_takes_no_other_down_and_is_reported_at_the_end(
    name, how, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(CRASHING).format(name=name, how=how))
    recipe = dataclasses.replace(RECIPE, game=f"test_seeds/{name}-v0", wrappers=())
    (tmp_path / "tiny.toml").write_text(runs.to_toml(recipe))
    assert main(["train", "tiny.toml", "--seeds", "2", "--jobs", "2", "--import", f"{name}.py"]) == 2
    said = capsys.readouterr()
    assert "1 of 2 seeds are finished, in runs/tiny" in said.out
    last = said.err.splitlines()[-1]
    assert last.startswith("rlrnn: Seed 1 failed: ") and told in last
    found = [runs.read_run(tmp_path / "runs" / "tiny" / f"seed{k}").status for k in range(2)]
    assert found[0] == "finished" and found[1] in ("training", "interrupted")


def test_a_run_of_another_kind_of_processor_is_told_before_a_process_is_started(tmp_path, monkeypatch):
    """And no other seed waits for it."""
    with stopped_after(1):
        training.train(RECIPE, 0, tmp_path / "seed0", progress=False, checkpoint_seconds=0.0)
    path = tmp_path / "seed0" / "versions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": "another"}))
    done = []

    def do(k, job, running, shown):
        done.append(job.name)
        training.train(RECIPE, k, job.folder, progress=False)
        return ""

    monkeypatch.setattr(side_by_side, "_do", do)
    outcome = train_seeds(tasks(tmp_path, 2), jobs=1, progress=False)
    assert done == ["seed 1"] and [run.seed for run in outcome.finished] == [1]
    assert not outcome.failed and list(outcome.elsewhere) == [0]
    with pytest.raises(
        UserError, match=r"^Seed 0 failed: the run .* began on another kind of processor \(ano"
    ):
        outcome.check()


@pytest.mark.parametrize("sooner", ["trains", "has finished"])
def test_a_seed_that_someone_trains_by_hand_meanwhile_has_not_failed(sooner, alone, tmp_path, monkeypatch):
    """Who comes without asking for a turn, while this one's process starts, is sooner."""
    real = side_by_side._do
    with ExitStack() as block:

        def do(k, job, running, shown):
            shutil.copytree(alone[0], job.folder)
            if sooner == "trains":
                versions = job.folder / "versions.json"
                versions.write_text(versions.read_text().replace("finished", "training"))
                block.enter_context(leases.held(job.folder))
            why = real(k, replace(job, do=partial(training.train, RECIPE, 0, job.folder)), running, shown)
            assert "holds a run already" in why
            return why

        monkeypatch.setattr(side_by_side, "_do", do)
        outcome = train_seeds(tasks(tmp_path, 1), jobs=1, progress=False)
    assert not outcome.failed
    assert [run.seed for run in outcome.finished] == ([0] if sooner == "has finished" else [])
    assert [other.process for other in outcome.others.values()] == (
        [os.getpid()] if sooner == "trains" else []
    )


def test_jobs_must_be_a_number():
    with pytest.raises(UserError, match="jobs is 0, but must be a whole number of at least 1"):
        train_seeds([], 0)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
@pytest.mark.parametrize(
    "how", [pytest.param("told", marks=pytest.mark.slow), "all told", "alone", "all ended"]
)
def test_ctrl_c_and_sigterm_save_every_seed_and_so_does_the_death_of_the_parent(how, tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=10_000_000)
    (tmp_path / "long.toml").write_text(runs.to_toml(recipe))
    command = [sys.executable, "-m", "rlrnn", "train", "long.toml", "--seeds", "2", "--jobs", "2"]
    root = Path(seeds.__file__).parents[3]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    logs = [tmp_path / "runs" / "tiny" / f"seed{k}" / "episodes.csv" for k in range(2)]
    deadline = time.monotonic() + 120
    while not all(log.exists() and log.stat().st_size > 100 for log in logs):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    if how.startswith("all"):  # a terminal's Ctrl-C, or a scheduler's SIGTERM
        os.killpg(process.pid, signal.SIGINT if how == "all told" else signal.SIGTERM)
    else:
        process.send_signal(signal.SIGINT if how == "told" else signal.SIGKILL)
    said = process.communicate(timeout=60)[1]  # to its end, which comes when all seeds have ended
    assert process.returncode == {"alone": -signal.SIGKILL, "all ended": 143}.get(how, 130), said
    for k, log in enumerate(logs):
        assert (f"Seed {k}: interrupted. Stopped after" in said) == (how != "alone")
        assert runs.read_run(log.parent).status == "interrupted"
        assert runs.read_run(log.parent).agent().num_timesteps > 0
