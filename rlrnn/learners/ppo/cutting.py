"""How a rollout becomes minibatches of whole rows, each step once per epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Cut:
    """T steps of B environments as rows of L steps of one environment, R rows in a minibatch."""

    n_steps: int  # T
    n_envs: int  # B
    length: int  # L
    rows: int  # R

    @classmethod
    def of(cls, n_steps: int, n_envs: int, batch_size: int | None, seq_len: int | None) -> Cut:
        """By what users say: ``batch_size`` steps in a minibatch (None: all), ``seq_len`` steps in a row."""
        longest = batch_size if seq_len is None else seq_len
        length = n_steps if longest is None else min(n_steps, longest)
        whole = cls(n_steps, n_envs, length, n_envs * -(-n_steps // length))
        return whole if batch_size is None else replace(whole, rows=max(1, round(batch_size / length)))

    def first(self, order: np.random.Generator) -> int:
        """Steps of each environment's first row: drawn for every epoch, so that rows are cut elsewhere."""
        if self.length == self.n_steps:
            return self.length
        return int(order.integers(1, self.length, endpoint=True))

    def minibatches(self, order: np.random.Generator, n_rows: int) -> Iterator[npt.NDArray[np.int64]]:
        """The rows of each minibatch: all ``n_rows`` once, in as many and as equal parts as asked for.

        Where the first and the last row of an environment are both short, they count as one.
        """
        wholes = self.n_envs * -(-self.n_steps // self.length)
        for rows in np.array_split(order.permutation(wholes), -(-wholes // self.rows)):
            partners = wholes + rows
            yield np.concatenate((rows, partners[partners < n_rows]))
