"""What learners from replay cannot do is told in one sentence, before anything is taken or lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from playing import same
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.sac.policies import SACPolicy
from tiny_games import Clock, clocks

from rlrnn import RecurrentDQN, RecurrentSAC
from rlrnn.errors import EnvironmentFault, UserError

BOX, TWO = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
NETWORK = {"hidden_size": 4, "net_arch": [4]}
SMALL = {"buffer_size": 200, "batch_size": 20, "seq_len": 5, "learning_starts": 10, "device": "cpu"}


def dqn(n_envs: int = 1, policy_kwargs: Any = None, **settings: Any) -> RecurrentDQN:
    kwargs = {**NETWORK, **(policy_kwargs or {})}
    return RecurrentDQN("MlpGruPolicy", clocks(n_envs), policy_kwargs=kwargs, **{**SMALL, **settings})


def sac(n_envs: int = 1, policy_kwargs: Any = None, **settings: Any) -> RecurrentSAC:
    kwargs = {**NETWORK, **(policy_kwargs or {})}
    env = clocks(n_envs, action_space=BOX)
    return RecurrentSAC("MlpGruPolicy", env, policy_kwargs=kwargs, **{**SMALL, **settings})


FEWER = "which is fewer than the steps of a minibatch"
ENT_COEF = 'give a number of at least 0, "auto", or "auto_" and the number above 0 to begin with'
FREQUENCY = 'give a whole number of steps of at least 1, or (n, "episode")'


@pytest.mark.parametrize("make", [dqn, sac])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"seq_len": 300, "batch_size": 300},
            f"buffer_size is 200, {FEWER} (batch_size=300 in rows of seq_len=300): raise it, or lower those.",
        ),
        (
            {"batch_size": 2_000},
            f"buffer_size is 200, {FEWER} (batch_size=2,000 in rows of seq_len=5): raise",
        ),
        ({"burn_in": 500}, f"{FEWER} (batch_size=20 in rows of seq_len=5 after burn_in=500): raise it"),
        ({"buffer_size": 10**14}, "a replay of buffer_size=100,000,000,000,000 steps would need "),
        (
            {"n_envs": 2, "train_freq": (1, "episode")},
            "train_freq is 1 episode(s), but 2 copies are played at",
        ),
        ({"train_freq": 0}, f"train_freq is 0: {FREQUENCY}."),
        ({"train_freq": (1, "day")}, f"train_freq is (1, 'day'): {FREQUENCY}."),
        ({"train_freq": (1, 2, 3)}, f"train_freq is (1, 2, 3): {FREQUENCY}."),
        ({"first_state": "recomputed"}, "first_state is 'recomputed': choose one of stored, zero."),
        ({"first_state": "Zero"}, "choose one of stored, zero (did you mean 'zero'?)."),
        ({"replayed_steps": 0}, "replayed_steps is 0, but must be a number above 0."),
        ({"replayed_steps": -1.5}, "replayed_steps is -1.5, but must be a number above 0."),
        ({"replayed_steps": math.nan}, "replayed_steps is nan"),
        ({"tau": 0}, "tau is 0, but must be a number above 0 and at most 1."),
        ({"tau": 1.5}, "tau is 1.5, but must be a number above 0 and at most 1."),
        ({"gradient_steps": -2}, "gradient_steps is -2, but must be a whole number of at least -1."),
        ({"gradient_steps": 0.5}, "gradient_steps is 0.5"),
        ({"buffer_size": 0}, "buffer_size is 0, but must be a whole number of at least 1."),
        ({"seq_len": 0}, "seq_len is 0, but must be a whole number of at least 1."),
        ({"seq_len": None}, "seq_len is None; "),
        ({"batch_size": "64"}, "batch_size is '64'; "),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; "),
        ({"learning_rate": math.inf}, "learning_rate is inf; "),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001, but must be a number of at least 0."),
        ({"encoder_learning_rate": "slow"}, "encoder_learning_rate is 'slow'; "),
        ({"max_grad_norm": None}, "max_grad_norm is None; "),
        ({"gamma": 2}, "gamma is 2, but must be a number from 0 to 1."),
        ({"whole_episodes": "yes"}, "whole_episodes is 'yes'; "),
        ({"normalize_rewards": 1}, "normalize_rewards is 1; "),
        ({"policy_kwargs": {"critic": "own"}}, "critic is in policy_kwargs, but says nothing to Recurrent"),
        ({"policy_kwargs": {"enable_critic_lstm": True}}, "enable_critic_lstm is in policy_kwargs, but says"),
        ({"policy_kwargs": {"log_std_init": -1.0}}, "log_std_init is in policy_kwargs, but says nothing to"),
        (
            {"policy_kwargs": {"net_arch": {"pi": [4], "q": [4]}}},
            "it knows pi (actor) and qf or vf (critic).",
        ),
        (
            {"policy_kwargs": {"net_arch": {"qf": [4], "vf": [4]}}},
            "it knows pi (actor) and qf or vf (critic).",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be(make: Callable[..., Any], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        make(**settings)
    assert words in str(caught.value) and str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trace": "retrace"}, "trace is 'retrace': choose one of watkins, peng."),
        ({"trace": None}, "trace is None"),
        ({"q_lambda": 1.1}, "q_lambda is 1.1, but must be a number from 0 to 1."),
        ({"double": "both"}, "double is 'both'; RecurrentDQN takes true or false."),
        (
            {"exploration_fraction": 0},
            "exploration_fraction is 0, but must be a number above 0 and at most 1.",
        ),
        ({"exploration_final_eps": -0.1}, "exploration_final_eps is -0.1, but must be a number from 0 to 1."),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_setting_of_values_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        dqn(**settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ent_coef": "atuo"}, f"ent_coef is 'atuo': {ENT_COEF}"),
        ({"ent_coef": "auto_"}, f"ent_coef is 'auto_': {ENT_COEF}"),
        ({"ent_coef": "auto_0"}, f"ent_coef is 'auto_0': {ENT_COEF}"),
        ({"ent_coef": "auto_inf"}, f"ent_coef is 'auto_inf': {ENT_COEF}"),
        ({"ent_coef": -0.1}, f"ent_coef is -0.1: {ENT_COEF}"),
        ({"ent_coef": None}, "ent_coef is None; RecurrentSAC takes a word or a finite number."),
        ({"ent_coef": True}, "ent_coef is True; RecurrentSAC takes a word or a finite number."),
        ({"target_entropy": "atuo"}, "target_entropy is 'atuo': give a number of nats, or \"auto\"."),
        ({"n_critics": 0}, "n_critics is 0, but must be a whole number from 1 to 100."),
        ({"n_critics": 10**12}, "n_critics is 1000000000000, but must be a whole number from 1 to 100."),
        ({"policy_kwargs": {"net_arch": {"pi": [4], "qf": [10**7, 10**7]}}}, "2 critics would need 4"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_setting_of_actor_and_critics_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        sac(**settings)
    assert words in str(caught.value)


def test_what_sb3_takes_is_taken() -> None:
    """Numbers as text, 0 updates, whose play is kept all the same, no limit, and sb3's word for critics."""
    one = sac(ent_coef="0.25", gradient_steps=0, max_grad_norm=float("inf"), tau=1)
    assert not one.temperature.log.requires_grad
    assert float(one.temperature.log.detach().exp()) == pytest.approx(0.25)
    one.learn(40)
    assert one._n_updates == 0 and one.replay_buffer.size() >= 40
    named = sac(policy_kwargs={"net_arch": {"pi": [3], "qf": [7, 5]}})
    assert [layer.weight.shape[1] for layer in named.critic.heads[0].affine] == [7, 5]
    assert [layer.weight.shape[1] for layer in named.policy.network.actor_head.affine] == [3]


@pytest.mark.parametrize(
    ("learner", "space", "others"),
    [
        (RecurrentDQN, BOX, "RecurrentSAC or RecurrentPPO"),
        (RecurrentDQN, spaces.MultiDiscrete([2, 2]), "RecurrentPPO"),
        (RecurrentDQN, spaces.MultiBinary(2), "RecurrentPPO"),
        (RecurrentSAC, spaces.MultiDiscrete([2, 2]), "RecurrentPPO"),
        (RecurrentSAC, spaces.MultiBinary(2), "RecurrentPPO"),
    ],
)
def test_the_learner_that_takes_such_actions_is_named(learner: Any, space: Any, others: str) -> None:
    takes = "Discrete" if learner is RecurrentDQN else "Box or Discrete"
    with pytest.raises(UserError) as caught:
        learner("MlpGruPolicy", clocks(1, action_space=space), device="cpu")
    assert str(caught.value) == (
        f"{learner.__name__} takes {takes} actions, but the game has {space}: learn it by {others}."
    )


class Spoiled(Clock):
    """Its 13th reward, or what it shows then, is no number."""

    where = "reward"

    def step(self, action: Any) -> Any:
        seen, reward, *ends = super().step(action)
        if self.total == 13:
            if self.where == "reward":
                reward = math.nan
            else:
                seen = np.full_like(seen, np.inf)
        return seen, reward, *ends


@pytest.mark.parametrize("make", [dqn, sac])
@pytest.mark.parametrize("where", ["reward", "observation"])
def test_what_is_no_number_is_told_and_nothing_is_lost(make: Any, where: str) -> None:
    """The replay holds all before it, finite, and learning goes on in new episodes."""
    space = BOX if make is sac else TWO

    class Game(Spoiled):
        pass

    Game.where = where
    env = DummyVecEnv([lambda: Game(0, action_space=space), lambda: Clock(1, action_space=space)])
    whole = make(n_envs=2, seed=0)
    agent = type(whole)("MlpGruPolicy", env, policy_kwargs=NETWORK, **SMALL, seed=0)
    number = "nan" if where == "reward" else "inf"
    with pytest.raises(EnvironmentFault) as caught:
        agent.learn(100)
    assert f"environment 0 returned {number} in its {where} at step 0 of the play" in str(caught.value)
    whole.learn(24)
    same(agent.replay_buffer.contents(), whole.replay_buffer.contents())
    assert agent.num_timesteps == 24
    agent.learn(40, reset_num_timesteps=False)  # its 13th step is over
    contents = agent.replay_buffer.contents()
    assert np.isfinite(contents["rewards"]).all() and np.isfinite(contents["observations"]).all()
    assert contents["starts"].sum() > whole.replay_buffer.starts.sum()


def test_an_agent_without_a_game_and_a_policy_of_another_library() -> None:
    with pytest.raises(UserError, match="there is no env to take the spaces from"):
        RecurrentSAC("MlpGruPolicy", None)
    agent = dqn()
    agent.env = None
    with pytest.raises(UserError, match="the agent has no environment to learn in"):
        agent.learn(10)
    with pytest.raises(UserError, match=r"SACPolicy is not one of rlrnn's: use its name"):
        RecurrentSAC(SACPolicy, clocks(1, action_space=BOX))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [dqn, sac])
def test_a_callback_that_spoils_a_setting(make: Any) -> None:
    agent = make()

    def spoil(local: dict[str, Any], _: dict[str, Any]) -> bool:
        agent.tau = 7.0
        return True

    with pytest.raises(UserError, match=r"tau is 7\.0, but must be a number above 0 and at most 1"):
        agent.learn(40, spoil)


def test_values_ask_for_no_critic() -> None:
    agent = dqn()
    with pytest.raises(UserError, match="this agent has no critic: it values actions, not situations"):
        agent.policy.predict_values(torch.zeros(1, 3), torch.zeros(1, 4), torch.ones(1))


def test_it_breaks_down_in_a_sentence() -> None:
    for make in (dqn, sac):
        agent = make(learning_rate=1e30, max_grad_norm=1e30)
        with pytest.raises(UserError, match=r"learning broke down after \d+ steps.*try a smaller"):
            agent.learn(400)
