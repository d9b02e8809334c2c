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


def check_policy(
    policy_class: type[Any],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    settings: Mapping[str, Any],
    stored: Mapping[str, Tensor],
) -> None:
    """Refuse ``policy_kwargs`` of a network far larger than the weights that came with them.

    A policy class with a constructor of the user's can be asked nothing.
    """
    from rlrnn.policy import RecurrentPolicy

    if policy_class.__init__ is not RecurrentPolicy.__init__:
        return
    extractor = settings.get("features_extractor_class") or policy_class.default_extractor
    asked = {**settings, "cell": settings.get("cell") or policy_class.default_cell}
    asked |= {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}, "features_extractor_class": extractor}
    if not _ours(extractor):
        actor, critic = widths_of(settings.get("net_arch"), extractor)
        asked |= {"features_extractor_class": _Least, "net_arch": {"pi": list(actor), "vf": list(critic)}}
    if not _ours(settings.get("activation_fn", nn.Tanh)):
        asked["activation_fn"] = nn.Tanh
    if not _knows_cells(asked["cell"], settings.get("cell_options")):
        asked |= {"cell": "none", "cell_options": None, "lstm_kwargs": None}
    with torch.device("meta"):
        network = RecurrentPolicy(observation_space, action_space, lambda _: 0.0, **asked)
    check(network, stored)


def check(network: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Refuse a network on "meta" that is far larger than what was stored of it."""
    has = sum(weights.numel() for weights in stored.values())
    needs = sum(weights.numel() for weights in network.state_dict().values())
    if needs > 2 * has + 1000:  # those of sb3-contrib are laid out otherwise
        raise FileFault(
            f"the file's settings tell of a network of {needs:,} numbers, but it holds {has:,}: use it as it "
            "was saved."
        )


class _Least(BaseFeaturesExtractor):
    """In the place of a user's extractor: one feature, no weights."""

    def __init__(self, observation_space: spaces.Space[Any], **_: Any) -> None:
        super().__init__(observation_space, features_dim=1)


def _ours(cls: Any) -> bool:
    return str(getattr(cls, "__module__", "")).partition(".")[0] in HOMES


def _knows_cells(name: Any, options: Any) -> bool:
    """Whether a cell, and all that store for it, are ours; an unknown one is refused where it is built."""
    if name in CELLS and not _ours(CELLS[name]):
        return False
    inner = dict(options or {})
    return "store" not in inner or _knows_cells(inner["store"], inner.get("store_options"))
