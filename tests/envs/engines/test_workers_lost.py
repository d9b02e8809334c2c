"""Images travel by shared memory, and a worker that dies is replaced: what is played shows nothing of it."""

import os
import signal
import time
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from playing import same

from rlrnn.common import processes, shared
from rlrnn.envs.engines import workers
from rlrnn.envs.vec import from_envs
from rlrnn.errors import EnvironmentFault


class Film(gym.Env):
    """Pictures and a number, which depend on the seed and on all actions since; an episode has 7 steps."""

    observation_space = spaces.Dict(
        {"picture": spaces.Box(0, 255, (64, 64, 3), np.uint8), "count": spaces.Discrete(9)}
    )
    action_space = spaces.Discrete(4)
    chance: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.see(0), {}

    def see(self, action: int) -> Any:
        pixels = self.np_random.integers(0, 200, (64, 64, 3)).astype(np.uint8) + np.uint8(10 * action)
        return {"picture": pixels, "count": self.steps}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return (
            self.see(int(action)),
            float(self.np_random.normal()),
            self.steps == 7,
            False,
            {"n": self.steps},
        )


class Unsteady(Film):
    """What it shows depends on the process."""

    def see(self, action: int) -> Any:
        return {"picture": np.full((64, 64, 3), os.getpid() % 251, np.uint8), "count": 0}


def play(n_workers: int, steps: int = 20, kill: tuple[int, ...] = (), kind: type = Film) -> list[Any]:
    """Five copies; before these steps a worker is killed."""
    with closing(from_envs([kind] * 5, workers=n_workers, seed=3)) as env:
        assert env.workers == n_workers
        log, actions = [env.reset()], np.random.default_rng(0)
        for step in range(steps):
            if step in kill:
                os.kill(env._engine.pids[step % n_workers], signal.SIGKILL)  # type: ignore[attr-defined]
            seen, rewards, ends, infos = env.step(actions.integers(0, 4, 5))
            for info in infos:
                info.get("episode", {}).pop("t", None)
            log.append((seen, rewards, ends, infos))
    return log


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_pictures_are_the_same_for_any_number_of_workers(n_workers: int) -> None:
    log = play(n_workers)
    same(log, play(0))
    # What was returned is never written again, although all of it came through the same memory.
    assert len({seen["picture"].tobytes() for seen, *_ in log[1:]}) == 20


def test_what_is_shared_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str | None] = []
    real = workers.shared_file
    monkeypatch.setattr(workers, "shared_file", lambda *form: made.append(real(*form)) or made[-1])
    with closing(from_envs([Film] * 5, workers=2, seed=0)) as env:
        env.reset()
        (path,) = made
        assert path is not None and not os.path.exists(path)


def test_without_room_for_shared_memory_messages_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    whole = play(2)
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert shared.shared_file(Film.observation_space, 2) is None
    same(play(2), whole)
    monkeypatch.delattr(os, "posix_fallocate")
    assert shared.shared_file(Film.observation_space, 2) is None


def test_a_shared_batch_is_one_array_for_all_who_open_it() -> None:
    path = shared.shared_file(Film.observation_space, 3)
    assert path is not None
    one, other = (shared.shared_batch(path, Film.observation_space, 3) for _ in range(2))
    os.unlink(path)
    one["picture"][1], one["count"][:] = 7, [1, 2, 3]
    assert (other["picture"][1] == 7).all() and (other["picture"][0] == 0).all()
    assert other["count"].tolist() == [1, 2, 3] and other["count"].dtype == np.int64
    assert shared.bytes_of(Film.observation_space, 3) == 3 * 64 * 64 * 3 + 64


@pytest.mark.parametrize("kill", [(0,), (1, 2, 11)], ids=["at once", "several"])
def test_a_worker_that_is_killed_is_replaced_as_if_nothing_had_been(
    kill: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    same(play(2, kill=kill), play(0))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(kill)
    assert "ended by SIGKILL: another one has replayed its 0 steps" in play_words(0, capsys)


def play_words(kill: int, capsys: pytest.CaptureFixture[str]) -> str:
    play(2, steps=1, kill=(kill,))
    return capsys.readouterr().err


def test_small_observations_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LARGE", 10**9)
    same(play(2, kill=(5,)), play(0))
    assert "copies 2 to 4 of" in capsys.readouterr().err


def test_a_game_that_plays_otherwise_is_not_restored() -> None:
    with pytest.raises(EnvironmentFault, match="its game plays otherwise when its steps are replayed"):
        play(2, kill=(4,), kind=Unsteady)


def test_what_is_too_long_ago_is_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LONG", 4)
    with pytest.raises(EnvironmentFault, match=r"worker process with copies . to . of .* ended by SIGKILL"):
        play(2, kill=(9,))
    with closing(from_envs([Film] * 2, workers=2, seed=0)) as env:  # a reset with seeds begins anew
        env.reset()
        for _ in range(6):
            env.step(np.zeros(2, int))
        env.seed(5)
        first = env.reset()
        os.kill(env._engine.pids[0], signal.SIGKILL)  # type: ignore[attr-defined]
        env.step(np.zeros(2, int))
        env.seed(5)
        same(env.reset(), first)


class Parent(Film):
    """Begins a process of its own at its first step, as servers of games do, and says its number."""

    child: int = 0

    def step(self, action: Any) -> Any:
        if not self.child:
            self.child = os.fork()
            if not self.child:
                time.sleep(300)
                os._exit(0)
        return super().step(action)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")


@needs_fork
def test_a_process_that_a_game_forks_does_not_hide_that_its_worker_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_HANGING", 60.0)  # of silence
    with closing(from_envs([Parent] * 2, workers=1, seed=0)) as env:
        env.reset()
        env.step(np.zeros(2, int))
        children = env.get_attr("child")
        try:
            (pid,) = env._engine.pids  # type: ignore[attr-defined]
            os.kill(pid, signal.SIGKILL)
            env.step(np.zeros(2, int))
            assert "ended by SIGKILL: another one has replayed" in capsys.readouterr().err
            children += env.get_attr("child")
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)


@needs_fork
@pytest.mark.parametrize("where", ["in a worker", "here"])
def test_nor_does_it_keep_a_worker_from_ending(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PATIENCE", 60.0)
    env = from_envs([Parent if where == "in a worker" else Film] * 2, workers=1, seed=0)
    env.reset()
    env.step(np.zeros(2, int))
    if where == "here":
        with closing(from_envs([Parent], seed=0)) as own:
            own.reset()
            own.step(np.zeros(1, int))
            children = own.get_attr("child")
    else:
        children = env.get_attr("child")
    try:
        (worker,) = env._engine._workers  # type: ignore[attr-defined]
        env.close()
        assert worker._process.returncode == 0  # by itself, not killed
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


class Interrupted(Film):
    """Raises what Ctrl-C does, as a game that reads keys may."""

    def step(self, action: Any) -> Any:
        raise KeyboardInterrupt


def test_a_game_that_interrupts_its_worker_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with closing(from_envs([Interrupted] * 2, workers=1, seed=0)) as env:
        env.reset()
        with pytest.raises(EnvironmentFault, match=r"raised KeyboardInterrupt in its work.*lost\.py, line"):
            env.step(np.zeros(2, int))
        assert len(env.reset()["count"]) == 2  # it goes on
    assert "Traceback" not in capfd.readouterr().err
