"""A canvas in a game's own units: drawn at twice the size and scaled down, so that edges are smooth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COLOURS = {
    "paper": (247, 245, 240),
    "rail": (176, 172, 164),
    "dark": (52, 60, 74),
    "light": (247, 245, 240),
    "warm": (222, 122, 62),
    "cool": (72, 126, 176),
    "ground": (219, 213, 201),
    "green": (84, 150, 110),
}
_FINE = 2  # pixels drawn per pixel shown, in each direction

Point = tuple[float, float]


class Canvas:
    """width x height pixels over a world from `left` to `right` and upwards from `bottom`, in units."""

    def __init__(self, width: int, height: int, left: float, right: float, bottom: float) -> None:
        self._size = (width, height)
        self._scale = _FINE * width / (right - left)
        self._left, self._top = left, bottom + _FINE * height / self._scale
        self._image = Image.new("RGB", (_FINE * width, _FINE * height), COLOURS["paper"])
        self._pen = ImageDraw.Draw(self._image)

    def _at(self, point: Point) -> Point:
        return ((point[0] - self._left) * self._scale, (self._top - point[1]) * self._scale)

    def disc(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle."""
        (px, py), r = self._at((x, y)), radius * self._scale
        self._pen.ellipse((px - r, py - r, px + r, py + r), COLOURS[colour])

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

    def picture(self) -> NDArray[np.uint8]:
        """The canvas as pixels [height, width, 3]."""
        return np.asarray(self._image.resize(self._size, Image.Resampling.BOX))
