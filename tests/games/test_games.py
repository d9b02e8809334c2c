"""Array games: copies equal single games bit for bit, states are complete, the classics equal Gymnasium's."""

import copy
import pickle
import tomllib
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode
from scipy import stats
from stable_baselines3.common.env_checker import check_env as sb3_check

import rlrnn.games
from rlrnn.common import compiling
from rlrnn.envs import games
from rlrnn.errors import UserError
from rlrnn.games import GAMES, array_game
from rlrnn.games.players.base import play_once, random_player
from rlrnn.games.randomness import _GOLDEN, Randomness, _mix, seeds_of_copies

CLASSICS = {
    f"rlrnn/{name}": name for name in ("CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0")
}  # and Gymnasium's own
ALIKE = {  # games whose episodes all begin alike, and how they do not
    "rlrnn/DoublePole-v0": {"start": "grid"},
    "rlrnn/SinglePole-v0": {"start": "grid"},
}
COMPILED = ["rlrnn/CartPole-v1", "rlrnn/Pong-v0"]
ENVS = Path(__file__).parents[2] / "envs"


def batch(name, copies, **kwargs):
    """Copies with short episodes, so that a short test sees several."""
    return gym.make_vec(name, num_envs=copies, max_episode_steps=30, **kwargs)


def actions_for(game, steps, seed=0):
    game.action_space.seed(seed)
    return np.stack([game.action_space.sample() for _ in range(steps)])


def play(game, actions):
    return [game.step(row) for row in actions]


def equal(one, other):
    """Two steps' results, final observations included where there are any, to the last bit."""
    for a, b in zip(one[:4], other[:4], strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    assert one[4].keys() == other[4].keys()
    for key in one[4]:
        assert one[4][key].tobytes() == other[4][key].tobytes()


@pytest.mark.parametrize("name", GAMES)
def test_a_copy_of_any_batch_equals_the_single_game_with_its_seed(name):
    big = batch(name, 256)
    actions = actions_for(big, 75)
    first, _ = big.reset(seed=7)
    steps = play(big, actions)
    assert sum(infos["_final_obs"].sum() for *_, infos in steps if infos) >= 2 * 256
    for copies in (1, 3, 8):
        game = batch(name, copies)
        assert game.reset(seed=[7 + 250 - b for b in range(copies)])[0].tobytes() == (
            first[[250 - b for b in range(copies)]].tobytes()
        )
        here = [250 - b for b in range(copies)]
        for t, results in enumerate(play(game, actions[:, here])):
            for mine, theirs in zip(results[:4], steps[t][:4], strict=True):
                assert mine.tobytes() == theirs[here].tobytes()
    for b in (0, 255):
        single = gym.make(name, max_episode_steps=30)
        observation, _ = single.reset(seed=7 + b)
        assert observation.tobytes() == first[b].tobytes()
        for t in range(75):
            observations, rewards, terminated, truncated, infos = steps[t]
            observation, reward, ended, cut, _ = single.step(actions[t, b])
            assert (reward, ended, cut) == (rewards[b], terminated[b], truncated[b])
            if ended or cut:
                assert infos["_final_obs"][b]
                assert observation.tobytes() == infos["final_obs"][b].tobytes()
                observation, _ = single.reset()
            assert observation.tobytes() == observations[b].tobytes()


@pytest.mark.parametrize("name", GAMES)
def test_a_restored_game_goes_on_bit_for_bit(name):
    game = batch(name, 5, **ALIKE.get(name, {}))
    actions = actions_for(game, 80)
    game.reset(seed=3)
    play(game, actions[:40])
    saved = game.get_state()
    then = play(game, actions[40:])
    other = batch(name, 5, **ALIKE.get(name, {}))  # which was never begun
    other.set_state(saved)
    for one, two in zip(then, play(other, actions[40:]), strict=True):
        equal(one, two)
    # Without its counters it would not: the next episodes would begin differently.
    other.set_state(saved | {"episode": saved["episode"] + np.uint64(1)})
    assert any((a[0] != b[0]).any() for a, b in zip(then, play(other, actions[40:]), strict=True))
    # One copy of it goes on as a single game.
    single = gym.make(name).unwrapped
    single.set_state({key: values[2:3] for key, values in saved.items()})
    observation, reward, *_ = single.step(actions[40, 2])
    final = then[0][4]
    expected = final["final_obs"] if final and final["_final_obs"][2] else then[0][0]
    assert observation.tobytes() == expected[2].tobytes() and reward == then[0][1][2]


@pytest.mark.parametrize("name", GAMES)
def test_reset_with_a_seed_repeats_and_without_one_goes_on(name):
    many: dict[str, dict[str, object]] = {  # so that two starts are hardly ever alike
        "rlrnn/Recall-v0": {"alphabet": 10**6},
        "rlrnn/Simon-v0": {"colours": 10**6},
        "rlrnn/MemoryChain-v0": {"num_bits": 64},
        "rlrnn/MiniGridMemory-v0": {"size": 17, "random_length": True},
        **ALIKE,
    }
    options = many.get(name, {})
    game = batch(name, 4, **options)

    def begun(seed=None):
        game.reset(seed=seed)
        return game.state.copy()  # [variables, 4]

    first, second = begun(11), begun()
    assert (first != second).any(axis=0).all()
    assert (begun(11) == first).all() and (begun() == second).all()
    assert (begun([11, 12, 13, 14]) == first).all()  # copy b has seed + b
    assert (begun(12)[:, :3] == first[:, 1:]).all()
    other = batch(name, 4, **options)
    other.reset()  # without any seed: new ones
    assert (other.state != first).any()


@pytest.mark.parametrize(("name", "limit"), [(name, limit) for name, (*_, limit) in GAMES.items()])
def test_ids_make_the_same_spaces_and_limits_singly_and_as_a_batch(name, limit):
    rlrnn.games.register()  # a second time changes nothing
    single, game = gym.make(name), gym.make_vec(name, num_envs=3)
    assert single.spec.max_episode_steps == limit
    assert game.max_episode_steps == (limit or single.unwrapped.copies.max_episode_steps)
    assert game.single_observation_space == single.observation_space
    assert game.single_action_space == single.action_space
    assert game.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, rewards, terminated, truncated, _ = (game.reset(seed=0), play(game, actions_for(game, 1)))[
        1
    ][0]
    assert observations in game.observation_space
    assert observations.dtype == (np.float64 if "Pole-v0" in name else np.float32)
    assert rewards.shape == terminated.shape == truncated.shape == (3,)
    assert terminated.dtype == truncated.dtype == np.bool_


def test_the_time_limit_truncates_and_does_not_terminate():
    game = gym.make_vec("rlrnn/Pendulum-v1", num_envs=2)
    game.reset(seed=0)
    results = play(game, actions_for(game, 401))
    ends = [t for t, (_, _, _, truncated, _) in enumerate(results, 1) if truncated.any()]
    assert ends == [200, 400] and not any(r[2].any() for r in results)


def start(name, ours, theirs):
    """Put Gymnasium's environment into our state."""
    state = ours.copies.state[: 4 if "CartPole" in name else 2, 0]
    theirs.state = state.astype(np.float32 if "MountainCar" in name else np.float64)


@pytest.mark.parametrize("name", CLASSICS)
def test_classics_equal_gymnasium_from_the_same_state(name):
    ours, theirs = gym.make(name).unwrapped, gym.make(CLASSICS[name]).unwrapped
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    rng = np.random.default_rng(0)
    arrived = 0
    for episode in range(12):
        theirs.reset(seed=episode)
        ours.reset(seed=episode)
        start(name, ours, theirs)
        velocity = 0.0
        for _ in range(GAMES[name][2]):
            if "CartPole" in name:
                action = int(rng.integers(2))
            elif "Pendulum" in name or episode % 2:
                action = rng.uniform(theirs.action_space.low, theirs.action_space.high).astype(np.float32)
            else:  # with the velocity, which reaches the flag
                action = np.array([np.copysign(rng.uniform(0.9, 1), velocity)], np.float32)
            seen, reward, ended, _, _ = theirs.step(action)
            mine, points, over, _, _ = ours.step(action)
            state = ours.copies.state[: len(theirs.state), 0]
            if "CartPole" in name:  # whose sine is ours, which rounds alike on all processors
                np.testing.assert_allclose(state, theirs.state, rtol=0, atol=2e-15)
                np.testing.assert_allclose(mine, seen, rtol=1e-7)
                start(name, ours, theirs)
            else:
                assert mine.tobytes() == seen.tobytes()
                assert state.tolist() == theirs.state.tolist()
            # Pendulum's squares are rounded differently, that of the torque in float32 (see its docstring).
            assert points == pytest.approx(reward, rel=0, abs=5e-10 if "Pendulum" in name else 0)
            assert over == ended
            velocity = seen[-1]
            if ended:
                arrived += 1
                break
    assert arrived == {"CartPole-v1": 12, "Pendulum-v1": 0, "MountainCarContinuous-v0": 6}[CLASSICS[name]]


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
@pytest.mark.parametrize("copies", [1, 7, 64])
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_game_is_its_arrays_to_the_last_bit(name, copies, monkeypatch):
    def played(compiled):
        game = gym.make_vec(name, num_envs=copies).unwrapped
        actions = np.random.default_rng(1).integers(0, game.single_action_space.n, (300, copies))
        first = game.reset(seed=0)[0].tobytes()
        assert (game.compiled() is not None) == compiled
        parts = [part for row in actions for part in (*game.step(row)[:4], game.state, game.draws.drawn)]
        return [first, *(part.tobytes() for part in parts)]

    fast = played(True)
    monkeypatch.setattr(array_game, "kernels_of", lambda game: None)
    assert played(False) == fast


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda game: pickle.loads(pickle.dumps(game))])
def test_a_copy_of_a_game_plays_by_itself(name, copied):
    game = gym.make_vec(name, num_envs=5).unwrapped
    game.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, game.single_action_space.n, (40, 5))
    play(game, actions[:10])
    other = copied(game)
    wanted = [[part.copy() for part in step[:4]] for step in play(game, actions[10:])]
    for found, step in zip(play(other, actions[10:]), wanted, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(found[:4], step, strict=True))


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_episodes_begin_as_those_of_arrays(name):
    ours, theirs = (gym.make_vec(name, num_envs=9).unwrapped for _ in range(2))
    for game in (ours, theirs):
        game.reset(seed=3)
    compiled = ours.compiled()
    for b in (7, 0, 7):
        ours.draws.begin(np.array([b]))
        compiled.kernels.begin(compiled.address, b, 0, 0, 0, 0)
        theirs._begin(np.array([b]), theirs.draws)
    assert ours.get_state().keys() == theirs.get_state().keys()
    for key, value in theirs.get_state().items():
        assert ours.get_state()[key].tobytes() == value.tobytes(), key


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("rlrnn/CartPole-v1", [(-0.05, 0.05)] * 4),
        ("rlrnn/Pendulum-v1", [(-np.pi, np.pi), (-1.0, 1.0)]),
        ("rlrnn/MountainCarContinuous-v0", [(-0.6, -0.4)]),
    ],
)
def test_classics_begin_as_gymnasium_does(name, ranges):
    game = gym.make_vec(name, num_envs=4000)
    game.reset(seed=0)
    for row, (low, high) in zip(game.state, ranges, strict=False):
        assert stats.kstest(row, "uniform", (low, high - low)).pvalue > 0.01
    assert not game.state[len(ranges) :].any()


@pytest.mark.parametrize("name", GAMES)
def test_environment_checkers_find_nothing_that_gymnasiums_own_has_not(name):
    def complaints(id_):
        found = []
        for check in (gymnasium_check, sb3_check):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                check(gym.make(id_, render_mode="rgb_array").unwrapped)
            found += [
                str(warning.message) for warning in caught if not issubclass(warning.category, ImportWarning)
            ]
        return {text for text in found if "pkg_resources" not in text}

    assert complaints(name) <= (complaints(CLASSICS[name]) if name in CLASSICS else set())


@pytest.mark.parametrize("name", GAMES)
def test_pictures_show_the_state_of_their_copy(name):
    options = {"num_bits": 8} if "MemoryChain" in name else {}  # a single bit is often the same in both
    game = batch(name, 2, render_mode="rgb_array", **options)
    game.reset(seed=1)
    play(game, actions_for(game, 8))
    one, two = game.render()
    assert one.dtype == np.uint8 and one.ndim == 3 and one.shape[2] == 3
    assert (one != two).any()
    single = gym.make(name, render_mode="rgb_array", **options)
    single.reset(seed=0)
    single.unwrapped.set_state({key: values[1:] for key, values in game.get_state().items()})
    assert (single.render() == two).all()


@pytest.mark.parametrize(
    ("name", "actions", "words"),
    [
        ("rlrnn/CartPole-v1", np.zeros(2, int), r"int64 of shape \(2,\).*3 copies of CartPole"),
        ("rlrnn/CartPole-v1", np.array([0, 2, 1]), "action 2 .*CartPole takes whole numbers from 0 to 1"),
        ("rlrnn/Pong-v0", np.array([0, -1, 1]), "action -1 .*from 0 to 2"),
        ("rlrnn/Pong-v0", np.zeros(3), "float64 of shape"),
        ("rlrnn/Recall-v0", np.array([0, 4, 3]), "action 4 .*Recall takes whole numbers from 0 to 3"),
        ("rlrnn/TMaze-v0", np.array([4, 0, 3]), "action 4 .*TMaze takes whole numbers from 0 to 3"),
        (
            "rlrnn/MemoryChain-v0",
            np.array([0, 1, 2]),
            "action 2 .*MemoryChain takes whole numbers from 0 to 1",
        ),
        ("rlrnn/Simon-v0", np.array([0, 1, -1]), "action -1 .*Simon takes whole numbers from 0 to 3"),
        ("rlrnn/Pendulum-v1", np.full((3, 1), np.nan), "action nan .*from -2.0 to 2.0"),
        ("rlrnn/Pendulum-v1", np.zeros(3, np.float32), r"need float32 of shape \(3, 1\)"),
        ("rlrnn/MountainCarContinuous-v0", np.array([[0.0], [0.0], [1.5]]), "action 1.5 .*from -1.0 to 1.0"),
    ],
)
def test_wrong_actions_are_named(name, actions, words):
    game = gym.make_vec(name, num_envs=3)
    game.reset(seed=0)
    before = game.get_state()
    with pytest.raises(UserError, match=words):
        game.step(actions)
    assert all((before[key] == value).all() for key, value in game.get_state().items())


def test_misuse_gets_one_sentence():
    game = gym.make_vec("rlrnn/CartPole-v1", num_envs=2)
    for use in (lambda: game.step(np.zeros(2, int)), game.get_state):
        with pytest.raises(UserError, match=r"call reset\(\)"):
            use()
    with pytest.raises(UserError, match=r"no reset options.*low"):
        game.reset(options={"low": 0})
    with pytest.raises(UserError, match="3 seeds were given for 2 copies"):
        game.reset(seed=[1, 2, 3])
    for seed in (-1, 2**64 - 1, [1, "2"]):
        with pytest.raises(UserError, match="whole number from 0"):
            game.reset(seed=seed)
    game.reset(seed=0)
    with pytest.raises(UserError, match="rgb_array"):
        game.render()
    state = game.get_state()
    with pytest.raises(UserError, match="CartPole needs"):
        game.set_state({key: value for key, value in state.items() if key != "x_dot"})
    with pytest.raises(UserError, match=r"'x' has shape \(1,\)"):
        game.set_state({key: value[:1] for key, value in state.items()})
    with pytest.raises(UserError, match="num_envs is 0"):
        gym.make_vec("rlrnn/CartPole-v1", num_envs=0)
    with pytest.raises(UserError, match="render_mode 'ansi' is unknown"):
        rlrnn.games.array_game.ArrayGame.__init__(game, render_mode="ansi")
    single = gym.make("rlrnn/CartPole-v1").unwrapped
    single.reset(seed=0)
    while not single.step(1)[2]:
        pass
    with pytest.raises(UserError, match="episode is over"):
        single.step(1)
    over = single.get_state()
    single.reset()
    single.set_state(over)
    with pytest.raises(UserError, match="episode is over"):
        single.step(1)


def test_randomness_is_splitmix64_and_uniform():
    # First outputs of the published generator from state 0.
    states = np.arange(1, 4, dtype=np.uint64) * _GOLDEN
    assert [hex(z) for z in _mix(states).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
    draws, everyone = Randomness(seeds_of_copies(0, 200)), np.arange(200)
    numbers = []  # of neighbouring seeds, episodes and draws
    for _ in range(20):
        draws.begin(everyone)
        numbers.append(draws.uniform(everyone, 10))
    table = np.stack(numbers)  # [episode, draw, copy]
    assert len(np.unique(table)) == table.size and (table >= 0).all() and (table < 1).all()
    assert stats.kstest(table.ravel(), "uniform").pvalue > 0.01
    for axis in range(3):
        one, other = np.delete(table, 0, axis).ravel(), np.delete(table, -1, axis).ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(one.size)


def test_a_stream_depends_on_its_own_draws_alone():
    together, alone = Randomness(seeds_of_copies(5, 3)), Randomness(seeds_of_copies(6, 1))
    for draws in (together, alone):
        draws.begin(np.arange(len(draws.seeds)))
    together.uniform(np.array([0, 2]), 4)  # of other copies
    ahead = alone.uniform(np.array([0]), 5)[:, 0]
    parts = [together.uniform(np.array([1]), n)[:, 0] for n in (2, 3)]
    assert np.concatenate(parts).tolist() == ahead.tolist()


@pytest.mark.parametrize("path", sorted(ENVS.glob("*.toml")), ids=lambda path: path.stem)
def test_a_random_player_scores_what_the_file_says(path):
    file = tomllib.loads(path.read_text())
    if not file["id"].startswith("rlrnn/"):
        pytest.skip("not one of our games")
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file.get("kwargs", {}))
    points = play_once(game, random_player(game), seed=1_000_000).mean()
    assert points == pytest.approx(file["references"]["random"]["points"], abs=0.006)


@pytest.mark.parametrize(
    ("name", "seen", "limit"),
    [
        ("cartpole-no-velocity", ["x", "theta"], 500),
        ("cartpole-no-velocity-200", ["x", "theta"], 200),
        ("cartpole-velocity-alone-200", ["x_dot", "theta_dot"], 200),
        ("mountain-car-no-velocity", ["position"], 999),
        ("pendulum-velocity-alone", ["theta_dot"], 200),
    ],
)
def test_game_files_show_these_numbers_alone(name, seen, limit):
    env = games.make_vec(name, 3, seed=5)
    copies = gym.make_vec(games.game(name).id, num_envs=3)
    assert env.reset().shape == (3, len(seen))
    copies.reset(seed=5)
    for actions in actions_for(copies, 40):
        observations = env.step(actions)[0]
        copies.step(actions)
        state = copies.get_state()
        assert observations.tolist() == np.float32([state[key] for key in seen]).T.tolist()
    assert env.get_attr("max_episode_steps")[0] == limit
