"""Memory chain: bsuite's rules, by hand and by a plain loop, and what is left without memory."""

import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn.errors import UserError
from rlrnn.games.memory_chain import MemoryChain
from rlrnn.games.players.base import play_once
from rlrnn.games.players.memory_chain import PLAYERS, always_one, perfect

ENVS = Path(__file__).parents[2] / "envs"
THIRD = float(np.float32(1 / 3))
TWO_THIRDS = float(np.float32(2 / 3))
# What bsuite 0.3.6 shows: memory_length, bits, the one asked for, observations from the reset to the end.
BSUITE = [
    (1, [1], 0, [[1, 0, 1], [1, 0, 1], [0, 0, 0]]),
    (2, [0], 0, [[1, 0, -1], [1, 0, -1], [0.5, 0, 0], [0, 0, 0]]),
    (3, [1], 0, [[1, 0, 1], [1, 0, 1], [TWO_THIRDS, 0, 0], [THIRD, 0, 0], [0, 0, 0]]),
    (
        3,
        [1, 1],
        1,
        [[1, 0, 1, 1], [1, 0, 1, 1], [TWO_THIRDS, 0, 0, 0], [THIRD, 1, 0, 0], [0, 0, 0, 0]],
    ),
    (
        3,
        [1, 0],
        0,
        [[1, 0, 1, -1], [1, 0, 1, -1], [TWO_THIRDS, 0, 0, 0], [THIRD, 0, 0, 0], [0, 0, 0, 0]],
    ),
    (2, [0, 0, 1], 2, [[1, 0, -1, -1, 1], [1, 0, -1, -1, 1], [0.5, 2, 0, 0, 0], [0, 0, 0, 0, 0]]),
]


@pytest.mark.parametrize(("length", "bits", "asked", "shown"), BSUITE)
@pytest.mark.parametrize("right", [True, False])
def test_steps_are_those_of_bsuite_by_hand(length, bits, asked, shown, right):
    game = MemoryChain(length, len(bits))
    game.reset(seed=0)
    drawn = {f"bit{i}": np.array([bit]) for i, bit in enumerate(bits)} | {"asked": np.array([asked])}
    game.set_state(game.get_state() | drawn)
    assert game.observe().tolist() == [shown[0]]
    for t, seen in enumerate(shown[1:], 1):
        last = t == len(shown) - 1
        action = bits[asked] if right == last else 1 - bits[asked]  # the other one before the end
        observations, rewards, ended, cut, infos = game.step(np.array([action]))
        assert infos.get("final_obs", observations).tolist() == [seen]
        assert rewards.tolist() == [(1.0 if right else -1.0) if last else 0.0]
        assert (ended.tolist(), cut.tolist()) == ([last], [False])


@pytest.mark.parametrize(("length", "bits", "limit"), [(1, 1, None), (5, 3, None), (9, 40, None), (9, 2, 6)])
def test_every_step_is_that_of_a_plain_chain(length, bits, limit):
    game = MemoryChain(length, bits, num_envs=50, max_episode_steps=limit)
    rng = np.random.default_rng(0)
    seen, _ = game.reset(seed=1)
    context, asked, age, ends = game.state[2:].T.copy(), game.state[0].astype(int), np.zeros(50, int), 0
    for _ in range(4 * length + 9):
        assert (seen[age == 0, 2:] == 2 * context[age == 0] - 1).all()
        actions = rng.integers(2, size=50)
        seen, rewards, ended, cut, infos = game.step(actions)
        final = infos.get("final_obs", seen)
        for b in range(50):
            age[b] += 1
            now = age[b] - 1  # bsuite looks before it counts the step
            answered = now == length
            assert rewards[b] == ((1 if actions[b] == context[b, asked[b]] else -1) if answered else 0)
            assert (ended[b], cut[b]) == (answered, age[b] == limit)
            query = asked[b] if now == length - 1 else 0
            row = [1 - now / length, query, *(2 * context[b] - 1 if now == 0 else np.zeros(bits))]
            assert final[b].tolist() == np.float32(row).tolist()
            if ended[b] or cut[b]:
                ends += 1
                context[b], asked[b], age[b] = game.state[2:, b], int(game.state[0, b]), 0
    assert ends >= 100


def test_bits_and_questions_are_drawn_evenly_and_tell_nothing_of_each_other():
    game = MemoryChain(2, 4, num_envs=4000)
    context, asked = [], []
    for episode in range(10):
        game.reset(seed=0 if episode == 0 else None)
        context.append(game.state[2:].copy())
        asked.append(game.state[0].copy())
    table, questions = np.stack(context), np.stack(asked)  # [episode, bit, copy], [episode, copy]
    for row in range(4):
        share = (questions == row).mean()
        assert share == pytest.approx(1 / 4, abs=4 * np.sqrt(3 / 16 / questions.size))
    events = [table, *(table[:, [i]] == table[:, [j]] for i in range(4) for j in range(i))]
    events += [
        table[1:] == table[:-1],
        table[..., 1:] == table[..., :-1],
        table[:, [0]] == questions[:, None] % 2,
    ]
    for event in events:
        assert event.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(event.size))


def test_what_is_seen_does_not_depend_on_what_was_said():
    def seen(say):
        game = MemoryChain(7, 3, num_envs=6)
        rows = [game.reset(seed=9)[0]]
        rows += [game.step(say())[0] for _ in range(40)]  # over four ends of episodes
        return np.stack(rows)

    rng = np.random.default_rng(0)
    one, other = seen(lambda: rng.integers(2, size=6)), seen(lambda: np.zeros(6, int))
    assert one.tobytes() == other.tobytes() and one.dtype == np.float32


def test_without_memory_a_bit_is_a_guess():
    game = MemoryChain(3, 2, num_envs=4000)
    player, step = perfect(game), iter(range(100))
    blind = [
        play_once(game, always_one(game), seed=0),
        # A perfect memory that is emptied on the way is none.
        play_once(game, lambda seen: player(np.where(np.arange(4) < 2 * (next(step) > 1), seen, 0)), seed=0),
    ]
    for points in blind:
        assert set(points) == {-1.0, 1.0}
        assert points.mean() == pytest.approx(0.0, abs=4 / np.sqrt(4000))
    assert (play_once(game, perfect(game), seed=0) == 1.0).all()


@pytest.mark.parametrize("length", [64, 128, 256, 512])
def test_the_game_files_scores_are_those_of_the_scripts(length):
    file = tomllib.loads((ENVS / f"memory-chain-{length}.toml").read_text())
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file["kwargs"])
    assert game.memory_length == length and game.num_bits == 1
    assert file["episodes"] == (1000 if length + 1 < 100 else 100)
    for name, script in (("random", "random"), ("memoryless", "always_one"), ("ceiling", "perfect")):
        points = play_once(game, PLAYERS[script](game), seed=1_000_000)
        assert points.mean() == pytest.approx(file["references"][name]["points"], abs=0.006)
        right = f"{(points >= file['points']['win']).sum()} of {len(points)} episodes right"
        assert right in file["references"][name]["source"]
    assert (points == 1.0).all()


def test_the_picture_shows_the_bit_and_whether_it_was_said():
    game = MemoryChain(4, 1, num_envs=2, render_mode="rgb_array")
    game.reset(seed=0)
    blue, orange = (84, 144, 200), (240, 138, 72)

    def count(picture, colour):
        return int((picture == colour).all(-1).sum())

    state = game.get_state()
    game.set_state(state | {"bit0": np.array([0.0, 1.0])})
    pictures = [game.render()]
    for _ in range(4):
        game.play(np.array([0, 0]))
        pictures.append(game.render())
    assert all((zero != one).any() for zero, one in pictures)
    lit = [count(zero, blue) for zero, _ in pictures]
    assert lit[0] == lit[1] > lit[4] > lit[2] == lit[3] == 0  # seen twice, then hidden; an answer is due
    assert not any(count(picture, orange) for pair in pictures for picture in pair)
    game.play(np.array([0, 0]))
    right, wrong = game.render()
    assert count(right, blue) > 0 == count(right, orange)
    assert count(wrong, orange) > 0 == count(wrong, blue)
    for length, bits in ((1000, 1), (3, 30)):  # any length and number of bits fit
        other = MemoryChain(length, bits, render_mode="rgb_array")
        other.reset(seed=0)
        other.play(np.array([1]))
        assert other.render()[0].shape == right.shape


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory_length": 0}, "memory_length is 0, but must be a whole number of at least 1"),
        ({"memory_length": 2.5}, "memory_length is 2.5, but must be a whole number"),
        ({"num_bits": 0}, "num_bits is 0, but must be a whole number of at least 1"),
    ],
)
def test_impossible_chains_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        gym.make("rlrnn/MemoryChain-v0", **options)
