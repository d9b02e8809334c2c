"""VecNormalize's pickle: its numbers, and that nothing in it is run."""

import os
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import RecurrentPPO as Contrib
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rlrnn
from rlrnn.envs import games
from rlrnn.errors import FileFault
from rlrnn.experiment.evaluation import copies_for
from rlrnn.learners.files.contrib_normalize import beside, read_normalization


class Parts(gym.Env):
    observation_space = spaces.Dict({"a": spaces.Box(-9, 9, (2,)), "b": spaces.Discrete(3)})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.see(), {}

    def see(self):
        return {"a": self.np_random.normal(3, 2, 2).astype(np.float32), "b": 1}

    def step(self, action):
        return self.see(), 1.0, False, False, {}


def normalized(env, **settings):
    env = VecNormalize(DummyVecEnv([lambda: gym.make(env) if isinstance(env, str) else env()]), **settings)
    env.reset()
    for _ in range(20):
        env.step([0])
    return env


def test_its_numbers_are_those_that_were_learned(tmp_path):
    env = normalized("CartPole-v1", clip_obs=5.0, epsilon=1e-6)
    env.save(tmp_path / "v.pkl")
    numbers = read_normalization(tmp_path / "v.pkl")
    np.testing.assert_array_equal(numbers["statistics"][""]["mean"], env.obs_rms.mean)
    np.testing.assert_array_equal(numbers["statistics"][""]["var"], env.obs_rms.var)
    assert (numbers["clip_obs"], numbers["epsilon"], numbers["norm_obs_keys"]) == (5.0, 1e-6, None)
    of_rewards = normalized("CartPole-v1", norm_obs=False)
    of_rewards.save(tmp_path / "r.pkl")
    assert read_normalization(tmp_path / "r.pkl") is None
    parts = normalized(Parts, norm_obs_keys=["a"])
    parts.save(tmp_path / "d.pkl")
    numbers = read_normalization(tmp_path / "d.pkl")
    assert list(numbers["statistics"]) == ["a"] == numbers["norm_obs_keys"]
    np.testing.assert_array_equal(numbers["statistics"]["a"]["mean"], parts.obs_rms["a"].mean)


class Dangerous:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_in_it_is_run(tmp_path):
    env = normalized("CartPole-v1")
    env.metadata = {"x": Dangerous(tmp_path / "made")}
    env.save(tmp_path / "v.pkl")
    assert read_normalization(tmp_path / "v.pkl") is not None and not (tmp_path / "made").exists()
    with (tmp_path / "v.pkl").open("rb") as file:
        pickle.load(file)
    assert (tmp_path / "made").exists()  # as it would be


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Ran out of input"),
        (b"no pickle", "is not what SB3's VecNormalize saves"),
        (pickle.dumps({"obs_rms": 1}), "it holds another object"),
        (pickle.dumps(Dangerous("/nowhere/at/all")), "it holds another object"),
    ],
)
def test_what_is_none_is_named(content, words, tmp_path):
    (tmp_path / "v.pkl").write_bytes(content)
    with pytest.raises(FileFault, match=words):
        read_normalization(tmp_path / "v.pkl")


def test_numbers_that_are_none_are_refused(tmp_path):
    env = normalized("CartPole-v1")
    for spoiled in (np.array([np.nan] * 4), np.array([-1.0] * 4), np.ones(3)):
        env.obs_rms.var = spoiled
        env.save(tmp_path / "v.pkl")
        with pytest.raises(FileFault, match="no finite numbers of one shape"):
            read_normalization(tmp_path / "v.pkl")


def test_where_they_lie(tmp_path):
    for agent, statistics in [
        ("best_model.zip", "vecnormalize.pkl"),
        ("CartPole-v1.zip", "CartPole-v1/vecnormalize.pkl"),
        ("best_model.zip", "Pendulum-v1/vecnormalize.pkl"),
        ("rl_model_800_steps.zip", "rl_model_vecnormalize_800_steps.pkl"),
    ]:
        folder = tmp_path / statistics.replace("/", "-")
        (folder / statistics).parent.mkdir(parents=True)
        assert beside(folder / agent) is None
        (folder / statistics).touch()
        assert beside(folder / agent) == folder / statistics
    (folder / "a").mkdir()
    (folder / "a" / "vecnormalize.pkl").touch()
    (folder / "b").mkdir()
    (folder / "b" / "vecnormalize.pkl").touch()
    assert beside(folder / "other.zip") is None  # whose it would be is not known


def test_an_agent_of_contrib_sees_what_it_saw_in_training(tmp_path):
    env = normalized("CartPole-v1")
    agent = Contrib("MlpLstmPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu")
    agent.learn(64)
    agent.save(tmp_path / "agent.zip")
    bare = rlrnn.load(tmp_path / "agent.zip", device="cpu")
    assert bare._surroundings == {}
    env.save(tmp_path / "vecnormalize.pkl")
    with pytest.warns(UserWarning, match=r"normalised by the statistics beside it, .*vecnormalize\.pkl"):
        ours = rlrnn.load(tmp_path / "agent.zip", device="cpu")
    copies = copies_for(ours, games.game("CartPole-v1"), 2, seed=3)
    seen = copies.reset()
    raw = rlrnn.make_vec("CartPole-v1", 2, seed=3).reset()
    env.training = False
    np.testing.assert_allclose(seen, env.normalize_obs(raw), rtol=1e-6)
    assert not np.allclose(seen, raw)
    copies.close()
