"""What the games' compiled versions share: how they are made, and whether they are there."""

import functools
import importlib
import os
from types import ModuleType
from typing import Any

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
        return importlib.import_module(module)
    except ImportError:  # there is no numba, or it refuses this numpy
        return None
