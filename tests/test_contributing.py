"""The examples of CONTRIBUTING do what is said of them: each is run as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import rlrnn
from rlrnn import cells
from rlrnn.common import compiling
from rlrnn.envs import games, wrappers
from rlrnn.experiment import evaluation
from rlrnn.learners.evolution import strategies
from rlrnn.learners.ppo import compiled as ppo_compiled
from rlrnn.learners.ppo.loss import Objective, ppo_loss
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.network import paths
from rlrnn.network.paths import gated, loop
from rlrnn.network.population import genome
from rlrnn.shell import cli, verbs
from rlrnn.testing import check_cell

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def blocks(section: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)


def run(code: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "contributing"}
    exec(compile(code, "CONTRIBUTING.md", "exec", dont_inherit=True), scope)
    return scope


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What the examples register is forgotten after each."""
    with ExitStack() as stack:
        for known in (cells.CELLS, wrappers.WRAPPERS, strategies.STRATEGIES, verbs.VERBS, gym.registry):
            stack.enter_context(patch.dict(known))
        yield


def test_every_file_that_is_named_is_there() -> None:
    """Where a name stands for any (NAME), its folder is."""
    howtos = "".join(text for title, text in SECTIONS.items() if title.startswith("Adding"))
    named = set(re.findall(r"`((?:rlrnn|tests|envs|agents|benchmarks|docs)/[\w./]*)`", howtos))
    assert len(named) > 10
    for name in named:
        path = ROOT / name
        assert (path.parent if "NAME" in name or name == "envs/echo.toml" else path).exists(), name


def test_a_cell() -> None:
    code, *_ = blocks("Adding a cell")
    assert run(code)["agent"].policy.description.cell == "leaky"


def test_a_game_of_gymnasiums(tmp_path: Path) -> None:
    code, _ = blocks("Adding a game")
    run(code)
    check_env(gym.make("mine/Corridor-v0").unwrapped, skip_render_check=True)

    class Turning:
        """Keeps the sign, which comes first in each episode."""

        def reset(self) -> None:
            self.sign = np.zeros(1)

        def act(self, seen: Any, starts: Any = None) -> Any:
            self.sign = np.where(seen[:, 0] != 0, seen[:, 0], self.sign)
            return (self.sign > 0).astype(np.int64)

    assert evaluation.play(Turning(), "mine/Corridor-v0", 20).points == (1.0,) * 20
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", rlrnn.make_vec("mine/Corridor-v0", 2), n_steps=32)
    assert agent.learn(64).num_timesteps == 64


def test_a_game_of_arrays_is_what_every_one_must_be(tmp_path: Path) -> None:
    _, code = blocks("Adding a game")
    (toml,) = blocks("Adding a game", "toml")
    run(code)
    (tmp_path / "echo.toml").write_text(toml, encoding="utf-8")
    game = games.game(tmp_path / "echo.toml")

    class Saying:
        """Perfect memory: says the observation before."""

        def reset(self) -> None:
            self.last: Any = None

        def act(self, seen: Any, starts: Any = None) -> Any:
            said = np.zeros(len(seen), np.int64) if self.last is None else self.last
            self.last = seen[:, 0].astype(np.int64)
            return said

    score = evaluation.play(Saying(), game)
    assert game.references.ceiling is not None
    assert score.mean == game.references.ceiling.points and score.won == 1.0
    assert set(score.lengths) == {17} and score.episodes == 100
    # Copy b of any batch is the single game with its seed.
    batch, single = gym.make_vec(game.id, num_envs=3), gym.make(game.id)
    first, _ = batch.reset(seed=5)
    seen, _ = single.reset(seed=7)
    assert (first[2] == seen).all()
    for action in (0, 1, 1, 0):
        observations, points, *_ = batch.step(np.full(3, action))
        seen, won, *_ = single.step(action)
        assert (observations[2] == seen).all() and points[2] == won
    check_env(gym.make(game.id).unwrapped, skip_render_check=True)


def test_a_wrapper() -> None:
    (code,) = blocks("Adding a wrapper")
    run(code)
    (line,) = re.findall(r"`wrappers = (\[.*?\])`", SECTIONS["Adding a wrapper"])
    assert line == '[{ name = "sign" }]'
    env, bare = (games.make_vec("CartPole-v1", 3, seed=1, wrappers=some) for some in ([{"name": "sign"}], ()))
    assert env.observation_space.low.tolist() == [-1.0] * 4
    np.testing.assert_array_equal(env.reset(), np.sign(bare.reset()))
    for _ in range(30):  # into a second episode
        actions = np.zeros(3, np.int64)
        np.testing.assert_array_equal(env.step(actions)[0], np.sign(bare.step(actions)[0]))


def test_a_strategy() -> None:
    (code,) = blocks("Adding a strategy")
    scope = run(code)
    assert scope["agent"].population == 16 and scope["agent"].learn(200).generations > 0
    climb = strategies.make_strategy("climb")
    state = climb.start(np.ones(5))
    for _ in range(60):
        genomes = climb.ask(state, seed=0)
        state = climb.tell(state, genomes, -np.square(genomes).sum(axis=1))
    assert np.linalg.norm(climb.center(state)) < 0.5  # from sqrt(5); mutants lie 0.1 sqrt(5) apart
    with pytest.raises(rlrnn.UserError, match="sigma is 0"):
        strategies.make_strategy("climb", sigma=0)


def test_a_verb_of_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("Adding a verb of the shell")
    monkeypatch.setitem(verbs.VERBS, "weights", ModuleType("weights"))
    exec(compile(code, "CONTRIBUTING.md", "exec", dont_inherit=True), vars(verbs.VERBS["weights"]))
    assert cli.main(["weights", "cartpole-gru"]) == 0
    assert capsys.readouterr().out == f"{3 * 64 * (2 + 64 + 2) + 65 * 2 + 65:,}\n"  # memory, actor, critic
    with pytest.raises(SystemExit) as ended:
        cli.main(["weights", "--help"])
    assert ended.value.code == 0 and "how many weights" in capsys.readouterr().out


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
def test_a_cell_with_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, kernels, code = blocks("Adding a cell")
    (tmp_path / "leaky_kernels.py").write_text(kernels, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "leaky_kernels", raising=False)
    run(code)
    cell = cells.make_cell("leaky_gated", 3, 5)
    assert gated.fits(cell, torch.zeros(1, 1, 3)) and paths.what_runs("leaky_gated", "cpu") != "torch"
    check_cell("leaky_gated")
    x, start = torch.randn(9, 17, 3), torch.rand(9, 17) < 0.2
    state = torch.randn(17, 5, requires_grad=True)
    found, wanted = (way(cell, x, start, state) for way in (gated.unroll, loop.unroll))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    leaves = [state, *cell.parameters()]
    gradients = [torch.autograd.grad(sum(part.square().sum() for part in y), leaves) for y in (found, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    agent = rlrnn.RecurrentPPO(
        "MlpGruPolicy", "CartPole-v1", n_steps=64, policy_kwargs={"cell": "leaky_gated"}
    )
    assert ppo_compiled.plans_of(agent.policy.network) is not None  # whole updates run by the kernels
    assert agent.learn(128).num_timesteps == 128


def test_a_distribution() -> None:
    (code,) = blocks("Adding a distribution of actions")
    mean, scale = torch.randn(20_000, 2), torch.tensor([0.5, 2.0])
    ours = run(code)["Laplace"](mean, scale)
    theirs, action = ours.distribution, torch.randn(20_000, 2)
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action).sum(-1))
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))
    apart = (ours.sample() - mean).abs().mean(0)  # the mean distance from the mean is the scale
    torch.testing.assert_close(apart, scale, rtol=0.05, atol=0.0)
    assert torch.equal(ours.mode(), mean)
    one, other = (run(code)["Laplace"](torch.tensor([place]), torch.tensor([0.5])) for place in (0.0, 0.8))
    x = torch.linspace(-12, 12, 240_001, dtype=torch.float64).unsqueeze(-1)
    apart = (one.log_prob(x).exp() - other.log_prob(x).exp()).abs().sum() / 2 * 1e-4
    assert float(one.distance(other)) == pytest.approx(float(apart), abs=1e-4)


def test_a_term_of_the_loss() -> None:
    (code,) = blocks("Adding a term to the loss")
    draw = lambda: torch.randn(4, 3, dtype=torch.float64)  # noqa: E731
    rows = Rows(
        observation=draw(),
        start=torch.zeros(4, 3, dtype=torch.bool),
        state=draw()[0],
        action=draw(),
        log_prob=draw(),
        value=draw(),
        advantage=draw(),
        target=draw(),
        weight=torch.ones(4, 3, dtype=torch.float64),
    )
    said = draw(), draw(), draw()
    for clip in (None, 0.3):
        objective = Objective(0.2, clip, 0.01, 0.5)
        expected = run(code)["by_differences"](rows, *said, objective)
        d = ppo_loss(rows, *said, rows.weight.sum(), objective)[1].values
        torch.testing.assert_close(d, expected, rtol=1e-5, atol=1e-7)


def test_a_learner(tmp_path: Path) -> None:
    (code,) = blocks("Adding a learner")
    climber = run(code)["HillClimber"]

    def made() -> Any:
        small = {"hidden_size": 8, "net_arch": []}
        env = rlrnn.make_vec("rlrnn/CartPole-v1", 4)
        return climber("MlpElmanPolicy", env, sigma=0.3, policy_kwargs=small)

    agent, again = made().learn(30_000), made().learn(30_000)
    assert agent.num_timesteps >= 30_000
    assert np.array_equal(genome(agent.policy.network), genome(again.policy.network))
    assert agent._points() > made()._points() + 20  # it has learned
    agent.save(tmp_path / "climber.zip")
    assert agent.random_state() == again.random_state()
    assert evaluation.evaluate(agent, "rlrnn/CartPole-v1", 4).episodes == 4


def test_an_agent_is_trained_by_its_recipe(tmp_path: Path) -> None:
    _, code = blocks("Adding a game")
    run(code)
    (toml,), (recipe,) = blocks("Adding a game", "toml"), blocks("Adding an agent", "toml")
    (tmp_path / "echo.toml").write_text(toml, encoding="utf-8")
    shorter = recipe.replace("steps = 50_000", "steps = 2_000")
    assert shorter != recipe
    (tmp_path / "echo-gru.toml").write_text(shorter, encoding="utf-8")
    trained = rlrnn.train(tmp_path / "echo-gru.toml", out=tmp_path / "run", progress=False)
    assert trained.status == "finished" and trained.recipe.description
    assert trained.scores()["with memory"].episodes == 100
