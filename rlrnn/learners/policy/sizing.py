"""How large a saved network claims to be, checked before any memory is taken: a file may claim anything.

Networks are built on torch's device "meta", where numbers have shapes and no room. A user's own classes are
never built there, as their authors expect real numbers: the smallest possible part replaces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rlrnn.cells import CELLS
from rlrnn.common.batches import parts_of
from rlrnn.common.capacity import check_fits
from rlrnn.errors import FileFault
from rlrnn.learners.policy.options import widths_of

HOMES = ("rlrnn", "torch", "stable_baselines3")  # packages whose classes are no user's
LARGE = 10_000  # units from which on it is worth checking
STAND_IN = "none"  # in the place of a user's cell


def check_policy(policy_class: type[Any], arguments: Mapping[str, Any], stored: Mapping[str, Tensor]) -> None:
    """Refuse arguments of a policy far larger than the weights that were stored of it."""
    policy = on_meta(policy_class, arguments)
    if policy is not None:
        check(policy, stored)


def check_room(policy_class: type[Any], arguments: Mapping[str, Any], copies: int) -> None:
    """Refuse a network of which the machine cannot hold so many copies, as its gradient is one.

    Only settings of thousands are worth the time that the check takes.
    """
    if _largest(arguments) < LARGE:
        return
    policy = on_meta(policy_class, arguments)
    if policy is not None:
        check_bytes(policy, copies, "hidden_size, net_arch or n_layers in policy_kwargs")


def check_bytes(network: nn.Module, copies: int, lower: str) -> None:
    """Refuse a network on "meta" of which the machine cannot hold so many copies."""
    weights = sum(w.numel() * w.element_size() for w in network.state_dict().values())
    what = "the network" if copies == 1 else "the network, its gradient and its optimizer"
    check_fits(what, copies * weights, lower)


def _largest(arguments: Any) -> float:
    """The largest number among settings, however deep."""
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if isinstance(arguments, list | tuple):
        return max(map(_largest, arguments), default=0)
    if isinstance(arguments, spaces.Space):
        numbers = max((spaces.flatdim(part) for part in parts_of(arguments).values()), default=0)
        return numbers / 100  # an image is no reason: what reads it has few weights
    return arguments if isinstance(arguments, int | float) else 0


def on_meta(policy_class: type[Any], arguments: Mapping[str, Any]) -> Any:
    """The policy on "meta"; None of a class with a constructor of the user's, which is never called here."""
    base: Any = next(kind for kind in policy_class.__mro__ if "__init__" in vars(kind))
    if not _ours(base):
        return None
    extractor = arguments.get("features_extractor_class") or policy_class.default_extractor
    cell_name = policy_class.default_cell if arguments.get("cell") is None else arguments["cell"]
    cell, options = known_cell(cell_name, arguments.get("cell_options"))
    reduced = {**arguments, "features_extractor_class": extractor, "cell": cell, "cell_options": options}
    if cell == STAND_IN:
        reduced["lstm_kwargs"] = None
    if not _ours(extractor):
        actor, critic = widths_of(arguments.get("net_arch"), extractor, arguments.get("critic") or "own")
        reduced |= {
            "features_extractor_class": _StubExtractor,
            "net_arch": {"pi": list(actor), "vf": list(critic)},
        }
    if not _ours(arguments.get("activation_fn", nn.Tanh)):
        reduced["activation_fn"] = nn.Tanh
    reduced |= {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    with torch.device("meta"):
        return base(**reduced, lr_schedule=lambda progress_remaining: 0.0)


def check(network: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Refuse a network on "meta" that is far larger than what was stored of it."""
    has = sum(weights.numel() for weights in stored.values())
    needs = sum(weights.numel() for weights in network.state_dict().values())
    if needs > 2 * has + 1000:  # those of sb3-contrib are laid out otherwise
        raise FileFault(
            f"the file's settings tell of a network of {needs:,} numbers, but it holds {has:,}: use it as it "
            "was saved."
        )


def known_cell(name: Any, options: Mapping[str, Any] | None) -> tuple[Any, Mapping[str, Any] | None]:
    """A cell and its options; if it, or what stores for it, is a user's, the one without memory."""
    inner, its = name, options
    while inner in CELLS:
        if not _ours(CELLS[inner]):
            return STAND_IN, None
        inner, its = (its or {}).get("store"), (its or {}).get("store_options")
    return name, options


class _StubExtractor(BaseFeaturesExtractor):
    """In the place of a user's extractor: one feature, no weights."""

    def __init__(self, observation_space: spaces.Space[Any], **_: Any) -> None:
        super().__init__(observation_space, features_dim=1)


def _ours(cls: Any) -> bool:
    return str(getattr(cls, "__module__", "")).partition(".")[0] in HOMES
