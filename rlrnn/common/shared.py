"""Arrays that several processes see: a file that is mapped into memory, on a memory disk where there is one.

Unlike ``multiprocessing.shared_memory`` it is deleted as soon as all have it open, so that nothing is left
behind however a process ends, and its room is taken at once: a full disk would else kill whoever writes.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Any

import numpy as np

from rlrnn.common.batches import map_arrays, new_batch

MEMORY_DISK = "/dev/shm"
ALIGNED = 64  # bytes; each array begins at a multiple


def shared_file(space: Any, rows: int) -> str | None:
    """A file with room for observations [rows, ...] of a space; None where there is none to be had."""
    if not hasattr(os, "posix_fallocate"):
        return None
    size = _layout(space, rows)[1]
    for folder in (MEMORY_DISK, tempfile.gettempdir()):
        with suppress(OSError):
            handle, path = tempfile.mkstemp(prefix="rlrnn-", dir=folder)
            try:
                os.posix_fallocate(handle, 0, size)
            except OSError:
                os.unlink(path)
                raise
            finally:
                os.close(handle)
            return path
    return None


def shared_batch(path: str, space: Any, rows: int) -> Any:
    """The file as a batch of observations [rows, ...], whose arrays all processes read and write."""
    starts, size = _layout(space, rows)
    content = np.memmap(path, np.uint8, "r+", shape=(size,))

    def view(array: Any, start: int) -> Any:
        return content[start : start + array.nbytes].view(array.dtype).reshape(array.shape)

    return map_arrays(view, _forms(space, rows), starts)


def bytes_of(space: Any, rows: int) -> int:
    """Of a batch of observations [rows, ...]."""
    return _layout(space, rows)[1]


def _forms(space: Any, rows: int) -> Any:
    """Arrays of the right shapes and types that take no room."""
    return new_batch(space, rows, make=lambda shape, dtype: np.broadcast_to(np.zeros((), dtype), shape))


def _layout(space: Any, rows: int) -> tuple[Any, int]:
    """Where each array begins, and how many bytes all of them take."""
    end = 0

    def place(array: Any) -> int:
        nonlocal end
        start, end = end, end + -(-array.nbytes // ALIGNED) * ALIGNED
        return start

    return map_arrays(place, _forms(space, rows)), max(end, 1)
