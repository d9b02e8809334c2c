"""CartPole-v1, equal to Gymnasium's but for the last bit of a sine, which there depends on the processor."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_number
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness
from rlrnn.games.wieland import sin_cos

GRAVITY = 9.8  # m/s^2
CART_MASS, POLE_MASS = 1.0, 0.1  # kg
HALF_LENGTH = 0.5  # m, of the pole
FORCE = 10.0  # N
SECONDS = 0.02  # per step
X_LIMIT = 2.4  # m
ANGLE_LIMIT = 12 * 2 * np.pi / 360  # rad
CONSTANTS = (GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH, FORCE, SECONDS, X_LIMIT, ANGLE_LIMIT)


class CartPole(ArrayGame):
    """Keep a pole upright on a cart by pushing it left (0) or right (1); a step wins 1 / steps_per_point.

    Barto, Sutton & Anderson (1983), with the friction-free equations of Florian (2007), integrated by Euler's
    method in the order of operations of Gymnasium's environment, where a step wins 1. Sine and cosine are
    those of ``wieland``, as numpy's round by the processor. POPGym (Morad et al.
    2023) counts the share of the most steps that there can be: `steps_per_point` = `max_episode_steps`.
    """

    metadata = ArrayGame.metadata | {"render_fps": 50}
    kernels = "rlrnn.games.kernels.cartpole"
    variables = ("x", "x_dot", "theta", "theta_dot")  # m, m/s, rad, rad/s
    _high = np.array([2 * X_LIMIT, np.inf, 2 * ANGLE_LIMIT, np.inf], np.float32)
    single_observation_space = Box(-_high, _high)
    single_action_space = Discrete(2)

    def __init__(self, steps_per_point: int = 1, **kwargs: Any) -> None:
        check_number("steps_per_point", steps_per_point, 1)
        super().__init__(**kwargs)
        self.steps_per_point = steps_per_point

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:, copies] = -0.05 + 0.1 * draws.uniform(copies, 4)

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        mass, moment = POLE_MASS + CART_MASS, POLE_MASS * HALF_LENGTH
        x, x_dot, theta, theta_dot = self.state
        sin, cos = sin_cos(theta)
        force = np.where(actions == 1, FORCE, -FORCE)
        temp = (force + moment * (theta_dot * theta_dot) * sin) / mass
        theta_acc = (GRAVITY * sin - cos * temp) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * (cos * cos) / mass)
        )
        x_acc = temp - moment * theta_acc * cos / mass
        x += SECONDS * x_dot
        x_dot += SECONDS * x_acc
        theta += SECONDS * theta_dot
        theta_dot += SECONDS * theta_acc
        fallen: NDArray[np.bool_] = (np.abs(x) > X_LIMIT) | (np.abs(theta) > ANGLE_LIMIT)
        return np.full(self.num_envs, 1.0 / self.steps_per_point), fallen

    def constants(self) -> tuple[float, ...]:
        return *CONSTANTS, 1.0 / self.steps_per_point

    def observe(self) -> Array:
        return self.state.T.astype(np.float32, order="C")

    def draw(self, copy: int) -> NDArray[np.uint8]:
        x, _, theta, _ = self.state[:, copy]
        canvas = Canvas(600, 400, left=-X_LIMIT, right=X_LIMIT, bottom=-1.0)
        canvas.line([(-X_LIMIT, 0.0), (X_LIMIT, 0.0)], "rail", 0.02)
        canvas.box(x, 0.0, 0.42, 0.24, "dark", round_by=0.05)
        tip = (x + 2 * HALF_LENGTH * np.sin(theta), 2 * HALF_LENGTH * np.cos(theta))
        canvas.line([(x, 0.0), tip], "warm", 0.09)
        canvas.disc(x, 0.0, 0.035, "light")
        return canvas.picture()


class SingleCartPole(SingleGame):
    """One CartPole as a plain environment."""

    game = CartPole
