"""MiniGrid's Memory as arrays: see an object, walk down a hallway, turn to the one that is like it."""

import itertools
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.errors import UserError
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

UNSEEN, EMPTY, WALL, KEY, BALL = range(5)  # what a cell may be
LEFT, RIGHT, FORWARD = range(3)  # MiniGrid's other four actions do nothing here
ACTIONS = 7
AHEAD = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # of each heading; y grows downwards
_ONE_HOT = np.eye(5, dtype=np.float32)[:, EMPTY:]  # a cell as four inputs, all zeros where it is not visible


class MiniGridMemory(ArrayGame):
    """MiniGrid's MemoryEnv (Chevalier-Boisvert et al. 2023), equal to it step for step on the same grid.

    The right object is worth 1 - 0.9 steps / (5 size^2), the wrong one 0; after 5 size^2 steps the episode is
    cut. The agent sees the square of `agent_view_size`^2 cells before it, without what walls hide, each as
    empty, wall, key or ball: all that MiniGrid's image holds, as everything in this game has one colour.
    """

    metadata = ArrayGame.metadata | {"render_fps": 8}
    variables = (
        *("x", "y"),  # cells from the upper left corner
        "heading",  # 0 right, 1 down, 2 left, 3 up
        "end",  # x where the hallway ends
        *("cue", "upper"),  # KEY or BALL: in the first room, and in the upper of the two places
    )

    def __init__(
        self,
        size: int = 9,
        random_length: bool = False,
        agent_view_size: int = 7,
        max_episode_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        if size < 7 or size % 2 == 0:
            raise UserError(f"size is {size}; it must be an odd number of at least 7 cells.")
        if agent_view_size < 3 or agent_view_size % 2 == 0:
            raise UserError(f"agent_view_size is {agent_view_size}; it must be an odd number of at least 3.")
        self.single_observation_space = Box(0.0, 1.0, (4 * agent_view_size**2,))
        self.single_action_space = Discrete(ACTIONS)
        self.max_steps = 5 * size**2
        super().__init__(max_episode_steps=min(self.max_steps, max_episode_steps or self.max_steps), **kwargs)
        self.size, self.view = size, agent_view_size
        self.shortest = 4 if random_length else size - 3  # the least that `end` can be
        objects = (KEY, BALL)
        layouts = itertools.product(range(self.shortest, size - 2), objects, objects)
        self.grids = np.stack([_grid(size, *layout) for layout in layouts])  # [layout, x, y]
        self.views = _views(self.grids, agent_view_size)  # [layout, heading, x, y, view, view]

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        length, place, cue, upper = draws.uniform(copies, 4)
        end = self.shortest + np.floor((self.size - 2 - self.shortest) * length)
        x = 1 + np.floor(end * place)  # anywhere from the room to the hallway's end
        y = np.full(len(copies), self.size // 2)
        self.state[:, copies] = x, y, 0 * y, end, KEY + np.floor(2 * cue), KEY + np.floor(2 * upper)

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        x, y, heading, end, cue, upper = self.state.astype(np.intp)
        heading = (heading + (actions == RIGHT) - (actions == LEFT)) % 4
        next_x, next_y = x + AHEAD[heading, 0], y + AHEAD[heading, 1]
        moves = (actions == FORWARD) & (self.grids[self.layout(), next_x, next_y] == EMPTY)
        x, y = np.where(moves, next_x, x), np.where(moves, next_y, y)
        self.state[:3] = x, y, heading
        terminated = (x == end + 1) & (np.abs(y - self.size // 2) == 1)
        right = terminated & ((y < self.size // 2) == (cue == upper))
        return right * (1 - 0.9 * ((self.steps + 1) / self.max_steps)), terminated

    def observe(self) -> Array:
        x, y, heading = self.state[:3].astype(np.intp)
        cells = self.views[self.layout(), heading, x, y]  # [B, view, view]
        observation: Array = _ONE_HOT[cells].reshape(self.num_envs, -1)
        return observation

    def layout(self) -> NDArray[np.intp]:
        """Which of `grids` each copy plays on, [B]."""
        end, cue, upper = self.state[3:].astype(np.intp)
        layouts: NDArray[np.intp] = 4 * (end - self.shortest) + 2 * (cue - KEY) + upper - KEY
        return layouts

    def draw(self, copy: int) -> NDArray[np.uint8]:
        n, (x, y, heading) = self.size, (int(value) for value in self.state[:3, copy])
        layout = self.layout()[copy]
        visible = self.views[layout, heading, x, y] != UNSEEN  # [view, view]
        lit = {_cell(x, y, heading, i, j, self.view) for i, j in np.argwhere(visible).tolist()}
        pixels = n * (480 // n)
        canvas = Canvas(pixels, pixels, left=-0.5, right=n - 0.5, bottom=-0.5)
        for (column, row), what in np.ndenumerate(self.grids[layout]):
            at = (column, n - 1 - row)
            floor = "light" if (column, row) in lit else "rail"
            canvas.box(*at, 1.02, 1.02, "dark" if what == WALL else floor)
            if what in (KEY, BALL):
                _thing(canvas, what, *at)
        _agent(canvas, x, n - 1 - y, heading)
        return canvas.picture()


def _grid(size: int, end: int, cue: int, upper: int) -> NDArray[np.uint8]:
    """The cells [x, y] of a room, a hallway to x = end, and a passage across with an object at each side."""
    cells, middle = np.full((size, size), EMPTY, np.uint8), size // 2
    cells[[0, -1]] = cells[:, [0, -1]] = WALL
    cells[1:5, [middle - 2, middle + 2]] = WALL
    cells[4:end, [middle - 1, middle + 1]] = WALL
    cells[[end, end + 2]] = WALL
    cells[end, middle] = EMPTY
    cells[1, middle - 1] = cue
    cells[end + 1, [middle - 2, middle + 2]] = upper, KEY + BALL - upper
    return cells


def _cell(x: int, y: int, heading: int, i: int, j: int, view: int) -> tuple[int, int]:
    """Where on the grid column i and row j of the view from (x, y) lies."""
    (dx, dy), ahead, right = AHEAD[heading].tolist(), view - 1 - j, i - view // 2
    return x + ahead * dx - right * dy, y + ahead * dy + right * dx


def _views(grids: NDArray[np.uint8], view: int) -> NDArray[np.uint8]:
    """The view on each grid [L, x, y] by each heading from each cell, [L, 4, x, y, view, view]."""
    n = grids.shape[1]
    padded = np.pad(grids, ((0, 0), (view, view), (view, view)), constant_values=WALL)
    views = np.empty((len(grids), 4, n, n, view, view), np.uint8)
    for heading, i, j in itertools.product(range(4), range(view), range(view)):
        x, y = _cell(view, view, heading, i, j, view)
        views[:, heading, :, :, i, j] = padded[:, x : x + n, y : y + n]
    visible = _visible(views != WALL)
    views[..., view // 2, view - 1] = EMPTY  # where the agent stands
    return np.where(visible, views, UNSEEN).astype(np.uint8)


def _visible(clear: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells [..., view, view] that light reaches from the middle of the last row, as MiniGrid spreads it.

    From row to row it goes through clear cells to both sides, straight ahead and aslant, first rightwards.
    """
    view = clear.shape[-1]
    lit = np.zeros_like(clear)
    lit[..., view // 2, view - 1] = True
    for j in reversed(range(view)):
        for side, columns in ((1, range(view - 1)), (-1, range(view - 1, 0, -1))):
            for i in columns:
                through = lit[..., i, j] & clear[..., i, j]
                lit[..., i + side, j] |= through
                if j > 0:
                    lit[..., i + side, j - 1] |= through
                    lit[..., i, j - 1] |= through
    return lit


def _thing(canvas: Canvas, what: int, x: float, y: float) -> None:
    """A ball, or a key."""
    if what == BALL:
        canvas.disc(x, y, 0.32, "cool")
        return
    canvas.ring(x, y + 0.18, 0.14, "warm", 0.1)
    canvas.line([(x, y + 0.04), (x, y - 0.34)], "warm", 0.1)
    for tooth in (-0.32, -0.16):
        canvas.line([(x, y + tooth), (x + 0.16, y + tooth)], "warm", 0.1)


def _agent(canvas: Canvas, x: float, y: float, heading: int) -> None:
    """An arrowhead that points where the agent looks."""
    dx, dy = AHEAD[heading, 0], -AHEAD[heading, 1]
    corners = ((0.38, 0.0), (-0.32, 0.32), (-0.16, 0.0), (-0.32, -0.32))
    canvas.shape([(x + a * dx - b * dy, y + a * dy + b * dx) for a, b in corners], "night")


class SingleMiniGridMemory(SingleGame):
    """One copy of the game as a plain environment."""

    game = MiniGridMemory
