"""Evaluations while an agent trains: they change nothing, and what they say is what the agent wins."""

import csv
import dataclasses
import random

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tiny_runs import CARTPOLE, EVOLVED, PENDULUM, SAME, TINY, broken_off

import rlrnn
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.evaluation import evaluate
from rlrnn.experiment.recipes import Recipe, override
from rlrnn.experiment.runs.curves import read_curves
from rlrnn.experiment.runs.evaluations import Evaluations, read_evaluations
from rlrnn.experiment.training import evaluating, training
from rlrnn.experiment.training.training import resume, train


def evaluated(recipe: Recipe, every: int) -> Recipe:
    how = dataclasses.replace(recipe.evaluation, every=every, episodes_each=3)
    return dataclasses.replace(recipe, evaluation=how)


class Careless(gym.Env):
    """Draws its observations from the generators that all share."""

    observation_space, action_space = spaces.Box(-9, 9, (3,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.left = 5
        return self._see(), {}

    def step(self, action):
        self.left -= 1
        return self._see(), float(action), self.left == 0, False, {}

    def _see(self):
        return np.array([np.random.rand(), random.random(), float(torch.rand(()))], np.float32)  # noqa: NPY002


gym.register("test_evaluating/Careless-v0", entry_point=Careless)
CARELESS = dataclasses.replace(TINY, game="test_evaluating/Careless-v0", wrappers=())


@pytest.mark.parametrize(
    "recipe", [TINY, PENDULUM, EVOLVED, CARELESS], ids=["gru", "gsde", "evolved", "careless"]
)
def test_a_training_ends_in_the_same_bytes_with_and_without(recipe, tmp_path):
    if recipe is PENDULUM:  # sampled actions draw from gSDE, whose noise belongs to the network
        recipe = override(recipe, ["evaluation.deterministic=false"])
    without = train(recipe, 1, tmp_path / "without", progress=False)
    with_them = train(evaluated(recipe, recipe.steps // 4), 1, tmp_path / "with", progress=False)
    names = ("agent.zip", "episodes.csv") if recipe is CARELESS else SAME  # whose score is drawn from torch
    for name in names:
        assert (with_them.folder / name).read_bytes() == (without.folder / name).read_bytes(), name
    assert len(read_evaluations(with_them.folder / "evaluations.npz")) >= 4


@pytest.mark.parametrize("recipe", [CARTPOLE, EVOLVED], ids=["ppo", "evolved"])
def test_a_training_that_was_killed_is_evaluated_as_one_that_was_not(recipe, tmp_path):
    recipe = evaluated(recipe, recipe.steps // 5)
    whole = train(recipe, 1, tmp_path / "whole", progress=False, checkpoint_seconds=0.0)
    broken_off(recipe, tmp_path / "killed", after=2)
    late = read_evaluations(whole.folder / "evaluations.npz")
    late.write(tmp_path / "killed" / "evaluations.npz")  # as if it had come further than its checkpoint
    resumed = resume(tmp_path / "killed", progress=False)
    for name in (*SAME, "evaluations.npz"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    rows = [_eval_rows(run.folder / "progress.csv") for run in (whole, resumed)]
    assert rows[0] == rows[1] and len(rows[0]) == len(late)


def _eval_rows(path):
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["eval/mean_reward"]]
    names = ("time/total_timesteps", "eval/mean_reward", "eval/mean_reward_wiped", "eval/mean_ep_length")
    return [tuple(float(row[name]) for name in names) for row in rows]


def test_what_it_says_is_what_the_agent_wins(tmp_path):
    env = rlrnn.make_vec("cartpole-no-velocity", 4, seed=0)
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", env, n_steps=32, seed=0, device="cpu")
    path = tmp_path / "new" / "evaluations.npz"
    callback = rlrnn.EvaluationCallback("cartpole-no-velocity", every=200, episodes=5, path=path)
    untrained = {wiped: _played(agent, wiped) for wiped in (False, True)}
    agent.learn(512, callback)
    found = read_evaluations(path)
    # A rollout has 128 steps: the first multiples of it at or after 0, 200 and 400, and the end.
    assert found.steps.tolist() == [0, 256, 512]
    for table, wiped in ((found.points, False), (found.wiped, True)):
        assert tuple(table[0]) == untrained[wiped].points
        assert tuple(table[-1]) == _played(agent, wiped).points
    assert tuple(found.lengths[-1]) == _played(agent, False).lengths
    np.testing.assert_array_equal(found.successes, found.points >= 475)
    agent.learn(128, callback, reset_num_timesteps=False)  # 640 steps: 600 lies in between
    assert read_evaluations(path).steps.tolist() == [0, 256, 512, 640]
    (curve,) = read_curves([path])  # SB3's own reader's names
    np.testing.assert_array_equal(curve.points, read_evaluations(path).points.mean(axis=1))


def _played(agent, wiped):
    return evaluate(agent, "cartpole-no-velocity", 5, seed=evaluating.SEED, wiped=wiped)


def test_what_remembers_nothing_is_not_played_wiped(tmp_path):
    env = rlrnn.make_vec("pendulum-no-velocity", 4, seed=0)
    agent = rlrnn.RecurrentPPO("MlpPolicy", env, n_steps=32, seed=0, device="cpu")
    callback = rlrnn.EvaluationCallback("pendulum-no-velocity", 128, 2, path=tmp_path / "e.npz")
    agent.learn(128, callback)
    found = read_evaluations(tmp_path / "e.npz")
    assert found.wiped is None and found.successes is None and found.points.shape == (2, 2)


def test_statistics_of_vec_normalize_stay_frozen():
    from stable_baselines3.common.vec_env import VecNormalize

    def learned(callback):
        env = VecNormalize(rlrnn.make_vec("cartpole-no-velocity", 4, seed=0))
        agent = rlrnn.RecurrentPPO("MlpGruPolicy", env, n_steps=32, seed=0, device="cpu")
        agent.learn(256, callback)
        return env.obs_rms, agent.policy.state_dict()

    (rms, weights), (rms_too, weights_too) = (
        learned(each) for each in (None, rlrnn.EvaluationCallback("cartpole-no-velocity", 64, 2))
    )
    assert rms.count == rms_too.count and (rms.mean == rms_too.mean).all() and (rms.var == rms_too.var).all()
    assert all(torch.equal(weights[name], weights_too[name]) for name in weights)


def test_sb3s_own_file_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", timesteps=[8, 16], results=[[1, 2], [3, 4]], ep_lengths=[[5, 6], [7, 8]])
    found = read_evaluations(tmp_path / "a.npz")
    assert found.points.tolist() == [[1, 2], [3, 4]] and found.wiped is None
    assert found.before(16).steps.tolist() == [8] and found.before(8).steps.tolist() == []
    assert found.before(17).steps.tolist() == [8, 16]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"timesteps": [1], "results": [[1.0]]}, "ep_lengths"),
        ({"timesteps": [2, 1], "results": [[1], [1]], "ep_lengths": [[1], [1]]}, "do not rise"),
        ({"timesteps": [1, 2], "results": [[1.0]], "ep_lengths": [[1]]}, "shapes"),
        ({"timesteps": [1], "results": [[np.nan]], "ep_lengths": [[1]]}, "not all of its points are finite"),
        ({"timesteps": [1], "results": [[1.0]], "ep_lengths": [[1]], "wiped": [[1.0, 2.0]]}, "shapes"),
    ],
)
def test_a_file_that_is_none_is_named(tables, words, tmp_path):
    np.savez(tmp_path / "a.npz", **tables)
    with pytest.raises(FileFault, match=rf"a\.npz is not a file of evaluations: .*{words}"):
        read_evaluations(tmp_path / "a.npz")


def test_bad_settings_are_named(tmp_path):
    for settings, words in [
        ({"every": 0}, "every is 0"),
        ({"episodes": 0}, "episodes is 0"),
        ({"game": "pogn"}, "did you mean 'pong'"),
    ]:
        with pytest.raises(UserError, match=words):
            rlrnn.EvaluationCallback(**{"game": "pong", **settings})
    with pytest.raises(UserError, match=r"evaluation\.every is -1; it takes a whole number of at least 1"):
        override(TINY, ["evaluation.every=-1"])
    with pytest.raises(FileFault, match="there is no"):
        read_evaluations(tmp_path / "none.npz")


def test_a_damaged_file_of_evaluations_does_not_end_a_resumed_training(tmp_path, capsys):
    recipe = evaluated(TINY, 128)
    broken_off(recipe, tmp_path / "run", after=2)
    (tmp_path / "run" / "evaluations.npz").write_bytes(b"no zip")
    run = resume(tmp_path / "run", progress=False)
    assert run.status == "finished"
    assert "evaluations.npz is not a file of evaluations" in capsys.readouterr().err
    kept = read_evaluations(tmp_path / "run" / "evaluations.npz").steps
    assert kept[0] > 0 and kept[-1] == 512
    assert (tmp_path / "run" / "evaluations.damaged.npz").read_bytes() == b"no zip"


def test_none_and_one_after_another():
    one = Evaluations(np.array([1]), np.ones((1, 2)), np.ones((1, 2), np.int64), np.zeros((1, 2)))
    other = Evaluations(np.array([5]), np.zeros((1, 2)), np.ones((1, 2), np.int64), None)
    assert evaluating._none().with_one(one) is one
    both = one.with_one(other)
    assert both.steps.tolist() == [1, 5] and both.wiped is None  # of the file that another agent began
    assert training.evaluations.__doc__


def test_evaluations_print_as_a_line_each():
    one = Evaluations(np.array([0, 4096]), np.array([[1.0, 2.0], [5.0, 5.0]]), np.ones((2, 2), int))
    assert (
        repr(one) == "2 evaluations of 2 episodes\nafter 0 steps: 1.50 points\nafter 4,096 steps: 5.00 points"
    )
    wiped = dataclasses.replace(one, wiped=np.array([[1.0, 1.0], [1.0, 2.0]]))
    assert repr(wiped).splitlines()[2] == "after 4,096 steps: 5.00 (memory wiped 1.50) points"
    assert repr(one.before(0)) == "no evaluations"
