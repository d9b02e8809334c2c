"""Standard output for one JSON document: whatever else is printed there, by a game, say, goes to stderr."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import TextIO


@contextmanager
def document() -> Iterator[TextIO]:
    """The stream for the document, while it alone goes to standard output."""
    usual = sys.stdout
    usual.flush()
    with ExitStack() as block:
        block.enter_context(redirect_stdout(sys.stderr))
        stream = usual
        with suppress(OSError, ValueError):  # one of the two is no file of the system, as in a notebook
            numbers = usual.fileno(), sys.stderr.fileno()
            stream = block.enter_context(open(os.dup(numbers[0]), "w", encoding=usual.encoding))
            block.callback(_lead, stream.fileno(), numbers[0], usual)
            os.dup2(numbers[1], numbers[0])  # libraries print there without Python
        yield stream
        stream.flush()


def _lead(source: int, target: int, usual: TextIO) -> None:
    """Standard output as it was; what was printed before is led away, however late."""
    usual.flush()
    with suppress(Exception):  # C's own buffers, where there is such a function
        ctypes.CDLL(None).fflush(None)
    os.dup2(source, target)
