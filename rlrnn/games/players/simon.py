"""Players of Simon that are written, not learned: perfect memory, none, and chance."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.players.base import Script, random_player
from rlrnn.games.simon import Simon


def one_button(game: Simon) -> Script:
    """Without memory, the best there is: always the same button.

    In its turn every step looks alike. One button completes n rounds where all n colours are its own, once in
    colours**n. To mix buttons is worse: every round asks for the same luck with the earlier colours again.
    """
    return lambda observations: np.zeros(len(observations), np.int64)


def perfect(game: Simon) -> Script:
    """Keeps the colours of a round in a queue; plays one episode."""
    queue: list[Array] = []  # [B] colours each, oldest first

    def play(observations: Array) -> Array:
        if observations[0, -1] == 1:  # the turn of all, as all that are perfect keep in step
            return queue.pop(0)
        queue.append(observations.argmax(axis=1))
        return np.zeros(len(observations), np.int64)

    return play


PLAYERS: dict[str, Callable[[Simon], Script]] = {
    "random": random_player,
    "one_button": one_button,
    "perfect": perfect,
}
