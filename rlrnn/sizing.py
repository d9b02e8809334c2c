"""How large a saved network says it is, asked before any memory is taken: a file may say anything.

Networks are built on torch's device "meta", where numbers have shapes and no room. A user's own classes are
never built there, as their authors expect real numbers: the least that there can be stands in for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rlrnn.cells import CELLS
from rlrnn.errors import FileFault
from rlrnn.policy_options import widths_of

HOMES = ("rlrnn", "torch", "stable_baselines3")  # packages whose classes are no user's
STAND_IN = "none"  # in the place of a user's cell


def check_policy(policy_class: type[Any], arguments: Mapping[str, Any], stored: Mapping[str, Tensor]) -> None:
    """Refuse arguments of a policy far larger than the weights that were stored of it.

    A policy class with a constructor of the user's can be asked nothing.
    """
    from rlrnn.policy import RecurrentPolicy

    if policy_class.__init__ is not RecurrentPolicy.__init__:
        return
    extractor = arguments.get("features_extractor_class") or policy_class.default_extractor
    named = arguments.get("cell") or policy_class.default_cell
    cell, options = known_cell(named, arguments.get("cell_options"))
    asked = {**arguments, "features_extractor_class": extractor, "cell": cell, "cell_options": options}
    if cell == STAND_IN:
        asked["lstm_kwargs"] = None
    if not _ours(extractor):
        actor, critic = widths_of(arguments.get("net_arch"), extractor)
        asked |= {"features_extractor_class": _Least, "net_arch": {"pi": list(actor), "vf": list(critic)}}
    if not _ours(arguments.get("activation_fn", nn.Tanh)):
        asked["activation_fn"] = nn.Tanh
    asked |= {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    with torch.device("meta"):
        policy = RecurrentPolicy(**asked, lr_schedule=lambda progress_remaining: 0.0)
    check(policy, stored)


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


class _Least(BaseFeaturesExtractor):
    """In the place of a user's extractor: one feature, no weights."""

    def __init__(self, observation_space: spaces.Space[Any], **_: Any) -> None:
        super().__init__(observation_space, features_dim=1)


def _ours(cls: Any) -> bool:
    return str(getattr(cls, "__module__", "")).partition(".")[0] in HOMES
