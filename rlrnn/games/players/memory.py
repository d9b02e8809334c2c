"""Players of MiniGrid's Memory that are written, not learned: with memory, without, and by chance."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.minigrid_memory import AHEAD, EMPTY, FORWARD, KEY, LEFT, RIGHT, WALL, MiniGridMemory
from rlrnn.games.players.base import Script, random_player

AGAIN = 0.93  # how often `glancer` looks back once more rather than going up


def gambler(game: MiniGridMemory) -> Script:
    """Without memory: walks on and goes up, whatever lies there."""
    return lambda observations: np.where(_crossing(game, observations)[0] == 0, LEFT, FORWARD)


def glancer(game: MiniGridMemory) -> Script:
    """Without memory: where the passages cross it looks back into the first room, and turns to what it sees.

    Facing up it cannot know whether it has looked yet, so mostly it looks (again), and at times goes up. This
    wins where the first room can be seen from the crossing: with 7 x 7 cells in view, up to size 9.
    """
    chance = np.random.default_rng(0)

    def play(observations: Array) -> Array:
        heading, cells = _crossing(game, observations)
        middle, last = game.view // 2, game.view - 1
        keys = cells[..., KEY - EMPTY].sum((1, 2))  # of two or three objects: both of the places, and the cue
        down_is_key = cells[:, middle - 2, last, KEY - EMPTY] > 0  # at the left hand when it looks back
        down = np.where(keys == 2, down_is_key, ~down_is_key)
        incomplete = cells[..., KEY - EMPTY :].sum((1, 2, 3)) < 3
        down = np.where(incomplete, chance.random(len(observations)) < 0.5, down)
        again = np.where(chance.random(len(observations)) < AGAIN, LEFT, FORWARD)
        turn = np.where(down, LEFT, RIGHT)
        return np.select([heading == 0, heading == 2, heading == 3], [LEFT, turn, again], FORWARD)

    return play


def perfect(game: MiniGridMemory) -> Script:
    """Takes the shortest way on which it sees the object of the first room before it chooses."""
    n = game.size
    views = game.views.reshape(-1, 2, 2, 4, n, n, game.view**2)
    informative = (views[:, 0] != views[:, 1]).any(-1)  # where the observation depends on the cue
    informative = np.repeat(informative[:, None], 2, 1).reshape(-1, 4, n, n)  # [layout, heading, x, y]
    x, y = np.indices((n, n))
    steps = np.full((2, len(informative), 4, n, n), np.inf)  # to go, without and with knowledge of the cue
    for layout, (end, cue, upper) in enumerate(np.ndindex(len(informative) // 4, 2, 2)):
        steps[1, layout, :, game.shortest + end + 1, n // 2 - 1 if cue == upper else n // 2 + 1] = 0

    def after(action: int) -> Array:
        """Steps to go from where the action leads, [2, layout, heading, x, y]."""
        there = np.where(informative, steps[1], steps)
        if action != FORWARD:
            return np.roll(there, 1 if action == LEFT else -1, axis=2)
        ways = []
        for heading, (dx, dy) in enumerate(AHEAD.tolist()):
            ahead = np.clip(x + dx, 0, n - 1), np.clip(y + dy, 0, n - 1)
            free = game.grids[:, *ahead] == EMPTY
            ways.append(np.where(free, there[:, :, heading][:, :, *ahead], there[:, :, heading]))
        return np.stack(ways, axis=2)

    while True:
        fewer = np.minimum(steps, 1 + np.min([after(action) for action in (LEFT, RIGHT, FORWARD)], axis=0))
        if np.array_equal(fewer, steps):
            break
        steps = fewer
    ways = np.stack([after(action) for action in (LEFT, RIGHT, FORWARD)])
    informed = np.zeros(game.num_envs, np.intp)

    def play(observations: Array) -> Array:
        x, y, heading = game.state[:3].astype(np.intp)
        layout = game.layout()
        np.maximum(informed, informative[layout, heading, x, y], out=informed)
        actions: Array = ways[:, informed, layout, heading, x, y].argmin(axis=0)
        return actions

    return play


PLAYERS: dict[str, Callable[[MiniGridMemory], Script]] = {
    "random": random_player,
    "gambler": gambler,
    "glancer": glancer,
    "perfect": perfect,
}


def _crossing(game: MiniGridMemory, observations: Array) -> tuple[Array, Array]:
    """(the heading of those who stand between the two places, -1 of the others; what they see as cells)."""
    middle, last = game.view // 2, game.view - 1
    cells = observations.reshape(len(observations), game.view, game.view, 4)
    thing: Array = cells[..., KEY - EMPTY :].max(axis=-1) > 0  # [B, view, view]
    beside = thing[:, middle - 2, last] & thing[:, middle + 2, last]
    walls = cells[..., WALL - EMPTY] > 0
    up, down = (thing[:, middle, last - 2] & walls[:, middle + side, last] for side in (1, -1))
    heading = np.select([beside & walls[:, middle, last - 1], beside, down, up], [0, 2, 1, 3], -1)
    return heading, cells
