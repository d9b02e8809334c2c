"""A population that Ray's actors play evolves as in one process, whatever happens to them.

Needs Ray, a local cluster of which is started: pip install 'rlrnn[ray]'.
"""

from __future__ import annotations

import io
import os
import signal
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tiny_games import Target

from rlrnn import Evolution
from rlrnn.common import ray_actors
from rlrnn.envs.vec import from_envs
from rlrnn.errors import EnvironmentFault
from rlrnn.experiment import agents, catalogue
from rlrnn.learners.evolution.fitness import ParallelFitness

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'rlrnn[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray has warnings of its own

HIDING = """
    import sys

    class Hiding:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "rlrnn":
                raise ModuleNotFoundError("No module named 'rlrnn'", name="rlrnn")

    sys.meta_path.insert(0, Hiding())
"""
targets = partial(from_envs, [Target] * 63, workers=0)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else a token is written into the home folder
    how = {"include_dashboard": False, "log_to_driver": False, "logging_level": "CRITICAL"}
    ray.init(address="local", num_cpus=3, **how)
    yield
    ray.shutdown()
    os.environ.pop("RAY_AUTH_MODE") if before is None else os.environ.update(RAY_AUTH_MODE=before)


def evolved(callback: BaseCallback | None = None, **more: Any) -> bytes:
    agent = Evolution(
        "MlpElmanPolicy",
        targets(),
        "snes",
        {"population": 20, "sigma": 0.5},
        episodes=3,
        seed=1,
        policy_kwargs={"hidden_size": 3, "net_arch": []},
        **more,
    )
    agent.learn(3_000, callback)
    file = io.BytesIO()
    agent.save(file)
    return file.getvalue()


class Kill(BaseCallback):
    """After every second generation a worker, as long as another one lives."""

    killed = 0

    def _on_step(self) -> bool:
        workers = [one for one in self.model._fitness.scheduler.workers if one.pid and not one.died]
        if len(workers) > 1 and self.model.generations % 2:
            os.kill(workers[self.killed % len(workers)].pid, signal.SIGKILL)
            self.killed += 1
        return True


def test_the_agents_file_is_the_same_with_and_without_kills(capsys: pytest.CaptureFixture[str]) -> None:
    alone = evolved()
    assert evolved(on="ray", make_env=targets) == alone
    kill = Kill()
    assert evolved(kill, on="ray", make_env=targets, workers=2) == alone
    said = [line for line in capsys.readouterr().err.splitlines() if "takes its place" in line]
    assert 0 < len(said) <= kill.killed
    assert set(said) <= {
        f"rlrnn: The worker with part {k} of the population ended as its process or its node died: "
        "another one takes its place."
        for k in range(2)
    }


class Deadly(Target):
    """It ends the process that plays it."""

    def step(self, action: Any) -> Any:
        os._exit(9)


class Wrong(Target):
    """What it gives is no number."""

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, float("nan"), *rest


@pytest.mark.parametrize(("game", "said"), [(Deadly, "its node died"), (Wrong, "the reward nan")])
def test_a_game_that_fails_is_an_error(game: type, said: str) -> None:
    with pytest.raises(EnvironmentFault, match=said):
        evolved(on="ray", workers=1, make_env=partial(from_envs, [game] * 63, workers=0))


def test_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ray_actors.facts()
    monkeypatch.setattr(ray_actors, "facts", lambda: {**here, "numpy": "1.0"})
    with pytest.raises(EnvironmentFault, match=r"has numpy .*, but here it is 1\.0: install the same there"):
        evolved(on="ray", workers=1, make_env=targets)


def test_the_users_module_reaches_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where their machine does not have its file."""
    module = tmp_path / "games_of_mine.py"
    module.write_text(
        "import gymnasium as gym\n"
        "class Mine(gym.Env):\n"
        "    observation_space, action_space = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return self.observation_space.low, {}\n"
        "    def step(self, action):\n"
        "        return self.observation_space.low, 2.5, True, False, {}\n"
        "gym.register('mine/Mine-v0', Mine)\n"
    )
    recipe_file = tmp_path / "mine.toml"
    recipe_file.write_text(
        'game = "mine/Mine-v0"\nsteps = 99\n[network]\ncell = "elman"\nhidden_size = 2\n'
        '[evolution]\nstrategy = "snes"\nsettings = { population = 6, sigma = 0.5 }\nepisodes = 1\n'
    )
    from rlrnn.common.modules import import_module

    monkeypatch.syspath_prepend(tmp_path)
    import_module(str(module))
    recipe = catalogue.agent(recipe_file)
    game = catalogue.game_of(recipe)
    env = agents.copies(recipe, game, 0)
    agent = agents.learner(recipe, env, 0)
    agents.share(agent, game, 1, [str(module)], on="ray")
    module.unlink()
    assert isinstance(agent, Evolution)
    agent.learn(20)
    assert agent.ep_info_buffer is not None and {info["r"] for info in agent.ep_info_buffer} == {2.5}


def test_a_node_without_the_package_is_named(tmp_path: Path) -> None:
    """Its Python finds no module of that name, wherever it looks."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(HIDING))
    pool = ray_actors.Actors([partial(dict)], "the games", ["part 0"])
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))  # Ray may lie there
    pool._actor = pool._actor.options(runtime_env={"env_vars": {"PYTHONPATH": path}})
    worker = pool.start(0)
    pool.wait([worker])
    success, error = worker.answer()
    assert not success and "has no rlrnn: install the same version there" in str(error)
    pool.end([worker])


def test_a_population_has_a_worker_for_every_core() -> None:
    from rlrnn.network.network import NetworkDescription, RecurrentNetwork

    env = targets()
    described = NetworkDescription(cell="elman", hidden_size=2, actor_widths=())
    fitness = ParallelFitness(
        targets, 63, 0, RecurrentNetwork(described, env.observation_space, env.action_space), "ray"
    )
    assert len(fitness.scheduler.workers) == fitness.workers == ray_actors.cpus() == 3
    fitness.close()
