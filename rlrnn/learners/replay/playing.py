"""Learners from replay at play: some steps in every environment, each kept as the game gave it.

Letters: B environments, A numbers in an action, S state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq
from stable_baselines3.common.utils import should_collect_more_steps
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common import arrays
from rlrnn.common.batches import copied, join, map_arrays
from rlrnn.errors import games_of
from rlrnn.learners.replay.buffer import SequenceReplay
from rlrnn.network import acting

if TYPE_CHECKING:
    from rlrnn.learners.replay.learner import ReplayLearner

Array = npt.NDArray[Any]


def collect(
    learner: ReplayLearner,
    env: VecEnv,
    callback: BaseCallback,
    train_freq: TrainFreq,
    replay_buffer: SequenceReplay,
    learning_starts: int,
    log_interval: int | None,
) -> RolloutReturn:
    """See ``ReplayLearner.collect_rollouts``; the callback is handed the local variables after each step."""
    learner._set_mode(learns=False)
    callback.on_rollout_start()
    act, draw = learner._acting(), acting.drawing(learner.policy.network, learner._noise)
    steps, episodes, seen = 0, 0, []
    while should_collect_more_steps(train_freq, steps, episodes):
        last_obs, state = learner._last_obs, learner._last_state
        assert last_obs is not None and state is not None
        start = np.asarray(learner._last_episode_starts, np.bool_)  # [B]
        observation = arrays.observed(last_obs, env.observation_space, env.num_envs, "step of the play")
        original = observation if learner._vec_normalize_env is None else learner._last_original_obs
        tensors = map_arrays(lambda a: torch.as_tensor(a, device=learner.device), observation)
        numbers, after = act(tensors, torch.as_tensor(start, device=learner.device), state)  # [B, O], [B, S]
        learner._explore()
        early = learner.num_timesteps < learning_starts
        buffer_actions = learner._warm_up(env.num_envs) if early else draw(numbers)  # [B, A]
        actions = learner.policy.network.actuators.to_space(buffer_actions).copy()  # a game may write into it
        learner._last_obs = None  # unknown while games make a step, and after one that was broken off
        with games_of(env, "step()"):
            answer = env.step(actions)
        when = f"step {steps} of the play"
        new_obs, rewards, dones, infos = arrays.stepped(answer, env.observation_space, env.num_envs, when)
        learner._last_obs, learner._last_episode_starts, learner._last_state = new_obs, dones, after

        truncated, finals = _endings(learner, env, dones, infos)
        kept = rewards
        if learner._vec_normalize_env is not None:
            kept = learner._vec_normalize_env.get_original_reward()
            learner._last_original_obs = learner._vec_normalize_env.get_original_obs()
        if learner.normalize_rewards:
            learner._scaler().see(kept, start)
        replay_buffer.add(
            original,
            start,
            state.cpu().numpy(),
            buffer_actions,
            kept,
            dones & ~truncated,
            truncated,
            finals,
            after.cpu().numpy(),
        )
        seen.append(copied(observation))
        learner.num_timesteps += env.num_envs
        steps += 1
        callback.update_locals({**locals(), "self": learner})
        if not callback.on_step():
            return RolloutReturn(steps * env.num_envs, episodes, continue_training=False)
        learner._update_current_progress_remaining(learner.num_timesteps, learner._total_timesteps)
        ended = np.flatnonzero(dones)
        if len(ended):
            learner._update_info_buffer([infos[b] for b in ended], dones[ended])
        for _ in ended:
            episodes += 1
            learner._episode_num += 1
            if log_interval is not None and learner._episode_num % log_interval == 0:
                learner.dump_logs()
    if learner.policy.description.normalize_observations:
        learner.observe(map_arrays(lambda a: torch.as_tensor(a, device=learner.device), join(seen)))
    callback.on_rollout_end()
    return RolloutReturn(steps * env.num_envs, episodes, continue_training=True)


def _endings(
    learner: ReplayLearner, env: VecEnv, dones: npt.NDArray[np.bool_], infos: list[dict[str, Any]]
) -> tuple[npt.NDArray[np.bool_], dict[int, Any]]:
    """Which episodes a time limit ended [B], and what each one that ended saw last, before normalisation."""
    truncated, finals = np.zeros_like(dones), {}
    for b in np.flatnonzero(dones):
        final = infos[b].get("terminal_observation")
        truncated[b] = infos[b].get("TimeLimit.truncated", False)
        if final is not None:
            one = map_arrays(lambda a: np.asarray(a)[None], final)
            final = arrays.observed(one, env.observation_space, 1, "an episode's end", [int(b)])
            if learner._vec_normalize_env is not None:
                final = learner._vec_normalize_env.unnormalize_obs(final)
            finals[int(b)] = map_arrays(lambda a: a[0], final)
    return truncated, finals
