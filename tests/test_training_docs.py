"""docs/training.md: its Python runs, its recipes are recipes, its commands are the shell's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import rlrnn
from rlrnn.shell.arguments import parser

TEXT = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_its_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shorter = re.sub(r"\b(\d+)_000\b", r"\1_00", code)
    exec(compile(shorter, "training.md", "exec"), {})


@pytest.mark.parametrize("table", TOML, ids=range(len(TOML)))
def test_its_recipes_are_recipes(table: str, tmp_path: Path) -> None:
    head = "" if "game =" in table else 'game = "pong"\nsteps = 1\n'
    (tmp_path / "mine.toml").write_text(head + table, encoding="utf-8")
    rlrnn.read_recipe(tmp_path / "mine.toml")


def test_its_commands_are_the_shells() -> None:
    commands = re.findall(r"^ {4}rlrnn ([^#>\n]*)", TEXT, flags=re.MULTILINE)
    assert commands
    for command in commands:
        parser().parse_args(shlex.split(command))
