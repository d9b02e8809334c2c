"""A training that pauses goes on as if it had not."""

import dataclasses
from pathlib import Path

import pytest
from tiny_runs import CARTPOLE, CRITICISED, EVOLVED, SAME, VALUED

from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import checkpoints
from rlrnn.experiment.training import training


@pytest.mark.parametrize("recipe", [CARTPOLE, EVOLVED, VALUED, CRITICISED], ids=lambda recipe: recipe.table)
def test_a_training_that_pauses_goes_on_to_the_same_bytes(recipe: Recipe, tmp_path: Path) -> None:
    training.train(recipe, 1, tmp_path / "whole", progress=False)
    run = training.train(recipe, 1, tmp_path / "paused", progress=False, until=recipe.steps // 5)
    paused = [run.facts["steps"]]
    for share in (2, 3, 5):
        assert run.status == "interrupted" and run.agent().num_timesteps == paused[-1]
        assert not (run.folder / "score.json").exists()
        run = training.resume(run.folder, progress=False, until=recipe.steps * share // 5)
        paused.append(run.facts["steps"])
    assert run.status == "finished" and paused == sorted(set(paused))
    assert all(steps >= recipe.steps * share // 5 for steps, share in zip(paused, (1, 2, 3, 5), strict=True))
    for name in SAME:
        assert (run.folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_pause_that_was_made_is_made_again_and_changes_nothing(tmp_path: Path) -> None:
    run = training.train(CARTPOLE, 0, tmp_path / "run", progress=False, until=128)
    before = (run.folder / "agent.zip").read_bytes()
    assert training.resume(run.folder, progress=False, until=100).facts["steps"] == 128
    assert (run.folder / "agent.zip").read_bytes() == before
    with pytest.raises(UserError, match="until is 0, but must be a whole number of at least 1"):
        training.resume(run.folder, until=0)


def test_a_pause_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    with pytest.raises(FileFault, match=r"no checkpoint after 64 steps: .*space.* So it cannot pause"):
        training.train(CARTPOLE, 0, tmp_path / "run", progress=False, until=64)


def test_an_agent_that_diverged_is_no_pause(tmp_path: Path) -> None:
    recipe = dataclasses.replace(CARTPOLE, ppo=dataclasses.replace(CARTPOLE.ppo, learning_rate=1e30))
    with pytest.raises(UserError, match="diverged"):
        training.train(recipe, 0, tmp_path / "run", progress=False, until=64)
