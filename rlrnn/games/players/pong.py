"""Players of Pong that are written, not learned: they show how much of the game needs memory."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.players.base import Script, random_player
from rlrnn.games.pong import AGENT_SPEED, DOWN, EDGE, STAY, UP, Pong, fold


def chaser(game: Pong) -> Script:
    """Without memory: goes to the ball's height while it sees the ball, else to the middle."""
    return lambda observations: _toward(observations[:, 2], observations[:, 0])


def freezer(game: Pong) -> Script:
    """Without memory but for its paddle: goes to the ball's height while it sees the ball, else stays."""
    return lambda observations: np.where(
        observations[:, 3] > 0, _toward(observations[:, 2], observations[:, 0]), STAY
    )


def last_seen(game: Pong) -> Script:
    """Goes to the height at which it last saw the ball."""
    height = np.zeros(game.num_envs)

    def play(observations: Array) -> Array:
        np.copyto(height, observations[:, 2], where=observations[:, 3] > 0)
        return _toward(height, observations[:, 0])

    return play


def extrapolator(game: Pong) -> Script:
    """Remembers the last two sightings, keeps the time since, and goes where a straight flight will end."""
    before, last = np.zeros((2, game.num_envs)), np.zeros((2, game.num_envs))  # x, y of two sightings

    def play(observations: Array) -> Array:
        x, y = EDGE * observations[:, 1], observations[:, 2].astype(np.float64)
        sighted = observations[:, 3] > 0
        np.copyto(before, last, where=sighted)
        np.copyto(last, np.stack((x, y)), where=sighted)
        run = last[0] - before[0]
        coming = (run > 0) & (run < 0.5)  # not two sightings with a serve or the fog between them
        arrival = fold(last[1] + (last[1] - before[1]) / np.where(coming, run, 1.0) * (EDGE - last[0]))
        return _toward(np.where(coming, arrival, 0.0), observations[:, 0])

    return play


def perfect(game: Pong) -> Script:
    """Reads the true state and waits where the ball will arrive, or in the middle while it flies away."""

    def play(observations: Array) -> Array:
        _, _, x, y, speed_x, speed_y = game.state[:6]
        arrival = fold(y + speed_y / speed_x * (EDGE - x))
        return _toward(np.where(speed_x > 0, arrival, 0.0), observations[:, 0])

    return play


PLAYERS: dict[str, Callable[[Pong], Script]] = {
    "random": random_player,
    "chaser": chaser,
    "freezer": freezer,
    "last_seen": last_seen,
    "extrapolator": extrapolator,
    "perfect": perfect,
}


def _toward(goal: Array, height: Array) -> Array:
    """The action that brings a paddle at `height` nearer to `goal`, or keeps it there."""
    gap = goal - height
    return np.where(np.abs(gap) <= AGENT_SPEED / 2, STAY, np.where(gap > 0, UP, DOWN))
