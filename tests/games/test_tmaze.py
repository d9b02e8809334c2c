"""T-maze: the map step by step against a plain one, what a sign is worth, and that nothing else tells it."""

import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn.errors import UserError
from rlrnn.games.players.base import play_once, random_player
from rlrnn.games.players.tmaze import PLAYERS, perfect, walker
from rlrnn.games.tmaze import EAST, NORTH, SOUTH, WEST, TMaze

ENVS = Path(__file__).parents[2] / "envs"
SIGNS = {"north": (0, 1, 1), "south": (1, 1, 0)}
MOVES = {NORTH: (-1, 0), EAST: (0, 1), SOUTH: (1, 0), WEST: (0, -1)}  # row, column


class Map:
    """One maze drawn as text and walked cell by cell."""

    def __init__(self, length, goal):
        self.rows = ["#" * length + "N", "S" + "." * (length - 1) + "J", "#" * length + "P"]
        self.goal, self.at = goal, (1, 0)

    def place(self):
        return self.rows[self.at[0]][self.at[1]]

    def seen(self):
        signs = {"S": SIGNS[self.goal], ".": (1, 0, 1), "J": (0, 1, 0), "N": (0, 0, 0), "P": (0, 0, 0)}
        return signs[self.place()]

    def step(self, action):
        row, column = (a + b for a, b in zip(self.at, MOVES[action], strict=True))
        if not (0 <= column < len(self.rows[0]) and self.rows[row][column] != "#"):
            return -0.1, False
        self.at = row, column
        arms = {"N": "north", "P": "south"}
        if self.place() not in arms:
            return 0.0, False
        return (4.0 if arms[self.place()] == self.goal else -0.1), True


@pytest.mark.parametrize(("length", "limit"), [(1, 5), (2, 9), (7, 40)])
def test_every_step_is_that_of_a_plain_map(length, limit):
    game = TMaze(length, limit, num_envs=200)
    dice = np.random.default_rng(length)

    def maps(seen):
        return [Map(length, {bits: goal for goal, bits in SIGNS.items()}[tuple(bits)]) for bits in seen]

    seen, _ = game.reset(seed=0)
    plain, age, ends, visited = maps(seen), np.zeros(200, int), [], set()
    for _ in range(300):
        actions = dice.choice(4, size=200, p=(0.15, 0.5, 0.15, 0.2))
        seen, rewards, ended, cut, infos = game.step(actions)
        age += 1
        final = infos.get("final_obs", seen)
        for b in range(200):
            reward, over = plain[b].step(actions[b])
            visited.add((plain[b].place(), plain[b].goal))
            assert (rewards[b], ended[b], cut[b]) == (reward, over, age[b] == limit)
            assert tuple(final[b]) == plain[b].seen()
            if over or age[b] == limit:
                assert (game.state[1:, b] == 0).all()
                plain[b], age[b] = maps(seen[b : b + 1])[0], 0
                ends.append(over)
    assert {True, False} == set(ends)  # some arrived, some were cut
    assert visited == {(place, goal) for place in set("".join(plain[0].rows)) - {"#"} for goal in SIGNS}


@pytest.mark.parametrize("length", [1, 20, 100])
def test_the_straight_way_takes_one_step_per_cell_and_one_turn(length):
    game = TMaze(length, num_envs=50)
    seen, _ = game.reset(seed=2)
    north = (seen == SIGNS["north"]).all(1)
    assert (north | (seen == SIGNS["south"]).all(1)).all() and 0 < north.sum() < 50
    for _ in range(length):
        assert (game.state[1] < length).all()
        seen, rewards, ended, *_ = game.step(np.full(50, EAST))
        assert not rewards.any() and not ended.any() and (seen == seen[0]).all()
    assert tuple(seen[0]) == (0, 1, 0)
    _, rewards, ended, cut, _ = game.step(np.full(50, NORTH))
    assert rewards.tolist() == np.where(north, 4.0, -0.1).tolist() and ended.all() and not cut.any()


def test_signs_are_drawn_evenly_and_tell_nothing_of_each_other():
    game = TMaze(1, num_envs=1000)
    signs = []
    for episode in range(200):
        seen, _ = game.reset(seed=0 if episode == 0 else None)
        signs.append((seen == SIGNS["north"]).all(1))
    table = np.stack(signs)  # [episode, copy]
    for events in (table, table[1:] == table[:-1], table[:, 1:] == table[:, :-1]):
        assert events.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(events.size))


def test_without_the_sign_a_turn_is_a_guess():
    game = TMaze(5, num_envs=4000)
    points = play_once(game, walker(game), seed=0)
    assert set(points) == {4.0, -0.1}
    assert points.mean() == pytest.approx(1.95, abs=4 * 2.05 / np.sqrt(4000))
    # A perfect memory that is emptied on the way is none.
    player, step = perfect(game), iter(range(100))
    blind = play_once(game, lambda seen: player(seen * (next(step) > 0)), seed=0)
    assert blind.mean() == pytest.approx(1.95, abs=4 * 2.05 / np.sqrt(4000))
    assert (play_once(game, perfect(game), seed=0) == 4.0).all()


@pytest.mark.parametrize(("length", "limit"), [(1, 10), (20, 200), (21, 210), (22, 242), (100, 5000)])
def test_the_time_limit_grows_as_a_random_walk_needs(length, limit):
    game = TMaze(length)
    assert game.max_episode_steps == limit
    assert TMaze(length, max_episode_steps=limit + 1).max_episode_steps == limit
    assert TMaze(length, max_episode_steps=9).max_episode_steps == 9
    assert TMaze(length, limit=length + 1).max_episode_steps == length + 1


@pytest.mark.parametrize(("length", "copies"), [(20, 1000), (50, 500)])
def test_a_random_walker_sometimes_arrives(length, copies):
    game = TMaze(length, num_envs=copies)
    player, arrived = random_player(game), np.zeros(copies, bool)
    game.reset(seed=0)
    for _ in range(game.max_episode_steps - 1):
        game.step(player(None))
        arrived |= game.state[1] == length
    assert 0.05 < arrived.mean() < 0.12


@pytest.mark.parametrize("length", [20, 100])
def test_the_game_files_scores_are_those_of_the_scripts(length):
    file = tomllib.loads((ENVS / f"t-maze-{length}.toml").read_text())
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file["kwargs"])
    assert game.length == length and file["points"]["win"] == 3.5
    for name, script in (("random", "random"), ("memoryless", "walker"), ("ceiling", "perfect")):
        points = play_once(game, PLAYERS[script](game), seed=1_000_000)
        assert points.mean() == pytest.approx(file["references"][name]["points"], abs=0.006)
    assert (points == 4.0).all()


def test_an_episode_is_won_with_the_right_turn_and_up_to_five_bumps():
    win = tomllib.loads((ENVS / "t-maze-20.toml").read_text())["points"]["win"]
    for bumps in range(8):
        game = gym.make("rlrnn/TMaze-v0")
        seen, _ = game.reset(seed=1)
        turn = NORTH if tuple(seen) == SIGNS["north"] else SOUTH
        points = sum(game.step(action)[1] for action in [SOUTH] * bumps + [EAST] * 20 + [turn])
        assert (points >= win) == (bumps <= 5)


def test_the_picture_lights_the_sign_only_where_it_is_seen():
    game = TMaze(3, num_envs=2, render_mode="rgb_array")
    signs = {tuple(TMaze(3).reset(seed=seed)[0][0]): seed for seed in range(20)}
    game.reset(seed=[signs[SIGNS["north"]], signs[SIGNS["south"]]])

    def blue(picture):
        return int((picture == (84, 144, 200)).all(-1).sum())

    lit = [blue(picture) for picture in game.render()]
    pictures = []
    for action in (EAST, WEST, EAST, EAST, EAST):
        game.play(np.full(2, action))
        pictures.append(game.render())
    away, back = pictures[:2]
    assert all(blue(a) < blue(b) == c for a, b, c in zip(away, back, lit, strict=True))
    game.play(np.full(2, NORTH))
    right, wrong = game.render()
    assert blue(right) > blue(wrong)
    assert (wrong == (240, 138, 72)).all(-1).any() and not (right == (240, 138, 72)).all(-1).any()
    long = TMaze(1000, render_mode="rgb_array")
    long.reset(seed=0)
    assert long.render()[0].shape == right.shape  # any length fits


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 0}, "length is 0, .*at least 1"),
        ({"length": 30, "limit": 30}, "limit is 30, .*takes 31 steps"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0"),
    ],
)
def test_impossible_mazes_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        TMaze(**options)
