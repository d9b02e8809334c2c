"""Many steps in one compiled call are those steps one by one: the same agent, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    ConvertCallback,
    EvalCallback,
    ProgressBarCallback,
)
from stable_baselines3.common.vec_env import VecCheckNan

from rlrnn import RecurrentPPO
from rlrnn.common import compiling
from rlrnn.envs.games import make_vec
from rlrnn.errors import UserError
from rlrnn.learners.ppo import ahead
from rlrnn.network import acting

pytestmark = pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")

CASES: dict[str, dict[str, Any]] = {
    "gru": {"policy": "MlpGruPolicy", "policy_kwargs": {"hidden_size": 8}},
    "lstm, shared": {"policy": "MlpLstmPolicy", "policy_kwargs": {"hidden_size": 8, "critic": "shared"}},
    "elman, normalised, scaled": {
        "policy": "MlpElmanPolicy",
        "policy_kwargs": {"hidden_size": 8, "normalize_observations": True},
        "normalize_rewards": True,
    },
    "apart, normalised": {
        "policy": "MlpGruPolicy",
        "policy_kwargs": {
            "hidden_size": 8,
            "normalize_observations": True,
            "share_features_extractor": False,
        },
    },
}
GAMES = ("rlrnn/Pong-v0", "rlrnn/CartPole-v1", "cartpole-no-velocity")


class Listener(BaseCallback):
    """Notes what it is told of each step."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.may_be_late, self.heard = late, []

    def _on_step(self) -> bool:
        ends = np.flatnonzero(self.locals["dones"]).tolist()
        infos = [self.locals["infos"][b] for b in ends]
        for info in infos:
            episode = {key: info["episode"][key] for key in ("r", "l")}
            seen = info["terminal_observation"].tobytes()
            self.heard.append((self.num_timesteps, episode, info["TimeLimit.truncated"], seen))
        return True


def trained(game: str, late: bool, copies: int = 5, **case: Any) -> tuple[RecurrentPPO, Listener]:
    env = make_vec(game, copies, seed=1, kwargs={"max_episode_steps": 30})
    agent = RecurrentPPO(env=env, n_steps=24, batch_size=60, n_epochs=1, seed=0, device="cpu", **case)
    listener = Listener(late)
    agent.learn(3 * 24 * copies, listener)
    return agent, listener


def left(agent: RecurrentPPO) -> list[Any]:
    """All that the play left behind."""
    rollout, env = agent.rollout_buffer, agent.env
    assert agent._last_state is not None and env is not None
    state: Any = env.unwrapped.get_state()
    return [
        *(value.numpy().tobytes() for value in agent.policy.state_dict().values()),
        *(value.tobytes() for value in vars(rollout).values() if isinstance(value, np.ndarray)),
        *(value.numpy().tobytes() for value in rollout.states),
        agent._last_obs.tobytes(),  # type: ignore[union-attr]
        agent._last_episode_starts.tobytes(),  # type: ignore[union-attr]
        agent._last_state.numpy().tobytes(),
        *(value.tobytes() for value in state["game"].values()),
        state["points"].tobytes(),
        state["lengths"].tobytes(),
        [{key: episode[key] for key in ("r", "l")} for episode in agent.ep_info_buffer or ()],
        agent.num_timesteps,
    ]


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_steps_at_once_are_steps_one_by_one(
    case: dict[str, Any], game: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    play, of = ahead.Ahead.play, ahead.Ahead.of
    monkeypatch.setattr(ahead.Ahead, "play", lambda *given: asked.append(given[2]) or play(*given))
    slow, told = trained(game, late=False, **case)
    assert not asked
    wanted = left(slow)
    assert len(told.heard) > 5 and any(cut for _, _, cut, _ in told.heard)
    for chunk, threads in ((1 << 16, 1), (35, 1), (1 << 16, 3)):
        monkeypatch.setattr(ahead, "CHUNK", chunk)
        if threads > 1:
            monkeypatch.setattr(ahead, "SHARE", 0.0)
            monkeypatch.setattr(ahead.Ahead, "of", lambda *given: of(*given[:-1], 3))
        fast, heard = trained(game, late=True, **case)
        assert asked and left(fast) == wanted and heard.heard == told.heard
        assert asked == ([0] * 3 if chunk > 35 else [at for _ in range(3) for at in (0, 7, 14, 21)])
        asked.clear()


def test_who_listens_to_each_step_hears_it_in_time() -> None:
    late, now = Listener(late=True), Listener(late=False)
    for silent in (CallbackList([]), ConvertCallback(None), ProgressBarCallback(), late):
        assert ahead.may_be_late(silent)
    assert not ahead.may_be_late(ConvertCallback(lambda *_: True))
    assert ahead.may_be_late(CallbackList([late, CallbackList([late])]))
    for other in (now, EvalCallback(make_vec("rlrnn/Pong-v0", 1))):
        assert not ahead.may_be_late(CallbackList([late, CallbackList([other])]))


class Derived(Listener):
    def _on_step(self) -> bool:
        return super()._on_step()


class LateKind(BaseCallback):
    may_be_late = True

    def _on_step(self) -> bool:
        return True


class Hears(LateKind):
    def _on_step(self) -> bool:
        return self.locals["new_obs"] is not None


class OwnList(CallbackList):
    def _on_step(self) -> bool:
        return self.locals["new_obs"] is not None


def test_a_class_derived_from_a_late_one_may_listen() -> None:
    assert ahead.may_be_late(LateKind()) and not ahead.may_be_late(Hears())
    assert not ahead.may_be_late(OwnList([]))
    assert ahead.may_be_late(Derived(late=True))  # which says it of itself


@pytest.mark.parametrize("late", [False, True])
def test_a_time_limit_that_is_set_between_two_rollouts_counts(late: bool) -> None:
    env = make_vec("rlrnn/Pong-v0", 2, seed=0)
    agent = RecurrentPPO("MlpGruPolicy", env, n_steps=16, batch_size=16, n_epochs=1, device="cpu")
    agent.learn(32, Listener(late))
    for limit, length in ((5, 5), (6.5, 7)):
        env.set_attr("max_episode_steps", limit)
        agent.learn(64, Listener(late), reset_num_timesteps=False)
        assert agent.ep_info_buffer and agent.ep_info_buffer[-1]["l"] == length


@pytest.mark.parametrize("late", [False, True])
def test_a_memory_that_does_not_fit_is_refused(late: bool) -> None:
    env = make_vec("rlrnn/Pong-v0", 2, seed=0)
    agent = RecurrentPPO("MlpGruPolicy", env, n_steps=8, batch_size=16, n_epochs=1, device="cpu")
    agent.learn(16, Listener(late))
    for wrong in (torch.zeros(2, 1), agent._last_state.double()):  # type: ignore[union-attr]
        agent._last_state = wrong
        with pytest.raises(UserError, match=r"the memory is float\d\d .* needs float32 \(2, 512\)"):
            agent.learn(16, Listener(late), reset_num_timesteps=False)


@pytest.mark.parametrize("callback", [None, [], lambda *_: True])
def test_learning_goes_ahead_where_nobody_listens(callback: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    play = ahead.Ahead.play
    monkeypatch.setattr(ahead.Ahead, "play", lambda *given: asked.append(given[2]) or play(*given))
    env = make_vec("rlrnn/Pong-v0", 2)
    agent = RecurrentPPO("MlpGruPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu")
    agent.learn(32, callback)
    assert asked == ([] if callable(callback) else [0, 0])


def test_what_one_call_cannot_play_is_played_step_by_step() -> None:
    def played(game: str, wrapped: bool = False, **more: Any) -> bool:
        env: Any = make_vec(game, 2, seed=0)
        agent = RecurrentPPO("MlpGruPolicy", VecCheckNan(env) if wrapped else env, device="cpu", **more)
        agent.env.reset()  # type: ignore[union-attr]
        assert acting.plans_of(agent.policy.network) or more
        return ahead.Ahead.of(agent.policy.network, agent.env, agent._noise, 1) is not None  # type: ignore[arg-type]

    assert played("rlrnn/Pong-v0")
    assert played("cartpole-no-velocity")
    assert not played("rlrnn/Pong-v0", wrapped=True)
    assert not played("rlrnn/DoublePole-v0")
    assert not played("rlrnn/Recall-v0")
    assert not played("CartPole-v1")
    assert not played("rlrnn/Pendulum-v1")
    assert not played("rlrnn/Pong-v0", policy_kwargs={"cell": "fir"})
