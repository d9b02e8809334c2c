"""Recorded play: whole episodes of any player, to learn from."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common import arrays
from rlrnn.common.batches import join, map_arrays
from rlrnn.common.settings import check_whole, takes_plain
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.envs.vec import from_envs, from_vector_env
from rlrnn.errors import games_of
from rlrnn.experiment import evaluation
from rlrnn.experiment.players import player_of
from rlrnn.learners.sequences.episodes import Episode

Array = npt.NDArray[Any]


@takes_plain
def record(
    policy: Any,
    game: str | Path | Game | gym.Env[Any, Any] | VectorEnv[Any, Any, Any] | VecEnv,
    episodes: int = 100,
    seed: int = 0,
    *,
    n_envs: int | None = None,
    deterministic: bool = True,
) -> list[Episode]:
    """Record whole episodes of any player.

    ``policy`` is an agent of ours, a player (``reset``, ``act(observations, starts)``), an SB3 model, or a
    function of observations [B, ...] that returns actions [B, ...]. ``game`` is a name in the catalogue, a
    TOML file, a registered id, or environments; a script that reads its game's true state needs these:

        game = gymnasium.make_vec("rlrnn/TMaze-v0", num_envs=20, length=20)
        record(rlrnn.games.players.tmaze.perfect(game), game, episodes=20)

    Observations are kept as the policy receives them: normalised, where it learned behind SB3's VecNormalize.
    Each of ``n_envs`` copies (one per episode, at most 100) plays its share, on the seeds from ``seed`` on.
    """
    check_whole("episodes", episodes, 1)
    with ExitStack() as stack:
        env = _copies(
            policy, game, min(episodes, evaluation.BATCH) if n_envs is None else n_envs, seed, stack
        )
        n = env.num_envs
        quota = np.full(n, episodes // n) + (np.arange(n) < episodes % n)  # [B] episodes
        player = player_of(policy, n, deterministic, seed)
        player.reset()
        seen, done, won, over, cut = [], [], [], [], []  # of each step, [B, ...]
        space, left, age = env.observation_space, quota.copy(), np.zeros(n, np.int64)
        with games_of(env, "reset()"):
            first = env.reset()
        observations, starts = arrays.observed(first, space, n, "the beginning"), np.ones(n, np.bool_)
        while (left > 0).any():
            actions = np.array(player.act(observations, starts))  # some players reuse one array
            seen.append(map_arrays(np.array, observations))
            done.append(actions)
            with games_of(env, "step()"):
                answer = env.step(actions.copy())  # a game may write into it
            observations, rewards, starts, infos = arrays.stepped(answer, space, n, f"step {len(seen)}")
            won.append(np.array(rewards))
            over.append(starts.copy())
            cut.append([bool(info.get("TimeLimit.truncated", False)) for info in infos])
            left -= starts
            age = np.where(starts, 0, age + 1)
            arrays.check_length(int(age[left > 0].max(initial=0)), getattr(env, "name", "the game"))
    played = join(seen, np.stack)  # [T, B, ...]
    acted, rewarded, ended, stopped = (np.stack(each) for each in (done, won, over, cut))
    found = []
    for b in range(n):
        ends = 1 + np.flatnonzero(ended[:, b])[: quota[b]]
        for begin, end in zip([0, *ends], ends, strict=False):
            own = map_arrays(lambda array: array[begin:end, b].copy(), played)  # noqa: B023
            found.append(Episode(own, acted[begin:end, b], rewarded[begin:end, b], not stopped[end - 1, b]))
    return found


def _copies(policy: Any, game: Any, n_envs: int, seed: int, stack: ExitStack) -> VecEnv:
    """The game, as many copies of it as shall play; what is made here is closed by the stack."""
    if isinstance(game, VecEnv):
        game.seed(seed)
        return game
    if isinstance(game, VectorEnv):
        return from_vector_env(game, seed=seed)
    if isinstance(game, gym.Env):
        return from_envs([lambda: game], seed=seed)
    chosen = games.game(game)
    if isinstance(policy, BaseAlgorithm) or hasattr(policy, "player"):
        return stack.enter_context(closing(evaluation.copies_for(policy, chosen, n_envs, seed)))
    return stack.enter_context(closing(games.make_vec(chosen, n_envs, seed)))
