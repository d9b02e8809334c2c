"""Simon: every step against a plain machine, what memory and none are worth, and that nothing leaks."""

import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn.errors import UserError
from rlrnn.games.players.base import play_once, random_player
from rlrnn.games.players.simon import PLAYERS, one_button, perfect
from rlrnn.games.simon import Simon

ENVS = Path(__file__).parents[2] / "envs"


def machine(longest):
    """One copy as a coroutine: yields (what is to be seen, reward, over), is sent (what was seen, button).

    A new colour is the game's own to choose; whatever was shown before must come again.
    """
    known, reward = [], 0.0
    for n in range(1, longest + 1):
        for place in range(n):
            told, _ = yield (known[place] if place < len(known) else "new", reward, False)
            reward = 0.0
            if place == len(known):
                known.append(told)
        for place in range(n):
            _, pressed = yield (None, 0.0, False)
            if pressed != known[place]:
                yield (None, 0.0, True)
        reward = 1.0
    yield (None, 1.0, True)


def what(row):
    """The colour shown, or None: the bit of one's turn."""
    assert row.sum() == 1 and set(row) == {0.0, 1.0}
    place = int(row.argmax())
    return None if place == len(row) - 1 else place


@pytest.mark.parametrize(("colours", "longest"), [(2, 1), (2, 4), (3, 3), (4, 12)])
def test_every_step_is_that_of_a_plain_machine(colours, longest):
    copies = 60
    game, dice = Simon(colours, longest, num_envs=copies), np.random.default_rng(colours)
    seen, _ = game.reset(seed=1)
    plain, memory = [machine(longest) for _ in range(copies)], [[] for _ in range(copies)]
    expected = [next(one) for one in plain]
    lost = won = 0
    for _ in range(3 * longest * (longest + 1)):
        actions = dice.integers(colours, size=copies)
        for b, row in enumerate(seen):  # mostly right: a memory of its own
            if what(row) is not None:
                memory[b].append(what(row))
            elif memory[b]:
                right = memory[b].pop(0)
                actions[b] = right if dice.random() < 0.97 else actions[b]
        for b in range(copies):
            told = what(seen[b])
            assert expected[b][0] in ("new", told)
            expected[b] = plain[b].send((told, actions[b]))
        seen, rewards, ended, cut, infos = game.step(actions)
        for b in range(copies):
            _, reward, over = expected[b]
            assert (rewards[b], ended[b], cut[b]) == (reward, over, False)
            if over:
                assert what(infos["final_obs"][b]) is None
                lost, won = lost + (reward == 0), won + (reward == 1)
                plain[b], memory[b] = machine(longest), []
                expected[b] = next(plain[b])
    assert lost and won


def test_a_perfect_episode_takes_the_steps_that_its_rounds_need():
    for longest in (1, 2, 5, 12):
        game = Simon(4, longest, num_envs=3)
        player, (seen, _) = perfect(game), game.reset(seed=0)
        when = []
        for step in range(1, longest * (longest + 1) + 1):
            seen, rewards, ended, *_ = game.step(player(seen))
            assert (ended == (step == longest * (longest + 1))).all()
            when += [step] * int(rewards[0])
        assert when == [n * (n + 1) for n in range(1, longest + 1)]


def test_buttons_pressed_while_the_machine_shows_do_nothing_and_nothing_seen_depends_on_them():
    def seen(noise):
        game, dice = Simon(3, 6, num_envs=40), np.random.default_rng(noise)
        rows, player = [game.reset(seed=9)[0]], perfect(game)
        for _ in range(6 * 7 - 1):
            actions = player(rows[-1])
            if noise and rows[-1][0, -1] == 0:
                actions = dice.integers(3, size=40)
            rows.append(game.step(actions)[0])
        return np.stack(rows)

    assert seen(0).tobytes() == seen(1).tobytes() == seen(2).tobytes()
    assert seen(0).dtype == np.float32


def test_colours_are_drawn_evenly_and_tell_nothing_of_each_other():
    game = Simon(3, 12, num_envs=2000)
    game.reset(seed=0)
    table = []  # [episode, place, copy]
    for _ in range(5):
        table.append([game.sequence(np.full(2000, n), np.arange(2000), game.draws) for n in range(12)])
        game.reset()
    colours = np.array(table)
    assert np.abs(np.bincount(colours.astype(int).ravel()) / colours.size - 1 / 3).max() < 0.01
    for axis in range(3):
        for lag in (1, 2, 5 if axis else 3):
            one, other = np.moveaxis(colours, axis, 0)[lag:], np.moveaxis(colours, axis, 0)[:-lag]
            assert (one == other).mean() == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / one.size))


@pytest.mark.parametrize(("colours", "longest"), [(2, 8), (3, 5), (4, 12)])
def test_what_is_to_be_expected_without_memory(colours, longest):
    game = Simon(colours, longest, num_envs=20000)
    rounds = np.arange(1, longest + 1)
    for player, through in ((one_button(game), rounds), (random_player(game), rounds * (rounds + 1) / 2)):
        reach = float(colours) ** -through  # chance of completing each round
        points = play_once(game, player, seed=0)
        for n in range(1, 4):
            error = np.sqrt(reach[n - 1] * (1 - reach[n - 1]) / 20000)
            assert (points >= n).mean() == pytest.approx(reach[n - 1], abs=4 * error)
        assert points.mean() == pytest.approx(reach.sum(), abs=4 * points.std() / np.sqrt(20000))
    assert (play_once(game, perfect(game), seed=0) == longest).all()


def test_a_memory_of_one_colour_is_good_for_one_round_and_luck():
    game, last = Simon(4, 12, num_envs=20000), np.zeros(20000, int)

    def newest(seen):
        np.copyto(last, seen[:, :4].argmax(1), where=seen[:, 4] == 0)
        return last

    points = play_once(game, newest, seed=0)
    assert points.min() == 1
    assert points.mean() == pytest.approx(4 / 3, abs=4 * points.std() / np.sqrt(20000))


def test_the_game_files_scores_are_those_of_the_scripts():
    file = tomllib.loads((ENVS / "simon.toml").read_text())
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file["kwargs"])
    assert file["points"]["win"] == game.longest == 12
    for name, script in (("random", "random"), ("memoryless", "one_button"), ("ceiling", "perfect")):
        points = play_once(game, PLAYERS[script](game), seed=1_000_000)
        assert points.mean() == pytest.approx(file["references"][name]["points"], abs=0.006)
    assert (points == 12).all()


def test_the_picture_lights_what_is_shown_and_marks_a_mistake():
    game = Simon(4, 3, num_envs=1, render_mode="rgb_array")
    hues = [(104, 168, 108), (240, 138, 72), (84, 144, 200), (238, 200, 84)]

    def lit():
        """Which button is bright, by the pixels of the board in its hue; None if none is."""
        board = game.render()[0][:, :200]
        counts = [int((board == hue).all(-1).sum()) for hue in hues]
        return int(np.argmax(counts)) if max(counts) > 2000 else None

    player, (seen, _) = perfect(game), game.reset(seed=2)
    for _ in range(11):
        action, pressing = player(seen), seen[0, -1] == 1
        seen, *_ = game.step(action)
        pressed = action[0] if pressing else None
        assert lit() == (pressed if seen[0, -1] == 1 else what(seen[0]))
    before = game.render()[0]
    wrong = (player(seen) + 1) % 4
    game.play(wrong)
    assert lit() == wrong[0] and (game.render()[0][:, 220:] != before[:, 220:]).any()
    for colours, longest in ((2, 1), (7, 20), (1000, 40)):  # any board and any sequence fit
        big = Simon(colours, longest, num_envs=1, render_mode="rgb_array")
        player, (seen, _) = perfect(big), big.reset(seed=0)
        for _ in range(longest * (longest + 1) - 1):
            seen, *_ = big.step(player(seen))
        assert big.render()[0].shape == before.shape


@pytest.mark.parametrize(
    ("options", "words"),
    [({"colours": 1}, "colours is 1, .*at least 2"), ({"longest": 0}, "longest is 0, .*at least 1")],
)
def test_impossible_games_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        gym.make("rlrnn/Simon-v0", **options)
