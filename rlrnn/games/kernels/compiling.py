"""What the games' compiled versions share: how they are made, and whether they are there."""

import functools
import importlib
from types import ModuleType
from typing import Any

from rlrnn.common.announcing import announce
from rlrnn.common.compilation import can_compile, compiled

# Whoever changes these must change every page of kernels, too: numba looks at no other for what it has kept.
OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


def compile(function: Any) -> Any:  # noqa: A001
    """Machine code for this processor, kept on disk for the next process."""
    return compiled(function, **OPTIONS)


@functools.cache
def kernel(module: str) -> ModuleType | None:
    """This module of compiled functions; None where numba cannot compile."""
    if not can_compile():
        return None
    announce(module)
    return importlib.import_module(module)
