"""Three games of cards: say the one of k ago, how many were such, and all of them backwards."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_choice, check_whole
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.card_pictures import draw_count, draw_pile, draw_tape
from rlrnn.games.randomness import Randomness

DECK = 52  # cards
KINDS = {"colors": 2, "suits": 4, "ranks": 13}  # what may be told apart: so many kinds, equally many of each


class CardGame(ArrayGame):
    """Shuffled cards are dealt one at a time; an answer that counts wins or loses 1 / their number.

    All right is 1, all wrong -1. No observation depends on an action. The rules are those of POPGym (Morad et
    al. 2023), to the step; its observations are as Gymnasium flattens them: one-hot.
    """

    metadata = ArrayGame.metadata | {"render_fps": 4}
    packs: ClassVar[int] = 1  # shuffled apart from each other

    def __init__(self, decks: int, kind: str, hots: tuple[int, ...], actions: int, **kwargs: Any) -> None:
        self.cards = DECK * decks  # in a pack
        self.kinds = KINDS[kind]
        self.hots = hots  # values that each number of an observation can take
        self.variables = (
            "said",  # the last action; -1 before the first
            "right",  # answers of this episode that were right
            *(f"card{pack}_{i}" for pack in range(self.packs) for i in range(self.cards)),  # kind
        )
        self.single_observation_space = Box(0.0, 1.0, (sum(hots),))
        self.single_action_space = Discrete(actions)
        super().__init__(**kwargs)
        self.first = np.cumsum((0, *hots[:-1]))  # where the feature of each number's 0 stands

    length: int  # steps of an episode
    answers: int  # that count

    @abstractmethod
    def due(self) -> Array:
        """The right answers [B] now; -1 where nothing counts."""

    @abstractmethod
    def numbers(self) -> tuple[Array, ...]:
        """The numbers of the observations now, [B] each."""

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[0, copies], self.state[1, copies] = -1, 0
        for pack in range(self.packs):
            order = draws.uniform(copies, self.cards).argsort(axis=0)  # [cards, N]
            self.state[2 + pack * self.cards : 2 + (pack + 1) * self.cards, copies] = order % self.kinds

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        due = self.due()
        right = actions == due
        self.state[0] = actions
        self.state[1] += right
        return (2.0 * right - (due >= 0)) / self.answers, self.steps + 1 >= self.length

    def observe(self) -> Array:
        observation = np.zeros((self.num_envs, sum(self.hots)), np.float32)
        for first, number in zip(self.first, self.numbers(), strict=True):
            observation[self.everyone, first + number] = 1.0
        return observation

    def card(self, step: Array, pack: int = 0) -> NDArray[np.intp]:
        """The kinds [B] of the cards that are dealt at these steps, the first at step 0."""
        kinds: Array = self.state[2 + pack * self.cards + step, self.everyone]
        return kinds.astype(np.intp)


class RepeatPrevious(CardGame):
    """A card is dealt at every step; to be said is the suit of the `k`-th last, the newest being the first.

    Thus k = 4 asks for the suit of three steps ago, and k = 1 for the one that is seen.
    """

    def __init__(self, k: int = 4, decks: int = 1, **kwargs: Any) -> None:
        check_whole("decks", decks, 1)
        check_whole("k", k, 1, DECK * decks - 1, ", one less than the cards")
        super().__init__(decks, "suits", (4,), 4, **kwargs)
        self.k, self.length, self.answers = k, self.cards - 1, self.cards - k

    def due(self) -> Array:
        then = self.steps - (self.k - 1)
        return np.where(then >= 0, self.card(np.maximum(then, 0)), -1)

    def numbers(self) -> tuple[Array, ...]:
        return (self.card(self.steps),)

    def draw(self, copy: int) -> NDArray[np.uint8]:
        said, right, *cards = self.state[:, copy].astype(int).tolist()
        return draw_tape(cards, int(self.steps[copy]), self.k, said, right)


class CountRecall(CardGame):
    """A card is dealt and another one asked for at every step: how many such were dealt, the newest included?

    The cards asked for come from a pack of their own, shuffled apart. They are told apart by `kind`: colors,
    suits or ranks.
    """

    packs = 2  # dealt, asked for

    def __init__(self, decks: int = 1, kind: str = "colors", **kwargs: Any) -> None:
        check_whole("decks", decks, 1)
        check_choice("kind", kind, KINDS)
        most = DECK * decks // KINDS[kind]
        super().__init__(decks, kind, (KINDS[kind],) * 2, most + 1, **kwargs)
        self.length = self.answers = self.cards - 1

    def due(self) -> Array:
        same_kind = self.state[2 : 2 + self.cards] == self.card(self.steps, 1)
        dealt = np.arange(self.cards)[:, None] <= self.steps
        count: Array = (same_kind & dealt).sum(0)
        return count

    def numbers(self) -> tuple[Array, ...]:
        return self.card(self.steps), self.card(self.steps, 1)

    def draw(self, copy: int) -> NDArray[np.uint8]:
        said, right, *cards = self.state[:, copy].astype(int).tolist()
        dealt, asked = cards[: self.cards], cards[self.cards :]
        return draw_count(dealt, asked, self.kinds, int(self.steps[copy]), said, right)


class Autoencode(CardGame):
    """All cards are dealt one by one, then their suits are to be said, the last one's first.

    Two numbers are observed: whether cards are being dealt (1) or said (0), and the suit of the card dealt,
    or 0 after all were. The last card comes with 0: it is to be said at once.
    """

    def __init__(self, decks: int = 1, **kwargs: Any) -> None:
        check_whole("decks", decks, 1)
        super().__init__(decks, "suits", (2, 4), 4, **kwargs)
        self.length, self.answers = 2 * self.cards - 1, self.cards

    def due(self) -> Array:
        back = 2 * (self.cards - 1) - self.steps
        return np.where(back < self.cards, self.card(np.clip(back, 0, self.cards - 1)), -1)

    def numbers(self) -> tuple[Array, ...]:
        dealt = self.steps < self.cards
        suit = np.where(dealt, self.card(np.minimum(self.steps, self.cards - 1)), 0)
        return self.steps < self.cards - 1, suit

    def draw(self, copy: int) -> NDArray[np.uint8]:
        said, right, *cards = self.state[:, copy].astype(int).tolist()
        return draw_pile(cards, int(self.steps[copy]), said, right)


class SingleRepeatPrevious(SingleGame):
    """One copy of RepeatPrevious as a plain environment."""

    game = RepeatPrevious


class SingleCountRecall(SingleGame):
    """One copy of CountRecall as a plain environment."""

    game = CountRecall


class SingleAutoencode(SingleGame):
    """One copy of Autoencode as a plain environment."""

    game = Autoencode
