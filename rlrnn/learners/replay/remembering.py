"""Recorded episodes as a start: put into a replay as if they had been played there.

Letters: K episodes at a time, one in each of K environments; T steps of one; S state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from rlrnn.common.batches import join, map_arrays
from rlrnn.common.threads import one_thread
from rlrnn.learners.scaling import RewardScaler
from rlrnn.learners.sequences.episodes import Episode, listed
from rlrnn.learners.sequences.imitation import actions_of, observations_of

if TYPE_CHECKING:
    from rlrnn.learners.replay.learner import ReplayLearner

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Play:
    """An episode as a replay keeps it: T steps, of which each but a last terminated one leads to the next."""

    seen: Any  # [T, ...], or T + 1 where it was cut off: as the policy sees it
    kept: Any  # the same as the replay keeps it
    actions: Array  # [T, A]
    rewards: Array  # [T] points
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards) - (not self.terminated)


def remember(learner: ReplayLearner, episodes: Sequence[Episode]) -> int:
    """See ``ReplayLearner.remember``."""
    plays = [_play(learner, number, episode) for number, episode in enumerate(listed(episodes))]
    if learner.policy.description.normalize_observations:
        learner.observe(join([play.seen for play in plays], torch.cat))
    if learner.normalize_rewards:
        _see_rewards(learner, plays)
    plays = [play for play in plays if len(play)]
    learner.replay_buffer.leave()
    learner._last_obs = None  # so that ``learn`` begins episodes
    with one_thread(learner.device), torch.no_grad():
        learner._set_mode(learns=False)
        for first in range(0, len(plays), learner.n_envs):
            _add(learner, plays[first : first + learner.n_envs])
    return sum(map(len, plays))


def _play(learner: ReplayLearner, number: int, episode: Episode) -> Play:
    """An episode, checked."""
    policy, normalizer = learner.policy, learner.get_vec_normalize_env()
    seen = observations_of(policy, number, episode)
    actions = actions_of(policy.network, number, episode)
    kept = map_arrays(lambda part: part.cpu().numpy(), seen)
    if normalizer is not None:  # behind which it was recorded, too
        kept = normalizer.unnormalize_obs(kept)
    rewards = np.asarray(episode.rewards, np.float32)
    return Play(seen, kept, actions.numpy(), rewards, episode.terminated)


def _add(learner: ReplayLearner, plays: Sequence[Play]) -> None:
    """Episodes side by side, in the environments that have played least."""
    replay, act = learner.replay_buffer, learner._acting()
    places = np.argsort(replay.written, kind="stable")
    state = torch.zeros_like(learner._empty_state()[: len(plays)])
    under_way = list(range(len(plays)))
    for t in range(max(map(len, plays))):
        stays = [k for k, number in enumerate(under_way) if t < len(plays[number])]
        state, under_way = state[stays], [under_way[k] for k in stays]
        own, who = [plays[number] for number in under_way], places[under_way]
        start = np.full(len(own), t == 0)
        _, after = act(_at(t, own, "seen", torch.stack), torch.as_tensor(start, device=learner.device), state)
        ended = np.array([t + 1 == len(play) for play in own])
        terminated = ended & [play.terminated for play in own]
        finals = {
            int(b): _at(t + 1, [play], "kept", lambda parts: parts[0])
            for b, play, is_cut in zip(who, own, ended & ~terminated, strict=True)
            if is_cut
        }
        replay.add(
            _at(t, own, "kept", np.stack),
            start,
            state.cpu().numpy(),
            np.stack([play.actions[t] for play in own]),
            np.array([play.rewards[t] for play in own]),
            terminated,
            ended & ~terminated,
            finals,
            after.cpu().numpy(),
            who,
        )
        state = after


def _at(t: int, plays: Sequence[Play], which: str, by: Any) -> Any:
    """What was observed at a step of several episodes, as one batch."""
    return join([map_arrays(lambda part: part[t], getattr(play, which)) for play in plays], by)


def _see_rewards(learner: ReplayLearner, plays: Sequence[Play]) -> None:
    """The scale of rewards learns from the record as it would have from play."""
    scaler = learner._scaler()
    running = RewardScaler(scaler.gamma, np.zeros(1), scaler.mean, scaler.variance, scaler.count)
    for play in plays:
        for step, reward in enumerate(play.rewards):
            running.see(np.array([reward]), np.array([step == 0]))
    scaler.mean, scaler.variance, scaler.count = running.mean, running.variance, running.count
