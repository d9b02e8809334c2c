"""Players of the pole balancing that are written, not learned: they show what its hidden speeds are worth."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.double_pole import CartWithPoles
from rlrnn.games.pong_players import Player, random_player

WEIGHTS = np.array([-0.220, -2.776, 4.082])  # of x / 4.8, theta_1 / 0.52, theta_2 / 0.52
RECURRENT = -1.391


def recurrent(game: CartWithPoles, weight: float = RECURRENT) -> Player:
    """One tanh unit that sees no speed and balances two poles: its output is its memory and its action."""
    h = np.zeros(game.num_envs)  # [B]

    def play(seen: Array) -> Array:
        nonlocal h
        h = np.tanh(WEIGHTS[0] * seen[:, 0] + WEIGHTS[1] * seen[:, 1] + WEIGHTS[2] * seen[:, 2] + weight * h)
        return h[:, None]

    return play


def memoryless(game: CartWithPoles) -> Player:
    """The same unit without its memory."""
    return recurrent(game, weight=0.0)


def linear(gains: tuple[float, ...]) -> Callable[[CartWithPoles], Player]:
    """Reads the true state x, x', theta_1, ... and pushes in proportion to it."""

    def make(game: CartWithPoles) -> Player:
        factors = np.array(gains)[:, None]
        return lambda _: np.clip((factors * game.state[: len(gains)]).sum(axis=0), -1.0, 1.0)[:, None]

    return make
