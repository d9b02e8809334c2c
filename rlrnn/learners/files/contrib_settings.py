"""The settings of an agent that sb3-contrib saved, from the text that SB3 writes beside each pickle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from rlrnn.learners.policy.policy import policy_named
from rlrnn.storage.encoding import CLASSES

POLICIES = {
    "RecurrentActorCriticPolicy": "MlpLstmPolicy",
    "RecurrentActorCriticCnnPolicy": "CnnLstmPolicy",
    "RecurrentMultiInputActorCriticPolicy": "MultiInputLstmPolicy",
}

LONGEST_TEXT = 100_000  # of a space; numpy abbreviates arrays long before
LARGEST_SPACE = 2**24  # numbers in an observation
PRINTED_DIGITS = 8  # after the point, of a float in numpy's arrays


class OpaqueError(Exception):
    """A value that only its pickle holds; the text names its type."""


def setting(name: str, entry: Any, replacements: Mapping[str, Any], missing: dict[str, str]) -> Any:
    if not isinstance(entry, dict):
        return entry
    if name == "policy_kwargs":
        return _policy_kwargs(entry, replacements, missing)
    if ":serialized:" not in entry:
        return entry
    if name == "policy_class":
        return _policy_class(entry)
    module, _, kind = str(entry[":type:"]).removeprefix("<class '").removesuffix("'>").rpartition(".")
    if module.startswith(("gymnasium.spaces", "gym.spaces")):
        return _space(kind, entry)
    if module == "stable_baselines3.common.utils":
        return _schedule(kind, entry)
    raise OpaqueError(kind)


def _policy_class(entry: Mapping[str, Any]) -> type[Any]:
    """SB3 lists a class by its methods, whose text begins with the name of the class."""
    module, match = str(entry.get("__module__")), re.match(r"<function (\w+)\.", str(entry.get("__init__")))
    theirs = match[1] if match and module.startswith("sb3_contrib.") else ""
    if theirs not in POLICIES:
        raise OpaqueError(f"class of the module {module}")
    return policy_named(POLICIES[theirs])


def _policy_kwargs(
    entry: Mapping[str, Any], replacements: Mapping[str, Any], missing: dict[str, str]
) -> dict[str, Any]:
    """None of contrib's arguments is a string, so a string beside a pickle is the text of another object."""
    classes = {str(cls): cls for cls in CLASSES.values()}
    pickled = ":serialized:" in entry
    kwargs: dict[str, Any] = {}
    for key, value in entry.items():
        path = f"policy_kwargs.{key}"
        if key in (":type:", ":serialized:"):
            continue
        if path in replacements:
            kwargs[key] = replacements[path]
        elif not pickled or not isinstance(value, str):
            kwargs[key] = value
        elif value in classes:
            kwargs[key] = classes[value]
        elif re.fullmatch(r"-?\d{1,18}", value):  # a numpy integer
            kwargs[key] = int(value)
        else:
            match = re.match(r"<(class|function) '?([\w.<>]+)", value)
            missing[path] = f"{match[1]} {match[2]}" if match else f"value shown as {value[:60]!r}"
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
        raise OpaqueError(kind) from error
    raise OpaqueError(kind)


def _space(kind: str, entry: Mapping[str, Any]) -> spaces.Space[Any]:
    if any(len(str(value)) > LONGEST_TEXT for key, value in entry.items() if key != ":serialized:"):
        raise OpaqueError(f"{kind} of absurd length")
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
        raise OpaqueError(f"{kind} that the file does not show in full") from error


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
    tokens = [set(_tokens(bound)) - {"..."} for bound in (low, high)]
    if kind is np.uint8 and tokens == [{"0"}, {"255"}]:
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
