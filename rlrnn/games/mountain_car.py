"""MountainCarContinuous-v0, equal to Gymnasium's to the last bit from the same float32 state."""

import math

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas, Point
from rlrnn.games.randomness import Randomness

LEFT, RIGHT, GOAL = np.float32(-1.2), np.float32(0.6), np.float32(0.45)
MAX_SPEED = np.float32(0.07)
POWER, SLOPE = np.float32(0.0015), 0.0025


class MountainCarContinuous(ArrayGame):
    """Rock a weak car out of a valley (Moore 1990): +100 at the flag, minus 0.1 force^2 for every step.

    Gymnasium rounds position and velocity to float32 after every step and computes the next step in float32,
    and so do we. It alone leaves the first position of an episode unrounded; ours is rounded from the start.
    """

    variables = ("position", "velocity")  # float32 values
    single_observation_space = Box(np.array([LEFT, -MAX_SPEED]), np.array([RIGHT, MAX_SPEED]))
    single_action_space = Box(-1.0, 1.0, (1,))

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[0, copies] = (-0.6 + 0.2 * draws.uniform(copies, 1)[0]).astype(np.float32)
        self.state[1, copies] = 0.0

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        position, velocity = self.state.astype(np.float32)
        force = actions[:, 0]
        pull = SLOPE * np.cos((3 * position).astype(np.float64))
        velocity += force * POWER - pull.astype(np.float32)
        np.clip(velocity, -MAX_SPEED, MAX_SPEED, out=velocity)
        position += velocity
        np.clip(position, LEFT, RIGHT, out=position)
        velocity[(position == LEFT) & (velocity < 0)] = 0.0
        arrived = (position >= GOAL) & (velocity >= 0)
        self.state[:] = position, velocity
        return 100.0 * arrived - 0.1 * force.astype(np.float64) ** 2, arrived

    def observe(self) -> Array:
        return self.state.T.astype(np.float32, order="C")

    def draw(self, copy: int) -> NDArray[np.uint8]:
        position = float(self.state[0, copy])
        left, right, goal = float(LEFT), float(RIGHT), float(GOAL)
        canvas = Canvas(600, 400, left, right, bottom=0.0)
        hill = [(x, _height(x)) for x in np.linspace(left, right, 200).tolist()]
        canvas.shape([(left, 0.0), *hill, (right, 0.0)], "ground")
        canvas.line(hill, "rail", 0.008)
        top = _height(goal) + 0.17
        canvas.line([(goal, top - 0.17), (goal, top)], "dark", 0.006)
        canvas.shape([(goal, top), (goal + 0.08, top - 0.03), (goal, top - 0.06)], "warm")

        tilt = math.atan(3 * 0.45 * math.cos(3 * position))  # of the ground under the car
        cos, sin = math.cos(tilt), math.sin(tilt)

        def on_car(a: float, b: float) -> Point:  # a along the ground, b away from it
            return position + a * cos - b * sin, _height(position) + a * sin + b * cos

        canvas.shape([on_car(a, b) for a, b in _BODY], "cool")
        for a in (-0.045, 0.045):
            canvas.disc(*on_car(a, 0.028), 0.027, "dark")
            canvas.disc(*on_car(a, 0.028), 0.011, "light")
        return canvas.picture()


_BODY = (
    (-0.08, 0.03),
    (0.08, 0.03),
    (0.075, 0.07),
    (0.04, 0.075),
    (0.02, 0.11),
    (-0.05, 0.11),
    (-0.075, 0.07),
)


def _height(x: float) -> float:
    return math.sin(3 * x) * 0.45 + 0.55


class SingleMountainCarContinuous(SingleGame):
    """One MountainCarContinuous as a plain environment."""

    game = MountainCarContinuous
