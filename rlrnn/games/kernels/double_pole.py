"""A cart with poles compiled: that of `double_pole`, operation by operation, to the last bit."""

# mypy: ignore-errors

import numpy as np

from rlrnn.games.kernels import wieland
from rlrnn.games.kernels.table import (
    LIMIT,
    constants_of,
    doubles_of,
    flags_of,
    game_kernel,
    numbers_of,
    seen_of,
    state_of,
    steps_of,
)

# Places among the game's constants.
POLES, CART, LIMITS, FORCE, SUBSTEPS, DAMPING, WINDOW, MOTIONLESS, FIRST, EVERY, SEEN, SCALE = (
    0, 8, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23,
)  # fmt: skip


@game_kernel
def advance(game, first, last, actions, rewards, over):
    """As `CartWithPoles.advance`."""
    state, steps, numbers = state_of(game), steps_of(game), constants_of(game)
    pushed, points, fallen = doubles_of(game, actions), doubles_of(game, rewards), flags_of(game, over)
    force, standing = np.empty(len(pushed)), np.empty(len(pushed), np.bool_)
    for b in range(first, last):
        state[6, b] = pushed[b]
        force[b] = numbers[FORCE] * pushed[b]
    cart = numbers[CART], numbers[CART + 1], numbers[CART + 2], numbers[CART + 3]
    poles = numbers[POLES : POLES + 8].reshape(2, 4)
    wieland.step(state, first, last, force, poles, cart, int(numbers[SUBSTEPS]))
    wieland.look(state, first, last, steps, numbers[LIMITS : LIMITS + 3], state[7:], standing)
    most, window = numbers_of(game)[LIMIT], int(numbers[WINDOW])
    for b in range(first, last):
        fallen[b] = not standing[b]
        if numbers[DAMPING] == 0:
            points[b] = standing[b]
            continue
        points[b] = 0.0
        if fallen[b] or steps[b] >= most - 1:
            balanced, total = steps[b] + standing[b], state[7, b]
            for i in range(1, window):
                total += state[7 + i, b]
            f = 0.0 if balanced < window else 0.75 / max(total, numbers[MOTIONLESS])
            points[b] = 0.1 * balanced / 1000 + 0.9 * f


@game_kernel
def look(game, first, last, seen, _1, _2):
    """As `CartWithPoles.observe`, in single precision."""
    state, numbers = state_of(game), constants_of(game)
    start, every, count = int(numbers[FIRST]), int(numbers[EVERY]), int(numbers[SEEN])
    out = seen_of(game, seen, count)
    for b in range(first, last):
        for i in range(count):
            out[b, i] = np.float32(state[start + i * every, b] / numbers[SCALE + i])
