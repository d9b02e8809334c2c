"""Players of the T-maze that are written, not learned: perfect memory, none, and chance."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.players.base import Script, random_player
from rlrnn.games.tmaze import EAST, NORTH, SOUTH, TMaze


def walker(game: TMaze) -> Script:
    """Without memory: east, and north at the junction; right half the time, as is any turn not remembered."""
    return lambda observations: np.where(_at_junction(observations), NORTH, EAST)


def perfect(game: TMaze) -> Script:
    """Keeps the sign that it saw last."""
    turn = np.full(game.num_envs, NORTH)

    def play(observations: Array) -> Array:
        at_start = (observations[:, 1] == 1) & ~_at_junction(observations)
        np.copyto(turn, np.where(observations[:, 2] == 1, NORTH, SOUTH), where=at_start)
        return np.where(_at_junction(observations), turn, EAST)

    return play


PLAYERS: dict[str, Callable[[TMaze], Script]] = {
    "random": random_player,
    "walker": walker,
    "perfect": perfect,
}


def _at_junction(observations: Array) -> Array:
    junction: Array = (observations == (0, 1, 0)).all(axis=1)
    return junction
