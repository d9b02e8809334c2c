"""Work that threads may share: tasks that do not depend on each other, and the sum of what they leave.

How work is parted is a function of sizes alone, and sums are taken in order: any number of threads gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

from rlrnn.common.threads import workers

T = TypeVar("T")

SLICE = 2**16  # numbers of all blocks' gradients that are added at once, within a core's cache


class Sharing:
    """So many threads, this one among them."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pool = workers(threads) if threads > 1 else None

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all tasks, done here and in other threads: who is free takes the next."""
        queue, lock = iter(enumerate(tasks)), Lock()
        results: dict[int, T] = {}

        def work() -> None:
            with torch.no_grad():
                while True:
                    with lock:
                        number, task = next(queue, (0, None))
                    if task is None:
                        return
                    results[number] = task()

        helpers = min(self.threads, len(tasks)) - 1
        others = [self.pool.submit(work) for _ in range(helpers)] if self.pool is not None else []
        work()
        for other in others:
            other.result()
        return [results[number] for number in range(len(tasks))]

    def add(self, total: Tensor, others: Sequence[Tensor]) -> None:
        """Other blocks' vectors to that of the first, in order."""

        def add(first: int) -> None:
            part = slice(first, first + SLICE)
            whole = total[part]
            for other in others:
                whole += other[part]

        if others:
            self.run([partial(add, first) for first in range(0, len(total), SLICE)])


def halved(rows: int, most: float) -> list[slice]:
    """So many rows in 1, 2, 4 ... parts of equal size, or nearly: as many as ``most`` allows."""
    count = 1
    while 2 * count <= min(rows, most):
        count *= 2
    bounds = [rows * i // count for i in range(count + 1)]
    return [slice(*bounds[i : i + 2]) for i in range(count)]
