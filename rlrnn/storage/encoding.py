"""Settings and states as JSON, with their arrays and tensors kept apart by name.

What JSON has no word for becomes {"$tag": ...}; a dict stays one if its keys allow it. Classes are known
by registered name, so that reading a file never imports or runs what it names.
"""

from __future__ import annotations

import json
import math
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common import torch_layers
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from torch import Tensor, nn

from rlrnn.errors import UserError

DEPTH = 64  # levels that a setting may be nested
REGISTERED = "class registered as "  # what is missing where a name is not known here
INTEGER_BITS = 1024  # of the largest integer that is stored
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
TENSOR_DTYPES = (*DTYPES, "bfloat16")

CLASSES: dict[str, type[Any]] = {
    **{f"torch.nn.{name}": getattr(nn, name) for name in (*nn.modules.activation.__all__, "Identity")},
    **{
        f"torch.optim.{name}": value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    },
    **{f"numpy.{name}": np.dtype(name).type for name in DTYPES},
    "sb3.FlattenExtractor": torch_layers.FlattenExtractor,
    "sb3.NatureCNN": torch_layers.NatureCNN,
    "sb3.CombinedExtractor": torch_layers.CombinedExtractor,
    "sb3.RMSpropTFLike": RMSpropTFLike,
}

# Objects that their constructor's arguments describe: tag -> class, object -> arguments.
RECORDS: dict[str, tuple[type[Any], Callable[[Any], dict[str, Any]]]] = {
    "$deque": (deque, lambda d: {"iterable": list(d), "maxlen": d.maxlen}),
    "$FloatSchedule": (FloatSchedule, lambda s: {"value_schedule": s.value_schedule}),
    "$ConstantSchedule": (ConstantSchedule, lambda s: {"val": s.val}),
    "$LinearSchedule": (
        LinearSchedule,
        lambda s: {"start": s.start, "end": s.end, "end_fraction": s.end_fraction},
    ),
    "$Box": (spaces.Box, lambda s: {"low": s.low, "high": s.high, "dtype": s.dtype}),
    "$Discrete": (  # Gymnasium 1.2 knows int64 alone
        spaces.Discrete,
        lambda s: (
            {"n": int(s.n), "start": int(s.start)} | ({} if s.dtype == np.int64 else {"dtype": s.dtype.type})
        ),
    ),
    "$MultiDiscrete": (
        spaces.MultiDiscrete,
        lambda s: {"nvec": s.nvec, "start": s.start, "dtype": s.dtype.type},
    ),
    "$MultiBinary": (spaces.MultiBinary, lambda s: {"n": list(s.shape) if np.ndim(s.n) else int(s.n)}),
    "$Dict": (spaces.Dict, lambda s: {"spaces": list(s.spaces.items())}),
}


class NotDataError(Exception):
    """A value that neither JSON nor safetensors can hold; its text names the value's type."""


def register_class(name: str, cls: type[Any]) -> None:
    """Make a class storable, by a name that stays the same when the class moves.

    Registering the same class twice is harmless; a name that another class has is a ``UserError``.
    """
    known = CLASSES.get(name, cls)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise UserError(f"the name {name!r} belongs to {CLASSES[name].__qualname__}: choose another.")
    CLASSES[name] = cls


def _encode(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    kind = type(value)
    if len(path) > DEPTH:
        raise RecursionError
    if value is None or kind in (bool, str) or (kind is int and value.bit_length() <= INTEGER_BITS):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [_encode(item, (*path, str(index)), tensors) for index, item in enumerate(value)]
    if kind is tuple:
        return {"$tuple": _encode(list(value), path, tensors)}
    if kind in (dict, OrderedDict):
        return encode_dict(value, path, tensors)
    if isinstance(value, torch.device | os.PathLike):
        return str(value)
    if isinstance(value, np.dtype) and value.name in DTYPES:
        return {"$dtype": value.name}
    if isinstance(value, torch.dtype) and _name(value) in TENSOR_DTYPES:
        return {"$torch.dtype": _name(value)}
    if isinstance(value, np.generic) and value.dtype.name in DTYPES:
        return {"$scalar": [value.dtype.name, _encode(value.item(), path, tensors)]}
    if kind is np.ndarray and value.dtype.name in DTYPES:
        native = np.require(value, value.dtype.newbyteorder("="), ["C", "W"])  # copied where it must be
        return {"$array": _keep(torch.from_numpy(native), path, tensors)}
    if isinstance(value, Tensor) and _name(value.dtype) in TENSOR_DTYPES and value.layout is torch.strided:
        return {"$tensor": _keep(value, path, tensors)}
    for name, cls in CLASSES.items():
        if value is cls:
            return {"$class": name}
    for tag, (cls, arguments) in RECORDS.items():
        if kind is cls:
            fields = arguments(value).items()
            return {tag: {name: _encode(item, (*path, name), tensors) for name, item in fields}}
    raise NotDataError(_type_name(value))


def encode_dict(mapping: Mapping[Any, Any], path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    """Only an entry of a dict can be missing: what holds it (a list, a schedule) is then missing whole."""
    items = {}
    for key, value in mapping.items():
        try:
            items[key] = _encode(value, (*path, str(key)), tensors)
        except NotDataError as problem:
            items[key] = {"$missing": str(problem)}
        except RecursionError:
            if len(path) > 1:
                raise
            items[key] = {"$missing": f"{_type_name(value)} nested deeper than {DEPTH} levels"}
    if all(type(key) is str and not key.startswith("$") for key in items):
        return items
    pairs = [[_encode(key, path, tensors), item] for key, item in items.items()]
    return {"$dict": sorted(pairs, key=lambda pair: json.dumps(pair[0]))}


def _keep(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor]) -> str:
    name = "/".join(path).encode("ascii", "backslashreplace").decode()
    while name in tensors:
        name += "'"
    tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return name


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _type_name(value: object) -> str:
    return f"class {value.__qualname__}" if isinstance(value, type) else type(value).__qualname__


@dataclass
class Decoder:
    """JSON to Python, the mirror of ``_encode``; a file that no ``_encode`` wrote raises anything."""

    tensors: dict[str, Tensor]
    device: torch.device
    given: Mapping[str, Any]
    missing: dict[str, str]

    def items(self, pairs: Iterable[tuple[Any, Any]], path: str) -> dict[Any, Any]:
        """The entries of a dict: those given by their dotted path, those stored, but not those missing."""
        items = {}
        for key, plain in pairs:
            where = f"{path}.{key}" if path else str(key)
            if where in self.given:
                items[key] = self.given[where]
                continue
            try:
                items[key] = self.value(plain, where)
            except NotDataError as problem:
                self.missing[where] = str(problem)
        return items

    def table(self, plain: Any, path: str) -> dict[Any, Any]:
        value = self.value(plain, path)
        if not isinstance(value, dict):
            raise ValueError(f"{path or 'data'} is not a table")
        return value

    def value(self, plain: Any, path: str) -> Any:
        if isinstance(plain, list):
            return [self.value(item, f"{path}.{index}") for index, item in enumerate(plain)]
        if not isinstance(plain, dict):
            return plain
        if not any(key.startswith("$") for key in plain):
            return self.items(plain.items(), path)
        ((tag, body),) = plain.items()
        match tag:
            case "$missing":
                raise NotDataError(body)
            case "$class":
                if body not in CLASSES:
                    raise NotDataError(f"{REGISTERED}{body!r}")
                return CLASSES[body]
            case "$float":
                return float(body)
            case "$tuple":
                return tuple(self.value(body, path))
            case "$dict":
                return self.items(((self.value(key, path), item) for key, item in body), path)
            case "$tensor":
                return self.tensors[body].to(self.device)
            case "$array":
                return self.tensors[body].numpy()
            case "$scalar":
                return np.dtype(_one_of(DTYPES, body[0])).type(self.value(body[1], path))
            case "$dtype":
                return np.dtype(_one_of(DTYPES, body))
            case "$torch.dtype":
                return getattr(torch, _one_of(TENSOR_DTYPES, body))
        return RECORDS[tag][0](**{name: self.value(item, path) for name, item in body.items()})


def _one_of(names: tuple[str, ...], name: Any) -> str:
    if name not in names:
        raise ValueError(f"{name!r} is not one of {', '.join(names)}")
    return str(name)
