"""CartPole compiled: that of `cartpole`, operation by operation, to the last bit."""

# mypy: ignore-errors

import numpy as np

from rlrnn.games.kernels.randomness import uniform
from rlrnn.games.kernels.table import (
    choices_of,
    constants_of,
    counters_of,
    doubles_of,
    flags_of,
    game_kernel,
    seen_of,
    state_of,
)
from rlrnn.games.kernels.wieland import sin_cos


@game_kernel
def begin(game, copy, _1, _2, _3, _4):
    """As `CartPole.begin`."""
    state, (seeds, episode, drawn) = state_of(game), counters_of(game)
    for i in range(4):
        state[i, copy] = -0.05 + 0.1 * uniform(seeds[copy], episode[copy], drawn[copy] + np.uint64(i + 1))
    drawn[copy] += np.uint64(4)


@game_kernel
def advance(game, first, last, actions, rewards, over):
    """As `CartPole.advance`."""
    state, chosen, points = state_of(game), choices_of(game, actions), doubles_of(game, rewards)
    fallen, numbers = flags_of(game, over), constants_of(game)
    gravity, cart_mass, pole_mass, half_length = numbers[0], numbers[1], numbers[2], numbers[3]
    push, seconds, x_limit, angle_limit, point = numbers[4], numbers[5], numbers[6], numbers[7], numbers[8]
    mass, moment = pole_mass + cart_mass, pole_mass * half_length
    for b in range(first, last):
        x_dot, theta_dot = state[1, b], state[3, b]
        sin, cos = sin_cos(state[2, b])
        force = push if chosen[b] == 1 else -push
        temp = (force + moment * (theta_dot * theta_dot) * sin) / mass
        theta_acc = (gravity * sin - cos * temp) / (
            half_length * (4.0 / 3.0 - pole_mass * (cos * cos) / mass)
        )
        x_acc = temp - moment * theta_acc * cos / mass
        x = state[0, b] + seconds * x_dot
        theta = state[2, b] + seconds * theta_dot
        state[0, b], state[1, b] = x, x_dot + seconds * x_acc
        state[2, b], state[3, b] = theta, theta_dot + seconds * theta_acc
        points[b], fallen[b] = point, abs(x) > x_limit or abs(theta) > angle_limit


@game_kernel
def look(game, first, last, seen, _1, _2):
    """As `CartPole.observe`."""
    state, out = state_of(game), seen_of(game, seen, 4)
    for b in range(first, last):
        for i in range(4):
            out[b, i] = np.float32(state[i, b])
