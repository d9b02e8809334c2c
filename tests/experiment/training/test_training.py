"""From a recipe to a judged agent: what is left behind, that it repeats, and that nothing is lost."""

import dataclasses
import json
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import FlattenExtractor
from tiny_runs import TINY

from rlrnn.common import files
from rlrnn.envs import games
from rlrnn.envs.vec import from_envs
from rlrnn.errors import EnvironmentFault, FileFault, UserError
from rlrnn.experiment.agents import learner, policy_name
from rlrnn.experiment.evaluation import evaluate, judge
from rlrnn.experiment.pictures.film import watch
from rlrnn.experiment.pictures.plotting import plot
from rlrnn.experiment.recipes import (
    NetworkRecipe,
    NormalizeRecipe,
    PpoRecipe,
    Recipe,
    Schedule,
    override,
    read_recipe,
)
from rlrnn.experiment.runs import runs
from rlrnn.experiment.runs.logs import EpisodeLog, read_episodes
from rlrnn.experiment.training import stopping, training
from rlrnn.experiment.training.training import train
from rlrnn.network.convolutions import SmallCNN


class Broken(gym.Env):
    """Rewards become NaN at the 50th step."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), np.nan if self.steps == 50 else 1.0, self.steps % 10 == 0, False, {}


gym.register("test_training/Broken-v0", entry_point=Broken)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TINY, seed=3, out=tmp_path_factory.mktemp("runs") / "tiny" / "seed3", progress=False)


def test_a_run_folder_holds_all_there_is_to_know(run):
    names = [
        "agent.zip",
        "curve.png",
        "episodes.csv",
        "progress.csv",
        "recipe.toml",
        "score.json",
        "versions.json",
    ]
    assert sorted(p.name for p in run.folder.iterdir()) == names
    assert run == runs.read_run(run.folder)
    assert (run.status, run.seed, run.recipe) == ("finished", 3, TINY)
    assert run.facts["steps"] == 512 and run.facts["seconds"] >= 0
    assert run.facts["best_training"] is None  # fewer than 100 episodes


def test_every_training_episode_is_written_once(run):
    step, points, length = read_episodes(run.folder / "episodes.csv").T
    np.testing.assert_array_equal(points, length)  # CartPole: a point per step
    assert np.all(np.diff(step) >= 0) and step[-1] <= 512
    assert step[0] == 4 * length[0]  # the first to end began at step 0, beside three others
    # What is not written is at most the four episodes still under way.
    assert 512 - 4 * 500 < length.sum() <= 512
    rows = (run.folder / "progress.csv").read_text().splitlines()
    assert len(rows) == 1 + 512 // (4 * 32)


def test_the_score_is_what_the_saved_agent_plays(run):
    scores = run.scores()
    assert scores == judge(run.agent(), run.game, 6)
    assert scores["with memory"] == evaluate(run.agent(), run.game, 6)
    assert json.loads((run.folder / "score.json").read_text())["scores"]["with memory"]["episodes"] == 6


def test_the_same_seed_gives_the_same_run(run, tmp_path):
    torch.rand(5)  # whatever the caller drew before must not matter
    again = train(TINY, seed=3, out=tmp_path / "again", progress=False)
    other = train(TINY, seed=4, out=tmp_path / "other", progress=False)
    for name in ("agent.zip", "episodes.csv", "score.json"):
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes()
    assert (other.folder / "episodes.csv").read_bytes() != (run.folder / "episodes.csv").read_bytes()


def test_runs_of_neighbouring_seeds_play_other_episodes(tmp_path):
    starts = []
    for seed in (0, 1):
        env = games.make_vec("rlrnn/CartPole-v1", 4)
        learner(TINY, env, seed)
        starts.append(env.reset())
        env.close()
    assert not np.isin(starts[0], starts[1]).any()


def test_every_setting_reaches_the_learner():
    settings = {
        "n_steps": 16,
        "batch_size": 24,
        "seq_len": 8,
        "first_state": "zero",
        "n_epochs": 3,
        "gamma": 0.9,
        "gae_lambda": 0.8,
        "normalize_advantage": False,
        "vf_coef": 0.3,
        "max_grad_norm": 0.7,
        "use_sde": True,
        "sde_sample_freq": 2,
        "target_kl": 0.1,
    }
    schedules = {"learning_rate": 1e-3, "clip_range": 0.4, "clip_range_vf": 0.2, "ent_coef": 0.02}
    tables = {name: Schedule(start, start / 2) for name, start in schedules.items()}
    assert {*settings, *schedules, "n_envs"} == {f.name for f in dataclasses.fields(PpoRecipe)}
    recipe = Recipe(
        "a",
        "rlrnn/Pendulum-v1",
        1,
        network=NetworkRecipe(
            "lstm", 6, 2, {"bias": False}, "shared", {"pi": (5,), "vf": (4, 3)}, "relu", False, False, -1.0
        ),
        normalize=NormalizeRecipe(True, True),
        ppo=PpoRecipe(**settings, **tables, n_envs=2),
    )
    env = games.make_vec(recipe.game, 2)
    agent = learner(recipe, env, seed=0)
    assert {name: getattr(agent, name) for name in settings} == settings
    for name, start in schedules.items():
        schedule = agent.lr_schedule if name == "learning_rate" else getattr(agent, name)
        assert [schedule(1.0), schedule(0.5), schedule(0.0)] == pytest.approx(
            [start, 0.75 * start, start / 2]
        )
    description = agent.policy.description
    assert (description.cell, description.hidden_size, description.n_layers) == ("lstm", 6, 2)
    assert (description.critic, description.orthogonal, description.activation) == (
        "shared",
        False,
        torch.nn.ReLU,
    )
    assert (tuple(description.actor_widths), tuple(description.critic_widths)) == ((5,), (4, 3))
    assert description.cell_options == {"bias": False} and not description.output_layer
    assert description.normalize_observations
    assert agent.normalize_rewards and description.actuator_options["log_std_init"] == -1.0
    assert agent.n_envs == 2 and agent.seed == 0
    env.close()


def test_a_number_is_passed_as_it_is():
    env = games.make_vec(TINY.game, 4)
    agent = learner(TINY, env, seed=0)
    assert agent.lr_schedule(0.0) == agent.lr_schedule(1.0) == 3e-4 and agent.ent_coef == 0.0
    env.close()


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (spaces.Box(-1, 1, (3,)), "MlpPolicy"),
        (spaces.Discrete(4), "MlpPolicy"),
        (spaces.Box(0, 255, (40, 40, 3), np.uint8), "CnnPolicy"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "MultiInputPolicy"),
    ],
)
def test_the_policy_follows_the_observations(space, name):
    assert policy_name(space) == name


def test_a_recipe_chooses_what_sees_images():
    class Frames(FakeImageEnv):
        def __init__(self):
            super().__init__(screen_height=20, screen_width=24, n_channels=1, channel_first=False)

    seeing = dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, images="small"))
    with closing(from_envs([Frames])) as env:
        network = learner(seeing, env, seed=0).policy.network
        assert type(network.sensors.extractor) is SmallCNN
        assert type(learner(TINY, env, seed=0).policy.network.sensors.extractor) is FlattenExtractor
    with (
        closing(games.make_vec(TINY.game, 4)) as env,
        pytest.raises(UserError, match=r"images is 'small', but .* no image of 20 pixels"),
    ):
        learner(seeing, env, seed=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["network.cell=gur"], "cell 'gur' is not known: choose one of"),
        (["ppo.seq_len=33"], "seq_len is 33"),
        (["network.net_arch={pp = [3]}"], "'pp'"),
        (["network.cell_options.depth=3"], "'depth'"),
        (['wrappers=[{name = "hid", drop = [0]}]'], "'hid'"),
        (["game=rlrnn/Pnog-v0"], "Pong-v0"),
        (["kwargs.size=3"], "size"),
    ],
)
def test_a_recipe_that_cannot_work_leaves_no_folder(tmp_path, settings, words):
    with pytest.raises(UserError, match=words.replace(".", r"\.")):
        train(override(TINY, settings), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(UserError, match="seed is -1, but must be a whole number from 0 to 4294967295"):
        train(TINY, seed=-1, out=tmp_path / "run")


def stop(monkeypatch, action, steps=256):
    """Make something happen in the middle of a training."""
    inner = EpisodeLog._on_step

    def on_step(log):
        if log.num_timesteps == steps:
            action()
        return inner(log)

    monkeypatch.setattr(EpisodeLog, "_on_step", on_step)


def fail():
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_the_agent_as_it_is(number, tmp_path, monkeypatch):
    stop(monkeypatch, lambda: signal.raise_signal(number))
    kind = stopping.Terminated if number == signal.SIGTERM else KeyboardInterrupt
    with pytest.raises(kind) as error:
        train(TINY, out=tmp_path / "run", progress=False)
    (note,) = error.value.__notes__
    begin, resume = note.split(". ", 1)
    assert begin == f"Stopped after 256 steps; the agent as it is was saved to {tmp_path / 'run'}"
    assert re.fullmatch(rf"rlrnn train --resume {tmp_path / 'run'} continues after (0|128) steps\.", resume)
    run = runs.read_run(tmp_path / "run")
    assert run.status == "interrupted" and run.facts["steps"] == 256
    assert evaluate(run.agent(), run.game, 2).episodes == 2
    assert (run.folder / "curve.png").exists() and len(read_episodes(run.folder / "episodes.csv"))
    with pytest.raises(FileFault, match=r"holds no score\.json"):
        run.scores()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_that_repeats_itself_disturbs_no_saving(first, tmp_path, monkeypatch):
    def again(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return plot(*arguments)

    plot = training.plot
    monkeypatch.setattr(training, "plot", again)
    stop(monkeypatch, lambda: signal.raise_signal(first))
    with pytest.raises(KeyboardInterrupt) as error:
        train(TINY, out=tmp_path / "run", progress=False)
    assert "the agent as it is was saved to" in error.value.__notes__[0]
    assert (tmp_path / "run" / "curve.png").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_is_treated_only_while_it_trains_and_where_nobody_else_does(monkeypatch):
    def told(number, frame):
        heard.append(number)

    heard, before = [], signal.signal(signal.SIGTERM, told)
    try:
        with stopping.terminable(), stopping.undisturbed(None):
            signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) is told
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with stopping.terminable(), stopping.terminable():
            assert signal.getsignal(signal.SIGTERM) is stopping._terminated
            with stopping.undisturbed(None):
                signal.raise_signal(signal.SIGTERM)
            with pytest.raises(stopping.Terminated):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with stopping.terminable():
            signal.signal(signal.SIGTERM, told)  # as a callback may
        assert signal.getsignal(signal.SIGTERM) is told
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
            pool.submit(stopping.terminable()(lambda: 1 / 0)).result()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_before_the_first_episode_ends(tmp_path, monkeypatch):
    stop(monkeypatch, lambda: signal.raise_signal(signal.SIGINT), steps=4)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, out=tmp_path / "run", progress=False)
    assert runs.read_run(tmp_path / "run").agent().num_timesteps == 4


def test_ctrl_c_while_judging_keeps_the_trained_agent(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "judge", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as error:
        train(TINY, out=tmp_path / "run", progress=False)
    assert "rlrnn train --resume" in error.value.__notes__[0]
    run = runs.read_run(tmp_path / "run")
    assert run.status == "trained" and run.agent().num_timesteps == 512


def test_an_environment_that_gives_nan_does_not_cost_the_agent(tmp_path):
    recipe = dataclasses.replace(TINY, game="test_training/Broken-v0", wrappers=())
    with pytest.raises(EnvironmentFault, match="the reward nan") as error:
        train(recipe, out=tmp_path / "run", progress=False)
    assert "the agent as it is was saved to" in error.value.__notes__[0]
    run = runs.read_run(tmp_path / "run")
    assert all(torch.isfinite(p).all() for p in run.agent().policy.parameters())


def test_a_full_disk_is_an_oserror_and_leaves_older_runs_alone(run, tmp_path, monkeypatch):
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}
    stop(monkeypatch, fail)
    with monkeypatch.context() as patch:
        patch.setattr(
            files.os, "fsync", lambda file: fail() if (tmp_path / "run" / "episodes.csv").exists() else None
        )
        with pytest.raises(OSError, match="No space left") as error:
            train(TINY, out=tmp_path / "run", progress=False)
    (note,) = error.value.__notes__
    assert note.startswith("The agent could not be saved: ") and "No space left on device" in note
    assert not [p for p in (tmp_path / "run").iterdir() if "part" in p.name]
    with pytest.raises(OSError, match="No space left"):
        train(TINY, 3, out=run.folder, overwrite=True, progress=False)
    aside = run.folder.with_name("old1-seed3")
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == before
    shutil.rmtree(run.folder)  # put back for the tests that follow
    aside.rename(run.folder)


def test_the_example_of_the_first_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-agent.toml").write_text(
        'game = "rlrnn/CartPole-v1"\nsteps = 256\n[ppo]\nn_envs = 2\nn_steps = 64\nn_epochs = 1\n'
    )
    run = train(read_recipe("my-agent.toml"), progress=False)
    assert run.folder.as_posix() == "runs/my-agent/seed0"
    assert evaluate(run.agent(), "rlrnn/CartPole-v1", episodes=5).episodes == 5
    assert plot([run], "curve.png").exists()
    assert watch(run.agent(), "rlrnn/CartPole-v1", "play.gif").exists()


def test_progress_is_told_in_lines_where_there_is_no_terminal(tmp_path, capsys):
    train(TINY, out=tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("512 of 512 steps") and lines[0].endswith("0 s left")
    assert " points " in lines[0] and " steps/s " in lines[0]


def test_the_best_of_a_training_is_a_mean_of_100_episodes(tmp_path):
    points = np.concatenate([np.zeros(50), np.full(99, 3.0), [4.0], np.zeros(150)])
    rows = "".join(f"{step},{p},1\n" for step, p in enumerate(points))
    (tmp_path / "episodes.csv").write_text("step,points,length\n" + rows)
    assert training.best_training(tmp_path) == 3.01
    (tmp_path / "episodes.csv").write_text("step,points,length\n" + "1,9,1\n" * 99)
    assert training.best_training(tmp_path) is None
    (tmp_path / "episodes.csv").write_text("step,points,length\n" + "1,9,1\n" * 100)
    assert training.best_training(tmp_path) == 9.0


@pytest.mark.parametrize("game", ["CartPole-v1", "rlrnn/CartPole-v1"])
def test_any_number_of_workers_gives_the_same_run(game, tmp_path, capsys):
    recipe = dataclasses.replace(TINY, game=game)
    made = [train(recipe, 3, tmp_path / str(w), progress=False, workers=w) for w in (0, 1, 2, 4)]
    said = capsys.readouterr().err
    assert said.count("stepped as arrays, in this process: workers are of no use") == (
        3 if "/" in game else 0
    )
    for name in ("agent.zip", "episodes.csv", "score.json"):
        assert len({(run.folder / name).read_bytes() for run in made}) == 1, name


def test_a_run_prints_what_it_won_and_a_notebook_shows_it(run, tmp_path):
    lines = repr(run).splitlines()
    assert lines[0] == f"Run({str(run.folder)!r}: {run.recipe.name}, seed {run.seed}, finished)"
    assert lines[1] == f"  with memory: {run.scores()['with memory']}" and "memory wiped: " in lines[2]
    assert lines[-1] == f"  {run.facts['steps']:,} steps in {run.facts['seconds']:.1f} s"
    shown = run._repr_html_()
    assert shown.startswith("<pre") and "with memory" in shown and "data:image/png;base64," in shown
    begun = dataclasses.replace(run, status="interrupted")
    assert repr(begun).count("\n") == 0 and begun._repr_html_() is None
    lost = dataclasses.replace(run, folder=tmp_path)  # without its files, it prints all the same
    assert repr(lost).count("\n") == 0
