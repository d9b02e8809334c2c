"""Verifying: the interval covers what it claims, each verdict has its words, attached weights are judged."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rlrnn.common import package_data
from rlrnn.errors import UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.evaluation import RANDOM, WIPED, WITH_MEMORY, Score
from rlrnn.experiment.recipes import EvaluationRecipe, NetworkRecipe, PpoRecipe, Recipe, Verified
from rlrnn.experiment.training import training, verifying
from rlrnn.experiment.training.seeds import Outcome
from rlrnn.experiment.training.verifying import Verdict, interval, table, verify
from rlrnn.experiment.weights import attached

TINY = Recipe(
    name="tiny",
    game="cartpole-no-velocity",
    steps=256,
    network=NetworkRecipe(hidden_size=4),
    ppo=PpoRecipe(n_envs=4, n_steps=32, n_epochs=1),
    evaluation=EvaluationRecipe(episodes=4),
)
CLAIM = Verified((10.0, 14.0), (4, 7), "0.1.0", "by hand", wiped=(1.0, 2.0))


def verdict(*points: float, wiped: tuple[float, ...] = (5.0, 5.0), claim: Verified = CLAIM) -> Verdict:
    players = [{WITH_MEMORY: p, WIPED: w, RANDOM: 0.0} for p, w in zip(points, wiped, strict=False)]
    scores = tuple({name: Score((m - 1, m + 1), (1, 1)) for name, m in means.items()} for means in players)
    return Verdict("tiny", "steps", claim, claim.seeds[: len(points)], scores, retrained=True)


def test_the_interval_is_students_for_the_mean_of_new_draws():
    # t of 4 degrees of freedom is 2.7764; 1 to 5 have mean 3 and variance 2.5.
    low, high = interval((1.0, 2.0, 3.0, 4.0, 5.0), 2, random=3.0)
    assert (low + high) / 2 == pytest.approx(3)
    assert (high - low) / 2 == pytest.approx(2.77645 * np.sqrt(2.5 * (1 / 5 + 1 / 2)), rel=1e-4)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 2), (5, 5)])
def test_the_interval_holds_19_means_of_20(n, m):
    dice, inside = np.random.default_rng(0), 0
    draws = 1500
    for _ in range(draws):
        low, high = interval(tuple(dice.normal(7, 3, n)), m, random=7.0)
        inside += low <= dice.normal(7, 3, m).mean() <= high
    assert abs(inside / draws - 0.95) < 3 * np.sqrt(0.95 * 0.05 / draws)


def test_seeds_that_all_won_alike_leave_room_for_rounding():
    assert interval((500.0,) * 5, 5, random=20.0) == pytest.approx((495.2, 504.8))
    assert interval((-8.0,) * 3, 1, random=2.0) == pytest.approx((-8.1, -7.9))
    with pytest.raises(UserError, match="at least two"):
        interval((1.0,), 1, random=0.0)


def test_equal_means_every_seed_with_and_without_memory():
    equal, inside = verdict(10.0, 14.0, wiped=(1.0, 2.0)), verdict(10.0, 14.0, wiped=(1.0, 2.001))
    assert equal.verified and equal.sentence() == "tiny is verified: equal points on every seed."
    # 12 +- t of one degree of freedom, 12.706, times the deviation of 10 and 14, sqrt(8)
    assert inside.verified and inside.sentence().startswith(
        "tiny is verified: 12.0 is within -23.9 to 47.9. ("
    )


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("", "(The processor of the recorded runs is not known; another kind rounds differently.)"),
        ("Intel", "(The recorded runs are from Intel, and this is AMD, which rounds differently.)"),
        (
            "AMD",
            "(The recorded runs are from this kind of processor: versions or the code make the difference.)",
        ),
    ],
)
def test_another_kind_of_processor_is_held_to_the_interval_and_that_is_said(then, reason):
    claim = dataclasses.replace(CLAIM, processor=then)
    other = dataclasses.replace(verdict(11.0, 13.0, claim=claim), processor="AMD")
    assert other.verified and other.sentence().endswith(reason)
    same = dataclasses.replace(verdict(10.0, 14.0, wiped=(1.0, 2.0), claim=claim), processor="AMD")
    assert same.sentence() == "tiny is verified: equal points on every seed."


def test_what_wins_less_is_a_failure_and_what_wins_more_is_none():
    claim = dataclasses.replace(CLAIM, points=(10.0, 10.0))  # 10 +- 1 % of 10
    assert [verdict(p, p, claim=claim).verified for p in (9.89, 9.91, 10.09, 11.0)] == [
        False,
        True,
        True,
        True,
    ]
    assert "tiny is not verified: 9.8 is below 9.9 to 10.1. (" in verdict(9.8, 9.8, claim=claim).sentence()
    assert "tiny is verified and better: 11.0 is above" in verdict(11.0, 11.0, claim=claim).sentence()


def test_the_first_seeds_are_held_to_their_own_points():
    assert verdict(10.0, wiped=(1.0,)).equal and not verdict(14.0, wiped=(1.0,)).equal
    assert not verdict(10.0, wiped=(1.0,), claim=dataclasses.replace(CLAIM, wiped=())).equal


def test_the_table_tells_every_seed(capsys):
    Console(width=120).print(table(verdict(10.0, 13.0)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["4", "10.0", "10.0", "1.0", "5.0"] in lines and ["7", "14.0", "13.0", "2.0", "5.0"] in lines
    assert ["mean", "12.0", "11.5", "1.5", "5.0"] in lines
    assert ["expected", "-23.9", "to", "47.9"] in lines


def test_a_control_is_listed_as_what_has_no_memory_to_wipe(capsys):
    claim = dataclasses.replace(CLAIM, wiped=())
    control = dataclasses.replace(verdict(10.0, 14.0, claim=claim), name="tiny-stacked", memory=False)
    assert control.equal and not dataclasses.replace(control, memory=True).equal
    Console(width=120).print(table(control))
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert "tiny-stacked (without memory), trained again" in text and "wiped" not in text
    assert ["4", "10.0", "10.0"] in lines and ["mean", "12.0", "12.0"] in lines


@pytest.mark.parametrize(("cell", "memory"), [("gru", True), ("none", False)])
def test_whether_there_is_a_memory_is_the_recipes_to_say(cell, memory, trained, monkeypatch):
    monkeypatch.setattr(verifying, "train_seeds", lambda *arguments: Outcome(finished=[trained]))
    recipe = dataclasses.replace(TINY, verified=CLAIM, network=NetworkRecipe(cell=cell))
    assert verify(recipe, 1).memory is memory


@pytest.mark.parametrize(
    ("recipe", "count", "words"),
    [
        (TINY, None, "tiny was not verified"),
        (dataclasses.replace(TINY, verified=Verified((1.0,), (0,), "", "")), None, "on one seed alone"),
        (dataclasses.replace(TINY, verified=CLAIM), 3, "3 seeds are asked for; tiny was verified on 2"),
    ],
)
def test_what_cannot_be_verified_is_refused(recipe, count, words):
    with pytest.raises(UserError, match=words):
        verify(recipe, count)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> training.Run:
    return training.train(TINY, 4, tmp_path_factory.mktemp("runs") / "tiny" / "seed4", progress=False)


def test_a_retrained_agent_replaces_older_runs(trained, tmp_path, monkeypatch):
    asked = []

    def train_seeds(tasks, jobs, progress):
        asked.extend(tasks)
        return Outcome(finished=[trained])

    monkeypatch.setattr(verifying, "train_seeds", train_seeds)
    monkeypatch.chdir(tmp_path)
    found = verify(dataclasses.replace(TINY, verified=CLAIM), 1, command="rlrnn verify tiny")
    (task,) = asked
    assert (task.seed, task.folder, task.overwrite) == (4, Path("runs/tiny-again/seed4"), True)
    assert task.command == "rlrnn verify tiny"
    assert found.points == (trained.scores()[WITH_MEMORY].mean,) and found.retrained


def test_a_seed_that_fails_is_no_verdict(monkeypatch):
    monkeypatch.setattr(verifying, "train_seeds", lambda *arguments: Outcome(failed={4: "it broke."}))
    with pytest.raises(UserError, match="Seed 4 failed: it broke"):
        verify(dataclasses.replace(TINY, verified=CLAIM))


def test_attached_weights_are_judged_as_they_were(trained, tmp_path, monkeypatch):
    sealed = dataclasses.replace(TINY, verified=CLAIM)
    place = tmp_path / "runs" / "verified"
    place.mkdir(parents=True)
    (place / "tiny-seed4.zip").write_bytes((trained.folder / "agent.zip").read_bytes())
    (tmp_path / "envs").symlink_to(package_data.PACKAGE.parent / "envs")
    monkeypatch.setattr(package_data, "PACKAGE", tmp_path / "rlrnn")
    monkeypatch.setattr(catalogue, "agents", lambda: {"tiny": sealed})
    found = verify(sealed)
    assert found.seeds == (4,) and not found.retrained and found.scores == (trained.scores(),)
    # A recipe of the user's that is only called the same has nothing attached.
    assert attached(sealed) and not attached(dataclasses.replace(sealed, steps=257))
    # Inside a wheel they are data of the package.
    data = tmp_path / "rlrnn" / "data"
    data.mkdir(parents=True)
    place.rename(data / "verified")
    assert attached(sealed) == {4: data / "verified" / "tiny-seed4.zip"}
