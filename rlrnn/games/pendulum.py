"""Pendulum-v1: from the same state equal to Gymnasium's to the last bit, its rewards but for rounding."""

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

GRAVITY = 10.0  # m/s^2; the rod has length 1 m and mass 1 kg
MAX_SPEED = 8.0  # rad/s
MAX_TORQUE = 2.0  # N m
SECONDS = 0.05  # per step


class Pendulum(ArrayGame):
    """Swing a rod up and hold it upright with a torque too weak to lift it at once.

    The reward of a step is minus (angle^2 + 0.1 speed^2 + 0.001 torque^2), the angle counted from upright.
    Our squares are rounded products; Gymnasium's go through `pow`, which differs by one unit in the last
    place about once in a thousand squares. The torque is float32 in both: rewards differ by 5e-10 at most.
    """

    variables = ("theta", "theta_dot", "torque")  # rad from upright, rad/s, N m (kept for the picture)
    _high = np.array([1.0, 1.0, MAX_SPEED], np.float32)
    single_observation_space = Box(-_high, _high)
    single_action_space = Box(-MAX_TORQUE, MAX_TORQUE, (1,))

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:2, copies] = np.array([[np.pi], [1.0]]) * (2 * draws.uniform(copies, 2) - 1)
        self.state[2, copies] = 0.0

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        theta, theta_dot, torque = self.state
        u = actions[:, 0]  # its terms are rounded to float32, as Gymnasium's are
        angle = (theta + np.pi) % (2 * np.pi) - np.pi
        cost = angle**2 + 0.1 * theta_dot**2 + 0.001 * u**2
        theta_dot += (3 * GRAVITY / 2 * np.sin(theta) + 3.0 * u) * SECONDS
        np.clip(theta_dot, -MAX_SPEED, MAX_SPEED, out=theta_dot)
        theta += theta_dot * SECONDS
        torque[:] = u
        return -cost, np.zeros(self.num_envs, np.bool_)

    def observe(self) -> Array:
        theta, theta_dot, _ = self.state
        return np.stack((np.cos(theta), np.sin(theta), theta_dot), axis=1).astype(np.float32)

    def draw(self, copy: int) -> NDArray[np.uint8]:
        theta, _, torque = self.state[:, copy]
        canvas = Canvas(400, 400, left=-1.35, right=1.35, bottom=-1.35)
        canvas.ring(0.0, 0.0, 1.0, "ground", 0.02)
        # The arc shows the torque: it grows from the top to the side the rod is pushed to.
        arc = -torque / MAX_TORQUE * np.linspace(0.0, np.pi / 2, 24)
        canvas.line([(1.2 * np.sin(a), 1.2 * np.cos(a)) for a in arc], "warm", 0.035)
        tip = (-np.sin(theta), np.cos(theta))
        canvas.line([(0.0, 0.0), tip], "dark", 0.07)
        canvas.disc(*tip, 0.13, "cool")
        canvas.disc(0.0, 0.0, 0.06, "rail")
        return canvas.picture()


class SinglePendulum(SingleGame):
    """One Pendulum as a plain environment."""

    game = Pendulum
