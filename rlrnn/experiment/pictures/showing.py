"""Pictures as data: what games draw as pixels, and files that a notebook and a report show."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlrnn.errors import EnvironmentFault

Pixels = NDArray[np.uint8]  # [height, width, 3]

TYPES = {
    ".png": "image/png", ".svg": "image/svg+xml", ".gif": "image/gif", ".mp4": "video/mp4",
}  # fmt: skip


def rgb(image: Any) -> Pixels:
    """What a game draws as [height, width, 3]: greys and colours, what is transparent on white."""
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if 0 in pixels.shape or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise EnvironmentFault(
            f"the game draws a picture of shape {pixels.shape}: render() should return [height, width, 3], "
            "whole numbers from 0 to 255."
        )
    picture = Image.fromarray(pixels.astype(np.uint8))
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def embedded(path: Path, words: str) -> str:
    """A picture or a film as HTML that holds all of it."""
    kind, data = TYPES[path.suffix], base64.b64encode(path.read_bytes()).decode("ascii")
    if kind.startswith("video"):
        return f'<video controls src="data:{kind};base64,{data}"></video>'
    return f'<img alt="{escape(words)}" src="data:{kind};base64,{data}">'


if TYPE_CHECKING:
    Base = Path
else:
    Base = type(Path())  # before Python 3.12, Path itself cannot be derived from


class Picture(Base):
    """The path of a picture that was written; a notebook shows the picture itself."""

    points: tuple[float, ...] = ()  # of the episodes that a film shows

    def _repr_html_(self) -> str | None:
        known = self.suffix in TYPES and self.is_file()
        return embedded(Path(self), self.name) if known else None
