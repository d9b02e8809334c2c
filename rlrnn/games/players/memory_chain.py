"""Players of the memory chain that are written, not learned: perfect memory, none, and chance."""

from collections.abc import Callable

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.memory_chain import MemoryChain
from rlrnn.games.players.base import Script, random_player


def always_one(game: MemoryChain) -> Script:
    """Without memory: says 1, as good as anything else at a question without the bits in view."""
    return lambda observations: np.ones(len(observations), np.int64)


def perfect(game: MemoryChain) -> Script:
    """Keeps the bits that it saw last."""
    bits = np.zeros((game.num_envs, game.num_bits), np.int64)
    copies = np.arange(game.num_envs)

    def play(observations: Array) -> Array:
        shown = observations[:, 2:]  # [B, num_bits], zeros but at the start
        np.copyto(bits, shown > 0, where=shown != 0)
        answers: Array = bits[copies, observations[:, 1].astype(np.intp)]
        return answers

    return play


PLAYERS: dict[str, Callable[[MemoryChain], Script]] = {
    "random": random_player,
    "always_one": always_one,
    "perfect": perfect,
}
