"""How many threads torch works with: one, where splitting small products would only make them wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

_allowed: list[int] = []  # what the user had set, while the package works with one


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[int]:
    """One torch thread on a CPU while the block runs; the user's own number comes back after it.

    The products of a recurrent network are small and many, and torch loses by splitting them. Yields how
    many threads the user allows: that many may run at a time, each with products of its own.
    """
    before = torch.get_num_threads()
    if device.type != "cpu":
        yield 1
        return
    _allowed.append(_allowed[0] if _allowed else before)
    torch.set_num_threads(1)
    try:
        yield _allowed[-1]
    finally:
        _allowed.pop()
        torch.set_num_threads(before)
