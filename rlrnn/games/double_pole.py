"""Two poles of unlike length, or one, balanced on a cart without observing their velocities."""

import itertools
import math
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from rlrnn.common.settings import check_choice
from rlrnn.errors import UserError
from rlrnn.games import wieland
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.pole_picture import draw_poles
from rlrnn.games.randomness import Randomness

FORCE = 10.0  # N, of the action 1
X_LIMIT = 2.4  # m
ANGLE_LIMIT = math.pi / 5  # rad, 36 degrees
LIMITS = np.array([X_LIMIT, ANGLE_LIMIT, ANGLE_LIMIT])
LONGEST = {"standard": 100_000, "damping": 1_000}  # steps of an episode, by fitness
WINDOW = 100  # last steps that damping looks at
_MOTIONLESS = 1e-9  # so that a cart which never moved at all still has a finite fitness

START = np.array([0.0, 0.0, 0.07, 0.0, 0.0, 0.0])  # m, m/s, rad, rad/s, rad, rad/s


def _grid() -> NDArray[np.float64]:
    """The 625 starts of the test of generalisation (Gruau, Whitley & Pyeatt 1996), [6, 625]."""
    shares = np.array(list(itertools.product((0.05, 0.25, 0.5, 0.75, 0.95), repeat=4))).T
    width = np.array([[4.32], [2.70], [0.12566304], [0.30019504]])  # the last variable counts fastest
    return np.concatenate((width * shares - width / 2, np.zeros((2, 625))))


STARTS = _grid()


class CartWithPoles(ArrayGame):
    """Push a cart with up to 10 N so that its poles stay within 36 degrees, and itself within 2.4 m.

    Wieland (1991), as in Gomez, Schmidhuber & Miikkulainen (2008): see `wieland`. A step lasts 0.02 s. The
    points of an episode are the fitness of this field. `fitness="standard"`: 1 for every step that ends with
    all upright, at most 100,000. `fitness="damping"` (Gruau, Whitley & Pyeatt 1996), at most 1,000 steps, of
    which t are balanced: 0.1 t / 1000 + 0.9 f, all paid with the last step, where f is 0 if t < 100 and else
    0.75 / the sum of |x| + |x'| + |theta_1| + |theta_1'| over the last 100 balanced steps.

    Every episode begins at `start`: "standard", one of the 625 by its number, or "grid": a copy's n-th
    episode has the start number (its seed + n - 1) mod 625, so that 625 copies reset with seed 0 play all.

    The agent sees the cart's place / 4.8 and the angles / 0.52; with `velocities` also each one's speed / 2
    (as in Stanley & Miikkulainen's program of 2002), after its place. All is float64, actions too if they
    come so: rounded to float32, two more of the 625 starts are balanced by the controller of our tests.
    """

    metadata = ArrayGame.metadata | {"render_fps": 50}
    kernels = "rlrnn.games.kernels.double_pole"
    single_action_space = Box(-1.0, 1.0, (1,))
    poles: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]]  # the long one and the short one, if any

    def __init__(
        self,
        velocities: bool = False,
        fitness: str = "standard",
        start: str | int = "standard",
        max_episode_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_choice("fitness", fitness, LONGEST)
        numbered = isinstance(start, int | np.integer) and not isinstance(start, bool) and 0 <= start < 625
        if not numbered and start not in ("standard", "grid"):
            raise UserError(
                f"start is {start!r}; choose 'standard', 'grid' or the number of a start from 0 to 624."
            )
        self.velocities, self.fitness, self.start = velocities, fitness, start
        self.physics = np.array(self.poles)  # [2, 4]
        rows = 6 if wieland.NO_POLE not in self.poles else 4  # rows of the state that are observed, at most
        self._rows = slice(0, rows, 1 if velocities else 2)
        self._scale = np.array([[4.8], [2.0], [0.52], [2.0], [0.52], [2.0]])[self._rows]
        high = np.array([4.8, np.inf, math.pi, np.inf, math.pi, np.inf])[self._rows] / self._scale[:, 0]
        self.single_observation_space = Box(-high, high, dtype=np.float64)
        self.variables = (
            *("x", "x_dot", "theta_1", "theta_1_dot", "theta_2", "theta_2_dot"),  # m, rad, s
            "action",  # the last one, -1 to 1
            *(
                f"unrest_{i}" for i in range(WINDOW) if fitness == "damping"
            ),  # of step i, i + 100, i + 200 ...
        )
        limit = LONGEST[fitness] if max_episode_steps is None else min(max_episode_steps, LONGEST[fitness])
        super().__init__(max_episode_steps=limit, **kwargs)

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:, copies] = 0.0
        if self.start == "grid":
            episode = draws.episode[copies] - np.uint64(1)
            numbers = (draws.seeds[copies] % np.uint64(625) + episode) % np.uint64(625)
            self.state[:6, copies] = STARTS[:, numbers.astype(np.intp)]
        else:
            start = START if self.start == "standard" else STARTS[:, int(self.start)]
            self.state[:6, copies] = start[:, None]
        if wieland.NO_POLE in self.poles:
            self.state[4:6, copies] = 0.0

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        self.state[6] = actions[:, 0]
        wieland.step(self.state[:6], FORCE * self.state[6], self.physics)
        standing = wieland.look(self.state, self.steps, LIMITS, self.state[7:])
        fallen = ~standing
        if self.fitness == "standard":
            return standing.astype(np.float64), fallen
        assert self.max_episode_steps is not None
        ended = fallen | (self.steps >= self.max_episode_steps - 1)
        rewards = np.zeros(self.num_envs)
        if ended.any():
            rewards[ended] = damping((self.steps + standing)[ended], self.state[7:, ended])
        return rewards, fallen

    def constants(self) -> list[float]:
        observed = self._scale[:, 0].tolist()
        return [
            *(*self.physics.ravel(), *wieland.CART, *LIMITS, FORCE, wieland.SUBSTEPS),
            *(float(self.fitness == "damping"), WINDOW, _MOTIONLESS),
            *(0, 1 if self.velocities else 2, len(observed), *observed),
        ]

    def observe(self) -> Array:
        return np.ascontiguousarray((self.state[self._rows] / self._scale).T)

    def draw(self, copy: int) -> NDArray[np.uint8]:
        lengths = [0.0 if lever == 0 else 2 * 3 / (4 * lever) for *_, lever in self.poles]
        return draw_poles(self.state[:7, copy].tolist(), lengths, int(self.steps[copy]), self.velocities)


def damping(balanced: NDArray[np.int64], unrest: Array) -> Array:
    """Gruau's fitness [B] of so many balanced steps [B] and the unrest of the last of them [WINDOW, B]."""
    total = np.add.accumulate(unrest)[-1]  # in one order for any B
    f = np.where(balanced < WINDOW, 0.0, 0.75 / np.maximum(total, _MOTIONLESS))
    return 0.1 * balanced / 1000 + 0.9 * f


class DoublePole(CartWithPoles):
    """Poles of 1 m and 0.1 m: the short one falls faster, and so only unlike pushes keep both up."""

    kernels = CartWithPoles.kernels

    poles = (wieland.LONG, wieland.SHORT)


class SinglePole(CartWithPoles):
    """The pole of 1 m alone."""

    kernels = CartWithPoles.kernels

    poles = (wieland.LONG, wieland.NO_POLE)


class SingleDoublePole(SingleGame):
    """One cart with two poles as a plain environment."""

    game = DoublePole


class SingleSinglePole(SingleGame):
    """One cart with one pole as a plain environment."""

    game = SinglePole
