"""Agents beside each other: every seed counts once, the random player once, and table and picture say so."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import statistics
from rlrnn.experiment.evaluation import RANDOM, WIPED, WITH_MEMORY, Score
from rlrnn.experiment.pictures import scores
from rlrnn.experiment.pictures.scores import draw
from rlrnn.experiment.recipes import NetworkRecipe, Recipe
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.comparing import Comparison, compare, table

GRU = Recipe("gru", "pong", 1)
PLAIN = Recipe("plain", "pong", 1, network=NetworkRecipe(cell="none"))
DICE = (-9.0, -8.0, -10.0)


def new_run(folder, recipe, seed, able, wiped=(-9.0, -8.0, -8.5), **others):
    """A run that was judged over three episodes."""
    run = runs.open_run(folder, recipe, seed, None, False)
    points = {WITH_MEMORY: able, WIPED: wiped, RANDOM: DICE, **others}
    scores = {playing: Score(tuple(p), (9,) * len(p)) for playing, p in points.items() if p is not None}
    runs.write_scores(run.folder / contents.SCORE, scores)
    return run


@pytest.fixture
def folder(tmp_path):
    """Three seeds of one agent and two of another."""
    for seed in range(3):
        new_run(tmp_path / "gru" / f"seed{seed}", GRU, seed, (8.0 + seed, 9.0, 10.0))
    for seed in range(2):
        new_run(tmp_path / "plain" / f"seed{seed}", PLAIN, seed, (-8.0, -7.0, -6.0 - seed))
    return tmp_path


def printed(comparison, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(comparison))
    return console.export_text()


def test_a_row_per_agent_and_way_of_playing(folder):
    found = compare([folder / "gru", folder / "plain"])
    assert [(row.agent, row.playing, row.played) for row in found.rows] == [
        ("gru", WITH_MEMORY, "3 x 3"),
        ("gru", WIPED, "3 x 3"),
        ("plain", WITH_MEMORY, "2 x 3"),  # which has no memory to be wiped
        ("", RANDOM, "3"),  # five runs let the same dice play the same three episodes
    ]
    able, *_, dice = found.rows
    assert able.means == [9, pytest.approx(28 / 3), pytest.approx(29 / 3)] and dice.points == (DICE,)
    assert able.interval == statistics.interval(able.points) and able.interval.seeds == 3
    assert found.game.name == "pong" and found.scale == (-8.49, 11)


def test_every_two_agents_meet_the_likelier_winner_first(folder):
    (duel,) = compare([folder / "plain", folder / "gru"]).duels
    assert (duel.agent, duel.other, duel.probability, duel.high) == ("gru", "plain", 1, 1)
    able = compare([folder / "gru"]).rows[0].points, compare([folder / "plain"]).rows[0].points
    assert (duel.probability, duel.low, duel.high) == statistics.beats(*able)
    assert compare([folder / "gru"]).duels == []


def test_seeds_may_be_given_one_by_one_and_each_counts_once(folder):
    whole = compare([folder / "gru"])
    seeds = [folder / "gru" / f"seed{k}" for k in range(3)]
    assert compare(seeds) == compare([folder / "gru", *seeds]) == whole
    assert compare([runs.read_run(seed) for seed in seeds]) == whole


def test_the_same_seed_twice_is_refused(folder):
    new_run(folder / "gru" / "copy", GRU, 1, (8.0, 9.0, 9.0))
    with pytest.raises(
        UserError, match=r"gru.seed1 and .*gru.copy are both seed 1 of gru: leave one of them out"
    ):
        compare([folder / "gru", folder / "gru" / "copy"])


def test_points_of_different_games_are_refused(folder):
    new_run(folder / "pole" / "seed0", Recipe("pole", "cartpole", 1), 0, (500.0,))
    with pytest.raises(UserError, match="gru plays pong, pole plays cartpole: give agents of one game"):
        compare([folder / "gru", folder / "pole"])
    new_run(folder / "long" / "seed0", replace(PLAIN, name="long", kwargs={"points": 21}), 0, (20.0,))
    with pytest.raises(UserError, match=r"gru plays pong, long plays pong with \{.points.: 21\}"):
        compare([folder / "gru", folder / "long"])


def test_what_cannot_be_compared_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="there is nothing to compare"):
        compare([])
    with pytest.raises(FileFault, match=r"there is no run none"):
        compare(["none"])
    run = new_run(folder / "gru" / "seed3", GRU, 3, None)
    with pytest.raises(FileFault, match=r"seed3.score\.json holds no points with memory"):
        compare([folder / "gru"])
    (run.folder / contents.SCORE).unlink()
    with pytest.raises(FileFault, match=r"seed3 holds no score\.json"):
        compare([folder / "gru"])  # never silently without one of the seeds


def test_a_way_of_playing_that_a_seed_lacks_has_no_row(folder):
    new_run(folder / "gru" / "seed3", GRU, 3, (1.0,), wiped=None, **{RANDOM: None})
    rows = compare([folder / "gru"]).rows
    assert [row.playing for row in rows] == [WITH_MEMORY, RANDOM]
    assert rows[0].played == "4 x 1 to 3"


def test_the_shell_shows_every_number(folder):
    text = printed(compare([folder / "gru", folder / "plain"]))
    able = next(line for line in text.splitlines() if WITH_MEMORY in line)
    # By hand: seeds 9, 28/3, 29/3; of nine episodes the quarter 2 goes at either end: 9 9 9 10 10.
    assert able.split()[:6] == ["with", "memory", "3", "x", "3", "9.33"] and able.split()[-1] == "0.91"
    points = [8, 9, 10, 9, 9, 10, 10, 9, 10]
    for number in (np.std(points), 9.0, 9.4):
        assert f" {number:.2f}" in able
    for words in ("Pong in fog", "random player", "memoryless", "-6.51", "ceiling", "11.00", "gru", "plain"):
        assert words in text
    assert "the random player (-8.49) is 0, the ceiling (11) is 1" in text
    assert "one seed" not in text


def test_the_interval_of_one_seed_is_said_to_cover_that_seed_alone(folder):
    text = printed(compare([folder / "gru" / "seed0", folder / "plain"]))
    marked = [line for line in text.splitlines() if "*" in line]
    *rows, note = marked
    assert len(rows) == 2 and all("1 x 3" in line for line in rows) and note.startswith("* The interval")
    assert "further episodes of this one seed, not other seeds" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_is_cut_short_on_a_narrow_terminal(folder, width):
    text = printed(compare([folder / "gru", folder / "plain"]), width)
    assert "…" not in text and max(map(len, text.splitlines())) <= width


def test_long_names_are_whole_at_80_columns_and_no_mark_stands_alone(tmp_path):
    names = [f"position-cartpole-medium-gru-of-{number}" for number in ("one", "another-and-longer")]
    for number, name in enumerate(names):
        new_run(tmp_path / name / "seed0", replace(GRU, name=name), 0, (100.0 + number, 400.0, 500.0))
    lines = printed(compare([tmp_path / name for name in names]), 80).splitlines()
    assert [sum(name in line.split() for line in lines) for name in names] == [2, 2]  # its rows, the duel
    assert not [line for line in lines if line.split()[:2] == ["*"]]
    assert sum(line.rstrip().count("*") for line in lines if "1 x 3" in line) == 4


def test_a_network_without_memory_is_called_so(folder):
    text = printed(compare([folder / "plain"]))
    assert "without memory" in text and "with memory" not in text and "wiped" not in text


def test_an_interval_is_shown_up_to_the_ceiling_alone(folder):
    (row, *_) = compare([folder / "gru"]).rows
    assert row.possible == (row.interval.low, row.interval.high) and row.interval.high < 11
    assert replace(row, ceiling=9.4).possible == (row.interval.low, 9.4)
    assert replace(row, ceiling=1.0).possible == (row.interval.low, row.mean)  # an estimate that was exceeded
    assert replace(row, ceiling=None).possible[1] == row.interval.high


def test_different_numbers_of_steps_are_said(folder):
    assert "Trained for" not in printed(compare([folder / "gru", folder / "plain"]))
    new_run(folder / "long" / "seed0", replace(PLAIN, name="long", steps=200_000), 0, (1.0, 2.0, 3.0))
    new_run(folder / "short" / "seed0", replace(PLAIN, name="short", steps=100_000), 0, (1.0, 2.0, 3.0))
    text = printed(compare([folder / "long", folder / "short"]))
    assert "Trained for different numbers of steps (means over seeds): long 200k, short 100k." in text


def test_a_scale_needs_a_random_player_below_a_ceiling(folder):
    found = compare([folder / "gru"])
    game, refs = found.game, found.game.references
    assert replace(found, game=replace(game, references=replace(refs, random=None))).scale == (-9, 11)
    unknown = replace(found, game=replace(game, references=replace(refs, ceiling=None)))
    assert unknown.scale is None and "norm" not in printed(unknown)
    assert replace(found, game=replace(game, references=replace(refs, random=refs.ceiling))).scale is None
    assert Comparison(replace(game, references=replace(refs, random=None)), found.rows[:2]).scale is None


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_picture_is_written_and_always_the_same(folder, suffix, monkeypatch):
    found = compare([folder / "gru", folder / "plain"])
    first = draw(found, folder / "new" / f"a.{suffix}")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert draw(found, folder / f"b.{suffix}").read_bytes() == first.read_bytes()
    with pytest.raises(UserError, match=r"a\.xyz should end in \.png, \.pdf or \.svg"):
        draw(found, folder / "a.xyz")


def test_the_picture_shows_means_intervals_seeds_and_references(folder, monkeypatch):
    found = compare([folder / "gru", folder / "plain" / "seed0"])
    figures = []
    monkeypatch.setattr(scores, "save", lambda figure, path: figures.append(figure) or path)
    draw(found, "unused.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "gru",
        WIPED,
        "plain",
        RANDOM,
    ]
    marks = [bar.lines[0] for bar in axes.containers]
    assert [mark.get_xdata()[0] for mark in marks] == [row.mean for row in found.rows]
    assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, True, False, True]
    for bar, row in zip(axes.containers, found.rows, strict=True):
        ((low, _), (high, _)) = bar.lines[2][0].get_segments()[0]
        assert (low, high) == pytest.approx((row.interval.low, row.interval.high))
    dots = [list(line.get_xdata()) for line in axes.lines if line.get_markersize() == 2.5]
    assert dots == [row.means for row in found.rows[:2]]  # one seed is its own mean
    assert sorted(text.get_text() for text in axes.texts) == sorted(
        ["random -8.49", "memoryless -6.51", "best 8.93", "ceiling 11"]
    )


def test_labels_of_close_references_do_not_touch(folder, monkeypatch):
    found = compare([folder / "gru"])
    refs = found.game.references
    close = replace(
        refs, memoryless=replace(refs.random, points=-8.4), best=replace(refs.random, points=-8.3)
    )
    figures = []
    monkeypatch.setattr(scores, "save", lambda figure, path: figures.append(figure) or path)
    draw(replace(found, game=replace(found.game, references=close)), "unused.png")
    figures[0].canvas.draw()
    boxes = [text.get_window_extent() for text in figures[0].axes[0].texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_performance_profiles_by_hand(folder, tmp_path, monkeypatch):
    assert scores.share_above([1.0, 2.0, 2.0, 5.0], np.array([0.0, 1, 2, 4.9, 5])).tolist() == [
        1,
        0.75,
        0.25,
        0.25,
        0,
    ]
    figures = []
    monkeypatch.setattr(scores, "save", lambda figure, path: figures.append(figure) or path)
    comparison = compare([folder / "gru", folder / "plain"])
    scores.draw_profiles(comparison, tmp_path / "p.svg")
    (axes,) = figures[0].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert len(lines) == 3  # two agents and the random player
    for line in lines.values():
        shares = line.get_ydata()
        assert (np.diff(shares) <= 0).all() and shares[-1] >= 0 and shares[0] <= 1
    every = next(row for row in comparison.rows if row.agent == "gru" and row.playing == WITH_MEMORY)
    (gru,) = (line for label, line in lines.items() if label.startswith("gru"))
    middle = gru.get_xdata()[200]
    assert gru.get_ydata()[200] == pytest.approx(
        np.mean([np.mean(np.array(seed) > middle) for seed in every.points])
    )
