"""What scripted players of games are, and one that plays any game at random."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array, ArrayGame

Script = Callable[[Array], Array]  # observations [B, ...] -> actions [B, ...]


def play_once(game: ArrayGame, player: Script, seed: int) -> Array:
    """Points of the first episode of every copy, [B]."""
    observations, _ = game.reset(seed=seed)
    points, playing = np.zeros(game.num_envs), np.ones(game.num_envs, np.bool_)
    while playing.any():
        observations, rewards, terminated, truncated, _ = game.step(player(observations))
        points += rewards * playing
        playing &= ~(terminated | truncated)
    return points


def random_player(game: ArrayGame) -> Script:
    """Draws its actions evenly; plays any game."""
    game.action_space.seed(0)
    return lambda _: game.action_space.sample()
