"""The tensors of a ``.pth`` file, read without torch's unpickler and without calling what the file names.

``torch.save`` writes a zip: data.pkl, the structure as a pickle, and beside it the bytes of each storage.
Python's ``pickletools`` takes a pickle apart without running it, and of its instructions the few are followed
that a state_dict needs. So it matters neither what else a file holds nor which faults torch's own reader
has: up to 2.5 it ran TorchScript archives (CVE-2025-32434), below 2.10 a pickle could reach beyond its memory
(CVE-2026-24747).
"""

from __future__ import annotations

import io
import math
import pickletools
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
ORDERED, TENSOR, PARAMETER = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
NUMBERS_AND_TEXTS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Global(str):
    """A name that a pickle asks for; nothing is imported."""


def read_tensors(content: bytes, device: torch.device) -> Any:
    """What ``torch.save`` wrote, its tensors on a device, no larger than the file; else raises anything."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        storages = Storages(archive, pickled.removesuffix("data.pkl"), len(content), device)
        return _interpret(storages.member("data.pkl"), storages)


class Storages:
    """The numbers beside the pickle, each of which is read once."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, size: int, device: torch.device) -> None:
        self.archive, self.folder, self.remaining, self.device = archive, folder, size, device
        self.cache: dict[str, Tensor] = {}
        if f"{folder}byteorder" in archive.namelist() and self.member("byteorder") != sys.byteorder.encode():
            raise ValueError("its bytes are in another order than this machine's")

    def member(self, name: str) -> bytes:
        """The bytes of a member; all of them together take no more room than the file."""
        info = self.archive.getinfo(self.folder + name)
        self.remaining -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or self.remaining < 0:
            raise ValueError("it is compressed, or its parts claim more than it holds")
        return self.archive.read(info)

    def __call__(self, kind: Any, key: Any, numbers: Any) -> Tensor:
        """One storage [numbers]."""
        if key not in self.cache:
            dtype = DTYPES[kind]
            raw = bytearray(self.member(f"data/{key}"))
            stored = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
            stored = stored != 0 if dtype is torch.bool else stored.view(dtype)
            self.cache[key] = stored.to(self.device)
        storage = self.cache[key]
        if (storage.dtype, len(storage)) != (DTYPES[kind], numbers):
            raise ValueError(f"its storage {key} is not {numbers} numbers")
        return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """A view of a storage, within it; requires_grad and hooks are not asked for."""
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, Tensor) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("it has a tensor of a shape that is none")
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > len(storage) or (0 not in shape and last >= len(storage)):
        raise ValueError("it claims tensors larger than itself")
    return storage.as_strided(shape, strides, offset)


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    if isinstance(function, Global):
        if function == ORDERED and arguments == ():
            return {}
        if function == TENSOR:
            return _tensor(*arguments)
        if function == PARAMETER:
            return arguments[0]
    raise ValueError(f"it asks for {function!r}")


def _interpret(pickled: bytes, storages: Storages) -> Any:
    """The value that a pickle describes."""
    stack: list[Any] = []
    marks: list[int] = []  # places in the stack
    memo: dict[int, Any] = {}

    def pop_marked() -> list[Any]:
        place = marks.pop()
        above = stack[place:]
        del stack[place:]
        return above

    argument: Any
    for operation, argument, _ in pickletools.genops(pickled):
        name = operation.name
        if name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name == "MARK":
            marks.append(len(stack))
        elif name in NUMBERS_AND_TEXTS:
            stack.append(argument)
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "TUPLE":
            stack.append(tuple(pop_marked()))
        elif name == "GLOBAL":
            stack.append(Global(argument))
        elif name == "BINPERSID":  # ("storage", type, key, device it was on, numbers)
            _, kind, key, _, numbers = stack.pop()
            stack.append(storages(kind, key, numbers))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name in ("APPEND", "APPENDS"):
            items = pop_marked() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = pop_marked() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BUILD":  # the versions of modules, beside a state_dict
            stack.pop()
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"it has the instruction {name}, which no state_dict needs")
    (value,) = stack
    return value
