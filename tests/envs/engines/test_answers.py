"""What single environments answer, and what learners are given, is taken or refused in one sentence."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from stable_baselines3.common.torch_layers import NatureCNN
from tiny_games import clocks

from rlrnn import Episode, Evolution, RecurrentPPO, SequenceLearner, evaluate, imitate
from rlrnn.common.arrays import stepped
from rlrnn.common.settings import check_device
from rlrnn.envs.engines.answers import facts, parts, points, truth
from rlrnn.envs.vec import from_envs
from rlrnn.errors import EnvironmentFault, Flaw, UserError, game_fault
from rlrnn.network.actuators import check_supported
from rlrnn.network.sensors import Sensors

NETWORK = {"hidden_size": 4, "net_arch": [4]}
SMALL: dict[str, Any] = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "seed": 0, "device": "cpu"}


def ppo(**changed: Any) -> RecurrentPPO:
    return RecurrentPPO("MlpGruPolicy", **{"env": clocks(2), **SMALL, "policy_kwargs": NETWORK, **changed})


class Old(gym.Env[Any, Any]):
    """Answers as the test says; else as Gymnasium asks."""

    observation_space, action_space = Box(-1, 1, (2,)), Discrete(2)

    def __init__(self, step: Any = None, reset: Any = None) -> None:
        self.answers = step, reset

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return (np.zeros(2), {}) if self.answers[1] is None else self.answers[1]

    def step(self, action: Any) -> Any:
        return (np.zeros(2), 0.0, False, False, {}) if self.answers[0] is None else self.answers[0]


SEEN = np.zeros(2)
STEPS = [
    ((SEEN, 1.0, False, {}), "gave 4 things, where Gymnasium asks for observation, reward, terminated"),
    (None, ""),
    ((SEEN, 1.0, "False", False, {}), "gave 'False' as terminated, which is neither true nor false,"),
    ((SEEN, 1.0, [False], False, {}), r"gave \[False\] as terminated"),
    ((SEEN, 1.0, False, 2, {}), "gave 2 as truncated"),
    ((SEEN, 1.0, math.nan, False, {}), "gave nan as terminated"),
    ((SEEN, np.ones(2), False, False, {}), r"gave the reward array\(\[1., 1.\]\), which is no number,"),
    ((SEEN, 10**400, False, False, {}), "gave a reward that is too large for a float,"),
    ((np.array(["1", "2"]), 1.0, False, False, {}), "gave an observation of type <U1, which is no number's,"),
    ((np.zeros(2, complex), 1.0, False, False, {}), "gave an observation of type complex128"),
    ((np.zeros(2, "M8[D]"), 1.0, False, False, {}), "gave an observation of type datetime64"),
]


@pytest.mark.parametrize(("answer", "sentence"), STEPS)
def test_a_step_that_gymnasium_does_not_know_is_refused(answer: Any, sentence: str) -> None:
    for play_on in ("step", "play"):
        env = from_envs([partial(Old, answer)], seed=0)
        env.open([0]) if play_on == "play" else env.reset()
        if not sentence:
            getattr(env, play_on)(np.zeros(1, int))
            continue
        with pytest.raises(EnvironmentFault, match=f"Copy 0 of Old {sentence}.* in step"):
            getattr(env, play_on)(np.zeros(1, int))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (SEEN, "gave ndarray, where Gymnasium asks for an observation and an info,"),
        ((SEEN, None), "gave the info None, which is no dict,"),
        ((SEEN, {}, 1), "gave 3 things"),
    ],
)
def test_a_reset_that_gymnasium_does_not_know_is_refused(answer: Any, sentence: str) -> None:
    with pytest.raises(EnvironmentFault, match=f"Copy 0 of Old {sentence}.* in reset"):
        from_envs([partial(Old, None, answer)], seed=0).reset()


def test_numbers_and_truths_are_taken_in_every_form() -> None:
    for one in (1, 1.0, True, np.float32(1), np.array(1.0), np.array([1]), torch.tensor(1.0), Decimal(1)):
        assert points(one) == 1.0 and type(points(one)) is float
    for yes in (True, 1, 1.0, np.bool_(True), np.array(True), np.array([1])):
        assert truth(yes, "terminated") is True
    for no in (False, 0, None, np.bool_(False), np.array([0.0])):
        assert truth(no, "terminated") is False
    masked: Any = np.ma.masked
    with pytest.warns(UserWarning, match="masked element"):
        assert math.isnan(points(masked))  # not the 0 that lies beneath the mask
    with pytest.raises(Flaw, match="as terminated, which is neither true nor false,"):
        truth(masked, "terminated")
    info = {1: 2}
    assert facts(info) == info and facts(info) is not info
    assert parts([1, 2], "two", 2) == [1, 2]
    with pytest.raises(Flaw, match="NoneType, where Gymnasium asks for two,"):
        parts(None, "two", 2)


def test_infos_of_a_game_under_the_names_of_sb3_do_not_count() -> None:
    told = {"episode": {"r": np.float32(1), "l": 2, "t": 0.0}, "is_success": np.bool_(True), "more": "x"}
    given = [{"episode": 3, "is_success": "maybe", "more": "x"}, {"episode": {"r": "1", "l": 1}}, told]
    *_, infos = stepped(
        (np.zeros((3, 2)), np.zeros(3), np.zeros(3, bool), given), Box(-1, 1, (2,)), 3, "step 0"
    )
    assert infos == [{"more": "x"}, {}, told]
    assert given[0]["episode"] == 3  # the game's own dict is left alone


class Numbered(Old):
    """Tells the number of its episode as SB3 tells an episode's points."""

    def step(self, action: Any) -> Any:
        return np.zeros(2), 1.0, True, False, {"episode": 7, "is_success": "maybe"}


def test_games_that_use_the_names_of_sb3_are_learned() -> None:
    agent = ppo(env=from_envs([Numbered] * 2, seed=0)).learn(16)
    assert agent.ep_info_buffer is not None and agent.ep_info_buffer[-1]["r"] == 1.0
    assert not agent.ep_success_buffer


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_is_one_line_whatever_it_names() -> None:
    assert str(UserError("a\n  b\n\nc")) == "a b c"
    assert str(game_fault("X", "step()", ValueError("a\nb"))) == "X raised ValueError in step(): a b"
    assert str(game_fault("X", "step()", ValueError())) == "X raised ValueError in step()"
    assert str(game_fault("X", "step()", Speechless())) == "X raised Speechless in step()"
    with pytest.raises(UserError) as caught:
        ppo(env=from_envs([lambda: _seen(MultiDiscrete([[2, 3], [4, 5]]))], seed=0))
    assert "\n" not in str(caught.value)


def _seen(space: Any) -> Old:
    game = Old()
    game.observation_space = space
    return game


@pytest.mark.parametrize("space", [Box(-1, 1, (2,)), Box(0, 255, (3, 3), np.uint8), Box(0, 1, (40, 40, 3))])
def test_what_is_no_image_is_not_convolved(space: Any) -> None:
    with pytest.raises(
        UserError, match=r"NatureCNN reads images, which the observation space Box.* is not: take"
    ):
        Sensors(space, NatureCNN, {})


def test_there_is_something_to_do() -> None:
    with pytest.raises(UserError, match=r"the action space Box.* is empty"):
        check_supported(Box(0, 1, (0,)))


KINDS = [
    ("n_steps", 2.5, "a whole number"),
    ("n_steps", "8", "a whole number"),
    ("n_steps", None, "a whole number"),
    ("n_epochs", True, "a whole number"),
    ("batch_size", 2.5, "a whole number"),
    ("seq_len", "x", "a whole number"),
    ("gamma", "x", "a finite number"),
    ("gae_lambda", None, "a finite number"),
    ("clip_range", "x", "a finite number or a function"),
    ("clip_range_vf", "x", "a finite number or a function"),
    ("ent_coef", "auto", "a finite number or a function"),
    ("vf_coef", None, "a finite number"),
    ("max_grad_norm", None, "a finite number"),
    ("target_kl", "x", "a finite number"),
    ("learning_rate", math.nan, "a finite number or a function"),
    ("normalize_rewards", "no", "true or false"),
    ("policy_kwargs", 3, "a table"),
]


@pytest.mark.parametrize(("name", "value", "words"), KINDS)
def test_settings_are_of_their_kinds_when_made_and_when_changed(name: str, value: Any, words: str) -> None:
    sentence = f"{name} is {value!r}; RecurrentPPO takes {words}"
    with pytest.raises(UserError, match=sentence):
        ppo(**{name: value})
    agent = ppo()
    setattr(agent, name, value)
    with pytest.raises(UserError, match=sentence):
        agent._cut()


def test_an_infinite_bound_is_none() -> None:
    free, wide = (
        ppo(max_grad_norm=norm, target_kl=kl, seed=0).learn(16)
        for norm, kl in ((math.inf, math.inf), (1e30, None))
    )
    weights = [agent.policy.state_dict() for agent in (free, wide)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"total_timesteps": "100"}, "total_timesteps is '100'"),
        ({"total_timesteps": math.nan}, "total_timesteps is nan"),
        ({"callback": 3}, "callback is 3: give"),
        ({"callback": [None, "x"]}, "callback is 'x': give"),
        ({"log_interval": 0}, "log_interval is 0, but must be a whole number of at least 1"),
    ],
)
def test_what_learn_is_given_is_asked_before_anything_is_played(changed: Any, sentence: str) -> None:
    for agent in (ppo(), Evolution("MlpGruPolicy", clocks(4), policy_kwargs=NETWORK)):
        with pytest.raises(UserError, match=sentence):
            agent.learn(**{"total_timesteps": 16, **changed})
        assert agent.num_timesteps == 0


@pytest.mark.parametrize("env", [3, Old, [Old()], lambda: Old()])
def test_what_is_no_environment_is_refused(env: Any) -> None:
    with pytest.raises(UserError, match="which is no environment: give a Gymnasium environment"):
        ppo(env=env)


def test_a_vector_environment_of_gymnasium_is_learned_in() -> None:
    mode = gym.vector.AutoresetMode.SAME_STEP
    assert ppo(env=gym.vector.SyncVectorEnv([Old, Old], autoreset_mode=mode)).learn(16).n_envs == 2


def test_other_arguments_are_of_their_kinds() -> None:
    for device in ("gpu", None, "cuda:x", "meta"):
        with pytest.raises(UserError, match=r"device is .*: choose one of auto, cpu, cuda"):
            check_device(device)
    with pytest.raises(UserError, match="device is 'x'"):
        SequenceLearner(device="x").fit([np.zeros((2, 1))], [np.zeros((2, 1))])
    with pytest.raises(UserError, match="cell_options is 3; SequenceLearner takes a table"):
        SequenceLearner(cell_options=3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="strategy_kwargs is 3; Evolution takes a table"):
        Evolution("MlpGruPolicy", clocks(2), strategy_kwargs=3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="stats_window_size is -1"):
        ppo(stats_window_size=-1)
    with pytest.raises(UserError, match="policy is 3: give a name"):
        RecurrentPPO(3, clocks(2))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cell '' is not known"):
        ppo(policy_kwargs={**NETWORK, "cell": ""})
    with pytest.raises(UserError, match="agent is 3: give one of rlrnn's"):
        evaluate(3, "cartpole")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="episodes is 'x'"):
        evaluate(ppo(), "cartpole", "x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="seed is 'x'"):
        from_envs([Old], seed="x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"an observation is not of Box.*: "):
        ppo().predict(np.full((2, 9), 0.0))


def test_what_is_no_episode_is_not_imitated() -> None:
    for given in (3, ["a"], [None]):
        with pytest.raises(UserError, match="is no Episode: give a list of them"):
            imitate(ppo(), given)  # type: ignore[arg-type]
    for part in ("observations", "actions", "rewards"):
        whole = {"observations": np.zeros((2, 1)), "actions": np.zeros(2), "rewards": np.zeros(2)}
        with pytest.raises(UserError, match="episode 0 lacks observations, actions or rewards"):
            imitate(ppo(), [Episode(**{**whole, part: None}, terminated=True)])  # type: ignore[arg-type]
