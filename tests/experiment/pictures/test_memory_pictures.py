"""Pictures of a memory: that they are drawn whole, of anything, and show what was measured."""

import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment.pictures import memory_pictures
from rlrnn.experiment.pictures.activations import Episode, order, record_episode
from rlrnn.experiment.pictures.memory_pictures import draw_activations, draw_profile
from rlrnn.experiment.pictures.memory_profile import Profile
from rlrnn.learners.dqn.dqn import RecurrentDQN
from rlrnn.learners.ppo.ppo import RecurrentPPO

RECALL = Game("recall", "rlrnn/Recall-v0", title="Recall", kwargs={"lag": 2, "length": 30})
PONG = Game("pong", "rlrnn/Pong-v0")


class Short(gym.Env):
    """Five steps, three points each, and nothing to look at."""

    def __init__(self, actions):
        self.observation_space, self.action_space = spaces.Box(-1, 1, (40,)), actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return self.observation_space.low, {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.high, 3.0, self.left == 0, False, {}


gym.register("test_pictures/Short-v0", entry_point=Short)


def agent_for(game, cell="gru"):
    options = {"cell": cell, "hidden_size": 6, "net_arch": {"pi": [7], "vf": []}}
    env = games.make_vec(game, 1, seed=0)
    return RecurrentPPO(
        "MlpPolicy", env, policy_kwargs=options, n_steps=8, batch_size=8, seed=0, device="cpu"
    )


def made(rows, game="g"):
    table = np.array(rows, np.float64)
    return Profile(game, table, table / 10)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_profiles_are_drawn(tmp_path, suffix):
    profiles = {
        "one": made([[1.0, 4.0, 0.5, 0.0, math.nan], [3.0, 4.0, 0.3, 0.0, math.nan]]),
        "deaf": made([[0.0, 0.0]], "other"),
    }
    path = draw_profile(profiles, tmp_path / "new" / f"memory.{suffix}")
    assert path.stat().st_size > 1000 and [p.name for p in path.parent.iterdir()] == [path.name]
    if suffix == "png":
        with Image.open(path) as image:
            assert image.size == (1200, 840)


def test_a_profile_is_drawn_as_it_was_measured(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(memory_pictures, "save", lambda figure, path: kept.append(figure))
    one = made([[1.0, 4.0, 0.5, 0.0, math.nan], [3.0, 4.0, 0.3, 0.0, math.nan]])
    draw_profile({"one": one, "two": made([[0.5, 0.5]])}, tmp_path / "a.png")
    upper, lower = kept[0].axes
    assert upper.lines[0].get_xdata().tolist() == [0, 1, 2, 3]  # no episode has lag 4
    assert upper.lines[0].get_ydata() == pytest.approx([0.2, 0.4, 0.04, 0.0])
    assert lower.lines[0].get_ydata() == pytest.approx([0.5, 1.0, 0.1, 0.0])
    labels = [text.get_text() for text in upper.get_legend().get_texts()]
    assert labels == ["one: 2 steps", "two: 1 steps or more"]
    assert upper.get_title("left").endswith("  g")  # once


@pytest.mark.parametrize(
    ("actions", "shape"),
    [
        (spaces.Discrete(3, start=-1), ()),
        (spaces.MultiDiscrete([2, 2]), (2,)),
        (spaces.MultiBinary(3), (3,)),
        (spaces.Box(-1, 1, (2, 2)), (2, 2)),
    ],
)
def test_any_action_is_drawn_and_a_game_without_pictures_too(tmp_path, actions, shape):
    game = Game("short", "test_pictures/Short-v0", kwargs={"actions": actions})
    agent = agent_for(game)
    lived = record_episode(agent, game, 100, False, 0, draw=False)
    assert lived.actions.shape == (5, *shape) and not lived.pictures and lived.points.sum() == 15
    assert (lived.probabilities is None) == bool(shape) and lived.first == (0 if shape else -1)
    assert draw_activations(agent, game, tmp_path / "a.png").stat().st_size > 1000


def test_the_picture_shows_the_units_in_their_order_and_every_panel_in_time():
    lived = record_episode(agent_for(PONG), PONG, 60, True, 0)
    figure = memory_pictures._panels(lived, PONG)
    points, actions, units, seen, frames = figure.axes[:5]
    shown = units.images[0].get_array()
    assert shown.shape == (6, 60)
    np.testing.assert_array_equal(shown, lived.units[:, order(lived.units)].T)
    np.testing.assert_array_equal(seen.images[0].get_array(), lived.features.T)
    np.testing.assert_array_equal(actions.images[0].get_array(), lived.probabilities.T)
    assert actions.lines[0].get_ydata().tolist() == lived.actions.tolist()
    assert [bar.get_height() for bar in points.patches] == lived.points.tolist()
    for axes in (points, actions, units, seen, frames):
        assert axes.get_xlim() == (-0.5, 59.5)
    places = [np.mean(image.get_extent()[:2]) for image in frames.images]
    np.testing.assert_allclose(places, [4.5, 14.5, 24.5, 34.5, 44.5, 54.5])
    steps = [5, 15, 25, 35, 45, 55]
    for step, image in zip(steps, frames.images, strict=True):
        np.testing.assert_array_equal(image.get_array(), lived.pictures[step])
    assert sum(line.get_xdata()[0] in steps for line in units.lines) == 6
    assert figure.texts[0].get_text() == "pong: the first 60 steps of an episode"


def test_where_values_decide_the_picture_shows_how_far_each_is_below_the_best():
    network = {"hidden_size": 6, "net_arch": [7]}
    agent = RecurrentDQN("MlpGruPolicy", games.make_vec(RECALL, 1, seed=0), policy_kwargs=network, seed=0)
    lived = record_episode(agent, RECALL, 60, True, 0)
    with torch.no_grad():
        head = agent.policy.network.actor_head(torch.as_tensor(lived.units))
        values = agent.policy.network.actuators.output(head).numpy()
    assert lived.probabilities is None and lived.actions.tolist() == values.argmax(1).tolist()
    wanted = values - values.max(1, keepdims=True)
    np.testing.assert_allclose(lived.advantages, wanted, atol=1e-6)
    actions = memory_pictures._panels(lived, RECALL).axes[1]
    np.testing.assert_array_equal(actions.images[0].get_array(), lived.advantages.T)
    assert actions.get_ylabel() == "action and\nadvantage"


def test_a_picture_is_written_whole_or_refused(tmp_path):
    agent = agent_for(RECALL)
    path = draw_activations(agent, RECALL, tmp_path / "new" / "a.svg", steps=10)
    assert [p.name for p in path.parent.iterdir()] == ["a.svg"]
    with pytest.raises(UserError, match=r"steps is 1, .*at least 2"):
        draw_activations(agent, RECALL, tmp_path / "a.png", steps=1)
    with pytest.raises(UserError, match=r"a\.xyz should end in"):
        draw_activations(agent, RECALL, tmp_path / "a.xyz", steps=5)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_pictures_of_nothing_or_of_an_unknown_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="nothing to draw"):
        draw_profile({}, tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.txt should end in"):
        draw_profile({"a": made([[1.0, 0.0]])}, tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table", [np.zeros((2, 5)), np.zeros((2, 1)), np.ones((2, 1))])
def test_a_profile_of_nothing_is_drawn_without_a_warning(tmp_path, table):
    assert draw_profile({"a": Profile("g", table, table)}, tmp_path / "a.png").exists()


@pytest.mark.parametrize("steps", [1, 2, 7, 11, 60])
def test_thumbnails_do_not_overlap_and_stay_in_the_picture(steps):
    few = np.zeros((max(steps, 2), 3))[:steps]
    picture = np.zeros((4, 6, 3), np.uint8)
    episode = Episode(few, few, few, None, 0, few[:, 0], [picture] * steps, True)
    frames = memory_pictures._panels(episode, PONG).axes[4]
    ends = sorted(image.get_extent()[:2] for image in frames.images)
    assert len(ends) == min(steps, 6) and ends[0][0] >= -0.5 and ends[-1][1] <= steps - 0.5 + 1e-9
    assert all(left <= right + 1e-9 for (_, left), (right, _) in itertools.pairwise(ends))


def test_numbers_of_an_action_are_named_and_features_that_are_left_out_are_told():
    few, many = np.zeros((9, 3)), np.zeros((9, 33))
    figure = memory_pictures._panels(Episode(many, few, few, None, 0, few[:, 0], [], True), PONG)
    (legend,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == ["action 0", "action 1", "action 2"]
    assert "(the 33 input features are too many to be shown)" in figure.texts[0].get_text()
