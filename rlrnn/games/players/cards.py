"""Players of the games of cards that are written, not learned: perfect memory, none, and chance."""

from collections.abc import Callable
from math import comb

import numpy as np

from rlrnn.games.array_game import Array
from rlrnn.games.cards import Autoencode, CountRecall, RepeatPrevious
from rlrnn.games.players.base import Script, random_player


def other_suit(game: RepeatPrevious) -> Script:
    """Without memory: answers a suit that it does not observe, of which one card more is left.

    Any other card may be the one asked for, and no observation depends on it: no player without
    memory is right more often than 13 times out of 51 (of one deck).
    """
    if game.k == 1:
        return lambda observations: observations.argmax(axis=1)
    return lambda observations: (observations.argmax(axis=1) + 1) % 4


def queue(game: RepeatPrevious) -> Script:
    """Keeps the last k suits in a queue; plays one episode."""
    suits: list[Array] = []  # [B] each, oldest first

    def play(observations: Array) -> Array:
        suits.append(observations.argmax(axis=1))
        return suits.pop(0) if len(suits) >= game.k else suits[0]

    return play


def likely_count(game: CountRecall) -> Script:
    """Without memory: says the count that is the likeliest over an episode, given the two kinds that it sees.

    The t cards dealt before the one seen are any t of the others, so that the count among them is
    hypergeometric, and all kinds are alike: no player without memory wins more.
    """
    cards, each = game.cards, game.cards // game.kinds

    def likeliest(same: int) -> int:
        chances = [  # that the count is n, summed over the steps before which t cards were dealt
            sum(
                comb(each - same, n - same) * comb(cards - 1 - each + same, t - n + same) / comb(cards - 1, t)
                for t in range(n - same, cards - 1)
            )
            for n in range(same, each + 1)
        ]
        return same + int(np.argmax(chances))

    other, own = likeliest(0), likeliest(1)
    return lambda observations: np.where(_two(observations)[0] == _two(observations)[1], own, other)


def counter(game: CountRecall) -> Script:
    """Keeps a count of every kind; plays one episode."""
    counts = np.zeros((game.num_envs, game.kinds), np.int64)
    copies = np.arange(game.num_envs)

    def play(observations: Array) -> Array:
        dealt, asked = _two(observations)
        counts[copies, dealt] += 1
        counted: Array = counts[copies, asked]
        return counted

    return play


def echo(game: Autoencode) -> Script:
    """Without memory: says the suit that it sees, which is right once, then the 0 that it sees ever after.

    The first answer alone is seen with its own suit. Where that is 0 it looks like all others, of which 0 is
    right as often as any suit: no player without memory wins more.
    """
    return lambda observations: observations[:, 2:].argmax(axis=1)


def stack(game: Autoencode) -> Script:
    """Keeps all suits and says them from the last to the first; plays one episode."""
    suits: list[Array] = []  # [B] each, of every step so far

    def play(observations: Array) -> Array:
        step = len(suits)
        suits.append(observations[:, 2:].argmax(axis=1))
        return suits[min(step, 2 * (game.cards - 1) - step)]

    return play


def _two(observations: Array) -> tuple[Array, Array]:
    """The kinds dealt and asked for, [B] each."""
    kinds = observations.shape[1] // 2
    return observations[:, :kinds].argmax(axis=1), observations[:, kinds:].argmax(axis=1)


REPEAT_PREVIOUS: dict[str, Callable[[RepeatPrevious], Script]] = {
    "random": random_player,
    "other_suit": other_suit,
    "queue": queue,
}
COUNT_RECALL: dict[str, Callable[[CountRecall], Script]] = {
    "random": random_player,
    "likely_count": likely_count,
    "counter": counter,
}
AUTOENCODE: dict[str, Callable[[Autoencode], Script]] = {
    "random": random_player,
    "echo": echo,
    "stack": stack,
}
