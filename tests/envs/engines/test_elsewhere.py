"""Workers that are no processes of this machine play the same, and what they are sent is their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from playing import same
from toy_envs import Echo

from rlrnn.common.messages import Holder, packed, read_answer, sendable
from rlrnn.envs.engines import workers
from rlrnn.envs.engines.workers import Workers
from rlrnn.envs.vec import GameVecEnv, from_envs
from rlrnn.errors import EnvironmentFault


class Distant:
    """A worker to which bytes alone come, and which answers when it is waited for, if it does not die."""

    died, pid = "", 1

    def __init__(self, maker: Callable[[], Any], name: str, holds: str) -> None:
        self.holds, self.holder, self.told = holds, Holder(), b""
        self.pending, self.ended, self.dies = False, False, False
        self.send("make", sendable(maker, name))

    def send(self, verb: str, *arguments: Any) -> None:
        self.command, self.pending = packed((verb, arguments)), True

    def wait(self) -> None:
        if self.dies:
            self.died = "in a storm"
        else:
            self.told = self.holder.do(self.command)
            sys.modules.pop("known_here_alone", None)
        self.pending = False

    def answer(self) -> tuple[bool, Any]:
        if self.died:
            return False, EnvironmentFault(f"The worker with {self.holds} ended {self.died}.")
        return read_answer(self.told, f"The worker with {self.holds}")


class Distance:
    """A pool of those."""

    here = False

    def __init__(self, makers: Sequence[Callable[[], Any]], name: str, holds: Sequence[str]) -> None:
        self.makers, self.name, self.holds = makers, name, holds
        self.started: list[Distant] = []

    def start(self, place: int) -> Distant:
        self.started.append(Distant(self.makers[place], self.name, self.holds[place]))
        return self.started[-1]

    def wait_all(self, waiting: Sequence[Distant]) -> None:
        for worker in waiting:
            if worker.pending:
                worker.wait()

    def wait(self, waiting: Sequence[Distant]) -> None:
        raise AssertionError("nobody here takes whoever comes first")

    def end(self, old: Sequence[Distant]) -> None:
        for worker in old:
            if not worker.ended:
                worker.ended = True
                worker.holder.close()

    def lost(self, worker: Distant) -> str:
        return f"The worker with {worker.holds} ended {worker.died}"


class Roll(gym.Env):
    """Numbers that depend on the seed and on all actions; a game that writes into what it is given."""

    observation_space = gym.spaces.Box(-9.0, 9.0, (5_000,))  # batches that processes here would share
    action_space = gym.spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._see(), {"begun": True}

    def _see(self) -> Any:
        return self.np_random.normal(size=5_000).clip(-9, 9).astype(np.float32)

    def step(self, action: Any) -> Any:
        self.steps += 1
        action *= 2
        seen = self._see() + action[0]
        return seen.clip(-9, 9), float(action[1]), self.steps == 4, False, {"steps": self.steps}


class Restless(Roll):
    """It counts how often it was made."""

    made = 0

    def __init__(self) -> None:
        Restless.made += 1
        self.number = Restless.made

    def _see(self) -> Any:
        return np.full(5_000, self.number / 9, np.float32)


def play(
    kind: type, n_workers: int, kill: Sequence[int] = (), steps: int = 12
) -> tuple[list[Any], Distance | None]:
    """Five copies; before these steps a worker dies."""
    pool: list[Distance] = []

    def far(*what: Any) -> Distance:
        pool.append(Distance(*what))
        return pool[0]

    engine = Workers([kind] * 5, "", n_workers, far) if n_workers else None
    env = GameVecEnv(engine, 5, seed=3) if engine else from_envs([kind] * 5, seed=3)
    with closing(env):
        log, actions = [env.reset()], np.random.default_rng(0)
        for step in range(steps):
            if step in kill:
                env._engine._workers[step % n_workers].dies = True  # type: ignore[attr-defined]
            seen, rewards, ends, infos = env.step(actions.uniform(-1, 1, (5, 2)).astype(np.float32))
            for info in infos:
                info.get("episode", {}).pop("t", None)
            log.append((seen, rewards, ends, infos))
    assert not pool or all(worker.ended for worker in pool[0].started)
    return log, pool[0] if pool else None


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("kill", [(), (0,), (3, 4, 9)])
def test_the_same_is_played_whoever_dies(
    n_workers: int, kill: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    log, pool = play(Roll, n_workers, kill)
    same(log, play(Roll, 0)[0])
    assert pool is not None and len(pool.started) == n_workers + len(kill)
    parts = [slice(5 * k // n_workers, 5 * (k + 1) // n_workers) for k in range(n_workers)]
    lost = [parts[step % n_workers] for step in kill]
    assert capsys.readouterr().err.splitlines() == [
        f"rlrnn: The worker with copies {part.start} to {part.stop - 1} of the environments ended in a "
        f"storm: another one has replayed its {step} steps, and takes its place."
        for step, part in zip(kill, lost, strict=True)
    ]


def test_a_game_that_plays_otherwise_is_not_restored() -> None:
    with pytest.raises(EnvironmentFault, match="in a storm, and its game plays otherwise when its"):
        play(Restless, 2, (4,))


def test_none_shares_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which another machine does not see."""
    monkeypatch.setattr(workers, "shared_file", lambda *_: pytest.fail("it was asked for"))
    play(Roll, 2, steps=1)


def echoes(n_workers: int) -> GameVecEnv:
    return GameVecEnv(Workers([Echo] * 2, "", n_workers, Distance), 2, seed=0)


def test_an_answer_that_cannot_be_read_names_its_worker() -> None:
    with closing(echoes(1)) as env:
        env.reset()
        env.set_attr("mood", "strange")
        with pytest.raises(EnvironmentFault, match=r"^The worker with copies 0 to 1 .* cannot be read here"):
            env.step(np.zeros(2, int))


@pytest.mark.parametrize("seeds", [False, True])
def test_what_was_broken_off_is_not_replayed(
    seeds: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As some have played it and others not; from a reset with seeds on it is known again what was played."""

    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    with closing(echoes(2)) as env:
        env.reset()
        with monkeypatch.context() as patch:
            patch.setattr(Distance, "wait_all", press)
            with pytest.raises(KeyboardInterrupt):
                env.step(np.ones(2, int))
        if seeds:
            env.seed(1)
        env.reset()
        env._engine._workers[1].dies = True  # type: ignore[attr-defined]
        if seeds:
            env.step(np.ones(2, int))
            assert "another one has replayed its 0 steps" in capsys.readouterr().err
        else:
            with pytest.raises(EnvironmentFault, match=r"^The worker with copies 1 .* in a storm\.$"):
                env.step(np.ones(2, int))
