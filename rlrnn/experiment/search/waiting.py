"""What a search leaves to other processes: runs that they hold, and those that their processors began."""

from __future__ import annotations

import sys
import time
from collections.abc import Hashable, Sequence

from rlrnn.common.texts import tell
from rlrnn.experiment.training.rounding import OtherProcessor

PAUSE = 1.0  # seconds between two looks at what other processes have done
ALONE = 60.0  # seconds in which no other process has held a run, or finished one: there is none


class Waiting:
    """For others to do what cannot be done here."""

    def __init__(self) -> None:
        self._said = False
        self._for: Hashable = None
        self._since: float | None = None  # when nobody was seen at work first

    def leave(self, why: OtherProcessor) -> None:
        """Say once that runs which were begun on another kind of processor are left to others."""
        if not self._said:
            self._said = True
            tell(f"rlrnn: {why} It is left to processes there, as all like it are.", file=sys.stderr)

    def pause(self, missing: Hashable, left: Sequence[OtherProcessor], others: bool) -> None:
        """Until the next look: this is missing, of which these runs are left, and others are at work or not.

        ``OtherProcessor`` where only such runs are left and nobody has been at work for long.
        """
        if others or not left or missing != self._for:
            self._for, self._since = missing, None
        elif self._since is None:
            self._since = time.monotonic()
        elif time.monotonic() - self._since >= ALONE:
            raise OtherProcessor(f"{left[0]} No process of its kind is at work on this study.")
        time.sleep(PAUSE)
