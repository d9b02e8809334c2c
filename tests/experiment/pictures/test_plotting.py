"""Learning curves: what every kind of file means, how seeds are brought together, what the picture shows."""

import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from rlrnn.envs.games import Game, Points, Reference, References
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.pictures.plotting import COLOURS, MARKERS, draw, interquartile_band, plot
from rlrnn.experiment.recipes import NetworkRecipe, Recipe
from rlrnn.experiment.runs import runs
from rlrnn.experiment.runs.curves import (
    GRID,
    WINDOW,
    Curve,
    agent_names,
    along,
    on_common_steps,
    read_curves,
    read_runs,
    running_mean,
)
from rlrnn.experiment.runs.evaluations import Evaluations

GAME = Game(
    "g",
    "x",
    "Pong in fog",
    points=Points("points won"),
    references=References(Reference(-11, "a"), None, None, Reference(11, "b")),
)


def curve(name, n=40, game=GAME):
    return Curve(name, np.arange(1.0, n + 1), np.arange(float(n)), game=game)


def smooth(*pairs):
    steps, points = np.array(pairs, float).T
    return Curve("a", steps, points, smooth=True)


def new_run(folder, seed=0, recipe=Recipe("a", "CartPole-v1", 1)):  # noqa: B008
    run = runs.open_run(folder, recipe, seed, None, False)
    (run.folder / "episodes.csv").write_text("step,points,length\n10,1.5,10\n30,-2.0,20\n")
    return run


def test_the_running_mean_by_hand():
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 8.0, 0.0]), 2), [1, 2, 5.5, 4])
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 8.0]), 100), [1, 2, 4])
    assert running_mean(np.array([]), 1).shape == (0,)


def test_a_seed_says_at_a_common_step_what_it_knew_by_then():
    early = smooth((0, 1.0), (10, 2.0), (10, 3.0), (90, 4.0))  # two copies of the game ended at step 10
    late = smooth((20, 5.0), (30, 6.0), (100, 7.0))
    steps, points = on_common_steps([early, late])
    np.testing.assert_allclose(steps, np.linspace(20, 90, GRID))  # where both speak
    assert points.shape == (2, GRID)
    assert set(points[0, :-1]) == {3.0} and points[0, -1] == 4.0  # nothing is known before it was played
    np.testing.assert_array_equal(points[1], np.where(steps < 30, 5.0, 6.0))


def test_copies_that_end_together_are_one_point():
    points = np.array([1.0, 2.0, 6.0, 3.0, 4.0, 8.0, 7.0])
    together = Curve("a", np.array([600.0, 600, 600, 1200, 1200, 1200, 1400]), points)
    assert together.window == 3
    steps, means = together.smoothed()
    assert steps.tolist() == [600, 1200, 1400]
    np.testing.assert_allclose(means, [3, 5, 19 / 3])
    assert replace(together, steps=np.zeros(7), points=points).window == 7
    assert Curve("a", np.zeros(3 * WINDOW), np.zeros(3 * WINDOW)).window == WINDOW


def test_seeds_without_a_stretch_in_common_have_no_common_steps():
    steps, points = on_common_steps([smooth((0, 1.0), (10, 2.0)), smooth((10, 5.0), (20, 6.0))])
    assert steps.shape == (0,) and points.shape == (2, 0)


def test_raw_points_are_brought_together_as_running_means():
    raw = curve("a", 60)  # points 0, 1, 2, ...; the mean of the last three lags one behind
    assert raw.window == 3
    steps, points = on_common_steps([raw, raw])
    assert (steps[0], steps[-1]) == (2, 60)
    np.testing.assert_allclose(points[0][steps >= 3], np.floor(steps[steps >= 3]) - 2)


def test_a_run_is_read_with_its_game(tmp_path):
    run = new_run(tmp_path / "seed0")
    for source in (run, run.folder, tmp_path, str(tmp_path)):
        (read,) = read_curves([source])
        assert (read.name, read.smooth, read.game.id) == ("a", False, "CartPole-v1")
        assert read.steps.tolist() == [10, 30] and read.points.tolist() == [1.5, -2.0]
    assert len(read_curves([tmp_path, run, run.folder])) == 1  # a run counts once


def test_seeds_of_one_agent_lie_beside_each_other_and_share_a_recipe(tmp_path):
    lstm = Recipe("a", "CartPole-v1", 1, network=NetworkRecipe(cell="lstm"))
    gru = [new_run(tmp_path / "runs" / "a" / f"seed{k}", k) for k in (0, 1)]
    other = new_run(tmp_path / "runs" / "a-lstm" / "seed0", recipe=lstm)
    alone = new_run(tmp_path / "runs" / "b" / "seed0", recipe=replace(lstm, name="b"))
    assert agent_names([*gru, alone]) == ["a", "a", "b"]
    # The recipe's name alone would mix two kinds of network into one agent.
    assert agent_names([*gru, other, alone]) == ["a", "a", "a-lstm", "b"]
    again = new_run(tmp_path / "old" / "a" / "seed0")
    assert agent_names([*gru, again]) == ["runs/a", "runs/a", "old/a"]
    mixed = new_run(tmp_path / "runs" / "a" / "seed2", 2, lstm)
    assert agent_names([*gru, mixed]) == ["seed0", "seed0", "seed2"]
    described = [replace(gru[0], recipe=replace(gru[0].recipe, description="new words")), gru[1]]
    assert agent_names(described) == ["a", "a"]
    assert agent_names([]) == []


def test_sb3s_monitor_is_read(tmp_path):
    env = Monitor(gym.make("CartPole-v1"), str(tmp_path / "monitor.csv"))
    lengths = []
    env.action_space.seed(0)
    for episode in range(3):
        env.reset(seed=episode)
        done = False
        while not done:
            *_, terminated, truncated, info = env.step(env.action_space.sample())
            done = terminated or truncated
        lengths.append(info["episode"]["l"])
    env.close()
    (read,) = read_curves([tmp_path / "monitor.csv"])
    assert read.steps.tolist() == np.cumsum(lengths).tolist() and read.points.tolist() == lengths
    assert not read.smooth and read.name == f"{tmp_path.name}/monitor.csv"


def test_sb3s_progress_is_read(tmp_path):
    logger = configure(str(tmp_path), ["csv"])
    for step, points in ((100, None), (200, 1.5), (300, 2.5)):  # no episode ended in the first rollout
        logger.record("time/total_timesteps", step)
        if points is not None:
            logger.record("rollout/ep_rew_mean", points)
        logger.dump(step)
    logger.close()
    (read,) = read_curves([tmp_path / "progress.csv"])
    assert read.steps.tolist() == [200, 300] and read.points.tolist() == [1.5, 2.5] and read.smooth


def test_sb3s_evaluations_are_read(tmp_path):
    np.savez(
        tmp_path / "evaluations.npz",
        timesteps=[10, 20],
        results=[[1.0, 3.0], [5.0, 7.0]],
        ep_lengths=[[1, 1]] * 2,
    )
    (read,) = read_curves([tmp_path / "evaluations.npz"])
    assert read.steps.tolist() == [10, 20] and read.points.tolist() == [2, 6] and read.smooth


@pytest.mark.parametrize("name", ["monitor.csv", "progress.csv", "evaluations.npz"])
@pytest.mark.parametrize("content", ["", "#{}\na,b\n1,2\n", '#{}\nr,l,t\nx,y,z\n"rollout/ep_rew_mean"'])
def test_what_is_not_such_a_file_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(FileFault, match=r"is not what SB3 writes"):
        plot([path], tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_an_npz_that_holds_code_is_not_run(tmp_path):
    np.savez(tmp_path / "evaluations.npz", timesteps=np.array([print], dtype=object), results=[[1.0]])
    with pytest.raises(FileFault, match="is not what SB3 writes"):
        read_curves([tmp_path / "evaluations.npz"])


def strong(axes):
    return [line for line in axes.lines if line.get_linewidth() == 1.8]


def test_one_colour_per_agent_one_line_per_seed_one_label_per_reference():
    axes = draw([curve("gru"), curve("gru", 60), curve("none")]).axes[0]
    assert [line.get_color() for line in strong(axes)] == [COLOURS[0], COLOURS[0], COLOURS[1]]
    assert [line.get_marker() for line in strong(axes)] == [MARKERS[0], MARKERS[0], MARKERS[1]]
    assert axes.get_legend_handles_labels()[1] == ["gru", "none"]
    dots = [line for line in axes.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [40, 60, 40]
    assert all(line.get_rasterized() for line in dots)
    assert not any(line.get_rasterized() for line in strong(axes))
    assert [text.get_text() for text in axes.texts] == ["random -11", "ceiling 11"]
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 1]
    assert sorted(levels) == [-11, 11]
    assert axes.get_ylabel() == "points won" and axes.get_title("left") == "Pong in fog\n"
    assert axes.get_title("right") == "dots: episodes, lines: running means"


@pytest.mark.parametrize(("random", "far"), [(-21, False), (-24, True)])
def test_a_random_player_far_below_is_told_and_flattens_nothing(random, far):
    # the curve lies between 0 and 1, the ceiling at 11: everything else is 11 high, and 22 below 0 is far
    game = replace(GAME, references=References(random=Reference(random, "s"), ceiling=Reference(11, "s")))
    axes = draw([replace(smooth((0, 0.0), (50, 1.0)), game=game)]).axes[0]
    low, high = axes.get_ylim()
    assert (low <= random) != far and high >= 11
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 1] == [11, random][
        : 2 - far
    ]
    told = axes.texts[0]
    assert (
        told.get_text() == f"random {random}" + " \N{DOWNWARDS ARROW}" * far and told.get_position()[1] >= 0
    )


def test_a_flat_curve_stands_beside_the_random_player():
    game = replace(GAME, references=References(random=Reference(22, "s"), ceiling=Reference(500, "s")))
    axes = draw([replace(smooth((0, 500.0), (50, 500.0)), game=game)]).axes[0]
    assert axes.get_ylim()[0] < 22 and axes.texts[0].get_text() == "random 22"


def test_games_with_other_arguments_share_no_title_and_no_references():
    other = replace(GAME, title="Pong, other", kwargs={"fog": 3})
    for games in ((GAME, other), (other, GAME)):
        axes = draw([curve("a", game=games[0]), curve("b", game=games[1])]).axes[0]
        titles = "; ".join(game.title for game in games)
        assert axes.get_title("left") == f"2 games: {titles}\n" and not axes.texts
        assert axes.get_ylabel() == "points per episode, of different games"


def test_a_long_unit_takes_several_lines():
    game = replace(GAME, points=replace(GAME.points, unit="points " * 30))
    lines = draw([curve("a", game=game)]).axes[0].get_ylabel().splitlines()
    assert len(lines) == 4 and all(len(line) <= 60 for line in lines)


@pytest.mark.parametrize(("agents", "dotted"), [(3, True), (4, False)])
def test_dots_are_left_out_where_they_would_hide_each_other(agents, dotted):
    axes = draw([curve(f"agent {number}") for number in range(agents)]).axes[0]
    assert len(strong(axes)) == agents
    assert any(line.get_marker() == "." for line in axes.lines) == dotted
    assert axes.get_title("right") == "dots: episodes, " * dotted + "lines: running means"


def test_marks_lie_apart_whatever_the_lines_look_like():
    rough = np.random.default_rng(0).normal(size=(2, 5000)).cumsum(axis=1)
    steps = np.sort(np.random.default_rng(1).integers(1, 10**6, 5000))
    axes = draw([Curve("ab"[n], steps, rough[n], smooth=True) for n in range(2)]).axes[0]
    found = [steps[line.get_markevery()] for line in strong(axes)]
    assert [len(places) for places in found] == [8, 8]
    every = np.sort(np.concatenate(found))
    assert np.diff(every).min() > 0.015 * steps[-1]
    assert all(np.diff(places).min() > 0.11 * steps[-1] for places in found)


def test_marks_lie_on_the_running_mean_where_they_should():
    axes = draw([curve("a", 1000), curve("b", 1000)]).axes[0]
    for number, line in enumerate(strong(axes)):
        marked = line.get_xdata()[line.get_markevery()]
        places = (0.04 + 0.02 * number + 0.12 * np.arange(8)) * 1000
        np.testing.assert_allclose(marked[1:], places[1:], atol=1)  # the first lies before the mean begins


def test_one_agent_alone_needs_no_marks():
    (line,) = strong(draw([curve("a")]).axes[0])
    assert line.get_marker() == "None"


def test_three_seeds_become_their_median_and_quartiles():
    levels = np.array([0.0, 1.0, 4.0, 10.0])
    seeds = [smooth((0, level), (50, level + 100)) for level in levels]
    axes = draw(seeds).axes[0]
    (line,) = strong(axes)
    assert line.get_label() == "a (4 seeds)"
    assert set(line.get_ydata()) == {2.5, 102.5}
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert set(heights) == {0.75, 5.5, 100.75, 105.5}  # quartiles between two seeds, as numpy has them
    assert axes.get_title("right") == "lines with bands: median and quartiles of seeds"
    two = draw(seeds[:2]).axes[0]
    assert len(strong(two)) == 2 and not two.collections


def test_an_agent_before_its_first_episode_has_its_name_in_the_legend():
    empty = Curve("a", np.zeros(0), np.zeros(0))
    for seeds in ([empty], [empty] * 4):
        assert draw(seeds).axes[0].get_legend_handles_labels()[1] == ["a"]
    assert len(strong(draw([empty, curve("a"), curve("a")]).axes[0])) == 2


def test_seeds_that_cannot_be_brought_together_stay_lines():
    seeds = [smooth((k, 1.0), (k + 1, 2.0)) for k in (0, 10, 20)]
    axes = draw([*seeds, Curve("a", np.zeros(0), np.zeros(0))]).axes[0]
    assert len(strong(axes)) == 3 and not axes.collections


def test_equal_references_share_a_line_and_a_label():
    same = References(random=Reference(1.0, ""), best=Reference(9.0, ""), ceiling=Reference(9.0, ""))
    axes = draw([curve("a", game=Game("g", "x", references=same))]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["random 1", "best, ceiling 9"]
    assert len([line for line in axes.lines if line.get_linewidth() == 1]) == 2


def test_labels_of_close_references_keep_their_distance():
    close = References(*(Reference(points, "") for points in (10.0, 10.1, 10.2, 10.3)))
    texts = draw([curve("a", game=Game("g", "x", references=close))]).axes[0].texts
    heights = sorted(text.get_position()[1] for text in texts)
    assert np.diff(heights).min() >= 0.045 - 1e-9


def test_different_games_share_no_references():
    axes = draw([curve("a"), curve("b", game=Game("other", "y"))]).axes[0]
    assert not axes.texts and axes.get_ylabel() == "points per episode, of different games"
    alone = draw([curve("a", game=None)]).axes[0]
    assert alone.get_ylabel() == "points per episode" and alone.get_title("left") == ""


def test_a_single_value_is_a_mark_and_what_was_reached_last_is_seen_whole():
    figure = draw([replace(smooth((1000, 200.0)), game=GAME)])
    (line, *_) = figure.axes[0].lines
    assert line.get_marker() == "o" and figure.axes[0].get_xlim()[1] > 1010
    assert figure.axes[0].get_legend() is None and len(figure.legends) == 1  # apart from the curves


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg", "SVG", "jpg"])
def test_a_picture_is_written_whole_without_touching_matplotlibs_state(tmp_path, suffix):
    loaded = "matplotlib.pyplot" in sys.modules
    path = plot([curve("a"), Curve("empty", np.zeros(0), np.zeros(0))], tmp_path / "new" / f"a.{suffix}")
    assert path.stat().st_size > 1000
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    if suffix == "png":
        with Image.open(path) as image:
            assert image.size == (1200, 720)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_same_curves_give_the_same_bytes(tmp_path, suffix, monkeypatch):
    curves = [curve("a", 3000), *(curve("b", 3000 + k) for k in range(3))]
    first = plot(curves, tmp_path / f"1.{suffix}").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")  # what matplotlib would write instead of today
    assert plot(curves, tmp_path / f"2.{suffix}").read_bytes() == first
    assert b"1970" not in first and len(first) < 200_000


@pytest.mark.parametrize(
    ("sources", "name", "words"),
    [
        ([], "a.png", "nothing to plot"),
        ([curve("a")], "a.xyz", r"a\.xyz should end in \.png, \.pdf or \.svg"),
        (["none.csv"], "a.png", r"there is no file none\.csv"),
        (["none"], "a.png", "there is no run none"),
    ],
)
def test_what_cannot_be_plotted_is_refused(tmp_path, sources, name, words):
    with pytest.raises(UserError, match=words):
        plot(sources, tmp_path / name)


def test_evaluations_while_it_trained_are_drawn_as_diamonds():
    def curve(seed, wiped=True):
        points = np.array([[1.0, 3.0], [5.0, 7.0]]) + seed
        evaluated = Evaluations(
            np.array([0, 100]), points, np.ones((2, 2), int), points / 2 if wiped else None
        )
        return Curve("a", np.array([10.0, 90.0]), np.array([1.0, 2.0]), evaluations=evaluated)

    figure = draw([curve(0), curve(1)])
    diamonds = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert [line.get_xdata().tolist() for line in diamonds] == [[0, 100], [0, 100]]
    assert [line.get_ydata().tolist() for line in diamonds] == [
        [2.5, 6.5],
        [1.25, 3.25],
    ]  # means of two seeds
    assert "diamonds: evaluations (hollow: memory wiped)" in figure.axes[0].get_title(loc="right")
    assert figure.axes[0].get_xlim() == pytest.approx((0, 101.5))  # beyond the last episode
    without = draw([curve(0, wiped=False)]).axes[0]
    assert len([line for line in without.lines if line.get_marker() == "D"]) == 1


def test_other_axes_are_other_numbers(tmp_path):
    run = new_run(tmp_path / "seed0")
    (run.folder / "progress.csv").write_text("time/time_elapsed,time/total_timesteps\n4,20\n8,40\n")
    (found,) = read_curves([run.folder])
    assert along(found, "episodes").steps.tolist() == [1, 2]
    assert along(found, "time", "length").steps.tolist() == [2, 6]  # between the updates at 0, 4 and 8 s
    assert along(found, "time", "length").points.tolist() == [10, 20]
    winning = replace(found, game=replace(GAME, points=Points("p", win=0.0)))
    assert along(winning, y="won").points.tolist() == [1, 0]
    assert along(found, window=1).smoothed()[1].tolist() == [1.5, -2.0]
    for axes, words in [({"y": "won"}, "no points that win"), ({"x": "stpes"}, "did you mean")]:
        with pytest.raises(UserError, match=words):
            along(replace(found, game=GAME), **axes)
    (run.folder / "progress.csv").unlink()
    with pytest.raises(UserError, match="has no times of its updates"):
        along(read_curves([run.folder])[0], "time")
    with pytest.raises(UserError, match="holds means over steps, no episodes"):
        along(smooth((1, 2)), window=3)


def test_what_is_drawn_along_other_axes(tmp_path):
    sources = [replace(curve("a"), lengths=np.full(40, 3.0)), curve("b")]
    path = plot(sources[:1], tmp_path / "a.svg", y="length", labels=["mine"], size=(5, 3))
    text = path.read_text()
    assert "steps per episode" in text and "mine" in text and "best" not in text  # no references in points
    assert 'width="360pt" height="216pt"' in text
    with pytest.raises(
        UserError, match=r"1 labels are given \(mine\) for the 2 agents a, b: give each its own"
    ):
        plot(sources, tmp_path / "b.png", labels="mine")  # one text is one label
    for size in [(0.5, 3), (3, 1000), (3,), (float("nan"), 3)]:
        with pytest.raises(
            UserError, match=r"size is .* but must be width and height in inches, from 2 to 100"
        ):
            plot(sources, tmp_path / "b.png", size=size)


def test_a_share_is_drawn_from_none_to_all_and_a_long_window_over_all_there_is():
    figure = draw([replace(curve("a"), points=np.zeros(40))], y="won")
    low, high = figure.axes[0].get_ylim()
    assert -0.1 < low < 0 and 1 < high < 1.1
    steps, means = along(curve("a"), window=1_000_000).smoothed()
    assert len(steps) == 20 and means[-1] == curve("a").points.mean()


def test_a_single_source_needs_no_list(tmp_path):
    run = new_run(tmp_path / "seed0")
    for source in (run, run.folder, str(run.folder)):
        assert [found.name for found in read_curves(source)] == [run.recipe.name]
        assert [found.folder for found in read_runs(source)] == [run.folder]
    assert [found.name for found in read_curves(curve("a"))] == ["a"]


def test_the_interquartile_mean_of_seeds_and_its_interval():
    points = np.array([[0.0, 1], [2, 1], [4, 1], [100, 1]])
    low, middle, high = interquartile_band(points)
    assert middle.tolist() == [3, 1]  # of 4 seeds the least and the most are left out
    assert low[0] < 3 < high[0] and (low[1], high[1]) == (1, 1)
    figure = draw([replace(curve("a"), points=np.arange(40.0) * k) for k in (1, 2, 9)], iqm=True)
    assert "IQM and its 95 % interval of seeds" in figure.axes[0].get_title(loc="right")
