"""SB3's protocol: states go round, a wrong one raises, contradictory options are refused."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO as ContribPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from tiny_games import clocks
from torch import nn

from rlrnn import Evolution, MlpGruPolicy, Player, RecurrentPolicy, RecurrentPPO
from rlrnn.cells import CELLS, Gru, register_cell
from rlrnn.errors import EnvironmentFault, OptionsError, UserError
from rlrnn.learners.policy.policy import policy_named
from rlrnn.network.network import CRITICS

VECTOR = spaces.Box(-1, 1, (3,))
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
KEYED = spaces.Dict({"a": VECTOR, "b": spaces.Discrete(4, start=1)})
WIDE = spaces.Box(-9, 9, (2,))
PAIR = spaces.Box(np.float32([-1, 0]), np.float32([1, 10]))
ACTIONS: list[spaces.Space[Any]] = [
    spaces.Discrete(3, start=2),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary((2, 2)),
    PAIR,
]


def make(
    name: str = "MlpLstmPolicy",
    observation_space: spaces.Space[Any] = VECTOR,
    action_space: spaces.Space[Any] = WIDE,
    **options: Any,
) -> RecurrentPolicy:
    options = {"hidden_size": 4, "ortho_init": False, **options}
    return policy_named(name)(observation_space, action_space, lambda _: 1e-3, **options)


def see(n_envs: int, space: spaces.Space[Any] = VECTOR, seed: int = 0) -> Any:
    """A batch of observations."""
    space.seed(seed)
    samples = [space.sample() for _ in range(n_envs)]
    return (
        {k: np.stack([s[k] for s in samples]) for k in samples[0]}
        if isinstance(space, spaces.Dict)
        else np.stack(samples)
    )


# ---- states


@pytest.mark.parametrize("n_layers", [1, 3])
def test_states_have_contribs_shapes(n_layers: int) -> None:
    contrib = ContribPPO(
        "MlpLstmPolicy", clocks(2), policy_kwargs={"lstm_hidden_size": 4, "n_lstm_layers": n_layers}
    )
    _, theirs = contrib.predict(np.zeros((2, 3)))
    _, ours = make(n_lstm_layers=n_layers).predict(see(2))
    assert [part.shape for part in ours] == [part.shape for part in theirs] == [(n_layers, 2, 4)] * 2
    assert ours[0].dtype == theirs[0].dtype


@pytest.mark.parametrize(
    ("cell", "shapes"),
    [
        ("elman", [(2, 5, 4)]),
        ("gru", [(2, 5, 4)]),
        ("lstm", [(2, 5, 4), (2, 5, 4)]),
        ("fir", [(1, 5, 7 * 3 + 7 * 4)]),  # 7 delayed inputs of the first layer, 7 of the second
        ("none", [(1, 5, 0)]),
    ],
)
def test_a_state_is_shown_in_its_parts_or_else_as_one(cell: str, shapes: list[tuple[int, ...]]) -> None:
    _, state = make(cell=cell, n_layers=2).predict(see(5))
    assert isinstance(state, tuple)
    assert [part.shape for part in state] == shapes


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_survives_the_round_trip(cell: str, n_layers: int) -> None:
    policy = make(cell=cell, n_layers=n_layers)
    memory = torch.randn(5, policy.network.state_sizes[0])
    assert torch.equal(policy.parts.join(policy.parts.split(memory), 5), memory)


def test_h_and_c_are_the_layers_own() -> None:
    policy = make("MlpLstmPolicy", n_layers=2)
    memory = torch.arange(16.0).unsqueeze(0)  # layer 0: h 0..3, c 4..7; layer 1: h 8..11, c 12..15
    h, c = policy.parts.split(memory)
    assert h[:, 0].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert c[:, 0].tolist() == [[4, 5, 6, 7], [12, 13, 14, 15]]


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("cell", CELLS)
def test_predict_threads_the_memory_that_learning_uses(cell: str, critic: str) -> None:
    policy = make(cell=cell, n_layers=2, critic=critic)
    rng = np.random.default_rng(0)
    state, memory = None, policy.network.initial_state(4)
    for t in range(8):
        seen, start = see(4, seed=t), np.ones(4, bool) if t == 0 else rng.random(4) < 0.3
        actions, state = policy.predict(seen, state, start, deterministic=True)
        with torch.no_grad():
            args = torch.as_tensor(seen), torch.as_tensor(start)
            distribution, _, memory = policy.network.step(*args, memory)
        np.testing.assert_allclose(
            actions, policy.network.actuators.to_space(distribution.mode().numpy()), rtol=1e-5, atol=1e-6
        )


def test_an_episode_start_forgets_and_no_flag_does_not() -> None:
    policy = make("MlpGruPolicy")
    _, state = policy.predict(see(3))
    mixed, _ = policy.predict(see(3, seed=1), state, np.array([True, False, True]), deterministic=True)
    fresh, _ = policy.predict(see(3, seed=1), None, np.ones(3, bool), deterministic=True)
    kept, _ = policy.predict(see(3, seed=1), state, deterministic=True)
    assert np.array_equal(mixed[[0, 2]], fresh[[0, 2]]) and np.array_equal(mixed[1], kept[1])
    assert (fresh != kept).all()


@pytest.mark.parametrize("cell", ["lstm", "gru", "fir"])
def test_a_state_of_the_wrong_shape_always_raises(cell: str) -> None:
    policy = make(cell=cell)
    _, good = policy.predict(see(3))
    part = good[0]
    wrong: list[Any] = [
        (part[:, :2],) * len(good),  # for fewer environments
        (np.repeat(part, 2, axis=1),) * len(good),  # for more
        (part[:, :1],) * len(good),  # for one, which would broadcast
        (np.repeat(part, 2, axis=0),) * len(good),  # another number of layers
        (part[..., :1],) * len(good),  # another number of units
        (np.moveaxis(part, 0, 1),) * len(good),  # batch first
        (part[0],) * len(good),
        (*good, part),
        good[:-1],
        (None,) * len(good),
    ]
    for state in wrong:
        with pytest.raises(UserError, match=r"the state has parts of shape .* with 3 environment\(s\) needs"):
            policy.predict(see(3), state, np.zeros(3, bool))
        with pytest.raises(UserError, match="the state has parts of shape"):  # an episode start is no excuse
            policy.predict(see(3), state, np.ones(3, bool))


def test_episode_starts_of_the_wrong_number_raise() -> None:
    for starts in (np.ones(2, bool), np.ones(4), np.ones((3, 1)), [True]):
        with pytest.raises(UserError, match=r"episode_start has shape .* 3 environment"):
            make().predict(see(3), None, starts)  # type: ignore[arg-type]


# ---- forgetting


def quiet(policy: RecurrentPolicy, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return policy.predict(see(2), **arguments)


def test_no_state_under_way_warns_once_and_names_the_player() -> None:
    policy = make()
    quiet(policy)  # the first step of an episode
    with pytest.warns(
        UserWarning, match=r"state=None while an episode is under way.*agent\.player\(n_envs\)"
    ):
        policy.predict(see(2))
    for _ in range(3):
        quiet(policy)
    _, state = quiet(policy)
    quiet(policy, state=state)
    quiet(policy)
    quiet(policy)  # once is enough, whatever came between


def test_no_state_in_the_middle_of_some_episodes_warns() -> None:
    with pytest.warns(UserWarning, match=r"agent\.player"):
        make().predict(see(2), None, np.array([True, False]))


def test_no_state_at_the_start_of_episodes_is_right() -> None:
    policy = make()
    for _ in range(3):
        _, state = quiet(policy, episode_start=np.ones(2, bool))
        quiet(policy, state=state, episode_start=np.zeros(2, bool))
    for _ in range(3):  # and so it is in a loop that gives a state from the second step on
        _, state = quiet(policy)
        quiet(policy, state=state)


def test_an_agent_without_memory_forgets_nothing() -> None:
    policy = make("MlpPolicy")
    for _ in range(3):
        quiet(policy)
    quiet(policy, episode_start=np.zeros(2, bool))


def test_the_warning_points_at_the_callers_line_whatever_lies_between() -> None:
    for way in ("agent", "policy", "sb3"):
        agent = RecurrentPPO("MlpGruPolicy", clocks(2), policy_kwargs={"hidden_size": 4})
        agent.predict(np.zeros((2, 3), np.float32))
        ways = {"agent": agent.predict, "policy": agent.policy.predict}
        predict: Any = ways.get(way, partial(BaseAlgorithm.predict, agent))
        with pytest.warns(UserWarning, match="state=None") as caught:
            predict(np.zeros((2, 3), np.float32))
        assert caught[0].filename == __file__


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize(
    ("given", "fused"),
    [
        ({}, True),
        ({"amsgrad": True}, True),
        ({"fused": False}, False),
        ({"foreach": True}, None),
        ({"foreach": False}, None),
        ({"differentiable": True}, None),
        ({"capturable": False}, None),
    ],
)
def test_no_way_to_run_the_optimizer_is_chosen_where_the_user_has(
    optimizer: Any, given: dict[str, Any], fused: bool | None
) -> None:
    policy = make(optimizer_class=optimizer, optimizer_kwargs=given)
    assert policy.optimizer.defaults["fused"] == fused and policy.optimizer.defaults["eps"] == 1e-5
    assert all(policy.optimizer.defaults[name] == value for name, value in given.items())


# ---- what SB3's users look at, and what they mistype


class Normed(BaseFeaturesExtractor):
    """Batch norm and dropout, which training and play see otherwise."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, space.shape[0])
        self.norm, self.dropout = nn.BatchNorm1d(space.shape[0]), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.dropout(self.norm(x))
        return y


@pytest.mark.parametrize("shares", [True, False])
def test_extractors_have_sb3s_names(shares: bool) -> None:
    policy = make(features_extractor_class=Normed, share_features_extractor=shares)
    assert policy.features_extractor is policy.pi_features_extractor is policy.network.sensors.extractor
    assert (policy.vf_features_extractor is policy.features_extractor) == shares
    assert isinstance(policy.vf_features_extractor, Normed)
    assert not any(name.startswith("features") for name in policy.state_dict())


def test_batch_statistics_move_in_updates_alone() -> None:
    """As SB3's: neither while a rollout is collected nor in predict."""
    kwargs = {"hidden_size": 4, "features_extractor_class": Normed}
    agent = RecurrentPPO("MlpGruPolicy", clocks(2), n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=kwargs)
    norm = agent.policy.features_extractor.norm
    seen: list[torch.Tensor] = []
    agent.learn(32, callback=lambda local, _: seen.append(norm.running_mean.clone()) or True)
    first, second = seen[:8], seen[8:]
    assert all(torch.equal(mean, torch.zeros(3)) for mean in first)
    assert all(torch.equal(mean, second[0]) for mean in second) and not torch.equal(second[0], first[0])
    before = norm.running_mean.clone()
    state = [agent.predict(np.ones((2, 3), np.float32), None, np.ones(2), True)[0] for _ in range(2)]
    np.testing.assert_array_equal(*state)
    assert torch.equal(norm.running_mean, before)


def test_the_old_form_of_net_arch_is_taken_with_sb3s_warning() -> None:
    with pytest.warns(UserWarning, match=r"before 1\.8, which is deprecated: .*net_arch=dict\(pi") as caught:
        policy = make(net_arch=[{"pi": [5], "vf": [6]}])
    assert (policy.description.actor_widths, policy.description.critic_widths) == ((5,), (6,))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"hidden": 3},
            r"unknown setting 'hidden'; did you mean 'hidden_size'\? known policy_kwargs: activation_fn, ",
        ),
        ({"use_sde": True}, "unknown setting 'use_sde'"),
        ({"hidden_size": "3"}, "hidden_size is '3'; policy_kwargs takes a whole number"),
        (
            {"activation_fn": "tanh"},
            "activation_fn is 'tanh'; policy_kwargs takes a class derived from Module",
        ),
        ({"cell_options": 3}, "cell_options is 3; policy_kwargs takes a table"),
        ({"optimizer_class": "adam"}, "takes a class derived from Optimizer"),
        ({"optimizer_kwargs": {"beta": 1}}, "unknown setting 'beta'; did you mean 'betas'"),
        ({"optimizer_kwargs": {"lr": 1}}, "unknown setting 'lr'; known optimizer_kwargs of Adam"),
        (
            {"features_extractor_kwargs": {"dim": 2}},
            "known features_extractor_kwargs of FlattenExtractor: none",
        ),
        ({"net_arch": 64}, r"net_arch is 64: give a list .*\[64, 64\]"),
        ({"net_arch": [64, {"pi": [3]}]}, "layers that both share are no longer known"),
        ({"net_arch": {"pi": [0]}}, r"net_arch is \{'pi': \[0\]\}"),
    ],
)
def test_policy_kwargs_that_are_not_known_are_answered_in_a_sentence(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        RecurrentPPO("MlpLstmPolicy", clocks(), policy_kwargs=given)
    if "use_sde" not in given:
        with pytest.raises(UserError, match=sentence):
            Evolution("MlpLstmPolicy", clocks(), policy_kwargs=given)


def test_a_users_policy_that_hands_options_on_is_asked_itself() -> None:
    class Mine(MlpGruPolicy):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, mine: int = 1, **options: Any) -> None:
            super().__init__(*arguments, **options)

    kwargs = {"mine": 2, "hidden_size": 4, "activation_fn": lambda: nn.LeakyReLU(0.1)}
    agent = RecurrentPPO(Mine, clocks(), policy_kwargs=kwargs)
    assert agent.policy.description.hidden_size == 4


# ---- observations and actions


@pytest.mark.parametrize("action_space", ACTIONS)
@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("MlpGruPolicy", VECTOR),
        ("MlpGruPolicy", spaces.Discrete(4, start=1)),
        ("MlpGruPolicy", spaces.MultiDiscrete([2, 3])),
        ("MlpGruPolicy", spaces.MultiBinary(3)),
        ("MultiInputGruPolicy", KEYED),
    ],
)
def test_one_observation_is_a_batch_of_one_without_its_axis(
    name: str, space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> None:
    policy = make(name, space, action_space)
    batch = see(1, space)
    single = {k: v[0] for k, v in batch.items()} if isinstance(batch, dict) else batch[0]
    batched_action, batched_state = policy.predict(batch, deterministic=True)
    action, state = policy.predict(single, None, np.ones(1, bool), deterministic=True)
    assert batched_action.shape == (1, *action_space.shape)
    assert np.shape(action) == action_space.shape
    assert action_space.contains(np.asarray(action))
    np.testing.assert_array_equal(action, batched_action[0])
    np.testing.assert_array_equal(state[0], batched_state[0])


@pytest.mark.parametrize("action_space", ACTIONS)
def test_sampled_actions_lie_inside_their_space_and_vary(action_space: spaces.Space[Any]) -> None:
    policy = make(action_space=action_space, log_std_init=2.0)
    actions, _ = policy.predict(np.zeros((100, 3), np.float32), None, np.ones(100, bool))
    assert all(action_space.contains(np.asarray(action)) for action in actions)
    assert len(np.unique(actions.reshape(100, -1), axis=0)) > 1


def test_squashed_actions_mean_the_same_in_training_and_in_predict() -> None:
    policy = make(action_space=PAIR, use_sde=True, squash_output=True)
    seen, start = see(50), np.ones(50, bool)
    actions, _ = policy.predict(seen, None, start, deterministic=True)
    with torch.no_grad():
        distribution, _, _ = policy.network.step(
            torch.as_tensor(seen), torch.as_tensor(start), policy.network.initial_state(50)
        )
    inside = distribution.mode().numpy()  # in [-1, 1]
    np.testing.assert_allclose(actions, PAIR.low + (inside + 1) / 2 * (PAIR.high - PAIR.low), rtol=1e-5)


def test_a_reset_tuple_as_observation_is_explained() -> None:
    with pytest.raises(UserError, match=r"obs, info = env\.reset\(\)"):
        make().predict((see(1), {}))


@pytest.mark.parametrize(
    ("name", "space", "observation", "said"),
    [
        (
            "MlpGruPolicy",
            spaces.Discrete(4, start=1),
            [1, 5],
            r"has 5: it must lie in Discrete\(4, start=1\)",
        ),
        (
            "MlpGruPolicy",
            spaces.MultiDiscrete([2, 3]),
            [[0, 0], [1, -1]],
            "has -1: it must lie in MultiDiscrete",
        ),
        ("MlpGruPolicy", VECTOR, [[0, 0, 0], [0, np.nan, 0]], "has nan: it must be a finite number"),
        (
            "MultiInputGruPolicy",
            KEYED,
            {"a": np.zeros((2, 3)), "b": np.array([1, 0])},
            "has 0 in 'b': it must lie",
        ),
    ],
)
def test_an_observation_outside_of_its_space_is_refused(
    name: str, space: spaces.Space[Any], observation: Any, said: str
) -> None:
    policy = make(name, space)
    observation = observation if isinstance(observation, dict) else np.array(observation)
    for act in (policy.predict, Player(policy, 2).act):
        with pytest.raises(EnvironmentFault, match=f"observation of environment 1 {said}"):
            act(observation)


def test_predict_leaves_no_gradient_and_switches_dropout_off() -> None:
    policy = make(n_layers=2, lstm_kwargs={"dropout": 0.9})
    policy.set_training_mode(True)
    start = np.ones(3, bool)
    first, _ = policy.predict(see(3), None, start, deterministic=True)
    np.testing.assert_array_equal(policy.predict(see(3), None, start, deterministic=True)[0], first)
    assert not policy.training


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_forward_and_evaluate_actions_agree(cell: str) -> None:
    policy = make(cell=cell)
    seen, starts = torch.randn(6, 3, 3), torch.rand(6, 3) < 0.3
    state = first = torch.randn(3, policy.network.state_size)
    played: list[tuple[torch.Tensor, ...]] = []
    for t in range(6):
        values = policy.predict_values(seen[t], state, starts[t].float())
        *step, state = policy(seen[t], state, starts[t].float())
        torch.testing.assert_close(values, step[1])
        played.append(tuple(step))
    actions, values, log_probs = (torch.stack(parts) for parts in zip(*played, strict=True))
    again, log_probs_again, entropy = policy.evaluate_actions(seen, actions, first, starts.float())
    torch.testing.assert_close(again, values)
    torch.testing.assert_close(log_probs_again, log_probs)
    assert entropy is not None and entropy.shape == (6, 3)


# ---- names and options


@pytest.mark.parametrize(
    ("prefix", "extractor"),
    [("Mlp", FlattenExtractor), ("Cnn", NatureCNN), ("MultiInput", CombinedExtractor)],
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_name_says_sensors_and_cell(prefix: str, extractor: type[Any], cell: str) -> None:
    name = f"{prefix}{'' if cell == 'none' else cell.capitalize()}Policy"
    policy = policy_named(name)
    assert policy.default_cell == cell and policy.default_extractor is extractor
    assert policy.__name__ == name and policy_named(name) is policy


@pytest.mark.parametrize(
    "name",
    ["MlpLstmpolicy", "LstmPolicy", "MlpGruuPolicy", "mlpgrupolicy", "", "MlpPolicy2", "Mlp LstmPolicy"],
)
def test_an_unknown_name_says_how_names_are_made(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"policy '{name}' is not known: .*Mlp, Cnn or MultiInput.*Elman, Gru, Lstm, "
    ):
        policy_named(name)
    with pytest.raises(UserError, match="is not known"):
        RecurrentPPO(name, clocks())


@pytest.mark.usefixtures("cell_registry")
def test_a_users_registered_cell_has_policies_of_its_name() -> None:
    class Slow(Gru):
        pass

    register_cell("slow", Slow)
    agent = RecurrentPPO("MlpSlowPolicy", clocks(2), n_steps=4, policy_kwargs={"hidden_size": 4}).learn(8)
    assert type(agent.policy.network.memory.layers[0]) is Slow
    agent = RecurrentPPO("MlpLstmPolicy", clocks(2), n_steps=4, policy_kwargs={"cell": "slow"})
    assert type(agent.policy.network.memory.layers[0]) is Slow


def test_contribs_words_mean_ours() -> None:
    theirs = make(
        hidden_size=None, lstm_hidden_size=7, n_lstm_layers=2, lstm_kwargs={"bias": False, "dropout": 0.5}
    )
    ours = make(hidden_size=7, n_layers=2, cell_options={"bias": False, "dropout": 0.5})
    assert theirs.description == ours.description
    critics = {
        (None, None): "own",
        (False, True): "own",
        (True, False): "detached",
        (False, False): "feedforward",
        (None, False): "feedforward",
        (None, True): "own",
        (False, None): "own",
    }
    for (shared, enabled), critic in critics.items():
        assert make(shared_lstm=shared, enable_critic_lstm=enabled).description.critic == critic


def test_defaults_are_contribs() -> None:
    contrib = ContribPPO("MlpLstmPolicy", clocks(2))
    ours = RecurrentPPO("MlpLstmPolicy", clocks(2))
    assert ours.policy.description.hidden_size == contrib.policy.lstm_actor.hidden_size
    assert ours.policy.description.n_layers == contrib.policy.lstm_actor.num_layers
    assert sum(p.numel() for p in ours.policy.parameters()) == sum(
        p.numel() for p in contrib.policy.parameters()
    )
    for name in ("betas", "eps", "weight_decay", "lr"):
        assert ours.policy.optimizer.defaults[name] == contrib.policy.optimizer.defaults[name]


@pytest.mark.parametrize(
    ("name", "space", "net_arch", "widths"),
    [
        ("MlpGruPolicy", VECTOR, None, ((64, 64), (64, 64))),
        ("CnnGruPolicy", IMAGE, None, ((), ())),
        ("MlpGruPolicy", VECTOR, [], ((), ())),
        ("MlpGruPolicy", VECTOR, [8, 9], ((8, 9), (8, 9))),
        ("MlpGruPolicy", VECTOR, {"pi": [5]}, ((5,), ())),
        ("MlpGruPolicy", VECTOR, {"pi": [], "vf": [6, 7]}, ((), (6, 7))),
    ],
)
def test_net_arch_is_sb3s(name: str, space: spaces.Space[Any], net_arch: Any, widths: Any) -> None:
    policy = make(name, space, net_arch=net_arch, activation_fn=nn.ReLU)
    assert (policy.description.actor_widths, policy.description.critic_widths) == widths
    assert isinstance(policy.network.actor_head.activation, nn.ReLU)


@pytest.mark.parametrize(
    "options",
    [
        {"shared_lstm": True},
        {"shared_lstm": True, "enable_critic_lstm": True},
        {"shared_lstm": True, "enable_critic_lstm": False, "share_features_extractor": False},
        {"critic": "shared", "share_features_extractor": False},
        {"critic": "own", "enable_critic_lstm": False},
        {"critic": "detached", "enable_critic_lstm": True},
        {"hidden_size": 4, "lstm_hidden_size": 5},
        {"n_layers": 1, "n_lstm_layers": 2},
        {"squash_output": True},
    ],
)
def test_contradictory_options_are_assertion_errors_and_user_errors(options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError) as caught:
        make(**options)
    assert isinstance(caught.value, AssertionError) and isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"critic": "twin"}, r"'twin': choose one of own, shared"),
        ({"lstm_kwargs": {"bidirectional": True}}, r"'bidirectional'.*bias and dropout"),
        ({"cell": "gruu"}, r"'gruu' is not known: choose one of"),
        ({"cell_options": {"taps": 3}}, r"lstm cell has no option 'taps'"),
        ({"net_arch": {"pi": [4], "qf": [4]}}, r"key 'qf': it knows pi \(actor\) and vf \(critic\)"),
        ({"hidden_size": 0}, "hidden_size is 0"),
    ],
)
def test_unknown_options_are_refused_with_the_known_ones(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(**options)


def test_a_dict_of_observations_asks_for_the_policy_that_reads_it() -> None:
    for name in ("MlpGruPolicy", "CnnGruPolicy"):
        with pytest.raises(UserError, match='"MultiInputGruPolicy"'):
            make(name, KEYED)


def test_images_that_are_normalized_already_are_told_so_to_the_extractor() -> None:
    space = spaces.Box(0, 1, (3, 36, 36))
    policy = make(
        "CnnGruPolicy", space, normalize_images=False, features_extractor_kwargs={"features_dim": 8}
    )
    assert policy.network.sensors.extractor.features_dim == 8


@pytest.mark.parametrize("name", ["MlpLstmPolicy", "MlpFirPolicy"])
def test_a_policy_saved_alone_plays_the_same(name: str, tmp_path: Path) -> None:
    options = {"hidden_size": 6, "net_arch": {"pi": [5]}, "activation_fn": nn.ReLU, "critic": "shared"}
    policy = make(name, **options)
    policy.save(tmp_path / "policy")
    for cls in (RecurrentPolicy, policy_named(name)):
        again = cls.load(tmp_path / "policy", device="cpu")
        assert type(again) is type(policy)
        observation, state = see(3), None
        ours, _ = policy.predict(observation, state, np.ones(3, bool), deterministic=True)
        theirs, _ = again.predict(observation, state, np.ones(3, bool), deterministic=True)
        np.testing.assert_array_equal(ours, theirs)


def test_a_policy_with_what_cannot_be_stored_says_so(tmp_path: Path) -> None:
    class Mine(FlattenExtractor):
        pass

    make("MlpGruPolicy", hidden_size=4, features_extractor_class=Mine).save(tmp_path / "policy")
    with pytest.raises(UserError, match=r"features_extractor_class, which could not be stored"):
        RecurrentPolicy.load(tmp_path / "policy")
