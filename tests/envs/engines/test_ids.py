"""An id that cannot be made is answered by one sentence that names the remedy."""

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import toy_envs  # noqa: F401  (registers toys)

from rlrnn.envs.engines.ids import find_spec, make_single
from rlrnn.envs.vec import vectorize
from rlrnn.errors import EnvironmentFault, MissingExtraError, UserError


def test_a_misspelt_id_gets_suggestions_and_the_remedy() -> None:
    with pytest.raises(UserError, match=r"'CartPoll-v1'; did you mean 'CartPole-v1'.*--import MODULE"):
        find_spec("CartPoll-v1")
    with pytest.raises(UserError, match=r"No environment is registered as 'zzzzzz'\. If it is your own"):
        find_spec("zzzzzz")
    with pytest.raises(UserError, match="os:CartPole-v1"):  # an id is data: it names no module to import
        find_spec("os:CartPole-v1")


@pytest.mark.parametrize(
    ("id", "module", "extra"),
    [
        ("ALE/Nothing-v5", "ale_py", "atari"),
        ("MiniGrid-Nothing-v0", "minigrid", "minigrid"),
        ("popgym-Nothing-v0", "popgym", "popgym"),
        ("NothingBulletEnv-v0", "pybullet_envs_gymnasium", "pybullet"),
    ],
)
def test_a_missing_package_names_its_extra(
    id: str,  # noqa: A002
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=rf'{id} needs .*pip install "rlrnn\[{extra}\]"'):
        vectorize(id, 1)


def test_a_package_that_an_environment_needs_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r'LunarLander-v3 needs .*pip install "rlrnn\[box2d\]"'):
        vectorize("LunarLander-v3", 1)


def test_our_games_need_no_import() -> None:
    assert find_spec("rlrnn/Pong-v0").id == "rlrnn/Pong-v0"


def test_wrong_arguments_are_answered_with_the_right_ones() -> None:
    for id in ("CartPole-v1", "rlrnn/CartPole-v1"):  # noqa: A001  (one single, one native)
        with pytest.raises(EnvironmentFault, match=rf"Making {id} with {{'gravitas': 3}} raised TypeError"):
            vectorize(id, 2, kwargs={"gravitas": 3})
    with pytest.raises(EnvironmentFault, match=r"It takes sutton_barto_reward, render_mode\."):
        vectorize("CartPole-v1", 2, kwargs={"gravitas": 3})
    own = "steps_per_point, num_envs, max_episode_steps, render_mode"  # and those of the class that it is of
    with pytest.raises(EnvironmentFault, match=rf"It takes {own}\."):
        vectorize("rlrnn/CartPole-v1", 2, kwargs={"gravitas": 3})


def test_a_tuple_becomes_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pair(gym.Env):
        observation_space = gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.Box(-1.0, 1.0, (2,))))
        action_space = gym.spaces.Discrete(2)

        def reset(self, **_: Any) -> Any:
            return (1, np.array([0.25, -0.5], np.float32)), {}

        def step(self, action: int) -> Any:
            return (0, np.array([0.5, 0.75], np.float32)), 0.0, True, False, {}

    monkeypatch.setitem(gym.registry, "Pair-v0", gym.envs.registration.EnvSpec("Pair-v0", Pair))
    env = vectorize("Pair-v0", 2, workers=0)
    assert env.reset().tolist() == [[0, 1, 0.25, -0.5]] * 2
    _, _, _, infos = env.step(np.zeros(2, int))
    assert infos[1]["terminal_observation"].tolist() == [1, 0, 0.5, 0.75]


def test_a_constructor_that_raises_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> gym.Env:
        raise OSError("no screen")

    monkeypatch.setitem(gym.registry, "Broken-v0", gym.envs.registration.EnvSpec("Broken-v0", broken))
    with pytest.raises(EnvironmentFault, match="Making Broken-v0 raised OSError: no screen"):
        make_single(find_spec("Broken-v0"), {})
