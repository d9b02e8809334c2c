"""Recall: say what was shown k steps ago, and nothing else; the plainest question about a memory."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_number, check_whole
from rlrnn.errors import UserError
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

ANSWERS = 64  # of an episode whose length is not given; a power of two, so that a perfect one wins exactly 1
COLUMNS = 8  # symbols in the picture


class Recall(ArrayGame):
    """At every step a new symbol, drawn evenly; to be said is that of `lag` steps before, from step `lag` on.

    Each answer that counts wins or loses 1 / (length - lag): all right is 1, all wrong -1, and chance
    2 / alphabet - 1. The agent sees the symbol as a one-hot vector: what a Discrete observation would become
    at its sensors anyway, and what the wrappers `stack`, `noise` and `flicker` (zeros: no symbol) take too.
    No observation depends on an action. POPGym's RepeatPrevious (Morad et al. 2023) asks the same
    of cards dealt from a deck, where those dealt change the odds of those to come; here they do not.
    """

    metadata = ArrayGame.metadata | {"render_fps": 4}
    variables = (
        "shown",  # the symbol, 0 to alphabet - 1
        "said",  # the last action; -1 before the first
        "right",  # answers of this episode that were right
    )

    def __init__(self, lag: int = 4, alphabet: int = 4, length: int | None = None, **kwargs: Any) -> None:
        length = lag + ANSWERS if length is None else length
        check_number("lag", lag, 1)
        check_whole("alphabet", alphabet, 2)
        if length <= lag:
            raise UserError(
                f"length is {length}, but no answer counts before step {lag}; give at least {lag + 1} steps."
            )
        self.single_observation_space = Box(0.0, 1.0, (alphabet,))
        self.single_action_space = Discrete(alphabet)
        super().__init__(**kwargs)
        self.lag, self.alphabet, self.length = lag, alphabet, length

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        draws.uniform(copies, 1)
        self.state[:, copies] = (
            self.symbols(0, copies, draws),
            np.full(len(copies), -1),
            np.zeros(len(copies)),
        )

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        counts = self.steps >= self.lag
        right = counts & (actions == self.symbols(self.lag, self.everyone, draws))
        draws.uniform(self.everyone, 1)
        self.state[:] = self.symbols(0, self.everyone, draws), actions, self.state[2] + right
        reward = (2.0 * right - counts) / (self.length - self.lag)
        return reward, self.steps + 1 >= self.length

    def symbols(self, ago: int, copies: NDArray[np.intp], draws: Randomness) -> Array:
        """The symbols of so many steps ago: drawn again, as the game itself keeps none."""
        then = Randomness(draws.seeds[copies])
        then.episode[:] = draws.episode[copies]
        then.drawn[:] = draws.drawn[copies] - np.uint64(ago + 1)  # one draw per symbol
        symbols: Array = np.floor(self.alphabet * then.uniform(np.arange(len(copies)), 1)[0])
        return symbols

    def observe(self) -> Array:
        observation = np.zeros((self.num_envs, self.alphabet), np.float32)
        observation[self.everyone, self.state[0].astype(np.intp)] = 1.0
        return observation

    def draw(self, copy: int) -> NDArray[np.uint8]:
        assert self.draws is not None
        said, right = (int(value) for value in self.state[1:, copy])
        step, lag = int(self.steps[copy]), self.lag
        canvas = Canvas(560, 208, left=-0.7, right=COLUMNS - 0.3, bottom=-2.35)
        for x, age in canvas.tape(COLUMNS, lag + 1, step):
            symbol = int(self.symbols(age, np.array([copy]), self.draws)[0])
            colour = "dark" if age == 0 else "cool" if age == lag else "rail" if age < lag else "ground"
            _tile(canvas, symbol, x, 0.0, colour)
            if age == lag:  # its answer is due
                canvas.box(x, -1.05, 0.84, 0.84, "cool", round_by=0.12)
                canvas.box(x, -1.05, 0.74, 0.74, "paper", round_by=0.08)
            elif age == lag + 1:  # its answer was given
                _tile(canvas, said, x, -1.05, "ground")
                canvas.mark(x + 0.36, -1.45, said == symbol)
        answers = max(0, step - lag)
        canvas.tally(COLUMNS, -2.05, self.length - lag, answers, right)
        return canvas.picture()


def _tile(canvas: Canvas, symbol: int, x: float, y: float, colour: str) -> None:
    canvas.box(x, y, 0.84, 0.84, colour, round_by=0.12)
    size = min(0.1, 0.7 / (4 * len(str(symbol)) - 1))
    canvas.number(symbol, x, y, size, "dark" if colour == "ground" else "light")


class SingleRecall(SingleGame):
    """One copy of recall as a plain environment."""

    game = Recall
