"""An agent as one safe file: a zip of JSON and safetensors.

    agent.json             what the agent is, its settings, and the structure of its states
    tensors.safetensors    the arrays and tensors that agent.json names

The same agent gives the same bytes, and loading runs no code: classes are stored by registered name.
What neither format can hold (a function, an instance of a user's class) is recorded as missing, with
its type, and asked for on load.
"""

from __future__ import annotations

import io
import json
import math
import os
import platform
import secrets
import warnings
import zipfile
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import gymnasium
import numpy as np
import safetensors.torch
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common import torch_layers
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule, get_device
from torch import Tensor, nn

from rlrnn.errors import FileFault, UserError

File: TypeAlias = str | Path | BinaryIO

FORMAT = 1
DEPTH = 64  # levels that a setting may be nested
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


class AgentNotFoundError(FileFault, FileNotFoundError):
    """There is no file of that name, with or without ``.zip``."""


class _NotDataError(Exception):
    """A value that neither JSON nor safetensors can hold; its text names the value's type."""


@dataclass(frozen=True)
class Agent:
    """What a saved agent's file holds."""

    kind: str  # the class that saved it
    data: dict[str, Any]  # attribute -> value
    states: dict[str, Any]  # name, such as "policy.optimizer" -> state_dict
    missing: dict[str, str]  # dotted path, such as "policy_kwargs.activation_fn" -> type of what is missing
    system: dict[str, str]  # library -> version that it was saved with


def register(name: str, cls: type[Any]) -> None:
    """Make a class storable, by a name that stays the same when the class moves.

    Registering the same class twice is harmless; a name that another class has is a ``UserError``.
    """
    if CLASSES.get(name, cls) is not cls:
        raise UserError(f"the name {name!r} belongs to {CLASSES[name].__qualname__}: choose another.")
    CLASSES[name] = cls


def write_agent(
    file: File, data: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]], *, kind: str
) -> None:
    """Save an agent, all of it or nothing.

    A path without suffix gets ``.zip``, its folders are made, and the file that it names is replaced
    in one go: after any failure (a ``FileFault``) the old one is still there. To a file object the
    bytes are written where it stands.
    """
    tensors: dict[str, Tensor] = {}
    document = {
        "format": FORMAT,
        "kind": kind,
        "system": _versions(),
        "data": _encode_dict(data, ("data",), tensors),
        "states": {name: _encode_dict(state, (name,), tensors) for name, state in states.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (
            ("agent.json", json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode()),
            ("tensors.safetensors", safetensors.torch.save(tensors)),
        ):
            member = zipfile.ZipInfo(name)  # dated 1980, stored as it is
            member.create_system, member.external_attr = 3, 0o644 << 16
            archive.writestr(member, content)
    if isinstance(file, str | os.PathLike):
        write_whole(_target(Path(file)), buffer.getvalue())
        return
    _check_binary(file)
    try:
        file.write(buffer.getvalue())
    except (OSError, ValueError) as error:
        raise FileFault(f"cannot save the agent to {_label(file)}: {error}.") from error


def read_agent(
    file: File,
    *,
    device: torch.device | str = "cpu",
    custom_objects: Mapping[str, Any] | None = None,
) -> Agent:
    """Load what ``write_agent`` saved, with its tensors on a device; whatever is wrong is a ``FileFault``.

    ``custom_objects`` replace settings by name or dotted path, and give those that are missing.
    """
    with open_archive(file) as archive:
        content = archive.read("agent.json")
        weights = archive.read("tensors.safetensors")
    label = archive.label
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
        version = document["format"]
    except Exception as error:
        raise corrupted(label, "agent.json", error) from error
    if isinstance(version, int) and version > FORMAT:
        raise FileFault(
            f"{label} was saved by a newer rlrnn (format {version}, this one reads up to {FORMAT}): "
            "upgrade with pip install -U rlrnn."
        )
    try:
        tensors = safetensors.torch.load(weights)
    except Exception as error:
        raise corrupted(label, "tensors.safetensors", error) from error
    given = dict(custom_objects or {})
    missing: dict[str, str] = {}
    try:
        data = _Decoder(tensors, get_device(device), given, missing).table(document["data"], "")
        states = _Decoder(tensors, get_device(device), {}, missing)
        agent = Agent(
            str(document["kind"]),
            data | {name: value for name, value in given.items() if "." not in name},
            {name: states.table(state, name) for name, state in document["states"].items()},
            missing,
            {name: str(version) for name, version in document["system"].items()},
        )
    except Exception as error:
        raise corrupted(label, "agent.json", error) from error
    return agent


def require(agent: Agent, name: str) -> Any:
    """A setting of the agent, or a ``UserError`` that says why it is missing and how to give it."""
    lost = [path for path in agent.missing if path == name or path.startswith(f"{name}.")]
    if name in agent.data and not lost:
        return agent.data[name]
    path = lost[0] if lost else name
    what = agent.missing.get(path, "")
    why = f"could not be stored (it was a {what})" if what else "was left out when it was saved"
    hint = "; or register the class by rlrnn.saving.register first" if what.startswith("class ") else ""
    raise UserError(
        f"the agent's file lacks {path}, which {why}: give it to load, in custom_objects={{{path!r}: ...}} "
        f"or as the keyword {name}{hint}."
    )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file and its folders in one go: it then holds all of the content or what it held before."""
    path = Path(os.path.realpath(path))  # a link stays a link
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe or a device
            path.write_bytes(content)
            return
        try:
            with open(part, "xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise FileFault(
            f"cannot save {path}: {error.strerror or error} (what was there before is unchanged): make room "
            "or choose another place."
        ) from error


@dataclass(frozen=True)
class Archive:
    """An open zip whose members are read only if they are no larger than the file itself."""

    label: str
    size: int  # bytes of the file
    zip: zipfile.ZipFile

    def names(self) -> set[str]:
        return set(self.zip.namelist())

    def read(self, name: str) -> bytes:
        """A member's content; absent, damaged, compressed or claiming too much is a ``FileFault``."""
        if name not in self.names():
            raise FileFault(
                f"{self.label} holds no {name}: it is no agent of this kind, or incomplete; check the path "
                "or save it anew."
            )
        info = self.zip.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or not info.compress_size == info.file_size <= self.size:
            raise FileFault(
                f"{self.label} has a member {name} that is compressed or claims {info.file_size} bytes of a "
                f"file of {self.size}: agents are stored uncompressed; use the file as it was saved."
            )
        try:
            return self.zip.read(info)
        except Exception as error:
            raise corrupted(self.label, name, error) from error


@contextmanager
def open_archive(file: File) -> Iterator[Archive]:
    """Open a zip by path (with or without ``.zip``) or file object; what is not a zip is a ``FileFault``."""
    label = _label(file)
    if not isinstance(file, str | os.PathLike):
        _check_binary(file)
        yield _archive(label, file)
        return
    path = Path(file)
    try:
        if not path.is_file():
            path = Path(f"{path}.zip")
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise AgentNotFoundError(f"there is no file {label} (nor {path}): check the path.") from error
    except OSError as error:
        raise FileFault(f"cannot open {path} ({error.strerror}): check path and permissions.") from error
    with stream:
        yield _archive(str(path), stream)


def _archive(label: str, stream: BinaryIO) -> Archive:
    try:
        return Archive(label, stream.seek(0, os.SEEK_END), zipfile.ZipFile(stream))
    except Exception as error:
        raise FileFault(
            f"{label} is not a zip file or is damaged ({error}): is it a saved agent, and copied whole?"
        ) from error


def _target(path: Path) -> Path:
    """Where SB3 would save: ``.zip`` if there is no suffix, and beside a folder of the same name."""
    if not path.suffix:
        path = Path(f"{path}.zip")
    while path.is_dir():
        warnings.warn(f"{path} is a folder: saving to {path}_2 instead.")
        path = Path(f"{path}_2")
    return path


def _check_binary(file: object) -> None:
    if isinstance(file, io.TextIOBase) or not (hasattr(file, "write") and hasattr(file, "seek")):
        raise TypeError(f"{file!r} is neither a path nor a binary file object: give one of these.")


def _label(file: object) -> str:
    return str(file) if isinstance(file, str | os.PathLike) else f"the {type(file).__name__}"


def corrupted(label: str, member: str, error: Exception) -> FileFault:
    """What to raise when a member of a file is not what it should be."""
    reason = str(error).split("\n")[0][:200] or type(error).__name__
    return FileFault(f"{label} is corrupted in {member} ({reason}): restore it from a copy, or save it anew.")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _versions() -> dict[str, str]:
    from rlrnn import __version__  # late, since the package imports this module

    return {
        "rlrnn": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "stable_baselines3": stable_baselines3.__version__,
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }


# Python to JSON. What JSON has no word for becomes {"$tag": ...}; a dict stays one if its keys allow it.


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
        return _encode_dict(value, path, tensors)
    if isinstance(value, torch.device | os.PathLike):
        return str(value)
    if isinstance(value, np.dtype) and value.name in DTYPES:
        return {"$dtype": value.name}
    if isinstance(value, torch.dtype) and _name(value) in TENSOR_DTYPES:
        return {"$torch.dtype": _name(value)}
    if isinstance(value, np.generic) and value.dtype.name in DTYPES:
        return {"$scalar": [value.dtype.name, _encode(value.item(), path, tensors)]}
    if kind is np.ndarray and value.dtype.name in DTYPES:
        native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
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
    raise _NotDataError(_type_name(value))


def _encode_dict(mapping: Mapping[Any, Any], path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    """Only an entry of a dict can be missing: what holds it (a list, a schedule) is then missing whole."""
    items = {}
    for key, value in mapping.items():
        try:
            items[key] = _encode(value, (*path, str(key)), tensors)
        except _NotDataError as problem:
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
class _Decoder:
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
            except _NotDataError as problem:
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
                raise _NotDataError(body)
            case "$class":
                if body not in CLASSES:
                    raise _NotDataError(f"class {body}")
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
