"""Multi-armed bandit: which arm pays best must be found out anew in every episode."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_number, check_whole
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness


class MultiarmedBandit(ArrayGame):
    """Each arm pays with a chance of its own, drawn evenly from [0, 1) for the episode.

    A pull that pays wins 1 / steps_per_point, any other loses as much. Observed is whether the last one paid,
    as Gymnasium flattens it: (1, 0) for no, as at the start, and (0, 1) for yes; which arm was pulled, the
    wrapper `previous` adds. POPGym's MultiarmedBandit (Morad et al. 2023), where an episode has as many
    steps as make a point (`max_episode_steps`).
    """

    metadata = ArrayGame.metadata | {"render_fps": 10}
    single_observation_space = Box(0.0, 1.0, (2,))

    def __init__(self, arms: int = 10, steps_per_point: int = 200, **kwargs: Any) -> None:
        check_whole("arms", arms, 1)
        check_number("steps_per_point", steps_per_point, 1)
        self.arms, self.steps_per_point = arms, steps_per_point
        self.variables = (
            "pulled",  # the last arm; -1 before the first
            "paid",  # 1 if it paid
            "won",  # pulls of this episode that paid
            *(f"chance{arm}" for arm in range(arms)),  # that it pays
        )
        self.single_action_space = Discrete(arms)
        super().__init__(**kwargs)

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:3, copies] = np.array([[-1], [0], [0]])
        self.state[3:, copies] = draws.uniform(copies, self.arms)

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        paid = draws.uniform(self.everyone, 1)[0] < self.state[3 + actions, self.everyone]
        self.state[:3] = actions, paid, self.state[2] + paid
        reward = np.where(paid, 1.0, -1.0) / self.steps_per_point
        return reward, np.zeros(self.num_envs, np.bool_)

    def observe(self) -> Array:
        paid = self.state[1]
        return np.stack((1.0 - paid, paid), axis=1, dtype=np.float32, casting="same_kind")

    def draw(self, copy: int) -> NDArray[np.uint8]:
        pulled, paid, won, *chances = self.state[:, copy].tolist()
        step = int(self.steps[copy])
        canvas = Canvas(560, 280, left=-0.6, right=self.arms - 0.4, bottom=-0.15 * self.arms)
        tall, unit = 0.31 * self.arms, 0.014 * self.arms
        for arm, chance in enumerate(chances):
            canvas.box(arm, tall / 2, 0.7, tall, "ground", round_by=0.06)
            colour = "rail" if arm != pulled else "cool" if paid else "warm"
            canvas.box(arm, chance * tall / 2, 0.7, chance * tall, colour)
            canvas.disc(arm, -4 * unit, 2 * unit, colour if arm == pulled else "ground")
        width = self.arms - 0.3
        for part, shade in ((max(step, self.steps_per_point), "ground"), (step, "warm"), (won, "cool")):
            share = width * part / max(step, self.steps_per_point)
            if part:
                canvas.box(-0.35 + share / 2, -9 * unit, share, 1.4 * unit, shade)
        return canvas.picture()


class SingleMultiarmedBandit(SingleGame):
    """One copy of the bandit as a plain environment."""

    game = MultiarmedBandit
