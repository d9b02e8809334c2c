"""Games recorded: at the right speed, small, and never half a file."""

import importlib

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from rlrnn.envs import games
from rlrnn.errors import EnvironmentFault, MissingExtraError, UserError
from rlrnn.experiment.pictures import film as watching
from rlrnn.experiment.pictures.activations import COLUMN_WIDTH, COLUMNS, LEAST_HEIGHT, MARGIN
from rlrnn.experiment.pictures.film import watch
from rlrnn.experiment.pictures.showing import rgb
from rlrnn.learners.ppo.ppo import RecurrentPPO


class Painting(gym.Env):
    """Thirty steps at 30 steps per second; the picture's brightness is the step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012
    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_now = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.step_now += 1
        return np.zeros(1, np.float32), 0.0, self.step_now == 30, False, {}

    def render(self):
        return np.full((60, 1000, 3), 8 * self.step_now, np.uint8)


class Invisible(Painting):
    def render(self):
        return None


class Glass(Painting):
    """Draws with transparency, small, and says no speed."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 0}  # noqa: RUF012

    def render(self):
        return np.dstack(
            [np.zeros((9, 12, 3), np.uint8), np.full((9, 12), 0 if self.step_now else 255, np.uint8)]
        )


class Blind(Painting):
    """Draws nothing: its constructor knows no render_mode."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self):
        super().__init__()


gym.register("test_watching/Glass-v0", entry_point=Glass)
gym.register("test_watching/Blind-v0", entry_point=Blind)
gym.register("test_watching/Painting-v0", entry_point=Painting)
gym.register("test_watching/Invisible-v0", entry_point=Invisible)


class Agent:
    """Stands in for an agent: it keeps still."""

    device = torch.device("cpu")
    observation_space = Painting.observation_space
    action_space = Painting.action_space

    def player(self, n_envs, *, deterministic, seed):
        return self

    def reset(self):
        pass

    def act(self, observations, starts=None):
        return np.zeros(len(observations), int)


def read_gif(path):
    """Brightness and length in ms of every picture."""
    with Image.open(path) as gif:
        pictures = []
        for i in range(gif.n_frames):
            gif.seek(i)
            pictures.append((gif.convert("L").getpixel((0, 0)), gif.info["duration"]))
        return gif.size, pictures


def test_a_gif_moves_at_the_games_speed_with_fewer_pictures(tmp_path):
    size, pictures = read_gif(watch(Agent(), "test_watching/Painting-v0", tmp_path / "a.gif"))
    assert size == (400, 24)
    # 30 steps per second are shown as every second picture; 30 steps last a second.
    # What came of the last one is held for another.
    assert [brightness for brightness, _ in pictures] == list(range(0, 241, 16))
    assert sum(length for _, length in pictures) == 2000 and pictures[-1] == (240, 1000)
    assert {length for _, length in pictures[:-1]} <= {60, 70}


def test_a_long_game_is_thinned_at_the_same_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "GIF_FRAMES", 5)
    _, pictures = read_gif(watch(Agent(), "test_watching/Painting-v0", tmp_path / "a.gif"))
    assert [brightness for brightness, _ in pictures] == [0, 64, 128, 192, 240]
    assert sum(length for _, length in pictures) == 2000


def test_a_gif_ends_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "GIF_SECONDS", 0.5)
    _, pictures = read_gif(watch(Agent(), "test_watching/Painting-v0", tmp_path / "a.gif"))
    assert sum(length for _, length in pictures) == pytest.approx(500, abs=70)


def test_episodes_follow_each_other_and_repeat(tmp_path):
    one, two, again = (
        watch(Agent(), "test_watching/Painting-v0", tmp_path / f"{i}.gif", episodes=n).read_bytes()
        for i, n in enumerate((1, 2, 2))
    )
    assert two == again != one
    assert len(read_gif(tmp_path / "1.gif")[1]) == 32


def test_activations_stand_beside_the_same_film(tmp_path):
    torch.manual_seed(0)
    game = "test_watching/Painting-v0"
    options = {"cell": "gru", "hidden_size": 5}
    agent = RecurrentPPO("MlpPolicy", games.make_vec(game, 1), policy_kwargs=options, device="cpu")
    plain = watch(agent, game, tmp_path / "plain.gif")
    both = watch(agent, game, tmp_path / "both.gif", activations=True)
    (small, one), (large, two) = read_gif(plain), read_gif(both)
    height = 5 * round(LEAST_HEIGHT / 5)
    assert small == (400, 24) and large == (400 + MARGIN + COLUMN_WIDTH * COLUMNS, height)
    assert [length for _, length in one] == [length for _, length in two]
    with Image.open(both) as gif:
        for i, (brightness, _) in enumerate(one):
            gif.seek(i)
            picture = np.asarray(gif.convert("RGB"))
            assert abs(int(picture[height // 2, 200, 0]) - brightness) <= 8  # of a palette of 64 colours
            columns = picture[:, 400 + MARGIN :: COLUMN_WIDTH]
            filled = (columns < 255).any(axis=(0, 2))
            assert filled.tolist() == [
                column <= min(2 * i, 29) for column in range(COLUMNS)
            ]  # every second step
    again = watch(agent, game, tmp_path / "again.gif", activations=True)
    assert again.read_bytes() == both.read_bytes()


def test_an_mp4_shows_every_step(tmp_path):
    imageio = pytest.importorskip("imageio.v2")
    pytest.importorskip("imageio_ffmpeg")
    path = watch(Agent(), "test_watching/Painting-v0", tmp_path / "a.mp4")
    with imageio.get_reader(path) as film:
        assert film.count_frames() == 30 + 30 and film.get_meta_data()["fps"] == 30


def test_a_missing_extra_is_named_and_the_old_film_stays(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    (tmp_path / "a.mp4").write_text("old")
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "rlrnn\[video\]"'):
        watch(Agent(), "test_watching/Painting-v0", tmp_path / "a.mp4")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.mp4", "old")]


@pytest.mark.parametrize(
    ("game", "name", "episodes", "words"),
    [
        ("Painting", "a.avi", 1, r"a\.avi should end in \.gif or \.mp4"),
        ("Painting", "a.gif", 0, "episodes is 0, but must be a whole number of at least 1"),
        ("Invisible", "a.gif", 1, "draws no pictures"),
        ("Blind", "a.gif", 1, "Blind-v0 draws no pictures: its metadata name no render_mode rgb_array"),
    ],
)
def test_what_cannot_be_watched_is_refused(tmp_path, game, name, episodes, words):
    with pytest.raises(UserError, match=words):
        watch(Agent(), f"test_watching/{game}-v0", tmp_path / name, episodes)
    assert not list(tmp_path.iterdir())


def test_what_games_draw_is_brought_to_three_colours():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for given in (grey, grey[:, :, None], np.dstack([grey] * 3), np.dstack([grey] * 3).tolist()):
        np.testing.assert_array_equal(rgb(given), np.dstack([grey] * 3))
    seen = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)  # the second one is transparent
    assert rgb(seen).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    for shape in ((3,), (2, 3, 2), (0, 4, 3), (1, 2, 3, 3)):
        with pytest.raises(EnvironmentFault, match=r"draws a picture of shape .*: render\(\) should return"):
            rgb(np.zeros(shape))


def test_a_small_transparent_game_of_no_speed_is_enlarged_at_the_usual_one(tmp_path):
    film = watch(Agent(), "test_watching/Glass-v0", tmp_path / "a.gif")
    size, pictures = read_gif(film)
    assert size == (33 * 12, 33 * 9) and sum(length for _, length in pictures) == 2000
    assert [brightness for brightness, _ in pictures][:2] == [0, 255]  # 30 steps a second; white is white
    assert film.points == (0.0,) and film._repr_html_().startswith(
        '<img alt="a.gif" src="data:image/gif;base64,'
    )


def test_our_games_hand_out_the_picture_of_an_episodes_last_step():
    env = games.make_vec("t-maze-20", 2, seed=0, render_mode="rgb_array")
    env.reset()
    for _ in range(200):
        before = env.get_images()
        _, _, starts, infos = env.step(np.zeros(2, int))
        if starts[0]:
            break
    assert starts[0] and infos[0]["terminal_picture"].shape == before[0].shape
    assert (infos[0]["terminal_picture"] != env.get_images()[0]).any()
    assert ("terminal_picture" in infos[1]) == starts[1]


def test_the_grounds_colours_are_kept():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)  # many colours
    pixels[10:] = [255, 255, 255]
    image = Image.fromarray(pixels)
    shown = np.asarray(
        image.quantize(palette=watching._palette([image]), dither=Image.Dither.NONE).convert("RGB")
    )
    assert (shown[10:] == 255).all()
