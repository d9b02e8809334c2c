"""A game described: what is true is said, what should be mended is a warning, a crash is a sentence."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import DummyVecEnv

import rlrnn
from rlrnn.errors import UserError
from rlrnn.experiment import random_play
from rlrnn.experiment.checking import Check, check


class Corridor(gym.Env):
    """Five steps with a number that seeds decide; the last step wins 3."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(2)
    reward, length, scale, masks = 3.0, 5, 1.0, False

    def __init__(self, **changes):
        for name, value in changes.items():
            setattr(self, name, value)
        self.own = np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.look(), {"action_mask": [1, 1]} if self.masks else {}

    def step(self, action):
        self.steps += 1
        if self.reward is None:
            raise RuntimeError("the door is locked")
        over = self.steps == self.length
        info = {"action_mask": [1, 1]} if self.masks else {}
        return self.look(), self.reward * over, over, False, info

    def look(self):
        return np.float32([0.5, self.scale * self.np_random.uniform(-1, 1)])


class Unseeded(Corridor):
    """Draws from a generator of its own."""

    def look(self):
        return self.own.uniform(-1, 1, 2).astype(np.float32)


class Fixed(Corridor):
    """Has no chance."""

    def look(self):
        return np.zeros(2, np.float32)


@pytest.fixture
def register():
    names = []

    def add(entry, **changes):
        names.append(f"test/Check{len(names)}-v0")
        gym.register(names[-1], entry_point=entry, kwargs=changes)
        return names[-1]

    yield add
    for name in names:
        del gym.registry[name]


def test_what_is_true_of_a_game_is_said(register):
    found = check(register(Corridor), 12)
    assert (found.observations, found.actions) == ("2 numbers from -1 to 1", "one of 2")
    assert found.points == (3.0,) * 12 and found.lengths == (5,) * 12
    assert (found.mean, found.sd, found.truncated, found.rewards) == (3.0, 0.0, 0.0, (0.0, 3.0))
    assert found.rewarded == pytest.approx(0.2, abs=0.05)
    assert (found.seeded, found.varied, found.saved, found.masked) == (True, True, False, False)
    assert found.learners == ("ppo", "dqn", "sac", "evolution") and found.steps_per_second > 0
    assert not found.warnings
    assert any(sentence.startswith("numbers 0 never change") for sentence in found.advice)
    assert (
        found.advice[-1]
        == f"to learn it: rlrnn train --game {found.game}, and again with --control feedforward"
    )
    assert json.loads(json.dumps(found.to_json()))["mean"] == 3.0
    assert repr(found) == (
        f"{found.game}: 2 numbers from -1 to 1 -> one of 2; a random player wins 3.00 (sd 0.00, 12 episodes)"
    )


@pytest.mark.parametrize(
    ("entry", "changes", "sentence"),
    [
        (Corridor, {"scale": 5.0}, "where its space runs from -1 to 1"),
        (Unseeded, {}, "the same seed does not give the same episode"),
        (Fixed, {}, "every seed gives the same episode"),
        (Corridor, {"reward": 0.0}, "a random player was never rewarded"),
        (Corridor, {"length": 100}, "an episode has not ended after 40 random steps"),
    ],
)
def test_what_should_be_mended_is_a_warning(register, monkeypatch, entry, changes, sentence):
    monkeypatch.setattr(random_play, "LONGEST", 40)
    monkeypatch.setattr("rlrnn.experiment.checking.LONGEST", 40)
    found = check(register(entry, **changes), 4)
    assert [sentence in warning for warning in found.warnings] == [True]
    assert "1 warning" in repr(found)


def test_masks_limits_saving_and_scales_are_seen(register):
    assert check(register(Corridor, masks=True), 2).masked
    assert check("rlrnn/Recall-v0", 2, kwargs={"length": 8}).saved
    found = check("CartPole-v1", 4, wrappers=[{"name": "hide", "drop": [1, 3]}])
    assert found.observations.startswith("2 numbers") and not found.saved and found.truncated == 0.0
    assert check("Pendulum-v1", 2).truncated == 1.0
    advice = check("Pendulum-v1", 2).advice
    assert any("normalize.rewards = true" in sentence for sentence in advice)


def test_an_environment_itself_may_be_given():
    env = Corridor()
    assert check(env, 3).points == (3.0,) * 3
    vec = DummyVecEnv([Corridor, Corridor])
    found = check(vec, 3)
    assert (
        found.points == (3.0,) * 3
        and found.lengths == (5,) * 3
        and found.observations == "2 numbers from -1 to 1"
    )
    assert "register('mine/Game-v0', its class) in a module" in found.advice[-1]  # nobody did yet
    assert check(gym.make("CartPole-v1"), 1).advice[-1].startswith("to learn it: rlrnn train --game CartPole")
    assert isinstance(rlrnn.check(env, 1), Check) and "random player" in found._repr_html_()


def test_so_may_its_class_or_a_batch_of_gymnasiums_and_all_are_seen_through_wrappers():
    found = check(Corridor, 12, kwargs={"reward": 2.0}, wrappers=[{"name": "hide", "drop": [0]}])
    assert found.points == (2.0,) * 12 and found.observations.startswith("1 number")
    assert check(lambda: Corridor(reward=4.0), 2).points == (4.0,) * 2
    how = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP}}
    batch = gym.make_vec("CartPole-v1", 2, **how)
    assert check(batch, 3).observations.startswith("4 numbers")
    assert check(Corridor(), 2, wrappers={"name": "hide", "drop": [0]}).observations.startswith("1 number")
    with pytest.raises(UserError, match=r"kwargs is {'reward': 2.0}, but .*Corridor.* is made already"):
        check(Corridor(), 2, kwargs={"reward": 2.0})


def test_a_games_file_is_advised_by_its_path(tmp_path):
    (tmp_path / "hidden.toml").write_text('id = "CartPole-v1"')
    path = tmp_path / "hidden.toml"
    found = check(path, 2)
    assert found.game == "hidden"
    assert found.advice[-1].startswith(f"to learn it: rlrnn train --game {path}, and again")


def test_a_game_that_crashes_or_that_no_learner_takes_is_a_sentence(register):
    with pytest.raises(
        UserError, match=r"raised RuntimeError in .*the door is locked.*test_checking.py, line"
    ):
        check(register(Corridor, reward=None), 2)
    with pytest.raises(UserError, match="it must be a finite"):
        check(register(Corridor, reward=np.inf), 2)
    with pytest.raises(UserError, match=r"Text.* use Box"):
        check(register(Corridor, observation_space=spaces.Text(3)), 2)
    with pytest.raises(UserError, match="did you mean 'CartPole-v1'"):
        check("CartPoel-v1")
    with pytest.raises(UserError, match="episodes is 0"):
        check("CartPole-v1", 0)
