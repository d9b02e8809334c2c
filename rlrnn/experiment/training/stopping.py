"""Ctrl-C: the agent is saved first, and a second Ctrl-C meanwhile prints that."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rlrnn.common.texts import tell

PATIENCE = 2  # presses while something is saved: the first waits, the second ends it


@contextmanager
def undisturbed(what: str | None) -> Iterator[None]:
    """Print what is being saved, and protect it: one Ctrl-C is ignored, a second one ends the block.

    Without a text every Ctrl-C is ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # no other may set a signal's handler
        _tell(what)
        yield
        return
    presses = 0

    def pressed(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if what is not None and presses >= PATIENCE:
            raise KeyboardInterrupt
        if what is not None:  # past Python's own buffers, which may be in use
            os.write(2, b"rlrnn: still saving; Ctrl-C once more ends it unsaved.\n")

    usual = signal.signal(signal.SIGINT, pressed)
    try:
        _tell(what)
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _tell(what: str | None) -> None:
    if what is not None:
        tell(f"rlrnn: {what}", file=sys.stderr)
