"""docs/training.md: its Python runs, its recipes are recipes, its commands are the shell's."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import rlrnn
from rlrnn.envs import wrappers
from rlrnn.experiment import callbacks
from rlrnn.learners.evolution import judging
from rlrnn.network import extractors
from rlrnn.shell.arguments import parser
from rlrnn.storage import encoding

TEXT = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)

REGISTRIES: list[dict[str, Any]] = [
    callbacks.CALLBACKS,
    wrappers.WRAPPERS,
    extractors.EXTRACTORS,
    judging.FITNESSES,
    encoding.CLASSES,
]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_its_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shorter = re.sub(r"\b(\d+)_000\b", r"\1_00", code)
    with ExitStack() as kept:
        for registry in REGISTRIES:
            kept.enter_context(patch.dict(registry))
        exec(compile(shorter, "training.md", "exec"), {"__name__": "training_docs"})


@pytest.mark.parametrize("table", TOML, ids=range(len(TOML)))
def test_its_recipes_are_recipes(table: str, tmp_path: Path) -> None:
    head = "" if "game =" in table else 'game = "pong"\nsteps = 1\n'
    (tmp_path / "mine.toml").write_text(head + table, encoding="utf-8")
    rlrnn.read_recipe(tmp_path / "mine.toml")


def test_its_commands_are_the_shells() -> None:
    commands = re.findall(r"^ {4}rlrnn ([^#>\n]*)", TEXT, flags=re.MULTILINE)
    assert commands and PYTHON and TOML  # what is not found is not tested
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_the_bonus_shrinks_where_nothing_is_new_and_points_are_the_games_own() -> None:
    (code,) = (each for each in PYTHON if "class Novelty" in each)
    scope: dict[str, Any] = {}
    exec(compile(code.replace("20_000", "4_096"), "training.md", "exec"), scope)
    env, agent = scope["env"], scope["agent"]
    assert len(env.means) == 4_096 // 16 and min(env.means) > 0
    assert np.mean(env.means[-20:]) < 0.5 * np.mean(env.means[:20])
    rewards = agent.rollout_buffer.rewards
    assert not np.isin(rewards, agent.get_env().unwrapped._points).any()
    plain = rlrnn.make_vec("mountain-car-no-velocity", n_envs=2, seed=5)
    both = scope["Novelty"](rlrnn.make_vec("mountain-car-no-velocity", n_envs=2, seed=5))
    plain.reset(), both.reset()
    actions = np.full((2, 1), 0.1, np.float32)
    for _ in range(1_000):
        (_, own, ended, infos), (_, more, _, others) = plain.step(actions), both.step(actions)
        assert (more > own).all()
        for b in np.flatnonzero(ended):
            assert infos[b]["episode"]["r"] == others[b]["episode"]["r"]
