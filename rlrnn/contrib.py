"""Agents saved by ``sb3_contrib.RecurrentPPO``, opened without unpickling anything.

Their weights come through ``torch.load(weights_only=True)``, their settings from JSON. Beside each
pickle SB3 writes what the object looks like as text; from that spaces, schedules and classes are
rebuilt where the text says enough. Where it does not, the setting is missing and asked for on load.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule, get_device
from torch import Tensor

from rlrnn.errors import FileFault, UserError
from rlrnn.policy import policy_named
from rlrnn.saving import CLASSES, Agent, Archive, File, corrupted, open_archive

MEMBERS = ("data", "policy.pth", "policy.optimizer.pth", "_stable_baselines3_version")

# Where the play stood: an agent that is loaded begins new episodes.
PLAY = (
    *("_last_obs", "_last_original_obs", "_last_episode_starts", "_last_lstm_states"),
    *("ep_info_buffer", "ep_success_buffer", "start_time"),
)

POLICIES = {
    "RecurrentActorCriticPolicy": "MlpLstmPolicy",
    "RecurrentActorCriticCnnPolicy": "CnnLstmPolicy",
    "RecurrentMultiInputActorCriticPolicy": "MultiInputLstmPolicy",
}

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

LONGEST_TEXT = 100_000  # of a space; numpy abbreviates arrays long before
LARGEST_SPACE = 2**24  # numbers in an observation
PRINTED_DIGITS = 8  # after the point, of a float in numpy's arrays


class _OpaqueError(Exception):
    """A value that only its pickle tells; the text names its type."""


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
    given = dict(custom_objects or {})
    with open_archive(file) as archive:
        label = archive.label
        content, version = archive.read("data"), archive.read("_stable_baselines3_version")
        states = {name: _load(archive, f"{name}.pth", device) for name in ("policy", "policy.optimizer")}
    if not any(str(name).startswith("lstm_actor.") for name in states["policy"]):
        raise FileFault(f"{label} holds no LSTM: only agents of sb3_contrib.RecurrentPPO can be opened.")
    data: dict[str, Any] = {}
    missing: dict[str, str] = {}
    try:
        for name, entry in json.loads(content).items():
            if name in given or name in PLAY:
                continue
            try:
                data[name] = _setting(name, entry, given, missing)
            except _OpaqueError as problem:
                missing[name] = str(problem)
        saved_with = {"stable_baselines3": version.decode()}
    except Exception as error:
        raise corrupted(label, "data", error) from error
    data |= {name: value for name, value in given.items() if "." not in name}
    return Agent("sb3_contrib.RecurrentPPO", data, states, missing, saved_with)


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
    if found := re.fullmatch(r"lstm_(actor|critic)\.(weight|bias)_(ih|hh)_l(\d+)", name):
        role, kind, side, layer = found.groups()
        return f"{MEMORIES[role]}.layers.{layer}.{kind}_{SIDES[side]}"
    # Linear layers stand at even places; between them activations, which have no weights.
    if found := re.fullmatch(r"mlp_extractor\.(policy|value)_net\.(\d*[02468])\.(weight|bias)", name):
        head, place, kind = found.groups()
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
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            if any(part.compress_type != zipfile.ZIP_STORED for part in inner.infolist()):
                raise ValueError("it is compressed")
        loaded = torch.load(io.BytesIO(content), map_location=get_device(device), weights_only=True)
        if not isinstance(loaded, dict):
            raise ValueError("it is not a state_dict")
        if any(t.layout is not torch.strided or t.nbytes > len(content) for t in _tensors(loaded)):
            raise ValueError("it claims tensors larger than itself")
    except Exception as error:
        raise corrupted(archive.label, member, error) from error
    return loaded


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _tensors(value)


# Settings, from what the JSON says of them.


def _setting(name: str, entry: Any, given: Mapping[str, Any], missing: dict[str, str]) -> Any:
    if not isinstance(entry, dict):
        return entry
    if name == "policy_kwargs":
        return _policy_kwargs(entry, given, missing)
    if ":serialized:" not in entry:
        return entry
    if name == "policy_class":
        return _policy_class(entry)
    module, _, kind = str(entry[":type:"]).removeprefix("<class '").removesuffix("'>").rpartition(".")
    if module.startswith(("gymnasium.spaces", "gym.spaces")):
        return _space(kind, entry)
    if module == "stable_baselines3.common.utils":
        return _schedule(kind, entry)
    raise _OpaqueError(kind)


def _policy_class(entry: Mapping[str, Any]) -> type[Any]:
    """SB3 lists a class by its methods, whose text begins with the name of the class."""
    module, found = str(entry.get("__module__")), re.match(r"<function (\w+)\.", str(entry.get("__init__")))
    theirs = found[1] if found and module.startswith("sb3_contrib.") else ""
    if theirs not in POLICIES:
        raise _OpaqueError(f"class of the module {module}")
    return policy_named(POLICIES[theirs])


def _policy_kwargs(
    entry: Mapping[str, Any], given: Mapping[str, Any], missing: dict[str, str]
) -> dict[str, Any]:
    """None of contrib's arguments is a string, so a string beside a pickle is the text of another object."""
    known = {str(cls): cls for cls in CLASSES.values()}
    pickled = ":serialized:" in entry
    kwargs: dict[str, Any] = {}
    for key, value in entry.items():
        path = f"policy_kwargs.{key}"
        if key in (":type:", ":serialized:"):
            continue
        if path in given:
            kwargs[key] = given[path]
        elif not pickled or not isinstance(value, str):
            kwargs[key] = value
        elif value in known:
            kwargs[key] = known[value]
        elif re.fullmatch(r"-?\d{1,18}", value):  # a numpy integer
            kwargs[key] = int(value)
        else:
            found = re.match(r"<(class|function) '?([\w.<>]+)", value)
            missing[path] = f"{found[1]} {found[2]}" if found else f"value shown as {value[:60]!r}"
    return kwargs


def _schedule(kind: str, fields: Mapping[str, Any]) -> Any:
    try:
        match kind:
            case "FloatSchedule":
                found = re.fullmatch(r"(\w+)\((.*)\)", str(fields["value_schedule"]))
                inner, text = (found[1], found[2]) if found else ("function", "")
                return FloatSchedule(_schedule(inner, dict(re.findall(r"(\w+)=([^,]+)", text))))
            case "ConstantSchedule":
                return ConstantSchedule(float(fields["val"]))
            case "LinearSchedule":
                return LinearSchedule(*(float(fields[name]) for name in ("start", "end", "end_fraction")))
    except (KeyError, ValueError) as error:
        raise _OpaqueError(kind) from error
    raise _OpaqueError(kind)


def _space(kind: str, entry: Mapping[str, Any]) -> spaces.Space[Any]:
    if any(len(str(value)) > LONGEST_TEXT for key, value in entry.items() if key != ":serialized:"):
        raise _OpaqueError(f"{kind} of absurd length")
    words = {"start": 0, "dtype": "int64", **entry, "shape": tuple(entry.get("_shape") or ())}
    texts = {
        "Box": "{low}, {high}, {shape}, {dtype}",
        "Discrete": "{n}, start={start}, dtype={dtype}",
        "MultiDiscrete": "{nvec}, start={start}, dtype={dtype}, shape={shape}",
        "MultiBinary": "{n}",
    }
    try:
        if kind == "Dict":
            return _dict_space(str(entry["spaces"]))
        return _space_from_text(kind, texts[kind].format(**words))
    except (KeyError, TypeError, ValueError) as error:
        raise _OpaqueError(f"{kind} that the file does not show in full") from error


def _dict_space(text: str) -> spaces.Dict:
    """A Dict is written as its parts, in their order; the parts that were read must say the same again."""
    found = re.findall(r"'([^']*)': (\w+)\(((?:[^()]|\([^()]*\))*)\)", text)
    parts = [(key, _space_from_text(kind, inside)) for key, kind, inside in found]
    if not parts or text != "{" + ", ".join(f"{key!r}: {space}" for key, space in parts) + "}":
        raise ValueError("a Dict of other parts")
    return spaces.Dict(parts)


def _space_from_text(kind: str, inside: str) -> spaces.Space[Any]:
    """A space from what Gymnasium writes between its parentheses."""
    words = re.split(r", (?![^(\[]*[)\]])", inside)  # not within brackets
    named = dict(word.split("=") for word in words if "=" in word)
    dtype = np.dtype(named.get("dtype", "int64")).type
    match kind:
        case "Box":
            low, high, shape, name = words
            return _box(low, high, _integers(shape), np.dtype(name).type)
        case "Discrete":  # Gymnasium 1.2 knows no dtype but int64
            other: dict[str, Any] = {} if dtype is np.int64 else {"dtype": dtype}
            return spaces.Discrete(int(words[0]), start=int(named.get("start", 0)), **other)
        case "MultiDiscrete":
            sizes = np.array(_integers(words[0]))
            first = np.array(_integers(named.get("start", "0"))) + np.zeros_like(sizes)
            sizes_shape = _integers(named["shape"]) if "shape" in named else sizes.shape
            return spaces.MultiDiscrete(
                sizes.reshape(sizes_shape), dtype=dtype, start=first.reshape(sizes_shape)
            )
        case "MultiBinary":
            return spaces.MultiBinary(_integers(inside) if "," in inside else int(inside))
    raise ValueError(f"{kind} is not a space that agents know")


def _box(low: str, high: str, shape: tuple[int, ...], kind: type[np.generic]) -> spaces.Box:
    if not issubclass(kind, np.integer | np.floating) or np.prod(shape, dtype=float) > LARGEST_SPACE:
        raise ValueError("no such Box")
    shown = [set(_tokens(bound)) - {"..."} for bound in (low, high)]
    if kind is np.uint8 and shown == [{"0"}, {"255"}]:
        return spaces.Box(0, 255, shape, np.uint8)  # an image, too large to be printed whole
    return spaces.Box(_bounds(low, shape, kind), _bounds(high, shape, kind), dtype=kind)


def _bounds(text: str, shape: tuple[int, ...], kind: type[Any]) -> npt.NDArray[Any]:
    """An array from its text; a ``ValueError`` where the text may stand for several arrays."""
    tokens = _tokens(text)
    floating = issubclass(kind, np.floating)
    values = np.array([float(token) if floating else int(token) for token in tokens], dtype=kind)
    if "[" not in text:  # one number, shown in full
        return np.full(shape, values[0])
    if floating and not all(map(_is_exact, tokens, values)):
        raise ValueError("numbers with more digits than are shown")
    return values.reshape(shape)


def _is_exact(token: str, value: np.floating[Any]) -> bool:
    """Whether a number printed in an array is the only one of its type that can have been meant.

    Arrays show 8 digits after the point: enough for most numbers of float32, and for whatever a person
    wrote down with 6 digits or fewer.
    """
    mantissa, _, exponent = token.partition("e")
    digits = len(mantissa.partition(".")[2].rstrip("0"))
    if not np.isfinite(value) or digits <= PRINTED_DIGITS - 2:
        return True
    gap = abs(value - np.nextafter(value, value.dtype.type(0)))
    return bool(gap > 10.0 ** (int(exponent or 0) - PRINTED_DIGITS))


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\s\[\]]+", text)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(token) for token in re.findall(r"[^\s\[\](),]+", text))
