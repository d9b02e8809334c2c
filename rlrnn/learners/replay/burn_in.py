"""Rows without their first steps, over which a memory is brought up to date with the present weights."""

from __future__ import annotations

import torch
from torch import Tensor

from rlrnn.common.batches import map_arrays
from rlrnn.learners.replay.buffer import Rows
from rlrnn.network.sensors import Observation
from rlrnn.network.stream import Stream


def after_burn_in(
    stream: Stream, rows: Rows, state: Tensor, burn_in: int
) -> tuple[Observation, Tensor, Tensor]:
    """Observation [L + 1, R, ...], start [L + 1, R] and the stream's own memory [R, S] before them.

    No gradient enters the first ``burn_in`` steps (Kapturowski et al. 2019, section 3).
    """
    observation, start = rows.observation, rows.start
    burn_in = min(burn_in, len(rows.action) - 1)
    if not burn_in:
        return observation, start, state
    first = map_arrays(lambda a: a[:burn_in], observation)
    with torch.no_grad():
        own = stream.last(stream.features(first), start[:burn_in], state)
    state = state.clone()
    state[:, stream.columns] = own
    return map_arrays(lambda a: a[burn_in:], observation), start[burn_in:], state
