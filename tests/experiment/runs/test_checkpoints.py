"""A training that is killed, wherever, and resumed ends with the bytes of one that was not."""

import csv
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from playing import same
from tiny_runs import (
    CARTPOLE,
    CRITICISED,
    EVOLVED,
    PENDULUM,
    PONG,
    SAME,
    VALUED,
    Stopped,
    broken_off,
    stopped_after,
)

from rlrnn.common import files
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import agents
from rlrnn.experiment.recipes import (
    Recipe,
)
from rlrnn.experiment.runs import checkpoints, leases, runs
from rlrnn.experiment.runs.facts import INTERRUPTED
from rlrnn.experiment.training import training
from rlrnn.learners.evolution.evolution import Evolution
from rlrnn.storage import archive


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed run, by recipe."""
    made = {}

    def run(recipe: Recipe) -> Path:
        if id(recipe) not in made:
            folder = tmp_path_factory.mktemp("whole") / "seed1"
            made[id(recipe)] = training.train(recipe, 1, folder, progress=False).folder
        return made[id(recipe)]

    return run


def assert_same(folder: Path, whole: Path) -> None:
    for name in SAME:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    clock = {"time/fps", "time/time_elapsed"}
    ours, theirs = (
        [line.split(",") for line in (f / "progress.csv").read_text().splitlines()] for f in (folder, whole)
    )
    assert ours[:1] == theirs[:1] and len(ours) == len(theirs)  # no row before some episodes have ended
    kept = [i for row in ours[:1] for i, column in enumerate(row) if column not in clock]
    assert [[row[i] for i in kept] for row in ours] == [[row[i] for i in kept] for row in theirs]
    assert not (folder / "checkpoints").exists()
    assert runs.read_run(folder).status == "finished"


@pytest.mark.parametrize(
    ("recipe", "after"),
    [(recipe, after) for recipe in (CARTPOLE, PENDULUM, PONG) for after in (1, 3, 5)]
    + [(recipe, after) for recipe in (VALUED, CRITICISED) for after in (1, 4)],  # of a replay of 160 steps
    ids=lambda value: value.game if isinstance(value, Recipe) else str(value),
)
def test_a_resumed_run_ends_as_an_undisturbed_one(recipe, after, whole, tmp_path, capsys):
    folder = tmp_path / "seed1"
    broken_off(recipe, folder, after)
    assert not (folder / "agent.zip").exists()
    training.resume(folder, progress=False)
    assert_same(folder, whole(recipe))
    assert f"after {64 * after} steps" in capsys.readouterr().err


@pytest.mark.parametrize("table", ["dqn", "sac"])
def test_what_is_replayed_is_resumed_too(table, tmp_path):
    """Byte for byte, with the numbers that are drawn and what was played too little for an update."""
    recipe = {"dqn": VALUED, "sac": CRITICISED}[table]
    settings = dataclasses.replace(recipe.learner, replayed_steps=1.1)
    recipe = dataclasses.replace(recipe, **{table: settings})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    broken_off(recipe, whole, 5)
    broken_off(recipe, parts, 2)
    with stopped_after(4):  # the first of which is the one that it begins with
        training.resume(parts, progress=False, checkpoint_seconds=0.0)
    ours, theirs = (checkpoints.latest(folder)[0] for folder in (parts, whole))
    assert ours.steps == theirs.steps == 5 * 64
    for name in ("experience", "random", "games", "pending"):
        same(ours.extras[name], theirs.extras[name])
    assert ours.agent.data["_due"] == theirs.agent.data["_due"] > 0.0
    experience = ours.extras["experience"]
    assert experience["written"].min() >= 2 * len(experience["rewards"])  # its rings went round


@pytest.mark.parametrize(("after", "workers"), [(1, 0), (3, 0), (5, 0), (3, 2)])
def test_an_evolution_resumed_by_any_number_of_workers_does_too(after, workers, whole, tmp_path):
    folder = tmp_path / "seed1"
    broken_off(EVOLVED, folder, after)
    training.resume(folder, progress=False, workers=workers)
    assert_same(folder, whole(EVOLVED))


def test_the_time_that_an_evolution_may_take_counts_from_the_runs_beginning(tmp_path, monkeypatch):
    folder, given = tmp_path / "seed1", []
    limited = dataclasses.replace(EVOLVED, evolution=dataclasses.replace(EVOLVED.evolution, seconds=1000.0))
    broken_off(limited, folder, 2)
    spent = checkpoints.latest(folder)[0].seconds
    real = Evolution.learn

    def learn(agent, *rest, seconds, **options):
        given.append(seconds)
        return real(agent, *rest, seconds=seconds, **options)

    monkeypatch.setattr(Evolution, "learn", learn)
    training.resume(folder, progress=False)
    assert spent > 0.0 and given == [1000.0 - spent]


def test_it_may_be_broken_off_many_times(whole, tmp_path):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 1)
    for _ in range(3):
        with stopped_after(1):
            training.resume(folder, progress=False, checkpoint_seconds=0.0)
    training.resume(folder, progress=False)
    assert_same(folder, whole(CARTPOLE))


def test_writing_checkpoints_changes_nothing(whole, tmp_path):
    folder = tmp_path / "seed1"
    training.train(CARTPOLE, 1, folder, progress=False, checkpoint_seconds=0.0)
    assert_same(folder, whole(CARTPOLE))


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(whole, tmp_path, capsys):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 4)
    newest, older = sorted((folder / "checkpoints").iterdir(), reverse=True)
    assert (newest.name, older.name) == ("256.zip", "192.zip")
    newest.write_bytes(newest.read_bytes()[:-400])
    training.resume(folder, progress=False)
    told = capsys.readouterr().err
    assert f"{newest} is not a zip file or is damaged" in told and f"Resuming from {older}" in told
    assert_same(folder, whole(CARTPOLE))


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_without_a_whole_checkpoint_nothing_trained_is_written_over(whole, tmp_path, capsys):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 2)
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(b"PK" + path.read_bytes()[2:][::-1])
    before = files_in(folder)
    with pytest.raises(FileFault, match="holds no checkpoint to resume from, but checkpoints that cannot be"):
        training.resume(folder, progress=False)
    assert capsys.readouterr().err.count("is not a zip file or is damaged") == 2
    shutil.rmtree(folder / "checkpoints")
    shutil.copy(whole(CARTPOLE) / "agent.zip", folder)
    runs.read_run(folder).end(INTERRUPTED, steps=384, seconds=1.0)
    with pytest.raises(FileFault, match="but an agent of 384 steps, which would be lost") as refused:
        training.resume(folder, progress=False)
    again = str(refused.value).partition("start again, rlrnn ")[2].split(" keeps it")[0]
    assert again == f"train {folder / 'recipe.toml'} --seed 1 --out {folder} --overwrite"
    for path, content in before.items():
        assert (
            path.parent.name == "checkpoints" or path.name == "versions.json" or path.read_bytes() == content
        )
    (folder / "agent.zip").unlink()
    training.resume(folder, progress=False)  # there was nothing to lose
    assert "holds no checkpoint: its training starts again" in capsys.readouterr().err
    assert_same(folder, whole(CARTPOLE))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("progress.csv", b"", "progress.csv has lost 4 of its 4 rows."),
        ("progress.csv", b"\xff\n\n\n\n\n", "progress.csv is damaged: its first line"),
        ("episodes.csv", b"step,points,length\n1,1,1\n", "episodes.csv has lost "),
        (
            "episodes.csv",
            b"step,points,length\n" + b"nan,1,1\n" * 99,
            "episodes.csv is damaged: line 2 is 'nan,1",
        ),
        (
            "episodes.csv",
            b"step,points,length\n" + b"999,1,1\n" * 99,
            "has an episode that ended at step 999, and the checkpoint is of step 256",
        ),
        ("episodes.csv", None, "there is no "),
    ],
)
def test_a_damaged_log_costs_the_log_and_not_the_training(name, content, words, whole, tmp_path, capsys):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 4)
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    run = training.resume(folder, progress=False)
    told = capsys.readouterr().err
    assert words in told and "It starts again at step 256" in told
    for kept in ("agent.zip", "score.json"):
        assert (folder / kept).read_bytes() == (whole(CARTPOLE) / kept).read_bytes()
    assert run.status == "finished" and run.facts["lost"] == [name] and run.facts["best_training"] is None
    if content is not None:
        assert (folder / name.replace(".", ".damaged.")).read_bytes() == content
    with (folder / "progress.csv").open() as log:
        iterations = [row["time/iterations"] for row in csv.DictReader(log)]
    assert iterations == [str(k) for k in range(5 if name == "progress.csv" else 1, 7)]


def test_logs_go_back_to_the_checkpoint(whole, tmp_path):
    """Rows written after it would be there twice."""
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 2)
    for name in ("episodes.csv", "progress.csv"):
        with (folder / name).open("a") as log:
            log.write("1,2,3\n4,5")
    training.resume(folder, progress=False)
    assert_same(folder, whole(CARTPOLE))


def test_a_trained_agent_that_was_not_judged_is_judged(whole, tmp_path, monkeypatch):
    folder = tmp_path / "seed1"

    def refuse(*_, **__):
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "judge", refuse)
        with pytest.raises(Stopped) as stopped:
            training.train(CARTPOLE, 1, folder, progress=False)
    assert f"rlrnn train --resume {folder}" in stopped.value.__notes__[0]
    monkeypatch.setattr(training, "learn", None)  # nothing is learned again
    training.resume(folder, progress=False)
    assert_same(folder, whole(CARTPOLE))


def test_a_finished_run_is_not_resumed(whole):
    with pytest.raises(UserError, match=r"is finished: train longer by a new run with --steps and --out\."):
        training.resume(whole(CARTPOLE))


class Counting(gym.Env):
    """Counts its resets over all copies."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)
    seeds: list[int | None] = []  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.left = 10
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.full(1, self.left / 10, np.float32), 1.0, self.left == 0, False, {}


gym.register("test_checkpoints/Counting-v0", entry_point=Counting)


def test_other_games_begin_fresh_episodes_and_that_is_said(tmp_path, capsys):
    recipe = dataclasses.replace(CARTPOLE, game="test_checkpoints/Counting-v0", wrappers=())
    folder = tmp_path / "seed1"
    broken_off(recipe, folder, 2)
    begun = set(Counting.seeds) - {None}
    Counting.seeds.clear()
    run = training.resume(folder, progress=False)
    assert "all copies begin fresh episodes" in capsys.readouterr().err
    assert run.facts["steps"] == recipe.steps
    again = set(Counting.seeds) - {None, 0}  # 0: how fast a step is was measured
    assert len(again) >= 4 and not begun & again  # no copy plays its first episodes again


def test_a_run_that_is_being_trained_is_left_alone(tmp_path):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 1)
    with leases.held(folder):
        for intrude in (
            lambda: training.resume(folder, progress=False),
            lambda: training.train(CARTPOLE, 1, folder, progress=False, overwrite=True),
        ):
            with pytest.raises(FileFault, match="is being trained by another process: wait for it"):
                intrude()


def test_whoever_stops_a_training_is_told_from_where_it_would_go_on(tmp_path, monkeypatch):
    real, count = checkpoints.write, []

    def write(*arguments):
        real(*arguments)
        count.append(1)
        if len(count) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "write", write)
    with pytest.raises(KeyboardInterrupt) as stopped:
        training.train(CARTPOLE, 1, tmp_path / "seed1", progress=False, checkpoint_seconds=0.0)
    assert count and stopped.value.__notes__[0].endswith("continues after 64 steps.")


def test_other_versions_are_told(tmp_path, capsys):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 1)
    facts = files.read_json(folder / "versions.json")
    files.write_json(folder / "versions.json", {**facts, "torch": "1.0"})
    training.resume(folder, progress=False)
    assert "torch was 1.0 when this run began and is" in capsys.readouterr().err


def test_a_checkpoint_of_something_else_is_refused_cleanly(whole, tmp_path):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 1)
    (path,) = (folder / "checkpoints").iterdir()
    shutil.copy(whole(CARTPOLE) / "agent.zip", path)
    checkpoint, complaints = checkpoints.latest(folder)
    assert checkpoint is None and complaints[path].endswith("is not a checkpoint, or lacks a part of it.")


def test_pauses_grow_with_what_a_checkpoint_costs(monkeypatch, tmp_path):
    clock = [0.0]
    monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: clock[0])
    written: list[float] = []

    taken: list[float] = []

    def write(*_):
        written.append(clock[0])
        clock[0] += 3.0

    def take(*_):
        taken.append(clock[0])
        clock[0] += 1.0
        return checkpoints.Snapshot(1, b"")

    monkeypatch.setattr(checkpoints, "write", write)
    monkeypatch.setattr(checkpoints, "take", take)
    monkeypatch.setattr(agents, "spoiled", lambda _: None)
    callback = checkpoints.Checkpoints(tmp_path, (), 0.0)
    callback.num_timesteps, callback.model = 1, None
    while clock[0] < 1000.0:
        callback.on_rollout_start()
        clock[0] += 1.0
    pauses = np.diff(written)
    assert 30.0 <= written[0] < 60.0 and np.all((pauses >= 200.0) & (pauses < 260.0))
    assert taken[0] == 0.0 and np.all(np.diff(taken)[1:] >= 50.0)
    assert set(written) <= {time + 1.0 for time in taken}


TRAIN = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from rlrnn.experiment.training import training
    from tiny_runs import CARTPOLE
    import dataclasses
    recipe = dataclasses.replace(CARTPOLE, steps={steps})
    folder = Path({folder!r})
    if folder.exists():
        training.resume(folder, progress=False, checkpoint_seconds=0.0)
    else:
        training.train(recipe, 1, folder, progress=False, checkpoint_seconds=0.0)
"""


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_at_any_moment(kills, tmp_path):
    steps = 64 * 20 * max(kills, 2)
    undisturbed = tmp_path / "whole" / "seed1"
    training.train(dataclasses.replace(CARTPOLE, steps=steps), 1, undisturbed, progress=False)
    folder = tmp_path / "killed" / "seed1"
    tests = str(Path(__file__).parents[2])
    code = textwrap.dedent(TRAIN.format(tests=tests, folder=str(folder), steps=steps))
    dice, killed = np.random.default_rng(0), 0
    while killed < kills and not (folder / "score.json").exists():
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        had = folder / "checkpoints"
        before = set(os.listdir(had)) if had.exists() else set()
        while process.poll() is None and not (had.exists() and set(os.listdir(had)) - before):
            time.sleep(0.001)
        time.sleep(dice.uniform(0.0, 0.3))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        complaint = process.communicate()[1]
        assert process.returncode in (0, -signal.SIGKILL), complaint
    if not (folder / "score.json").exists():
        training.resume(folder, progress=False)
    assert killed >= min(kills, 2)
    assert_same(folder, undisturbed)


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 1)
    older = ".progress.part.csv", ".agent.zip.abcd.part", "checkpoints/.64.zip.1234.part"
    for name in (*older, ".progress.0123abcd.part.csv", "checkpoints/.64.0123abcd.part.zip"):
        (folder / name).write_text("half")
    training.resume(folder, progress=False)
    assert not [path for path in folder.rglob("*") if "part" in path.name]


def test_an_agents_file_can_be_read_from_a_checkpoint(tmp_path):
    """Whoever has no time to resume can still play."""
    folder = tmp_path / "seed1"
    broken_off(CARTPOLE, folder, 1)
    (path,) = (folder / "checkpoints").iterdir()
    assert archive.read_agent(path).kind == "RecurrentPPO"


def test_a_full_disk_stops_no_training_and_loses_no_checkpoint(whole, tmp_path, monkeypatch, capsys):
    """Two checkpoints fit, the rest and the agent do not; once there is room, it goes on."""
    folder, real, count = tmp_path / "seed1", files.write_whole, []

    def write(path, content):
        count.append(path)
        if len(count) > 2:
            raise FileFault(f"cannot save {path}: No space left on device")
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_whole", write)
        with pytest.raises(FileFault) as fault:
            training.train(CARTPOLE, 1, folder, progress=False, checkpoint_seconds=0.0)
    assert fault.value.__notes__ == [f"To resume from the last checkpoint: rlrnn train --resume {folder}."]
    assert capsys.readouterr().err.count("no checkpoint after") == 3  # at 192, 256 and 320 steps
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["128.zip", "64.zip"]
    training.resume(folder, progress=False)
    assert_same(folder, whole(CARTPOLE))
