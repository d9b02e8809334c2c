"""What the games' compiled versions share: how they are made, and whether they are there."""

import functools
import importlib
import os
from types import ModuleType
from typing import Any

from rlrnn.announcing import announce

# Whoever changes these must change every page of kernels, too: numba looks at no other for what it has kept.
OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


def compile(function: Any) -> Any:  # noqa: A001
    """Machine code for this processor, kept on disk for the next process."""
    import numba

    try:
        return numba.njit(function, cache=True, **OPTIONS)
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(function, **OPTIONS)


@functools.cache
def kernel(module: str) -> ModuleType | None:
    """This module of compiled functions; None without numba or with RLRNN_FAST=0 in the environment."""
    if os.environ.get("RLRNN_FAST", "1") == "0":
        return None
    try:
        import numba  # noqa: F401
    except ImportError:  # there is none, or it refuses this numpy
        return None
    announce(module)
    return importlib.import_module(module)
