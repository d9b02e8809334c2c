"""A run that another process took over is left to it (see ``leases``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.experiment.runs import leases
from rlrnn.experiment.runs.leases import LostLease
from rlrnn.experiment.runs.logs import Log


class StillHeld(BaseCallback):
    """Ends a training whose run another process took over: the first of the callbacks, before any writes."""

    may_be_late = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.lease = leases.lease_of(folder)

    def _on_rollout_start(self) -> None:
        self._on_step()

    def _on_step(self) -> bool:
        if self.lease is not None:
            self.lease.check()
        return True

    def _on_rollout_end(self) -> None:
        self._on_step()


def check_held(folder: Path, logs: Iterable[Log]) -> None:
    """Before a training that was stopped is saved: nothing is written to a run that another took over."""
    try:
        leases.check(folder)
    except LostLease:
        for log in logs:
            log.abandon()
        raise
