"""Run folders: nothing is lost, nothing is overwritten, and what is wrong is said in one sentence."""

import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from rlrnn.common import files
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.evaluation import Score
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import leases, runs
from rlrnn.experiment.runs.logs import read_episodes
from rlrnn.experiment.training import training
from rlrnn.experiment.training.seeds import Task, train_seeds
from rlrnn.network import paths

RECIPE = Recipe("tiny", "CartPole-v1", 1000)


def new_run(folder, overwrite=False):
    return runs.open_run(folder, RECIPE, 3, "rlrnn train tiny", overwrite)


def test_a_run_reads_back(tmp_path):
    made = new_run(tmp_path / "tiny" / "seed3").end("interrupted", steps=7, seconds=1.5)
    read = runs.read_run(tmp_path / "tiny" / "seed3")
    assert read == made
    assert (read.recipe, read.seed, read.status) == (RECIPE, 3, "interrupted")
    assert read.facts["steps"] == 7 and read.facts["command"] == "rlrnn train tiny"
    assert {"rlrnn", "torch", "numpy", "gymnasium", "stable_baselines3", "python", "threads"} <= set(
        read.facts
    )
    assert read.game.id == "CartPole-v1"
    assert runs.read_run(tmp_path / "tiny") == read  # the only seed of an agent's folder


def test_a_run_records_what_runs_its_memory(tmp_path, monkeypatch):
    def recorded(cell, device="cpu", **options):
        network = replace(RECIPE.network, cell=cell, cell_options=options)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        runs.open_run(folder, replace(RECIPE, network=network), 0, None, False, device)
        facts = runs.read_run(folder).facts
        assert facts["device"] == device
        return facts["recurrence"]

    monkeypatch.setattr(paths, "can_compile", lambda: True)
    monkeypatch.setattr("importlib.metadata.version", {"numba": "0.60.0"}.get)
    assert [recorded(cell) for cell in ("elman", "gru", "lstm")] == ["numba 0.60.0"] * 3
    assert recorded("gru", layer_norm=True) == recorded("mingru") != "torch"
    assert recorded("matrix") == recorded("storage", store="matrix") == recorded("gru")
    assert [recorded("storage"), recorded("storage", store="gru")] == ["torch"] * 2
    assert [recorded("fir"), recorded("none"), recorded("gru", "cuda")] == ["torch"] * 3
    monkeypatch.setattr(paths, "can_compile", lambda: False)
    assert recorded("gru") == "torch"


def test_the_users_own_game_travels_with_the_run(tmp_path):
    own = tmp_path / "my.toml"
    own.write_text('id = "CartPole-v1"\ntitle = "mine"\n')
    runs.open_run(tmp_path / "run", Recipe("a", str(own), 1), 0, None, False)
    own.unlink()
    assert runs.read_run(tmp_path / "run").game.title == "mine"


def test_scores_read_back(tmp_path):
    run = new_run(tmp_path / "r")
    scores = {"with memory": Score((1.0, 2.5), (10, 20), 2.0)}
    runs.write_scores(run.folder / "score.json", scores)
    assert run.scores() == scores
    (run.folder / "score.json").write_text('{"scores": {"with memory": {}}}')
    with pytest.raises(FileFault, match=r"score\.json is not a score file"):
        run.scores()


def test_a_run_is_not_overwritten_silently(tmp_path):
    new_run(tmp_path / "r")
    before = sorted((p.name, p.read_bytes()) for p in (tmp_path / "r").iterdir())
    with pytest.raises(FileFault, match=r"holds a run already.*--overwrite"):
        new_run(tmp_path / "r")
    assert sorted((p.name, p.read_bytes()) for p in (tmp_path / "r").iterdir()) == before


def test_overwriting_keeps_all_older_runs_until_the_new_one_is_finished(tmp_path):
    (new_run(tmp_path / "seed0").folder / "agent.zip").write_text("old")
    new = new_run(tmp_path / "seed0", overwrite=True)
    assert (tmp_path / "old1-seed0" / "agent.zip").read_text() == "old"
    new.end("interrupted", steps=7, seconds=1.5)
    newer = new_run(tmp_path / "seed0", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old1-seed0", "old2-seed0", "seed0"]
    (tmp_path / "old3-seed0").mkdir()  # no run of ours put it there
    runs.finish(newer, steps=9, seconds=2.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old3-seed0", "seed0"]
    assert runs.read_run(tmp_path / "seed0").status == "finished"
    assert runs.find_runs(tmp_path) == [tmp_path / "seed0"]


def test_an_older_run_that_was_moved_aside_for_none_is_put_back(tmp_path):
    """A process that was killed between moving it and putting the new run in its place left these two."""
    older, folder = new_run(tmp_path / "seed0").folder, tmp_path / "seed0"
    (older / "agent.zip").write_text("old")
    older.rename(tmp_path / "old1-seed0")
    made = new_run(folder).end("training", replaces="old1-seed0").folder
    made.rename(tmp_path / ".seed0.0123abcd")
    with pytest.raises(FileFault, match=r"holds a run already.*--overwrite"):
        new_run(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["seed0"]
    assert (folder / "agent.zip").read_text() == "old"


def killed_while_overwriting(folder):
    """Between moving the older run aside and putting the new one in its place."""
    older = new_run(folder).end("finished", steps=7, seconds=1.5).folder
    (older / "agent.zip").write_text("old")
    older.rename(folder.with_name(f"old1-{folder.name}"))
    new_run(folder).end("training", replaces=f"old1-{folder.name}").folder.rename(
        folder.with_name(f".{folder.name}.0123abcd")
    )


@pytest.mark.parametrize("asked", ["tiny/seed0", "tiny"])
def test_who_reads_a_run_finds_the_older_one_that_was_moved_aside_for_none(asked, tmp_path, capsys):
    folder = tmp_path / "tiny" / "seed0"
    killed_while_overwriting(folder)
    found = runs.read_run(tmp_path / asked)
    assert found.folder == folder and (folder / "agent.zip").read_text() == "old"
    assert [p.name for p in folder.parent.iterdir()] == ["seed0"]
    assert f"{folder} was restored: the run that was to replace it never began" in capsys.readouterr().err
    assert runs.read_run(tmp_path / asked) == found and not capsys.readouterr().err


def test_resume_and_seeds_find_it_too(tmp_path):
    folder = tmp_path / "tiny" / "seed3"
    killed_while_overwriting(folder)
    with pytest.raises(UserError, match=r"seed3 is finished"):
        training.resume(folder)
    (tmp_path / "tiny" / "seed3").rename(tmp_path / "tiny" / "gone")
    killed_while_overwriting(folder)
    assert train_seeds([Task(RECIPE, 3, folder)], 1, progress=False).skipped == [3]


def test_a_run_that_is_just_being_made_is_left_to_its_process(tmp_path):
    folder = tmp_path / "seed0"
    killed_while_overwriting(folder)
    with leases.held(tmp_path / ".seed0.0123abcd"), pytest.raises(FileFault, match="there is no run"):
        runs.read_run(folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".seed0.0123abcd", "old1-seed0"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileFault, match="holds other things than a run"):
        new_run(tmp_path, overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def half():
        with files.replacing(path) as part:
            part.write_text("half")
            raise OSError(28, "disk full")

    with pytest.raises(OSError, match="disk full"):
        half()
    with pytest.raises(TypeError):
        files.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_that_is_written_whole_may_be_a_link_or_a_device_or_be_written_twice(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
    files.write_json(tmp_path / "link.json", {"new": 1})
    assert (tmp_path / "link.json").is_symlink() and json.loads((tmp_path / "a.json").read_text()) == {
        "new": 1
    }
    pipe, heard = tmp_path / "pipe.json", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    files.write_json(pipe, {"new": 2})
    reader.join(timeout=10)
    assert json.loads(heard[0]) == {"new": 2} and pipe.is_fifo()
    with files.replacing(tmp_path / "b.txt") as one, files.replacing(tmp_path / "b.txt") as other:
        one.write_text("outer")
        other.write_text("inner")
    assert (tmp_path / "b.txt").read_text() == "outer"
    with pytest.raises(IsADirectoryError) as error:
        files.write_json(tmp_path, {})
    assert error.value.filename == str(tmp_path) and len(os.listdir(tmp_path)) == 4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "versions.json").write_text("{"), ["versions.json is damaged"]),
        (
            lambda f: (f / "versions.json").write_text("[]"),
            ["versions.json is damaged", "format, seed and status"],
        ),
        (
            lambda f: (f / "versions.json").write_text('{"format": "1", "seed": 0, "status": ""}'),
            ["is damaged"],
        ),
        (lambda f: (f / "versions.json").unlink(), ["is not a run folder", "versions.json"]),
        (lambda f: (f / "recipe.toml").unlink(), ["incomplete", "recipe.toml"]),
        (lambda f: (f / "recipe.toml").write_text("x = "), ["recipe.toml is not a TOML file"]),
        (lambda f: (f / "recipe.toml").write_text("nmae = 1"), ["recipe.toml: unknown key 'nmae'"]),
        (
            lambda f: (f / "versions.json").write_text(
                '{"format": 9, "seed": 0, "status": "x", "rlrnn": "7.0"}'
            ),
            ["rlrnn 7.0 (format 9)", "pip install --upgrade rlrnn"],
        ),
    ],
)
def test_a_spoiled_run_says_what_is_wrong(tmp_path, spoil, words):
    spoil(new_run(tmp_path / "r").folder)
    with pytest.raises(UserError) as error:
        runs.read_run(tmp_path / "r")
    for word in words:
        assert word in str(error.value)


def test_what_a_run_does_not_hold_is_named(tmp_path):
    run = new_run(tmp_path / "r")
    with pytest.raises(FileFault, match=r"holds no agent\.zip; its training was killed"):
        run.agent()
    with pytest.raises(FileFault, match=r"holds no score\.json; evaluate the agent with: rlrnn evaluate"):
        run.scores()
    with pytest.raises(FileFault, match=r"there is no .*episodes\.csv"):
        read_episodes(run.folder / "episodes.csv")
    with pytest.raises(FileFault, match=r"there is no run .*none"):
        runs.read_run(tmp_path / "none")


def test_several_seeds_are_all_named(tmp_path):
    for seed in (0, 1):
        runs.open_run(tmp_path / f"seed{seed}", RECIPE, seed, None, False)
    assert runs.find_runs(tmp_path) == [tmp_path / "seed0", tmp_path / "seed1"]
    with pytest.raises(UserError, match=r"holds 2 runs; give one of .*seed0, .*seed1"):
        runs.read_run(tmp_path)


def test_episodes_read_back_without_a_line_cut_short(tmp_path):
    path = tmp_path / "episodes.csv"
    path.write_text("step,points,length\n10,1.5,10\n30,-2.0,20\n45,7")
    np.testing.assert_array_equal(read_episodes(path), [[10, 1.5, 10], [30, -2, 20]])
    path.write_text("step,points,length\n")
    assert read_episodes(path).shape == (0, 3)
    path.write_text("step,points,length\n1,x,2\n")
    with pytest.raises(FileFault, match=r"episodes\.csv is damaged"):
        read_episodes(path)
