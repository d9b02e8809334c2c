"""Whether numba can compile, and what it compiles: kept on disk where there is room, else made anew.

A folder of machine code that cannot be read or written, damaged or full, is no reason to end a training.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from typing import Any

SWITCH = "RLRNN_FAST"  # "0" in the environment: as if the extra [fast] were not installed


@functools.cache
def can_compile() -> bool:
    """Whether numba is there, not switched off, and starts; why it does not is said once, on stderr."""
    if os.environ.get(SWITCH, "1") == "0" or importlib.util.find_spec("numba") is None:
        return False
    try:
        import numba
    except Exception as error:  # it refuses a numpy that is newer than itself, or its LLVM cannot be loaded
        return _without(f"numba cannot start: {' '.join(str(error).split())}")
    if vars(numba.config)["DISABLE_JIT"]:
        return _without("NUMBA_DISABLE_JIT is set")
    return True


def _without(reason: str) -> bool:
    print(f"rlrnn: doing without its compiled kernels, as {reason}", file=sys.stderr)
    return False


def compiled(function: Any, **options: Any) -> Any:
    """Machine code for this processor, kept on disk for the next process if that can be."""
    import numba

    try:
        made = numba.njit(function, cache=True, **options)
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(function, **options)
    kept = made._cache
    kept.load_overload = _forgiving(kept.load_overload, kept.cache_path)
    kept.save_overload = _forgiving(kept.save_overload, kept.cache_path)
    return made


def _forgiving(exchange: Any, folder: str) -> Any:
    """The same, but with nothing found, or nothing kept, where the folder fails."""

    @functools.wraps(exchange)
    def tried(*arguments: Any) -> Any:
        try:
            return exchange(*arguments)
        except Exception as error:  # of the disk, or of what a damaged file holds
            _tell(folder, " ".join(str(error).split()) or type(error).__name__)
            return None

    return tried


@functools.cache
def _tell(folder: str, reason: str) -> None:
    print(
        f"rlrnn: compiled kernels cannot be kept in {folder} ({reason}), so each process compiles its own: "
        "make room there, delete it, or set NUMBA_CACHE_DIR to another folder",
        file=sys.stderr,
    )
