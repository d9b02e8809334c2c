"""A training that begins at what an agent has learned."""

import dataclasses
import shutil

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO as Contrib
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize
from tiny_runs import CARTPOLE, CRITICISED, EVOLVED, PENDULUM, SAME, VALUED, broken_off

import rlrnn
from rlrnn.errors import UserError
from rlrnn.experiment.recipes import override, read_recipe
from rlrnn.experiment.runs import runs
from rlrnn.experiment.runs.facts import decides, difference
from rlrnn.experiment.training.training import resume, train
from rlrnn.learners.files import surroundings
from rlrnn.shell.cli import main


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return train(CARTPOLE, 1, tmp_path_factory.mktemp("first") / "run", progress=False)


def still(recipe, init):
    """A training that changes nothing: whatever it ends with, it began with."""
    return dataclasses.replace(
        recipe, init=str(init), ppo=dataclasses.replace(recipe.ppo, learning_rate=0.0), steps=64
    )


def test_it_begins_at_the_weights_statistics_and_scales_of_the_agent(first, tmp_path):
    run = train(still(CARTPOLE, first.folder), 7, tmp_path / "next", progress=False)
    before, after = first.agent(), run.agent()
    counts = {name for name in before.policy.state_dict() if "sensors" in name or "count" in name}
    for name, value in before.policy.state_dict().items():
        if name not in counts and "mean" not in name and "var" not in name:
            assert torch.equal(value, after.policy.state_dict()[name]), name
    seen = [agent.policy.network.sensors.state_dict() for agent in (before, after)]
    (count,) = (name for name in seen[0] if "count" in name)
    assert float(seen[1][count]) == float(seen[0][count]) + 64  # they go on learning
    steps = [agent.policy.optimizer.state_dict()["state"][0]["step"] for agent in (before, after)]
    assert steps[1] > steps[0] > 0 and after.num_timesteps == 64
    # The scale of rewards began with what it had counted: 6 rollouts of 64 steps, then one.
    scales = before._reward_scaler, after._reward_scaler
    assert scales[1].count - scales[0].count == pytest.approx(64)


def test_the_same_again_and_killed(first, tmp_path):
    recipe = dataclasses.replace(CARTPOLE, init=str(first.folder / "agent.zip"))
    whole = train(recipe, 1, tmp_path / "whole", progress=False)
    broken_off(recipe, tmp_path / "killed", after=2)
    resumed = resume(tmp_path / "killed", progress=False)
    for name in SAME:
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert (whole.folder / "agent.zip").read_bytes() != (first.folder / "agent.zip").read_bytes()
    # The run says where it began, from its own folder on, and is the same recipe still.
    assert read_recipe(whole.folder / "recipe.toml").init.endswith("agent.zip")
    there = runs.read_run(whole.folder)
    assert difference(decides(there.recipe, there.game), decides(recipe, there.game)) is None
    assert difference(decides(CARTPOLE, there.game), decides(recipe, there.game)).startswith("init is")


def test_an_evolution_searches_around_what_was_learned_from_reward(first, tmp_path):
    recipe = override(EVOLVED, ["evolution.keep=center", "evolution.settings.sigma=1e-9", "steps=300"])
    recipe = dataclasses.replace(recipe, init=str(first.folder))
    run = train(recipe, 1, tmp_path / "e", progress=False)
    before, after = first.agent().policy.network, run.agent().policy.network
    learned = dict(after.named_parameters())
    for name, value in before.named_parameters():
        if "critic" not in name and "value" not in name:
            np.testing.assert_allclose(value.detach(), learned[name].detach(), atol=1e-5)


def test_what_does_not_fit_is_named_on_both_sides(first, tmp_path, capsys):
    with pytest.raises(UserError, match=r"has the observation space Box.*but rlrnn/Pendulum-v1 has Box"):
        train(dataclasses.replace(PENDULUM, init=str(first.folder)), 1, tmp_path / "a", progress=False)
    wide = override(dataclasses.replace(CARTPOLE, init=str(first.folder)), ["network.hidden_size=9"])
    with pytest.raises(
        UserError,
        match=r"is not the one of tiny \(gru\): .* shape \(7, 24\) there and \(7, 27\) here",
    ):
        train(wide, 1, tmp_path / "b", progress=False)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert (
        main(["train", "cartpole-gru", "--from", str(tmp_path / "none.zip"), "--out", str(tmp_path / "c")])
        == 2
    )
    assert "none.zip" in capsys.readouterr().err
    assert main(["train", str(first.folder), "--resume", "--from", "x"]) == 2
    assert "leave out --from" in capsys.readouterr().err


@pytest.mark.parametrize("init", ["run", "run/agent.zip", "run/../run"])
def test_no_training_replaces_where_it_begins(first, init, tmp_path):
    shutil.copytree(first.folder, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"begin from .* and replace it, so that it could never be repeated"):
        train(still(CARTPOLE, tmp_path / init), 1, tmp_path / "run", progress=False, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()} == before
    run = train(still(CARTPOLE, first.folder), 1, tmp_path / "run", progress=False, overwrite=True)
    assert run.recipe.init == str(first.folder)  # another one it does


def test_a_recipes_own_path_counts_from_its_folder(first, tmp_path):
    (first.folder.parent / "mine.toml").write_text('game = "pong"\nsteps = 1\ninit = "run"\n')
    recipe = rlrnn.read_recipe(first.folder.parent / "mine.toml")
    assert recipe.init == str(first.folder)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """An agent of each learner from replay, and one by values and sums over actions of the same game."""
    folder = tmp_path_factory.mktemp("replayed")
    choices = dataclasses.replace(
        CRITICISED, game=VALUED.game, wrappers=VALUED.wrappers, network=VALUED.network
    )
    recipes = {"dqn": VALUED, "sac": CRITICISED, "choices": choices}
    return {name: train(recipe, 1, folder / name, progress=False) for name, recipe in recipes.items()}


def begun_at(recipe, init, folder, *changes):
    """The agent before its first step."""
    changed = override(dataclasses.replace(recipe, init=str(init), steps=64), list(changes))
    return rlrnn.load(train(changed, 7, folder, progress=False, snapshots=1).folder / "snapshots" / "0.zip")


def alike(one, other, names):
    """State_dicts of two agents, of these names, to the last bit."""
    own, others = one.get_parameters(), other.get_parameters()
    for name in names:
        assert own[name].keys() == others[name].keys()
        for key, value in own[name].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, others[name][key]), (name, key)


@pytest.mark.parametrize("kind", ["dqn", "sac", "choices"])
def test_a_learner_from_replay_goes_on_with_all_that_it_learns_with(kind, replayed, tmp_path):
    run = replayed[kind]
    before = run.agent()
    after = begun_at(run.recipe, run.folder, tmp_path / "next")
    names = [name for name in before.get_parameters() if "optimizer" not in name]
    assert {"dqn": "q_net_target", "sac": "critic_target", "choices": "temperature"}[kind] in names
    alike(before, after, [name for name in names if name != "policy"])
    policies = (agent.policy.state_dict() for agent in (before, after))
    for key, value in next(policies).items():
        if "exploration_rate" not in key:  # which begins as the recipe says
            assert torch.equal(value, after.policy.state_dict()[key]), key
    for one, other in zip(before._optimizers(), after._optimizers(), strict=True):
        states = one.state_dict()["state"], other.state_dict()["state"]
        assert states[0].keys() == states[1].keys() != set()
        for key, moments in states[0].items():
            assert all(torch.equal(value, states[1][key][name]) for name, value in moments.items())
    assert after._reward_scaler.count == pytest.approx(before._reward_scaler.count)
    assert after._n_updates == 0 and after.num_timesteps == 0 and after.replay_buffer.size() == 0


def test_a_fixed_temperature_stays_what_the_recipe_says(replayed, tmp_path):
    run = replayed["sac"]
    fixed = begun_at(run.recipe, run.folder, tmp_path / "a", "sac.ent_coef=0.25")
    assert float(fixed.temperature.log.detach().exp()) == pytest.approx(0.25)
    learned = run.agent().temperature.log.detach()
    assert float(learned) != 0.0
    never = dataclasses.replace(run.recipe, init=str(run.folder), steps=64)
    still = train(override(never, ["sac.ent_coef=0"]), 1, tmp_path / "b", progress=False)
    again = begun_at(run.recipe, still.folder, tmp_path / "c")  # from one that had none
    assert float(again.temperature.log.detach()) == 0.0


@pytest.mark.parametrize("start", ["ppo", "dqn", "choices", "evolution"])
@pytest.mark.parametrize("goal", ["ppo", "dqn", "choices", "evolution"])
def test_from_any_learner_of_choices_to_any_other(start, goal, first, replayed, tmp_path):
    """The weights that decide on actions, what follows them, and how all networks see."""
    if start == goal:
        return
    recipes = {"ppo": CARTPOLE, "dqn": VALUED, "choices": replayed["choices"].recipe, "evolution": EVOLVED}
    if start == "evolution":
        trained = train(EVOLVED, 1, tmp_path / "e", progress=False)
    else:
        trained = first if start == "ppo" else replayed[start]
    before = trained.agent().policy.state_dict()
    after = begun_at(recipes[goal], trained.folder, tmp_path / "next")
    own = after.policy.state_dict()
    shared = [
        name for name in own if "critic" not in name and "value" not in name and "exploration" not in name
    ]
    assert shared and all(torch.equal(own[name], before[name]) for name in shared)
    if goal == "dqn":
        for name, value in after.q_net_target.state_dict().items():
            assert torch.equal(value, after.q_net.state_dict()[name]), name
    if goal == "choices":
        (seen,) = after.policy.network.sensors.normalized.values()
        for critic in (after.critic, after.critic_target):
            (own_seen,) = critic.sensors.normalized.values()
            assert torch.equal(own_seen.mean, seen.mean) and torch.equal(own_seen.count, seen.count)


def test_other_output_units_begin_anew_and_a_sentence_says_so(replayed, tmp_path):
    recipe = override(PENDULUM, ["ppo.use_sde=false"])
    fresh = train(recipe, 1, tmp_path / "ppo", progress=False)
    for trained, goal in ((fresh, CRITICISED), (replayed["sac"], recipe)):
        with pytest.warns(UserWarning, match=r"the output units of .* say something else than those of tiny"):
            after = begun_at(goal, trained.folder, tmp_path / f"to{goal.table}")
        before, own = trained.agent().policy.state_dict(), after.policy.state_dict()
        assert torch.equal(
            before["network.memory.layers.0.weight_hidden"], own["network.memory.layers.0.weight_hidden"]
        )
        name = "network.actuators.output.weight"
        assert before[name].shape[1] != own[name].shape[1]


def test_what_does_not_fit_beside_the_policy_is_named_too(replayed, tmp_path):
    run = replayed["sac"]
    recipe = dataclasses.replace(run.recipe, init=str(run.folder))
    for change, words in (
        ("sac.n_critics=3", r"the critics of .* are not those of tiny: head_modules\.2\..* there"),
        (
            "network.net_arch={pi = [8], qf = [9]}",
            r"the critics of .*make them alike in .*\[network\] and \[sac\]",
        ),
        ("network.cell=gru", r"the network of .* \(lstm\) is not the one of tiny \(gru\)"),
        ("normalize.observations=false", r"the network of .*normalizers.* and none here"),
    ):
        with pytest.raises(UserError, match=words):
            train(override(recipe, [change]), 1, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


PARTS = {
    "policy_kwargs": {"lstm_hidden_size": 4, "net_arch": [5]},
    "n_steps": 16,
    "batch_size": 16,
    "seed": 0,
}
RECIPE = """
game = "CartPole-v1"
steps = 32
[network]
cell = "lstm"
hidden_size = 4
net_arch = [5]
[normalize]
observations = true
[ppo]
n_envs = 2
n_steps = 16
batch_size = 16
learning_rate = 0.0
[evaluation]
episodes = 2
"""


def behind(library, **settings):
    """An agent that learned behind SB3's VecNormalize, and that."""
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2), **settings)
    agent = library("MlpLstmPolicy", env, device="cpu", **PARTS)
    agent.learn(64)
    env.training = False
    return agent, env


def begun(init, tmp_path, *changes):
    (tmp_path / "behind.toml").write_text(RECIPE)
    recipe = dataclasses.replace(read_recipe(tmp_path / "behind.toml"), init=str(init))
    return train(override(recipe, list(changes)), 1, tmp_path / "run", progress=False, snapshots=1)


@pytest.mark.parametrize("library", [rlrnn.RecurrentPPO, Contrib])
def test_statistics_of_vecnormalize_go_on_as_the_recipes_own(library, tmp_path):
    agent, env = behind(library)
    agent.save(tmp_path / "agent.zip")
    env.save(tmp_path / "vecnormalize.pkl")
    if library is Contrib:
        with pytest.warns(UserWarning, match="normalised by the statistics beside it"):
            run = begun(tmp_path / "agent.zip", tmp_path)
    else:
        run = begun(tmp_path / "agent.zip", tmp_path)
    first = rlrnn.load(run.folder / "snapshots" / "0.zip", device="cpu")
    (own,) = first.policy.network.sensors.normalized.values()
    np.testing.assert_allclose(own.mean, env.obs_rms.mean, rtol=1e-6)
    np.testing.assert_allclose(own.variance, env.obs_rms.var, rtol=1e-6)
    assert float(own.count) == pytest.approx(env.obs_rms.count)
    # The same actions as the agent's, which sees what VecNormalize shows, on what the game itself shows.
    (tmp_path / "vecnormalize.pkl").unlink()
    there = rlrnn.RecurrentPPO.load(tmp_path / "agent.zip", device="cpu")
    raw = np.random.default_rng(0).normal(0, 2, (50, 4)).astype(np.float32)
    starts = torch.ones(50, dtype=torch.bool)
    said = []
    for one, seen in ((there, env.normalize_obs(raw)), (first, raw)):
        network = one.policy.network
        distribution, _ = network.act(torch.as_tensor(seen).float(), starts, network.initial_state(50)[:, :8])
        said.append(distribution.groups[0])
    torch.testing.assert_close(said[1], said[0])
    later = run.agent().policy.network.sensors.normalized[""]
    assert float(later.count) == pytest.approx(env.obs_rms.count + 32)  # they go on learning


class Louder(VecEnvWrapper):
    """A user's own wrapper."""

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        return self.venv.step_wait()


def test_statistics_of_another_kind_are_refused_before_anything_is_written(tmp_path):
    agent, _ = behind(rlrnn.RecurrentPPO)
    agent.save(tmp_path / "agent.zip")
    with pytest.raises(UserError, match=r"agent\.zip learned behind .* --set normalize\.observations=true"):
        begun(tmp_path / "agent.zip", tmp_path, "normalize.observations=false")
    clipped, around = {"clip_obs": 5.0}, {"epsilon": 1e-4}
    for settings in (clipped, around):
        agent, _ = behind(rlrnn.RecurrentPPO, **settings)
        agent.save(tmp_path / "agent.zip")
        with pytest.raises(UserError, match="which a recipe's game is without, and by other settings"):
            begun(tmp_path / "agent.zip", tmp_path)
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    own = PARTS | {"policy_kwargs": PARTS["policy_kwargs"] | {"normalize_observations": True}}
    for each, how in ((Louder(env), PARTS), (VecNormalize(env), PARTS), (env, own)):
        rlrnn.RecurrentPPO("MlpLstmPolicy", each, device="cpu", **how).save(tmp_path / "agent.zip")
        with pytest.raises(UserError, match="which a recipe's game is without"):
            begun(tmp_path / "agent.zip", tmp_path)
    assert not (tmp_path / "run").exists()


def noting(agent, path, **changes):
    """Save the agent with other statistics in its note; None: without them."""
    noted = surroundings.note(agent)
    statistics = noted["normalization"]["statistics"][""]
    for name, value in changes.items():
        statistics[name] = value
        if value is None:
            del statistics[name]
    agent.env = agent._vec_normalize_env = None
    agent._surroundings = noted
    agent.save(path)


def test_statistics_of_an_older_file_count_the_steps_of_its_training(tmp_path):
    noting(behind(rlrnn.RecurrentPPO)[0], tmp_path / "agent.zip", count=None)
    run = begun(tmp_path / "agent.zip", tmp_path)
    assert float(run.agent().policy.network.sensors.normalized[""].count) == 64 + 32


@pytest.mark.parametrize(
    "spoiled",
    [{"mean": np.full(4, np.nan)}, {"var": np.full(4, -1.0)}, {"mean": np.zeros(3)}, {"count": -5.0}],
)
def test_spoiled_statistics_are_refused(spoiled, tmp_path):
    noting(behind(rlrnn.RecurrentPPO)[0], tmp_path / "agent.zip", **spoiled)
    with pytest.raises(UserError, match="which a recipe's game is without"):
        begun(tmp_path / "agent.zip", tmp_path)
