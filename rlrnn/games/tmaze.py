"""T-maze: a sign at the start shows the way to turn at the far end of a corridor that is alike all along."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_number
from rlrnn.errors import UserError
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

NORTH, EAST, SOUTH, WEST = range(4)
GOAL, BLUNDER, BUMP = 4.0, -0.1, -0.1  # points for the right arm, for the wrong one, for standing still


class TMaze(ArrayGame):
    """Walk `length` cells east to the junction, then turn north or south, as the sign at the start showed.

    The task of Bakker (2001, "Reinforcement learning with long short-term memory", section on the T-maze):
    the start shows 011 or 110, the corridor 101, the junction 010; the right arm wins 4, the wrong one -0.1,
    both end the episode; a step that leaves the agent where it is costs 0.1, any other costs nothing. On the
    straight way the sign is to be kept for `length` steps.

    Our own choices, where we know of none in the paper: 011 means north; the goal is drawn evenly; the start
    shows its sign again to an agent that comes back; a step east at the junction stands still; an arm shows
    000. So is the limit of time: an episode is cut after `limit` steps: if not given, length**2 / 2, at least
    10 * length. That is 200 for length 20 and 5000 for length 100; as a random walk spreads with the root of
    time, it then comes to the junction about once in 12 episodes of either.
    """

    metadata = ArrayGame.metadata | {"render_fps": 10}
    variables = (
        "lot",  # drawn from [0, 1): the goal is north where it is below 1/2
        "x",  # cells from the start; the junction is at `length`
        "y",  # 1 in the north arm, -1 in the south arm
    )
    single_observation_space = Box(0.0, 1.0, (3,))
    single_action_space = Discrete(4)

    def __init__(
        self, length: int = 20, limit: int | None = None, max_episode_steps: int | None = None, **kwargs: Any
    ) -> None:
        check_number("length", length, 1)
        limit = length * max(10, length // 2) if limit is None else limit
        if limit <= length:
            raise UserError(
                f"limit is {limit}, but the way to the goal takes {length + 1} steps; give at least as many."
            )
        cut = limit if max_episode_steps is None else min(limit, max_episode_steps)
        super().__init__(max_episode_steps=cut, **kwargs)
        self.length, self.limit = length, limit

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:, copies] = 0.0
        self.state[0, copies] = draws.uniform(copies, 1)[0]

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        lot, x, y = self.state
        before = x.copy()
        y += np.where(x == self.length, _NORTHWARD[actions], 0.0)
        x += _EASTWARD[actions]
        np.clip(x, 0.0, self.length, out=x)
        in_arm = y != 0
        right = y == np.where(lot < 0.5, 1.0, -1.0)
        reward = np.where(in_arm, np.where(right, GOAL, BLUNDER), np.where(x == before, BUMP, 0.0))
        return reward, in_arm

    def observe(self) -> Array:
        lot, x, y = self.state
        place = np.where(x == 0, np.where(lot < 0.5, 0, 1), np.where(x < self.length, 2, 3))
        return _OBSERVATIONS[np.where(y == 0, place, 4)]

    def draw(self, copy: int) -> NDArray[np.uint8]:
        lot, x, y = self.state[:, copy].tolist()
        north = 1 if lot < 0.5 else -1
        canvas = Canvas(560, 208, left=0.0, right=28.0, bottom=-5.2)
        first, last = 1.8, 26.0  # the middles of the start and of the junction
        cell = (last - first) / self.length
        canvas.box((first + last) / 2, 0.0, last - first + 1.6, 1.6, "ground", round_by=0.2)
        canvas.box(last, 0.0, 1.6, 6.4, "ground", round_by=0.2)
        if cell > 0.5:  # else the marks would be a grey blur
            for place in range(1, self.length):
                canvas.disc(first + cell * place, 0.0, 0.08, "rail")
        at_start = x == 0 and y == 0
        canvas.box(first, 1.1, 0.16, 0.6, "dark" if at_start else "rail")
        canvas.box(first, 2.4, 2.0, 2.0, "cool" if at_start else "rail", round_by=0.3)
        _arrow(canvas, first, 2.4, north)
        for radius, colour in ((0.62, "cool"), (0.42, "ground"), (0.2, "cool")):  # the goal, unseen
            canvas.disc(last, 2.4 * north, radius, colour)
        at = (first + cell * x, 2.4 * y)
        canvas.disc(*at, 0.55, "cool" if y == north else "warm")
        if y:
            _mark(canvas, *at, y == north)
        _eyes(canvas, self.observe()[copy].tolist(), min(max(at[0], 2.6), 22.8), -2.1)
        spent = min(1.0, float(self.steps[copy]) / self.limit)
        for share, colour in ((1.0, "ground"), (spent, "rail")):
            if share:
                canvas.box(1.0 + 13.0 * share, -4.6, 26.0 * share, 0.35, colour)
        return canvas.picture()


_NORTHWARD = np.array([1.0, 0.0, -1.0, 0.0])  # by action
_EASTWARD = np.array([0.0, 1.0, 0.0, -1.0])
# Sign for north, sign for south, corridor, junction, arm.
_OBSERVATIONS = np.array([[0, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]], np.float32)


def _arrow(canvas: Canvas, x: float, y: float, up: float) -> None:
    canvas.box(x, y - 0.2 * up, 0.3, 0.8, "light")
    canvas.shape([(x - 0.5, y + 0.1 * up), (x + 0.5, y + 0.1 * up), (x, y + 0.7 * up)], "light")


def _mark(canvas: Canvas, x: float, y: float, right: bool) -> None:
    """A tick or a cross."""
    ends = [(-0.22, 0.02), (-0.06, -0.18), (0.26, 0.2)] if right else [(-0.2, -0.2), (0.2, 0.2)]
    canvas.line([(x + dx, y + dy) for dx, dy in ends], "light", 0.13)
    if not right:
        canvas.line([(x - 0.2, y + 0.2), (x + 0.2, y - 0.2)], "light", 0.13)


def _eyes(canvas: Canvas, bits: list[float], x: float, y: float) -> None:
    """What the agent sees: three bits, filled where they are 1."""
    for place, bit in enumerate(bits):
        canvas.box(x + 1.2 * (place - 1), y, 1.0, 1.0, "dark", round_by=0.2)
        if not bit:
            canvas.box(x + 1.2 * (place - 1), y, 0.8, 0.8, "paper", round_by=0.12)


class SingleTMaze(SingleGame):
    """One copy of the T-maze as a plain environment."""

    game = TMaze
