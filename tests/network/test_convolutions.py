"""Networks that see images: the small one's layers, and what half precision changes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import NatureCNN

import rlrnn
from rlrnn.errors import OptionsError, UserError
from rlrnn.network import convolutions, sensors
from rlrnn.network.convolutions import SmallCNN, computes
from rlrnn.network.sensors import Sensors, is_convolvable


def images(height: int, width: int, channels: int = 1) -> spaces.Box:
    return spaces.Box(0, 255, (channels, height, width), np.uint8)


def game(**options: int) -> FakeImageEnv:
    return FakeImageEnv(discrete=True, channel_first=False, **options)


@pytest.mark.parametrize(("height", "width", "places"), [(64, 64, 36), (42, 42, 9), (20, 28, 2)])
def test_the_small_network_is_that_of_mnih_2013(height: int, width: int, places: int) -> None:
    space = images(height, width, 3)
    network = SmallCNN(space)
    weights = [tuple(p.shape) for p in network.parameters() if p.dim() > 1]
    assert weights == [(16, 3, 8, 8), (32, 16, 4, 4), (256, 32 * places)]
    x = torch.rand(5, *space.shape)
    features = network(x)
    assert features.shape == (5, network.features_dim) and (features >= 0).all()
    for k in range(5):
        torch.testing.assert_close(network(x[k : k + 1])[0], features[k])


def test_images_too_small_for_it_are_refused() -> None:
    assert is_convolvable(images(20, 20), SmallCNN) and not is_convolvable(images(20, 20))
    assert not is_convolvable(images(19, 20), SmallCNN)
    Sensors(images(20, 20), SmallCNN, {})
    with pytest.raises(UserError, match="30 x 19 pixels, but SmallCNN needs at least 20 x 20"):
        Sensors(images(19, 30), SmallCNN, {})
    with pytest.raises(OptionsError, match="SmallCNN reads images"):
        Sensors(spaces.Box(-1, 1, (3,)), SmallCNN, {})


def test_an_agent_that_sees_by_it_is_saved_and_opened(tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings = {"features_extractor_class": rlrnn.SmallCNN, "hidden_size": 8}
    agent = rlrnn.RecurrentPPO(
        "CnnGruPolicy",
        game(screen_height=42, screen_width=42),
        n_steps=8,
        batch_size=8,
        n_epochs=1,
        policy_kwargs=settings,
        device="cpu",
    ).learn(8)
    assert not agent.policy.network.actor_head.layers  # none between memory and actuators, as for NatureCNN
    agent.save(tmp_path / "agent.zip")
    again = rlrnn.load(tmp_path / "agent.zip", device="cpu")
    seen = np.random.default_rng(0).integers(0, 256, (2, 42, 42, 1), np.uint8)
    assert type(again.policy.network.sensors.extractor) is SmallCNN
    for one, other in zip(*(one.predict(seen, deterministic=True) for one in (agent, again)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_contribs_policies_see_by_it_too() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    env, settings = game(screen_height=42, screen_width=42), {"features_extractor_class": SmallCNN}
    model = contrib.RecurrentPPO("CnnLstmPolicy", env, n_steps=8, batch_size=8, policy_kwargs=settings)
    assert type(model.policy.features_extractor) is SmallCNN


@pytest.mark.parametrize("extractor", [NatureCNN, SmallCNN])
def test_half_precision_is_near_in_features_and_gradients(
    extractor: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number of 8 bits is off by at most 2^-8 of itself; errors of a sum's terms have either sign."""
    space = images(42, 42)
    torch.manual_seed(0)
    whole = Sensors(space, extractor, {})
    half = Sensors(space, extractor, {}, precision="bfloat16")
    half.load_state_dict(whole.state_dict())
    monkeypatch.setattr(sensors, "computes", lambda precision, device: True)
    seen = torch.randint(0, 256, (16, 1, 42, 42), dtype=torch.uint8)
    found, wanted = half(seen), whole(seen)
    assert found.dtype == torch.float32 and not torch.equal(found, wanted)
    layers = 4  # each rounds its inputs, weights and results
    assert (found - wanted).norm() < layers * 3 * 2**-8 * wanted.norm()
    d = torch.randn(wanted.shape)
    gradients = [torch.autograd.grad(x, list(s.parameters()), d) for x, s in ((found, half), (wanted, whole))]
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == torch.float32
        assert torch.cosine_similarity(one.flatten(), other.flatten(), 0) > 0.99


def test_a_precision_that_the_processor_lacks_is_told_of_and_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolutions.torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(convolutions.torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(convolutions.platform, "machine", lambda: "x86_64")
    computes.cache_clear()
    try:
        assert computes("float32", "cpu") and not computes("bfloat16", "cpu")
        seen = torch.randint(0, 256, (2, 1, 42, 42), dtype=torch.uint8)
        sensors = Sensors(images(42, 42), SmallCNN, {}, precision="bfloat16")
        x = sensors(seen)
        sensors.precision = "float32"
        assert torch.equal(x, sensors(seen))
        policy_kwargs = {"hidden_size": 4, "precision": "bfloat16"}
        env = game(screen_height=42, screen_width=42)
        with pytest.warns(UserWarning, match="precision is 'bfloat16', for which this cpu has no instruct"):
            rlrnn.RecurrentPPO("CnnGruPolicy", env, policy_kwargs=policy_kwargs, device="cpu")
    finally:
        computes.cache_clear()


def test_a_precision_that_the_processor_has_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlrnn.learners.base.computes", lambda precision, device: True)
    env = game(screen_height=42, screen_width=42)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = rlrnn.RecurrentPPO("CnnGruPolicy", env, policy_kwargs={"precision": "bfloat16"}, device="cpu")
    assert agent.policy.network.sensors.precision == "bfloat16"
    with pytest.raises(UserError, match="float16"):
        rlrnn.RecurrentPPO("CnnGruPolicy", env, policy_kwargs={"precision": "float16"}, device="cpu")
