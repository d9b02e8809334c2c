"""Pole balancing: the equations against plain ones and the laws of mechanics, its fitness, its full test."""

import itertools
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn.common import compiling
from rlrnn.errors import UserError
from rlrnn.games import array_game, wieland
from rlrnn.games.double_pole import STARTS, DoublePole, SinglePole
from rlrnn.games.players import double_pole_criterion
from rlrnn.games.players.base import play_once
from rlrnn.games.players.double_pole import PLAYERS, TWO_POLES, memoryless, recurrent, unit
from rlrnn.games.players.double_pole_criterion import Verdict, examine

ENVS = Path(__file__).parents[2] / "envs"
BOTH = np.array([wieland.LONG, wieland.SHORT])
ALONE = np.array([wieland.LONG, wieland.NO_POLE])
LIMIT = math.radians(36)
FAST = compiling.can_compile()


def plain(state, u, poles=((0.1, 0.5), (0.01, 0.05)), steps=1):
    """The task's equations as they are printed, number by number, with the library's sine and cosine."""

    def slopes(s):
        top, bottom, falls = 10 * u - 5e-4 * (s[1] and math.copysign(1, s[1])), 1.0, []
        for i, (m, length) in enumerate(poles):
            theta, omega = s[2 + 2 * i], s[3 + 2 * i]
            a = 9.8 * math.sin(theta) - 2e-6 * omega / (m * length)
            top += m * length * omega**2 * math.sin(theta) - 0.75 * m * a * math.cos(theta)
            bottom += m * (1 - 0.75 * math.cos(theta) ** 2)
            falls.append((a, theta, omega, length))
        rates = [s[1], top / bottom]
        for a, theta, omega, length in falls:
            rates += [omega, 3 / (4 * length) * (a - rates[1] * math.cos(theta))]
        return rates

    def ahead(s, k, h):
        return [v + h * r for v, r in zip(s, k, strict=True)]

    s = list(state)
    for _ in range(2 * steps):
        a = slopes(s)
        b = slopes(ahead(s, a, 0.005))
        c = slopes(ahead(s, b, 0.005))
        d = slopes(ahead(s, c, 0.01))
        s = [v + 0.01 / 6 * (p + 2 * q + 2 * r + t) for v, p, q, r, t in zip(s, a, b, c, d, strict=True)]
    return s


def pushed(actions):
    """The state after these actions from the standard start, through the game's own step."""
    game = DoublePole()
    game.reset(seed=0)
    for u in actions:
        game.play(np.array([[u]]))
    return game.state[:6, 0]


def test_golden_states():
    one = (9.628934094398e-04, 9.629506976161e-02, 6.876420497550e-02)
    one += (-1.236505169804e-01, -1.450836994781e-02, -1.457713502694e00)
    five = (-0.048914669497, -0.977548874301, 0.149210769704, 1.600410158152, 0.809453928548, 17.385522488902)
    assert pushed([0.5]) == pytest.approx(one, rel=1e-12)
    assert pushed([-1.0] * 5) == pytest.approx(five, rel=0, abs=1e-12)


def test_steps_equal_a_plain_version():
    dice = np.random.default_rng(0)
    spread = np.array([2.4, 3.0, LIMIT, 3.0, LIMIT, 10.0])[:, None]
    for poles, lengths in ((BOTH, ((0.1, 0.5), (0.01, 0.05))), (ALONE, ((0.1, 0.5),))):
        rows = 2 + 2 * len(lengths)
        state = spread * dice.uniform(-1, 1, (6, 37))
        state[rows:] = 0
        u = dice.uniform(-1, 1, 37)
        expected = [plain(state[:rows, b].tolist(), float(u[b]), lengths) for b in range(37)]
        wieland.step(state, 10 * u, poles)
        np.testing.assert_allclose(state[:rows].T, expected, rtol=0, atol=2e-13)
        assert not state[rows:].any()


@pytest.mark.skipif(not FAST, reason="numba is missing or switched off")
@pytest.mark.parametrize("copies", [1, 13, 16, 50])
@pytest.mark.parametrize("game", [DoublePole, SinglePole])
def test_compiled_and_arrays_are_alike_to_the_last_bit(game, copies, monkeypatch):
    def played(compiled):
        env = game(num_envs=copies, start="grid", fitness="damping", velocities=True)
        actions = np.random.default_rng(1).uniform(-1, 1, (150, copies, 1))
        parts = [env.reset(seed=0)[0].tobytes()]
        parts += [part.tobytes() for row in actions for part in env.step(row)[:4]]
        assert (env.compiled() is not None) == compiled
        return parts

    fast = played(True)
    monkeypatch.setattr(array_game, "kernels_of", lambda game: None)
    assert played(False) == fast


def test_without_numba_the_arrays_play():
    code = """if True:
        import sys
        from rlrnn.games.double_pole import DoublePole
        import numpy as np
        game = DoublePole()
        game.reset(seed=0)
        game.step(np.array([[0.5]]))
        sys.exit("numba" in sys.modules)"""
    environment = os.environ | {"RLRNN_FAST": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ENVS.parent)


def test_sine_and_cosine():
    angles = np.linspace(-1.5, 1.5, 30_001)
    sin, cos = wieland.sin_cos(angles)
    np.testing.assert_allclose(sin, np.sin(angles), rtol=0, atol=4e-16)
    np.testing.assert_allclose(cos, np.cos(angles), rtol=0, atol=4e-16)


def energy(state):
    """Of the cart and two uniform rods, J: each rod moves with its middle and turns about it."""
    x_dot = state[1]
    total = 0.5 * wieland.CART_MASS * x_dot**2
    for (m, length), theta, omega in zip(((0.1, 0.5), (0.01, 0.05)), state[2::2], state[3::2], strict=True):
        sideways = x_dot + length * omega * np.cos(theta)
        upward = -length * omega * np.sin(theta)
        total = total + 0.5 * m * (sideways**2 + upward**2) + 0.5 * (m * length**2 / 3) * omega**2
        total = total + m * wieland.GRAVITY * length * np.cos(theta)
    return total


def test_energy_changes_by_the_work_of_force_and_friction():
    dice = np.random.default_rng(2)
    state = np.array([1, 2.0, 0.6, 2.0, 0.6, 8.0])[:, None] * dice.uniform(-1, 1, (6, 500))
    force = dice.uniform(-10, 10, 500)
    rate, h = wieland.slopes(state, force, BOTH), 1e-6
    change = (energy(state + h * rate) - energy(state - h * rate)) / (2 * h)  # W
    friction = 5e-4 * np.abs(state[1]) + 2e-6 * (state[3] ** 2 + state[5] ** 2)
    np.testing.assert_allclose(change, force * state[1] - friction, rtol=0, atol=1e-7)


def test_a_force_speeds_up_the_whole_and_small_angles_fall_as_exponentials():
    # Both sides of the cart: forces mirrored make states mirrored.
    state = np.random.default_rng(3).uniform(-0.3, 0.3, (6, 9))
    mirrored = -state
    wieland.step(state, np.full(9, 3.0), BOTH)
    wieland.step(mirrored, np.full(9, -3.0), BOTH)
    assert (state == -mirrored).all()
    # On a cart that hardly can move, a tiny angle grows as cosh(t sqrt(3 g / 4 l)): 0.1 s of it.
    heavy, fallen = (1e12, 0.0, 9.8, 0.01), np.array([[0, 0, 1e-6, 0, 1e-6, 0.0]]).T
    free = BOTH.copy()
    free[:, 2] = 0  # without friction
    for _ in range(5):
        wieland.step(fallen, np.zeros(1), free, heavy)
    for row, length in ((2, 0.5), (4, 0.05)):
        assert fallen[row, 0] == pytest.approx(
            1e-6 * math.cosh(0.1 * math.sqrt(0.75 * 9.8 / length)), rel=1e-5
        )


def test_the_starts_are_those_of_the_field():
    assert DoublePole().reset(seed=5)[0].tolist() == [[0.0, 0.07 / 0.52, 0.0]]
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    expected = [
        (4.32 * a - 2.16, 2.70 * b - 1.35, 0.12566304 * c - 0.06283152, 0.30019504 * d - 0.15009752, 0, 0)
        for a, b, c, d in itertools.product(shares, repeat=4)
    ]
    np.testing.assert_allclose(STARTS.T, expected, rtol=0, atol=1e-15)
    grid = DoublePole(num_envs=625, start="grid")
    grid.reset(seed=0)
    assert (grid.state[:6] == STARTS).all()
    grid.reset()  # the next episode has the next start
    assert (grid.state[:6] == np.roll(STARTS, -1, axis=1)).all()
    for seed in (624, 2**64 - 1):
        grid.reset(seed=[seed] * 625)
        assert (grid.state[:6, 0] == STARTS[:, seed % 625]).all()
    one = DoublePole(num_envs=2, start=137)
    one.reset(seed=9)
    assert (one.state[:6] == STARTS[:, [137, 137]]).all()
    lone = SinglePole(num_envs=625, start="grid")
    lone.reset(seed=0)
    assert (lone.state[:6] == STARTS).all()


@pytest.mark.parametrize("velocities", [False, True])
def test_what_is_seen(velocities):
    for game, rows in ((DoublePole, 6), (SinglePole, 4)):
        env = game(num_envs=3, velocities=velocities, start="grid")
        env.reset(seed=7)
        seen = env.step(np.array([[1.0], [-0.3], [0.2]]))[0]
        units = np.array([4.8, 2, 0.52, 2, 0.52, 2])[:rows]
        expected = (env.state[:rows].T / units)[:, :: 1 if velocities else 2]
        assert seen.tolist() == expected.tolist() and seen in env.observation_space


@pytest.mark.parametrize("row", [0, 2, 4])
def test_an_episode_ends_beyond_the_limits(row):
    limit = (2.4, None, LIMIT, None, LIMIT)[row]
    for side in (-1, 1):
        for beyond in (True, False):
            game = DoublePole()
            game.reset(seed=0)
            game.state[:6] = 0
            game.state[row] = side * limit * (1 + (1e-9 if beyond else -0.2))
            _, reward, ended, cut = game.play(np.zeros((1, 1)))
            assert (reward[0], ended[0], cut[0]) == ((0.0, True, False) if beyond else (1.0, False, False))


def test_standard_points_are_the_steps_balanced():
    game = DoublePole(num_envs=64)
    dice = np.random.default_rng(4)
    actions = dice.uniform(-1, 1, (60, 64, 1))
    rows = iter(actions)
    points = play_once(game, lambda _: next(rows), seed=0)
    for b in range(64):
        state, steps = [0, 0, 0.07, 0, 0, 0], 0
        for u in actions[:, b, 0]:
            state = plain(state, u)
            if abs(state[0]) > 2.4 or max(abs(state[2]), abs(state[4])) > LIMIT:
                break
            steps += 1
        assert points[b] == steps
    assert len(set(points)) > 5


@pytest.mark.parametrize(
    ("start", "weights"),
    [("standard", TWO_POLES), (212, TWO_POLES), (0, TWO_POLES), ("standard", (-0.208, -0.303, 0.976, 0.0))],
)
@pytest.mark.parametrize("longest", [1000, 150, 99])
def test_damping_points_are_gruaus_formula(start, weights, longest):
    game = DoublePole(fitness="damping", start=start, max_episode_steps=longest)
    player = unit(game, weights)
    seen, _ = game.reset(seed=0)
    states, rewards, ended, cut = [], [], np.array([False]), np.array([False])
    while not (ended[0] or cut[0]):
        seen, reward, ended, cut = game.play(player(seen))
        rewards.append(reward[0])
        states.append(game.state[:4, 0].tolist())
    balanced = states[:-1] if ended[0] else states
    t = len(balanced)
    unrest = math.fsum(abs(v) for state in balanced[-100:] for v in state)
    expected = 0.1 * t / 1000 + 0.9 * (0.75 / unrest if t >= 100 else 0)
    assert rewards[-1] == pytest.approx(expected, rel=1e-13) and not any(rewards[:-1])
    assert len(states) <= longest and (ended[0] or len(states) == longest)


def test_damping_forgets_the_episode_before():
    game = DoublePole(fitness="damping", max_episode_steps=130)
    player = recurrent(game)
    first = play_once(game, player, seed=0)
    game.reset()
    again = sum(game.step(action)[1][0] for action in [np.ones((1, 1))] * 4)
    assert again == 0 and first > 0.01
    state = game.get_state()
    assert state.keys() >= {"unrest_0", "unrest_99"}


def test_a_cart_that_never_moves_has_a_finite_fitness():
    game = DoublePole(fitness="damping", start=312)
    points = play_once(game, lambda _: np.zeros((1, 1)), seed=0)
    assert np.isfinite(points).all() and points > 1000


def test_limits_on_steps():
    assert DoublePole().max_episode_steps == SinglePole().max_episode_steps == 100_000
    assert DoublePole(fitness="damping").max_episode_steps == 1000
    assert DoublePole(fitness="damping", max_episode_steps=2000).max_episode_steps == 1000
    assert gym.make_vec("rlrnn/DoublePole-v0", num_envs=2, max_episode_steps=9).max_episode_steps == 9


def test_the_golden_controller_without_its_memory_soon_falls():
    game = DoublePole()
    assert play_once(game, unit(game, (*TWO_POLES[:3], 0.0)), seed=0) == 30
    game = DoublePole()
    assert play_once(game, memoryless(game), seed=0) < 120
    # Nor does any of 2,000 other units without memory get far.
    weights = np.random.default_rng(5).normal(size=(3, 2000)) * 3
    game = DoublePole(num_envs=2000, max_episode_steps=500)
    points = play_once(game, lambda seen: np.tanh((weights.T * seen).sum(1, keepdims=True)), seed=0)
    assert 60 < points.max() < 120


def test_the_golden_controller_on_the_625_starts():
    game = DoublePole(num_envs=625, start="grid", max_episode_steps=1000)
    points = play_once(game, recurrent(game), seed=0)
    assert (points == 1000).sum() == 277


def test_the_golden_controller_passes_a_shorter_test(monkeypatch):
    monkeypatch.setattr(double_pole_criterion, "STEPS", 1_000)  # the slow test below has all 100,000
    verdict = examine(recurrent)
    assert verdict == Verdict(1_000, 277) and verdict.solved


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "player", "starts"),
    [
        (DoublePole, "recurrent", 277),
        (DoublePole, "linear", 535),
        (SinglePole, "recurrent", 485),
        (SinglePole, "linear", 555),
    ],
)
def test_scripts_that_balance(game, player, starts):
    assert examine(PLAYERS[player], game) == Verdict(100_000, starts)


def test_the_full_test_asks_for_both():
    made = []

    def make(game):
        made.append(game.num_envs)
        return memoryless(game)

    assert examine(make) == Verdict(110, None) and made == [1]  # nothing is played that cannot count
    assert not Verdict(110, None).solved and not Verdict(100_000, 199).solved
    assert Verdict(100_000, 200).solved and not Verdict(99_999, 400).solved


@pytest.mark.parametrize(
    "name",
    ["double-pole-no-velocity", "double-pole-damping-no-velocity", "double-pole", "single-pole-no-velocity"],
)
def test_the_game_files_scores_are_those_of_the_scripts(name):
    file = tomllib.loads((ENVS / f"{name}.toml").read_text())
    scripts = {"random": "random", "memoryless": "memoryless", "best": "recurrent"}
    for reference, script in scripts.items():
        if reference in file["references"]:
            game = gym.make_vec(file["id"], num_envs=100, **file.get("kwargs", {}))
            points = play_once(game, PLAYERS[script](game), seed=1_000_000)
            assert points.mean() == pytest.approx(file["references"][reference]["points"], abs=5e-5)
    if "ceiling" in file["references"]:
        assert file["references"]["ceiling"]["points"] == file["points"]["win"] == game.max_episode_steps


def test_the_picture_shows_what_is_hidden_in_grey():
    def picture(game, velocities):
        env = game(velocities=velocities, start=0, render_mode="rgb_array")
        env.reset(seed=0)
        return env.render()[0]

    def count(image, colour):
        return int((image == colour).all(-1).sum())

    leaf, cool = (104, 168, 108), (84, 144, 200)
    assert count(picture(DoublePole, True), leaf) > count(picture(DoublePole, False), leaf) == 0
    assert count(picture(DoublePole, False), cool) > count(picture(SinglePole, False), cool) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fitness": "gruau"}, "fitness is 'gruau': choose one of standard, damping"),
        ({"start": 625}, "start is 625; .* from 0 to 624"),
        ({"start": -1}, "start is -1"),
        ({"start": "random"}, "start is 'random'; choose 'standard', 'grid'"),
        ({"start": True}, "start is True"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0"),
    ],
)
def test_unknown_options_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        DoublePole(**options)
