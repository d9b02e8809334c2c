"""Players of the bandit that are written, not learned: what reflexes, statistics and planning are worth."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.bandit import MultiarmedBandit
from rlrnn.games.players.base import Script, random_player


def homebody(game: MultiarmedBandit) -> Script:
    """Sees payouts alone and has no memory: pulls arm 0 after a payout, any other after none.

    In the long run a share g / (1 - f + g) of all pulls pays, where f and g are the chances of a payout after
    one and after none: convex in f, for which one arm serves best, and concave in g, the mean of many.
    """
    draws = np.random.default_rng(0)
    return lambda observations: np.where(
        observations[:, 1] > 0, 0, draws.integers(min(1, game.arms - 1), game.arms, len(observations))
    )


def stayer(game: MultiarmedBandit) -> Script:
    """Knows its last arm alone: stays after a payout and goes to the next after none (Robbins 1952)."""
    arm = np.zeros(game.num_envs, np.int64)
    steps = np.zeros(game.num_envs, np.int64)

    def play(observations: Array) -> Array:
        arm[:] = (arm + ((observations[:, 1] == 0) & (steps > 0))) % game.arms
        steps[:] += 1
        return arm.copy()

    return play


def thompson(game: MultiarmedBandit) -> Script:
    """Counts, and pulls the best arm of one draw from what it knows (Thompson 1933); plays one episode."""
    draws = np.random.default_rng(0)
    return _statistician(game, lambda step, paid, unpaid: draws.beta(paid + 1, unpaid + 1))


def gittins(game: MultiarmedBandit) -> Script:
    """Counts, and pulls the arm of the highest finite-horizon index; plays one episode."""
    indices = gittins_indices(game.max_episode_steps or game.steps_per_point)
    return _statistician(game, lambda step, paid, unpaid: indices[step][paid, unpaid])


@lru_cache(maxsize=1)
def gittins_indices(steps: int, rivals: int = 51) -> tuple[Array, ...]:
    """For each step what an arm is worth that paid s times and f times did not, [step + 1, step + 1] by s, f.

    It is the known chance of a rival at which it no longer matters whether this arm is tried again before
    going over to the rival for the rest of the `steps` (Gittins 1979; with a horizon: Lattimore 2016). Found
    backwards for many rivals at once.
    """
    chances = np.linspace(0.0, 1.0, rivals)  # [R] chances of a payout
    gain = np.zeros(
        (steps + 1, steps + 1, rivals)
    )  # [s, f, R] of this arm over the rival, from step t + 1 on
    indices = []
    for t in reversed(range(steps)):
        s, f = np.ogrid[: t + 1, : t + 1]
        chance = ((s + 1) / (s + f + 2))[..., None]  # the mean of Beta(s + 1, f + 1)
        gains = chance * (1 + gain[1 : t + 2, : t + 1]) + (1 - chance) * gain[: t + 1, 1 : t + 2] - chances
        last = np.clip((gains > 0).sum(axis=-1, keepdims=True) - 1, 0, rivals - 2)  # the gain falls with R
        above, below = (np.take_along_axis(gains, last + i, axis=-1)[..., 0] for i in (0, 1))
        indices.append(
            chances[last[..., 0]] + above / np.maximum(above - below, 1e-12) * (chances[1] - chances[0])
        )
        gain = np.maximum(gains, 0.0)
    return tuple(indices[::-1])


def oracle(game: MultiarmedBandit) -> Script:
    """Reads which arm pays best."""
    return lambda observations: game.state[3:].argmax(axis=0)


def _statistician(game: MultiarmedBandit, value: Callable[[int, Array, Array], Array]) -> Script:
    """Pulls the arm of the highest value, given the step and how often each arm [B, arms] paid or not."""
    copies = np.arange(game.num_envs)
    counts = np.zeros((2, game.num_envs, game.arms), np.int64)  # not paid, paid
    pulled: list[Array] = []

    def play(observations: Array) -> Array:
        if pulled:
            counts[observations.argmax(axis=1), copies, pulled[-1]] += 1
        pulled.append(value(len(pulled), counts[1], counts[0]).argmax(axis=1))
        return pulled[-1]

    return play


PLAYERS: dict[str, Callable[[MultiarmedBandit], Script]] = {
    "random": random_player,
    "homebody": homebody,
    "stayer": stayer,
    "thompson": thompson,
    "gittins": gittins,
    "oracle": oracle,
}
