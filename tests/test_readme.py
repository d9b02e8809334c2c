"""Sentences that can become false: the README's Python is run, its commands and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlrnn.arguments import parser
from rlrnn.cli import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
SCORES = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "".join(blocks(README, "python"))
    shorter = code.replace("agent.learn(50_000)", "agent.learn(1_024)").replace(
        "learn(1_000_000", "learn(5_000"
    )
    assert len(shorter) == len(code) - 1 - 4
    exec(compile(shorter, "README.md", "exec"), {})  # the one place where text is run: our own README
    first, second, third, *classes, told = capsys.readouterr().out.splitlines()
    assert first.endswith("points with memory") and second.endswith("points with its memory wiped")
    assert "members played" in third
    assert classes == ["finite: 3 steps", "infinite: y -> y"]  # as the comments there say
    assert float(told.split()[0]) > 0.9


def test_the_cell_of_the_contributing_guide_runs() -> None:
    (code,) = blocks(CONTRIBUTING, "python")
    scope: dict[str, object] = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), scope)
    assert scope["agent"].policy.description.cell == "leaky"  # type: ignore[attr-defined]


def test_every_command_of_the_readme_is_one_of_the_shells() -> None:
    commands = re.findall(r"^ {4}rlrnn (\w+)([^#\n]*)", README, flags=re.MULTILINE)
    assert {name for name, _ in commands} == set(COMMANDS)
    commands += re.findall(r"^ {4}rlrnn (\w+)([^#\n]*)", DOCS, flags=re.MULTILINE)
    for name, arguments in commands:
        parser().parse_args([name, *arguments.split()])


def test_every_local_link_leads_somewhere() -> None:
    for text, folder in ((README, ROOT), (CONTRIBUTING, ROOT), (DOCS + SCORES, ROOT / "docs")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (folder / target).exists(), target
