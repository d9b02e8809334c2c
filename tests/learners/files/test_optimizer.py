"""An optimizer's state that does not fit the weights is refused where it is loaded."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rlrnn
from rlrnn.errors import FileFault
from rlrnn.learners.files.optimizer import check_optimizer as check
from rlrnn.shell.cli import main
from rlrnn.storage import archive

SMALL = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "device": "cpu"}
MAKERS = {
    "Adam": lambda weights: torch.optim.Adam(weights, lr=0.1),
    "amsgrad": lambda weights: torch.optim.Adam(weights, lr=0.1, amsgrad=True),
    "AdamW": lambda weights: torch.optim.AdamW(weights, lr=0.1),
    "RMSprop": lambda weights: torch.optim.RMSprop(weights, lr=0.1, momentum=0.5),
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.1),
    "Adafactor": lambda weights: torch.optim.Adafactor(weights, lr=0.1),  # keeps rows and columns
    "LBFGS": lambda weights: torch.optim.LBFGS(weights, lr=0.1),  # asks for a function
}


def stepped(name: str) -> tuple[torch.optim.Optimizer, nn.Module]:
    network = nn.Linear(3, 4)
    optimizer = MAKERS[name](network.parameters())
    network(torch.ones(2, 3)).square().sum().backward()
    optimizer.step((lambda: 0.0) if name == "LBFGS" else None)
    return optimizer, network


def names(network: nn.Module) -> dict[int, str]:
    return {id(weight): name for name, weight in network.named_parameters()}


@pytest.mark.parametrize("name", MAKERS)
def test_what_an_optimizer_keeps_is_taken_and_so_is_nothing(name: str) -> None:
    optimizer, network = stepped(name)
    check(optimizer, optimizer.state_dict(), names(network))
    fresh = MAKERS[name](network.parameters())
    check(optimizer, fresh.state_dict(), names(network))


@pytest.mark.parametrize(
    ("name", "key"),
    [("Adam", "exp_avg_sq"), ("amsgrad", "max_exp_avg_sq"), ("AdamW", "exp_avg"), ("RMSprop", "square_avg")],
)
def test_another_shape_or_none_is_refused_and_named(name: str, key: str) -> None:
    optimizer, network = stepped(name)
    state = copy.deepcopy(optimizer.state_dict())
    for spoiled, words in (
        (torch.zeros(3, 4), r"has the shape \(3, 4\), not \(4, 3\)"),  # as many numbers, turned
        (torch.zeros(2), r"has the shape \(2,\), not \(4, 3\)"),
        (torch.zeros(()), r"has the shape \(\), not \(4, 3\)"),
        ("much", "is missing"),
    ):
        state["state"][0][key] = spoiled
        with pytest.raises(FileFault, match=rf"optimizer's state {words}: {key} of weight"):
            check(optimizer, state, names(network))
    del state["state"][0][key]
    with pytest.raises(FileFault, match=f"is missing: {key} of weight"):
        check(optimizer, state, names(network))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda s: s["state"][1].update(step=torch.zeros(4)),
            r"has the shape \(4,\), not \(\): step of bias",
        ),
        (lambda s: s["state"].update({7: {}}), "a weight 7 that there is not"),
        (lambda s: s["state"].update({0: 5}), "is missing: step of weight"),
        (lambda s: s.pop("state"), "no param_groups and state"),
        (lambda s: s.update(param_groups={}), "no param_groups and state"),
        (lambda s: s["param_groups"].append({}), "2 groups of weights, not 1"),
        (lambda s: s["param_groups"][0]["params"].pop(), "not of 2 weights"),
        (lambda s: s["param_groups"][0].update(betas="none"), "settings by which no step"),
    ],
)
def test_other_damage_is_named(spoil: Any, words: str) -> None:
    optimizer, network = stepped("Adam")
    state = copy.deepcopy(optimizer.state_dict())
    spoil(state)
    with pytest.raises(FileFault, match=words):
        check(optimizer, state, names(network))


def damaged(path: Path, agent: Any, optimizer: str = "policy.optimizer") -> Path:
    """A saved agent; a first mean of squares has lost a row."""
    agent.save(path / "whole.zip")
    found = archive.read_agent(path / "whole.zip")
    moments = next(m for m in found.states[optimizer]["state"].values() if m["exp_avg_sq"].dim() > 1)
    moments["exp_avg_sq"] = moments["exp_avg_sq"][1:].clone()
    archive.write_agent(path / "damaged.zip", found.data, found.states, kind=found.kind)
    return path / "damaged.zip"


def test_an_agents_file_is_refused_wherever_it_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", "CartPole-v1", policy_kwargs={"hidden_size": 4}, **SMALL)
    agent.learn(8)
    file = damaged(tmp_path, agent)
    whole = rlrnn.RecurrentPPO.load(tmp_path / "whole.zip", device="cpu")
    for use in (rlrnn.RecurrentPPO.load, rlrnn.load, whole.set_parameters):
        with pytest.raises(FileFault, match=r"has the shape \(\d+, 12\), not .* exp_avg_sq of network"):
            use(file)
    assert main(["train", "--game", "CartPole-v1", "--from", str(file), "--out", str(tmp_path / "r")]) == 2
    assert "exp_avg_sq of network" in capsys.readouterr().err and not (tmp_path / "r").exists()
    rlrnn.RecurrentPPO.load(tmp_path / "whole.zip", device="cpu").set_parameters(tmp_path / "whole.zip")


def test_so_are_those_of_every_optimizer(tmp_path: Path) -> None:
    how = {"learning_starts": 8, "batch_size": 8, "seq_len": 4, "buffer_size": 400, "device": "cpu"}
    agent = rlrnn.RecurrentSAC("MlpGruPolicy", "Pendulum-v1", policy_kwargs={"hidden_size": 4}, **how)
    agent.learn(24)
    for optimizer in ("policy.optimizer", "critic_optimizer"):
        with pytest.raises(FileFault, match=r"has the shape .*: exp_avg_sq of "):
            rlrnn.load(damaged(tmp_path, agent, optimizer))
    rlrnn.load(tmp_path / "whole.zip")


def test_weights_of_other_shapes_are_torchs_to_tell() -> None:
    small, large = (
        rlrnn.RecurrentPPO("MlpGruPolicy", "CartPole-v1", policy_kwargs={"hidden_size": size}, **SMALL)
        for size in (4, 5)
    )
    large.learn(8)
    with pytest.raises(RuntimeError, match="size mismatch for network"):
        small.set_parameters(large.get_parameters())
