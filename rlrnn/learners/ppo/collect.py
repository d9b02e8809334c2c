"""Play T steps in B environments and keep what learning needs (``rollout`` says how it is kept)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from rlrnn.common import arrays
from rlrnn.common.batches import join, put
from rlrnn.errors import games_of
from rlrnn.learners.ppo.ahead import Ahead
from rlrnn.learners.ppo.rollout import Arrays, Rollout, to_tensors
from rlrnn.learners.scaling import RewardScaler
from rlrnn.network.acting import Value, acting, valuing
from rlrnn.network.network import RecurrentNetwork


@dataclass
class Position:
    """Where the play stands: between two rollouts, and after every step of one."""

    observation: Arrays | None  # [B, ...]; None while games make a step, and after one that was broken off
    start: npt.NDArray[np.bool_]  # [B] whether that observation begins an episode
    state: Tensor  # [B, S] the memory before that observation

    def leave(self) -> None:
        """Until ``move``: if a step is interrupted, some games have made it and others have not."""
        self.observation = None

    def move(self, observation: Any, dones: npt.NDArray[np.bool_], state: Tensor) -> None:
        """To where a step has led."""
        self.observation, self.start, self.state = observation, np.asarray(dones, dtype=np.bool_), state


@torch.no_grad()
def collect(
    network: RecurrentNetwork,
    env: VecEnv,
    rollout: Rollout,
    position: Position,
    *,
    generator: torch.Generator,
    sde_sample_freq: int,
    reward_scaler: RewardScaler | None,
    on_step: Callable[[dict[str, Any]], bool],
    threads: int = 1,
    late: bool = False,
) -> bool:
    """Fill the rollout from where the play stands; False if ``on_step`` asked to stop.

    ``on_step`` is handed the local variables after each step, under the names of SB3's own loop; the
    position has moved by then. Whatever is raised, the position is true: unknown where a step was broken off.
    With ``late`` it may be told of many steps at once, of each what ``ahead.Played.tell`` says.
    """
    device = position.state.device
    last_obs, last_start = position.observation, position.start
    assert last_obs is not None
    begin = "step 0 of a rollout"
    last_obs = arrays.observed(last_obs, env.observation_space, env.num_envs, begin)
    rollout.reset()
    network.sample_exploration(env.num_envs, generator)
    value_of = valuing(network)
    player = Ahead.of(network, env, generator, threads) if late else None
    if player is not None:
        return _collect_ahead(player, rollout, position, reward_scaler, value_of, on_step)
    act = acting(network, generator, threads)
    for n_steps in range(len(rollout.rewards)):
        if sde_sample_freq > 0 and n_steps % sde_sample_freq == 0:
            network.sample_exploration(env.num_envs, generator)
        rollout.states.append(position.state)
        obs_tensor = to_tensors(last_obs, device)
        episode_starts = torch.as_tensor(last_start, device=device)
        action, log_probs, values, state = act(obs_tensor, episode_starts, position.state)
        flat_actions = action.cpu().numpy()  # [B, A]
        actions = flat_actions.reshape(env.num_envs, *(env.action_space.shape or ()))
        clipped_actions = network.actuators.to_space(flat_actions)

        position.leave()
        with games_of(env, "step()"):
            answer = env.step(clipped_actions.copy())  # a game may write into it
        when = f"step {n_steps} of a rollout"
        new_obs, rewards, dones, infos = arrays.stepped(answer, env.observation_space, env.num_envs, when)
        position.move(new_obs, dones, state)
        proceed = on_step(locals())
        torch.set_grad_enabled(False)  # a game or a callback may have switched it, which torch does globally
        if not proceed:
            return False

        put(rollout.observations, n_steps, last_obs)
        rollout.actions[n_steps] = flat_actions
        rollout.rewards[n_steps] = reward_scaler(rewards, last_start) if reward_scaler else rewards
        rollout.episode_starts[n_steps] = last_start
        rollout.values_and_last[n_steps] = values.cpu().numpy()
        rollout.log_probs[n_steps] = log_probs.cpu().numpy()
        _note_endings(value_of, env, rollout, n_steps, dones, infos, state)
        rollout.pos = n_steps + 1
        last_obs, last_start = new_obs, position.start

    obs_tensor = to_tensors(last_obs, device)
    episode_starts = torch.as_tensor(last_start, device=device)
    rollout.values_and_last[-1] = value_of(obs_tensor, episode_starts, position.state).cpu().numpy()
    return True


def _collect_ahead(
    player: Ahead,
    rollout: Rollout,
    position: Position,
    reward_scaler: RewardScaler | None,
    value_of: Value,
    on_step: Callable[[dict[str, Any]], bool],
) -> bool:
    """As ``collect``, many steps at once."""
    while rollout.pos < len(rollout.rewards):
        seen, start, state = position.observation, position.start, position.state
        assert isinstance(seen, np.ndarray)
        position.leave()
        played = player.play(rollout, rollout.pos, seen, start, state.numpy(), value_of)
        last = torch.from_numpy(played.states[-1].copy())  # not of the array that all steps are in
        position.move(played.observations[-1].copy(), played.starts[-1], last)
        for rewards, starts in zip(played.rewards.astype(np.float32), played.starts, strict=False):
            rollout.rewards[rollout.pos] = reward_scaler(rewards, starts) if reward_scaler else rewards
            rollout.pos += 1
        if not played.tell(player.view.env, on_step):
            return False
    assert isinstance(position.observation, np.ndarray)
    final = torch.from_numpy(position.observation), torch.from_numpy(position.start), position.state
    rollout.values_and_last[-1] = value_of(*final).numpy()
    return True


def _note_endings(
    value_of: Value,
    env: VecEnv,
    rollout: Rollout,
    step: int,
    dones: npt.NDArray[np.bool_],
    infos: list[dict[str, Any]],
    state: Tensor,
) -> None:
    """Note which episodes ended how, and the value of a truncated one's final observation."""
    rollout.truncated[step] = False
    rollout.terminated[step] = dones
    if not dones.any():
        return
    cut = [
        int(i)
        for i in np.flatnonzero(dones)
        if infos[i].get("TimeLimit.truncated", False) and infos[i].get("terminal_observation") is not None
    ]
    if not cut:
        return
    rollout.truncated[step, cut] = True
    rollout.terminated[step, cut] = False
    finals = [infos[i]["terminal_observation"] for i in cut]
    when = f"step {step} of a rollout"
    final = arrays.observed(join(finals, list), env.observation_space, len(cut), when, cut)
    no_starts = torch.zeros(len(cut), dtype=torch.bool, device=state.device)
    values = value_of(to_tensors(final, state.device), no_starts, state[cut])
    rollout.final_values[step, cut] = values.cpu().numpy()
