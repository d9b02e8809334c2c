"""Recorded play: whole episodes, in memory and in a file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rlrnn.common.batches import join
from rlrnn.common.files import write_whole
from rlrnn.errors import FileFault, UserError
from rlrnn.learners.ppo.rollout import Arrays

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Episode:
    """T steps of play: row t holds the observation before action t and the reward after it."""

    observations: Arrays  # [T, ...], or a dict of such
    actions: Array  # [T, ...] as the game takes them
    rewards: Array  # [T] points
    terminated: bool = True  # false: cut off by a limit of time

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def points(self) -> float:
        """What the episode won."""
        return float(np.sum(self.rewards))


def listed(episodes: Any) -> list[Episode]:
    """Episodes as a list of at least one; anything else is refused."""
    items = list(episodes) if isinstance(episodes, Iterable) else [episodes]
    for each in items:
        if not isinstance(each, Episode):
            raise UserError(f"{each!r} is no Episode: give a list of them, as rlrnn.record makes it.")
    if not items:
        raise UserError("there are no episodes to learn from: record at least one.")
    return items


def save_episodes(path: str | Path, episodes: Sequence[Episode]) -> Path:
    """Write episodes as one .npz, without pickle; returns the file, which gets that suffix if it has none."""
    if not episodes:
        raise UserError("there are no episodes to save: record at least one.")
    observations = join([episode.observations for episode in episodes])
    arrays = {"observations": observations}
    if isinstance(observations, dict):
        arrays = {f"observations/{key}": part for key, part in observations.items()}
    arrays["actions"] = np.concatenate([episode.actions for episode in episodes])
    arrays["rewards"] = np.concatenate([episode.rewards for episode in episodes])
    arrays["lengths"] = np.array([len(episode) for episode in episodes])
    arrays["terminated"] = np.array([episode.terminated for episode in episodes])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".npz")
    write_whole(path, buffer.getvalue())
    return path


def load_episodes(path: str | Path) -> list[Episode]:
    """What ``save_episodes`` wrote."""
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            ends = np.cumsum(file["lengths"])[:-1]
            parts = {
                name: np.split(file[name], ends)
                for name in file.files
                if name not in ("lengths", "terminated")
            }
            terminated = file["terminated"].tolist()
    except FileNotFoundError:
        raise FileFault(f"there is no {path}: rlrnn record, or save_episodes, writes one.") from None
    except Exception as error:
        raise FileFault(
            f"cannot read episodes from {path} ({error}): give a file of save_episodes."
        ) from error
    prefix = "observations/"
    keys = [name.removeprefix(prefix) for name in parts if name.startswith(prefix)]
    return [
        Episode(
            {key: parts[prefix + key][i] for key in keys} if keys else parts["observations"][i],
            parts["actions"][i],
            parts["rewards"][i],
            ended,
        )
        for i, ended in enumerate(terminated)
    ]
