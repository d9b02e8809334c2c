"""How long a network of one Elman layer balances two poles, without a word of Python between the steps.

Made of the kernels that the public way calls one by one, so that not a bit differs; ``double_pole.py`` tells
what it is for, ``tests/games/test_balancing.py`` that it is true.
"""

# mypy: ignore-errors

import numpy as np
from numpy.typing import NDArray

from rlrnn.cells.kernels.elman import step_members
from rlrnn.common.compiling import jit
from rlrnn.games import wieland
from rlrnn.games.double_pole import FORCE, LIMITS, DoublePole
from rlrnn.games.kernels.wieland import look, step
from rlrnn.network import population
from rlrnn.network.network import RecurrentNetwork

Array = NDArray[np.float64]

UNITS = np.array([4.8, 2.0, 0.52, 2.0, 0.52, 2.0])  # of what is seen, as in the game
POLES = np.array(DoublePole.poles)


def balance(
    network: RecurrentNetwork, genome: Array, starts: Array, steps: int, enough: int = 1
) -> NDArray[np.int64]:
    """Steps balanced [B] from each of the starts [6, B], at most ``steps``.

    Ends early, with what there is, once fewer than ``enough`` are still standing.
    """
    tables = {name: weights for _, name, weights in population._stacked(network, genome[None])}
    (cell,) = network.memory.layers
    size = cell.output_size
    return _balance(
        tables["weight_input"],
        tables["weight_hidden"],
        tables.get("bias", np.zeros((1, size), np.float32)),
        *cell.kernel_options(),
        starts.copy(),
        steps,
        enough,
        UNITS,
        POLES,
        LIMITS,
    )


@jit
def _balance(inputs, weights, bias, nonlinearity, state, steps, enough, unit, poles, limits):
    carts, size = state.shape[1], weights.shape[1]
    x, force = np.zeros((1, carts, 3), np.float32), np.zeros(carts)
    memory, y = np.zeros((1, carts, size), np.float32), np.zeros((1, carts, size), np.float32)
    member, at, nothing = np.zeros(1, np.int64), np.zeros(carts, np.int64), np.zeros((0, carts))
    balanced, playing = np.zeros(carts, np.int64), np.arange(carts)
    for t in range(steps):
        left = state.shape[1]
        for b in range(left):
            for i in range(3):
                x[0, b, i] = state[2 * i, b] / unit[2 * i]
        step_members(member, x, inputs, weights, bias, memory, 0, y, nonlinearity)
        for b in range(left):
            force[b] = FORCE * min(max(y[0, b, 0], np.float32(-1.0)), np.float32(1.0))
        step(state, force, poles, wieland.CART, wieland.SUBSTEPS)
        standing = look(state, at, limits, nothing)
        for b in range(left):
            balanced[playing[b]] = t + standing[b]
        kept = standing.sum()
        if kept < enough:
            break
        if kept < left:
            playing, state = playing[standing], np.ascontiguousarray(state[:, standing])
            memory = np.ascontiguousarray(memory[:, standing])
            x, y = np.zeros((1, kept, 3), np.float32), np.zeros((1, kept, size), np.float32)
    return balanced
