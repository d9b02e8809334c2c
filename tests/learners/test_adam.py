"""Adam in one call: torch's to rounding, on torch's own state, and only where it is torch's plain Adam."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlrnn.common import compiling
from rlrnn.learners.adam import Adam, fits, optimizer_step

if not compiling.can_compile():
    pytest.skip("numba cannot compile here, or is switched off", allow_module_level=True)

SETTINGS: dict[str, Any] = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-5, "fused": True}


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.randn(*shape)) for shape in ((3, 5), (17,), (1, 1))]


def flat(parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def test_steps_and_state_are_torchs() -> None:
    ours, theirs = weights(), []
    theirs = copy.deepcopy(ours)
    mine, reference = (torch.optim.Adam(p, **SETTINGS) for p in (ours, theirs))
    gradient = torch.empty(33)
    step = optimizer_step(mine, ours, gradient)
    assert isinstance(getattr(step, "__self__", None), Adam)
    for count in range(5):
        gradient.copy_(torch.randn(33))
        mine.param_groups[0]["lr"] = reference.param_groups[0]["lr"] = 0.01 / (1 + count)
        parts = gradient.split([p.numel() for p in theirs])
        for p, part in zip(theirs, parts, strict=True):
            p.grad = part.view_as(p).clone()
        step()
        reference.step()
        torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-5, atol=1e-7)
    for p, q in zip(ours, theirs, strict=True):
        assert mine.state[p].keys() == reference.state[q].keys()
        assert float(mine.state[p]["step"]) == float(reference.state[q]["step"]) == 5.0
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(mine.state[p][name], reference.state[q][name], rtol=1e-5, atol=1e-8)


def test_a_step_goes_on_from_a_saved_state() -> None:
    whole, broken = weights(), []
    broken = copy.deepcopy(whole)
    gradients = torch.randn(6, 33)
    row = torch.empty(33)
    optimizers = [torch.optim.Adam(p, **SETTINGS) for p in (whole, broken)]
    step = optimizer_step(optimizers[0], whole, row)
    for gradient in gradients:
        row.copy_(gradient)
        step()
    for half in (gradients[:3], gradients[3:]):
        saved = copy.deepcopy(optimizers[1].state_dict())
        optimizers[1] = torch.optim.Adam(broken, **SETTINGS)
        optimizers[1].load_state_dict(saved)
        step = optimizer_step(optimizers[1], broken, row)
        for gradient in half:
            row.copy_(gradient)
            step()
    assert torch.equal(flat(whole), flat(broken))


@pytest.mark.parametrize(
    "other",
    [
        {"fused": None},
        {"foreach": True, "fused": None},
        {"weight_decay": 0.1},
        {"amsgrad": True},
        {"maximize": True},
    ],
)
def test_any_other_adam_is_torchs_own(other: dict[str, Any]) -> None:
    parameters = weights()
    optimizer = torch.optim.Adam(parameters, **SETTINGS | other)
    assert fits(torch.optim.Adam(parameters, **SETTINGS), parameters)
    assert not fits(optimizer, parameters)
    assert optimizer_step(optimizer, parameters, torch.zeros(33)) == optimizer.step


def test_what_else_is_left_to_torch() -> None:
    parameters = weights()
    doubles = [nn.Parameter(p.detach().double()) for p in parameters]
    assert not fits(torch.optim.Adam(doubles, **SETTINGS), doubles)
    assert not fits(torch.optim.Adam(parameters, **SETTINGS), parameters[:2])  # more than the gradient has
    assert not fits(torch.optim.AdamW(parameters, fused=True), parameters)
    turned = torch.optim.Adam([{"params": parameters[1:]}, {"params": parameters[:1]}], **SETTINGS)
    assert not fits(turned, parameters)
    hooked = torch.optim.Adam(parameters, **SETTINGS)
    hooked.register_step_post_hook(lambda *_: None)
    assert not fits(hooked, parameters)
    started = torch.optim.Adam(parameters, **SETTINGS)
    parameters[0].grad = torch.ones(3, 5)
    started.step()  # of one parameter alone
    assert not fits(started, parameters)
    spoiled = torch.optim.Adam(parameters, **SETTINGS)  # as a damaged file might have it
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    spoiled.step()
    assert fits(spoiled, parameters)
    spoiled.state[parameters[0]]["exp_avg"] = torch.zeros(1)
    assert not fits(spoiled, parameters)
