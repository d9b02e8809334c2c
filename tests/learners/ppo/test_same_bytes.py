"""A training from the same weights ends in the same bytes on every processor, where kernels run the network.

Initial weights are drawn by torch and made orthogonal by LAPACK, which round otherwise on other processors:
here they are set.
"""

import hashlib
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from rlrnn import RecurrentPPO
from rlrnn.common import compiling
from rlrnn.envs.vec import from_envs

if not compiling.can_compile():
    pytest.skip("numba is missing or switched off", allow_module_level=True)


class Echo(gym.Env[Any, Any]):
    """Wins by repeating what it showed two steps before, in whole multiples of 1/8: nothing rounds."""

    def __init__(self, continuous: bool) -> None:
        self.observation_space = Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32) if continuous else Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.shown = [self._show() for _ in range(3)]
        self.steps = 0
        return self.shown[-1], {}

    def step(self, action: Any) -> Any:
        wanted = self.shown[-3]
        close = np.abs(np.asarray(action) - wanted[0]).max() < 0.5
        reward = float(close) - 0.25 * float(wanted[1] > 0.0)
        self.shown.append(self._show())
        self.steps += 1
        return self.shown[-1], reward, self.steps == 7, self.steps >= 11, {}

    def _show(self) -> Any:
        return (self.np_random.integers(-8, 9, 3) / 8).astype(np.float32)


CASES: dict[str, tuple[str, bool, dict[str, Any], dict[str, Any]]] = {
    "elman": ("Elman", False, {"critic": "shared"}, {}),
    "gru": ("Gru", False, {"critic": "shared", "net_arch": [10]}, {"clip_range_vf": 0.2}),
    "gru, continuous": ("Gru", True, {"critic": "feedforward"}, {"normalize_rewards": True}),
    "lstm": ("Lstm", True, {"critic": "own", "net_arch": {"pi": [], "vf": [20]}}, {"ent_coef": 0.01}),
    "lstm, normalised": ("Lstm", False, {"normalize_observations": True}, {"seq_len": 12}),
}
DIGESTS = {
    "elman": "85f4753982c24a33",
    "gru": "46f6a2f33af0ca14",
    "gru, continuous": "fc6a5fe2f38d2a58",
    "lstm": "e072e8f6278061bf",
    "lstm, normalised": "5a63224efaabcd1e",
}


def digest(case: str) -> str:
    """Of all weights after some updates."""
    cell, continuous, network, settings = CASES[case]
    agent = RecurrentPPO(
        f"Mlp{cell}Policy",
        from_envs([lambda: Echo(continuous)] * 6, seed=3),
        n_steps=24,
        batch_size=48,
        n_epochs=3,
        seed=1,
        device="cpu",
        policy_kwargs={"hidden_size": 20, **network},
        **settings,
    )
    numbers = np.random.default_rng(5)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            whole = numbers.integers(-(2**16), 2**16, parameter.shape)
            parameter.copy_(torch.from_numpy((whole / 2**18).astype(np.float32)))
    agent.learn(3 * 24 * 6)
    weights = b"".join(p.detach().numpy().tobytes() for p in agent.policy.parameters())
    return hashlib.sha256(weights).hexdigest()[:16]


@pytest.mark.parametrize("case", CASES)
def test_a_training_ends_in_the_same_bytes_on_every_processor(case: str) -> None:
    assert digest(case) == DIGESTS[case]
