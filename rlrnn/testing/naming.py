"""A name in a registry for a class under test, for the time of the check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rlrnn.testing.failing import running


@contextmanager
def named(kind: Any, registry: dict[str, Any], register: Callable[[str, Any], None]) -> Iterator[str]:
    """The name that a class is registered by, or one of its own, which is forgotten after the block."""
    known = [name for name, other in registry.items() if other is kind]
    if known:
        yield known[0]
        return
    name = str(getattr(kind, "__name__", "mine")).strip("<>").lower()
    while name in registry or not name.isidentifier():
        name = f"{name}_"
    with running(f"registering {name}"):
        register(name, kind)
    try:
        yield name
    finally:
        del registry[name]
