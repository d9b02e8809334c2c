"""Whether what a file holds of an optimizer fits the weights that it is to move.

torch takes any tensors for an optimizer's state, and reads over their ends later.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rlrnn.errors import FileFault

TRIAL = (2, 3)  # shape of the weights by which is seen what an optimizer keeps of each


def check_optimizers(learner: Any, states: Mapping[str, Any]) -> None:
    """Refuse state_dicts that the learner's optimizers, which they name, could not go on from.

    Weights of other shapes are not spoken of here: torch says more of these.
    """
    named = [
        (name, reduce(lambda thing, part: getattr(thing, part, None), name.split("."), learner))
        for name in states
    ]
    modules = [(name, module) for name, module in named if isinstance(module, nn.Module)]
    for name, module in modules:
        for key, value in module.state_dict().items():
            if getattr(states[name].get(key, value), "shape", None) != value.shape:
                return
    names = {id(weight): key for _, module in modules for key, weight in module.named_parameters()}
    for name, optimizer in named:
        if isinstance(optimizer, Optimizer):
            check_optimizer(optimizer, states[name], names)


def check_optimizer(optimizer: Optimizer, state: Mapping[str, Any], names: Mapping[int, str]) -> None:
    """Refuse a state_dict that an optimizer could not go on from; ``names`` are by the weights' ``id``.

    What it should keep of each weight is what a step on a trial weight leaves; of optimizers that cannot make
    one, as they ask for more than a gradient, nothing is known.
    """
    usual = _kept(optimizer, {})
    if usual is None:
        return
    groups, moments = state.get("param_groups"), state.get("state")
    if not isinstance(groups, list) or not isinstance(moments, Mapping):
        raise FileFault(_sentence("has no param_groups and state"))
    indices: set[Any] = set()
    if len(groups) != len(optimizer.param_groups):
        raise FileFault(_sentence(f"has {len(groups)} groups of weights, not {len(optimizer.param_groups)}"))
    for own, group in zip(optimizer.param_groups, groups, strict=True):
        order = group.get("params") if isinstance(group, Mapping) else None
        if not isinstance(order, list) or len(order) != len(own["params"]):
            raise FileFault(_sentence(f"is not of {len(own['params'])} weights, as the network is"))
        kept = _kept(optimizer, {name: value for name, value in group.items() if name != "params"})
        if kept is None:
            raise FileFault(_sentence("has settings by which no step can be made"))
        for index, parameter in zip(order, own["params"], strict=True):
            indices.add(index)
            _check_one(moments.get(index, {}), kept, names.get(id(parameter), "a weight"), parameter)
    if unknown := [index for index in moments if index not in indices]:
        raise FileFault(_sentence(f"tells of a weight {unknown[0]!r} that there is not"))


def _check_one(found: Any, kept: Mapping[str, tuple[int, ...]], name: str, parameter: Tensor) -> None:
    """What is found of one weight, beside the shapes of what is kept of a trial weight."""
    if isinstance(found, Mapping) and not found:  # no step was made yet
        return
    for key, shape in kept.items():
        value = found.get(key) if isinstance(found, Mapping) else None
        if shape not in ((), TRIAL):  # by rows or columns, say
            continue
        needs = tuple(parameter.shape) if shape else ()
        has = tuple(value.shape) if isinstance(value, Tensor) else () if _is_number(value) else None
        if has != needs:
            shown = "is missing" if has is None else f"has the shape {has}, not {needs}"
            raise FileFault(_sentence(f"{shown}: {key} of {name}"))


def _kept(optimizer: Optimizer, settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """The shapes of what such an optimizer keeps of a weight of ``TRIAL``; None if it makes no step."""
    weight = nn.Parameter(torch.zeros(TRIAL))
    weight.grad = torch.zeros(TRIAL)
    try:
        kind: Any = type(optimizer)
        takes = inspect.signature(kind).parameters  # AdamW has a default that it does not take
        trial = kind([weight], **{name: v for name, v in optimizer.defaults.items() if name in takes})
        trial.param_groups[0].update(settings)
        with torch.enable_grad():
            trial.step()
    except Exception:  # of a user's own, it may be any
        return None
    kept = {key: value for key, value in trial.state[weight].items() if value is not None}
    return {key: tuple(value.shape) if isinstance(value, Tensor) else () for key, value in kept.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _sentence(what: str) -> str:
    return f"the optimizer's state {what}: use the agent as it was saved, or save it anew."
