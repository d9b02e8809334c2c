"""Two vocabularies for one network: contrib's policy_kwargs and ours, brought together.

What both can say may be said in either; saying it twice, differently, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rlrnn.cells.options import check_options
from rlrnn.common.settings import check_known
from rlrnn.errors import OptionsError, UserError, warn
from rlrnn.network.convolutions import convolves

Widths: TypeAlias = tuple[int, ...]


def one_of(ours: str, value: int | None, theirs: str, other: int | None, default: int) -> int:
    """A number that has a name of ours and one of contrib's."""
    if value is not None and other is not None and value != other:
        raise OptionsError(
            f"{ours}={value} and {theirs}={other} say the same thing differently: give one of them."
        )
    chosen = value if value is not None else other
    return default if chosen is None else chosen


def cell_options_of(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of the cell: ours, and those of contrib's lstm_kwargs that a cell has."""
    for option in theirs or {}:
        if option not in ("bias", "dropout"):
            raise UserError(
                f"lstm_kwargs has {option!r}, which a policy that acts step by step cannot use: it takes "
                "bias and dropout."
            )
    return {**(theirs or {}), **(ours or {})}


def critic_of(critic: str | None, shared_lstm: bool | None, enable_critic_lstm: bool | None) -> str:
    """What the critic remembers with, from our word or from contrib's two flags."""
    if shared_lstm and (enable_critic_lstm is None or enable_critic_lstm):
        raise OptionsError(
            "shared_lstm=True gives the critic the actor's memory and enable_critic_lstm=True (the default) "
            "its own: set one of them to False."
        )
    theirs = None
    if shared_lstm is not None or enable_critic_lstm is not None:
        theirs = "detached" if shared_lstm else "feedforward" if enable_critic_lstm is False else "own"
    if critic is not None and theirs is not None and critic != theirs:
        raise OptionsError(
            f"critic={critic!r} contradicts shared_lstm={shared_lstm} and enable_critic_lstm="
            f"{enable_critic_lstm}, which mean critic={theirs!r}: give one of them."
        )
    return critic or theirs or "own"


def widths_of(
    net_arch: Any, extractor: type[BaseFeaturesExtractor], critic: str = "own"
) -> tuple[Widths, Widths]:
    """Units of the actor's and critic's layers. SB3's net_arch: a list for both, or a dict of pi and vf.

    Where the network has no critic of situations, whose values are of actions have qf, or vf, too.
    """
    if net_arch is None:
        net_arch = [] if convolves(extractor) else [64, 64]
    if isinstance(net_arch, list | tuple) and len(net_arch) == 1 and isinstance(net_arch[0], dict):
        warn(
            "net_arch is a list with a dict inside, the form of Stable-Baselines3 before 1.8, which is "
            "deprecated: give the dict alone, net_arch=dict(pi=..., vf=...)."
        )
        net_arch = net_arch[0]
    if isinstance(net_arch, Mapping):
        names = ("qf", "vf") if critic == "none" else ("vf",)
        unknown = set(net_arch) - {"pi", *names}
        if unknown or len(set(names) & set(net_arch)) > 1:
            key = sorted(unknown, key=str)[0] if unknown else "vf"
            raise UserError(
                f"net_arch has the key {key!r}: it knows pi (actor) and {' or '.join(names)} (critic)."
            )
        of_critic = next((net_arch[name] for name in names if name in net_arch), ())
        return _widths(net_arch.get("pi", ()), net_arch), _widths(of_critic, net_arch)
    return _widths(net_arch, net_arch), _widths(net_arch, net_arch)


def _widths(widths: Any, net_arch: Any) -> Widths:
    units = isinstance(widths, list | tuple) and all(
        isinstance(width, int) and not isinstance(width, bool) and width > 0 for width in widths
    )
    if not units:
        raise UserError(
            f"net_arch is {net_arch!r}: give a list of the units of each layer, such as [64, 64], or a dict "
            "of such lists for pi (actor) and vf (critic); layers that both share are no longer known."
        )
    return tuple(widths)


def check_policy_kwargs(policy_class: type[Any], named: Mapping[str, Any], given: Sequence[str]) -> None:
    """Refuse policy_kwargs that the policy does not take; ``given`` are the learner's own."""
    check_known("policy_kwargs", named, policy_class, given)
    check_options("policy_kwargs", policy_class.__init__, named)
    extractor = named.get("features_extractor_class") or getattr(policy_class, "default_extractor", None)
    inner = named.get("features_extractor_kwargs")
    if extractor is not None and inner:
        check_known(
            f"features_extractor_kwargs of {extractor.__name__}", inner, extractor, ("observation_space",)
        )
    optimizer = named.get("optimizer_class", torch.optim.Adam)
    inner = named.get("optimizer_kwargs")
    if inner:
        check_known(f"optimizer_kwargs of {optimizer.__name__}", inner, optimizer, ("params", "lr"))
