"""Pong in fog: the agent sees where the ball is, now and then, and must remember where it goes."""

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.errors import UserError
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.randomness import Randomness

# Lengths are in half heights of the court (y runs from -1 to 1), times in steps.
EDGE = 1.4  # the paddles' planes are x = -EDGE (the opponent's) and x = EDGE (the agent's)
REACH = 0.2  # from a paddle's middle to where it just touches the ball's middle
BALL = 0.035  # radius; walls reflect the ball's middle at 1 - BALL
PADDLE_SPEED = 0.06
OPPONENT_SPEED = 0.04
SERVE_SPEED, SPEED_UP, TOP_SPEED = 0.1, 1.06, 0.15  # of the ball along x: at serve, factor per hit, most
SLOPE = 1.0  # vertical over horizontal speed of a ball struck by a paddle's end
SERVE_SLOPE = 0.5  # the most, of a serve
SPIN = 0.2  # the most that chance adds to a struck ball's slope
WALL = 1 - BALL
FOG_A, FOG_B = -0.8, 0.8
STAY, UP, DOWN = 0, 1, 2


class Pong(ArrayGame):
    """A match to `points` points, +1 or -1 for each, with the ball unseen in the middle `fog` of the court's width.

    The agent is the right paddle. It sees its own height, the ball's x and y, and whether it sees the ball at all;
    x and y are 0 in the fog. The server is drawn by lot and serves at a random slope from where its paddle is.
    """

    variables = (
        *("agent", "opponent", "ball_x", "ball_y", "speed_x", "speed_y"),
        *("aim", "won", "lost"),  # which part of its paddle the opponent wants to hit with; points of the match
    )
    single_observation_space = Box(-1.0, 1.0, (4,))
    single_action_space = Discrete(3)

    def __init__(self, points: int = 11, fog: float = 0.8, **kwargs: object) -> None:
        if points < 1:
            raise UserError(f"points is {points}; a match needs at least 1.")
        if not 0 <= fog < 1:
            raise UserError(f"fog is {fog}; it is a fraction of the court's width, at least 0 and below 1.")
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.points, self.fog = points, fog

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:, copies] = 0.0
        self._serve(copies, draws)

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        agent, opponent, x, y, speed_x, speed_y, aim, won, lost = self.state
        agent += PADDLE_SPEED * ((actions == UP) * 1.0 - (actions == DOWN))
        target = np.where(speed_x < 0, y - aim, 0.0)
        opponent += np.clip(target - opponent, -OPPONENT_SPEED, OPPONENT_SPEED)
        np.clip(self.state[:2], REACH - 1, 1 - REACH, out=self.state[:2])
        x += speed_x
        y += speed_y
        arrived = np.flatnonzero(np.abs(x) >= EDGE)
        rewards = np.zeros(self.num_envs)
        if arrived.size:
            # Back to the moment the ball met the paddle's plane.
            side = np.sign(x[arrived])
            y[arrived] -= speed_y[arrived] * (x[arrived] - side * EDGE) / speed_x[arrived]
            x[arrived] = side * EDGE
        over = np.abs(y) > WALL
        if over.any():
            y[over] = np.copysign(2 * WALL, y[over]) - y[over]
            speed_y[over] *= -1
        if arrived.size:
            offset = (y[arrived] - np.where(side > 0, agent[arrived], opponent[arrived])) / REACH
            struck = np.abs(offset) <= 1
            self._strike(arrived[struck], offset[struck], draws)
            missed = arrived[~struck]
            if missed.size:
                rewards[missed] = -side[~struck]
                won[missed] += rewards[missed] > 0
                lost[missed] += rewards[missed] < 0
                self._serve(missed, draws)
        return rewards, np.maximum(won, lost) >= self.points

    def _serve(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        agent, opponent, x, y, speed_x, speed_y, aim, _, _ = self.state
        server, slope, part = draws.uniform(copies, 3)
        by_agent = server < 0.5
        x[copies] = np.where(by_agent, EDGE, -EDGE)
        y[copies] = np.where(by_agent, agent[copies], opponent[copies])
        speed_x[copies] = np.where(by_agent, -SERVE_SPEED, SERVE_SPEED)
        speed_y[copies] = SERVE_SPEED * SERVE_SLOPE * (2 * slope - 1)
        aim[copies] = REACH * (2 * part - 1)

    def _strike(self, copies: NDArray[np.intp], offset: Array, draws: Randomness) -> None:
        _, _, _, _, speed_x, speed_y, aim, _, _ = self.state
        spin, part = draws.uniform(copies, 2)
        speed = np.minimum(np.abs(speed_x[copies]) * SPEED_UP, TOP_SPEED)
        speed_x[copies] = -np.sign(speed_x[copies]) * speed
        speed_y[copies] = speed * (SLOPE * offset + SPIN * (2 * spin - 1))
        aim[copies] = REACH * (2 * part - 1)

    def observe(self) -> Array:
        agent, _, x, y = self.state[:4]
        seen = (x <= FOG_A * EDGE) | (x >= FOG_B * EDGE)
        return np.stack((agent, x / EDGE * seen, y * seen, seen), axis=1).astype(np.float32)

    def draw(self, copy: int) -> NDArray[np.uint8]:
        return np.zeros((8, 8, 3), np.uint8)


class SinglePong(SingleGame):
    """One match of Pong as a plain environment."""

    game = Pong
