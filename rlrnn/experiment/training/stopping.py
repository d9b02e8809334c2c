"""Ctrl-C and SIGTERM: the agent is saved first, and a second Ctrl-C meanwhile prints that."""

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


class Terminated(KeyboardInterrupt):
    """SIGTERM, which a scheduler sends to a job some time before it is killed."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is in this block what Ctrl-C is: it raises ``Terminated``, once, and more of them are ignored.

    Only in the main thread, as no other may, and only where SIGTERM would end the process: a handler of the
    user's own, or one of a scheduler's library, stays.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) in (_terminated, _ignored):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(
        signal.SIGTERM, _ignored
    )  # the scheduler repeats itself, and what is saved now must be whole
    raise Terminated


def _ignored(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, no program that is started meanwhile inherits it."""


@contextmanager
def undisturbed(what: str | None) -> Iterator[None]:
    """Print what is being saved, and protect it: one Ctrl-C is ignored, a second one ends the block.

    Without a text every Ctrl-C is ignored; so is SIGTERM where it would raise an exception (``terminable``).
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

    usual, terminates = signal.signal(signal.SIGINT, pressed), signal.getsignal(signal.SIGTERM) is _terminated
    if terminates:
        signal.signal(signal.SIGTERM, _ignored)
    try:
        _tell(what)
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if terminates:
            signal.signal(signal.SIGTERM, _terminated)


def _tell(what: str | None) -> None:
    if what is not None:
        tell(f"rlrnn: {what}", file=sys.stderr)
