"""The logs of a training, which a resumed one goes on with where its checkpoint left them."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from rlrnn import runs


class Log:
    """A CSV file that grows row by row; of an older one the header and ``kept`` rows stay, the rest goes."""

    def __init__(self, path: Path, kept: int | None = None) -> None:
        self.path = path
        self.rows = kept or 0
        if kept is not None:
            lines = rows_of(path)[: 1 + kept]
            with runs.replacing(path) as part:
                part.write_text("".join(lines), encoding="utf-8")
        self.file = path.open("w" if kept is None else "a", newline="", encoding="utf-8")

    def write_row(self, row: Sequence[Any]) -> None:
        """Add a row; it reaches the disk by ``sync`` at the latest."""
        csv.writer(self.file, lineterminator="\n").writerow(row)
        self.rows += 1

    def sync(self) -> int:
        """Bring everything to the disk; the number of rows there."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.rows

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def rows_of(path: Path) -> list[str]:
    """The lines of a log, header first, without a last one that was cut short."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines(keepends=True)


class EpisodeLog(Log, BaseCallback):
    """One row for every finished episode, brought to the file after every rollout."""

    def __init__(self, path: Path, kept: int | None = None) -> None:
        BaseCallback.__init__(self)
        Log.__init__(self, path, kept)
        if kept is None:
            self.file.write(",".join(runs.EPISODE_FIELDS) + "\n")

    def _on_step(self) -> bool:
        for b in np.flatnonzero(self.locals["dones"]):
            episode = self.locals["infos"][b]["episode"]
            self.write_row([self.num_timesteps, float(episode["r"]), int(episode["l"])])
        return True

    def _on_rollout_end(self) -> None:
        self.file.flush()


class ProgressLog(Log, KVWriter):
    """SB3's training log, one row per update; a column that comes later makes the file anew."""

    def __init__(self, path: Path, kept: int | None = None) -> None:
        super().__init__(path, kept)
        self.columns: list[str] = []
        if kept:
            self.columns = next(csv.reader(rows_of(path)), [])

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Add a row of what was recorded since the last one."""
        values = filter_excluded_keys(key_values, key_excluded, "csv")
        if new := sorted(values.keys() - set(self.columns)):
            self._widen([*self.columns, *new])
        self.write_row([values.get(column, "") for column in self.columns])
        self.file.flush()

    def _widen(self, columns: list[str]) -> None:
        self.file.close()
        with self.path.open(newline="", encoding="utf-8") as file:
            rows: list[Mapping[str, Any]] = list(csv.DictReader(file))
        with runs.replacing(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self.columns = columns
        self.file = self.path.open("a", newline="", encoding="utf-8")
