"""What is handed out in pieces is what one would do alone, whoever works and whoever dies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rlrnn.common.scheduling import TRIES, Scheduler
from rlrnn.errors import EnvironmentFault, UserError


class Made:
    """A worker that answers, fails or dies when its pool says so: squares, and what is common added."""

    def __init__(self, place: int) -> None:
        self.place, self.died, self.pending, self.common = place, "", True, None
        self.sent: list[Any] = [("make",)]
        self.told: Any = None  # its answer

    def send(self, verb: str, common: Any, piece: Any) -> None:
        assert not self.pending and not self.died
        self.sent.append((verb, common, piece))
        self.pending = True
        self.common = self.common if common is None else common

    def answer(self) -> tuple[bool, Any]:
        assert not self.pending
        return self.told

    def finish(self, fails: Sequence[Any] = ()) -> None:
        verb, *given = self.sent[-1]
        self.pending = False
        if verb == "make":
            self.told = (True, None)
        elif given[1] in fails:
            self.told = (False, UserError(f"piece {given[1]} is bad"))
        else:
            self.told = (True, given[1] ** 2 + self.common)

    def die(self) -> None:
        self.pending, self.died = False, "by SIGKILL"
        self.told = (False, EnvironmentFault(f"The worker of place {self.place} ended by SIGKILL."))


class Chance:
    """A pool in which chance decides who is done next, and who dies instead."""

    def __init__(
        self, seed: int = 0, deaths: float = 0.0, kills: Sequence[Any] = (), fails: Any = ()
    ) -> None:
        self.chance, self.deaths = np.random.default_rng(seed), deaths
        self.kills, self.fails = kills, fails
        self.started: list[Made] = []
        self.ended: list[Made] = []

    def start(self, place: int) -> Made:
        self.started.append(Made(place))
        return self.started[-1]

    def wait(self, workers: Sequence[Made]) -> None:
        assert workers and all(worker.pending for worker in workers)
        worker = workers[self.chance.integers(len(workers))]
        if worker.sent[-1][-1] in self.kills or self.chance.random() < self.deaths:
            worker.die()
        else:
            worker.finish(self.fails)

    def end(self, workers: Sequence[Made]) -> None:
        self.ended += workers

    def lost(self, worker: Made) -> str:
        return f"The worker of place {worker.place} ended {worker.died}"


@pytest.mark.parametrize("workers", [1, 2, 5, 40])
@pytest.mark.parametrize("deaths", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(5))
def test_answers_are_the_same_whoever_gives_them(
    workers: int, deaths: float, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Chance(seed, deaths)
    scheduler = Scheduler(pool, workers)
    for common in (10, 20, 30):
        assert scheduler.run("play", common, range(30)) == [k**2 + common for k in range(30)]
    dead = list(pool.ended)
    assert len(pool.started) == workers + len(dead) and all(worker.died for worker in dead)
    assert capsys.readouterr().err.splitlines() == [
        f"rlrnn: The worker of place {worker.place} ended by SIGKILL: another one takes its place."
        for worker in dead
    ]
    assert deaths == 0 or workers == 1 or dead
    scheduler.close()
    assert set(pool.ended) == set(pool.started)


def test_what_is_common_is_sent_once_to_each_worker() -> None:
    pool = Chance(deaths=0.1)
    scheduler = Scheduler(pool, 3)
    for common in (100, 200):
        scheduler.run("play", common, range(20))
    told = [[common for _, common, _ in worker.sent[1:] if common is not None] for worker in pool.started]
    assert any(worker.died for worker in pool.started) and all(len(set(own)) == len(own) for own in told)
    assert sum(len(worker.sent) > 1 for worker in pool.started) <= sum(map(len, told)) <= 2 * len(told)


def test_a_piece_that_kills_every_worker_is_an_error_in_the_end() -> None:
    for workers in (1, 2, 5):
        pool = Chance(kills=[7])
        scheduler = Scheduler(pool, workers)
        with pytest.raises(EnvironmentFault, match=r"The worker of place \d ended by SIGKILL\."):
            scheduler.run("play", 0, range(30))
        assert sum(bool(worker.died) for worker in pool.started) == TRIES
        pool.kills = ()
        assert scheduler.run("play", 1, range(9)) == [k**2 + 1 for k in range(9)]


def test_workers_that_die_before_their_first_answer_are_an_error_in_the_end() -> None:
    pool = Chance(kills=["make"])
    with pytest.raises(EnvironmentFault, match=r"ended by SIGKILL"):
        Scheduler(pool, 4).run("play", 0, range(30))
    assert 4 < len(pool.started) <= 4 * TRIES


@pytest.mark.parametrize("seed", range(8))
def test_the_first_piece_that_fails_is_the_one_that_is_told(seed: int) -> None:
    pool = Chance(seed, deaths=0.03, fails=[13, 14, 15, 16, 20])
    scheduler = Scheduler(pool, 4)
    with pytest.raises(UserError, match="piece 13 is bad"):
        scheduler.run("play", 0, range(30))
    pool.fails = ()  # what workers still do for a round that failed is dropped
    assert scheduler.run("play", 5, range(10, 40)) == [k**2 + 5 for k in range(10, 40)]


def test_a_worker_that_cannot_be_made_is_an_error_at_once() -> None:
    pool = Chance()
    scheduler = Scheduler(pool, 2)
    pool.started[0].pending, pool.started[0].told = False, (False, UserError("no such game"))
    with pytest.raises(UserError, match="no such game"):
        scheduler.run("play", 0, range(3))
    assert len(pool.started) == 2


def test_no_pieces_need_no_worker() -> None:
    assert Scheduler(Chance(), 2).run("play", 0, []) == []
