"""Several single environments stepped as one batch by workers: processes here, or actors of a Ray cluster.

A worker holds the same `Copies` as the parent would: how many there are, and where, cannot change what is
played. One that dies is replaced by another that plays the same again, since the last reset with seeds, where
that is not too long ago; what it then sees must be what the other saw.
"""

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from rlrnn.common import messages, ray_actors
from rlrnn.common.batches import copied, join, map_arrays, parts_of, put, take
from rlrnn.common.messages import values
from rlrnn.common.modules import Modules
from rlrnn.common.processes import Processes
from rlrnn.common.scheduling import Pool
from rlrnn.common.shared import bytes_of, shared_batch, shared_file
from rlrnn.common.texts import tell
from rlrnn.envs.engines.serial import Copies, Description, Maker, Observations, Step
from rlrnn.errors import EnvironmentFault, UserError

LARGE = 1 << 15  # bytes of a batch of observations from which on it is shared memory, not a message
LONG = 10_000  # commands that are played again for a worker that died; after more, none is
CHANGING = "reset", "step", "call", "write"  # what the copies do later depends on these
READING = "read", "has", "wrapped"
Command: TypeAlias = tuple[str, Sequence[tuple[Any, ...]]]  # a verb, and each worker's arguments
# Makes a pool of what each worker is to make, what that is called, and what each holds.
PoolMaker: TypeAlias = Callable[[Sequence[Callable[[], Any]], str, Sequence[str]], Pool]


def sendable(makers: Sequence[Maker], name: str = "", first: int = 0) -> bytes:
    """The makers as bytes that a worker can read."""
    return messages.sendable(partial(Copies, list(makers), name, first), name or "the environments")


def cluster(makers: Sequence[Maker], name: str, workers: int, on: str, imports: Sequence[str]) -> "Workers":
    """The copies in actors of the Ray cluster that ``on`` names, which import these modules first.

    Of 0 workers there is one for each CPU of the cluster, but never more than copies.
    """
    ray_actors.connect(on)
    modules = Modules.travelling(imports)

    def pool(parts: Sequence[Callable[[], Any]], label: str, holds: Sequence[str]) -> Pool:
        sent = [partial(_imported, modules, messages.sendable(part, label)) for part in parts]
        return ray_actors.Actors(sent, label, holds, keeps=False)

    return Workers(makers, name, min(workers or ray_actors.cpus(), len(makers)), pool)


def _imported(modules: Modules, payload: bytes) -> Any:
    """What is read when the modules that it refers to are known."""
    modules()
    return messages.made(payload)


class Workers:
    """The copies that the makers make, spread evenly over workers.

    Large observations of workers on this machine are shared memory, which they write and only the parent
    reads.
    """

    def __init__(
        self, makers: Sequence[Maker], name: str, n_workers: int, pool: PoolMaker = Processes
    ) -> None:
        bounds = [len(makers) * k // n_workers for k in range(n_workers + 1)]
        self._size, label = len(makers), name or "the environments"
        self._parts = [slice(low, high) for low, high in itertools.pairwise(bounds)]
        self._actions: Any = None
        self._shared: Any = None  # observations [B, ...], where they are large
        self._last: Any = None  # observations [B, ...] as they were last seen
        self._past: list[Command] | None = []  # all since a reset with seeds; None: not known, or too much
        self._workers: list[Any] = []
        self._pool = pool(
            [partial(Copies, list(makers[part]), name, part.start) for part in self._parts],
            label,
            [f"copies {part.start} to {part.stop - 1} of {label}" for part in self._parts],
        )
        try:
            for place in range(n_workers):
                self._workers.append(self._pool.start(place))
            self._answers(self._workers)
            parts: list[Description] = self._exchange("describe", [()] * n_workers)
            if any(other[1:3] != parts[0][1:3] for other in parts):
                raise UserError(f"The copies of {parts[0].name} differ in their spaces; make them alike.")
            self._description = parts[0]
            if self._pool.here:
                self._share()
        except BaseException:
            self.close()
            raise

    def _answers(self, workers: Sequence[Any]) -> list[Any]:
        """To their last commands; all are there before the first error is raised."""
        self._pool.wait_all(workers)
        return values([worker.answer() for worker in workers])

    def _share(self) -> None:
        space, n = self._description.observation_space, self._size
        path = shared_file(space, n) if bytes_of(space, n) >= LARGE else None
        if path is None:
            return
        try:
            before, self._shared = self._shared, shared_batch(path, space, n)
            if before is not None:  # what the others have just written
                put(self._shared, slice(None), before)
            self._exchange("share", [(path, n)] * len(self._workers))
        finally:
            os.unlink(path)

    @property
    def pids(self) -> list[int]:
        """The workers' processes."""
        return [worker.pid for worker in self._workers]

    def describe(self) -> Description:
        """What all copies have in common."""
        return self._description

    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]
    ) -> tuple[Observations, list[dict[str, Any]]]:
        """Begin an episode in every copy; returns (observations [B, ...], infos [B])."""
        if all(seed is not None for seed in seeds):
            self._past = []
        answers = self._exchange("reset", [(seeds[part], options[part]) for part in self._parts])
        infos = [info for _, infos in answers for info in infos]
        return self._observations([first for first, _ in answers]), infos

    def start(self, actions: Any) -> None:
        """Take the actions [B, ...] of the next step."""
        self._actions = actions

    def finish(self) -> Step:
        """Play the step with the actions that `start` took."""
        steps: list[Step] = self._exchange("step", [(self._actions[part],) for part in self._parts])
        return Step(
            self._observations([step.observations for step in steps]),
            np.concatenate([step.rewards for step in steps]),
            np.concatenate([step.terminated for step in steps]),
            np.concatenate([step.truncated for step in steps]),
            [info for step in steps for info in step.infos],
            join([step.finals for step in steps]),
            [info for step in steps for info in step.reset_infos],
        )

    def _observations(self, parts: list[Observations]) -> Observations:
        """Those of all copies [B, ...], which nobody writes again."""
        observations = join(parts) if self._shared is None else copied(self._shared)
        self._last = copied(observations)  # whoever gets the others may write into them
        return observations

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
        self._pool.end(self._workers)

    def _ask(self, verb: str, copies: Sequence[int], *arguments: Any) -> list[Any]:
        results: dict[int, Any] = {}
        by_worker = [[i for i in copies if part.start <= i < part.stop] for part in self._parts]
        own_numbers = [
            [i - part.start for i in own] for own, part in zip(by_worker, self._parts, strict=True)
        ]
        answers = self._exchange(verb, [(own, *arguments) for own in own_numbers])
        for own, found in zip(by_worker, answers, strict=True):
            results.update(zip(own, found, strict=True))
        return [results[i] for i in copies]

    def _exchange(self, verb: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Let all do the same, each with its own arguments; one that died is replaced, where that can be."""
        past, changes = self._past, verb in CHANGING and arguments[0][1:2] != ("render",)
        if changes:
            self._past = None  # what an interrupt breaks off, some have done and others not
        for worker, own in zip(self._workers, arguments, strict=True):
            worker.send(verb, *own)
        self._pool.wait_all(self._workers)
        restorable = past is not None and verb in (*CHANGING, *READING)
        dead = [k for k, worker in enumerate(self._workers) if worker.died and restorable]
        answers = [worker.answer() for worker in self._workers]
        for k in dead:
            self._replace(k, past or [])
        if dead and self._shared is not None:
            self._share()
        for k in dead:
            self._workers[k].send(verb, *arguments[k])
            self._pool.wait_all([self._workers[k]])
            answers[k] = self._workers[k].answer()
        well = all(success for success, _ in answers)
        if changes and well and past is not None and len(past) < LONG:  # after a fault none is played again
            past.append((verb, arguments))
            self._past = past
        return values(answers)

    def _replace(self, k: int, past: Sequence[Command]) -> None:
        """Another worker in the place of one that died, which has played all that the other had."""
        lost = self._pool.lost(self._workers[k])
        self._pool.end([self._workers[k]])
        self._workers[k] = self._pool.start(k)
        self._answers([self._workers[k]])
        self._workers[k].send("replay", [(verb, own[k]) for verb, own in past])
        (observations,) = self._answers([self._workers[k]])
        if observations is not None:
            same = map_arrays(np.array_equal, observations, take(self._last, self._parts[k]))
            if not all(parts_of(same).values()):
                raise EnvironmentFault(
                    f"{lost}, and its game plays otherwise when its steps are replayed, so that no other "
                    "worker can take its place."
                )
        steps = sum(verb == "step" for verb, _ in past)
        words = f"{lost}: another one has replayed its {steps:,} steps, and takes its place."
        tell(f"rlrnn: {words}", file=sys.stderr)
