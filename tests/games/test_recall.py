"""Recall: what counts and how much, what perfect memory and none are worth, and that nothing leaks."""

import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn.errors import UserError
from rlrnn.games.players.base import play_once, random_player
from rlrnn.games.players.recall import PLAYERS, parrot, perfect
from rlrnn.games.recall import Recall

ENVS = Path(__file__).parents[2] / "envs"


def episode(game, answer):
    """Symbols shown [T + 1, B], the last one final, and rewards [T, B] of a first episode."""
    seen, _ = game.reset(seed=0)
    shown, rewards = [seen.argmax(1)], []
    for t in range(game.length):
        seen, reward, ended, cut, infos = game.step(answer(t, shown))
        assert (ended == (t + 1 == game.length)).all() and not cut.any()
        shown.append((infos["final_obs"] if ended.any() else seen).argmax(1))
        rewards.append(reward)
    return np.stack(shown), np.stack(rewards)


@pytest.mark.parametrize(("lag", "alphabet", "length"), [(1, 2, 2), (1, 4, 65), (4, 4, 68), (7, 11, 9)])
def test_right_is_the_symbol_of_lag_steps_before_and_nothing_counts_earlier(lag, alphabet, length):
    game = Recall(lag, alphabet, length, num_envs=50)
    worth = 1 / (length - lag)
    for late in range(-1, 2):  # by one step too recent, right, by one step too old

        def answer(t, shown, late=late):
            return shown[max(0, min(t, t - lag - late))]

        shown, rewards = episode(game, answer)
        assert not rewards[:lag].any()
        for t in range(lag, length):
            right = answer(t, shown) == shown[t - lag]
            assert rewards[t].tolist() == np.where(right, worth, -worth).tolist()
        assert late != 0 or rewards.sum(0).tolist() == pytest.approx([1.0] * 50)


def test_all_wrong_is_minus_one_and_64_answers_add_up_exactly():
    game = Recall(3, 5, num_envs=20)
    assert game.length == 67
    _, rewards = episode(game, lambda t, shown: (shown[max(0, t - 3)] + 1) % 5)
    assert rewards.sum(0).tolist() == [-1.0] * 20
    assert play_once(game, perfect(game), seed=4).tolist() == [1.0] * 20


def test_what_is_seen_is_one_symbol_and_does_not_depend_on_what_was_said():
    def seen(say):
        game = Recall(2, 3, 40, num_envs=6)
        observations = [game.reset(seed=9)[0]]
        observations += [game.step(say(t))[0] for t in range(100)]  # over two ends of episodes
        return np.stack(observations)

    rng = np.random.default_rng(0)
    one, other = seen(lambda t: rng.integers(3, size=6)), seen(lambda t: np.full(6, t % 3))
    assert one.tobytes() == other.tobytes() and one.dtype == np.float32
    assert set(np.unique(one)) == {0.0, 1.0} and (one.sum(-1) == 1).all()


def test_symbols_are_drawn_evenly_and_tell_nothing_of_each_other():
    game = Recall(1, 3, 200, num_envs=500)
    shown, _ = episode(game, lambda t, shown: shown[-1])  # [201, 500]
    n = shown.size
    assert np.abs(np.bincount(shown.ravel()) / n - 1 / 3).max() < 4 * np.sqrt(2 / 9 / n)
    for lag in (1, 2, 5):
        pairs = np.bincount((3 * shown[lag:] + shown[:-lag]).ravel(), minlength=9) / shown[lag:].size
        assert np.abs(pairs - 1 / 9).max() < 4 * np.sqrt(8 / 81 / n)
    neighbours = (shown[:, 1:] == shown[:, :-1]).mean()
    assert neighbours == pytest.approx(1 / 3, abs=0.01)


def test_what_was_shown_is_drawn_again_as_it_was():
    game = Recall(9, 26, 30, num_envs=4)
    seen, _ = game.reset(seed=3)
    shown, copies = [seen.argmax(1)], np.arange(4)
    for _ in range(29):
        shown.append(game.step(shown[-1])[0].argmax(1))
    for ago in range(30):
        assert game.symbols(ago, copies, game.draws).tolist() == shown[-1 - ago].tolist()
    assert game.symbols(5, copies[2:], game.draws).tolist() == shown[-6][2:].tolist()


@pytest.mark.parametrize("lag", [4, 16])
def test_the_game_files_scores_are_those_of_the_scripts(lag):
    file = tomllib.loads((ENVS / f"recall-{lag}.toml").read_text())
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file["kwargs"])
    assert game.lag == lag and game.length < 100 and file["episodes"] == 1000
    for name, script in (("random", "random"), ("memoryless", "parrot"), ("ceiling", "perfect")):
        points = play_once(game, PLAYERS[script](game), seed=1_000_000)
        assert points.mean() == pytest.approx(file["references"][name]["points"], abs=0.006)
    assert (points == 1.0).all()


@pytest.mark.parametrize("alphabet", [2, 4, 10])
def test_without_memory_chance_is_all_there_is(alphabet):
    game = Recall(2, alphabet, num_envs=2000)
    for player in (parrot(game), random_player(game)):
        points = play_once(game, player, seed=0)
        error = 2 * np.sqrt((1 - 1 / alphabet) / alphabet / 64 / 2000)
        assert points.mean() == pytest.approx(2 / alphabet - 1, abs=4 * error)


def test_the_picture_shows_what_is_due_and_how_it_went():
    game = Recall(2, 4, 12, num_envs=2, render_mode="rgb_array")
    game.reset(seed=0)
    blue, orange = (84, 144, 200), (240, 138, 72)

    def count(picture, colour):
        return int((picture == colour).all(-1).sum())

    first = game.render()[0]
    assert count(first, blue) == count(first, orange) == 0  # nothing is due, nothing was said
    for t in range(12):
        due = game.symbols(2, np.arange(2), game.draws).astype(int)
        game.step(np.array([due[0], (due[1] + 1) % 4]) if t >= 2 else np.zeros(2, int))
        if 2 <= t < 11:
            right, wrong = game.render()
            assert count(right, orange) == 0 < count(wrong, orange)
            assert count(right, blue) > count(wrong, blue) > 0
    long = Recall(40, 1000, num_envs=1, render_mode="rgb_array")
    long.reset(seed=0)
    for _ in range(60):
        long.step(np.zeros(1, int))
    assert long.render()[0].shape == right.shape  # any lag and alphabet fit


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lag": 0}, "lag is 0, but must be a .*number of at least 1"),
        ({"alphabet": 1}, "alphabet is 1, .*at least 2"),
        ({"lag": 4, "length": 4}, "length is 4, .*at least 5"),
    ],
)
def test_impossible_games_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        gym.make("rlrnn/Recall-v0", **options)
