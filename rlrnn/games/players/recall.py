"""Players of recall that are written, not learned: perfect memory, none, and chance."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.players.base import Script, random_player
from rlrnn.games.recall import Recall


def parrot(game: Recall) -> Script:
    """Without memory: says what it sees, which is as good as anything else that it could say."""
    return lambda observations: observations.argmax(axis=1)


def perfect(game: Recall) -> Script:
    """Keeps the last symbols in a queue; plays one episode."""
    queue: list[Array] = []  # [B] symbols each, oldest first

    def play(observations: Array) -> Array:
        queue.append(observations.argmax(axis=1))
        return queue.pop(0) if len(queue) > game.lag else np.zeros(len(observations), np.int64)

    return play


PLAYERS: dict[str, Callable[[Recall], Script]] = {
    "random": random_player,
    "parrot": parrot,
    "perfect": perfect,
}
