"""Modules of a package by their dotted names, imported when they are asked for: rlrnn.games.players.tmaze."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType


def modules_of(package: str) -> Callable[[str], ModuleType]:
    """What that package takes as its ``__getattr__``."""

    def module(name: str) -> ModuleType:
        if not name.startswith("_") and find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return module
