"""Whether something fits into the machine's memory, checked before any of it is taken."""

from __future__ import annotations

import os
from pathlib import Path

from rlrnn.errors import UserError

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def memory() -> int | None:
    """Bytes of the machine's memory, or of the part that this process may have; None if unknown."""
    try:
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # not on every system
        return None
    for path in LIMITS:
        try:
            limits.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return min(limits)


def check_fits(what: str, needed: int, lower: str) -> None:
    """Refuse what needs more bytes than there are; ``lower`` says which settings bring that about."""
    available = memory()
    if available is not None and needed > available:
        raise UserError(
            f"{what} would need {readable(needed)} of memory, but this machine has {readable(available)}: "
            f"lower {lower}."
        )


def readable(size: float) -> str:
    """Bytes as people read them: 41.2 GB."""
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {UNITS[-1]}"
