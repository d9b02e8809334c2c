"""Many processes and their shares of seeds, in the shell."""

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import TINY

from rlrnn.errors import FileFault
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import Verified
from rlrnn.experiment.runs import leases, runs
from rlrnn.experiment.training import seeds, training, verifying
from rlrnn.experiment.training.seeds import Outcome, Task, train_seeds
from rlrnn.shell.cli import main

ROOT = Path(leases.__file__).parents[3]
COUNTED = """
    import os
    import rlrnn
    from stable_baselines3.common.callbacks import BaseCallback

    class Counted(BaseCallback):
        def _on_training_start(self):
            with open("begun", "ab", buffering=0) as file:
                file.write(f"{self.model.seed}\\n".encode())

        def _on_step(self):
            return True

    rlrnn.register_callback("counted", Counted)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    Path("tiny.toml").write_text(runs.to_toml(TINY))


def asked(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """What would be trained."""
    found: list[Task] = []
    monkeypatch.setattr(seeds, "train_seeds", lambda tasks, *_: found.extend(tasks) or Outcome())
    return found


@pytest.mark.parametrize("option", [["--control", "stacked"], []])
def test_a_shard_is_a_part_of_the_seeds(option: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch)
    assert main(["train", "tiny.toml", "--seeds", "8", "--seed", "10", "--shard", "2/3", *option]) == 0
    assert [task.seed for task in found] == [11, 14, 17]
    assert {task.recipe.name for task in found} == {"tiny-stacked" if option else "tiny"}


def test_an_array_job_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"ID": 3, "MIN": 1, "MAX": 10, "COUNT": 10}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    found = asked(monkeypatch)
    assert main(["train", "tiny.toml", "--seeds", "20"]) == 0
    assert [task.seed for task in found] == [2, 12]
    said = "rlrnn: shard 3/10, from SLURM_ARRAY_TASK_ID: seeds 2 and 12 of 20; --shard all trains all.\n"
    assert capsys.readouterr().err == said
    found.clear()
    assert main(["train", "tiny.toml", "--seeds", "20", "--shard", "all"]) == 0
    assert [task.seed for task in found] == list(range(20)) and not capsys.readouterr().err


@pytest.mark.parametrize("given", ["--seeds 3 --jobs=2 --seed 4", "--jo 2 --seeds=3 --seed=4 --shard all"])
def test_commands_are_printed_one_a_seed_and_each_does_its_own(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--set", "ppo.clip_range={start = 0.2, end = 0.0}", "--steps", "256"]
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trains"))
    assert main(["train", "tiny.toml", *shlex.split(given), *more, "--print-commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "rlrnn train tiny.toml --set 'ppo.clip_range={start = 0.2, end = 0.0}' --steps 256 "
        "--seeds 1 --seed 4 --shard all"
    )
    found = asked(monkeypatch)
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0
    assert [task.seed for task in found] == [4, 5, 6]
    assert {task.recipe.steps for task in found} == {256}
    assert {task.folder.parent for task in found} == {Path("runs/tiny")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--shard 1/2", "--shard is for several seeds: add --seeds N."),
        ("--print-commands", "--print-commands is for several seeds: add --seeds N."),
        ("--seeds 2 --shard 3/2", "argument --shard: the shard '3/2' is none: give I/N, such as 3/10"),
        ("--resume --print-commands", "leave out --print-commands, or --resume"),
        ("--resume --shard 1/2", "leave out --shard, or --resume"),
    ],
)
def test_mistakes(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["train", "tiny.toml", *words.split()])
    except SystemExit as stop:
        status = stop.code  # type: ignore[assignment]
    assert status == 2 and said in capsys.readouterr().err


def test_seeds_that_others_train_are_left_to_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Whether they have their turn, as they begin, or hold the run already."""
    folder = Path("runs/tiny")
    runs.open_run(folder / "seed1", TINY, 1, None, False)
    with leases.turn(folder / "seed0"), leases.held(folder / "seed1"):
        assert main(["train", "tiny.toml", "--seeds", "2"]) == 0
    said = capsys.readouterr()
    assert "0 of 2 seeds are finished" in said.out
    last = f"seeds 0 and 1 are being trained by other processes (on {leases.host()}): nothing is left to take"
    assert said.err.splitlines()[-1] == f"rlrnn: {last} here."
    assert not (folder / "seed0").exists() and runs.read_run(folder / "seed1").status == "training"
    assert not list(folder.glob(".*"))


def test_a_turn_is_refused_where_the_folder_cannot_be_made() -> None:
    Path("file").write_text("")
    outcome = train_seeds([Task(TINY, 0, Path("file/seed0"))], 1, progress=False)
    assert "file" in outcome.failed[0]


def test_verify_takes_shards_and_gives_its_verdict_when_all_are_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = dataclasses.replace(
        TINY, verified=Verified((10.0, 14.0), (0, 1), "0.1.0", "by hand", wiped=(1.0, 2.0))
    )
    monkeypatch.setattr(catalogue, "agent", lambda name: known)
    assert main(["verify", "tiny", "--shard", "2/2", "--jobs", "1"]) == 0
    assert "seed 0 of 2 is not finished: the verdict comes by rlrnn verify" in capsys.readouterr().out
    before = Path("runs/tiny-again/seed1/agent.zip").stat().st_mtime_ns
    assert main(["verify", "tiny", "--shard", "1/2", "--jobs", "1"]) in (0, 1)
    assert "tiny is " in capsys.readouterr().out
    assert Path("runs/tiny-again/seed1/agent.zip").stat().st_mtime_ns == before
    assert verifying.trained_again(known) == (0, 1)


def test_many_processes_train_each_seed_once(tmp_path: Path) -> None:
    """On two simulated hosts, all started at once."""
    count = 3
    recipe = dataclasses.replace(TINY, callbacks=({"name": "counted"},))
    Path("counted.py").write_text("\n".join(line[4:] for line in COUNTED.splitlines()))
    Path("tiny.toml").write_text(runs.to_toml(recipe))
    command = [sys.executable, "-m", "rlrnn", "train", "tiny.toml", "--seeds", str(count), "--jobs", "1"]
    known = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    how: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen(
            [*command, "--import", "counted.py"], env=known | {"RLRNN_HOST": f"host{k % 2}"}, **how
        )
        for k in range(4)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert sorted(Path("begun").read_text().split()) == [str(k) for k in range(count)]
    assert all(runs.is_finished(Path(f"runs/tiny/seed{k}")) for k in range(count))
    assert not list(Path("runs/tiny").glob(".*")) and not list(Path("runs").glob("tiny/*/lock*"))


def test_a_run_of_another_process_is_not_resumed_by_hand() -> None:
    runs.open_run("run", TINY, 0, None, False)
    with leases.held(Path("run")), pytest.raises(FileFault, match="by another process: wait for it"):
        training.resume("run", progress=False)
