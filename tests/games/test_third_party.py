"""Other people's games, where their packages are installed: played as registered, trained on, judged."""

import sys
import tomllib
import warnings
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from PIL import Image
from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.envs import games
from rlrnn.envs.engines.ids import find_spec, make_single
from rlrnn.envs.engines.native import own_vector_env
from rlrnn.errors import MissingExtraError
from rlrnn.experiment.pictures import film as watching
from rlrnn.experiment.recipes import EvaluationRecipe, NetworkRecipe, PpoRecipe, Recipe
from rlrnn.experiment.training import training

ENVS = Path(__file__).parents[2] / "envs"
MINIGRID = """
id = "MiniGrid-MemoryS7-v0"
wrappers = [{ name = "one_hot", key = "image", channel = 0, values = [1, 2, 5, 6] }]
"""
GAMES = {  # game: (the module that it needs, the extra, keyword arguments that keep episodes short)
    "minigrid": ("minigrid", "minigrid", {"max_steps": 12}),
    "atari-pong": ("ale_py", "atari", {"max_num_frames_per_episode": 48}),
    "atari-breakout": ("ale_py", "atari", {"max_num_frames_per_episode": 48}),
    "atari-seaquest": ("ale_py", "atari", {"max_num_frames_per_episode": 48}),
    "lunar-lander-no-velocity": ("Box2D", "box2d", {}),
    "hopper-p": ("pybullet_envs_gymnasium", "pybullet", {"max_episode_steps": 12}),
    "walker-v": ("pybullet_envs_gymnasium", "pybullet", {"max_episode_steps": 12}),
}


@pytest.fixture
def find(tmp_path):
    """A game's file, by name; the test is left out where its extra is not installed."""

    def look_up(name):
        module, extra, _ = GAMES[name]
        pytest.importorskip(module, reason=f"needs the extra {extra}")
        if name != "minigrid":
            return ENVS / f"{name}.toml"
        (tmp_path / "minigrid.toml").write_text(MINIGRID)
        return tmp_path / "minigrid.toml"

    return look_up


def rolled(path, kwargs, n_envs=4, seed=3, first=0, steps=40):
    """Observations, rewards, ends and infos of the copies from `first` on, under actions of their own."""
    with closing(games.make_vec(path, n_envs, seed + first, kwargs=kwargs, workers=0)) as env:
        rng = np.random.default_rng(0)
        if isinstance(env.action_space, Box):
            actions = rng.uniform(-1.0, 1.0, (steps, 8, *env.action_space.shape)).astype(np.float32)
        else:
            actions = rng.integers(env.action_space.n, size=(steps, 8))
        actions = actions[:, first : first + n_envs]
        observations = [env.reset()]
        results = [env.step(row) for row in actions]
        assert all(env.observation_space.contains(row) for row in results[-1][0])
    observations += [result[0] for result in results]
    return np.stack(observations), np.stack([result[1] for result in results]), [r[2:] for r in results]


def same(one, other):
    assert one[0].tobytes() == other[0].tobytes() and one[1].tobytes() == other[1].tobytes()


@pytest.mark.parametrize("name", GAMES)
def test_the_same_seed_is_the_same_play_in_any_batch(name, find):
    path, kwargs = find(name), GAMES[name][2]
    whole = rolled(path, kwargs)
    same(whole, rolled(path, kwargs))
    part = rolled(path, kwargs, n_envs=2, first=1)
    same((whole[0][:, 1:3], whole[1][:, 1:3]), part)
    one, other = (rolled(path, {}, n_envs=1, seed=seed, steps=100)[0] for seed in (3, 4))
    assert (one != other).any()  # Seaquest's first 20 steps are always alike


@pytest.mark.parametrize("name", [name for name in GAMES if not name.startswith("lunar")])
def test_a_time_limit_truncates_and_the_last_observation_is_handed_out(name, find):
    observations, _, ends = rolled(find(name), GAMES[name][2])
    found = 0
    for t, (dones, infos) in enumerate(ends):
        for b in np.flatnonzero(dones):
            if not infos[b]["TimeLimit.truncated"]:
                continue
            found += 1
            last = infos[b]["terminal_observation"]
            assert infos[b]["episode"]["l"] == 12  # 48 frames, or 12 steps
            assert last.shape == observations[t + 1, b].shape and last.dtype == observations.dtype
            assert (last != observations[t + 1, b]).any()  # which begins the next episode
    assert found >= 4


def test_lunar_landers_copies_are_gymnasiums_without_speeds(find):
    observations, rewards, ends = rolled(find("lunar-lander-no-velocity"), {}, steps=90)
    actions = np.random.default_rng(0).integers(4, size=(90, 8))
    for b in range(4):
        env = gym.make("LunarLander-v3")
        seen, _ = env.reset(seed=3 + b)
        for t in range(90):
            assert seen[[0, 1, 4, 6, 7]].tolist() == observations[t, b].tolist()
            seen, reward, over, cut, _ = env.step(actions[t, b])
            assert np.float32(reward) == rewards[t, b] and (over or cut) == ends[t][0][b]
            if over or cut:
                assert seen[[0, 1, 4, 6, 7]].tolist() == ends[t][1][b]["terminal_observation"].tolist()
                break


@pytest.mark.parametrize("name", ["hopper-p", "walker-v"])
def test_bullets_games_hide_all_speeds_or_show_nothing_else(name, find):
    """Speeds are the numbers that change where the joints, the torso's too, are made faster and not moved."""
    path = find(name)
    env = gym.make(games.game(path).id).unwrapped
    whole, _ = env.reset(seed=3)
    env.step(np.zeros(env.action_space.shape, np.float32))
    torso = env.robot.robot_body
    body = torso.bodies[torso.bodyIndex]

    def observed(faster):
        for joint in range(env._p.getNumJoints(body)):
            angle, speed, *_ = env._p.getJointState(body, joint)
            env._p.resetJointState(body, joint, angle, speed + faster * (1 + joint / 10))
        return env.robot.calc_state()

    changed = observed(0.0) != observed(1.0)
    assert not changed[4]  # the speed across: these robots live in a plane
    changed[4] = True
    assert changed.sum() == 3 + len(env.robot.ordered_joints)
    shown = changed if name == "walker-v" else ~changed
    with closing(games.make_vec(path, 1, 3, workers=0)) as copies:
        assert copies.reset()[0].tolist() == whole[shown].tolist()


def test_minigrid_keeps_all_but_a_mission_that_never_changes(find):
    find("minigrid")
    ours, theirs = make_single(find_spec("MiniGrid-MemoryS9-v0"), {}), gym.make("MiniGrid-MemoryS9-v0")
    assert set(ours.observation_space) == {"image", "direction"}
    for seen, known in zip(
        (ours.reset(seed=1), ours.step(2)), (theirs.reset(seed=1), theirs.step(2)), strict=True
    ):
        assert (seen[0]["image"] == known[0]["image"]).all() and "mission" not in seen[0]
        assert seen[0]["direction"] == known[0]["direction"] and seen[1:] == known[1:]
    told = make_single(find_spec("MiniGrid-GoToDoor-5x5-v0"), {})  # whose mission says which door
    assert "mission" in told.observation_space.spaces


def test_environment_checker(find):
    for name in ("minigrid", "lunar-lander-no-velocity"):
        game = games.game(find(name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the checker about wrappers and bounds that are not ours
            check_env(make_single(find_spec(game.id), game.kwargs), skip_render_check=True)


def test_atari_is_stepped_by_its_own_vector_environment_within_the_step(find):
    game = games.game(find("atari-pong"))
    spec = find_spec(game.id)
    shared = VectorEnv.metadata
    with closing(own_vector_env(spec, 3, {**game.kwargs, "max_num_frames_per_episode": 24})) as env:
        assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
        assert env.single_observation_space.shape == (1, 84, 84) and env.action_space.nvec.tolist() == [6] * 3
    assert VectorEnv.metadata is shared

    class Silent(
        VectorEnv
    ):  # declares no mode: what ale-py has written into the shared metadata is not its own
        pass

    assert (
        own_vector_env(gym.envs.registration.EnvSpec("Silent-v0", vector_entry_point=Silent), 2, {}) is None
    )


def test_atari_plays_rounds_on_seeds_of_any_size(find):
    """Copies of one seed are alike, those of another are not; ale-py itself takes 31 bits alone."""
    large = 2**31
    with closing(games.make_vec(find("atari-pong"), 3, kwargs={"max_num_frames_per_episode": 240})) as env:

        def after(seeds):
            env.open(seeds)
            steps = [env.play(np.full(len(seeds), step // 5 % 2 + 2)).observations for step in range(50)]
            return np.stack(steps, axis=1)

        one, other = after([large + 5, large + 6, large + 5]), after([large + 6, large + 5])
        assert (one[0] == one[2]).all() and (one[0] == other[1]).all() and (one[1] == other[0]).all()
        assert (one[0] != one[1]).any()


class Stopping(BaseCallback):
    """Presses Ctrl-C."""

    def _on_step(self):
        if self.num_timesteps >= 40:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("name", ["minigrid", "atari-pong", "lunar-lander-no-velocity", "hopper-p"])
def test_a_tiny_training_is_stopped_resumed_judged_and_watched(name, find, tmp_path, capsys):
    path = find(name)
    recipe = Recipe(
        name="tiny",
        game=str(path),
        steps=64,
        kwargs=GAMES[name][2],
        network=NetworkRecipe(hidden_size=4, net_arch=()),
        ppo=PpoRecipe(n_envs=2, n_steps=8, batch_size=16, n_epochs=1),
        evaluation=EvaluationRecipe(episodes=2),
    )
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        training.train(recipe, 0, folder, progress=False, checkpoint_seconds=0.0, callback=Stopping())
    run = training.resume(folder, progress=False)
    assert "begin fresh episodes" in capsys.readouterr().err
    assert run.status == "finished" and (folder / "score.json").exists()
    film = watching.watch(run.agent(), run.game, tmp_path / "film.gif")
    with Image.open(film) as image:
        assert np.asarray(image.convert("RGB")).std() > 1  # not blank


@pytest.mark.parametrize("name", [name for name in GAMES if name != "minigrid"])
def test_a_file_names_the_extra_that_it_needs_and_so_does_the_error(name, monkeypatch):
    module, extra, _ = GAMES[name]
    text = (ENVS / f"{name}.toml").read_text()
    assert f'pip install "rlrnn[{extra}]"' in text
    for taken in [taken for taken in sys.modules if taken.split(".")[0] == module or "box2d" in taken]:
        monkeypatch.delitem(sys.modules, taken)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    id_ = tomllib.loads(text)["id"]
    if id_.startswith("ALE/"):
        monkeypatch.delitem(gym.registry, id_, raising=False)
    with pytest.raises(MissingExtraError, match=rf'pip install "rlrnn\[{extra}\]"'):
        games.make_vec(name, 1)


def test_every_file_of_a_game_that_is_not_ours_is_played_here():
    theirs = {game.name for game in games.games().values() if not game.id.startswith(("rlrnn/", "popgym"))}
    assert theirs == set(GAMES) - {"minigrid"}
