"""Several single environments stepped as one batch by worker processes.

A worker holds the same `Copies` as the parent would: how many there are cannot change what is played.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from rlrnn.common import processes
from rlrnn.common.batches import join
from rlrnn.common.processes import Process, end, gather
from rlrnn.envs.engines.serial import Copies, Description, Maker, Observations, Step
from rlrnn.errors import UserError


def sendable(makers: Sequence[Maker], name: str = "", first: int = 0) -> bytes:
    """The makers as bytes that a worker can read."""
    return processes.sendable(partial(Copies, list(makers), name, first), name or "the environments")


class Workers:
    """The copies that the makers make, spread evenly over worker processes."""

    def __init__(self, makers: Sequence[Maker], name: str, n_workers: int) -> None:
        bounds = [len(makers) * k // n_workers for k in range(n_workers + 1)]
        self._parts = [slice(low, high) for low, high in itertools.pairwise(bounds)]
        self._workers: list[Process] = []
        self._actions: Any = None
        try:
            for part in self._parts:
                own, label = list(makers[part]), name or "the environments"
                holds = f"copies {part.start} to {part.stop - 1} of {label}"
                self._workers.append(Process(partial(Copies, own, name, part.start), label, holds))
            gather(self._workers)
            for worker in self._workers:
                worker.send("describe")
            parts: list[Description] = gather(self._workers)
            if any(other[1:3] != parts[0][1:3] for other in parts):
                raise UserError(f"The copies of {parts[0].name} differ in their spaces; make them alike.")
            self._description = parts[0]
        except BaseException:
            self.close()
            raise

    def describe(self) -> Description:
        """What all copies have in common."""
        return self._description

    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]
    ) -> tuple[Observations, list[dict[str, Any]]]:
        """Begin an episode in every copy; returns (observations [B, ...], infos [B])."""
        for worker, part in zip(self._workers, self._parts, strict=True):
            worker.send("reset", seeds[part], options[part])
        answers = gather(self._workers)
        return join([first for first, _ in answers]), [info for _, infos in answers for info in infos]

    def start(self, actions: Any) -> None:
        """Take the actions [B, ...] of the next step."""
        self._actions = actions

    def finish(self) -> Step:
        """Play the step with the actions that `start` took."""
        for worker, part in zip(self._workers, self._parts, strict=True):
            worker.send("step", self._actions[part])
        steps: list[Step] = gather(self._workers)
        return Step(
            join([step.observations for step in steps]),
            np.concatenate([step.rewards for step in steps]),
            np.concatenate([step.terminated for step in steps]),
            np.concatenate([step.truncated for step in steps]),
            [info for step in steps for info in step.infos],
            join([step.finals for step in steps]),
            [info for step in steps for info in step.reset_infos],
        )

    def read(self, copies: Sequence[int], attribute: str) -> list[Any]:
        """The attribute of these copies."""
        return self._ask("read", copies, attribute)

    def has(self, copies: Sequence[int], attribute: str) -> list[bool]:
        """Whether these copies have the attribute."""
        return self._ask("has", copies, attribute)

    def write(self, copies: Sequence[int], attribute: str, value: Any) -> list[bool]:
        """Set the attribute of these copies."""
        return self._ask("write", copies, attribute, value)

    def call(self, copies: Sequence[int], method: str, args: Any, kwargs: Any) -> list[Any]:
        """What the method of each of these copies returns."""
        return self._ask("call", copies, method, args, kwargs)

    def wrapped(self, copies: Sequence[int], wrapper: type) -> list[bool]:
        """Whether these copies have such a wrapper."""
        return self._ask("wrapped", copies, wrapper)

    def close(self) -> None:
        """Close every copy and end every worker; doing it again does nothing."""
        end(self._workers)

    def _ask(self, verb: str, copies: Sequence[int], *arguments: Any) -> list[Any]:
        results: dict[int, Any] = {}
        by_worker = [[i for i in copies if part.start <= i < part.stop] for part in self._parts]
        for worker, part, own in zip(self._workers, self._parts, by_worker, strict=True):
            worker.send(verb, [i - part.start for i in own], *arguments)
        for own, answers in zip(by_worker, gather(self._workers), strict=True):
            results.update(zip(own, answers, strict=True))
        return [results[i] for i in copies]
