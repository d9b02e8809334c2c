"""A step of Pong compiled by numba: that of `pong`, operation by operation, to the last bit."""

# mypy: ignore-errors

import math

import numpy as np

from rlrnn.common.compiling import jit

GOLDEN, PER_EPISODE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)  # those of `randomness`
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
B11, B27, B30, B31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


@jit
def mix(z):
    """SplitMix64's output function."""
    z = (z ^ (z >> B30)) * MIX_1
    z = (z ^ (z >> B27)) * MIX_2
    return z ^ (z >> B31)


@jit
def uniform(seed, episode, number):
    """The number-th of an episode, as `Randomness.uniform` draws it."""
    key = mix(mix(seed + GOLDEN) + episode * PER_EPISODE)
    return np.float64(mix(key + number * GOLDEN) >> B11) * 2.0**-53


@jit
def clip(value, low, high):
    """As ``np.clip``."""
    return min(max(value, low), high)


@jit
def step(state, directions, seeds, episodes, drawn, points, constants):
    """As `Pong._advance_arrays`: rewards [B] and whether matches are over [B].

    ``state`` [9, B] and ``drawn`` [B] change in place; directions [B] are 1, 0 or -1. Seeds, episodes and
    drawn are uint64.
    """
    (edge, wall, reach, agent_speed, opponent_speed, serve_speed, speed_up, top_speed) = constants[:8]
    (serve_slope, slope, spin, aim_share) = constants[8:]
    copies = state.shape[1]
    rewards, over = np.zeros(copies), np.empty(copies, np.bool_)
    for b in range(copies):
        x, y, speed_x, speed_y, aim = state[2, b], state[3, b], state[4, b], state[5, b], state[6, b]
        agent = clip(state[0, b] + agent_speed * directions[b], reach - 1, 1 - reach)
        goal = y - aim if speed_x < 0 else 0.0
        opponent = state[1, b] + clip(goal - state[1, b], -opponent_speed, opponent_speed)
        opponent = clip(opponent, reach - 1, 1 - reach)
        x, y = x + speed_x, y + speed_y
        there = abs(x) >= edge
        side = np.sign(x)
        if there:
            y -= speed_y / speed_x * (x - side * edge)
            x = side * edge
        if abs(y) > wall:
            y = math.copysign(2 * wall, y) - y
            speed_y *= -1
        if there:
            offset = (y - (agent if side > 0 else opponent)) / reach
            seed, episode, number = seeds[b], episodes[b], drawn[b]
            first = uniform(seed, episode, number + np.uint64(1))
            second = uniform(seed, episode, number + np.uint64(2))
            if abs(offset) <= 1:
                speed = min(abs(speed_x) * speed_up, top_speed)
                speed_x = -math.copysign(speed, speed_x)
                speed_y = speed * (slope * offset + spin * (2 * first - 1))
                aim = aim_share * (2 * second - 1)
                drawn[b] = number + np.uint64(2)
            else:
                rewards[b] = -side
                state[7, b] += side < 0
                state[8, b] += side > 0
                third = uniform(seed, episode, number + np.uint64(3))
                by_agent = first < 0.5
                x, y = (edge, agent) if by_agent else (-edge, opponent)
                speed_x = -serve_speed if by_agent else serve_speed
                speed_y = serve_slope * (2 * second - 1)
                aim = aim_share * (2 * third - 1)
                drawn[b] = number + np.uint64(3)
        state[0, b], state[1, b] = agent, opponent
        state[2, b], state[3, b], state[4, b], state[5, b], state[6, b] = x, y, speed_x, speed_y, aim
        over[b] = max(state[7, b], state[8, b]) >= points
    return rewards, over


@jit
def look(state, edge, fog_start, fog_end):
    """As `pong.look_at_arrays`."""
    observation = np.empty((state.shape[1], 4), np.float32)
    for b in range(len(observation)):
        x = state[2, b]
        visible = 1.0 if x <= fog_start or x >= fog_end else 0.0
        observation[b, 0] = state[0, b]
        observation[b, 1] = x / edge * visible
        observation[b, 2] = state[3, b] * visible
        observation[b, 3] = visible
    return observation
