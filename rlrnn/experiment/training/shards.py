"""Equal parts of a list of seeds or trials, one for each process of a job array."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rlrnn.errors import UserError

T = TypeVar("T")
ALL = "all"

# By what schedulers tell a process which of how many it is: number, first, last, step, and how many there
# are. PBS and LSF do not tell how many, so that nothing is taken from PBS_ARRAY_INDEX and LSB_JOBINDEX.
SCHEDULERS = {
    "SLURM_ARRAY_TASK_ID": (
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
        "SLURM_ARRAY_TASK_COUNT",
    ),
    "SGE_TASK_ID": ("SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE", None),
}


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``, counted from 1."""

    index: int = 1
    count: int = 1
    source: str = ""  # the variable of a scheduler that it was read from

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """Its part of a list: each item is in one part, and the sizes of parts differ by one at most."""
        return list(items[self.index - 1 :: self.count])


def parse(text: str) -> Shard:
    """The shard that "3/10" means, or "all"."""
    index, _, count = text.partition("/")
    if text == ALL:
        return Shard()
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(
            f"the shard {text!r} is none: give I/N, such as 3/10 for the third of ten parts, counted from 1, "
            "or all."
        )
    return Shard(int(index), int(count))


def scheduled(environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard of this process in the job array of a scheduler; all where it is in none."""
    for source, (first, last, step, count) in SCHEDULERS.items():
        names = [source, first, last, *([step] if step in environment else []), *([count] if count else [])]
        told = [environment.get(name, "") for name in names]
        if not told[0].isdecimal():  # SGE says "undefined" where there is no array
            continue
        given = dict(zip(names, told, strict=True))
        if not all(text.isdecimal() for text in told):
            missing = next(name for name, text in given.items() if not text.isdecimal())
            raise UserError(
                f"{source} is {told[0]}, but {missing} is {given[missing] or 'not set'}: say which part of "
                "the seeds this process trains by --shard I/N, or --shard all."
            )
        number, begin, end = (int(given[name]) for name in (source, first, last))
        stride = max(1, int(given.get(step, "1")))
        parts = (end - begin) // stride + 1
        regular = begin <= number <= end and (number - begin) % stride == 0
        if not regular or (count and int(given[count]) != parts):
            raise UserError(
                f"{source} is {number} of an array without regular steps from {begin} to {end}: say which "
                "part of the seeds this process trains by --shard I/N, or --shard all."
            )
        return Shard((number - begin) // stride + 1, parts, source if parts > 1 else "")
    return Shard()


def in_words(numbers: Sequence[int]) -> str:
    """Seeds 0, 10 and 20."""
    if not numbers:
        return "none of the seeds"
    if len(numbers) == 1:
        return f"seed {numbers[0]}"
    if len(numbers) > 12:
        return f"seeds {', '.join(map(str, numbers[:5]))}, ... {numbers[-1]} ({len(numbers)} in all)"
    return f"seeds {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
