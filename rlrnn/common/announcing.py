"""A line for the user while numba compiles, which takes some seconds and looks like standing still."""

from __future__ import annotations

import functools
import sys
from typing import Any

_ours: set[str] = set()  # modules of compiled functions


def announce(module: str) -> None:
    """Say so, once in a process, when functions of this module are compiled."""
    _ours.add(module)
    _listen()


@functools.cache
def _listen() -> None:
    from numba.core import event

    class Announcement(event.Listener):
        made = False

        def on_start(self, event: Any) -> None:
            dispatcher = event.data["dispatcher"]
            if self.made or dispatcher.py_func.__module__ not in _ours:
                return
            self.made = True
            kept = dispatcher.stats.cache_path is not None
            how = "once" if kept else "anew in each process (set NUMBA_CACHE_DIR to a folder that keeps them)"
            print(f"rlrnn: compiling its kernels for this machine, {how}: some seconds ...", file=sys.stderr)

        def on_end(self, event: Any) -> None: ...

    event.register("numba:compile", Announcement())
