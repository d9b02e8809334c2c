"""What is claimed of an agent is what its runs say, and nothing else; so are the tables of scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from rlrnn.envs import games
from rlrnn.experiment import catalogue
from rlrnn.experiment.evaluation import WIPED, WITH_MEMORY
from rlrnn.experiment.recipes import CONTROLS, Recipe, Verified, control, read_recipe

ROOT = Path(__file__).parent.parent
EVIDENCE = ROOT / "runs" / "verified"
VERIFIED = {name: recipe for name, recipe in catalogue.agents().items() if recipe.verified is not None}


def claim_of(name: str) -> Verified:
    claim = VERIFIED[name].verified
    assert claim is not None
    return claim


def folders(name: str) -> dict[int, Path]:
    return {int(folder.name.removeprefix("seed")): folder for folder in (EVIDENCE / name).glob("seed*")}


def mean(folder: Path, player: str, episodes: int) -> float:
    points = json.loads((folder / "score.json").read_text(encoding="utf-8"))["scores"][player]["points"]
    assert len(points) == episodes
    return float(round(sum(points) / episodes, 3))


def facts(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "versions.json").read_text(encoding="utf-8")))


def settings(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, name="any", description="", verified=None)


def test_there_is_evidence_of_every_claim_and_of_nothing_else() -> None:
    claimed = set(VERIFIED)
    for name in VERIFIED:
        claimed |= {f"{name}-{kind}" for kind in CONTROLS if getattr(claim_of(name), kind)}
    assert VERIFIED and {folder.name for folder in EVIDENCE.iterdir()} == claimed


@pytest.mark.parametrize("name", VERIFIED)
def test_a_claim_equals_its_runs(name: str) -> None:
    recipe, claim, found = VERIFIED[name], claim_of(name), folders(name)
    episodes = recipe.evaluation.episodes or games.game(recipe.game).episodes
    assert claim.seeds and tuple(sorted(found)) == claim.seeds, "every seed that was run is counted"
    assert tuple(mean(found[k], WITH_MEMORY, episodes) for k in claim.seeds) == claim.points
    assert tuple(mean(found[k], WIPED, episodes) for k in claim.seeds) == claim.wiped
    for kind in CONTROLS:
        points, runs = getattr(claim, kind), folders(f"{name}-{kind}")
        assert tuple(sorted(runs)) == claim.seeds[: len(points)]
        assert tuple(mean(runs[k], WITH_MEMORY, episodes) for k in sorted(runs)) == points


@pytest.mark.parametrize("name", VERIFIED)
def test_the_runs_are_of_the_recipe(name: str) -> None:
    recipe, claim = VERIFIED[name], claim_of(name)
    seconds = sorted(float(str(facts(folder)["seconds"])) for folder in folders(name).values())
    middle = len(seconds) // 2
    assert claim.seconds == pytest.approx((seconds[middle] + seconds[~middle]) / 2)
    assert claim.version and name in claim.command
    for trained in (recipe, *(control(recipe, kind) for kind in CONTROLS)):
        for seed, folder in folders(trained.name).items():
            told = facts(folder)
            assert (told["seed"], told["status"], told["rlrnn"]) == (seed, "finished", claim.version)
            assert settings(read_recipe(folder / "recipe.toml")) == settings(trained)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return pytest.importorskip("figures")


def test_the_tables_are_what_the_evidence_makes(figures) -> None:  # type: ignore[no-untyped-def]
    assert set(figures.TABLES) == {"README.md", "docs/scores.md", "docs/guide.md"}
    for file, table in figures.TABLES.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert figures.replaced(text, table()) == text, "write it anew: python benchmarks/figures.py"


def test_the_readme_tells_every_verified_agent(figures) -> None:  # type: ignore[no-untyped-def]
    rows = [line.split(" | ") for line in figures.scores().splitlines()[2:]]
    assert [row[0].split("`")[1] for row in rows] == list(VERIFIED)
    for name, row in zip(VERIFIED, rows, strict=True):
        points = claim_of(name).points
        assert float(row[1].split("**")[1].replace(",", "")) == pytest.approx(
            sum(points) / len(points), abs=0.051
        )


def test_a_page_without_its_marks_is_not_written(figures) -> None:  # type: ignore[no-untyped-def]
    marked = f"a {figures.BEGIN} old {figures.END} b"
    assert figures.replaced(marked, "new") == f"a {figures.BEGIN}\n\nnew\n\n{figures.END} b"
    for text in ("", figures.BEGIN, marked + marked):
        with pytest.raises(SystemExit, match="one place for a table"):
            figures.replaced(text, "new")
