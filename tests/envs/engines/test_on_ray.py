"""Copies that Ray's actors step are played as in one process, whatever happens to the actors.

Needs Ray, a local cluster of which is started: pip install 'rlrnn[ray]'.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from playing import same
from stable_baselines3.common.callbacks import BaseCallback

import rlrnn
from rlrnn.common import ray_actors
from rlrnn.common.modules import import_module
from rlrnn.envs.vec import from_envs
from rlrnn.errors import EnvironmentFault
from rlrnn.shell.cli import main

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'rlrnn[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray has warnings of its own

RECIPE = """
game = "mine/Drift-v0"
steps = 600
[network]
cell = "elman"
hidden_size = 4
[{learner}]
n_envs = 4
{settings}
[evaluation]
episodes = 2
"""
PPO = "n_steps = 25\nbatch_size = 50\nn_epochs = 1"
DQN = "learning_starts = 100\nbatch_size = 64\nseq_len = 8\nreplayed_steps = 2.0"
GAME = """
import gymnasium as gym
import numpy as np

class Drift(gym.Env):
    observation_space, action_space = gym.spaces.Box(-9, 9, (2,)), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.see(), {}

    def see(self):
        return self.np_random.normal(size=2).clip(-9, 9).astype(np.float32)

    def step(self, action):
        self.steps += 1
        return self.see(), float(self.np_random.normal() * action), self.steps == 9, False, {}

gym.register("mine/Drift-v0", Drift)
"""


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else a token is written into the home folder
    how = {"include_dashboard": False, "log_to_driver": False, "logging_level": "CRITICAL"}
    ray.init(address="local", num_cpus=3, **how)
    yield
    ray.shutdown()
    os.environ.pop("RAY_AUTH_MODE") if before is None else os.environ.update(RAY_AUTH_MODE=before)


class Film(gym.Env):
    """Pictures, which depend on the seed and on all actions since; it writes into what it is given."""

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.MultiDiscrete([4, 4])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._see(0), {}

    def _see(self, action: int) -> Any:
        return self.np_random.integers(0, 200, (64, 64, 3)).astype(np.uint8) + np.uint8(action)

    def step(self, action: Any) -> Any:
        self.steps += 1
        action += 1
        return self._see(int(action.sum())), float(self.np_random.normal()), self.steps == 7, False, {}


def play(workers: int, on: str | None = None, kill: Sequence[int] = (), kind: type = Film) -> list[Any]:
    """Five copies; before these steps a worker is killed."""
    with closing(from_envs([kind] * 5, workers=workers, on=on, seed=3)) as env:
        log, actions = [env.reset()], np.random.default_rng(0)
        for step in range(20):
            if step in kill:
                os.kill(env._engine.pids[step % workers], signal.SIGKILL)  # type: ignore[attr-defined]
            seen, rewards, ends, infos = env.step(actions.integers(0, 4, (5, 2)))
            for info in infos:
                info.get("episode", {}).pop("t", None)
            log.append((seen, rewards, ends, infos))
    return log


@pytest.mark.parametrize(("workers", "kill"), [(1, ()), (2, (1, 2, 11)), (5, (0,))])
def test_the_same_is_played_whoever_dies(
    workers: int, kill: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """More workers than the cluster has CPUs, too."""
    same(play(workers, "ray", kill), play(0))
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" ended ")[2] for line in said] == [
        f"as its process or its node died: another one has replayed its {step} steps, and takes its place."
        for step in kill
    ]


class Unsteady(Film):
    """What it shows depends on the process."""

    def _see(self, action: int) -> Any:
        return np.full((64, 64, 3), os.getpid() % 251, np.uint8)


class Deadly(Film):
    """It ends the process that plays it."""

    def step(self, action: Any) -> Any:
        os._exit(9)


class Wrong(Film):
    """It raises."""

    def step(self, action: Any) -> Any:
        raise ZeroDivisionError


class Silent(Film):
    """It interrupts, as a game that reads keys may."""

    def step(self, action: Any) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "kill", "said"),
    [
        (Unsteady, (4,), "its game plays otherwise when its steps are replayed"),
        (Deadly, (), r"^The worker with copies 0 to 4 .* its node died\.$"),
        (Wrong, (), r"^Copy 0 of Wrong raised ZeroDivisionError in step\(\)"),
        (Silent, (), "raised KeyboardInterrupt in its work"),
    ],
)
def test_a_game_that_fails_is_named(kind: type, kill: tuple[int, ...], said: str) -> None:
    with pytest.raises(EnvironmentFault, match=said):
        play(1, "ray", kill, kind)


def test_without_a_number_each_cpu_has_a_worker() -> None:
    with closing(from_envs([Film] * 5, on="ray")) as env:
        assert env.workers == 3 == ray_actors.cpus()
    with closing(from_envs([Film], on="ray")) as env:
        assert env.workers == 1


class Kill(BaseCallback):
    """Every two hundred steps a worker."""

    killed = 0

    def _on_step(self) -> bool:
        pids = self.training_env._engine.pids  # type: ignore[attr-defined]
        if self.num_timesteps >= 200 * (self.killed + 1):
            os.kill(pids[self.killed % len(pids)], signal.SIGKILL)
            self.killed += 1
        return True


@pytest.mark.parametrize(("learner", "settings"), [("ppo", PPO), ("dqn", DQN)])
def test_the_agents_file_is_the_same(
    learner: str, settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module, recipe = tmp_path / f"drift_by_{learner}.py", tmp_path / "mine.toml"
    module.write_text(GAME)
    recipe.write_text(RECIPE.format(learner=learner, settings=settings))
    import_module(str(module))
    how: dict[str, Any] = {"imports": [str(module)], "progress": False}
    alone = rlrnn.train(recipe, 0, tmp_path / "alone", workers=0, **how)
    kill = Kill()
    there = rlrnn.train(recipe, 0, tmp_path / "there", workers=2, on="ray", callback=kill, **how)
    assert kill.killed >= 2
    assert (there.folder / "agent.zip").read_bytes() == (alone.folder / "agent.zip").read_bytes()


def test_the_users_module_reaches_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Also where their machine does not have its file."""
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "drift_elsewhere.py"
    module.write_text(GAME)
    import_module(str(module))
    gone = tmp_path / "gone"
    real = ray_actors.Actors.start

    def start(self: Any, place: int) -> Any:
        module.rename(gone)
        return real(self, place)

    monkeypatch.setattr(ray_actors.Actors, "start", start)
    with closing(rlrnn.make_vec("mine/Drift-v0", 1, seed=0, on="ray", imports=str(module))) as env:
        assert env.reset().shape == (1, 2)
    assert gone.exists()


def test_a_game_of_arrays_needs_no_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    words = ["train", "cartpole-gru", "--steps", "256", "--quiet", "--out", out, "--on", "ray"]
    assert main([*words, "--set", "evaluation.episodes=1"]) == 0
    assert "is stepped as arrays, in this process: workers are of no use to it." in capsys.readouterr().err
