"""What lies in a run's folder may be anybody's, damaged or hostile; each file is read by one gate."""

import dataclasses
import errno
import json
import os
import signal
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TINY

from rlrnn.common import files
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.evaluation import evaluate
from rlrnn.experiment.recipes import override
from rlrnn.experiment.runs import checkpoints, curves, leases, logs, runs
from rlrnn.experiment.runs.facts import FINISHED, INTERRUPTED, TRAINING, decides, difference
from rlrnn.experiment.training import side_by_side, stopping, training
from rlrnn.experiment.training.progress import Pace
from rlrnn.experiment.training.seeds import Task, train_seeds
from rlrnn.shell import arguments
from rlrnn.shell.cli import main

HEADER = b"step,points,length\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEADER + b"1,2,3\n\xff\xfe,1,1\n", "line 3 is "),
        (HEADER + b"1,2,3\n2," + b"9" * 200_000 + b"x,1\n", "line 3 is '2,9999"),
        (HEADER + b"1,nan,3\n", "line 2 is '1,nan,3'"),
        (HEADER + b"1,1e999,3\n", "line 2 is '1,1e999,3'"),
        (HEADER + b"1,1_0,3\n", "line 2 is '1,1_0,3'"),
        (HEADER + b"1,2,3\n\n2,2,3\n", "line 3 is ''"),
        (HEADER + b"5,2,3\n4,2,3\n", "line 3 is '4,2,3'"),
        (HEADER + b"1,2\n", "line 2 is '1,2'"),
        (b"", "it is empty, but should begin with step,points,length"),
    ],
)
def test_a_hostile_log_of_episodes_is_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    path.write_bytes(content)
    with pytest.raises(FileFault) as fault:
        logs.read_episodes(path)
    assert f"{path} is damaged: {words}" in str(fault.value) and len(str(fault.value)) < 400


def test_episodes_are_read_in_little_more_memory_than_they_are(tmp_path: Path) -> None:
    import tracemalloc

    path, n = tmp_path / "episodes.csv", 50_000
    path.write_bytes(HEADER + b"".join(b"%d,%d.5,7\n" % (k, k % 9) for k in range(n)))
    tracemalloc.start()
    episodes = logs.read_episodes(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert episodes.shape == (n, 3) and episodes[-1].tolist() == [n - 1, (n - 1) % 9 + 0.5, 7]
    assert peak < 150 * n  # three numbers of 8 bytes, perhaps while their array grows; lists took 516


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"status": "done"}, "its status is 'done', and not one of training, interrupted, trained, finished"),
        ({"seed": "0"}, "its seed is '0', and not a whole number"),
        ({"status": FINISHED}, "its steps is None, and not a whole number"),
        ({"status": FINISHED, "steps": 5, "seconds": "1"}, "its seconds is '1', and not a number"),
        ({"replaces": 3}, "its replaces is 3, and not a folder's name"),
    ],
)
def test_what_versions_json_tells_is_checked(facts: dict, words: str, tmp_path: Path) -> None:
    run = runs.open_run(tmp_path / "r", TINY, 0, None, False)
    told = {"format": 1, "seed": 0, "status": TRAINING, **facts}
    (run.folder / "versions.json").write_text(json.dumps(told))
    with pytest.raises(FileFault, match=f"versions.json is damaged: {words}"):
        runs.read_run(run.folder)


@pytest.mark.parametrize(
    "score",
    ['{"points": [NaN]}',
     '{"points": [], "lengths": [], "win": null}', '{"points": ["1"], "lengths": [1], "win": null}',
     '{"points": [1], "lengths": [1, 2], "win": null}', '{"points": [1], "lengths": [1.5], "win": null}',
     '{"points": [1], "lengths": [1], "win": "x"}', "[" * 100_000, "\xff"],
)  # fmt: skip
def test_what_score_json_tells_is_checked(score: str, tmp_path: Path) -> None:
    run = runs.open_run(tmp_path / "r", TINY, 0, None, False)
    content = f'{{"scores": {{"with memory": {score}}}}}'
    (run.folder / "score.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(FileFault, match=r"score\.json is (not a score file|damaged)"):
        run.scores()


def test_texts_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    run = runs.open_run(tmp_path / "r", TINY, 0, None, False)
    for name in ("recipe.toml", "versions.json"):
        (run.folder / name).write_bytes(b"\xff\xfe")
        with pytest.raises(FileFault, match=name):
            runs.read_run(run.folder)
    for name, content in (("monitor.csv", b'#{"t_start": 0}\nr,l,t\n1,1,\xff\n'), ("progress.csv", b"\xff")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFault, match=name):
            curves.read_curves([tmp_path / name])
    (tmp_path / "evaluations.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(FileFault, match=r"evaluations\.npz is not what SB3 writes"):
        curves.read_curves([tmp_path / "evaluations.npz"])
    (tmp_path / "monitor.csv").write_text('#{"t_start": 0}\nr,l,t\nnan,1,1\n')
    with pytest.raises(FileFault, match="not all of its numbers are finite"):
        curves.read_curves([tmp_path / "monitor.csv"])


def test_only_what_was_moved_aside_is_removed(tmp_path: Path) -> None:
    """A name in versions.json may be anybody's."""
    (tmp_path / "precious").mkdir()
    run = runs.open_run(tmp_path / "runs" / "seed0", TINY, 0, None, False)
    for name in ("../precious", "seed0", "old1-seed1", str(tmp_path / "precious")):
        runs.finish(dataclasses.replace(run, facts={**run.facts, "replaces": name}), steps=1, seconds=1.0)
        assert (tmp_path / "precious").exists() and run.folder.exists()
    older = run.folder.with_name("old1-seed0")  # was removed by hand
    run = runs.finish(
        dataclasses.replace(run, facts={**run.facts, "replaces": older.name}), steps=1, seconds=1.0
    )
    assert run.status == FINISHED and "replaces" not in run.facts


def test_a_run_goes_where_a_link_points_and_not_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    first = runs.open_run(tmp_path / "link", TINY, 0, None, False)
    assert first.folder == tmp_path / "real" and (tmp_path / "link").is_symlink()
    runs.finish(runs.open_run(tmp_path / "link", TINY, 0, None, True), steps=1, seconds=1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileFault, match=r"\. is the folder that you are in"):
        runs.open_run(".", TINY, 0, None, False)


def test_what_a_process_left_that_was_killed_while_it_made_a_run_goes(tmp_path: Path) -> None:
    left, other, held = (tmp_path / name for name in (".seed0.0123abcd", ".seed0.backup", ".seed0.89abcdef"))
    for folder in (left, other, held):
        folder.mkdir()
        (folder / "recipe.toml").write_text("half")
    with leases.held(held):
        runs.open_run(tmp_path / "seed0", TINY, 0, None, False)
    assert not left.exists() and other.exists() and held.exists()
    held.joinpath("thesis.tex").write_text("precious")
    runs.tidy(tmp_path / "seed0")
    assert [path.name for path in held.iterdir()] == ["thesis.tex"]


def test_seeds_of_another_recipe_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "seed0"
    runs.open_run(folder, TINY, 0, None, False).end(FINISHED, steps=512, seconds=1.0)
    asked = {
        "steps is 512 in it, and 5000 is asked for": override(TINY, ["steps=5000"]),
        "ppo.gamma is 0.99 in it, and 0.5 is asked for": override(TINY, ["ppo.gamma=0.5"]),
        "game.id is rlrnn/CartPole-v1 in it, and rlrnn/Pong-v0": dataclasses.replace(
            TINY, game="rlrnn/Pong-v0"
        ),
        "ppo.target_kl is not given in it, and 0.1 is asked for": override(TINY, ["ppo.target_kl=0.1"]),
    }
    for status in (FINISHED, TRAINING):
        runs.read_run(folder).end(status)
        for words, recipe in asked.items():
            with pytest.raises(FileFault) as refused:
                train_seeds([Task(recipe, 0, folder)], 1, progress=False)
            assert words in str(refused.value) and "--out, or add --overwrite" in str(refused.value)
    with pytest.raises(FileFault, match="seed is 0 in it, and 1 is asked for"):
        train_seeds([Task(TINY, 1, folder)], 1, progress=False)
    runs.read_run(folder).end(FINISHED)
    described = dataclasses.replace(TINY, name="other", description="in other words")
    assert train_seeds([Task(described, 0, folder)], 1, progress=False).skipped == [0]


def test_seeds_on_a_game_of_the_users_own_are_of_one_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('id = "rlrnn/CartPole-v1"\n')
    recipe = dataclasses.replace(TINY, game="mine.toml")
    made = [runs.open_run(Path("runs", f"seed{k}"), recipe, k, None, False) for k in range(2)]
    assert (
        curves.agent_names(made)
        == curves.agent_names([runs.read_run(run.folder) for run in made])
        == ["tiny"] * 2
    )
    assert (
        made[0] == runs.read_run(made[0].folder)
        and 'game = "game.toml"' in Path("runs/seed0/recipe.toml").read_text()
    )
    assert (
        difference(decides(made[0].recipe, made[0].game), decides(recipe, catalogue.game_of(recipe))) is None
    )
    Path("mine.toml").write_text('id = "rlrnn/Pong-v0"\n')
    other = runs.open_run(Path("runs", "seed2"), recipe, 2, None, False)
    assert len(set(curves.agent_names([*made, other]))) == 2


def test_monitor_files_of_one_training_are_one_curve(tmp_path: Path) -> None:
    """Episodes in the order in which they ended, steps over all copies; the last line of b is cut short."""
    folder = tmp_path / "eight"
    folder.mkdir()
    (folder / "0.monitor.csv").write_text('#{"t_start": 100.0, "env_id": "x"}\nr,l,t\n1,10,1.0\n2,20,5.0\n')
    (folder / "1.monitor.csv").write_text('#{"t_start": 101.0, "env_id": "x"}\nr,l,t\n3,5,1.0\n4,6,9.0\n5,7')
    for sources in ([folder], sorted(folder.iterdir()), [str(folder), folder / "1.monitor.csv"]):
        (curve,) = curves.read_curves(sources)
        assert curve.name == "eight"
        assert (curve.steps.tolist(), curve.points.tolist()) == ([10, 15, 35, 41], [1, 3, 2, 4])
    (folder / "ppo.monitor.csv").write_text('#{"t_start": 0}\nr,l,t\n1,10,1.0\n')
    assert [len(curve.steps) for curve in curves.read_curves([folder])] == [4, 1]


def test_an_agent_whose_weights_are_no_numbers_does_not_play() -> None:
    agent = agents.untrained(TINY)
    with torch.no_grad():
        next(iter(agent.policy.parameters()))[0] = torch.nan
    with pytest.raises(UserError, match="cannot play, as its training diverged"):
        evaluate(agent, catalogue.game_of(TINY), 1)


def test_learning_that_breaks_down_keeps_the_last_sound_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = agents.RecurrentPPO.train

    def spoil(agent: agents.RecurrentPPO) -> None:
        real(agent)
        if agent.num_timesteps == 384:
            with torch.no_grad():
                next(iter(agent.policy.parameters()))[0] = torch.nan

    monkeypatch.setattr(agents.RecurrentPPO, "train", spoil)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)  # a snapshot before every rollout
    with pytest.raises(UserError) as broken:
        training.train(override(TINY, ["steps=384"]), 0, tmp_path / "run", progress=False)
    note = broken.value.__notes__[0]
    assert "diverged in its last update" in str(broken.value)
    assert "the agent of 256 steps, before it diverged, was saved to" in note and note.endswith(
        "continues after 256 steps."
    )
    run = runs.read_run(tmp_path / "run")
    assert (run.status, run.facts["steps"], run.agent().num_timesteps) == (INTERRUPTED, 256, 256)
    assert agents.spoiled(run.agent()) is None


def test_a_run_in_training_or_killed_is_played_as_its_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs.open_run(tmp_path / "r", TINY, 0, None, False)
    with (
        leases.held(run.folder),
        pytest.raises(FileFault, match="it is being trained: its first checkpoint comes"),
    ):
        run.agent()
    with pytest.raises(FileFault, match="killed: to resume it, rlrnn train --resume"):
        run.agent()
    agent = agents.untrained(TINY)
    agent.get_env().reset()
    agent.num_timesteps = 1234
    agent.set_logger(training.Logger(None, []))
    kept = [logs.EpisodeLog(run.folder / "episodes.csv"), logs.ProgressLog(run.folder / "progress.csv")]
    checkpoints.write(run.folder, checkpoints.take(agent, kept, 1.0), kept)
    for log in kept:
        log.close()
    agent.save(run.folder / "agent.zip")  # of an earlier part, as it was interrupted
    for held, words in ((True, "is being trained"), (False, "was killed")):
        lock = leases.held(run.folder) if held else None
        if lock is not None:
            lock.__enter__()
        played = run.agent()
        if lock is not None:
            lock.__exit__(None, None, None)
        assert played.num_timesteps == 1234 and not hasattr(played, checkpoints.EXTRAS)
        assert f"{words}: this is its agent after 1,234 steps." in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_a_game_forked_does_not_hold_the_run(tmp_path: Path) -> None:
    """Neither as it lives on, nor does its end release it."""
    with leases.held(tmp_path):
        waits = os.pipe()
        for release in (True, False):
            child = os.fork()
            if child == 0:
                if release:
                    leases.lease_of(tmp_path).release()  # type: ignore[union-attr]  # as its finally would
                else:
                    os.read(waits[0], 1)
                os._exit(0)
            if release:
                os.waitpid(child, 0)
        assert leases.is_held(tmp_path)
    assert not leases.is_held(tmp_path) and not os.waitpid(child, os.WNOHANG)[0]
    os.write(waits[1], b"!")
    os.waitpid(child, 0)
    for pipe in waits:
        os.close(pipe)


def test_passing_errors_of_a_disk_end_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At first no row can be synced; then old checkpoints cannot be removed."""
    real, calls = os.fsync, []

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        real(file)

    remove = Path.unlink

    def unlink(path: Path, **options: bool) -> None:
        if path.parent.name == "checkpoints" and path.suffix == ".zip":
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        remove(path, **options)

    start = training.learn

    def learn(*arguments: object, **options: object) -> runs.Run:
        with monkeypatch.context() as patch:
            patch.setattr(logs.os, "fsync", fsync)
            patch.setattr(Path, "unlink", unlink)
            return start(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "learn", learn)
    longer = override(TINY, ["steps=768"])
    run = training.train(longer, 0, tmp_path / "r", progress=False, checkpoint_seconds=0.0)
    told = capsys.readouterr().err
    assert run.status == FINISHED and not (run.folder / "checkpoints").exists()
    assert (
        f"no checkpoint after 128 steps: Input/output error ({run.folder / 'episodes.csv'}): the disk" in told
    )
    assert "Stale file handle" in told and "the network folder was lost" in told


def test_rows_that_cannot_be_written_wait_and_none_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logs.EpisodeLog(tmp_path / "episodes.csv")
    disk = log._file

    class Full:
        room = 7

        def __getattr__(self, name: str) -> object:
            return getattr(disk, name)

        def write(self, content: bytes) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = disk.write(content[: self.room])
            self.room -= written
            return written

    log._file = Full()  # type: ignore[assignment]
    for k in range(3):
        log.write_row([k, 1.0, 1])
        log.flush()
    with pytest.raises(OSError, match="No space left"):
        log.sync()
    assert capsys.readouterr().err.count("wait to be written: No space left on device") == 1
    log._file = disk
    assert log.sync() == 3
    log.close()
    assert (tmp_path / "episodes.csv").read_text() == "step,points,length\n0,1.0,1\n1,1.0,1\n2,1.0,1\n"


def test_each_failure_of_the_system_has_its_remedy() -> None:
    told = {number: files.sentence(OSError(number, os.strerror(number), "a/b")) for number in files._REMEDIES}
    assert (
        told[errno.ENOSPC] == "No space left on device (a/b): make room, or choose another place with --out."
    )
    assert "permissions" in told[errno.EACCES] and "shorter name" in told[errno.ENAMETOOLONG]
    assert "make room" not in files.sentence(OSError(errno.EIO, "Input/output error", "a/b"))


def test_ctrl_c_waits_once_while_something_is_saved(capfd: pytest.CaptureFixture[str]) -> None:
    with stopping.undisturbed("Stopping: saving seeds 0, 1."):
        assert "rlrnn: Stopping: saving seeds 0, 1." in capfd.readouterr().err
        signal.raise_signal(signal.SIGINT)
        assert "once more ends it unsaved" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with stopping.undisturbed(None):
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == "" and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("again", [False, True])
def test_all_seeds_are_told_to_stop_before_any_is_waited_for(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C ends them instead."""
    futures = {Future[str](): f"seed {k}" for k in range(3)}
    waiting, *begun = reversed(futures)
    said = []

    class Training:
        def finish(self) -> None:
            said.append("stop")

        def kill(self) -> None:
            said.append("kill")

    def wait(left: set[Future[str]], pause: float) -> Any:
        if again:
            raise KeyboardInterrupt
        for future in left:
            future.set_result("saved")
        return futures_wait(left, pause)

    for future in begun:
        future.set_running_or_notify_cancel()
    futures_wait = side_by_side.wait
    monkeypatch.setattr(side_by_side, "wait", wait)
    running = {0: Training(), 1: Training()}
    with pytest.raises(KeyboardInterrupt) if again else nullcontext():
        assert side_by_side.stop(futures, running) == "Seed 0: saved Seed 1: saved"  # type: ignore[arg-type]
    assert said[:2] == ["stop", "stop"] and waiting.cancelled() and said.count("kill") == 2


def test_speed_is_that_of_what_was_trained_here_and_not_of_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("rlrnn.experiment.training.progress.time.perf_counter", lambda: clock[0])
    pace = Pace(2_000)
    pace.rollout(1_000)  # resumed there
    clock[0] = 60.0  # compiling
    assert pace.speed(1_100) is None and pace.words(1_100) == ""
    pace.rollout(1_200)
    clock[0] = 62.0
    pace.rollout(1_300)
    assert pace.speed(1_400) == 100.0 and pace.words(1_400) == "100 steps/s   6 s left"


@pytest.mark.parametrize("text", ["_", "1_", "²", "-1", "1.5", "9" * 5000])
def test_what_is_no_whole_number_is_told_so(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments.parser().parse_args(["train", "x", f"--seed={text}"])
    assert "is not a whole number of at least 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["--steps 9", "--set ppo.gamma=1", "--seed 3", "--out x", "--overwrite", "--seeds 2"]
)
def test_resume_takes_no_word_of_another_run(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "x", *option.split()]) == 2
    assert f"leave out {option.split()[0]}" in capsys.readouterr().err
