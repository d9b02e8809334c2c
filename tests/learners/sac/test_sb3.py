"""Without memory and by rows of one step, RecurrentSAC learns as SB3's SAC does."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor, nn

from rlrnn import RecurrentSAC
from rlrnn.learners.replay.buffer import Rows

R = 32  # transitions in a batch
WIDTHS = [24, 16]


class Layer(BaseFeaturesExtractor):
    """What "MlpPolicy" has where others remember: one tanh layer."""

    def __init__(self, observation_space: spaces.Box, units: int) -> None:
        super().__init__(observation_space, units)
        self.layer = nn.Sequential(nn.Linear(int(np.prod(observation_space.shape)), units), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def copy_affine(theirs: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    theirs.weight.data.copy_(weight.detach().t())
    theirs.bias.data.copy_(bias.detach())


def weights(theirs: nn.Linear) -> list[Tensor]:
    return [theirs.weight.detach().t(), theirs.bias.detach()]


class Pair:
    """Both learners with the same weights."""

    def __init__(self, **settings: Any) -> None:
        common: dict[str, Any] = {"learning_rate": 1e-2, "gamma": 0.9, "tau": 0.1, "seed": 0, "device": "cpu"}
        common |= settings
        self.ours = RecurrentSAC(
            "MlpPolicy",
            "Pendulum-v1",
            batch_size=R,
            encoder_learning_rate=None,
            max_grad_norm=1e9,
            policy_kwargs={"hidden_size": 20, "net_arch": WIDTHS, "optimizer_kwargs": {"eps": 1e-8}},
            **common,
        )
        self.theirs = SAC(
            "MlpPolicy",
            "Pendulum-v1",
            batch_size=R,
            policy_kwargs={
                "net_arch": WIDTHS,
                "activation_fn": nn.Tanh,
                "features_extractor_class": Layer,
                "features_extractor_kwargs": {"units": 20},
                "share_features_extractor": False,
            },
            **common,
        )
        for their, mine in zip(self.layers_of_theirs(), self.layers_of_ours(), strict=True):
            copy_affine(their, *mine)

    def layers_of_theirs(self) -> list[nn.Linear]:
        actor = self.theirs.actor
        layers = [
            actor.features_extractor.layer[0],
            *(m for m in actor.latent_pi if isinstance(m, nn.Linear)),
        ]
        self.outputs = (actor.mu, actor.log_std)
        for critic in (self.theirs.critic, self.theirs.critic_target):
            layers.append(critic.features_extractor.layer[0])
            for q in critic.q_networks:
                layers += [m for m in q if isinstance(m, nn.Linear)]
        return [*layers, actor.mu, actor.log_std]

    def layers_of_ours(self) -> list[list[Tensor]]:
        network = self.ours.policy.network
        layers: list[Any] = [network.memory.layers[0], *network.actor_head.layers]
        for critic in (self.ours.critic, self.ours.critic_target):
            layers.append(critic.memory.layers[0])
            for head, value in zip(critic.heads, critic.values, strict=True):
                layers += [*head.layers, value]
        pairs = [[getattr(x, "weight_input", getattr(x, "weight", None)), x.bias] for x in layers]
        output = network.actuators.output
        size = output.weight.shape[1] // 2
        return [
            *pairs,
            [output.weight[:, :size], output.bias[:size]],
            [output.weight[:, size:], output.bias[size:]],
        ]


@pytest.mark.parametrize("settings", [{}, {"ent_coef": 0.2}, {"ent_coef": "auto_0.3"}])
def test_equal_updates(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pair, rng = Pair(**settings), np.random.default_rng(1)
    noises: list[Tensor] = []
    monkeypatch.setattr(
        torch.distributions.normal, "_standard_normal", lambda shape, dtype, device: noises.pop(0)
    )
    pair.theirs._setup_learn(1)
    pair.ours._setup_learn(1)
    for _ in range(5):
        seen, after = (torch.tensor(rng.normal(size=(R, 3)), dtype=torch.float32) for _ in range(2))
        action = torch.tensor(rng.uniform(-1, 1, (R, 1)), dtype=torch.float32)
        reward = torch.tensor(rng.normal(size=R), dtype=torch.float32)
        ends = torch.tensor(rng.random(R) < 0.3)
        noise = torch.tensor(rng.normal(size=(2, R, 1)), dtype=torch.float32)
        noises[:] = [noise[0], noise[1]]
        batch = ReplayBufferSamples(seen, action, after, ends.float()[:, None], reward[:, None])
        monkeypatch.setattr(pair.theirs.replay_buffer, "sample", MagicMock(return_value=batch))
        pair.theirs.train(1, R)
        rows = Rows(
            observation=torch.stack((seen, after)),
            start=torch.tensor([[True] * R, [False] * R]),
            state=torch.zeros(R, 0),
            action=action[None],
            reward=reward[None],
            terminated=ends[None],
            weight=torch.tensor([[1.0] * R, [0.0] * R]),
        )
        monkeypatch.setattr(pair.ours.replay_buffer, "sample", MagicMock(return_value=rows))
        monkeypatch.setattr(pair.ours, "_draw_noise", MagicMock(return_value=noise))
        pair.ours.train(1, R)
    for theirs, ours in zip(pair.layers_of_theirs(), pair.layers_of_ours(), strict=True):
        for a, b in zip(weights(theirs), ours, strict=True):
            torch.testing.assert_close(a, b.detach(), rtol=0, atol=2e-4)
    if not isinstance(settings.get("ent_coef"), float):
        torch.testing.assert_close(pair.theirs.log_ent_coef.detach()[0], pair.ours.temperature.log.detach())
