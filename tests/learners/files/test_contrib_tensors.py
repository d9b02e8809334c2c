"""``.pth`` files without torch's unpickler: the same numbers as torch reads, and nothing else."""

from __future__ import annotations

import io
import pickle
import random
import tracemalloc
import zipfile
from contextlib import suppress
from typing import Any

import pytest
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from rlrnn.learners.files.contrib_tensors import read_tensors

CPU = torch.device("cpu")


def written(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride() and bool((a == b).all())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def states() -> dict[str, Any]:
    network = nn.Sequential(nn.LSTM(3, 4, 2), nn.BatchNorm1d(4))
    network[0](torch.ones(2, 3))[0].sum().backward()
    found: dict[str, Any] = {"network": network.state_dict(), "parameters": dict(network.named_parameters())}
    for optimizer in (torch.optim.Adam(network[0].parameters()), RMSpropTFLike(network[0].parameters())):
        optimizer.step()
        found[type(optimizer).__name__] = optimizer.state_dict()
    base = torch.arange(12.0).view(3, 4)
    dtypes = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)
    found["kinds"] = {
        str(kind): torch.tensor([[0, 1], [2, 3]], dtype=kind) for kind in (*dtypes, torch.uint8)
    }
    found["views"] = {"base": base, "turned": base.t(), "part": base[1:, ::2], "none": base[:0]}
    found["others"] = {
        "flags": torch.tensor([True, False]),
        7: [1.5, None, -(2**40)],
        "x": (2, (True, base[0, 0])),
    }
    return found


def test_what_torch_wrote_is_what_torch_reads() -> None:
    for name, state in states().items():
        content = written(state)
        read = read_tensors(content, CPU)
        assert same(read, torch.load(io.BytesIO(content), weights_only=True)), name
        assert not same(read, {})
    base = torch.zeros(3)
    shared = read_tensors(written({"a": base, "b": base[1:]}), CPU)
    shared["a"][1] = 1.0
    assert shared["b"][0] == 1.0  # one storage, as it was


def with_pickle(pickled: bytes, **members: bytes) -> bytes:
    """A file of that structure, with the storage 0: four float32."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in {"data/0": bytes(16), **members}.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def tensor(offset: Any, shape: Any, strides: Any, numbers: int = 4, kind: str = "FloatStorage") -> bytes:
    """The pickle of one tensor."""
    storage = b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode()
    storage += b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"

    def plain(value: Any) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    parts = storage + plain(numbers) + b"tQ" + plain(offset) + plain(shape) + plain(strides)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + parts + b"\x89ccollections\nOrderedDict\n)RtR."


def test_a_tensor_lies_within_its_storage() -> None:
    assert read_tensors(with_pickle(tensor(1, (3,), (1,))), CPU).tolist() == [0.0] * 3
    assert read_tensors(with_pickle(tensor(0, (2, 2), (2, 1))), CPU).shape == (2, 2)
    for offset, shape, strides in [
        (1, (4,), (1,)), (0, (5,), (1,)), (0, (2, 2), (3, 1)), (-1, (1,), (1,)), (0, (2,), (-1,)),
        (0, (10**9, 10**9), (0, 0)), (0, (2**62,), (2**62,)), (0, (2,), ()), (0, (-1,), (1,)),
        (0, (True,), (1,)), (0, 4, 1), (None, (1,), (1,)),
    ]:  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            read_tensors(with_pickle(tensor(offset, shape, strides)), CPU)
    for other in (tensor(0, (1,), (1,), numbers=5), tensor(0, (1,), (1,), kind="QInt8Storage")):
        with pytest.raises((ValueError, KeyError)):
            read_tensors(with_pickle(other), CPU)
    with pytest.raises(ValueError, match="another order"):
        read_tensors(with_pickle(tensor(0, (1,), (1,)), byteorder=b"middle"), CPU)


class Payload:
    """Unpickling it would set a flag."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Payload, "ran", True)


def test_nothing_that_a_file_names_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"constants.pkl": pickle.dumps(()), "code/__torch__.py": b"class Module(Module):\n  pass\n"}
    scripted = with_pickle(b"\x80\x02c__torch__\nModule\n)\x81}b.", **code)
    attacks = [
        written({"a": Payload()}),
        *(with_pickle(pickle.dumps(Payload(), protocol)) for protocol in range(6)),
        with_pickle(b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."),
        with_pickle(b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R."),
        with_pickle(b"\x80\x02ctorch.jit\nload\n)R."),
        with_pickle(b"\x80\x02ccollections\nOrderedDict\n)\x81."),
        with_pickle(b"\x80\x02(i__main__\nPayload\n."),
        with_pickle(b"\x80\x02r\xff\xff\xff\xff."),
        with_pickle(b"\x80\x02X\xff\xff\xff\x7fabc."),
        with_pickle(b"."), with_pickle(b""), with_pickle(b"\x80\x02NN."), b"", b"PK",
        scripted,
    ]  # fmt: skip
    for name in ("torch.load", "torch.jit.load", "pickle.loads", "pickle.load", "pickle.Unpickler"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("unpickled"))
    tracemalloc.start()
    for attack in attacks:
        with pytest.raises(Exception, match=r".*") as caught:
            read_tensors(attack, CPU)
        assert not isinstance(caught.value, MemoryError)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert not Payload.ran


def test_changed_files_are_read_or_refused() -> None:
    rng = random.Random(0)
    content = written(states()["Adam"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name.removeprefix("archive/"): archive.read(name) for name in archive.namelist()}
    pickled = members.pop("data.pkl")
    read = 0
    for _ in range(500):
        changed = bytearray(pickled)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        with suppress(Exception):
            read_tensors(with_pickle(bytes(changed), **members), CPU)
            read += 1
    assert 0 < read < 500


def test_parts_that_lie_upon_each_other_take_no_more_room_than_the_file() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/data/0", bytes(10**6))
        whole = archive.getinfo("archive/data/0")
        for number in range(1, 9):
            other = zipfile.ZipInfo(f"archive/data/{number}")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(other, name, getattr(whole, name))
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
    from rlrnn.learners.files.contrib_tensors import Storages

    with zipfile.ZipFile(buffer) as archive:
        storages = Storages(archive, "archive/", len(buffer.getvalue()), CPU)
        storages.member("data/0")
        with pytest.raises(ValueError, match="claim more than it holds"):
            storages.member("data/1")
