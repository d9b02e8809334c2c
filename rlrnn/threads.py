"""How many threads torch works with: one, where splitting small products would only make them wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """One torch thread on a CPU while the block runs; the user's own number comes back after it.

    The products of a recurrent network are small and many, and torch loses by splitting them.
    """
    before = torch.get_num_threads()
    if device.type != "cpu" or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
