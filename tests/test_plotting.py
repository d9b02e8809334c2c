"""Learning curves: what every kind of file means, and what the picture shows."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from rlrnn import runs
from rlrnn.catalogue import Game, Points, Reference, References
from rlrnn.errors import FileFault, UserError
from rlrnn.plotting import COLOURS, Curve, draw, plot, read_curves, running_mean
from rlrnn.recipes import Recipe

GAME = Game(
    "g",
    "x",
    "Pong in fog",
    points=Points("points won"),
    references=References(Reference(-11, "a"), None, None, Reference(11, "b")),
)


def curve(name, n=40, game=GAME):
    return Curve(name, np.arange(1.0, n + 1), np.arange(float(n)), game=game)


def test_the_running_mean_by_hand():
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 8.0, 0.0]), 2), [1, 2, 5.5, 4])
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 8.0]), 100), [1, 2, 4])
    assert running_mean(np.array([]), 1).shape == (0,)


def test_a_run_is_read_with_its_game(tmp_path):
    run = runs.open_run(tmp_path / "seed0", Recipe("a", "CartPole-v1", 1), 0, None, False)
    (run.folder / "episodes.csv").write_text("step,points,length\n10,1.5,10\n30,-2.0,20\n")
    for source in (run, run.folder, tmp_path):
        (read,) = read_curves(source)
        assert (read.name, read.smooth, read.game.id) == ("a", False, "CartPole-v1")
        assert read.steps.tolist() == [10, 30] and read.points.tolist() == [1.5, -2.0]


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
    (read,) = read_curves(tmp_path / "monitor.csv")
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
    (read,) = read_curves(tmp_path / "progress.csv")
    assert read.steps.tolist() == [200, 300] and read.points.tolist() == [1.5, 2.5] and read.smooth


def test_sb3s_evaluations_are_read(tmp_path):
    np.savez(
        tmp_path / "evaluations.npz",
        timesteps=[10, 20],
        results=[[1.0, 3.0], [5.0, 7.0]],
        ep_lengths=[[1, 1]] * 2,
    )
    (read,) = read_curves(tmp_path / "evaluations.npz")
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
        read_curves(tmp_path / "evaluations.npz")


def test_one_colour_per_agent_one_line_per_seed_one_label_per_reference():
    axes = draw([curve("gru"), curve("gru", 60), curve("none")]).axes[0]
    means = [line for line in axes.lines if line.get_linewidth() == 1.8]
    assert [line.get_color() for line in means] == [COLOURS[0], COLOURS[0], COLOURS[1]]
    assert axes.get_legend_handles_labels()[1] == ["gru", "none"]
    dots = [line for line in axes.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [40, 60, 40]
    assert [text.get_text() for text in axes.texts] == ["random -11", "ceiling 11"]
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 1]
    assert sorted(levels) == [-11, 11]
    assert axes.get_ylabel() == "points won" and axes.get_title("left") == "Pong in fog"


def test_labels_of_close_references_keep_their_distance():
    close = References(*(Reference(points, "") for points in (10.0, 10.1, 10.2, 10.0)))
    texts = draw([curve("a", game=Game("g", "x", references=close))]).axes[0].texts
    heights = sorted(text.get_position()[1] for text in texts)
    assert np.diff(heights).min() >= 0.045 - 1e-9


def test_different_games_share_no_references():
    axes = draw([curve("a"), curve("b", game=Game("other", "y"))]).axes[0]
    assert not axes.texts and axes.get_ylabel() == "points per episode"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_picture_is_written_whole_without_touching_matplotlibs_state(tmp_path, suffix):
    loaded = "matplotlib.pyplot" in sys.modules
    path = plot([curve("a"), Curve("empty", np.zeros(0), np.zeros(0))], tmp_path / "new" / f"a.{suffix}")
    assert path.stat().st_size > 1000
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    if suffix == "png":
        with Image.open(path) as image:
            assert image.size == (1200, 720)


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
