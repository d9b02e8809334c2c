"""CartPole-v1, equal to Gymnasium's to the last bit from the same state."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.compiling import load
from rlrnn.common.settings import check_number
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

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
    method in the order of operations of Gymnasium's environment, where a step wins 1. POPGym (Morad et al.
    2023) counts the share of the most steps that there can be: `steps_per_point` = `max_episode_steps`.
    """

    metadata = ArrayGame.metadata | {"render_fps": 50}
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
        theta = self.state[2]
        kernels = load("rlrnn.games.kernels.cartpole")
        step = kernels.step if kernels else step_arrays  # both with numpy's sine and cosine, as Gymnasium
        fallen = step(self.state, np.cos(theta), np.sin(theta), actions == 1, CONSTANTS)
        return np.full(self.num_envs, 1.0 / self.steps_per_point), fallen

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


def step_arrays(
    state: Array, cos: Array, sin: Array, right: Array, constants: tuple[float, ...]
) -> NDArray[np.bool_]:
    """Push right or left [B]: which poles have fallen or carts left [B]; `state` [4, B] changes in place.

    ``cos`` and ``sin`` [B] are those of the angles. What runs without numba, and the compiled
    version's oracle.
    """
    gravity, cart_mass, pole_mass, half_length, push, seconds, x_limit, angle_limit = constants
    x, x_dot, theta, theta_dot = state
    mass, moment = pole_mass + cart_mass, pole_mass * half_length
    force = np.where(right, push, -push)
    temp = (force + moment * np.square(theta_dot) * sin) / mass
    theta_acc = (gravity * sin - cos * temp) / (half_length * (4.0 / 3.0 - pole_mass * np.square(cos) / mass))
    x_acc = temp - moment * theta_acc * cos / mass
    x += seconds * x_dot
    x_dot += seconds * x_acc
    theta += seconds * theta_dot
    theta_dot += seconds * theta_acc
    fallen: NDArray[np.bool_] = (np.abs(x) > x_limit) | (np.abs(theta) > angle_limit)
    return fallen


class SingleCartPole(SingleGame):
    """One CartPole as a plain environment."""

    game = CartPole
