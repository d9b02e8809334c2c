"""Pong: hand-computed flights, what the fog hides, and an honest gap between players."""

import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn.common import compiling
from rlrnn.errors import UserError
from rlrnn.games import array_game, pong
from rlrnn.games.players.base import play_once, random_player
from rlrnn.games.players.pong import PLAYERS
from rlrnn.games.pong import DOWN, EDGE, REACH, STAY, UP, WALL, Pong, fold


def court(**state):
    """One copy in the given state; the ball lies still in the middle unless the state says otherwise."""
    game = Pong(num_envs=1)
    game.reset(seed=0)
    game.state[:] = 0.0
    for name, value in state.items():
        game.state[Pong.variables.index(name)] = value
    return game


def value(game, name):
    return float(game.state[Pong.variables.index(name), 0])


def test_paddles_move_and_stop_at_the_walls():
    game = court()
    for action, expected in ((UP, 0.1), (UP, 0.2), (STAY, 0.2), (DOWN, 0.1)):
        game.step(np.array([action]))
        assert value(game, "agent") == pytest.approx(expected)
    for _ in range(30):
        game.step(np.array([UP]))
    assert value(game, "agent") == 1 - REACH


def test_the_ball_flies_straight_and_bounces():
    game = court(y=0.9, speed_x=0.1, speed_y=0.04)
    heights = [game.step(np.array([STAY])) and value(game, "y") for _ in range(4)]
    # 0.94, then 0.98 is 0.015 beyond the wall at 0.965.
    assert heights == pytest.approx([0.94, 0.95, 0.91, 0.87])
    assert value(game, "x") == pytest.approx(0.4) and value(game, "speed_y") == -0.04


@pytest.mark.parametrize("offset", [-1.0, -0.5, 0.0, 0.9])
def test_a_struck_ball_speeds_up_and_takes_its_angle_from_the_paddle(offset):
    slopes = []
    for seed in range(200):
        game = court(x=EDGE - 0.05, y=0.2 + REACH * offset, speed_x=0.15, agent=0.2)
        game.draws.seeds[:] = seed
        _, reward, *_ = game.step(np.array([STAY]))
        assert reward == 0 and value(game, "x") == EDGE
        assert value(game, "speed_x") == pytest.approx(-0.15 * 1.2)
        slopes.append(value(game, "speed_y") / 0.18)
    assert np.abs(np.array(slopes) - 0.8 * offset).max() == pytest.approx(0.15, abs=0.01)
    assert np.mean(slopes) == pytest.approx(0.8 * offset, abs=0.03)


def test_the_ball_is_met_where_it_crosses_the_paddles_plane():
    # It crosses x = 1.4 half way through the step, at y = 0.3: within reach of a paddle at 0.3 + REACH - 0.01
    # and out of reach of one at 0.3 + REACH + 0.01.
    for paddle, reward in ((0.3 + REACH - 0.01, 0), (0.3 + REACH + 0.01, -1)):
        game = court(x=EDGE - 0.05, y=0.25, speed_x=0.1, speed_y=0.1, agent=paddle)
        assert game.step(np.array([STAY]))[1] == reward
        assert value(game, "lost") == -reward


def test_speed_has_a_top():
    game = court(x=-EDGE + 0.01, speed_x=-0.19)
    game.step(np.array([STAY]))
    assert value(game, "speed_x") == 0.2


def test_points_are_counted_and_end_the_match():
    game = court(x=-EDGE + 0.1, y=0.9, speed_x=-0.15, opponent=-0.7, won=10, lost=3)
    seen, reward, terminated, truncated, infos = game.step(np.array([UP]))
    assert reward == 1 and terminated and not truncated
    assert infos["final_obs"][0, 0] == np.float32(0.1) and seen[0, 0] == 0  # the next match begins afresh
    assert value(game, "won") == value(game, "lost") == 0


def test_a_match_to_three_has_three_points():
    game = Pong(num_envs=64, points=3)
    points = play_once(game, random_player(game), seed=0)
    assert set(points.tolist()) <= {-3.0, -2.0, -1.0, 1.0, 2.0, 3.0}


def test_the_lot_decides_who_serves_and_from_its_paddle():
    game = Pong(num_envs=2000)
    game.reset(seed=0)
    _, _, x, y, speed_x, speed_y, *_ = game.state
    assert np.mean(x > 0) == pytest.approx(0.5, abs=0.04)
    assert (np.abs(x) == EDGE).all() and (np.sign(speed_x) == -np.sign(x)).all() and not y.any()
    assert np.abs(speed_y / speed_x).max() == pytest.approx(0.4, abs=0.005)


def test_fold_equals_bouncing():
    rng = np.random.default_rng(0)
    for _ in range(200):
        y, speed = rng.uniform(-WALL, WALL), rng.uniform(-0.2, 0.2)
        n = int(rng.integers(1, 60))
        expected = float(fold(np.float64(y + n * speed)))
        for _ in range(n):
            y += speed
            if abs(y) > WALL:
                y, speed = np.copysign(2 * WALL, y) - y, -speed
        assert y == pytest.approx(expected, abs=1e-12)


def test_the_fog_hides_the_ball_and_nothing_else_gives_it_away():
    game = Pong(num_envs=50)
    seen, _ = game.reset(seed=0)
    assert (game.fog_end - game.fog_start) / (2 * EDGE) == pytest.approx(0.7)
    player = random_player(game)
    hidden = 0
    for _ in range(400):
        seen = game.step(player(seen))[0]
        x, y = game.state[2:4]
        fog = (x > game.fog_start) & (x < game.fog_end)
        assert (seen[:, 0] == game.state[0].astype(np.float32)).all()
        assert (seen[:, 3] == ~fog).all()
        assert not seen[fog, 1:3].any()
        assert seen[~fog, 1:3] == pytest.approx(np.stack((x / EDGE, y), 1)[~fog], abs=1e-6)
        hidden += fog.sum()
    assert 0.5 < hidden / (400 * 50) < 0.8
    clear = Pong(num_envs=5, fog=0.0)
    clear.reset(seed=0)
    assert all(clear.step(np.full(5, STAY))[0][:, 3].all() for _ in range(100))


def test_a_coming_ball_is_seen_four_times_then_flies_nine_steps_unseen():
    game = Pong(num_envs=100)
    seen, _ = game.reset(seed=0)
    player = PLAYERS["perfect"](game)
    clear, blind = np.zeros((2, 100), int)
    flights = 0
    for _ in range(600):
        coming = game.state[4] > 0
        left = coming & (game.state[2] <= game.fog_start)
        fog = coming & (seen[:, 3] == 0)
        clear, blind = np.where(coming, clear + left, 0), np.where(coming, blind + fog, 0)
        arriving = coming & (game.state[2] + game.state[4] >= EDGE)
        assert (clear[arriving] >= 4).all() and (blind[arriving] >= 9).all()
        flights += arriving.sum()
        seen = game.step(player(seen))[0]
    assert flights > 1000


def test_the_gap_between_players_is_honest():
    file = tomllib.loads((Path(__file__).parents[2] / "envs" / "pong.toml").read_text())
    points = {}
    for name, make_player in PLAYERS.items():
        game = gym.make_vec(file["id"], num_envs=100, **file.get("kwargs", {}))
        points[name] = play_once(game, make_player(game), seed=1_000_000)
    wins = {name: int((scores >= file["points"]["win"]).sum()) for name, scores in points.items()}
    assert wins["random"] == 0
    assert wins["last_seen"] < 30 and wins["chaser"] < 30 and wins["freezer"] < 30
    assert wins["extrapolator"] >= 98 and wins["perfect"] >= 98
    stated = {name: reference["points"] for name, reference in file["references"].items()}
    assert stated == pytest.approx(
        {
            "random": points["random"].mean(),
            "memoryless": points["freezer"].mean(),
            "best": points["extrapolator"].mean(),
            "ceiling": points["perfect"].mean(),
        },
        abs=0.006,
    )


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
@pytest.mark.parametrize(("copies", "player"), [(1, "random"), (7, "extrapolator"), (50, "freezer")])
def test_compiled_and_arrays_are_alike_to_the_last_bit(copies, player, monkeypatch):
    def played():
        game = Pong(num_envs=copies, max_episode_steps=400, fog=0.5, points=3)
        seen, _ = game.reset(seed=0)
        play, parts = PLAYERS[player](game), [seen]
        for _ in range(1000):  # struck and missed balls, matches won, lost and cut off
            step = game.step(play(seen))[:4]
            seen = step[0]
            parts += [*step, game.state.copy(), game.draws.drawn.copy()]
        game.keep(np.arange(0, copies, 2))
        for _ in range(20):
            parts += game.play(np.full((copies + 1) // 2, UP))
        for border in (game.fog_start, game.fog_end):  # which are seen
            game.state[2] = border
            parts.append(game._look())
            assert parts[-1][:, 3].all()
        return [part.tobytes() for part in parts]

    fast = played()
    asked = []
    monkeypatch.setattr(array_game, "kernels_of", asked.append)  # returns None: there is none
    assert played() == fast and len(asked) > 2000


def test_a_pong_that_serves_otherwise_does_so_at_every_serve():
    class Slow(Pong):
        def _serve(self, copies, draws):
            super()._serve(copies, draws)
            self.state[4, copies] /= 2

    game = Slow(num_envs=20)
    game.reset(seed=0)
    served = [np.abs(game.state[4])]
    for _ in range(300):
        rewards = game.step(np.full(20, STAY))[1]
        served.append(np.abs(game.state[4])[rewards != 0])
    served = np.concatenate(served)
    assert len(served) > 40 and (served == pong.SERVE_SPEED / 2).all()


def test_unplayable_courts_are_refused():
    with pytest.raises(UserError, match="points is 0"):
        Pong(points=0)
    for fog in (-0.1, 0.95, float("nan")):
        with pytest.raises(UserError, match=r"from 0 to 0\.9"):
            Pong(fog=fog)
    assert pong.FOG_END - 2 * 0.9 > -1  # the thickest fog still leaves the opponent's paddle in sight
