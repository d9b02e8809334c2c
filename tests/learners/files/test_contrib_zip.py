"""Zips saved by sb3_contrib: same weights, same actions, values, log-probabilities and gradient."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO as Contrib
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.save_util import save_to_zip_file
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from rlrnn.common.batches import map_arrays
from rlrnn.errors import FileFault, UserError
from rlrnn.learners.files.contrib import is_contrib_zip, read_contrib, translate_states
from rlrnn.learners.policy.policy import policy_named
from rlrnn.learners.ppo.gradient import MinibatchGradient
from rlrnn.learners.ppo.loss import FIGURES, Objective, normalized
from rlrnn.learners.ppo.ppo import RecurrentPPO
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.network import sensors
from rlrnn.storage import archive as saving

STEPS, ENVS = 12, 2


class Noise(gym.Env[Any, Any]):
    """Observations and rewards at random, in episodes of 3 to 7 steps."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed if seed is not None else int(self.np_random.integers(1 << 30)))
        self.left = int(self.np_random.integers(3, 8))
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self.observation_space.sample(), float(self.np_random.normal()), self.left == 0, False, {}


VECTOR, IMAGE = spaces.Box(-1, 1, (3,)), spaces.Box(0, 255, (36, 36, 1), np.uint8)
MIXED = spaces.Dict({"where": VECTOR, "what": spaces.Discrete(3), "seen": IMAGE})
PUSH = spaces.Box(np.float32([-1, -2]), np.float32([1, 3]))
CHOICE = spaces.Discrete(3)


@dataclass(frozen=True)
class Case:
    policy: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    policy_kwargs: dict[str, Any]
    settings: dict[str, Any]


OWN: dict[str, Any] = {"lstm_hidden_size": 5, "net_arch": {"pi": [7, 6], "vf": [4]}}
SHARED = {"shared_lstm": True, "enable_critic_lstm": False}
SMALL_CNN = {"features_extractor_kwargs": {"features_dim": 6}, "net_arch": [4]}
CASES = {
    "own": Case("MlpLstmPolicy", VECTOR, CHOICE, OWN, {"clip_range_vf": 0.1}),
    "own, 2 layers": Case("MlpLstmPolicy", VECTOR, PUSH, {**OWN, "n_lstm_layers": 2}, {"ent_coef": 0.1}),
    "shared, 2 layers": Case(
        "MlpLstmPolicy",
        VECTOR,
        spaces.MultiDiscrete([2, 3]),
        {**OWN, **SHARED, "n_lstm_layers": 2, "activation_fn": torch.nn.ReLU},
        {"ent_coef": 0.1},
    ),
    "none": Case("MlpLstmPolicy", VECTOR, CHOICE, {**OWN, "enable_critic_lstm": False}, {}),
    "no bias, no heads": Case(
        "MlpLstmPolicy", VECTOR, CHOICE, {**OWN, "net_arch": [], "lstm_kwargs": {"bias": False}}, {}
    ),
    "gSDE": Case(
        "MlpLstmPolicy",
        VECTOR,
        PUSH,
        {**OWN, **SHARED, "log_std_init": -1.0},
        {"use_sde": True, "ent_coef": 0.1},
    ),
    "gSDE squashed": Case(
        "MlpLstmPolicy",
        VECTOR,
        PUSH,
        {**OWN, "squash_output": True, "full_std": False, "use_expln": True, "log_std_init": -1.0},
        {"use_sde": True, "sde_sample_freq": 4, "ent_coef": 0.1},
    ),
    "images": Case("CnnLstmPolicy", IMAGE, CHOICE, {**OWN, **SMALL_CNN}, {}),
    "images, two extractors": Case(
        "CnnLstmPolicy", IMAGE, CHOICE, {**OWN, **SMALL_CNN, "share_features_extractor": False}, {}
    ),
    "dict": Case(
        "MultiInputLstmPolicy",
        MIXED,
        PUSH,
        {**OWN, "features_extractor_kwargs": {"cnn_output_dim": 4}},
        {},
    ),
}  # fmt: skip


@dataclass
class Trained:
    """A contrib agent after one step of its optimizer, and the gradient that its next step would use."""

    model: Contrib
    zip: bytes
    gradient: dict[str, torch.Tensor]

    def opened(self) -> tuple[RecurrentPPO, saving.Agent]:
        agent = read_contrib(io.BytesIO(self.zip))
        assert agent.missing == {}
        return RecurrentPPO.load(io.BytesIO(self.zip), env=self.model.get_env(), device="cpu"), agent


def names_of(model: RecurrentPPO) -> list[str]:
    return [name for name, _ in model.policy.named_parameters()]


def train(case: Case) -> Trained:
    """contrib collects with its first weights, takes one step, and tells the gradient after it."""
    env = DummyVecEnv([lambda: Noise(case.observation_space, case.action_space) for _ in range(ENVS)])
    model = Contrib(
        case.policy,
        env,
        n_steps=STEPS,
        batch_size=STEPS * ENVS,
        n_epochs=2,
        learning_rate=LinearSchedule(0.05, 0.02, 1.0),
        clip_range=0.1,
        max_grad_norm=1e9,
        policy_kwargs=dict(case.policy_kwargs),
        seed=3,
        device="cpu",
        **case.settings,
    )
    # Its convolutions get images laid out as ours do: sums in another order would put a unit that is nearly 0
    # on the other side of its kink, and a whole unit's gradient with it.
    hooks = [
        module.register_forward_pre_hook(lambda _, images: (sensors._channels_last(images[0]),))
        for module in model.policy.modules()
        if isinstance(module, NatureCNN)
    ]
    step, gradients = model.policy.optimizer.step, []

    def first_step_only() -> None:
        gradients.append({name: p.grad.clone() for name, p in model.policy.named_parameters()})
        if len(gradients) == 1:
            step()

    model.policy.optimizer.step = first_step_only
    with pytest.MonkeyPatch.context() as patch:  # contrib cuts its full batch at a random place: here at 0
        patch.setattr(np.random, "randint", lambda *_: 0)
        model.learn(STEPS * ENVS)
    model.policy.optimizer.step = step
    for hook in hooks:
        hook.remove()
    buffer = io.BytesIO()
    model.save(buffer)
    return Trained(model, buffer.getvalue(), gradients[1])


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest) -> Trained:
    torch.set_num_threads(1)
    return train(CASES[request.param])


def rows_of(trained: Trained, model: RecurrentPPO) -> Rows:
    """contrib's rollout as rows of ours: its arrays are [B * T, ...], and its memory h and c by layer."""
    buffer = trained.model.rollout_buffer

    def over_time(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array).view(ENVS, STEPS, *array.shape[1:]).transpose(0, 1)

    roles = ["pi", "vf"] if model.policy.network.state_sizes[1] else ["pi"]
    parts = [
        over_time(getattr(buffer, f"{part}_states_{role}"))[0, :, layer]
        for role in roles
        for layer in range(buffer.hidden_states_pi.shape[1])
        for part in ("hidden", "cell")
    ]
    scalars = {
        "log_prob": buffer.log_probs,
        "value": buffer.values,
        "advantage": buffer.advantages,
        "target": buffer.returns,
    }
    return Rows(
        observation=map_arrays(over_time, buffer.observations),
        start=over_time(buffer.episode_starts).squeeze(-1).bool(),
        state=torch.cat(parts, dim=-1),
        action=over_time(buffer.actions.astype(model.policy.network.actuators.action_dtype)),
        weight=torch.ones(STEPS, ENVS),
        **{name: over_time(array).squeeze(-1) for name, array in scalars.items()},
    )


def test_same_weights_play_alike(trained: Trained) -> None:
    model, _ = trained.opened()
    rng = np.random.default_rng(0)
    env = trained.model.get_env()
    assert env is not None
    env.seed(5)
    observation, theirs, ours = env.reset(), None, None
    starts = np.ones(ENVS, dtype=bool)
    for _ in range(15):
        expected, theirs = trained.model.predict(observation, theirs, starts, deterministic=True)
        actions, ours = model.predict(observation, ours, starts, deterministic=True)
        np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)
        assert theirs is not None
        for part, expected_part in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(part, expected_part, rtol=1e-4, atol=1e-6)
        observation, _, _, _ = env.step(expected)
        starts = rng.random(ENVS) < 0.3


def test_same_values_and_log_probabilities(trained: Trained) -> None:
    model, _ = trained.opened()
    rows = rows_of(trained, model)
    distribution, values = model.policy.network.unroll(rows.observation, rows.start, rows.state)
    buffer = trained.model.rollout_buffer

    def states(role: str) -> tuple[torch.Tensor, ...]:
        layers = [getattr(buffer, f"{part}_states_{role}")[::STEPS] for part in ("hidden", "cell")]
        return tuple(torch.as_tensor(a).transpose(0, 1).contiguous() for a in layers)

    actions = torch.as_tensor(buffer.actions)
    expected_values, expected_log_prob, expected_entropy = trained.model.policy.evaluate_actions(
        map_arrays(torch.as_tensor, buffer.observations),
        actions.long().flatten() if isinstance(model.action_space, spaces.Discrete) else actions,
        RNNStates(states("pi"), states("vf")),
        torch.as_tensor(buffer.episode_starts).float(),
    )

    def check(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        torch.testing.assert_close(ours.t().flatten(), theirs.flatten(), rtol=1e-5, atol=2e-6)

    check(values, expected_values)
    check(distribution.log_prob(rows.action), expected_log_prob)
    entropy = distribution.entropy()
    assert (entropy is None) == (expected_entropy is None)
    if entropy is not None:
        check(entropy, expected_entropy)
    assert rows.start[1:].any()
    assert rows.state.abs().sum() == 0 or not rows.start[0].all()


def test_same_gradient_of_the_full_batch(trained: Trained) -> None:
    model, agent = trained.opened()
    rows = rows_of(trained, model)
    clip_vf = None if agent.data["clip_range_vf"] is None else agent.data["clip_range_vf"](1.0)
    objective = Objective(agent.data["clip_range"](1.0), clip_vf, agent.data["ent_coef"], model.vf_coef)
    rows = normalized(rows) if model.normalize_advantage else rows
    figures = MinibatchGradient(model.policy.network, threads=1)(rows, objective)
    padded = {**{name: torch.zeros(()) for name in agent.states["policy"]}, **trained.gradient}
    expected = translate_states({"policy": with_aliases(padded)}, names_of(model))["policy"]
    for name, parameter in model.policy.named_parameters():
        assert parameter.grad is not None, name
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-4, atol=1e-4 * scale + 1e-8, msg=name
        )
    assert figures[FIGURES.index("approx_kl")] > 1e-6


def with_aliases(gradient: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients under the names that a shared extractor has besides its first."""
    return {
        name: gradient[name.removeprefix("pi_").removeprefix("vf_")] if value.dim() == 0 else value
        for name, value in gradient.items()
    }


def test_training_goes_on_where_it_stood(trained: Trained) -> None:
    """One more step of both optimizers, on the same gradient, from the restored moments."""
    model, agent = trained.opened()
    assert agent.states["policy.optimizer"]["state"][0]["step"] == 1
    before = {name: p.detach().clone() for name, p in model.policy.named_parameters()}
    gradient = translate_states({"policy": with_aliases(trained.gradient)}, names_of(model))["policy"]
    for name, parameter in model.policy.named_parameters():
        parameter.grad = gradient[name].clone()
    model.policy.optimizer.step()

    theirs = Contrib.load(io.BytesIO(trained.zip), env=trained.model.get_env(), device="cpu")
    for name, parameter in theirs.policy.named_parameters():
        parameter.grad = trained.gradient[name].clone()
    theirs.policy.optimizer.step()
    states = {name: state for name, state in theirs.get_parameters().items() if name == "policy"}
    expected = translate_states(states, names_of(model))["policy"]
    for name, parameter in model.policy.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-6, atol=1e-8)
        assert not torch.equal(parameter.detach(), before[name]) or not gradient[name].any()


def test_settings_come_along_and_the_agent_plays_and_learns_on(trained: Trained) -> None:
    model, agent = trained.opened()
    for name in (
        "n_steps",
        "gamma",
        "ent_coef",
        "use_sde",
        "sde_sample_freq",
        "num_timesteps",
        "max_grad_norm",
    ):
        assert getattr(model, name) == getattr(trained.model, name)
    assert model.lr_schedule(0.3) == trained.model.lr_schedule(0.3)
    assert model.clip_range(1.0) == 0.1
    assert model.observation_space == agent.data["observation_space"] == trained.model.observation_space
    assert model.policy.optimizer.param_groups[0]["eps"] == 1e-5
    model.learn(STEPS * ENVS, reset_num_timesteps=False)
    assert model.num_timesteps == 2 * STEPS * ENVS

    alone = RecurrentPPO.load(io.BytesIO(trained.zip), device="cpu")
    observation = alone.observation_space.sample()
    action, _ = alone.predict(observation, deterministic=True)
    expected, _ = trained.model.predict(observation, deterministic=True)
    np.testing.assert_allclose(action, expected, rtol=1e-5, atol=1e-6)


def zipped(data: dict[str, Any] | None = None, **params: Any) -> io.BytesIO:
    """A zip as SB3 writes it, with these settings and hardly any weights."""
    buffer = io.BytesIO()
    states = {"policy": {"lstm_actor.weight_ih_l0": torch.zeros(4, 1)}, "policy.optimizer": {}, **params}
    save_to_zip_file(buffer, data or {}, states, {})
    return buffer


@pytest.mark.parametrize(
    "space",
    [
        VECTOR,
        IMAGE,
        MIXED,
        PUSH,
        spaces.Box(-np.inf, np.inf, (2, 3)),
        spaces.Box(np.float32([-4.8, -np.inf, -0.41887903]), np.float32([4.8, np.inf, 0.41887903])),
        spaces.Box(np.float32([-3.4028235e38, 1e-5]), np.float32([3.4028235e38, np.pi])),
        spaces.Box(0.1, 0.3, (2,), np.float64),
        spaces.Box(np.array(0.3, np.float32), np.array(1, np.float32)),
        spaces.Box(-5, 5, (2, 2), np.int16),
        spaces.Box(0, 255, (210, 160, 3), np.uint8),
        spaces.Box(0, 100, (3,), np.uint8),
        spaces.Discrete(4, start=-2),
        spaces.MultiDiscrete([[2, 3], [4, 5]], dtype=np.int32, start=[[0, 1], [2, 3]]),
        spaces.MultiBinary(4),
        spaces.MultiBinary((2, 3)),
        spaces.Dict(
            [
                ("z", spaces.Box(np.float32([-1, 0.25]), np.float32([1, 2.5]))),
                ("a", spaces.Discrete(3, start=1)),
                ("m", spaces.MultiDiscrete([2, 3], start=[1, 0])),
                ("b", spaces.MultiBinary((2, 3))),
                ("s", spaces.Box(-np.inf, np.inf, (7,), np.float64)),
            ]
        ),
    ],
    ids=str,
)
def test_spaces_are_read_from_their_text(space: spaces.Space[Any]) -> None:
    space.seed(1)
    agent = read_contrib(zipped({"observation_space": space}))
    assert agent.missing == {}
    read = agent.data["observation_space"]
    assert read == space
    assert read.dtype == space.dtype
    if isinstance(space, spaces.Dict):
        assert list(read.spaces) == list(space.spaces)
    if isinstance(space, spaces.Box):  # their == allows a tolerance
        assert np.array_equal(read.low, space.low)
        assert np.array_equal(read.high, space.high)


TO_PI = spaces.Box(np.array([0, 0.0]), np.array([1, np.pi]), dtype=np.float64)


class Own(spaces.Discrete):
    """A user's space."""


@pytest.mark.parametrize(
    ("space", "what"),
    [
        (TO_PI, "Box that the file does not show in full"),
        (spaces.Box(-1, 1, (2000,)), "Box that the file does not show in full"),
        (spaces.Dict({"v": TO_PI}), "Dict that"),
        (spaces.Dict({"d": spaces.Dict({"v": VECTOR})}), "Dict that"),
        (spaces.Tuple([VECTOR]), "Tuple that"),
        (Own(3), "Own"),
    ],
    ids=str,
)
def test_what_the_text_does_not_tell_exactly_is_asked_for(space: spaces.Space[Any], what: str) -> None:
    agent = read_contrib(zipped({"observation_space": space}))
    assert agent.missing["observation_space"].startswith(what)
    with pytest.raises(UserError, match=r"observation_space.*custom_objects=\{'observation_space': \.\.\.\}"):
        saving.require(agent, "observation_space")
    given = read_contrib(zipped({"observation_space": space}), custom_objects={"observation_space": space})
    assert given.data["observation_space"] is space
    assert given.missing == {}


@pytest.mark.parametrize(
    "schedule",
    [
        FloatSchedule(0.2),
        FloatSchedule(LinearSchedule(1e-3, 1e-5, 0.5)),
        ConstantSchedule(3e-4),
        LinearSchedule(0.1, 0.0, 1.0),
    ],
    ids=str,
)
def test_schedules_are_read_from_their_text(schedule: Any) -> None:
    read = read_contrib(zipped({"clip_range": schedule})).data["clip_range"]
    assert type(read) is type(schedule)
    assert [read(x / 7) for x in range(8)] == [schedule(x / 7) for x in range(8)]


class Extractor(FlattenExtractor):
    """A user's extractor."""


def test_settings_that_are_known_are_rebuilt_and_others_named() -> None:
    kwargs = {
        "net_arch": {"pi": [3]},
        "activation_fn": torch.nn.ELU,
        "features_extractor_class": NatureCNN,
        "optimizer_class": torch.optim.RMSprop,
        "lstm_hidden_size": np.int64(8),
    }
    lost = {"lstm_kwargs": {"dropout": np.float32(0.1)}, "features_extractor_class": Extractor}
    data = {
        "gamma": 0.9,
        "policy_kwargs": {**kwargs, **lost},
        "learning_rate": lambda progress: progress,
        "clip_range": FloatSchedule(lambda progress: progress),
        "_last_obs": np.ones(3),
        "ep_info_buffer": object,
    }
    agent = read_contrib(zipped(data))
    del kwargs["features_extractor_class"]
    assert agent.data == {"gamma": 0.9, "policy_kwargs": kwargs}
    assert agent.kind == "sb3_contrib.RecurrentPPO"
    assert agent.missing == {
        "policy_kwargs.features_extractor_class": f"class {__name__}.Extractor",
        "policy_kwargs.lstm_kwargs": f"value shown as {str(lost['lstm_kwargs'])!r}",
        "learning_rate": "function",
        "clip_range": "function",
    }
    given = {"policy_kwargs.features_extractor_class": Extractor, "policy_kwargs.lstm_kwargs": {}}
    filled = read_contrib(zipped(data), custom_objects={**given, "learning_rate": 0.5, "clip_range": 0.1})
    assert filled.missing == {}
    assert filled.data["policy_kwargs"]["features_extractor_class"] is Extractor
    assert filled.data["learning_rate"] == 0.5
    plain = {"lstm_hidden_size": 4, "net_arch": [2]}
    assert read_contrib(zipped({"policy_kwargs": plain})).data["policy_kwargs"] == plain


def test_policy_classes_by_name() -> None:
    for name, theirs in Contrib.policy_aliases.items():
        assert read_contrib(zipped({"policy_class": theirs})).data["policy_class"] is policy_named(name)
    mine = type("Mine", (Contrib.policy_aliases["MlpLstmPolicy"],), {"__init__": Extractor.__init__})
    agent = read_contrib(zipped({"policy_class": mine}))
    assert agent.missing["policy_class"].startswith("class of the module")


def test_whose_zip_it_is(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "theirs.zip").write_bytes(trained.zip)
    saving.write_agent(tmp_path / "ours", {}, {}, kind="Test")
    (tmp_path / "text").write_text("text")
    named = {name: is_contrib_zip(tmp_path / name) for name in ("theirs", "ours", "text", "nothing")}
    assert named == {"theirs": True, "ours": False, "text": False, "nothing": False}


def forged(name: str, content: bytes | str) -> io.BytesIO:
    """A zip of SB3's with another member under that name."""
    with zipfile.ZipFile(zipped()) as archive:
        members: dict[str, Any] = {member: archive.read(member) for member in archive.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, old in members.items():
            archive.writestr(member, content if member == name else old)
    return buffer


class Payload:
    """Unpickling it would set a flag."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Payload, "ran", True)


def test_pickles_are_never_run() -> None:
    agent = read_contrib(zipped({name: Payload() for name in ("learning_rate", "policy_class", "anything")}))
    assert set(agent.missing) == {"learning_rate", "policy_class", "anything"}
    space = Own(3)
    space.__dict__["payload"] = Payload()
    assert set(read_contrib(zipped({"action_space": space})).missing) == {"action_space"}
    with pytest.raises(FileFault, match=r"corrupted in policy\.optimizer\.pth"):
        read_contrib(zipped(**{"policy.optimizer": {"state": Payload()}}))
    with pytest.raises(FileFault, match=r"corrupted in policy\.pth"):
        read_contrib(forged("policy.pth", pickle.dumps(Payload())))
    assert not Payload.ran
    pickle.loads(pickle.dumps(Payload()))
    assert Payload.ran  # the payload does run where pickles are loaded
    Payload.ran = False


def test_damaged_and_foreign_files(trained: Trained) -> None:
    for content, message in [
        (trained.zip[:-100], "holds no data"),
        (trained.zip.replace(b"policy.pth", b"policy.oth"), r"holds no policy\.pth"),
        (trained.zip.replace(b'"verbose"', b'"verbosy"'), "corrupted in data"),
    ]:
        with pytest.raises(FileFault, match=message):
            read_contrib(io.BytesIO(content))
    huge = torch.zeros(1).expand(1 << 20, 1 << 20)
    with pytest.raises(FileFault, match="larger than itself"):
        read_contrib(zipped(policy={"lstm_actor.weight_ih_l0": huge}))
    weights, packed = io.BytesIO(), io.BytesIO()
    torch.save({"lstm_actor.weight_ih_l0": torch.zeros(10**6)}, weights)
    with zipfile.ZipFile(weights) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for member in plain.namelist():
            small.writestr(member, plain.read(member))
    with pytest.raises(FileFault, match="it is compressed"):
        read_contrib(forged("policy.pth", packed.getvalue()))
    image = {":type:": "<class 'gymnasium.spaces.box.Box'>", ":serialized:": "", "dtype": "uint8"}
    absurd = {"observation_space": {**image, "low": "[0]", "high": "[255]", "_shape": [1 << 20, 1 << 20]}}
    assert "observation_space" in read_contrib(forged("data", json.dumps(absurd))).missing
    with pytest.raises(FileFault, match=r"only agents of sb3_contrib\.RecurrentPPO"):
        read_contrib(zipped(policy={"mlp.weight": torch.zeros(1)}))


def test_weights_that_have_no_place_are_named(trained: Trained) -> None:
    agent = read_contrib(io.BytesIO(trained.zip))
    names = names_of(trained.opened()[0])
    policy = agent.states["policy"]
    with pytest.raises(UserError, match=r"mlp_extractor\.policy_net\.1\.weight, for which"):
        translate_states({"policy": {**policy, "mlp_extractor.policy_net.1.weight": torch.ones(1)}}, names)
    with pytest.raises(UserError, match=r"no weights for network\.extra"):
        translate_states({"policy": policy}, [*names, "network.extra"])
    group = {"params": [0]}
    with pytest.raises(UserError, match="optimizer knows 1 parameters"):
        translate_states({**agent.states, "policy.optimizer": {"state": {}, "param_groups": [group]}}, names)
    group = {"params": list(range(len(names)))}
    state = {0: {"row_var": torch.ones(2, 1, 3)}}
    with pytest.raises(UserError, match=r"row_var of .* only those that treat each weight"):
        translate_states(
            {**agent.states, "policy.optimizer": {"state": state, "param_groups": [group]}}, names
        )
