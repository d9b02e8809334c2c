"""Learning to play as somebody else did, before learning from reward.

The actor's error is minus the log-probability of what was done, over whole episodes. Two things preserve
what was imitated when reward takes over: the critic learns the recorded returns, as an untrained one
would misdirect the first updates; and the spread of continuous actions is left as it is, as a small one
would end exploration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlrnn.common.batches import join, map_arrays
from rlrnn.common.settings import check_seed, takes_plain
from rlrnn.common.threads import keep_freed_memory, one_thread
from rlrnn.errors import EnvironmentFault, UserError
from rlrnn.learners.base import Learner
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.learners.ppo.ppo import RecurrentPPO
from rlrnn.learners.scaling import RewardScaler
from rlrnn.learners.sequences.episodes import Episode, listed
from rlrnn.learners.sequences.fitting import Indices, minimise, split
from rlrnn.learners.sequences.packing import pack
from rlrnn.network.actuators import GreedyActuators
from rlrnn.network.distributions import SquashedGaussian
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.sensors import Observation

Array = npt.NDArray[Any]
VALUE_WEIGHT = 0.5  # of the critic's squared error, in units of the returns' variance


@takes_plain
def imitate(
    agent: Learner,
    episodes: Sequence[Episode],
    *,
    epochs: int = 400,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    validation: float | None = 0.1,
    patience: int = 100,
    critic: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train an agent's network to repeat the actions of recorded episodes; returns a row for each epoch.

    Observation statistics, where the network has them, learn from the record first. ``batch_size`` are
    episodes, ``validation`` a fraction of them: learning stops ``patience`` epochs after the least error
    there, with those weights; what needs a long memory is often learned after a plateau. ``critic`` trains
    the critic of a RecurrentPPO on the recorded returns; False leaves alone what it has of its own. Critics
    of actions, as of a RecurrentSAC, learn from what its ``remember`` is given.
    """
    if not isinstance(agent, Learner):
        raise UserError(
            f"{type(agent).__name__} cannot imitate: give a RecurrentPPO, a RecurrentSAC or an Evolution."
        )
    agent.check_takes_weights()
    episodes = listed(episodes)
    check_seed(seed)
    policy, network = agent.policy, agent.policy.network
    if isinstance(network.actuators, GreedyActuators):
        raise UserError(
            f"{type(agent).__name__} learns what actions are worth, which is not seen by watching them: give "
            "the episodes to its remember, and it learns from their rewards as from its own."
        )
    device = policy.device
    all_observations = [observations_of(policy, number, episode) for number, episode in enumerate(episodes)]
    all_actions = [actions_of(network, number, episode).to(device) for number, episode in enumerate(episodes)]
    lengths = np.array([len(episode) for episode in episodes])
    returns: list[Tensor] | None = None
    scale = 1.0
    if critic and isinstance(agent, RecurrentPPO):
        all_returns = _returns(agent, episodes)
        scale = float(np.concatenate(all_returns).var()) or 1.0
        returns = [torch.as_tensor(each, dtype=torch.float32, device=device) for each in all_returns]

    def error(batch: Indices) -> Tensor:
        packing = pack(lengths[batch], device)
        observations = map_arrays(packing.rows, join([all_observations[i] for i in batch], torch.cat))
        state = network.initial_state(packing.start.shape[1])
        if returns is None:
            distribution, values = network.unroll_actor(observations, packing.start, state), None
        else:
            distribution, values = network.unroll(observations, packing.start, state)
        actions = packing.rows(torch.cat([all_actions[i] for i in batch]))
        if isinstance(distribution, SquashedGaussian):  # whose spread is made of output units
            distribution = distribution.with_spread(1.0)
        total = -packing.steps(distribution.log_prob(actions)).sum()
        if returns is not None and values is not None:
            deviation = packing.steps(values) - torch.cat([returns[i] for i in batch])
            total = total + VALUE_WEIGHT / scale * deviation.square().sum()
        return total

    fixed = set(network.actuators.spread)
    indices = np.arange(len(episodes))
    training, held_out = (
        (indices, indices[:0]) if validation is None else split(len(episodes), validation, seed)
    )
    keep_freed_memory()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), one_thread(device):
        torch.manual_seed(seed)
        agent.observe(join(all_observations, torch.cat))
        return minimise(
            network,
            error,
            training,
            held_out,
            lengths,
            learning_rate=learning_rate,
            epochs=epochs,
            batch_size=batch_size,
            patience=patience,
            seed=seed,
            parameters=[p for p in network.parameters() if p not in fixed],
            progress=progress,
        )


def _returns(agent: RecurrentPPO, episodes: Sequence[Episode]) -> list[Array]:
    """Discounted returns [T] of each episode, in the units of the agent's values.

    Where the agent scales rewards, its running std learns from the record first. An episode that was cut
    off is taken to end: what would have come is not in the record.
    """
    scaler = agent._reward_scaler
    if scaler is not None:
        running = RewardScaler(agent.gamma, np.zeros(1))
        running.mean, running.variance, running.count = scaler.mean, scaler.variance, scaler.count
        for episode in episodes:
            for step, reward in enumerate(episode.rewards):
                running(np.array([reward]), np.array([step == 0]))
        scaler.mean, scaler.variance, scaler.count = running.mean, running.variance, running.count
    result = []
    for episode in episodes:
        rewards = np.asarray(episode.rewards, np.float64)
        if scaler is not None:
            rewards = np.clip(rewards / np.sqrt(scaler.variance + scaler.EPSILON), -scaler.CLIP, scaler.CLIP)
        returns, following = np.empty(len(rewards)), 0.0
        for step in reversed(range(len(rewards))):
            returns[step] = following = rewards[step] + agent.gamma * following
        result.append(returns)
    return result


def observations_of(policy: RecurrentPolicy, number: int, episode: Episode) -> Observation:
    """The observations of an episode as the network takes them, checked."""
    sizes: set[int] = set()
    for arrays in (episode.actions, episode.rewards, episode.observations):
        map_arrays(lambda part: sizes.add(len(part) if np.ndim(part) else -1), arrays)
    if -1 in sizes:
        raise UserError(
            f"episode {number} lacks observations, actions or rewards of its steps: record it anew."
        )
    if sizes == {0}:
        raise UserError(f"episode {number} is empty: leave it out.")
    if len(sizes) > 1:
        raise UserError(
            f"episode {number} has {len(episode.actions)} actions, {len(episode.rewards)} rewards and "
            f"observations of other lengths ({sorted(sizes)}): give one of each per step."
        )
    try:
        tensors, batched = policy.obs_to_tensor(episode.observations)
    except EnvironmentFault as error:
        raise UserError(
            f"the observations of episode {number} are not in {policy.observation_space}: {error}"
        ) from error
    except Exception as error:
        raise UserError(
            f"the observations of episode {number} are not the agent's, which are {policy.observation_space} "
            f"({str(error).splitlines()[0]}): record its own game."
        ) from error
    rewards = np.asarray(episode.rewards)
    if rewards.dtype.kind not in "biuf" or rewards.ndim != 1 or not np.isfinite(rewards).all():
        raise UserError(
            f"the rewards of episode {number} are not finite numbers, one for each step: record it anew."
        )
    if not batched:
        raise UserError(
            f"the observations of episode {number} are not of {policy.observation_space} for each step: "
            "record the agent's own game."
        )
    return tensors


def actions_of(network: RecurrentNetwork, number: int, episode: Episode) -> Tensor:
    """Actions [T, ...] as a game takes them -> [T, A] as the actuators have them."""
    actuators, actions = network.actuators, np.asarray(episode.actions)
    one_each = actions.shape[:1] == (len(episode),)
    misfit = actuators.misfit(actions) if one_each else f"of shape {actions.shape}"
    if misfit:
        raise UserError(
            f"episode {number} has actions {misfit}, which are not in {actuators.space}: record the agent's "
            "own game."
        )
    return actuators.from_space(actions)
