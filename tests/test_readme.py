"""Sentences that can become false: the README's Python is run, its commands and links exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rlrnn
from rlrnn.shell.arguments import parser
from rlrnn.shell.verbs import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
SCORES = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
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
    first, second, third, *classes, last = capsys.readouterr().out.splitlines()
    assert first.endswith("points with memory") and second.endswith("points with its memory wiped")
    assert "members evaluated in" in third
    assert classes == ["finite: 3 steps", "infinite: y -> y"]  # as the comments there say
    assert float(last.split()[0]) > 0.9


def test_the_recipe_of_two_lines_is_one(tmp_path: Path) -> None:
    (code,) = blocks(README, "toml")
    (tmp_path / "mine.toml").write_text(code, encoding="utf-8")
    recipe = rlrnn.read_recipe(tmp_path / "mine.toml")
    assert (recipe.name, recipe.game, recipe.steps) == ("mine", "cartpole-no-velocity", 100_000)


def test_the_contents_lead_to_headings() -> None:
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= headings


def test_the_search_of_the_guide_comes_to_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(GUIDE, "python")
    exec(compile(code, "guide.md", "exec"), {})
    found = capsys.readouterr().out.strip().strip("[]").split()
    assert [float(number) for number in found] == pytest.approx([3, -1, 0.5], abs=1e-3)


def test_every_command_of_the_readme_is_one_of_the_shells() -> None:
    commands = re.findall(r"^ {4}rlrnn (\w+)([^#\n]*)", README, flags=re.MULTILINE)
    assert {name for name, _ in commands} == set(VERBS)
    commands += re.findall(r"^ {4}rlrnn (\w+)([^#\n]*)", DOCS, flags=re.MULTILINE)
    for name, arguments in commands:
        parser().parse_args([name, *arguments.split()])


def test_every_local_link_leads_somewhere() -> None:
    for text, folder in ((README, ROOT), (CONTRIBUTING, ROOT), (DOCS + SCORES, ROOT / "docs")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (folder / target).exists(), target


def test_every_public_name_stands_in_the_list_with_its_own_first_sentence() -> None:
    lines = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines()
    named: set[str] = set()
    for line in lines:
        entry = re.fullmatch(r"- `rlrnn\.(\w+)`: (.*)", line)
        if entry:
            said = str(inspect.getdoc(getattr(rlrnn, entry[1]))).split("\n\n")[0]
            assert entry[2] == " ".join(said.split()).replace("``", "`")
        named |= set(re.findall(r"`rlrnn\.(\w+)`", line))
    assert named == set(rlrnn.__all__)


@pytest.mark.parametrize("name", sorted(set(rlrnn.__all__) - {"__version__"}))
def test_what_is_public_is_documented(name: str) -> None:
    thing = getattr(rlrnn, name)
    assert inspect.getdoc(thing)
    for method, what in vars(thing).items() if isinstance(thing, type) else ():
        if not method.startswith("_") and (inspect.isroutine(what) or isinstance(what, property)):
            assert inspect.getdoc(getattr(thing, method)), f"{name}.{method} says nothing"


def test_every_dotted_name_that_is_written_is_there() -> None:
    """In README, the documents, docstrings and errors: ``rlrnn.games.players.tmaze`` and the like."""
    package = ROOT / "rlrnn"
    texts = [path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))]
    for path in package.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        texts += [
            node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    written = {name for text in texts for name in re.findall(r"(?<![\w/.])rlrnn((?:\.\w+)+)", text)}
    assert ".games.players.tmaze.perfect" in written
    for name in written:
        found: Any = rlrnn
        path = "rlrnn"
        for part in name.split(".")[1:]:
            path = f"{path}.{part}"
            if hasattr(found, "__path__") and find_spec(path):
                found = importlib.import_module(path)
            elif not part.isupper() or hasattr(found, part):  # NAME stands for any
                found = getattr(found, part)


def test_a_games_players_are_reached_by_their_dotted_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(rlrnn.games, "players", raising=False)
    assert rlrnn.games.players.tmaze.perfect is not None
    with pytest.raises(AttributeError, match=r"'rlrnn\.games' has no attribute 'nothing'"):
        rlrnn.games.nothing  # noqa: B018
