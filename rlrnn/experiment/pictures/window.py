"""A window on the screen, by pygame: pictures into it, keys out of it."""

from __future__ import annotations

import importlib
import os
import sys
from types import TracebackType
from typing import Any

from rlrnn.errors import MissingExtraError, UserError
from rlrnn.experiment.pictures.showing import Pixels

LARGEST = 900  # pixels of a side
DISPLAYS = "DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"  # one of them is set where there is a screen


class Closed(Exception):
    """The window was closed, or Escape pressed."""


def screen() -> bool:
    """Whether there is a display to open a window on."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in DISPLAYS)


class Window:
    """A window of the size of what is shown first; a context manager that closes it."""

    def __init__(self, title: str, rate: float) -> None:
        self.title, self.rate = title, rate  # pictures per second
        self.held: set[str] = set()  # names of the keys that are down
        self.pressed: list[str] = []  # keys that went down since the last picture, in order
        self._surface: Any = None
        if not screen():
            raise UserError(
                "there is no display to open a window on: rlrnn watch records a film instead (ssh -X "
                "forwards a display)."
            )
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            self._pygame: Any = importlib.import_module("pygame")
        except ImportError:
            raise MissingExtraError(
                'a window needs an extra: pip install "rlrnn[play]"; rlrnn watch records a film without.'
            ) from None

    def __enter__(self) -> Window:
        self._pygame.display.init()
        self._clock = self._pygame.time.Clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pygame.display.quit()

    def show(self, pixels: Pixels) -> None:
        """Show a picture [height, width, 3] for as long as one lasts, and read the keys meanwhile."""
        pygame, size = self._pygame, (pixels.shape[1], pixels.shape[0])
        if self._surface is None:
            try:
                self._surface = pygame.display.set_mode(size)
            except pygame.error as error:
                raise UserError(f"no window can be opened ({error}): rlrnn watch records a film.") from None
            pygame.display.set_caption(self.title)
        picture = pygame.surfarray.make_surface(pixels.swapaxes(0, 1))
        self._surface.blit(pygame.transform.scale(picture, self._surface.get_size()), (0, 0))
        pygame.display.flip()
        self._clock.tick(self.rate)
        self._read()

    def _read(self) -> None:
        pygame = self._pygame
        self.pressed = []
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE):
                raise Closed
            if event.type == pygame.KEYDOWN:
                self.held.add(pygame.key.name(event.key))
                self.pressed.append(pygame.key.name(event.key))
            elif event.type == pygame.KEYUP:
                self.held.discard(pygame.key.name(event.key))
