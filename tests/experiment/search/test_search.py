"""A search ends in the same study whoever plays it, and however often it is killed."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from tiny_runs import EVOLVED, Stopped
from tiny_studies import RECIPE, STUDY, facts

from rlrnn.common import processor
from rlrnn.errors import FileFault, MissingExtraError, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import PpoRecipe, Recipe, Verified
from rlrnn.experiment.runs import checkpoints, runs
from rlrnn.experiment.runs.leases import LostLease
from rlrnn.experiment.search import playing, telling, waiting, winners
from rlrnn.experiment.search import search as searches
from rlrnn.experiment.search.search import Found, search
from rlrnn.experiment.search.study import Study
from rlrnn.experiment.training import rounding, training
from rlrnn.experiment.training.rounding import OtherProcessor
from rlrnn.experiment.training.seeds import Outcome, Task
from rlrnn.experiment.training.side_by_side import Job, Shown
from rlrnn.shell.cli import main

pytest.importorskip("optuna")

# Gymnasium's own game, whose state cannot be saved.
PYTHON = dataclasses.replace(RECIPE, game="CartPole-v1")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Trainings in this process, one after the other."""

    def work(jobs: Sequence[Job], at_once: int, shown: Shown, _: object) -> dict[int, str]:
        for k, job in enumerate(jobs):
            shown.begun(k)
            job.do()
            shown.ended(k, True)
        return {}

    monkeypatch.setattr(searches, "work", work)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def found(out: str, study: Study = STUDY, recipe: Recipe = RECIPE, **how: Any) -> Found:
    return search(study, out, recipe=recipe, progress=False, **how)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {}


def whole(wholes: dict[str, Any], recipe: Recipe) -> Any:
    """The facts of a study that nothing has disturbed."""
    if recipe.game not in wholes:
        wholes[recipe.game] = facts(found("whole", recipe=recipe).folder)
    return wholes[recipe.game]


@pytest.mark.parametrize("recipe", [RECIPE, PYTHON], ids=["ours", "not saved"])
@pytest.mark.parametrize("after", [1, 5])
def test_a_search_that_is_killed_ends_in_the_same_study(
    recipe: Recipe, after: int, wholes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of trainings, three times in a row, and saving what it has or not."""
    expected = whole(wholes, recipe)
    real, count = training.learn, 0

    def patched(agent: Any, run: Any, checkpoint: Any, callback: Any, **how: Any) -> Any:
        nonlocal count
        count += 1
        if count % after == 0 and count <= 3 * after:
            calls, kind = 0, KeyboardInterrupt if count % 2 else Stopped

            def on_step() -> bool:
                nonlocal calls
                calls += 1
                if calls == 25:
                    raise kind
                return True

            callback._on_step = on_step
        return real(agent, run, checkpoint, callback, **how)

    monkeypatch.setattr(training, "learn", patched)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)  # a snapshot before every rollout
    kills = 0
    while True:
        try:
            folder = found("killed", recipe=recipe).folder
            break
        except (KeyboardInterrupt, Stopped):
            kills += 1
    assert kills >= 2 and facts(folder) == expected


def test_a_search_goes_on_with_more_trials(wholes: dict[str, Any]) -> None:
    few = facts(found("run", dataclasses.replace(STUDY, trials=3)).folder)
    many = facts(found("run").folder)
    assert many == whole(wholes, RECIPE)
    assert few["values"].items() <= many["values"].items()


def test_what_another_process_plays_is_waited_for(
    wholes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at nothing but the disk: a second search finds all that a first one has played."""
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            found("shared")

    monkeypatch.setattr(searches.time, "sleep", sleep)
    alone = searches.work

    def work(jobs: Sequence[Job], at_once: int, shown: Shown, pass_over: Any) -> dict[int, str]:
        if len(naps) >= 2:
            return alone(jobs, at_once, shown, pass_over)
        for k in range(len(jobs)):
            pass_over(k, None)
        return {}

    monkeypatch.setattr(searches, "work", work)
    assert facts(found("shared").folder) == whole(wholes, RECIPE)
    assert len(naps) == 2


def begun_elsewhere(out: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search that was killed in its second training, which had begun on another kind of processor."""
    real, count = training.learn, 0

    def patched(agent: Any, run: Any, checkpoint: Any, callback: Any, **how: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            callback._on_step = lambda: agent.num_timesteps < 80 or kill()
        return real(agent, run, checkpoint, callback, **how)

    def kill() -> bool:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(training, "learn", patched)
        patch.setattr(checkpoints, "SHARE", 1e9)  # a snapshot before every rollout
        with pytest.raises(Stopped):
            found(out)
    return Path(out, "trials", "001", "seed200")


def began_on(folder: Path, kind: str) -> None:
    path = folder / "versions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": kind}))


def leaving(jobs: Sequence[Job], at_once: int, shown: Shown, pass_over: Any) -> dict[int, str]:
    """Trainings in this process, but for those that must be left."""
    for k, job in enumerate(jobs):
        try:
            rounding.check_folder(job.folder, job.device)
            job.do()
        except OtherProcessor as why:
            pass_over(k, why)
    return {}


def test_what_another_kind_of_processor_began_is_left_to_it(
    wholes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All others are played meanwhile, and it is said once."""
    expected = whole(wholes, RECIPE)
    theirs = begun_elsewhere("shared", monkeypatch)
    began_on(theirs, "another")
    monkeypatch.setattr(searches, "work", leaving)
    before: list[list[str]] = []

    def sleep(_: float) -> None:
        before.append([str(path.parent) for path in Path("shared").glob("trials/*/*/rungs.json")])
        if len(before) == 3:  # the other process goes on
            began_on(theirs, processor.kind())
            found("shared")

    monkeypatch.setattr(searches.time, "sleep", sleep)
    capsys.readouterr()
    assert facts(found("shared").folder) == expected
    assert len(before) == 3 and before[0] == before[2]
    assert sorted(before[0]) == [f"shared/trials/00{trial}/seed200" for trial in (0, 2)]
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "kind of processor" in line]
    assert said.startswith(f"rlrnn: the run {theirs} began on another kind of processor (another) than this")
    assert said.endswith("It is left to processes there, as all like it are.")


def test_where_no_such_process_is_at_work_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = begun_elsewhere("shared", monkeypatch)
    began_on(theirs, "another")
    monkeypatch.setattr(searches, "work", leaving)
    now, naps = [0.0], []
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        naps.append(now[0])
        now[0] += 7.0

    monkeypatch.setattr(waiting.time, "sleep", sleep)
    with pytest.raises(OtherProcessor, match=r"--any-processor .* No process of its kind is at work on this"):
        found("shared")
    assert naps[-1] < 60.0 + 2 * 7.0 and len(naps) >= 9
    with monkeypatch.context() as patch:
        patch.setenv(rounding.ANY, "1")
        assert found("shared").candidates


def test_who_waits_for_others_waits_while_one_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 40.0))
    left = [OtherProcessor("it rounds otherwise.")]
    patient = waiting.Waiting()
    for k in range(20):
        patient.pause("a", left, others=True)
        patient.pause("a", left, others=False)  # one is seen from time to time
        patient.pause("a", left, others=False)
        patient.pause("a", left, others=True)
        patient.pause(k, left, others=False)  # something was finished
        patient.pause("b", [], others=False)
    patient.pause("b", left, others=False)
    patient.pause("b", left, others=False)
    with pytest.raises(OtherProcessor, match=r"^it rounds otherwise\. No process of its kind is at work"):
        patient.pause("b", left, others=False)


def test_trials_play_on_from_where_they_paused(wholes: dict[str, Any]) -> None:
    """The agents of the last rung are those of whole trainings, and no steps were played twice."""
    result = found("run")
    for path in sorted(result.folder.glob("trials/*/*/score.json")):
        run = runs.read_run(path.parent)
        alone = training.train(run.recipe, run.seed, "alone", progress=False, overwrite=True)
        assert (alone.folder / "agent.zip").read_bytes() == (run.folder / "agent.zip").read_bytes()
        assert (alone.folder / "episodes.csv").read_bytes() == (run.folder / "episodes.csv").read_bytes()
    assert len(list(result.folder.glob("trials/*/*/score.json"))) == 2 * 2


def test_settings_that_fail_are_noted_and_cost_nobody_else_anything() -> None:
    space = {"ppo.learning_rate": {"among": [1e-3, 1e30]}, "ppo.n_epochs": {"low": 1, "high": 3}}
    result = found("run", dataclasses.replace(STUDY, space=space))
    lines = (result.folder / "trials.csv").read_text().splitlines()
    failed = [line for line in lines[1:] if "learning broke down" in line]
    assert failed and all("1e+30" in line for line in failed)
    assert result.candidates[0].recipe.ppo.learning_rate != 1e30
    assert sum("1e+30" in line for line in lines) == len(failed)


def test_where_all_settings_fail_it_ends_with_the_reason() -> None:
    broken = dataclasses.replace(RECIPE, ppo=dataclasses.replace(RECIPE.ppo, learning_rate=1e30))
    space = {"ppo.n_epochs": {"low": 1, "high": 3}}
    with pytest.raises(UserError, match=r"all 3 trials of the first wave failed.*learning broke down.*--out"):
        found("run", dataclasses.replace(STUDY, space=space), broken)


def test_evolutions_are_searched_alike() -> None:
    space = {
        "evolution.settings.population": {"low": 4, "high": 16, "power": 2},
        "evolution.strategy": {"among": ["genetic", "openai_es"]},
        "evolution.settings.parents": {"low": 1, "high": 4, "when": {"evolution.strategy": "genetic"}},
    }
    result = found("run", dataclasses.replace(STUDY, space=space), EVOLVED)
    assert result.candidates[0].searched is not None
    text = (result.folder / "tiny.toml").read_text()
    assert "population" in text and ("parents" in text) == ('"genetic"' in text)


def test_the_journal_tells_optunas_dashboard_the_same() -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder = found("run").folder
    study = optuna.load_study(
        study_name="tiny", storage=JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    )
    rows = [line.split(",") for line in (folder / "trials.csv").read_text().splitlines()[1:]]
    told = {t.user_attrs["trial"]: t for t in study.trials}
    for row in rows:
        if int(row[0]) in told:
            assert told[int(row[0])].value == pytest.approx(float(row[4]))
    assert len(told) >= 5
    for name in ("search.png", "settings.png", "seconds.png"):
        assert (folder / name).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("each", [0.0, 0.0005])
def test_trainings_that_take_no_time_are_told_too(each: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the clock does not move between two looks there are no seconds to draw; a moment is kept."""
    now = itertools.count()
    monkeypatch.setattr("rlrnn.experiment.training.training.time.perf_counter", lambda: each * next(now))
    result = found("run", dataclasses.replace(STUDY, verify=()))
    assert (result.folder / "search.png").exists()
    assert (result.folder / "seconds.png").exists() == (each > 0.0)
    lines = (result.folder / "trials.csv").read_text().splitlines()[1:]
    seconds = [float(line.split(",")[7]) for line in lines]
    assert all((second > 0.0) == (each > 0.0) for second in seconds)


def test_the_winner_is_a_recipe_with_what_fresh_seeds_won(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlrnn.experiment.search import winners
    from rlrnn.experiment.training.seeds import Outcome, Task

    naps: list[float] = []

    def train_seeds(tasks: Sequence[Task], jobs: int, progress: bool = True) -> Outcome:
        if not naps:  # one of them is left to another kind of processor
            return Outcome(elsewhere={tasks[0].seed: OtherProcessor("it rounds otherwise.")})
        made = [training.train(t.recipe, t.seed, t.folder, progress=False) for t in tasks]
        return Outcome(finished=made)

    monkeypatch.setattr(winners, "train_seeds", train_seeds)
    monkeypatch.setattr(waiting.time, "sleep", naps.append)
    result = found("run", dataclasses.replace(STUDY, best=1, verify=(0, 1), controls=1))
    recipe = catalogue.agent(result.recipe)
    first, *rest = result.candidates
    assert recipe.name == "tiny" and recipe.verified == first.verified and first.verified is not None
    assert recipe.verified.seeds == (0, 1) and len(recipe.verified.feedforward) == 1
    assert len(recipe.verified.stacked) == 1 and len(recipe.verified.wiped) == 2
    for k, points in enumerate(recipe.verified.points):
        place = result.folder / "verified" / f"{first.trial:03}" / f"seed{k}"
        assert round(runs.read_run(place).scores()["with memory"].mean, 3) == points
    assert 0 in {candidate.trial for candidate in result.candidates}
    assert all((first.mean or 0) >= (other.mean or 0) for other in rest)
    assert (
        dataclasses.replace(recipe, verified=None, name="", description="")
        == dataclasses.replace(first.recipe, name="", description="")
        if first.trial
        else True
    )


def test_the_folder_of_another_study_is_refused() -> None:
    found("run", dataclasses.replace(STUDY, trials=3))
    cases: list[tuple[dict[str, Any], Recipe, str]] = [
        ({"wave": 2}, RECIPE, "wave is 3 in it, and 2 is asked for"),
        ({"seed": 1}, RECIPE, "seed is 0 in it, and 1 is asked for"),
        ({"space": {"ppo.gamma": {"among": [0.9]}}}, RECIPE, "is not given in it|ppo.learning_rate"),
        ({}, dataclasses.replace(RECIPE, steps=999), "steps is 384 in it, and 999 is asked for"),
        ({}, dataclasses.replace(RECIPE, ppo=PpoRecipe(n_envs=2)), "ppo"),
    ]
    for changes, recipe, sentence in cases:
        with pytest.raises(UserError, match=f"run holds another study .*{sentence}.*--out"):
            found("run", dataclasses.replace(STUDY, **{"trials": 3, **changes}), recipe)


def test_what_is_no_study_newer_or_damaged_is_named() -> None:
    Path("other").mkdir()
    Path("other", "notes.txt").write_text("mine")
    with pytest.raises(FileFault, match="other holds other things than a study"):
        found("other")
    few = dataclasses.replace(STUDY, trials=3)
    folder = found("run", few).folder
    spoils = [
        (folder / "study.toml", "format = 99\n", "written by a newer rlrnn .format 99.*pip install"),
        (folder / "study.toml", "name = 'x'\n", "is damaged: it should hold its format"),
        (folder / "trials" / "000" / "values.json", "[1]", "values.json is damaged"),
        (folder / "trials" / "001" / "values.json", '{"ppo.learning_rate": "x"}', "values.json is damaged"),
        (folder / "trials" / "000" / "seed200" / "rungs.json", "[]", "rungs.json is damaged"),
        (folder / "trials" / "000" / "seed200" / "rungs.json", '{"115": {"points": "x"}}', "damaged"),
        (folder / "trials" / "000" / "seed200" / "rungs.json", '{"115": {"won": 3}}', "damaged"),
    ]
    for path, text, sentence in spoils:
        before = path.read_text()
        path.write_text(text)
        with pytest.raises(FileFault, match=sentence):
            found("run", few)
        assert path.read_text() == text
        path.write_text(before)
    assert found("run", few).folder == folder


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rlrnn\[search\]"'):
        found("run")
    assert not Path("run").exists()


def test_the_shell_searches_an_agent_a_study_or_a_game(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(runs.to_toml(RECIPE))
    common = ["--trials", "2", "--wave", "2", "--verify", "0", "--quiet", "--set", "steps=128"]
    assert main(["search", "mine.toml", *common]) == 0
    said = capsys.readouterr().out
    assert "the best of 2 trials" in said and "runs/tiny-searched/tiny-searched.toml" in said
    Path("study.toml").write_text("recipe = 'mine.toml'\n[space]\n'ppo.gamma' = { low = 0.9, high = 1.0 }\n")
    assert main(["search", "study.toml", *common, "--out", "there"]) == 0
    assert "there/study.toml" in capsys.readouterr().out
    for arguments, sentence in [
        ([], "give what to search"),
        (["mine.toml", "--game", "CartPole-v1"], "give what to search"),
        (["mine.toml", "--kwargs", "a=1"], "--kwargs and --wrapper change a game"),
        (["no-such-agent"], "unknown agent 'no-such-agent'"),
        (["none.toml"], "there is no file none.toml"),
    ]:
        assert main(["search", *arguments]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault",
    [FileFault("the disk is full."), LostLease("it was lost."), OtherProcessor("it rounds otherwise.")],
)
def test_a_fault_of_others_is_no_trials_fault(fault: UserError, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr(playing.training, "train", broken)
    with pytest.raises(type(fault), match=str(fault)):
        found("run")
    assert not list(Path("run").glob("trials/*/*/rungs.json"))


def test_a_control_that_cannot_be_trained_costs_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The claim and the trainings are stand-ins; what was found is kept without that control."""

    def train_seeds(tasks: Sequence[Task], jobs: int, progress: bool) -> Outcome:
        if tasks[0].recipe.name.endswith("-stacked"):
            return Outcome(failed={0: "the game is too large."})
        return Outcome(finished=[task.folder.name for task in tasks])  # type: ignore[misc]

    claimed = Verified((7.0, 7.0), (0, 1), "0.1.0", "")
    monkeypatch.setattr(winners, "train_seeds", train_seeds)
    monkeypatch.setattr(winners, "claim", lambda runs, command: claimed)
    monkeypatch.setattr(winners, "means", lambda runs, player: (3.0,) * len(runs))
    study = dataclasses.replace(STUDY, verify=(0, 1), best=1, controls=2)
    folder = SimpleNamespace(study=study, path=tmp_path, recipe_of=lambda trial, values: RECIPE)
    now = SimpleNamespace(best=[0], values=[None], reached=lambda trial: 1, score=lambda trial, rung: 8.0)
    how = {"device": "cpu", "command": None, "imports": (), "progress": True}
    (found,) = winners.verify(folder, now, 1, **how)  # type: ignore[arg-type]
    assert found.verified == dataclasses.replace(claimed, feedforward=(3.0, 3.0))
    told = capsys.readouterr().err
    assert "rlrnn: the recipe as it is, on fresh seeds 0 and 1.\n" in told
    assert "rlrnn: the control stacked is left out: Seed 0 failed: the game is too large.\n" in told


@pytest.mark.parametrize("fails", ["a trial", "the recipe as it is", "all"])
def test_a_candidate_that_fails_on_a_fresh_seed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    """Stand-ins train; points are negative, so that a failure is less than any of them."""
    lost = {"a trial": {3}, "the recipe as it is": {0}, "all": {0, 3, 5}}[fails]

    def train_seeds(tasks: Sequence[Task], jobs: int, progress: bool) -> Outcome:
        trial = int(tasks[0].folder.parent.name)
        if trial in lost:
            return Outcome(failed={1: "the loss is not finite."})
        return Outcome(finished=[trial for _ in tasks])  # type: ignore[misc]

    def claim(runs: Sequence[int], command: str) -> Verified:
        return Verified((-10.0 - runs[0],) * 2, (0, 1), "0.1.0", "", wiped=(-90.0, -90.0), seconds=1.0)

    monkeypatch.setattr(winners, "train_seeds", train_seeds)
    monkeypatch.setattr(winners, "claim", claim)
    study = dataclasses.replace(STUDY, verify=(0, 1), best=2, controls=0)
    folder = SimpleNamespace(study=study, path=tmp_path, recipe_of=lambda trial, values: RECIPE)
    now = SimpleNamespace(
        best=[3, 5], values=[None] * 6, reached=lambda trial: 1, score=lambda trial, rung: -8.0
    )
    how = {"device": "cpu", "command": None, "imports": (), "progress": False}
    if fails == "all":
        with pytest.raises(UserError, match="Seed 1 failed: the loss is not finite"):
            winners.verify(folder, now, 1, **how)  # type: ignore[arg-type]
        monkeypatch.setattr(winners, "train_seeds", Mock(side_effect=OtherProcessor("another kind.")))
        with pytest.raises(OtherProcessor):  # which is no fault of the settings
            winners.verify(folder, now, 1, **how)  # type: ignore[arg-type]
        assert "another kind" not in capsys.readouterr().err
        return
    found = winners.verify(folder, now, 1, **how)  # type: ignore[arg-type]
    assert [c.trial for c in found] == ([0, 5, 3] if fails == "a trial" else [3, 5, 0])
    assert [c.mean for c in found] == ([-10, -15, None] if fails == "a trial" else [-13, -15, None])
    who = "trial 3" if fails == "a trial" else "the recipe as it is"
    assert f"rlrnn: {who} is left out: Seed 1 failed: the loss is not finite." in capsys.readouterr().err
    said = telling.sentence(found, Path("won.toml"))
    assert ("was not beaten" in said) if fails == "a trial" else ("could not be trained on them" in said)
    assert telling.table(study, found).row_count == 3
