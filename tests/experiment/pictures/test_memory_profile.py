"""The memory profile tells the truth: exact where it is known, equal to brute force where it is not."""

import itertools
import json
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy import integrate, stats

from rlrnn.envs import games, vec
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.evaluation import evaluate
from rlrnn.experiment.pictures import memory_profile
from rlrnn.experiment.pictures.memory_profile import Played, Profile, gradient, mean, profile, replacement
from rlrnn.experiment.training.training import train
from rlrnn.learners.ppo.ppo import RecurrentPPO
from rlrnn.network.actuators import Bernoulli, Categorical, Gaussian, StateDependentNoise
from rlrnn.network.network import NetworkDescription, RecurrentNetwork

SYMBOLS = 4
SURE = 5.0  # how much higher the logit of the right symbol is


def recall(lag):
    return Game("recall", "rlrnn/Recall-v0", kwargs={"lag": lag, "alphabet": SYMBOLS})


def agent_for(game, cell, **kwargs):
    options = {"cell": cell, "hidden_size": 5, "net_arch": {"pi": [], "vf": []}, "critic": "shared"} | kwargs
    env = games.make_vec(game, 1, seed=0)
    policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    return RecurrentPPO(policy, env, policy_kwargs=options, n_steps=8, batch_size=8, device="cpu", seed=0)


def recaller(cell, lag):
    """An agent that plays recall perfectly: a delay line, or a shift register, with weights set by hand."""
    if cell == "fir":
        sizes = {"hidden_size": SYMBOLS, "cell_options": {"taps": lag + 1}}
    else:
        sizes = {"hidden_size": SYMBOLS * (lag + 1), "cell_options": {"nonlinearity": "relu"}}
    agent = agent_for(recall(lag), cell, **sizes)
    network, eye = agent.policy.network, torch.eye(SYMBOLS)
    layer, output = network.memory.layers[0], network.actuators.output
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        output.weight[-SYMBOLS:] = SURE * eye
        if cell == "fir":
            layer.weight_delayed[-SYMBOLS:] = eye  # the oldest
        else:
            layer.bias.fill_(1.0)  # keeps every unit off the kink of ReLU; a softmax does not see it
            layer.weight_input[:, :SYMBOLS] = eye
            for place in range(lag):
                one, next_ = (slice(SYMBOLS * p, SYMBOLS * (p + 1)) for p in (place, place + 1))
                layer.weight_hidden[one, next_] = eye
    return agent


@pytest.mark.parametrize("lag", [1, 3, 6])
@pytest.mark.parametrize("cell", ["fir", "elman"])
def test_on_recall_a_perfect_player_depends_on_the_lag_and_on_nothing_else(cell, lag):
    agent = recaller(cell, lag)
    assert evaluate(agent, recall(lag), episodes=20).points == (1.0,) * 20
    found = profile(agent, recall(lag), lags=10, episodes=5)
    for measure in memory_profile.MEASURES:
        means = mean(getattr(found, measure))
        assert found.peak(measure) == found.reach(measure) == lag and means[lag] > 0
        assert not np.delete(means, lag).any()  # exactly 0
    # Of softmax(c e_i) and softmax(c e_j) half the sum of differences is (e^c - 1) / (e^c + n - 1).
    c = SURE * (math.tanh(1.0) if cell == "fir" else 1.0)
    known = found.replacement[~np.isnan(found.replacement[:, lag]), lag]
    np.testing.assert_allclose(known, (math.exp(c) - 1) / (math.exp(c) + SYMBOLS - 1), rtol=1e-5)
    other = profile(recaller(cell, lag + 1), recall(lag), lags=10, episodes=5)  # plays another game, badly
    assert other.peak() == other.peak("gradient") == lag + 1


def test_the_gradient_of_a_shift_register_by_hand():
    lag, agent = 3, recaller("elman", 3)
    played = memory_profile.play(agent, recall(lag), 4, True, 0)
    table = gradient(agent.policy.network, played, 6)
    spread = played.x.flatten(0, 1).std(0, correction=0).numpy()  # all episodes are as long
    p_right = math.exp(SURE) / (math.exp(SURE) + SYMBOLS - 1)
    for row, step, copy in zip(table, played.step.tolist(), played.copy.tolist(), strict=True):
        if step < lag:
            continue
        seen = played.x[step - lag, copy].numpy()
        p = np.where(seen == 1, p_right, (1 - p_right) / (SYMBOLS - 1))
        jacobian = SURE * (np.eye(SYMBOLS) - p) * spread  # of log softmax(c x)
        assert row[lag] == pytest.approx(np.linalg.norm(jacobian), rel=1e-5)


@pytest.mark.parametrize(
    ("cell", "options", "farthest"),
    [
        ("none", {}, 0),
        ("fir", {"cell_options": {"taps": 1}}, 0),
        ("fir", {"cell_options": {"taps": 4}}, 3),
        ("fir", {"cell_options": {"taps": 3}, "n_layers": 2}, 4),
    ],
)
def test_beyond_what_a_cell_can_reach_all_is_exactly_zero(cell, options, farthest):
    found = profile(agent_for(recall(2), cell, **options), recall(2), lags=9, episodes=4)
    for table in (found.gradient, found.replacement):
        assert (mean(table)[: farthest + 1] > 0).all() and not mean(table)[farthest + 1 :].any()
    assert found.reach() == found.reach("gradient") == farthest


ACTIONS = {
    "choice": spaces.Discrete(3),
    "choices": spaces.MultiDiscrete([2, 3]),
    "switches": spaces.MultiBinary(3),
    "numbers": spaces.Box(-1, 1, (2,)),
}


def tiny(cell, actions, steps=7, copies=2):
    """A network of a few units in double precision, and random episodes of 7 and 5 steps."""
    torch.manual_seed(1)
    description = NetworkDescription(cell=cell, hidden_size=3, actor_widths=(4,), orthogonal=False)
    network = RecurrentNetwork(description, spaces.Box(-1, 1, (2,)), actions).double()
    if isinstance(actions, spaces.Box):
        network.actuators.log_std.data.copy_(torch.tensor([-0.7, 0.4]))
    x = torch.randn(steps, copies, 2, dtype=torch.float64)
    start, states = torch.zeros(copies, dtype=torch.bool), []
    state = network.initial_state(copies)[:, : network.state_sizes[0]]
    with torch.no_grad():
        for row in x:
            states.append(state)
            _, state = network.memory.step(row, start, state)
    length = torch.tensor([7, 5])
    step, copy = torch.tensor([(t, b) for b in (0, 1) for t in range(length[b])]).unbind(1)
    return network, Played(x, torch.stack(states), length, step, copy, torch.randn(len(step), 2).double())


@torch.no_grad()
def stepped(network, x, t):
    """What the network would do after the steps 0 to t of one episode [T, 1, F], one by one."""
    state = network.initial_state(1)[:, : network.state_sizes[0]]
    for row in x[: t + 1]:
        y, state = network.memory.step(row, None, state)
    return network.actuators(network.actor_head(y))


def numbers(distribution):
    if isinstance(distribution, Categorical):
        return torch.cat([group - group.logsumexp(-1, keepdim=True) for group in distribution.groups], -1)
    if isinstance(distribution, Bernoulli):
        return distribution.logits
    return distribution.mean / distribution.std


@pytest.mark.parametrize("actions", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("cell", ["gru", "lstm", "elman", "fir"])
def test_the_gradient_equals_finite_differences(cell, actions, monkeypatch):
    monkeypatch.setattr(memory_profile, "ROWS", 9)  # several parts
    network, played = tiny(cell, actions)
    table, small = gradient(network, played, 4), 1e-6
    inside = torch.cat([played.x[:7, 0], played.x[:5, 1]])
    spread = inside.std(0, correction=0)
    for row, t, b in zip(table, played.step.tolist(), played.copy.tolist(), strict=True):
        for k in range(5):
            if k > t:
                assert math.isnan(row[k])
                continue
            total = 0.0
            for f in range(2):
                ends = []
                for sign in (1, -1):
                    x = played.x[:, b : b + 1].clone()
                    x[t - k, 0, f] += sign * small
                    ends.append(numbers(stepped(network, x, t)))
                total += float(((ends[0] - ends[1]) / (2 * small) * spread[f]).square().sum())
            assert row[k] == pytest.approx(math.sqrt(total), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("actions", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("cell", ["gru", "lstm", "elman", "fir"])
def test_replacement_equals_playing_the_episode_again(cell, actions, monkeypatch):
    monkeypatch.setattr(memory_profile, "ROWS", 5)
    network, played = tiny(cell, actions)
    table = replacement(network, played, 4)
    for row, s, b, other in zip(table, played.step.tolist(), played.copy.tolist(), played.other, strict=True):
        x = played.x[:, b : b + 1].clone()
        x[s, 0] = other
        for k in range(5):
            if s + k >= played.length[b]:
                assert math.isnan(row[k])
                continue
            change = stepped(network, played.x[:, b : b + 1], s + k).distance(stepped(network, x, s + k))
            assert row[k] == pytest.approx(float(change), rel=1e-9, abs=1e-12)


def test_nothing_crosses_an_episodes_borders():
    network, played = tiny("lstm", ACTIONS["choice"])
    expected = [measure(network, played, 6) for measure in (gradient, replacement)]
    assert np.isnan(expected[0]).any() and np.isnan(expected[1]).any()
    played.state[0] = 0.9  # what stood before the first step
    played.x[5:, 1] = math.nan  # what came after the end of the shorter episode
    played.state[5:, 1] = math.nan
    for measure, table in zip((gradient, replacement), expected, strict=True):
        np.testing.assert_array_equal(measure(network, played, 6), table)


def test_total_variation_by_hand():
    def choice(*p):
        return Categorical(torch.tensor(p).double().log(), [len(p)])

    assert float(choice(0.5, 0.3, 0.2).distance(choice(0.2, 0.3, 0.5))) == pytest.approx(0.3)
    assert float(choice(1.0, 0.0).distance(choice(0.0, 1.0))) == 1.0
    same = Categorical(torch.randn(1000, 7), [3, 4])
    assert not same.distance(Categorical(torch.cat(same.groups, -1).clone(), [3, 4])).any()
    mean_, std = torch.randn(100, 3), torch.rand(3) + 0.1
    assert not Gaussian(mean_, std).distance(Gaussian(mean_.clone(), std)).any()


def test_total_variation_of_normal_actions_equals_the_integral():
    one, other = stats.norm(0.3, 0.5), stats.norm(1.0, 0.5)
    integral, _ = integrate.quad(lambda x: abs(one.pdf(x) - other.pdf(x)) / 2, -5, 6, points=[0.65])
    std = torch.tensor([0.5, 2.0], dtype=torch.float64)
    first = Gaussian(torch.tensor([0.3, 1.0], dtype=torch.float64), std)
    second = Gaussian(torch.tensor([1.0, 1.0], dtype=torch.float64), std)
    assert float(first.distance(second)) == pytest.approx(integral, abs=1e-7)
    # Both moved: only the distance in units of the std counts.
    third = Gaussian(torch.tensor([0.3 + 0.7 * 0.6, 1.0 + 2.8 * 0.8], dtype=torch.float64), std)
    assert float(first.distance(third)) == pytest.approx(integral, abs=1e-7)


def test_total_variation_of_several_choices_bounds_that_of_the_whole_action_from_above():
    torch.manual_seed(0)
    for sizes in ([2, 3], [4, 2, 2]):
        one, other = (Categorical(torch.randn(sum(sizes)).double(), sizes) for _ in range(2))
        whole = 0.0
        for action in itertools.product(*(range(n) for n in sizes)):
            chosen = torch.tensor(action)
            whole += abs(float(one.log_prob(chosen).exp() - other.log_prob(chosen).exp())) / 2
        assert whole < float(one.distance(other)) < 1
        groups = [group.clone() for group in one.groups]
        groups[0] = other.groups[0]
        part = Categorical(torch.cat(groups), sizes)
        alone = (one.log_p[0].exp() - other.log_p[0].exp()).abs().sum() / 2
        assert float(one.distance(part)) == pytest.approx(float(alone))  # equal where one of them moves
    on, off = (Bernoulli(torch.tensor([x, 0.0])) for x in (1.0, -1.0))
    assert float(on.distance(off)) == pytest.approx(math.tanh(0.5))


class Anything(gym.Env):
    """Three to fourteen steps of random observations of any space."""

    def __init__(self, observations=None, actions=None):
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.left = int(self.np_random.integers(3, 15))
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        return self.observation_space.sample(), 0.0, self.left == 0, False, {}


gym.register("test_inspecting/Anything-v0", entry_point=Anything)
OBSERVATIONS = {
    "whole": spaces.Discrete(3, start=5),
    "wholes": spaces.MultiDiscrete([2, 3]),
    "bits": spaces.MultiBinary(4),
    "table": spaces.Box(-5, 5, (2, 3)),
    "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
    "dict": spaces.Dict({"eye": spaces.Box(0, 255, (36, 36, 1), np.uint8), "hand": spaces.Discrete(2)}),
}


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """However busy the machine is: worker processes would be started where steps take long."""
    monkeypatch.setattr(vec, "_step_seconds", lambda maker: 0.0)


@pytest.mark.parametrize("observations", OBSERVATIONS.values(), ids=OBSERVATIONS)
@pytest.mark.parametrize("cell", ["gru", "lstm", "elman", "fir", "none"])
def test_every_observation_is_looked_back_to(observations, cell):
    kwargs = {"observations": observations, "actions": spaces.Discrete(3, start=-1)}
    check_shape(Game("any", "test_inspecting/Anything-v0", kwargs=kwargs), cell)


@pytest.mark.parametrize("actions", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_action_is_looked_back_from(actions, cell):
    kwargs = {"observations": spaces.Box(-1, 1, (2,)), "actions": actions}
    options = {"n_layers": 2, "normalize_observations": True, "critic": "own"}
    check_shape(Game("any", "test_inspecting/Anything-v0", kwargs=kwargs), cell, **options)


def check_shape(game, cell, **options):
    found = profile(agent_for(game, cell, **options), game, lags=4, episodes=6)
    for table in (found.gradient, found.replacement):
        assert table.shape == (6, 5) and (mean(table)[: 1 if cell == "none" else 3] > 0).all()
    assert np.nanmax(found.replacement) <= 1.0


@pytest.mark.parametrize("cell", ["gru", "lstm", "fir"])
def test_what_was_played_is_each_copys_first_episode_with_the_memory_before_each_step(cell):
    kwargs = {"observations": spaces.Box(-1, 1, (2,)), "actions": ACTIONS["choice"]}
    game = Game("any", "test_inspecting/Anything-v0", kwargs=kwargs)
    agent = agent_for(game, cell, n_layers=2, critic="own")
    played = memory_profile.play(agent, game, 6, True, 6)
    assert tuple(played.length.tolist()) == evaluate(agent, game, episodes=6, seed=6).lengths
    twice = evaluate(agent, game, episodes=12, n_envs=6, seed=6).lengths
    assert any(a + b < len(played.x) for a, b in zip(twice[::2], twice[1::2], strict=True))
    assert len(played.x) == max(played.length)  # while others had ended twice
    seen = torch.as_tensor(games.make_vec(game, 6, seed=6).reset())
    assert torch.equal(played.x[0], seen)
    for t in range(len(played.x) - 1):
        on = played.length > t + 1
        _, state = agent.policy.network.memory.step(played.x[t], torch.full((6,), t == 0), played.state[t])
        torch.testing.assert_close(state[on], played.state[t + 1][on])
    assert (played.step < played.length[played.copy]).all()
    assert torch.bincount(played.copy).tolist() == played.length.tolist()  # every step of short episodes


def test_state_dependent_noise_is_looked_back_from():
    game = Game("pendulum", "rlrnn/Pendulum-v1")
    env = games.make_vec(game, 1, seed=0)
    agent = RecurrentPPO("MlpGruPolicy", env, use_sde=True, n_steps=8, batch_size=8, device="cpu")
    found = profile(agent, game, lags=3, episodes=2)
    assert (mean(found.gradient) > 0).all() and (mean(found.replacement) > 0).all()
    std = torch.tensor([[1.0]]), torch.tensor([[7.0]])
    one, other = (
        StateDependentNoise(torch.tensor([[m]]), s, torch.ones(1, 1), None, False)
        for m, s in zip((0.0, 5.0), std, strict=True)
    )
    assert float(one.distance(other)) == pytest.approx(math.erf(1 / math.sqrt(8)))  # their rms std is 5


def test_a_profile_repeats_whatever_the_dice_and_is_cut_to_the_longest_episode():
    game = Game("short", "rlrnn/Recall-v0", kwargs={"lag": 2, "length": 6})
    agent = agent_for(game, "gru")
    one = profile(agent, game, lags=50, episodes=3)
    torch.manual_seed(7)
    two = profile(agent, game, lags=50, episodes=3)
    assert one.lags == 5  # an episode has 6 steps
    for name in memory_profile.MEASURES:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    other = profile(agent, game, lags=50, episodes=3, seed=5)
    assert (one.gradient[:, :2] != other.gradient[:, :2]).any()
    alone = profile(agent, game, lags=0, episodes=1, deterministic=False)
    assert alone.gradient.shape == (1, 1)


def test_long_episodes_are_looked_at_here_and_there(monkeypatch):
    monkeypatch.setattr(memory_profile, "STEPS", 30)
    monkeypatch.setattr(memory_profile, "LOOKS", 8)
    agent = agent_for(recall(2), "gru")
    played = memory_profile.play(agent, recall(2), 3, True, 0)
    assert played.x.shape == (30, 3, SYMBOLS) and played.length.tolist() == [30] * 3
    assert played.copy.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    for b in range(3):
        steps = played.step[played.copy == b]
        assert len(set(steps.tolist())) == 8 and steps.max() < 30
    here = played.x[played.step, played.copy]
    assert (played.other != here).any(-1).all()  # others really are others, and were really seen
    assert all((played.x == other).all(-1).any() for other in played.other)


def made(rows, game="g"):
    table = np.array(rows, np.float64)
    return Profile(game, table, table / 10)


def test_peak_reach_and_means_by_hand():
    nan = math.nan
    found = made([[1.0, 4.0, 0.05, 0.0, nan], [3.0, 4.0, 0.03, 0.0, nan]])
    assert mean(found.gradient)[:4].tolist() == [2.0, 4.0, 0.04, 0.0] and math.isnan(mean(found.gradient)[4])
    assert found.peak() == 1 and found.reach() == 2 and found.reach(share=0.011) == 1
    assert "most on the observation 1 steps before (1 by gradient)" in found.summary()
    assert "over 1 % of that remains up to 2 steps before (2 by gradient)" in found.summary()
    assert "at least 1 steps" in made([[1.0, 1.0]]).summary()
    deaf = made([[0.0, 0.0]])
    assert deaf.reach() == 0 and deaf.summary() == "g: actions depend on no observation."


def test_a_profile_is_plain_data_and_back():
    found = made([[1.0, 1 / 3, math.nan], [0.25, 0.0, 1e-9]])
    again = Profile.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again.game == "g"
    for name in memory_profile.MEASURES:
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-5)


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {"game": "g", "gradient": [[1]], "replacement": [[1, 2]]},
        {"game": "g", "gradient": [[1], [1, 2]], "replacement": [[1]]},
        {"game": "g", "gradient": [["a"]], "replacement": [["a"]]},
        {"game": "g", "gradient": [], "replacement": []},
        {"game": "g", "gradient": [[]], "replacement": [[]]},
    ],
)
def test_what_is_no_profile_is_refused(data):
    with pytest.raises(FileFault, match="not a memory profile"):
        Profile.from_json(data)


def test_impossible_profiles_are_refused():
    agent = agent_for(recall(1), "none")
    with pytest.raises(UserError, match="lags is -1, but must be a whole number of at least 0"):
        profile(agent, recall(1), lags=-1)
    with pytest.raises(UserError, match="episodes is 0, but must be a whole number of at least 1"):
        profile(agent, recall(1), episodes=0)


@pytest.mark.slow
def test_an_agent_that_learned_recall_depends_on_the_lag(tmp_path):
    run = train("recall-4-gru", seed=100, out=tmp_path / "run", progress=False)
    assert run.scores()["with memory"].mean > 0.95
    found = profile(run.agent(), run.game)
    assert found.peak() == found.peak("gradient") == 4
    means = mean(found.replacement)
    assert means[4] > 0.9 and np.delete(means, 4).max() < 0.1
