"""Networks that see: whoever convolves, the gradient is the printed formula's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN

from rlrnn.common.batches import map_arrays
from rlrnn.learners.ppo import compiled, gradient
from rlrnn.learners.ppo.gradient import MinibatchGradient
from rlrnn.learners.ppo.loss import Objective, ppo_loss
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.network.network import NetworkDescription, RecurrentNetwork

OBJECTIVE = Objective(clip_range=0.2, clip_range_vf=None, ent_coef=0.02, vf_coef=0.7)
STEPS, ROWS = 3, 4
GREY = spaces.Box(0, 255, (1, 36, 36), np.uint8)
COLOURED = spaces.Box(0, 255, (3, 40, 36), np.uint8)
SPACES: dict[str, spaces.Space[Any]] = {
    "one channel": GREY,
    "colours": COLOURED,
    "a dict": spaces.Dict({"front": COLOURED, "back": GREY, "speed": spaces.Box(-1, 1, (2,))}),
}


def network(space: spaces.Space[Any], **description: Any) -> RecurrentNetwork:
    extractor = CombinedExtractor if isinstance(space, spaces.Dict) else NatureCNN
    described = {"hidden_size": 8, "cell": "lstm", "extractor_class": extractor, **description}
    return RecurrentNetwork(NetworkDescription(**described), space, spaces.Discrete(3))


def seen(space: spaces.Space[Any], *axes: int) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: seen(part, *axes) for key, part in space.items()}
    shape = (*axes, *(space.shape or ()))
    return torch.randint(0, 256, shape, dtype=torch.uint8) if space.dtype == np.uint8 else torch.randn(shape)


def minibatch(net: RecurrentNetwork, space: spaces.Space[Any]) -> Rows:
    shape = (STEPS, ROWS)
    return Rows(
        observation=seen(space, *shape),
        start=torch.rand(shape) < 0.2,
        state=torch.randn(ROWS, net.state_size),
        action=torch.randint(0, 3, (*shape, 1)),
        log_prob=0.3 * torch.randn(shape) - 1.1,
        value=torch.randn(shape),
        advantage=torch.randn(shape),
        target=torch.randn(shape),
        weight=torch.ones(shape),
    )


def by_autograd(net: RecurrentNetwork, rows: Rows) -> list[torch.Tensor]:
    """In float64, images in the order in which they are."""
    net.double()
    for sensors in (net.sensors, net.critic_sensors):
        if sensors is not None:
            sensors.channels_last = False
            sensors.extractor.register_forward_pre_hook(lambda _, x: map_arrays(torch.Tensor.double, x[0]))
    distribution, values = net.unroll(rows.observation, rows.start, rows.state.double())
    log_prob, entropy = distribution.log_prob(rows.action), distribution.entropy()
    _, d = ppo_loss(rows, log_prob, entropy, values, rows.weight.sum(), OBJECTIVE)
    outputs, by_outputs = [log_prob, entropy, values], [d.log_prob, d.entropy, d.values]
    return list(torch.autograd.grad(outputs, list(net.parameters()), by_outputs))


@pytest.mark.parametrize("way", ["kernels", "autograd"])
@pytest.mark.parametrize(
    "description",
    [{}, {"critic": "shared"}, {"share_extractor": False}],
    ids=["own", "shared", "sensors apart"],
)
@pytest.mark.parametrize("kind", SPACES)
def test_the_gradient_is_autograds(
    kind: str, description: dict[str, Any], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "autograd":
        monkeypatch.setattr(compiled, "plans_of", lambda network: None)
    net = network(SPACES[kind], **description)
    rows = minibatch(net, SPACES[kind])
    found, figures = [], []
    for block_work in (1e12, 1.0):  # the whole, then as many blocks as there may be
        monkeypatch.setattr(gradient, "BLOCK_WORK", block_work)
        monkeypatch.setattr(gradient, "BLOCK_STEPS", 1)
        worker = MinibatchGradient(net, threads=2)
        figures.append(worker(rows, OBJECTIVE))
        found.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    torch.testing.assert_close(figures[0], figures[1])
    for one, two, wanted in zip(*found, by_autograd(net, rows), strict=True):
        scale = float(wanted.abs().max())
        torch.testing.assert_close(one.double(), wanted, rtol=0, atol=1e-4 * scale)
        torch.testing.assert_close(two.double(), wanted, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("block_work", [1e12, 1.0], ids=["whole", "blocks"])
def test_any_number_of_threads_gives_the_same_bytes(
    block_work: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch convolves a block in one thread, whoever works on it."""
    monkeypatch.setattr(gradient, "BLOCK_WORK", block_work)
    monkeypatch.setattr(gradient, "BLOCK_STEPS", 1)
    net = network(GREY)
    rows = minibatch(net, GREY)
    gradients = []
    for threads in (1, 2, 3):
        worker = MinibatchGradient(net, threads)
        for _ in range(2):
            worker(rows, OBJECTIVE)
            gradients.append(worker.gradient.clone())
    assert all(torch.equal(each, gradients[0]) for each in gradients)
    assert gradients[0].abs().sum() > 0
