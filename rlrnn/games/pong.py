"""Pong in fog: the agent sees the ball leave the other paddle and must remember where it is going."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_number
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

# Lengths are in half heights of the court, whose walls are y = -1 and y = 1; speeds are per step.
EDGE = 1.4  # the paddles' planes are x = -EDGE (the opponent's) and x = EDGE (the agent's)
BALL = 0.035  # radius
WALL = 1 - BALL  # where the ball's middle turns back
REACH = 0.23  # from a paddle's middle to the ball's middle when they just touch
AGENT_SPEED, OPPONENT_SPEED = 0.1, 0.033
SERVE_SPEED, SPEED_UP, TOP_SPEED = 0.13, 1.2, 0.2  # of the ball along x: at serve, factor per hit, the most
SERVE_SLOPE = 0.4  # the most of a serve; a slope is the ball's speed along y over that along x
SLOPE, SPIN = 0.8, 0.15  # of a ball struck with a paddle's very end; the most that chance adds to it
AIM = 0.7  # the opponent wants to strike within this part of its reach
FOG_END = 0.85  # times EDGE: the fog ends this near to the agent, too near to run for a ball seen there
CONSTANTS = (
    *(EDGE, WALL, REACH, AGENT_SPEED, OPPONENT_SPEED, SERVE_SPEED, SPEED_UP, TOP_SPEED),
    *(SERVE_SPEED * SERVE_SLOPE, SLOPE, SPIN, AIM * REACH),
)
STAY, UP, DOWN = 0, 1, 2


class Pong(ArrayGame):
    """A match to `points` points, each +1 or -1, with the ball unseen over `fog` of the court's width.

    The agent is the right paddle. It sees its own y, the ball's x and y, and whether it sees the ball:
    x and y are 0 where it does not. The opponent sees through the fog, but is slower than most balls. A
    struck ball speeds up and takes an angle from where on the paddle it is struck. The server of a point is
    random.
    """

    kernels = "rlrnn.games.kernels.pong"
    variables = (
        *("agent", "opponent"),  # y of the paddles
        *("x", "y", "speed_x", "speed_y"),  # of the ball
        "aim",  # how far above its middle the opponent wants to strike the ball
        *("won", "lost"),  # points of this match
    )
    single_observation_space = Box(-1.0, 1.0, (4,))
    single_action_space = Discrete(3)

    def __init__(self, points: int = 11, fog: float = 0.7, **kwargs: Any) -> None:
        check_number("points", points, 1)
        check_number("fog", fog, 0, 0.9)
        super().__init__(**kwargs)
        self.points = points
        self.fog_start, self.fog_end = (FOG_END - 2 * fog) * EDGE, FOG_END * EDGE

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:, copies] = 0.0
        self._serve(copies, draws)

    def constants(self) -> tuple[float, ...]:
        return *CONSTANTS, self.points, self.fog_start, self.fog_end

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        directions = _DIRECTION[actions]
        agent, opponent, x, y, speed_x, speed_y, aim, won, lost = self.state
        agent += AGENT_SPEED * directions
        goal = np.where(speed_x < 0, y - aim, 0.0)
        opponent += np.clip(goal - opponent, -OPPONENT_SPEED, OPPONENT_SPEED)
        paddles = self.state[:2]
        np.clip(paddles, REACH - 1, 1 - REACH, out=paddles)

        x += speed_x
        y += speed_y
        there = np.flatnonzero(np.abs(x) >= EDGE)  # copies whose ball has come to a paddle's plane
        side = np.sign(x[there])
        y[there] -= speed_y[there] / speed_x[there] * (x[there] - side * EDGE)  # back to the moment it came
        x[there] = side * EDGE
        bounced = np.flatnonzero(np.abs(y) > WALL)
        y[bounced] = np.copysign(2 * WALL, y[bounced]) - y[bounced]
        speed_y[bounced] *= -1

        rewards = np.zeros(self.num_envs)
        if there.size:
            paddle = np.where(side > 0, agent[there], opponent[there])
            offset = (y[there] - paddle) / REACH  # of the ball from the paddle's middle: 1 is its upper end
            hit = np.abs(offset) <= 1
            self._strike(there[hit], offset[hit], draws)
            missed = there[~hit]
            rewards[missed] = -side[~hit]
            won += rewards > 0
            lost += rewards < 0
            self._serve(missed, draws)
        return rewards, np.maximum(won, lost) >= self.points

    def _serve(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        agent, opponent, x, y, speed_x, speed_y, aim, _, _ = self.state
        side, slope, part = draws.uniform(copies, 3)
        by_agent = side < 0.5
        x[copies] = np.where(by_agent, EDGE, -EDGE)
        y[copies] = np.where(by_agent, agent[copies], opponent[copies])
        speed_x[copies] = np.where(by_agent, -SERVE_SPEED, SERVE_SPEED)
        speed_y[copies] = SERVE_SPEED * SERVE_SLOPE * (2 * slope - 1)
        aim[copies] = AIM * REACH * (2 * part - 1)

    def _strike(self, copies: NDArray[np.intp], offset: Array, draws: Randomness) -> None:
        _, _, _, _, speed_x, speed_y, aim, _, _ = self.state
        spin, part = draws.uniform(copies, 2)
        speed = np.minimum(np.abs(speed_x[copies]) * SPEED_UP, TOP_SPEED)
        speed_x[copies] = -np.copysign(speed, speed_x[copies])
        speed_y[copies] = speed * (SLOPE * offset + SPIN * (2 * spin - 1))
        aim[copies] = AIM * REACH * (2 * part - 1)

    def observe(self) -> Array:
        agent, _, x, y = self.state[:4]
        visible = (x <= self.fog_start) | (x >= self.fog_end)
        observation = np.empty((len(x), 4), np.float32)
        observation[:, 0] = agent
        observation[:, 1] = x / EDGE * visible
        observation[:, 2] = y * visible
        observation[:, 3] = visible
        return observation

    def draw(self, copy: int) -> NDArray[np.uint8]:
        agent, opponent, x, y, speed_x, speed_y, _, won, lost = self.state[:, copy].tolist()
        canvas = Canvas(496, 400, left=-1.55, right=1.55, bottom=-1.1, paper="night")
        for wall in (-1.02, 1.02):
            canvas.box(0.0, wall, 3.0, 0.03, "line", round_by=0.015)
        for dash in np.linspace(-0.92, 0.92, 12).tolist():
            canvas.box(0.0, dash, 0.018, 0.09, "line")
        canvas.number(int(lost), -0.35, 1.22, 0.05, "cool")
        canvas.number(int(won), 0.35, 1.22, 0.05, "warm")
        for back in np.arange(6, 0, -0.5).tolist():  # the trail: where the ball was so many steps ago
            if abs(x - back * speed_x) <= EDGE:
                point = x - back * speed_x, float(fold(y - back * speed_y))
                canvas.disc(*point, BALL * (1 - back / 10), "light", 0.3 * 0.72**back)
        canvas.disc(x, y, BALL, "light")
        canvas.veil(self._fog, "fog")
        canvas.box(-EDGE - 0.055, opponent, 0.05, 2 * (REACH - BALL), "cool", round_by=0.025)
        canvas.box(EDGE + 0.055, agent, 0.05, 2 * (REACH - BALL), "warm", round_by=0.025)
        return canvas.picture()

    def _fog(self, x: Array, y: Array) -> Array:
        """Opacity of the fog at (x, y): even, with soft borders, and so a small GIF."""
        inside = np.clip(np.minimum(x - self.fog_start, self.fog_end - x) / 0.25, 0, 1)
        opaque: Array = 0.55 * inside**2 * (3 - 2 * inside) * (np.abs(y) < 1.0)
        return opaque


def fold(y: Array) -> Array:
    """Where a ball is that would be at y if there were no walls."""
    return np.abs((y - WALL) % (4 * WALL) - 2 * WALL) - WALL


_DIRECTION = np.array([0.0, 1.0, -1.0])  # of the agent's paddle: stay, up, down


class SinglePong(SingleGame):
    """One match of Pong as a plain environment."""

    game = Pong
