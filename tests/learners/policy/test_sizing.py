"""Files that claim giants are refused before memory is taken, and users' classes are built for real only."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import nn

import rlrnn
from rlrnn import cells
from rlrnn.cells import Gru
from rlrnn.learners.files import agent as agent_file
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.storage import archive, encoding


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    classes, kinds = dict(encoding.CLASSES), dict(cells.CELLS)
    yield
    for registry, before in ((encoding.CLASSES, classes), (cells.CELLS, kinds)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


def norm(layer: nn.Linear) -> float:
    return layer.weight.detach().norm().item()


def moved(layer: nn.Linear) -> float:
    return float(layer.to("cpu").bias.detach().numpy().sum())


def listed(layer: nn.Linear) -> float:
    return float(layer.bias.tolist()[0]) if layer.weight.sum() > 0 else 0.0


def extractor(work: Callable[[nn.Linear], float]) -> type[BaseFeaturesExtractor]:
    class Scaled(BaseFeaturesExtractor):
        """Works out a number when it is built."""

        def __init__(self, space: gym.Space[Any], features_dim: int = 8) -> None:
            super().__init__(space, features_dim)
            assert space.shape
            self.layer = nn.Linear(space.shape[0], features_dim)
            self.size = work(self.layer)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.layer(x)) / (1 + abs(self.size))

    return Scaled


class Measured(Gru):
    """A cell that looks at its weights when it is made."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.size = self.weight_hidden.detach().norm().item()


class Sized(RecurrentPolicy):
    """A user's policy, with work of its own to do."""

    default_cell: ClassVar[str] = "gru"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.size = self.network.value.weight.norm().item()


class Activation(nn.Module):
    """A user's activation, likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.ones(1).item()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def small(policy: Any = "MlpGruPolicy", **kwargs: Any) -> rlrnn.RecurrentPPO:
    sizes = {"hidden_size": 4, "net_arch": [3]}
    return rlrnn.RecurrentPPO(
        policy, "CartPole-v1", n_steps=4, policy_kwargs={**sizes, **kwargs}, device="cpu"
    )


@pytest.mark.parametrize("work", [norm, moved, listed])
def test_an_extractor_may_look_at_its_numbers(work: Any, tmp_path: Path) -> None:
    scaled = extractor(work)
    rlrnn.register_class("scaled", scaled)
    agent = small(features_extractor_class=scaled)
    agent.save(tmp_path / "agent")
    agent.policy.save(tmp_path / "policy")
    again = rlrnn.RecurrentPPO.load(tmp_path / "agent", device="cpu").policy
    alone = rlrnn.MlpGruPolicy.load(tmp_path / "policy", device="cpu")
    for policy in (again, alone):
        assert torch.equal(policy.network.value.weight, agent.policy.network.value.weight)
        assert policy.network.sensors.output_size == 8


@pytest.mark.parametrize("name", ["cell", "store", "policy", "activation"])
def test_other_classes_of_the_users_may_too(name: str, tmp_path: Path) -> None:
    rlrnn.register_class("sized", Sized)
    rlrnn.register_class("activation", Activation)
    rlrnn.register_cell("measured", Measured)
    agent = {
        "cell": lambda: small(cell="measured"),
        "store": lambda: small(cell="storage", cell_options={"store": "measured"}),
        "policy": lambda: small(Sized),
        "activation": lambda: small(activation_fn=Activation),
    }[name]()
    agent.save(tmp_path / "agent")
    again = rlrnn.RecurrentPPO.load(tmp_path / "agent", device="cpu")
    assert torch.equal(again.policy.network.value.weight, agent.policy.network.value.weight)
    if name == "cell":
        learner = rlrnn.SequenceLearner("measured", 3)
        learner.fit(np.ones((2, 3, 1)), [1.0, 2.0], epochs=1, progress=False)
        learner.save(tmp_path / "learner")
        assert rlrnn.SequenceLearner.load(tmp_path / "learner").cell == "measured"


def forged(agent: Any, path: Path, **kwargs: Any) -> Path:
    data, states = agent_file.contents(agent)
    data["policy_kwargs"] = {**data["policy_kwargs"], **kwargs}
    archive.write_agent(path, data, states, kind="RecurrentPPO")
    return path


GIANTS: list[dict[str, Any]] = [
    {"hidden_size": 10**6},
    {"hidden_size": 3000},
    {"net_arch": [10**5, 10**5]},
    {"n_layers": 300},
    {"cell": "fir", "cell_options": {"taps": 10**9}},
    {"cell": "storage", "cell_options": {"store": "legendre", "width": 10**5}},
]


@pytest.mark.parametrize("changes", [*GIANTS, {"features_extractor_class": NatureCNN}])
def test_a_giant_is_refused_before_memory_is_taken(changes: dict[str, Any], tmp_path: Path) -> None:
    path = forged(small(), tmp_path / "giant.zip", **changes)
    tracemalloc.start()
    with pytest.raises(rlrnn.UserError, match=r"tell of a network of|does not fit together|reads images"):
        rlrnn.RecurrentPPO.load(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("changes", GIANTS[:4])
def test_a_giant_around_a_users_extractor_is_refused_as_well(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled = extractor(norm)
    rlrnn.register_class("scaled", scaled)
    path = forged(small(features_extractor_class=scaled), tmp_path / "giant.zip", **changes)
    monkeypatch.setattr(scaled, "__init__", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(rlrnn.UserError, match="tell of a network of"):
        rlrnn.RecurrentPPO.load(path)


def test_a_giant_policy_and_a_giant_learner_of_sequences(tmp_path: Path) -> None:
    policy = small().policy
    policy._arguments["hidden_size"] = 10**6
    policy.save(tmp_path / "policy")
    with pytest.raises(rlrnn.UserError, match="tell of a network of"):
        RecurrentPolicy.load(tmp_path / "policy")
    learner = rlrnn.SequenceLearner("gru", 3).fit(np.ones((2, 3, 1)), [1.0, 2.0], epochs=1, progress=False)
    learner._learned["hidden_size"] = 10**6
    learner.save(tmp_path / "learner")
    with pytest.raises(rlrnn.UserError, match="tell of a network of"):
        rlrnn.SequenceLearner.load(tmp_path / "learner")


def test_rollouts_without_measure(tmp_path: Path) -> None:
    data, states = agent_file.contents(small())
    archive.write_agent(tmp_path / "giant", {**data, "n_steps": 10**12}, states, kind="RecurrentPPO")
    with pytest.raises(rlrnn.UserError, match="rollouts of 1,000,000,000,000 steps"):
        rlrnn.RecurrentPPO.load(tmp_path / "giant")
