"""Linear controllers that balance one or two poles and see their speeds: the gains in double_pole_players.

    python benchmarks/linear.py

Each is the linear-quadratic regulator of one control step of the game at rest, linearised by differences.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_are

from rlrnn.games import wieland
from rlrnn.games.double_pole import FORCE, DoublePole, SinglePole

EFFORT = 100.0  # what a unit of action costs beside a unit of every variable


def gains(poles: tuple[tuple[float, ...], ...], variables: int) -> NDArray[np.float64]:
    """The factors [variables] of the state whose sum is the action."""
    moved = 1e-6 * np.eye(variables + 1)  # m, m/s, rad, rad/s and last the action, one at a time
    states, forces = np.zeros((6, 2 * variables + 2)), FORCE * np.append(moved[-1], -moved[-1])
    states[:variables] = np.concatenate((moved[:-1], -moved[:-1]), axis=1)
    wieland.step(states, forces, np.array(poles), (wieland.CART_MASS, 0.0, *wieland.CART[2:]))
    ahead, behind = np.split(states[:variables], 2, axis=1)
    slope = (ahead - behind) / 2e-6
    a, b = slope[:, :-1], slope[:, -1:]
    cost, effort = np.eye(variables), np.array([[EFFORT]])
    p = solve_discrete_are(a, b, cost, effort)
    factors: NDArray[np.float64] = -np.linalg.solve(effort + b.T @ p @ b, b.T @ p @ a)[0]
    return factors


def main() -> None:
    """Print the gains of both."""
    for game, variables in ((DoublePole, 6), (SinglePole, 4)):
        print(game.__name__, np.round(gains(game.poles, variables), 3).tolist())


if __name__ == "__main__":
    main()
