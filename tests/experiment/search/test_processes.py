"""A search by real processes: the same study for any number of workers, and however often it is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_studies import RECIPE, SPACE, facts

import rlrnn
from rlrnn.experiment.runs import runs

pytest.importorskip("optuna")

STUDY = """recipe = "mine.toml"
name = "tiny"
trials = 6
wave = 3
seeds = [200, 201]
rungs = [0.3, 1.0]
episodes = 3
best = 1
verify = [0, 1]
controls = 1

[space]
"""


def begun(folder: Path, jobs: int) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "mine.toml").write_text(runs.to_toml(RECIPE))
    rows = [
        f'"{key}" = {{ {", ".join(f"{name} = {toml(value)}" for name, value in entry.items())} }}'
        for key, entry in SPACE.items()
    ]
    (folder / "study.toml").write_text(STUDY + "\n".join(rows) + "\n")
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rlrnn",
            "search",
            "study.toml",
            "--jobs",
            str(jobs),
            "--quiet",
            "--out",
            "run",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(rlrnn.__file__).parents[1])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", '"')


def ended(process: subprocess.Popen[str], seconds: float = 600.0) -> str:
    said = process.communicate(timeout=seconds)[1]
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("whole")
    ended(begun(folder, 2))
    return facts(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 4])
def test_any_number_of_workers_gives_the_same_study(jobs: int, whole: object, tmp_path: Path) -> None:
    ended(begun(tmp_path, jobs))
    assert facts(tmp_path / "run") == whole


@pytest.mark.slow
def test_two_processes_share_a_study(whole: object, tmp_path: Path) -> None:
    for process in [begun(tmp_path, 1), begun(tmp_path, 1)]:
        ended(process)
    assert facts(tmp_path / "run") == whole


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_ten_kills_at_random_moments_change_nothing(whole: object, tmp_path: Path) -> None:
    """All of its processes at once, or the searching one alone, by SIGKILL, SIGTERM or Ctrl-C."""
    rng = random.Random(0)
    kills = 0
    for _ in range(10):
        process = begun(tmp_path, 2)
        time.sleep(rng.uniform(3.0, 15.0))
        if process.poll() is not None:
            break
        how = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        if rng.random() < 0.5:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        process.communicate(timeout=120)
        kills += 1
    assert kills >= 3
    ended(begun(tmp_path, 2))
    assert facts(tmp_path / "run") == whole
