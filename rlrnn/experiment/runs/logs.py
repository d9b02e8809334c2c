"""The logs of a training, which a resumed one continues from its checkpoint."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from rlrnn.common.files import naming, read_text, replacing, sentence
from rlrnn.common.texts import tell
from rlrnn.errors import FileFault
from rlrnn.experiment.runs.contents import EPISODE_FIELDS, EPISODES

CHUNK = 1 << 20  # bytes that are read at once
STEPS = "time/total_timesteps"  # the column of SB3's log that says how far the training was


class Log:
    """A CSV file that grows row by row; of an older one the header and ``kept`` rows stay, the rest goes.

    Rows that cannot be written, as on a full disk, wait until they can: they end no training.
    """

    def __init__(self, path: Path, kept: int = 0) -> None:
        self.path = path
        self.rows = kept
        self._complained = False
        with naming(path):
            self._file = path.open("r+b" if kept else "wb", buffering=0)
            if kept:
                self._file.truncate(end_of_row(path, kept))
            # Rows that wait, and where in the file they go: one thing, which no Ctrl-C can leave half done.
            self._waiting = b"", self._file.seek(0, os.SEEK_END)

    def write_row(self, row: Sequence[Any]) -> None:
        """Add a row; it reaches the disk by ``sync`` at the latest."""
        self._add(_line(row))
        self.rows += 1

    def flush(self) -> None:
        """Bring the rows to the file, or say why they have to wait."""
        try:
            self._write()
        except OSError as error:
            self._complain(error)

    def sync(self) -> int:
        """Bring everything to the disk; the number of rows there."""
        self._write()
        with naming(self.path):
            os.fsync(self._file.fileno())
        return self.rows

    def close(self) -> None:
        """Bring the rows to the file, and close it."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def abandon(self) -> None:
        """Close the file without the rows that wait: it is another process's by now."""
        self._file.close()

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            tell(f"rlrnn: rows of a log wait to be written: {sentence(error)}", file=sys.stderr)
        self._complained = True

    def _write(self) -> None:
        with naming(self.path):
            rows, begin = self._waiting
            while rest := rows[self._file.tell() - begin :]:
                self._file.write(rest)  # perhaps a part of it, where the disk is nearly full
            self._waiting = b"", self._file.tell()
        self._complained = False

    def _add(self, line: bytes) -> None:
        rows, begin = self._waiting
        self._waiting = rows + line, begin


class EpisodeLog(Log, BaseCallback):
    """One row for every finished episode, brought to the file after every rollout."""

    may_be_late = True

    def __init__(self, path: Path, kept: int = 0) -> None:
        BaseCallback.__init__(self)
        Log.__init__(self, path, kept)
        if not kept:
            self._add(_line(EPISODE_FIELDS))
            self.flush()

    def _on_step(self) -> bool:
        for b in np.flatnonzero(self.locals["dones"]):
            episode = self.locals["infos"][b]["episode"]
            self.write_row([self.num_timesteps, float(episode["r"]), int(episode["l"])])
        return True

    def _on_rollout_end(self) -> None:
        self.flush()


class ProgressLog(Log, KVWriter):
    """SB3's training log, one row per update; a column that comes later makes the file anew.

    ``iterations``: those before, where a resumed training begins to count again.
    """

    def __init__(self, path: Path, kept: int = 0, iterations: int = 0) -> None:
        super().__init__(path, kept)
        self.iterations = iterations
        self.columns: list[str] = columns_of(path) if kept else []

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Add a row of what was recorded since the last one."""
        values = filter_excluded_keys(key_values, key_excluded, "csv")
        if "time/iterations" in values:
            values["time/iterations"] += self.iterations
        if new := sorted(values.keys() - set(self.columns)):
            try:
                self._widen([*self.columns, *new])
            except OSError as error:  # this row goes without them
                self._complain(error)
        self.write_row([values.get(column, "") for column in self.columns])
        self.flush()

    def _widen(self, columns: list[str]) -> None:
        """The rows so far get empty fields."""
        if not self.columns:
            self._add(_line(columns))
        else:
            self._write()
            rows: list[Mapping[str, Any]] = list(csv.DictReader(read_text(self.path).splitlines()))
            with replacing(self.path) as part:
                part.write_bytes(
                    b"".join(map(_line, [columns, *([row.get(c) or "" for c in columns] for row in rows)]))
                )
            self._file.close()
            self._file = self.path.open("r+b", buffering=0)
            self._waiting = b"", self._file.seek(0, os.SEEK_END)
        self.columns = columns


def end_of_row(path: Path, row: int) -> int:
    """How many bytes a log's header and so many rows take; fewer whole rows are a ``FileFault``."""
    lines, size = row + 1, 0
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            ends = chunk.count(b"\n")
            if ends >= lines:
                at = -1
                for _ in range(lines):
                    at = chunk.index(b"\n", at + 1)
                return size + at + 1
            lines, size = lines - ends, size + len(chunk)
    raise FileFault(f"{path} has lost {min(lines, row):,} of its {row:,} rows.")


def check_log(path: Path, kept: int, steps: int) -> None:
    """A log whose first ``kept`` rows are not those of so many steps of a training is a ``FileFault``."""
    if not kept:
        return
    if not path.exists():
        raise FileFault(f"there is no {path}.")
    end_of_row(path, kept)
    if path.name == EPISODES:
        episodes = read_episodes(path, kept)
        if episodes[-1, 0] > steps:
            raise FileFault(
                f"{path} has an episode that ended at step {episodes[-1, 0]:,.0f}, and the checkpoint is of "
                f"step {steps:,}."
            )
    elif STEPS not in columns_of(path):
        raise FileFault(f"{path} is damaged: its first line names no column {STEPS}.")


def columns_of(path: Path) -> list[str]:
    """The names in a log's first line."""
    with path.open("rb") as file:
        line = file.readline(CHUNK)
    try:
        return next(csv.reader([line.decode("utf-8")]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFault(f"{path} is damaged: its first line is no names of columns ({error}).") from None


def read_episodes(path: Path, rows: int | None = None) -> NDArray[np.float64]:
    """episodes.csv as [episodes, 3]: step at its end, points, length; of the first ``rows`` or all.

    A last line that was cut short is left out. Steps rise, and all are numbers, else it is a ``FileFault``.
    """
    if not path.exists():
        raise FileFault(f"there is no {path}; the run is incomplete.")
    whole = _count_lines(path) - 1 if rows is None else rows
    if whole < 0:
        raise FileFault(f"{path} is damaged: it is empty, but should begin with {','.join(EPISODE_FIELDS)}.")
    if whole == 0:
        return np.zeros((0, 3))
    how: dict[str, Any] = {"delimiter": ",", "comments": None, "skiprows": 1, "ndmin": 2}
    try:
        with warnings.catch_warnings(action="ignore"):  # of empty lines, which are reported below
            table = np.loadtxt(path, max_rows=whole, encoding="latin-1", **how)  # whatever the bytes are
        if table.shape == (whole, 3) and np.isfinite(table).all() and (np.diff(table[:, 0]) >= 0).all():
            return table
    except ValueError:
        pass
    number, line = _first_fault(path)
    raise FileFault(
        f"{path} is damaged: line {number} is {line!r}, but should be {','.join(EPISODE_FIELDS)} in numbers, "
        "the step no smaller than before."
    )


def _first_fault(path: Path) -> tuple[int, str]:
    """Number and beginning of the first line that holds no episode."""
    before = -math.inf
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                step, points, length = map(float, line.split(b","))
                good = step >= before and math.isfinite(step + points + length) and b"_" not in line
            except ValueError:
                good = number == 1  # the header
            if not good:
                break
            before = step if number > 1 else before
    return number, line[:60].decode("utf-8", "replace").strip()


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(CHUNK), b""))


def _line(row: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8")
