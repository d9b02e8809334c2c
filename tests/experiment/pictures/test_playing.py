"""A window without a screen (SDL's dummy): agents play in it, keys are actions, and its end is quiet."""

import sys

import numpy as np
import pytest
from gymnasium import spaces

import rlrnn
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import MissingExtraError, UserError
from rlrnn.experiment.pictures import playing, window
from rlrnn.experiment.pictures.playing import hands_for, play_by_hand, play_on_screen
from rlrnn.shell.cli import main

pygame = pytest.importorskip("pygame")
MAZE = Game("maze", "rlrnn/TMaze-v0", kwargs={"length": 3})


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.fixture
def keys(monkeypatch):
    """Presses the keys of a list, one for each picture; "close" closes the window."""
    script, shown = [], []
    real = window.Window.show

    def show(self, pixels):
        shown.append(pixels)
        if script:
            key = script.pop(0)
            closes = key == "close"
            kind, more = (pygame.QUIT, {}) if closes else (pygame.KEYDOWN, {"key": pygame.key.key_code(key)})
            pygame.event.post(pygame.event.Event(kind, **more))
        real(self, pixels)

    monkeypatch.setattr(window.Window, "show", show)
    return script, shown


def test_an_agent_plays_in_a_window(monkeypatch):
    shown = []
    monkeypatch.setattr(window.Window, "show", lambda self, pixels: shown.append(pixels))
    agent = rlrnn.load("t-maze-20-evolved", "cpu")
    assert play_on_screen(agent, games.game("t-maze-20"), 2, speed=1000.0) == [4.0, 4.0]
    assert len(shown) >= 2 * 21 and {picture.shape for picture in shown} == {shown[0].shape}
    assert shown[0].dtype == np.uint8 and len({picture.tobytes() for picture in shown}) > 10


def test_a_person_plays_by_keys(keys):
    script, shown = keys
    script += ["right", "right", "right", "x", "up"]  # x means nothing, and the maze waits
    (points,) = play_by_hand(MAZE, speed=1000.0)
    assert points in (4.0, -0.1) and not script
    assert len(shown) >= 5 and np.array_equal(shown[3], shown[4])  # nothing moved meanwhile


@pytest.mark.parametrize("last", ["close", "escape"])
def test_a_closed_window_ends_it(keys, last):
    script, _ = keys
    script += ["right", last]
    assert play_by_hand(MAZE, speed=1000.0) == []


def test_a_held_key_repeats_where_the_game_does_not_wait(keys):
    script, _ = keys
    script += ["right"]  # pressed, and never let go: the pole falls
    (points,) = play_by_hand(Game("pole", "rlrnn/CartPole-v1"), speed=1000.0)
    assert 7 <= points <= 12


@pytest.mark.parametrize(
    ("game", "held", "pressed", "action"),
    [
        ("rlrnn/Pong-v0", {"up"}, [], 1),  # held: it goes on
        ("rlrnn/Pong-v0", set(), [], 0),  # nothing is down: the paddle rests
        ("rlrnn/Pong-v0", {"up", "x"}, ["down"], 2),  # what was pressed last counts
        ("rlrnn/TMaze-v0", {"up"}, [], None),  # a turn each time a key is pressed
        ("rlrnn/TMaze-v0", {"up"}, ["up"], 0),
    ],
)
def test_a_held_key_goes_on_where_time_does(game, held, pressed, action):
    keys = window.Window("a game", 30.0)
    keys.held, keys.pressed = held, pressed
    hands = hands_for(Game("game", game), spaces.Discrete(4))
    assert playing.Hand(keys, None, hands)._chosen() == action


def test_keys_of_games():
    assert hands_for(games.game("pong"), spaces.Discrete(3)).actions == {"up": 1, "down": 2}
    unknown = Game("x", "x")
    choices = hands_for(unknown, spaces.Discrete(3, start=1))
    assert choices.actions == {"0": 1, "1": 2, "2": 3} and choices.rest is None
    numbers = hands_for(unknown, spaces.Box(-2.0, 1.0, (2,)))
    assert {key: value.tolist() for key, value in numbers.actions.items()} == {
        "left": [-2, 0], "right": [1, 0], "down": [0, -2], "up": [0, 1],
    }  # fmt: skip
    assert numbers.rest.tolist() == [0, 0]
    with pytest.raises(UserError, match=r"takes Box\(.*no keys: games of up to ten choices"):
        hands_for(unknown, spaces.Box(-1.0, 1.0, (3,)))


@pytest.mark.parametrize("lacks", ["display", "pygame"])
def test_without_a_window_a_film_is_recorded(lacks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if lacks == "pygame":
        monkeypatch.setitem(sys.modules, "pygame", None)
    else:
        monkeypatch.setattr(sys, "platform", "linux")
        for name in window.DISPLAYS:
            monkeypatch.delenv(name, raising=False)
    assert main(["play", "t-maze-20-evolved"]) == 0
    said = capsys.readouterr()
    words = {"display": "there is no display here", "pygame": 'needs an extra: pip install "rlrnn[play]"'}
    assert words[lacks] in said.err and "a film is recorded instead" in said.err
    assert "play.gif" in said.out and (tmp_path / "play.gif").exists()
    kind = UserError if lacks == "display" else MissingExtraError
    with pytest.raises(kind, match="no display to open" if lacks == "display" else r"rlrnn\[play\]"):
        playing.play_by_hand(MAZE)
