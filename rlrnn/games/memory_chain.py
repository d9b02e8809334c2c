"""Memory chain: a bit is shown at the start and asked for at the end; how far does a memory reach?"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_whole
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

TILES = 8  # bits in the picture
FIRST, LAST = 1.8, 26.2  # where the chain begins and ends in the picture


class MemoryChain(ArrayGame):
    """`num_bits` bits are shown at the start; `memory_length` steps later one of them is asked for.

    The game of bsuite's experiments memory_len and memory_size (Osband et al. 2020), step for step as
    version 0.3.6 plays it. At time t is seen 1 - t / memory_length; which bit is asked for, from 0, at
    t = memory_length - 1, else 0; and the bits as -1 or 1 at t = 0, else zeros. An episode has
    memory_length + 1 steps. The action at the last one wins 1 if it is the bit asked for, else it loses 1;
    no other counts, and no observation depends on any. Time stands still in the first step: the bits are
    seen twice, and the last action is chosen at t = memory_length - 1.
    """

    metadata = ArrayGame.metadata | {"render_fps": 10}

    def __init__(self, memory_length: int = 10, num_bits: int = 1, **kwargs: Any) -> None:
        check_whole("memory_length", memory_length, 1)
        check_whole("num_bits", num_bits, 1)
        self.variables = (
            "asked",  # which bit, 0 to num_bits - 1
            "said",  # the last action; -1 before the first
            *(f"bit{i}" for i in range(num_bits)),  # 0 or 1
        )
        low, high = np.full((2, 2 + num_bits), [[-1.0], [1.0]], np.float32)
        low[:2], high[1] = 0.0, max(1, num_bits - 1)
        self.single_observation_space = Box(low, high)
        self.single_action_space = Discrete(2)
        super().__init__(**kwargs)
        self.memory_length, self.num_bits = memory_length, num_bits

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        drawn = draws.uniform(copies, 1 + self.num_bits)  # [1 + num_bits, N]
        self.state[0, copies] = np.floor(self.num_bits * drawn[0])
        self.state[1, copies] = -1
        self.state[2:, copies] = np.floor(2 * drawn[1:])

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        over = self.steps == self.memory_length
        due = self.state[2 + self.state[0].astype(np.intp), self.everyone]
        self.state[1] = actions
        return np.where(over, np.where(actions == due, 1.0, -1.0), 0.0), over

    def observe(self) -> Array:
        time = np.maximum(self.steps - 1, 0)
        observation = np.zeros((self.num_envs, 2 + self.num_bits), np.float32)
        observation[:, 0] = 1 - time / self.memory_length
        observation[:, 1] = np.where(time == self.memory_length - 1, self.state[0], 0.0)
        observation[:, 2:] = np.where(time == 0, 2 * self.state[2:] - 1, 0.0).T
        return observation

    def draw(self, copy: int) -> NDArray[np.uint8]:
        asked, said, *bits = self.state[:, copy].astype(int).tolist()
        step, length = int(self.steps[copy]), self.memory_length
        time = max(0, step - 1)
        canvas = Canvas(560, 208, left=0.0, right=28.0, bottom=-5.2)
        link = (LAST - FIRST) / length
        canvas.line([(FIRST, -1.6), (LAST, -1.6)], "ground", 0.3)
        for place in range(length + 1 if link > 0.5 else 0):  # else the marks would be a grey blur
            canvas.disc(FIRST + link * place, -1.6, 0.12, "rail")
        canvas.disc(FIRST + link * time, -1.6, 0.5, "dark")
        first = max(0, min(asked - TILES // 2, len(bits) - TILES))  # the bit of the leftmost tile
        for place, bit in enumerate(bits[first : first + TILES]):
            x = FIRST + 1.7 * place
            canvas.box(x, 1.6, 1.4, 1.4, "cool" if time == 0 else "rail", round_by=0.2)  # unseen: grey
            canvas.number(bit, x, 1.6, 0.17, "light")
            if first + place == asked:
                canvas.box(x, 0.5, 1.0, 0.16, "dark" if time >= length - 1 else "ground")
        if step == length:  # the answer is due
            canvas.box(LAST, 1.6, 1.4, 1.4, "cool", round_by=0.2)
            canvas.box(LAST, 1.6, 1.2, 1.2, "paper", round_by=0.14)
        elif step > length:
            canvas.box(LAST, 1.6, 1.4, 1.4, "cool" if said == bits[asked] else "warm", round_by=0.2)
            canvas.number(said, LAST, 1.6, 0.17, "light")
        return canvas.picture()


class SingleMemoryChain(SingleGame):
    """One copy of the memory chain as a plain environment."""

    game = MemoryChain
