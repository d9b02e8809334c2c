"""Pictures of the games of cards: what was dealt, what is to be said, and how the last answer went."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlrnn.games.drawing import Canvas

Picture = NDArray[np.uint8]
COLUMNS = 8  # cards in a row
SPADE, DIAMOND, CLUB, HEART = range(4)  # black ones are even, red ones odd


def draw_tape(cards: Sequence[int], step: int, k: int, said: int, right: int) -> Picture:
    """The newest cards, the one whose suit is due in blue, and the last answer beneath its card."""
    canvas = Canvas(560, 208, left=-0.7, right=COLUMNS - 0.3, bottom=-2.35)
    for x, age in canvas.tape(COLUMNS, k, step):
        _card(canvas, x, 0.0, 4, cards[step - age], "cool" if age == k - 1 else "ground")
        if age == k - 1:
            _blank(canvas, x, -1.15, 0.5)
        elif age == k:
            _suit(canvas, x, -1.15, 0.5, said)
            canvas.mark(x + 0.34, -1.4, said == cards[step - age])
    canvas.tally(COLUMNS, -2.05, len(cards) - k, max(0, step + 1 - k), right)
    return canvas.picture()


def draw_count(
    dealt: Sequence[int], asked: Sequence[int], kinds: int, step: int, said: int, right: int
) -> Picture:
    """The newest cards dealt, all of the kind that is asked for in blue, and beneath them the questions."""
    canvas = Canvas(560, 260, left=-0.7, right=COLUMNS - 0.3, bottom=-3.1)
    for x in range(COLUMNS):
        then = step - (COLUMNS - 1 - x)
        if then < 0:
            continue
        _card(canvas, x, 0.0, kinds, dealt[then], "cool" if dealt[then] == asked[step] else "ground")
        _card(canvas, x, -1.2, kinds, asked[then], "cool" if then == step else "ground", small=True)
        if then == step - 1:
            canvas.number(said, x, -2.05, 0.07, "dark")
            canvas.mark(x + 0.36, -2.3, said == dealt[: then + 1].count(asked[then]))
        elif then == step:
            _blank(canvas, x, -2.05, 0.5)
    canvas.tally(COLUMNS, -2.8, len(dealt) - 1, step, right)
    return canvas.picture()


def draw_pile(cards: Sequence[int], step: int, said: int, right: int) -> Picture:
    """All cards in the order in which they are dealt, face up once they were; the one to be said in blue."""
    columns, n, apart = 13, len(cards), 1.22
    tall = apart * (n // columns) + 0.6
    canvas = Canvas(560, round(560 / columns * tall), left=-0.7, right=columns - 0.3, bottom=0.66 - tall)
    back = 2 * (n - 1) - step  # the card whose suit is to be said now, once it is one of them
    for i, suit in enumerate(cards):
        x, y = i % columns, -apart * (i // columns)
        if i > min(step, n - 1):
            canvas.box(x, y, 0.62, 0.9, "ground", round_by=0.1)
            continue
        _card(canvas, x, y, 4, suit, "cool" if i == min(step, back) else "ground" if i > back else "rail")
        if i == back + 1 and i < n:
            canvas.mark(x + 0.3, y - 0.4, said == suit)
    canvas.tally(columns, 0.96 - tall, n, max(0, step + 1 - n), right)
    return canvas.picture()


def _card(canvas: Canvas, x: float, y: float, kinds: int, kind: int, frame: str, small: bool = False) -> None:
    """A card that shows what tells it apart: its colour, suit or rank."""
    width, height = (0.5, 0.66) if small else (0.7, 0.96)
    canvas.box(x, y, width, height, frame, round_by=0.1)
    canvas.box(x, y, width - 0.1, height - 0.1, "light", round_by=0.07)
    if kinds == 2:
        canvas.box(x, y, 0.5 * width, 0.55 * height, _ink(kind), round_by=0.05)
    elif kinds == 4:
        _suit(canvas, x, y, 0.6 * width, kind)
    else:
        canvas.number(kind + 1, x, y, 0.07 * width / 0.7, "dark")


def _ink(kind: int) -> str:
    return "warm" if kind % 2 else "dark"


def _suit(canvas: Canvas, x: float, y: float, size: float, suit: int) -> None:
    """The suit's sign, `size` high."""
    ink, r = _ink(suit), size / 4
    if suit == DIAMOND:
        canvas.shape([(x - 1.5 * r, y), (x, y + 2 * r), (x + 1.5 * r, y), (x, y - 2 * r)], ink)
        return
    if suit == CLUB:
        for across, up in ((-1.05, -0.25), (1.05, -0.25), (0.0, 1.1)):
            canvas.disc(x + across * r, y + up * r, 0.95 * r, ink)
    else:
        up = 1 if suit == HEART else -1
        for across in (-0.92, 0.92):
            canvas.disc(x + across * r, y + 0.75 * up * r, r, ink)
        canvas.shape(
            [(x - 1.72 * r, y + 0.2 * up * r), (x + 1.72 * r, y + 0.2 * up * r), (x, y - 2 * up * r)], ink
        )
        canvas.disc(x, y + 0.2 * up * r, 0.6 * r, ink)
    if suit != HEART:
        canvas.shape([(x, y), (x - 0.7 * r, y - 2 * r), (x + 0.7 * r, y - 2 * r)], ink)


def _blank(canvas: Canvas, x: float, y: float, size: float) -> None:
    """Where the answer will stand."""
    canvas.box(x, y, size, size, "cool", round_by=0.1)
    canvas.box(x, y, size - 0.08, size - 0.08, "paper", round_by=0.06)
