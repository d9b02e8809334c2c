"""A training that begins at what an agent has learned."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_runs import CARTPOLE, EVOLVED, PENDULUM, SAME, broken_off

import rlrnn
from rlrnn.errors import UserError
from rlrnn.experiment.recipes import override, read_recipe
from rlrnn.experiment.runs import runs
from rlrnn.experiment.runs.facts import decides, difference
from rlrnn.experiment.training.training import resume, train
from rlrnn.shell.cli import main


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return train(CARTPOLE, 1, tmp_path_factory.mktemp("first") / "run", progress=False)


def still(recipe, init):
    """A training that changes nothing: whatever it ends with, it began with."""
    return dataclasses.replace(
        recipe, init=str(init), ppo=dataclasses.replace(recipe.ppo, learning_rate=0.0), steps=64
    )


def test_it_begins_at_the_weights_statistics_and_scales_of_the_agent(first, tmp_path):
    run = train(still(CARTPOLE, first.folder), 7, tmp_path / "next", progress=False)
    before, after = first.agent(), run.agent()
    counts = {name for name in before.policy.state_dict() if "sensors" in name or "count" in name}
    for name, value in before.policy.state_dict().items():
        if name not in counts and "mean" not in name and "var" not in name:
            assert torch.equal(value, after.policy.state_dict()[name]), name
    seen = [agent.policy.network.sensors.state_dict() for agent in (before, after)]
    (count,) = (name for name in seen[0] if "count" in name)
    assert float(seen[1][count]) == float(seen[0][count]) + 64  # they go on learning
    steps = [agent.policy.optimizer.state_dict()["state"][0]["step"] for agent in (before, after)]
    assert steps[1] > steps[0] > 0 and after.num_timesteps == 64
    # The scale of rewards began with what it had counted: 6 rollouts of 64 steps, then one.
    scales = before._reward_scaler, after._reward_scaler
    assert scales[1].count - scales[0].count == pytest.approx(64)


def test_the_same_again_and_killed(first, tmp_path):
    recipe = dataclasses.replace(CARTPOLE, init=str(first.folder / "agent.zip"))
    whole = train(recipe, 1, tmp_path / "whole", progress=False)
    broken_off(recipe, tmp_path / "killed", after=2)
    resumed = resume(tmp_path / "killed", progress=False)
    for name in SAME:
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert (whole.folder / "agent.zip").read_bytes() != (first.folder / "agent.zip").read_bytes()
    # The run says where it began, from its own folder on, and is the same recipe still.
    assert read_recipe(whole.folder / "recipe.toml").init.endswith("agent.zip")
    there = runs.read_run(whole.folder)
    assert difference(decides(there.recipe, there.game), decides(recipe, there.game)) is None
    assert difference(decides(CARTPOLE, there.game), decides(recipe, there.game)).startswith("init is")


def test_an_evolution_searches_around_what_was_learned_from_reward(first, tmp_path):
    recipe = override(EVOLVED, ["evolution.keep=center", "evolution.settings.sigma=1e-9", "steps=300"])
    recipe = dataclasses.replace(recipe, init=str(first.folder))
    run = train(recipe, 1, tmp_path / "e", progress=False)
    before, after = first.agent().policy.network, run.agent().policy.network
    learned = dict(after.named_parameters())
    for name, value in before.named_parameters():
        if "critic" not in name and "value" not in name:
            np.testing.assert_allclose(value.detach(), learned[name].detach(), atol=1e-5)


def test_what_does_not_fit_is_named_on_both_sides(first, tmp_path, capsys):
    with pytest.raises(UserError, match=r"has the observation space Box.*but rlrnn/Pendulum-v1 has Box"):
        train(dataclasses.replace(PENDULUM, init=str(first.folder)), 1, tmp_path / "a", progress=False)
    wide = override(dataclasses.replace(CARTPOLE, init=str(first.folder)), ["network.hidden_size=9"])
    with pytest.raises(
        UserError,
        match=r"is not the one of tiny \(gru\): .* shape \(7, 24\) there and \(7, 27\) here",
    ):
        train(wide, 1, tmp_path / "b", progress=False)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert (
        main(["train", "cartpole-gru", "--from", str(tmp_path / "none.zip"), "--out", str(tmp_path / "c")])
        == 2
    )
    assert "none.zip" in capsys.readouterr().err
    assert main(["train", str(first.folder), "--resume", "--from", "x"]) == 2
    assert "leave out --from" in capsys.readouterr().err


def test_a_recipes_own_path_counts_from_its_folder(first, tmp_path):
    (first.folder.parent / "mine.toml").write_text('game = "pong"\nsteps = 1\ninit = "run"\n')
    recipe = rlrnn.read_recipe(first.folder.parent / "mine.toml")
    assert recipe.init == str(first.folder)
