"""Play T steps in B environments and keep what learning needs.

Time convention, once: row t holds the observation before action t and the reward after it;
``episode_starts[t]`` is true iff row t begins an episode; ``values`` have one row more inside, the
value of the observation after the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from rlrnn import encoding, returns
from rlrnn.errors import EnvironmentFault
from rlrnn.network import RecurrentNetwork
from rlrnn.sensors import Observation

Arrays = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


def map_arrays(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same function on an array, or on each array of a dict."""
    return (
        {key: function(value) for key, value in tree.items()} if isinstance(tree, Mapping) else function(tree)
    )


def to_tensors(arrays: Arrays, device: torch.device) -> Observation:
    """Arrays as tensors, without a copy where the device is the CPU."""
    result: Observation = map_arrays(lambda a: torch.as_tensor(a, device=device), arrays)
    return result


@dataclass
class Position:
    """Where the play stands between two rollouts."""

    observation: Arrays  # [B, ...]
    start: npt.NDArray[np.bool_]  # [B] whether that observation begins an episode
    state: Tensor  # [B, S] the memory before that observation

    def move(self, observation: Any, dones: npt.NDArray[np.bool_], state: Tensor) -> None:
        """To where a step has led."""
        self.observation, self.start, self.state = observation, np.asarray(dones, dtype=np.bool_), state


@dataclass
class RewardScaler:
    """Rewards over the running std of the discounted return, clipped to [-10, 10] (as in VecNormalize)."""

    gamma: float
    discounted: npt.NDArray[np.float64]  # [B] the running episodes' discounted returns
    mean: float = 0.0
    variance: float = 1.0
    count: float = 1e-4

    CLIP: ClassVar[float] = 10.0
    EPSILON: ClassVar[float] = 1e-8

    def __call__(self, rewards: npt.NDArray[Any], starts: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        """Rewards [B] of one step, scaled; ``starts`` [B]: whether the step was an episode's first."""
        self.discounted = np.where(starts, 0.0, self.discounted) * self.gamma + rewards
        mean, variance, count = float(self.discounted.mean()), float(self.discounted.var()), len(rewards)
        total, delta = self.count + count, mean - self.mean
        spread = self.variance * self.count + variance * count + delta**2 * self.count * count / total
        self.mean, self.variance, self.count = self.mean + delta * count / total, spread / total, total
        scaled: npt.NDArray[Any] = rewards / np.sqrt(self.variance + self.EPSILON)
        return scaled.clip(-self.CLIP, self.CLIP)


encoding.RECORDS["$RewardScaler"] = (RewardScaler, vars)


@dataclass(frozen=True)
class Rows:
    """Chunks of L steps of one environment each, R of them: what an update works on."""

    observation: Observation  # [L, R, ...]
    start: Tensor  # [L, R] bool
    state: Tensor  # [R, S] at each row's first step
    action: Tensor  # [L, R, A]
    log_prob: Tensor  # [L, R] of that action when it was played
    value: Tensor  # [L, R] as it was then
    advantage: Tensor  # [L, R]
    target: Tensor  # [L, R] what the value should have been
    weight: Tensor  # [L, R] 1, or 0 where a short last chunk was filled up with copies of the last step

    def select(self, rows: Tensor | slice) -> Rows:
        """Some of the rows."""
        fields = {
            name: map_arrays(lambda a: a[:, rows], value)
            for name, value in vars(self).items()
            if name != "state"
        }
        return Rows(state=self.state[rows], **fields)

    def __len__(self) -> int:
        return self.start.shape[1]


class Rollout:
    """T steps of B environments, under the names that SB3's callbacks read; all arrays are [T, B, ...]."""

    def __init__(
        self,
        n_steps: int,
        n_envs: int,
        observation_space: spaces.Space[Any],
        action_size: int,
        action_dtype: npt.DTypeLike,
        seq_len: int,
    ) -> None:
        def observations(space: spaces.Space[Any]) -> npt.NDArray[Any]:
            return np.zeros((n_steps, n_envs, *(space.shape or ())), dtype=space.dtype)

        self.seq_len = seq_len
        self.observations: Arrays = map_arrays(
            observations,
            observation_space.spaces if isinstance(observation_space, spaces.Dict) else observation_space,
        )
        self.actions = np.zeros((n_steps, n_envs, action_size), dtype=action_dtype)
        self.rewards = np.zeros((n_steps, n_envs), dtype=np.float32)  # points, or scaled if asked for
        self.episode_starts = np.zeros((n_steps, n_envs), dtype=np.bool_)
        self.terminated = np.zeros((n_steps, n_envs), dtype=np.bool_)
        self.truncated = np.zeros((n_steps, n_envs), dtype=np.bool_)
        self.log_probs = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.values_and_last = np.zeros((n_steps + 1, n_envs), dtype=np.float32)
        self.final_values = np.zeros((n_steps, n_envs), dtype=np.float32)  # where truncated
        self.advantages = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.returns = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.row_states: list[Tensor] = []  # [B, S] before steps 0, seq_len, 2 seq_len, ...
        self.pos = 0

    @property
    def values(self) -> npt.NDArray[np.float32]:
        return self.values_and_last[:-1]

    @property
    def full(self) -> bool:
        return self.pos == len(self.rewards)

    @property
    def buffer_size(self) -> int:
        return self.rewards.shape[0]

    @property
    def n_envs(self) -> int:
        return self.rewards.shape[1]

    def reset(self) -> None:
        """Begin to overwrite."""
        self.pos = 0
        self.row_states = []

    def finish(self, gamma: float, gae_lambda: float) -> None:
        """Compute advantages and returns once all steps are in."""
        self.advantages = returns.advantages(
            self.rewards,
            self.values_and_last,
            self.terminated,
            self.truncated,
            self.final_values,
            gamma,
            gae_lambda,
        )
        self.returns = self.advantages + self.values

    def rows(self, device: torch.device) -> Rows:
        """Cut [T, B] into rows: chunk c of environment b is row c * B + b."""
        steps, envs = self.rewards.shape
        length = self.seq_len
        chunks = -(-steps // length)
        missing = chunks * length - steps
        played = np.arange(chunks * length) < steps

        def cut(array: npt.NDArray[Any]) -> Tensor:
            tensor = torch.as_tensor(array, device=device)
            if chunks == 1:
                return tensor
            if len(tensor) == steps and missing > 0:
                tensor = torch.cat((tensor, tensor[-1:].expand(missing, *tensor.shape[1:])))
            parts = tensor.view(chunks, length, *tensor.shape[1:]).transpose(0, 1)  # [L, C, B, ...]
            return parts.reshape(length, chunks * envs, *tensor.shape[2:])

        return Rows(
            observation=map_arrays(cut, self.observations),
            start=cut(self.episode_starts),
            state=torch.cat(self.row_states),
            action=cut(self.actions),
            log_prob=cut(self.log_probs),
            value=cut(self.values),
            advantage=cut(self.advantages),
            target=cut(self.returns),
            weight=cut(np.tile(played[:, None], envs).astype(np.float32)),
        )

    def with_fresh_states(self, rows: Rows, network: RecurrentNetwork) -> Rows:
        """The rows with their first states as the network would remember them now."""
        states = [self.row_states[0]]
        envs = states[0].shape[0]
        with torch.no_grad():
            for chunk in range(len(self.row_states) - 1):
                before = rows.select(slice(chunk * envs, (chunk + 1) * envs))
                states.append(network.remember(before.observation, before.start, states[-1]))
        return replace(rows, state=torch.cat(states))


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
) -> bool:
    """Fill the rollout from where the play stands; False if ``on_step`` asked to stop.

    ``on_step`` is handed the local variables after each step, under the names of SB3's own loop.
    """
    device = position.state.device
    _check_finite("observation", position.observation, 0)
    rollout.reset()
    network.sample_exploration(env.num_envs, generator)
    for n_steps in range(len(rollout.rewards)):
        if sde_sample_freq > 0 and n_steps % sde_sample_freq == 0:
            network.sample_exploration(env.num_envs, generator)
        if n_steps % rollout.seq_len == 0:
            rollout.row_states.append(position.state)
        obs_tensor = to_tensors(position.observation, device)
        episode_starts = torch.as_tensor(position.start, device=device)
        distribution, values, state = network.step(obs_tensor, episode_starts, position.state)
        action = distribution.sample(generator)
        log_probs = distribution.log_prob(action)
        flat_actions = action.cpu().numpy()  # [B, A]
        actions = flat_actions.reshape(env.num_envs, *(env.action_space.shape or ()))
        clipped_actions = network.actuators.to_space(flat_actions)

        new_obs, rewards, dones, infos = env.step(clipped_actions)
        _check_finite("reward", rewards, n_steps)
        _check_finite("observation", new_obs, n_steps)
        if not on_step(locals()):
            position.move(new_obs, dones, state)
            return False

        for target, source in _pairs(rollout.observations, position.observation):
            target[n_steps] = source
        rollout.actions[n_steps] = flat_actions
        rollout.rewards[n_steps] = reward_scaler(rewards, position.start) if reward_scaler else rewards
        rollout.episode_starts[n_steps] = position.start
        rollout.values_and_last[n_steps] = values.cpu().numpy()
        rollout.log_probs[n_steps] = log_probs.cpu().numpy()
        _note_endings(network, rollout, n_steps, dones, infos, state)
        rollout.pos = n_steps + 1
        position.move(new_obs, dones, state)

    obs_tensor = to_tensors(position.observation, device)
    episode_starts = torch.as_tensor(position.start, device=device)
    rollout.values_and_last[-1] = network.value_of(obs_tensor, episode_starts, position.state).cpu().numpy()
    return True


def _note_endings(
    network: RecurrentNetwork,
    rollout: Rollout,
    step: int,
    dones: npt.NDArray[np.bool_],
    infos: list[dict[str, Any]],
    state: Tensor,
) -> None:
    """Note which episodes ended how, and what the final observation of a truncated one is worth."""
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
    if isinstance(finals[0], Mapping):
        final: Arrays = {key: np.stack([f[key] for f in finals]) for key in finals[0]}
    else:
        final = np.stack(finals)
    _check_finite("observation", final, step, cut)
    goes_on = torch.zeros(len(cut), dtype=torch.bool, device=state.device)
    values = network.value_of(to_tensors(final, state.device), goes_on, state[cut])
    rollout.final_values[step, cut] = values.cpu().numpy()


def _pairs(targets: Any, sources: Any) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    if isinstance(targets, Mapping):
        return [(target, sources[key]) for key, target in targets.items()]
    return [(targets, sources)]


def _check_finite(what: str, arrays: Any, step: int, copies: list[int] | None = None) -> None:
    """Refuse what is not a number; ``copies`` are the environments that the rows belong to, if not all."""
    for array in arrays.values() if isinstance(arrays, Mapping) else (arrays,):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0]
            copy = where[0] if copies is None else copies[where[0]]
            raise EnvironmentFault(
                f"environment {copy} returned {array[tuple(where)]} in its {what} at step {step} of a "
                "rollout: it must be a finite number, so the game or a wrapper around it needs mending."
            )
