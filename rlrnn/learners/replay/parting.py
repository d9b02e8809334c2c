"""How the rows of a minibatch are parted into blocks that threads may share: a function of sizes alone."""

from __future__ import annotations

from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.sharing import halved

BLOCKS = 4  # at most
BLOCK_WORK = 5e7  # floating-point operations that make a block worth its overhead
BLOCK_ROWS = 4  # that it has at least: kernels work on several at once


def parts_of(rows: Rows, work: float) -> list[Rows]:
    """The rows in 1, 2 or 4 blocks; ``work``: floating-point operations of a step."""
    most = min(BLOCKS, len(rows) / BLOCK_ROWS, rows.weight.numel() * work / BLOCK_WORK)
    parts = halved(len(rows), most)
    return [rows.select(part) for part in parts] if len(parts) > 1 else [rows]
