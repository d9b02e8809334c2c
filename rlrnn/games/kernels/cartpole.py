"""A step of CartPole compiled by numba: that of `cartpole`, operation by operation, to the last bit."""

# mypy: ignore-errors

import numpy as np

from rlrnn.common.compiling import jit


@jit
def step(state, cos, sin, right, constants):
    """As `cartpole.step_arrays`."""
    gravity, cart_mass, pole_mass, half_length, push, seconds, x_limit, angle_limit = constants
    mass, moment = pole_mass + cart_mass, pole_mass * half_length
    fallen = np.empty(state.shape[1], np.bool_)
    for b in range(state.shape[1]):
        x_dot, theta_dot = state[1, b], state[3, b]
        force = push if right[b] else -push
        temp = (force + moment * (theta_dot * theta_dot) * sin[b]) / mass
        theta_acc = (gravity * sin[b] - cos[b] * temp) / (
            half_length * (4.0 / 3.0 - pole_mass * (cos[b] * cos[b]) / mass)
        )
        x_acc = temp - moment * theta_acc * cos[b] / mass
        x = state[0, b] + seconds * x_dot
        theta = state[2, b] + seconds * theta_dot
        state[0, b], state[1, b] = x, x_dot + seconds * x_acc
        state[2, b], state[3, b] = theta, theta_dot + seconds * theta_acc
        fallen[b] = abs(x) > x_limit or abs(theta) > angle_limit
    return fallen
