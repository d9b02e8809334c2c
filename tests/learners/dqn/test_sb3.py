"""Without memory and by rows of one step, RecurrentDQN learns as SB3's DQN does."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update
from torch import Tensor, nn

from rlrnn import RecurrentDQN
from rlrnn.learners.replay.buffer import Rows

R = 32  # transitions in a batch
UNITS, WIDTHS = 20, [24, 16]  # of the layer that others remember in, and of those behind it
SHOWN = (  # of those that both have; the others are of memory, or of how much is replayed
    *("learning_rate", "buffer_size", "learning_starts", "batch_size", "tau", "gamma", "train_freq"),
    *("gradient_steps", "target_update_interval", "exploration_fraction", "exploration_initial_eps"),
    *("exploration_final_eps", "max_grad_norm"),
)


class Pair:
    """Both learners with the same weights."""

    def __init__(self, **settings: Any) -> None:
        common = {
            "learning_rate": 1e-2,
            "gamma": 0.9,
            "batch_size": R,
            "seed": 0,
            "device": "cpu",
            **settings,
        }
        kwargs = {"hidden_size": UNITS, "net_arch": WIDTHS, "optimizer_kwargs": {"eps": 1e-8}}
        self.ours = RecurrentDQN(
            "MlpPolicy", "CartPole-v1", double=False, q_lambda=0.0, policy_kwargs=kwargs, **common
        )
        kwargs = {"net_arch": [UNITS, *WIDTHS], "activation_fn": nn.Tanh}
        self.theirs = DQN("MlpPolicy", "CartPole-v1", policy_kwargs=kwargs, **common)
        with torch.no_grad():
            for ours, theirs in zip(self.weights_of_ours(), self.weights_of_theirs(), strict=True):
                ours += 0.3 * torch.randn_like(ours)  # no two of a layer are alike, and targets are others
                theirs.copy_(ours)

    def weights_of_theirs(self) -> list[Tensor]:
        """As ours: inputs first."""
        networks = self.theirs.q_net.q_net, self.theirs.q_net_target.q_net
        layers = [layer for net in networks for layer in net if isinstance(layer, nn.Linear)]
        return [part.detach() for layer in layers for part in (layer.weight.t(), layer.bias)]

    def weights_of_ours(self) -> list[Tensor]:
        found: list[Any] = []
        for net in (self.ours.q_net, self.ours.q_net_target):
            first: Any = net.memory.layers[0]
            found += [first.weight_input, first.bias]
            for layer in (*net.actor_head.layers, net.actuators.output):
                found += [layer.weight, layer.bias]
        return [part.detach() for part in found]

    def learn(self, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
        """From the same transitions."""
        seen, after = (torch.tensor(rng.normal(size=(R, 4)), dtype=torch.float32) for _ in range(2))
        action, ends = torch.tensor(rng.integers(2, size=(R, 1))), torch.tensor(rng.random(R) < 0.3)
        reward = torch.tensor(2.0 * rng.normal(size=R), dtype=torch.float32)  # some errors are above 1
        batch = ReplayBufferSamples(seen, action, after, ends.float()[:, None], reward[:, None])
        monkeypatch.setattr(self.theirs.replay_buffer, "sample", MagicMock(return_value=batch))
        self.theirs.train(1, R)
        rows = Rows(
            observation=torch.stack((seen, after)),
            start=torch.tensor([[True] * R, [False] * R]),
            state=torch.zeros(R, 0),
            action=action[None],
            reward=reward[None],
            terminated=ends[None],
            weight=torch.tensor([[1.0] * R, [0.0] * R]),
        )
        monkeypatch.setattr(self.ours.replay_buffer, "sample", MagicMock(return_value=rows))
        self.ours.train(1, R)


@pytest.mark.parametrize(
    ("settings", "every"),
    [
        ({"tau": 1.0, "target_update_interval": 3, "max_grad_norm": 10.0}, 3),
        ({"tau": 0.2, "target_update_interval": 1, "max_grad_norm": 0.05}, 1),
    ],
    ids=["copied", "drawn near, gradients shortened"],
)
@pytest.mark.usefixtures("computed")
def test_equal_updates(settings: dict[str, Any], every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, rng = Pair(**settings), np.random.default_rng(1)
    before = [part.clone() for part in pair.weights_of_ours()]
    pair.theirs._setup_learn(1)
    pair.ours._setup_learn(1)
    for update in range(1, 11):
        pair.learn(monkeypatch, rng)
        if update % every == 0:  # which SB3 counts in steps of the game
            theirs = pair.theirs
            polyak_update(theirs.q_net.parameters(), theirs.q_net_target.parameters(), theirs.tau)
    for ours, theirs, first in zip(pair.weights_of_ours(), pair.weights_of_theirs(), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
        assert (ours - first).abs().max() > 0.01


def test_settings_have_sb3s_names_and_order() -> None:
    """Those that are not about memory; positional arguments mean the same."""
    given = (1e-3, 5_000, 50, 64, 0.5, 0.9, 8, 2)
    agents = [kind("MlpPolicy", "CartPole-v1", *given, device="cpu") for kind in (RecurrentDQN, DQN)]
    for name, value in zip(SHOWN, given, strict=False):
        found = [getattr(agent, name) for agent in agents]
        assert [getattr(each, "frequency", each) for each in found] == [value, value], name
    assert all(hasattr(agent, name) for agent in agents for name in SHOWN)


@pytest.mark.parametrize("remaining", [1.0, 0.97, 0.9, 0.85, 0.8, 0.5, 0.0])
def test_exploration_follows_sb3s_schedule(remaining: float) -> None:
    how = {"exploration_fraction": 0.2, "exploration_initial_eps": 0.9, "exploration_final_eps": 0.1}
    ours, theirs = (kind("MlpPolicy", "CartPole-v1", device="cpu", **how) for kind in (RecurrentDQN, DQN))
    ours._current_progress_remaining = remaining
    assert ours.exploration_rate == theirs.exploration_schedule(remaining)
