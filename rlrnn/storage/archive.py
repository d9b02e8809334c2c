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
import os
import platform
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import gymnasium
import numpy as np
import safetensors.torch
import stable_baselines3
import torch
from stable_baselines3.common.utils import get_device
from torch import Tensor

from rlrnn._version import __version__
from rlrnn.common import files
from rlrnn.errors import FileFault, UserError, warn
from rlrnn.storage.encoding import REGISTERED, Decoder, encode_dict

File: TypeAlias = str | Path | io.BufferedIOBase | BinaryIO

FORMAT = 1
REPLAY = "SequenceReplay"  # the kind of a file that holds no agent, but what one was learning from
IN_A_FOLDER = "agent.zip"  # that a run leaves


class AgentNotFoundError(FileFault, FileNotFoundError):
    """There is no file of that name, with or without ``.zip``."""


@dataclass(frozen=True)
class Agent:
    """What a saved agent's file holds."""

    kind: str  # the class that saved it
    data: dict[str, Any]  # attribute -> value
    states: dict[str, Any]  # name, such as "policy.optimizer" -> state_dict
    missing: dict[str, str]  # dotted path, such as "policy_kwargs.activation_fn" -> type of what is missing
    system: dict[str, str]  # library -> version that it was saved with
    added: frozenset[str] = frozenset()  # of data: names that were given, and that the file does not have


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
        "system": versions(),
        "data": encode_dict(data, ("data",), tensors),
        "states": {name: encode_dict(state, (name,), tensors) for name, state in states.items()},
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
        files.write_whole(target(Path(file)), buffer.getvalue())
        return
    _check_binary(file)
    try:
        file.write(buffer.getvalue())
    except (OSError, ValueError) as error:
        raise FileFault(f"cannot save to {_label(file)}: {error}.") from error


def read_agent(
    file: File,
    *,
    device: torch.device | str = "cpu",
    custom_objects: Mapping[str, Any] | None = None,
) -> Agent:
    """Load what ``write_agent`` saved, with its tensors on a device; whatever is wrong is a ``FileFault``.

    ``custom_objects`` replace settings by name or dotted path, and give those that are missing; names that
    the file does not have are ``added``.
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
        data = Decoder(tensors, get_device(device), given, missing).table(document["data"], "")
        states = Decoder(tensors, get_device(device), {}, missing)
        agent = Agent(
            str(document["kind"]),
            data | {name: value for name, value in given.items() if "." not in name},
            {name: states.table(state, name) for name, state in document["states"].items()},
            missing,
            {name: str(version) for name, version in document["system"].items()},
            frozenset(name for name in given if "." not in name and name not in document["data"]),
        )
    except Exception as error:
        raise corrupted(label, "agent.json", error) from error
    return agent


def kind_of(file: File) -> str:
    """The class that saved a file, or "" if that cannot be told."""
    try:
        with open_archive(file) as archive:
            return str(json.loads(archive.read("agent.json"))["kind"])
    except Exception:  # who reads all of it says what is wrong
        return ""


def require(agent: Agent, name: str) -> Any:
    """A setting of the agent, or a ``UserError`` that says why it is missing and how to give it."""
    lost = [path for path in agent.missing if path == name or path.startswith(f"{name}.")]
    if name in agent.data and not lost:
        return agent.data[name]
    path = lost[0] if lost else name
    what = agent.missing.get(path, "")
    give = f"give it to load, in custom_objects={{{path!r}: ...}} or as the keyword {name}"
    if what.startswith(REGISTERED):
        given = what.removeprefix(REGISTERED)
        raise UserError(
            f"the agent's file has {path} as the {what}, which is not known here: before loading, call "
            f"rlrnn.register_class({given}, ...) with that class (in the shell: --import a "
            f"module that does), or {give}."
        )
    why = f"could not be stored (it was a {what})" if what else "was left out when it was saved"
    hint = ""
    if what.startswith("class "):
        hint = "; to need this no more, call rlrnn.register_class(NAME, CLASS) before "
        hint += "saving it anew"
    raise UserError(f"the agent's file lacks {path}, which {why}: {give}{hint}.")


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
                f"{self.label} holds no {name}: it is no file of this kind, or incomplete; check the path "
                "or save it anew."
            )
        info = self.zip.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or not info.compress_size == info.file_size <= self.size:
            raise FileFault(
                f"{self.label} has a member {name} that is compressed or claims {info.file_size} bytes of a "
                f"file of {self.size}: members are stored uncompressed; use the file as it was saved."
            )
        try:
            return self.zip.read(info)
        except Exception as error:
            raise corrupted(self.label, name, error) from error


@contextmanager
def open_archive(file: File) -> Iterator[Archive]:
    """Open a zip by path (with or without ``.zip``, or a run's folder) or file object.

    What is not a zip is a ``FileFault``.
    """
    label = _label(file)
    if not isinstance(file, str | os.PathLike):
        _check_binary(file)
        yield _archive(label, file)
        return
    path = Path(file)
    within = path / IN_A_FOLDER
    try:
        if not path.is_file():
            path = Path(f"{path}.zip")
        if not path.exists() and within.exists():
            path = within
        stream = path.open("rb")
    except FileNotFoundError as error:
        if Path(file).is_dir():
            raise AgentNotFoundError(
                f"the folder {label} holds no {IN_A_FOLDER}: give an agent's file, or the folder of a "
                "trained run."
            ) from error
        raise AgentNotFoundError(f"there is no file {label} (nor {path}): check the path.") from error
    except OSError as error:
        raise FileFault(f"cannot open {path} ({error.strerror}): check path and permissions.") from error
    with stream:
        yield _archive(str(path), stream)


def _archive(label: str, stream: Any) -> Archive:
    try:
        return Archive(label, stream.seek(0, os.SEEK_END), zipfile.ZipFile(stream))
    except Exception as error:
        raise FileFault(
            f"{label} is not a zip file or is damaged ({error}): was it saved by rlrnn, and copied whole?"
        ) from error


def target(path: Path) -> Path:
    """Where SB3 would save: ``.zip`` if there is no suffix, and beside a folder of the same name."""
    if not path.suffix:
        path = Path(f"{path}.zip")
    while path.is_dir():
        warn(f"{path} is a folder: saving to {path}_2 instead.")
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


def versions() -> dict[str, str]:
    """The libraries that decide what a saved agent means."""
    return {
        "rlrnn": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "stable_baselines3": stable_baselines3.__version__,
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }
