"""Sentences that can become false: the Python of README and docs/ is run, their commands and links exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rlrnn
from rlrnn.shell.arguments import parser
from rlrnn.shell.verbs import VERBS

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md")
}
README, GUIDE = PAGES["README.md"], PAGES["docs/guide.md"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run(page: str, shorter: dict[str, str]) -> None:
    code = "".join(blocks(PAGES[page], "python"))
    for was, now in shorter.items():
        assert code.count(was) == 1
        code = code.replace(was, now)
    exec(compile(code, page, "exec"), {})  # the one place where text is run: our own pages


def points_of(out: str) -> tuple[float, float]:
    first, second = (line.split() for line in out.splitlines() if " points with " in line)
    assert first[1:] == ["points", "with", "memory"] and second[-2:] == ["memory", "wiped"]
    return float(first[0]), float(second[0])


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert all(len(line) <= 160 for line in README.splitlines() if not line.startswith("|"))


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("README.md", {"agent.learn(50_000": "agent.learn(1_024"})
    assert min(points_of(capsys.readouterr().out)) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_the_example_wins_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("README.md", {})
    with_memory, wiped = points_of(capsys.readouterr().out)
    assert with_memory > 475 and wiped < 50


def test_the_page_on_replay_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("docs/replay.md", {})
    assert {path.name for path in tmp_path.iterdir()} == {"my-dqn.zip", "my-dqn.replay"}  # as it says there
    assert "steps are learned from as if" in capsys.readouterr().out


def test_the_page_on_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("docs/python.md", {"learn(1_000_000": "learn(5_000"})
    first, *classes, last = capsys.readouterr().out.splitlines()
    assert "members evaluated in" in first
    assert classes == ["finite: 3 steps", "infinite: y -> y"]  # as the comments there say
    assert float(last.split()[0]) > 0.9


def test_the_recipe_of_two_lines_is_one(tmp_path: Path) -> None:
    (code,) = blocks(PAGES["docs/games.md"], "toml")
    (tmp_path / "mine.toml").write_text(code, encoding="utf-8")
    recipe = rlrnn.read_recipe(tmp_path / "mine.toml")
    assert (recipe.name, recipe.game, recipe.steps) == ("mine", "cartpole-no-velocity", 100_000)


def test_the_search_of_the_guide_comes_to_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(GUIDE, "python")
    exec(compile(code, "guide.md", "exec"), {})
    found = capsys.readouterr().out.strip().strip("[]").split()
    assert [float(number) for number in found] == pytest.approx([3, -1, 0.5], abs=1e-3)


def test_every_command_that_is_written_is_one_of_the_shells() -> None:
    commands = {
        page: re.findall(r"^ {4}rlrnn ([^#>\n]*)", text, flags=re.MULTILINE) for page, text in PAGES.items()
    }
    assert {command.split()[0] for command in commands["docs/shell.md"]} == set(VERBS)
    assert commands["README.md"]
    for command in (each for page in commands.values() for each in page):
        parser().parse_args(shlex.split(command))


def test_every_local_link_leads_somewhere() -> None:
    """To a file that is there, and to a heading on it."""
    for page, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            there = ((ROOT / page).parent / target).resolve() if target else ROOT / page
            assert there.exists(), f"{page}: {target}"
            if anchor:
                assert anchor in headings(there.read_text(encoding="utf-8")), f"{page}: {target}#{anchor}"


def headings(text: str) -> set[str]:
    """As GitHub makes anchors of them."""
    return {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}


def test_every_page_is_found_from_the_readme_and_from_the_list_of_pages() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"^- \[\S+\]\((\w+\.md)\)", PAGES["docs/README.md"], re.M)) == pages
    assert set(re.findall(r"\]\(docs/(\w+\.md)", README)) - {"README.md"} == pages


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
