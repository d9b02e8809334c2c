"""What is claimed of an agent is what its runs say, and nothing else; so are the tables of scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pytest

from rlrnn.envs import games
from rlrnn.experiment import catalogue
from rlrnn.experiment.evaluation import PLAYERS, RANDOM, WIPED, WITH_MEMORY, Score
from rlrnn.experiment.recipes import CONTROLS, NetworkRecipe, Recipe, Verified, control
from rlrnn.experiment.runs import runs

ROOT = Path(__file__).parent.parent
VERIFIED = {name: recipe for name, recipe in catalogue.agents().items() if recipe.verified is not None}


@pytest.fixture(scope="module")
def evidence():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield pytest.importorskip("evidence")


def claim_of(name: str) -> Verified:
    claim = VERIFIED[name].verified
    assert claim is not None
    return claim


def mean(score: Score, episodes: int) -> float:
    assert len(score.points) == len(score.lengths) == episodes
    return float(round(sum(score.points) / episodes, 3))


def settings(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, name="any", description="", verified=None)


def test_there_is_evidence_of_every_claim_and_of_nothing_else(evidence: ModuleType) -> None:
    assert VERIFIED and {path.stem for path in evidence.FOLDER.glob("*.json")} == set(VERIFIED)
    weights = {
        evidence.weights(name, seed)
        for name in VERIFIED
        for seed in claim_of(name).seeds
        if evidence.weights(name, seed).exists()
    }
    assert set(evidence.FOLDER.iterdir()) == weights | set(evidence.FOLDER.glob("*.json"))
    for name in VERIFIED:
        kinds = {"agent", *(kind for kind in CONTROLS if getattr(claim_of(name), kind))}
        assert evidence.read(name).keys() == kinds


@pytest.mark.parametrize("name", VERIFIED)
def test_a_claim_equals_its_runs(name: str, evidence: ModuleType) -> None:
    recipe, claim, kept = VERIFIED[name], claim_of(name), evidence.read(name)
    episodes = recipe.evaluation.episodes or games.game(recipe.game).episodes
    own = kept.pop("agent")
    assert claim.seeds and tuple(run.seed for run in own) == claim.seeds, "every seed that was run is counted"
    assert tuple(mean(run.scores()[WITH_MEMORY], episodes) for run in own) == claim.points
    assert tuple(mean(run.scores()[WIPED], episodes) for run in own) == claim.wiped
    for kind, found in kept.items():
        points = getattr(claim, kind)
        assert tuple(run.seed for run in found) == claim.seeds[: len(points)]
        assert tuple(mean(run.scores()[WITH_MEMORY], episodes) for run in found) == points


@pytest.mark.parametrize("name", VERIFIED)
def test_the_runs_are_of_the_recipe(name: str, evidence: ModuleType) -> None:
    recipe, claim, kept = VERIFIED[name], claim_of(name), evidence.read(name)
    seconds = sorted(run.facts["seconds"] for run in kept["agent"])
    middle = len(seconds) // 2
    assert claim.seconds == round((seconds[middle] + seconds[~middle]) / 2, 1)
    assert claim.version and name in claim.command
    for kind, found in kept.items():
        trained = recipe if kind == "agent" else control(recipe, kind)
        for run in found:
            assert (run.facts["status"], run.facts["rlrnn"]) == ("finished", claim.version)
            assert settings(run.recipe) == settings(trained) and run.recipe.name == trained.name


@pytest.mark.parametrize("name", VERIFIED)
def test_a_file_is_what_would_be_written_of_what_was_read_from_it(
    name: str, evidence: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, there = evidence.read(name), (evidence.FOLDER / f"{name}.json").read_bytes()
    monkeypatch.setattr(evidence, "FOLDER", tmp_path / "verified")
    evidence.write(name, kept)
    assert (tmp_path / "verified" / f"{name}.json").read_bytes() == there


def test_evidence_keeps_every_value_and_its_type(
    evidence: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "FOLDER", tmp_path)
    alike, zeros = Score((5.0, 5.0), (7, 7), 5.0).to_json(), Score((0.0, -0.0), (1, 2)).to_json()
    mixed, other = Score((1, 1.0, 0.1 + 0.2), (3, 3, 3)).to_json(), Score((2.0,), (1,)).to_json()
    table = {"name": "a", "steps": 8, "wrappers": [{"name": "stack", "frames": 4}], "kwargs": {}}
    first = evidence.Kept(table, {"seed": 2}, dict(zip(PLAYERS, (alike, zeros, mixed), strict=True)))
    second = evidence.Kept({**table, "steps": 9}, {"seed": 10}, {WITH_MEMORY: mixed, RANDOM: other})
    evidence.write("a", {"agent": [second, first], "stacked": [first]})
    read = evidence.read("a")
    assert {kind: [run.seed for run in found] for kind, found in read.items()} == {
        "agent": [2, 10],
        "stacked": [2],
    }
    for found, was in ((read["agent"], [first, second]), (read["stacked"], [first])):
        for run, before in zip(found, was, strict=True):
            pairs = (run.table, before.table), (run.facts, before.facts), (run.judged, before.judged)
            for now, then in pairs:
                assert sorted_repr(now) == sorted_repr(then)


def sorted_repr(value: object) -> str:
    """What tells 1 from 1.0, and 0.0 from -0.0, but no order of keys."""
    if isinstance(value, dict):
        return repr({key: sorted_repr(value[key]) for key in sorted(value)})
    return repr([sorted_repr(inner) for inner in value]) if isinstance(value, list) else repr(value)


def test_what_is_no_number_is_no_evidence(evidence: ModuleType) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        evidence.text({"points": [float("nan")]})


def finished(folder: Path, recipe: Recipe, seed: int, points: float) -> None:
    """A run as training leaves it behind."""
    run = runs.open_run(folder / recipe.name / f"seed{seed}", recipe, seed, None, overwrite=False)
    runs.write_scores(run.folder / "score.json", {name: Score((points,), (3,)) for name in PLAYERS})
    (run.folder / "agent.zip").write_text(f"weights of {seed}", encoding="utf-8")
    runs.finish(run, steps=8, seconds=float(seed))


def test_new_runs_take_the_place_of_older_ones_of_their_kind_alone(
    evidence: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = pytest.importorskip("verified")
    recipe = Recipe(name="tiny", game="cartpole-no-velocity", steps=8, network=NetworkRecipe(hidden_size=4))
    monkeypatch.setattr(evidence, "FOLDER", tmp_path / "runs" / "verified")
    monkeypatch.setattr(verified, "ROOT", tmp_path)
    finished(tmp_path / "runs", recipe, 0, 1.0)
    finished(tmp_path / "runs", recipe, 1, 2.0)
    finished(tmp_path / "runs", control(recipe, "stacked"), 0, 3.0)
    verified.keep(recipe, weights=1)
    claim = verified.claimed("tiny")
    assert (claim.seeds, claim.points, claim.stacked, claim.feedforward) == ((0, 1), (1.0, 2.0), (3.0,), ())
    assert claim.seconds == 0.5 and evidence.weights("tiny", 0).read_text() == "weights of 0"
    assert sorted(path.name for path in evidence.FOLDER.iterdir()) == ["tiny-seed0.zip", "tiny.json"]

    (tmp_path / "runs" / "tiny").rename(tmp_path / "runs" / "elsewhere")
    finished(tmp_path / "runs", control(recipe, "feedforward"), 0, 4.0)
    verified.keep(recipe)
    again = verified.claimed("tiny")
    assert (again.points, again.stacked, again.feedforward) == ((1.0, 2.0), (3.0,), (4.0,))
    assert evidence.weights("tiny", 0).exists(), "the weights are of the runs that stayed"

    finished(tmp_path / "runs", recipe, 5, 6.0)
    with pytest.raises(SystemExit, match="another recipe"):
        verified.keep(dataclasses.replace(recipe, steps=9))
    verified.keep(recipe)
    assert [run.seed for run in evidence.read("tiny")["agent"]] == [5]
    assert not evidence.weights("tiny", 0).exists()
    with pytest.raises(SystemExit, match="should be of the first seeds"):
        verified.claimed("tiny")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return pytest.importorskip("figures")


def test_the_tables_are_what_the_evidence_makes(figures) -> None:  # type: ignore[no-untyped-def]
    assert set(figures.TABLES) == {
        "README.md",
        *(f"docs/{page}.md" for page in ("agents", "scores", "guide")),
    }
    for file, table in figures.TABLES.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert figures.replaced(text, table()) == text, "write it anew: python benchmarks/figures.py"


def test_every_verified_agent_has_a_row(figures) -> None:  # type: ignore[no-untyped-def]
    rows = [line.split(" | ") for line in figures.scores().splitlines()[2:]]
    assert [row[0].split("`")[1] for row in rows] == list(VERIFIED)
    for name, row in zip(VERIFIED, rows, strict=True):
        points = claim_of(name).points
        assert float(row[1].split("**")[1].replace(",", "")) == pytest.approx(
            sum(points) / len(points), abs=0.051
        )


def test_the_readmes_few_are_rows_of_all(figures) -> None:  # type: ignore[no-untyped-def]
    """The same points, ends of the seeds and scores without memory, in a table of another form."""
    every = {row[0].split("`")[1]: row for row in _rows(figures.scores())}
    few = _rows(figures.few())
    assert len(few) == len(set(figures.FEW)) == 7
    for _, name, _, points, *without in few:
        own, *others = every[name.strip("`")][1:5]
        won, ends = points.split("<br>")
        assert own.split("<br>")[:2] == [won.partition("\u00a0of")[0], ends]
        assert [cell.split("<br>")[0] for cell in without] == [cell.split("<br>")[0] for cell in others]


def _rows(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_a_page_without_its_marks_is_not_written(figures) -> None:  # type: ignore[no-untyped-def]
    marked = f"a {figures.BEGIN} old {figures.END} b"
    assert figures.replaced(marked, "new") == f"a {figures.BEGIN}\n\nnew\n\n{figures.END} b"
    for text in ("", figures.BEGIN, marked + marked):
        with pytest.raises(SystemExit, match="one place for a table"):
            figures.replaced(text, "new")
