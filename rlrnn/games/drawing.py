"""A canvas in a game's own units: drawn at twice the size and scaled down, so that edges are smooth."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COLOURS = {
    "paper": (247, 245, 240),
    "ground": (219, 213, 201),
    "rail": (176, 172, 164),
    "dark": (52, 60, 74),
    "light": (247, 245, 240),
    "warm": (240, 138, 72),
    "cool": (84, 144, 200),
    "leaf": (104, 168, 108),
    "sun": (238, 200, 84),
    "night": (21, 25, 36),
    "line": (56, 64, 84),
    "fog": (150, 161, 182),
}
# Five rows of three bits for each digit.
_DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717")
_FINE = 2  # pixels drawn per pixel shown, in each direction

Point = tuple[float, float]
Array = NDArray[Any]


class Canvas:
    """width x height pixels over a world from `left` to `right` and upwards from `bottom`, in units."""

    def __init__(
        self, width: int, height: int, left: float, right: float, bottom: float, paper: str = "paper"
    ) -> None:
        self._size = (width, height)
        self._scale = _FINE * width / (right - left)
        self._left, self._top = left, bottom + _FINE * height / self._scale
        self._image = Image.new("RGB", (_FINE * width, _FINE * height), COLOURS[paper])
        self._pen = ImageDraw.Draw(self._image, "RGBA")

    def _at(self, point: Point) -> Point:
        return ((point[0] - self._left) * self._scale, (self._top - point[1]) * self._scale)

    def disc(self, x: float, y: float, radius: float, colour: str, alpha: float = 1.0) -> None:
        """A filled circle, seen through where alpha is below 1."""
        (px, py), r = self._at((x, y)), radius * self._scale
        self._pen.ellipse((px - r, py - r, px + r, py + r), (*COLOURS[colour], round(255 * alpha)))

    def ring(self, x: float, y: float, radius: float, colour: str, thickness: float) -> None:
        """A circle that is not filled."""
        (px, py), r = self._at((x, y)), (radius + thickness / 2) * self._scale
        self._pen.ellipse(
            (px - r, py - r, px + r, py + r), None, COLOURS[colour], round(thickness * self._scale)
        )

    def line(self, points: Sequence[Point], colour: str, thickness: float) -> None:
        """A line through the points with round ends."""
        width = max(1, round(thickness * self._scale))
        self._pen.line([self._at(point) for point in points], COLOURS[colour], width, joint="curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, thickness / 2, colour)

    def shape(self, points: Sequence[Point], colour: str) -> None:
        """A filled polygon."""
        self._pen.polygon([self._at(point) for point in points], COLOURS[colour])

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, round_by: float = 0.0
    ) -> None:
        """A filled rectangle about its centre, with rounded corners."""
        left, top = self._at((x - width / 2, y + height / 2))
        right, bottom = self._at((x + width / 2, y - height / 2))
        self._pen.rounded_rectangle((left, top, right, bottom), round_by * self._scale, COLOURS[colour])

    def number(self, value: int, x: float, y: float, size: float, colour: str) -> None:
        """A number in block digits 3 x 5 blocks of `size` each, centred at (x, y)."""
        text = str(value)
        left = x - (4 * len(text) - 1) * size / 2
        for place, digit in enumerate(text):
            for row, bits in enumerate(_DIGITS[int(digit)]):
                for column in range(3):
                    if int(bits) >> (2 - column) & 1:
                        self.box(
                            left + (4 * place + column + 0.5) * size, y + (2 - row) * size, size, size, colour
                        )

    def veil(self, opacity: Callable[[Array, Array], Array], colour: str) -> None:
        """Cover what is drawn with a colour as opaque as `opacity(x, y)` says, smoothly from 0 to 1."""
        width, height = (size // 4 for size in self._size)  # coarse: a veil has no sharp edges
        x = self._left + (np.arange(width) + 0.5) * _FINE * 4 / self._scale
        y = self._top - (np.arange(height) + 0.5)[:, None] * _FINE * 4 / self._scale
        mask = Image.fromarray(np.rint(255 * opacity(x, y)).astype(np.uint8))  # [height, width]
        self._image.paste(COLOURS[colour], mask=mask.resize(self._image.size, Image.Resampling.BILINEAR))

    def mark(self, x: float, y: float, right: bool) -> None:
        """A tick or a cross."""
        self.disc(x, y, 0.2, "cool" if right else "warm")
        if right:
            self.line([(x - 0.09, y), (x - 0.03, y - 0.08), (x + 0.1, y + 0.08)], "light", 0.05)
        else:
            self.line([(x - 0.07, y - 0.07), (x + 0.07, y + 0.07)], "light", 0.05)
            self.line([(x - 0.07, y + 0.07), (x + 0.07, y - 0.07)], "light", 0.05)

    def tally(self, columns: int, y: float, answers: int, answered: int, right: int) -> None:
        """A bar under so many columns: of all the answers of an episode those answered so far, and right."""
        left, width = -0.42, columns - 0.16
        for part, colour in ((answers, "ground"), (answered, "warm"), (right, "cool")):
            if part:
                self.box(left + width * part / answers / 2, y, width * part / answers, 0.16, colour)

    def tape(self, columns: int, oldest: int, step: int) -> Iterator[tuple[int, int]]:
        """(column, age) of what came by this step, the newest last; dots between the ends of a longer one."""
        ages: list[int | None] = list(range(columns - 1, -1, -1))
        if oldest >= columns:
            ages = [oldest, oldest - 1, oldest - 2, None, *ages[4:]]
        for x, age in enumerate(ages):
            if age is None:
                for dot in (-0.25, 0.0, 0.25):
                    self.disc(x + dot, 0.0, 0.05, "rail")
            elif age <= step:
                yield x, age

    def picture(self) -> NDArray[np.uint8]:
        """The canvas as pixels [height, width, 3]."""
        return np.asarray(self._image.resize(self._size, Image.Resampling.BOX))
