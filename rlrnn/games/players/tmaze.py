"""Players of the T-maze that are written, not learned: perfect memory, none, and chance."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.players.base import Script, random_player
from rlrnn.games.tmaze import EAST, NORTH, SOUTH, TMaze


def walker(game: TMaze) -> Script:
    """Without memory: east, and north at the junction; right half the time, as is any turn not remembered."""
    return lambda seen: np.where(_at_junction(seen), NORTH, EAST)


def perfect(game: TMaze) -> Script:
    """Keeps the sign that it saw last."""
    turn = np.full(game.num_envs, NORTH)

    def play(seen: Array) -> Array:
        at_start = (seen[:, 1] == 1) & ~_at_junction(seen)
        np.copyto(turn, np.where(seen[:, 2] == 1, NORTH, SOUTH), where=at_start)
        return np.where(_at_junction(seen), turn, EAST)

    return play


PLAYERS: dict[str, Callable[[TMaze], Script]] = {
    "random": random_player,
    "walker": walker,
    "perfect": perfect,
}


def _at_junction(seen: Array) -> Array:
    junction: Array = (seen == (0, 1, 0)).all(axis=1)
    return junction
