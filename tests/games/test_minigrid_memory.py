"""MiniGrid's Memory as arrays: equal to MiniGrid's own, what scripts win, and where memory is needed."""

import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from rlrnn.errors import UserError
from rlrnn.games.minigrid_memory import BALL, EMPTY, FORWARD, KEY, LEFT, RIGHT, UNSEEN, WALL, MiniGridMemory
from rlrnn.games.players.base import play_once
from rlrnn.games.players.memory import PLAYERS, perfect

FILES = sorted((Path(__file__).parents[2] / "envs").glob("minigrid-memory-*.toml"))
CODES = {0: UNSEEN, 1: EMPTY, 2: WALL, 5: KEY, 6: BALL}  # MiniGrid's: ours


def at(x, y, heading, size=9, end=6, cue=KEY, upper=KEY, **kwargs):
    """One copy in this state."""
    game = MiniGridMemory(size, num_envs=1, **kwargs)
    game.reset(seed=0)
    game.state[:, 0] = x, y, heading, end, cue, upper
    return game


def step(game, action):
    return game.play(np.array([action]))


@pytest.mark.parametrize(
    ("size", "random", "view"), [(7, False, 7), (9, False, 7), (9, True, 3), (13, True, 5), (17, True, 7)]
)
def test_it_is_minigrids_own_step_for_step(size, random, view):
    pytest.importorskip("minigrid", reason="needs the extra minigrid")
    options = {"size": size, "random_length": random, "agent_view_size": view}
    theirs = gym.make("MiniGrid-MemoryS9-v0", disable_env_checker=True, **options).unwrapped
    ours = MiniGridMemory(size, random, view, num_envs=1)
    rng, steps, ends = np.random.default_rng(size), 0, set()

    def thing(x, y):
        return {"key": KEY, "ball": BALL}[theirs.grid.get(int(x), int(y)).type]

    def same(seen, image):
        codes = np.vectorize(CODES.get)(image[..., 0]).ravel()  # the rest of the image tells no more:
        assert set(image[image[..., 0] == 2][:, 1]) <= {5} and not image[..., 2].any()
        assert seen.reshape(-1, 4).tolist() == np.eye(5)[codes][:, 1:].tolist()

    for episode in range(100):
        seen, _ = theirs.reset(seed=episode)
        ours.reset(seed=episode)
        end, middle = theirs.success_pos[0] - 1, size // 2
        ours.state[:, 0] = *theirs.agent_pos, 0, end, thing(1, middle - 1), thing(end + 1, middle - 2)
        same(ours.observe(), seen["image"])
        cut = ended = False
        while not (cut or ended):
            action = rng.choice(7, p=[0.12, 0.12, 0.6, 0.04, 0.04, 0.04, 0.04])
            seen, reward, ended, cut, _ = theirs.step(action)
            view_of, points, over, truncated = step(ours, action)
            assert (reward, ended, cut) == (points[0], over[0], truncated[0])
            same(view_of, seen["image"])
            steps += 1
        ends.add("won" if reward > 0 else "cut" if cut else "lost")
        if steps > 800 and len(ends) > 1:
            break
    assert {"won", "lost"} <= ends


def test_it_begins_as_minigrid_does():
    game = MiniGridMemory(13, True, num_envs=20_000)
    game.reset(seed=0)
    x, y, heading, end, cue, upper = game.state.astype(int)
    assert set(y) == {6} and set(heading) == {0} and set(end) == set(range(4, 11))
    assert stats.chisquare(np.bincount(end)[4:]).pvalue > 0.01
    for last in range(4, 11):
        starts = np.bincount(x[end == last])[1:]
        assert len(starts) == last and stats.chisquare(starts).pvalue > 0.001
    pairs = np.bincount(2 * (cue - KEY) + upper - KEY)
    assert len(pairs) == 4 and stats.chisquare(pairs).pvalue > 0.01


@pytest.mark.parametrize(
    ("cue", "upper", "y"), [(KEY, KEY, 3), (BALL, BALL, 3), (KEY, BALL, 5), (BALL, KEY, 5)]
)
def test_the_place_beside_what_is_like_the_cue_wins(cue, upper, y):
    turn = {3: LEFT, 5: RIGHT}
    for side in (3, 5):
        game = at(7, 4, 0, cue=cue, upper=upper)
        assert not step(game, turn[side])[2][0]
        _, reward, ended, cut = step(game, FORWARD)
        assert ended[0] and not cut[0] and game.state[1, 0] == side
        assert reward[0] == (1 - 0.9 * (2 / 405) if side == y else 0)


def test_the_limit_cuts_and_does_not_end():
    game = at(2, 4, 0, size=7, end=4)
    results = [step(game, 6) for _ in range(245)]
    assert [bool(cut[0]) for *_, cut in results] == [False] * 244 + [True]
    assert not any(ended[0] or reward[0] for _, reward, ended, _ in results)


def test_walls_and_objects_are_in_the_way_and_turning_goes_round():
    for x, y, heading in ((1, 4, 2), (1, 4, 3), (6, 4, 1), (7, 4, 0)):  # wall, cue, hallway's side, far wall
        game = at(x, y, heading)
        step(game, FORWARD)
        assert game.state[:2, 0].tolist() == [x, y]
    game = at(2, 4, 0)
    for heading in (3, 2, 1, 0):
        step(game, LEFT)
        assert game.state[2, 0] == heading
    step(game, RIGHT)
    assert game.state[2, 0] == 1


@pytest.mark.parametrize(("size", "shows"), [(7, True), (9, True), (11, False), (13, False)])
def test_from_the_crossing_the_first_room_is_seen_up_to_size_9(size, shows):
    """So sizes 7 and 9 need no memory of a player that looks back from there."""
    end, middle = size - 3, size // 2
    views = [at(end + 1, middle, 2, size, end, cue).observe() for cue in (KEY, BALL)]
    assert (views[0] != views[1]).any() == shows


def test_the_perfect_player_looks_first_and_takes_the_shortest_way():
    for cue, upper in ((KEY, KEY), (KEY, BALL), (BALL, KEY)):
        game = at(3, 5, 0, size=11, end=8, cue=cue, upper=upper)
        play, count, ended = perfect(game), 0, [False]
        while not ended[0]:
            _, reward, ended, _ = step(game, play(None)[0])
            count += 1
        assert reward[0] > 0
        assert count == 1 + 1 + 6 + 1 + 1  # a look to the left and back, six cells, a turn, the last cell


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_game_files_scores_are_those_of_the_scripts(path):
    file = tomllib.loads(path.read_text())
    game = gym.make_vec(file["id"], num_envs=1000, **file["kwargs"])
    assert str(game.max_steps) in file["points"]["unit"] and file["episodes"] == 1000
    for name, script in (("memoryless", "glancer"), ("ceiling", "perfect")):
        points = play_once(game, PLAYERS[script](game), seed=1_000_000)
        assert points.mean() == pytest.approx(file["references"][name]["points"], abs=0.001)
    assert (points > 0).all()


def test_there_is_a_file_for_each_size():
    assert [path.stem.removeprefix("minigrid-memory-") for path in FILES] == [
        *("s11", "s13", "s17-random", "s7", "s9"),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 8}, "size is 8; .*odd"),
        ({"size": 5}, "size is 5"),
        ({"agent_view_size": 4}, "agent_view_size is 4"),
    ],
)
def test_impossible_games_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        gym.make("rlrnn/MiniGridMemory-v0", **options)
