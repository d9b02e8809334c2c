"""Work in pieces, handed out to whoever is free, and handed out again where a worker died.

What a piece's answer is depends on the piece alone, and answers are joined in the order of pieces: how many
workers there are, which of them is faster, and which died changes nothing. Whoever starts workers and waits
for them (processes of this machine, Ray's of many) is a ``Pool``.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlrnn.common.messages import values
from rlrnn.common.texts import tell

TRIES = 5  # workers that die one after another, of one piece or in one place, until that is an error


class Worker(Protocol):
    """Holds one object elsewhere: it is sent one command at a time, and answers it."""

    died: str  # how, where it did before it had answered: "by SIGKILL"; else ""

    @property
    def pending(self) -> bool:
        """Whether the last command has not been answered yet; to be started is the first one."""

    def send(self, verb: str, *arguments: Any) -> None:
        """Send a command: a method of the object and its arguments."""

    def answer(self) -> tuple[bool, Any]:
        """(True, the answer to the last command) or (False, the error), once it has come."""


class Pool(Protocol):
    """Starts workers, of which each place is to hold something, and waits for them."""

    here: bool  # whether workers see this machine's memory

    def start(self, place: int) -> Worker:
        """A worker, which need not be ready yet."""

    def wait(self, workers: Sequence[Any]) -> None:
        """Wait until one of these pending workers is none any more."""

    def wait_all(self, workers: Sequence[Any]) -> None:
        """Wait until none of these workers is pending."""

    def end(self, workers: Sequence[Any]) -> None:
        """Close what they hold and end them; doing it again does nothing."""

    def lost(self, worker: Any) -> str:
        """How a worker that died is called: "The worker process with the games ended by SIGKILL"."""


@dataclass
class _Place:
    """Where one worker works, and after its death the next one."""

    worker: Worker
    starting: bool = True  # it is being made, and has not answered yet
    task: tuple[int, int] | None = None  # (round, piece) that it was sent
    told: int = 0  # the last round whose common arguments it has
    deaths: int = 0  # of workers here, since the last answer


class Scheduler:
    """Hands pieces out to a number of workers."""

    def __init__(self, pool: Pool, workers: int) -> None:
        self.pool = pool
        self._round = 0
        self._places: list[_Place] = []
        try:
            for place in range(workers):
                self._places.append(_Place(pool.start(place)))
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> list[Worker]:
        """Those that work now."""
        return [place.worker for place in self._places]

    def run(self, verb: str, common: Any, pieces: Sequence[Any]) -> list[Any]:
        """What workers answer to ``verb(common, piece)``, in the order of pieces.

        ``common`` is sent to a worker once, and is None after that. Of pieces that fail the first one's error
        is raised, whichever failed first.
        """
        self._round += 1
        waiting = list(range(len(pieces)))  # a heap: the first piece comes first
        answers: list[Any] = [None] * len(pieces)
        left, deaths = set(waiting), [0] * len(pieces)
        error: BaseException | None = None
        while left:
            for number, place in enumerate(self._places):
                if place.worker.pending:
                    continue
                if place.worker.died:
                    if (piece := self._piece(place)) is not None:
                        deaths[piece] += 1
                        heapq.heappush(waiting, piece)
                    self._replace(number, 0 if piece is None else deaths[piece])
                    continue
                if place.starting:
                    values([place.worker.answer()])
                    place.starting = False
                elif (piece := self._piece(place)) is not None:
                    success, answer = place.worker.answer()
                    place.deaths, place.task = 0, None
                    if success:
                        answers[piece] = answer
                        left.discard(piece)
                    elif piece in left:  # what comes after it is of no use any more
                        error, left = answer, {other for other in left if other < piece}
                if waiting and waiting[0] in left:
                    self._send(place, verb, common, heapq.heappop(waiting), pieces)
            if left:
                self.pool.wait([worker for worker in self.workers if worker.pending])
        if error is not None:
            raise error
        return answers

    def close(self) -> None:
        """End the workers; doing it again does nothing."""
        self.pool.end(self.workers)

    def _piece(self, place: _Place) -> int | None:
        """The piece of this round that its worker was sent; one of a round that failed is nobody's."""
        return place.task[1] if place.task is not None and place.task[0] == self._round else None

    def _send(self, place: _Place, verb: str, common: Any, piece: int, pieces: Sequence[Any]) -> None:
        place.worker.send(verb, None if place.told == self._round else common, pieces[piece])
        place.task, place.told = (self._round, piece), self._round

    def _replace(self, number: int, deaths: int) -> None:
        """Start another worker in the place of one that died; its piece has cost so many."""
        place = self._places[number]
        place.deaths += 1
        if max(place.deaths, deaths) >= TRIES:
            place.deaths = 0
            raise place.worker.answer()[1]
        tell(f"rlrnn: {self.pool.lost(place.worker)}: another one takes its place.", file=sys.stderr)
        self.pool.end([place.worker])
        self._places[number] = _Place(self.pool.start(number), deaths=place.deaths)
