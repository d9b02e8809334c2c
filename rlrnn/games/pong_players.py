"""Players of Pong that are written, not learned: they say how much of the game needs memory."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.pong import BALL, DOWN, EDGE, PADDLE_SPEED, STAY, UP, WALL, Pong

Player = Callable[[Array], Array]  # observations [B, 4] -> actions [B]


def toward(target: Array, height: Array) -> Array:
    """The action that brings a paddle at `height` nearer to `target`, or keeps it there."""
    gap = target - height
    return np.where(np.abs(gap) <= PADDLE_SPEED / 2, STAY, np.where(gap > 0, UP, DOWN))


def random_player(game: Pong, seed: int) -> Player:
    rng = np.random.default_rng(seed)
    return lambda _: rng.integers(0, 3, game.num_envs)


def chaser(game: Pong) -> Player:
    """Without memory: goes to the ball's height while it sees the ball, else to the middle."""
    return lambda seen: toward(seen[:, 2], seen[:, 0])


def waiter(game: Pong) -> Player:
    """Without memory: chases only a ball on its own side, else to the middle."""
    return lambda seen: toward(np.where(seen[:, 1] > 0, seen[:, 2], 0), seen[:, 0])

def stayer(game: Pong) -> Player:
    """Without memory: chases while it sees, else stays where it is: its paddle remembers."""
    return lambda seen: np.where(seen[:,3]>0, toward(seen[:, 2], seen[:, 0]), STAY)


def last_seen(game: Pong) -> Player:
    """Goes to the height at which it last saw the ball."""
    height = np.zeros(game.num_envs)

    def play(seen: Array) -> Array:
        np.copyto(height, seen[:, 2], where=seen[:, 3] > 0)
        return toward(height, seen[:, 0])

    return play


def fold(y: Array) -> Array:
    """The height that a ball reaches which would be at y if there were no walls."""
    return np.abs((y - WALL) % (4 * WALL) - 2 * WALL) - WALL


def perfect(game: Pong) -> Player:
    """Reads the true state and waits where the ball will arrive, else in the middle."""

    def play(seen: Array) -> Array:
        agent, _, x, y, speed_x, speed_y = game.state[:6]
        arrival = fold(y + speed_y * (EDGE - x) / speed_x)
        return toward(np.where(speed_x > 0, arrival, 0.0), agent)

    return play


def play_matches(make_player: Callable[[Pong], Player], game: Pong, seed: int):
    """Play one match per copy."""
    seen, _ = game.reset(seed=seed)
    player = make_player(game)
    points = np.full(game.num_envs, np.nan); length=np.zeros(game.num_envs); total = np.zeros(game.num_envs); n=0
    while np.isnan(points).any():
        seen, r, te, tr, _ = game.step(player(seen)); n+=1
        total += r
        end = (te | tr) & np.isnan(points)
        points[end] = total[end]; length[end]=n
    return points, length
