"""Agents kept along a training: which they are, that they change nothing, and the pictures of them."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from tiny_runs import CARTPOLE, EVOLVED, SAME, broken_off

from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import agents
from rlrnn.experiment.pictures import learning
from rlrnn.experiment.pictures.learning import draw_learning, watch_learning
from rlrnn.experiment.pictures.memory_profile import Profile
from rlrnn.experiment.runs import snapshots
from rlrnn.experiment.training.training import resume, train
from rlrnn.shell.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(CARTPOLE, 1, tmp_path_factory.mktemp("kept") / "run", progress=False, snapshots=3)


def steps_of(folder):
    return [int(path.stem) for path in snapshots.paths(folder)]


@pytest.mark.parametrize("recipe", [CARTPOLE, EVOLVED], ids=["ppo", "evolved"])
def test_a_training_ends_in_the_same_bytes_with_and_without_and_killed(recipe, tmp_path):
    without = train(recipe, 1, tmp_path / "without", progress=False)
    kept = train(recipe, 1, tmp_path / "kept", progress=False, snapshots=3, checkpoint_seconds=0.0)
    broken_off(recipe, tmp_path / "killed", after=2)
    facts = json.loads((tmp_path / "killed" / "versions.json").read_text())
    (tmp_path / "killed" / "versions.json").write_text(json.dumps({**facts, "snapshots": 3}))
    later = (
        tmp_path / "killed" / "snapshots" / "2999.zip"
    )  # of a training that came further than this one will
    later.parent.mkdir()
    later.write_bytes(b"")
    (later.parent / "0.zip").write_bytes((kept.folder / "snapshots" / "0.zip").read_bytes())
    resumed = resume(tmp_path / "killed", progress=False)
    for name in SAME:
        for other in (kept, resumed):
            assert (other.folder / name).read_bytes() == (without.folder / name).read_bytes(), name
    assert steps_of(resumed.folder) == steps_of(kept.folder) and len(steps_of(kept.folder)) == 3
    for one, other in zip(snapshots.paths(resumed.folder), snapshots.paths(kept.folder), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_each_is_the_agent_as_it_was_then(run, tmp_path):
    # 6 rollouts of 64 steps: the parts begin at 0, 128 and 256.
    assert steps_of(run.folder) == [0, 128, 256]
    stages = snapshots.read(run)
    assert (
        [steps for steps, _ in stages] == [agent.num_timesteps for _, agent in stages] == [0, 128, 256, 384]
    )
    untrained = agents.untrained(dataclasses.replace(CARTPOLE)).policy.state_dict()
    assert {name: value.shape for name, value in untrained.items()} == {
        name: value.shape for name, value in stages[0][1].policy.state_dict().items()
    }
    last = stages[-1][1].policy.state_dict()
    assert all((value == last[name]).all() for name, value in run.agent().policy.state_dict().items())
    assert any((value != last[name]).any() for name, value in stages[2][1].policy.state_dict().items())


def test_a_film_shows_each_of_them(run, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "LEAST", 0.2)
    stages = snapshots.read(run)
    words = []
    real = learning._Stages.look

    def look(self, moment):
        words.append(self.words)
        return real(self, moment)

    monkeypatch.setattr(learning._Stages, "look", look)
    film = watch_learning(stages, run.game, tmp_path / "a.gif")
    assert list(dict.fromkeys(words)) == [f"after {steps} steps" for steps, _ in stages]
    assert len(film.points) == 4 and all(points > 0 for points in film.points)
    with Image.open(film) as image:
        assert image.n_frames > 8 and image.size[0] <= 400
    with pytest.raises(UserError, match=r"should end in \.gif or \.mp4"):
        watch_learning(stages, run.game, tmp_path / "a.png")


def test_the_shell_shows_them(run, tmp_path, capsys):
    assert main(["inspect", str(run.folder), "--snapshots", "--lags", "4", "--episodes", "2"]) == 0
    table = json.loads((run.folder / "learning.json").read_text())
    assert list(table) == ["0", "128", "256", "384"] and Profile.from_json(table["0"]).lags == 4
    assert capsys.readouterr().out.count("actions depend") == 4
    assert main(["watch", str(run.folder), "--snapshots", "--out", str(tmp_path / "film.gif")]) == 0
    assert "4 agents, after 0, 128, 256, 384 steps" in capsys.readouterr().out
    assert main(["watch", str(run.folder), "--snapshots", "--episodes", "3"]) == 2
    assert "leave out --episodes" in capsys.readouterr().err


def test_where_there_are_none_it_is_said(tmp_path):
    run = train(dataclasses.replace(CARTPOLE, steps=64), 1, tmp_path / "run", progress=False)
    with pytest.raises(FileFault, match="kept no agents along its training: train one with --snapshots N"):
        snapshots.read(run)
    profile = Profile("g", np.zeros((1, 3)), np.zeros((1, 3)))
    with pytest.raises(UserError, match="two times of a training"):
        draw_learning({0: profile}, tmp_path / "a.png")
    assert draw_learning({0: profile, 9: profile}, tmp_path / "a.svg").exists()
    shorter = Profile("g", np.zeros((1, 2)), np.zeros((1, 2)))  # of an agent whose episodes end soon
    assert draw_learning({0: shorter, 9: profile}, tmp_path / "b.svg").exists()
    with pytest.raises(UserError, match="snapshots is -1"):
        train(CARTPOLE, 1, tmp_path / "other", snapshots=-1)
