"""The generators that all share: torch's, numpy's and Python's own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def undisturbed_noise() -> Iterator[None]:
    """What the block draws from the generators that all share, as a game may, is drawn again after it."""
    shared = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(shared[0])
        np.random.set_state(shared[1])  # noqa: NPY002
        random.setstate(shared[2])
