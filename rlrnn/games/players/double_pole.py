"""Players of the pole balancing that are written, not learned: they show what its hidden speeds are worth."""

from collections.abc import Callable, Sequence

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.double_pole import CartWithPoles
from rlrnn.games.players.base import Script, random_player

# Of x / 4.8, theta_1 / 0.52, theta_2 / 0.52 if there is that pole, and of the unit's own last output.
TWO_POLES, ONE_POLE = (-0.220, -2.776, 4.082, -1.391), (2.0, 5.0, -1.2)
# The longest that climbing among 32,000 units without memory came to.
TWO_POLES_MEMORYLESS, ONE_POLE_MEMORYLESS = (-0.208, -0.303, 0.976, 0.0), (-0.003, 0.72, 0.0)


def unit(game: CartWithPoles, weights: Sequence[float]) -> Script:
    """One tanh unit that sees no speed: its output is its action, and all that it remembers."""
    *inputs, own = weights
    places = slice(None, None, 2 if game.velocities else 1)  # of what is seen
    h = np.zeros(game.num_envs)  # [B]

    def play(observations: Array) -> Array:
        nonlocal h
        h = own * h
        for weight, column in zip(inputs, observations.T[places], strict=True):
            h += weight * column
        h = np.tanh(h)
        return h[:, None]

    return play


def recurrent(game: CartWithPoles) -> Script:
    """A unit that balances all the poles there are."""
    return unit(game, TWO_POLES if game.poles[1][1] else ONE_POLE)


def memoryless(game: CartWithPoles) -> Script:
    """The best found of those that do not see their own output."""
    return unit(game, TWO_POLES_MEMORYLESS if game.poles[1][1] else ONE_POLE_MEMORYLESS)


# Per m, m/s, rad, rad/s, for the poles that there are: python benchmarks/linear.py
BOTH = np.array([-0.068, -0.172, -4.503, -1.195, 3.816, 0.321])
LONG_ALONE = np.array([0.091, 0.21, 3.013, 0.772, 0.0, 0.0])


def linear(game: CartWithPoles) -> Script:
    """Reads the true state and pushes in proportion to it."""
    gains = BOTH if game.poles[1][1] else LONG_ALONE
    return lambda _: np.clip(np.einsum("i,ib->b", gains, game.state[:6]), -1.0, 1.0)[:, None]


PLAYERS: dict[str, Callable[..., Script]] = {
    "random": random_player,
    "memoryless": memoryless,
    "recurrent": recurrent,
    "linear": linear,
}
