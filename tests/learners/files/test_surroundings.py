"""What an agent learned behind is there again, or told of, where it plays a game by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

import rlrnn
from rlrnn.envs import games
from rlrnn.experiment import agents
from rlrnn.learners.files import surroundings

BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)
DICT = spaces.Dict({"far": BOX, "near": BOX})
ID = "Distance-v0"


class Distance(gym.Env[Any, Any]):
    """Shows (100 + step, 3) for 4 steps, each worth a point."""

    def __init__(self, parts: bool = False, render_mode: str | None = None) -> None:
        self.observation_space, self.action_space = DICT if parts else BOX, spaces.Discrete(2)

    def seen(self) -> Any:
        shown = np.array([100.0 + self.t, 3.0], np.float32)
        return {"far": shown, "near": shown} if isinstance(self.observation_space, spaces.Dict) else shown

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.seen(), 1.0, self.t == 4, False, {}


class Halved(gym.ObservationWrapper[Any, Any, Any]):
    """Shows half of it."""

    def observation(self, observation: Any) -> Any:
        return observation / 2


class Same(gym.ActionWrapper[Any, Any, Any]):
    """Does what is asked."""

    def action(self, action: Any) -> Any:
        return action


class Louder(VecEnvWrapper):
    """A user's own wrapper."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


@pytest.fixture(autouse=True)
def _game() -> Iterator[None]:
    gym.register(ID, Distance)
    gym.register("DistanceParts-v0", lambda render_mode=None: Distance(True))
    yield
    del gym.registry[ID], gym.registry["DistanceParts-v0"]


def copies(parts: bool = False) -> DummyVecEnv:
    return DummyVecEnv([lambda: Distance(parts)] * 2)


def normalized(parts: bool = False) -> VecNormalize:
    """With a mean of (102, 3) and a variance of (4, 1): 100 is shown as -1."""
    env = VecNormalize(copies(parts), clip_obs=1.25)
    for rms in env.obs_rms.values() if isinstance(env.obs_rms, dict) else [env.obs_rms]:
        rms.mean, rms.var = np.array([102.0, 3.0]), np.array([4.0, 1.0])
    return env


def learner(env: Any, policy: str = "MlpPolicy") -> rlrnn.RecurrentPPO:
    return rlrnn.RecurrentPPO(policy, env, n_steps=4, policy_kwargs={"net_arch": []}, device="cpu")


SHOWN = np.array([[-1.0, 0.0], [-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]])  # of steps 100 to 103


@pytest.mark.parametrize("make", [learner, lambda env: rlrnn.Evolution("MlpPolicy", env)])
def test_a_normalizer_is_put_on_again(make: Any, tmp_path: Path) -> None:
    agent = make(normalized())
    agent.save(tmp_path / "agent")
    for each in (agent, agents.load(tmp_path / "agent.zip"), type(agent).load(tmp_path / "agent")):
        (episode,) = rlrnn.record(each, ID, episodes=1)
        assert episode.observations == pytest.approx(SHOWN, abs=1e-6)
        assert episode.points == 4.0  # rewards are the game's own
        assert rlrnn.evaluate(each, ID, episodes=2).points == (4.0, 4.0)
        each.save(tmp_path / "again")
        assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "agent.zip").read_bytes()


def test_the_statistics_are_those_of_now_and_stay_as_they_are() -> None:
    env = normalized()
    agent = learner(env)
    assert isinstance(env.obs_rms, type(env.ret_rms))
    env.obs_rms.mean = np.array([100.0, 3.0])
    (episode,) = rlrnn.record(agent, ID, episodes=1)
    assert isinstance(episode.observations, np.ndarray)
    assert episode.observations[:, 0] == pytest.approx([0.0, 0.5, 1.0, 1.25])  # the last is clipped
    assert env.obs_rms.mean.tolist() == [100.0, 3.0]


def test_parts_of_a_dict_are_normalized_each_by_itself(tmp_path: Path) -> None:
    env = normalized(parts=True)
    env.norm_obs_keys, env.obs_rms = ["far"], {"far": env.obs_rms["far"]}  # type: ignore[call-overload]
    learner(env, "MultiInputPolicy").save(tmp_path / "agent")
    (episode,) = rlrnn.record(agents.load(tmp_path / "agent.zip"), "DistanceParts-v0", episodes=1)
    assert isinstance(episode.observations, dict)
    assert episode.observations["far"] == pytest.approx(SHOWN, abs=1e-6)
    assert episode.observations["near"][:, 0].tolist() == [100.0, 101.0, 102.0, 103.0]


def test_a_model_of_sb3_is_seen_to_as_well() -> None:
    model = PPO("MlpPolicy", normalized(), n_steps=4, batch_size=4, device="cpu")
    (episode,) = rlrnn.record(model, ID, episodes=1)
    assert episode.observations == pytest.approx(SHOWN, abs=1e-6)


def test_its_own_environment_or_another_one_of_the_users_is_played_as_it_is(tmp_path: Path) -> None:
    agent = learner(normalized())
    agent.save(tmp_path / "agent")
    bare = rlrnn.RecurrentPPO.load(tmp_path / "agent", env=copies())
    assert surroundings.note(bare) == {}
    for each in (bare, agent):
        (episode,) = rlrnn.record(each, copies(), episodes=1)
        assert isinstance(episode.observations, np.ndarray)
        assert episode.observations[:, 0].tolist() == [100.0, 101.0, 102.0, 103.0]
    agent.set_env(copies())
    assert surroundings.note(agent) == {}


def test_another_game_is_refused_by_its_space() -> None:
    with pytest.raises(rlrnn.UserError, match="give the game it learned"):
        rlrnn.evaluate(learner(normalized()), "CartPole-v1", episodes=1)


@pytest.mark.parametrize(
    ("env", "name"),
    [
        (lambda: Louder(copies()), "Louder"),
        (lambda: VecMonitor(Louder(normalized())), "Louder"),
        (lambda: DummyVecEnv([lambda: Halved(Distance())]), "ObservationWrapper"),
        (lambda: DummyVecEnv([lambda: Same(Distance())]), "ActionWrapper"),
    ],
)
def test_other_wrappers_are_told_of(env: Any, name: str, tmp_path: Path) -> None:
    agent = learner(env())
    agent.env.close()
    agent.save(tmp_path / "agent")
    for each in (agent, agents.load(tmp_path / "agent.zip")):
        with pytest.warns(UserWarning, match=f"learned behind {name}, which {ID} lacks") as caught:
            rlrnn.evaluate(each, ID, episodes=1)
        assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "env",
    [
        lambda: VecCheckNan(VecMonitor(copies())),
        lambda: VecNormalize(copies(), norm_obs=False),
        lambda: rlrnn.make_vec("rlrnn/CartPole-v1", 2),
    ],
)
def test_ordinary_surroundings_leave_no_trace(env: Any) -> None:
    agent = learner(env())
    assert surroundings.note(agent) == {}
    game = "rlrnn/CartPole-v1" if agent.observation_space != BOX else ID
    assert rlrnn.evaluate(agent, game, episodes=1).episodes == 1


def test_stacked_frames_are_refused_by_their_space_and_wrappers_of_the_game_are_no_news() -> None:
    with pytest.raises(rlrnn.UserError, match="give the game"):
        rlrnn.evaluate(learner(VecFrameStack(copies(), 2)), ID, episodes=1)
    stacked = games.Game("stacked", ID, wrappers=({"name": "stack", "frames": 2},))
    agent = learner(rlrnn.make_vec(stacked))
    assert surroundings.note(agent) == {"wrappers": ["Stack"]}
    assert rlrnn.evaluate(agent, stacked, episodes=1).points == (4.0,)
