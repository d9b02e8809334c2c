"""Pong compiled: that of `pong`, operation by operation, to the last bit."""

# mypy: ignore-errors

import math

import numpy as np

from rlrnn.common.compiling import jit
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

EDGE, SERVE_SPEED, SERVE_SLOPE, AIM = 0, 5, 8, 11  # of the game's constants


@jit
def clip(value, low, high):
    """As ``np.clip``."""
    return min(max(value, low), high)


@game_kernel
def begin(game, copy, _1, _2, _3, _4):
    """As `Pong.begin`."""
    state, (seeds, episode, drawn), numbers = state_of(game), counters_of(game), constants_of(game)
    state[:, copy] = 0.0
    number = drawn[copy]
    first = uniform(seeds[copy], episode[copy], number + np.uint64(1))
    second = uniform(seeds[copy], episode[copy], number + np.uint64(2))
    third = uniform(seeds[copy], episode[copy], number + np.uint64(3))
    by_agent = first < 0.5
    state[2, copy] = numbers[EDGE] if by_agent else -numbers[EDGE]
    state[4, copy] = -numbers[SERVE_SPEED] if by_agent else numbers[SERVE_SPEED]
    state[5, copy] = numbers[SERVE_SLOPE] * (2 * second - 1)
    state[6, copy] = numbers[AIM] * (2 * third - 1)
    drawn[copy] = number + np.uint64(3)


@game_kernel
def advance(game, first_copy, last_copy, actions, rewards, over):
    """As `Pong.advance`."""
    state, chosen, won = state_of(game), choices_of(game, actions), doubles_of(game, rewards)
    (seeds, episodes, drawn), ended, numbers = counters_of(game), flags_of(game, over), constants_of(game)
    edge, wall, reach, agent_speed = numbers[0], numbers[1], numbers[2], numbers[3]
    opponent_speed, serve_speed, speed_up, top_speed = numbers[4], numbers[5], numbers[6], numbers[7]
    serve_slope, slope, spin = numbers[8], numbers[9], numbers[10]
    aim_share, points = numbers[11], numbers[12]
    for b in range(first_copy, last_copy):
        won[b] = 0.0
        x, y, speed_x, speed_y, aim = state[2, b], state[3, b], state[4, b], state[5, b], state[6, b]
        direction = 1.0 if chosen[b] == 1 else (-1.0 if chosen[b] == 2 else 0.0)
        agent = clip(state[0, b] + agent_speed * direction, reach - 1, 1 - reach)
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
                won[b] = -side
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
        ended[b] = max(state[7, b], state[8, b]) >= points


@game_kernel
def look(game, first, last, seen, _1, _2):
    """As `Pong.observe`."""
    state, observation, numbers = state_of(game), seen_of(game, seen, 4), constants_of(game)
    edge, fog_start, fog_end = numbers[0], numbers[13], numbers[14]
    for b in range(first, last):
        x = state[2, b]
        visible = 1.0 if x <= fog_start or x >= fog_end else 0.0
        observation[b, 0] = state[0, b]
        observation[b, 1] = x / edge * visible
        observation[b, 2] = state[3, b] * visible
        observation[b, 3] = visible
