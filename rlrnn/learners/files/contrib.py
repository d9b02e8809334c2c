"""Agents saved by ``sb3_contrib.RecurrentPPO``, opened without unpickling anything.

Their weights come through ``contrib_tensors``, their settings from JSON. Beside each
pickle SB3 writes what the object looks like as text; from that spaces, schedules and classes are
rebuilt where the text says enough. Where it does not, the setting is missing and asked for on load.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from stable_baselines3.common.utils import get_device
from torch import Tensor

from rlrnn.errors import FileFault, UserError
from rlrnn.learners.files.contrib_settings import OpaqueError, setting
from rlrnn.learners.files.contrib_tensors import read_tensors
from rlrnn.storage.archive import Agent, Archive, File, corrupted, open_archive

KIND = "sb3_contrib.RecurrentPPO"
MEMBERS = ("data", "policy.pth", "policy.optimizer.pth", "_stable_baselines3_version")

# Where the play stood: an agent that is loaded begins new episodes.
PLAY = (
    *("_last_obs", "_last_original_obs", "_last_episode_starts", "_last_lstm_states"),
    *("ep_info_buffer", "ep_success_buffer", "start_time"),
)

# contrib's modules, and ours.
MODULES = {
    "features_extractor": "network.sensors.extractor",
    "vf_features_extractor": "network.critic_sensors.extractor",
    "critic": "network.critic_memory",
    "action_net": "network.actuators.output",
    "log_std": "network.actuators.log_std",
    "value_net": "network.value",
}
MEMORIES = {"actor": "network.memory", "critic": "network.critic_memory"}
SIDES = {"ih": "input", "hh": "hidden"}
HEADS = {"policy": "network.actor_head", "value": "network.critic_head"}


def is_contrib_zip(file: File) -> bool:
    """Whether a file has the members that SB3's format has."""
    try:
        with open_archive(file) as archive:
            return archive.names().issuperset(MEMBERS)
    except FileFault:
        return False


def read_contrib(
    file: File,
    *,
    device: torch.device | str = "cpu",
    custom_objects: Mapping[str, Any] | None = None,
) -> Agent:
    """The settings and states of a contrib agent, the states under contrib's names (``translate_states``).

    ``custom_objects`` replace settings by name or dotted path, and give those that are missing.
    """
    replacements = dict(custom_objects or {})
    with open_archive(file) as archive:
        label = archive.label
        content, version = archive.read("data"), archive.read("_stable_baselines3_version")
        states = {name: _load(archive, f"{name}.pth", device) for name in ("policy", "policy.optimizer")}
    if not any(str(name).startswith("lstm_actor.") for name in states["policy"]):
        raise FileFault(f"{label} holds no LSTM: only agents of sb3_contrib.RecurrentPPO can be opened.")
    data: dict[str, Any] = {}
    missing: dict[str, str] = {}
    try:
        stored = json.loads(content)
        for name, entry in stored.items():
            if name in replacements or name in PLAY:
                continue
            try:
                data[name] = setting(name, entry, replacements, missing)
            except OpaqueError as problem:
                missing[name] = str(problem)
        saved_with = {"stable_baselines3": version.decode()}
    except Exception as error:
        raise corrupted(label, "data", error) from error
    data |= {name: value for name, value in replacements.items() if "." not in name}
    added = frozenset(name for name in replacements if "." not in name and name not in stored)
    return Agent(KIND, data, states, missing, saved_with, added)


def translate_states(states: Mapping[str, Any], parameters: Sequence[str]) -> dict[str, Any]:
    """contrib's state_dicts under our names, weights turned to row form, the optimizer's state with them.

    ``parameters`` are the names in ``policy.named_parameters()`` of the agent that is to have them.
    """
    policy: Mapping[str, Tensor] = states["policy"]
    ours = {name: _our_name(name) for name in _own_names(policy)}
    lacking = sorted(set(parameters).difference(ours.values()))
    if lacking:
        raise UserError(
            f"the saved agent has no weights for {lacking[0]}: give the policy and policy_kwargs that it was "
            "trained with."
        )
    translated = {"policy": {ours[name]: _row_form(name, policy[name]) for name in ours}}
    if "policy.optimizer" in states:
        theirs = [name for name in ours if ours[name] in parameters]  # in contrib's order, without buffers
        place = {ours[name]: index for index, name in enumerate(theirs)}
        order = [(place[name], theirs[place[name]]) for name in parameters]
        translated["policy.optimizer"] = _translate_optimizer(states["policy.optimizer"], order, policy)
    return translated


def _translate_optimizer(
    state: Mapping[str, Any], order: Sequence[tuple[int, str]], policy: Mapping[str, Tensor]
) -> dict[str, Any]:
    """``order``: for each of our parameters, its index and name in contrib's optimizer."""
    (group,) = state["param_groups"]
    if len(group["params"]) != len(order):
        raise UserError(
            f"the saved optimizer knows {len(group['params'])} parameters, the agent has {len(order)}: give "
            "the policy and policy_kwargs that it was trained with."
        )
    moments: dict[int, dict[str, Any]] = {}
    for index, (place, name) in enumerate(order):
        for key, value in state["state"].get(group["params"][place], {}).items():
            moment = value
            if isinstance(value, Tensor) and value.shape == policy[name].shape:
                moment = _row_form(name, value)
            elif isinstance(value, Tensor) and value.numel() > 1:
                raise UserError(
                    f"the saved optimizer's {key} of {name} has the shape {tuple(value.shape)}: only those "
                    "that treat each weight by itself, such as Adam, can go on here."
                )
            moments.setdefault(index, {})[key] = moment
    return {"state": moments, "param_groups": [{**group, "params": list(range(len(order)))}]}


def _own_names(policy: Mapping[str, Tensor]) -> list[str]:
    """Names without the second ones, which extractors that actor and critic share are listed under."""
    critics = [name for name in policy if name.startswith("vf_features_extractor.")]
    shared = all(torch.equal(policy[name], policy[name.removeprefix("vf_")]) for name in critics)
    aliases = ("pi_features_extractor.", "vf_features_extractor.") if shared else ("pi_features_extractor.",)
    return [name for name in policy if not name.startswith(aliases)]


def _our_name(name: str) -> str:
    if match := re.fullmatch(r"lstm_(actor|critic)\.(weight|bias)_(ih|hh)_l(\d+)", name):
        role, kind, side, layer = match.groups()
        return f"{MEMORIES[role]}.layers.{layer}.{kind}_{SIDES[side]}"
    # Linear layers stand at even places; between them activations, which have no weights.
    if match := re.fullmatch(r"mlp_extractor\.(policy|value)_net\.(\d*[02468])\.(weight|bias)", name):
        head, place, kind = match.groups()
        return f"{HEADS[head]}.layers.{int(place) // 2}.{kind}"
    module, dot, rest = name.partition(".")
    if module not in MODULES:
        raise UserError(f"the saved agent has weights {name}, for which networks here have no place.")
    return f"{MODULES[module]}{dot}{rest}"


def _row_form(name: str, value: Tensor) -> Tensor:
    """Weights outside the extractors are the transpose of torch's."""
    if "features_extractor" in name or "weight" not in name:
        return value
    return value.t().contiguous()


def _load(archive: Archive, member: str, device: torch.device | str) -> dict[Any, Any]:
    """A ``.pth`` member, whose tensors take no more room than it does."""
    content = archive.read(member)
    try:
        loaded = read_tensors(content, get_device(device))
        if not isinstance(loaded, dict):
            raise ValueError("it is not a state_dict")
    except Exception as error:
        raise corrupted(archive.label, member, error) from error
    return loaded
