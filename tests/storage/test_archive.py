"""An agent's file: what goes in comes out, the same agent gives the same bytes, and nothing runs."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import pickle
import random
import stat
import struct
import threading
import tracemalloc
import zipfile
from collections import OrderedDict, deque
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from rlrnn.errors import FileFault, UserError
from rlrnn.storage import archive as saving
from rlrnn.storage import encoding
from rlrnn.storage.archive import read_agent, require, write_agent


class Extractor(BaseFeaturesExtractor):
    """A user's class, unknown to the registry."""


def saved(data: dict[str, Any] | None = None, states: dict[str, Any] | None = None) -> bytes:
    buffer = io.BytesIO()
    write_agent(buffer, data or {}, states or {}, kind="Test")
    return buffer.getvalue()


def loaded(content: bytes, **options: Any) -> saving.Agent:
    return read_agent(io.BytesIO(content), **options)


def come_back(value: Any) -> Any:
    agent = loaded(saved({"it": value}))
    assert agent.missing == {}
    return agent.data["it"]


def same(a: Any, b: Any) -> bool:
    """Equal in type and content, down to NaN, the sign of zero, dtypes and the bounds of spaces."""
    if type(a) is not type(b) and not (isinstance(a, dict) and isinstance(b, dict)):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, deque):
        return a.maxlen == b.maxlen and same(list(a), list(b))
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).logical_or(a.isnan()).all())
    if isinstance(a, FloatSchedule | ConstantSchedule | LinearSchedule):
        return same(vars(a), vars(b))
    if isinstance(a, spaces.Dict):
        return list(a.spaces) == list(b.spaces) and same(dict(a.spaces), dict(b.spaces))
    if isinstance(a, spaces.Box):
        return a == b and same(a.low, b.low) and same(a.high, b.high)
    return bool(a == b)


def a_box(rng: random.Random) -> spaces.Box:
    shape = tuple(rng.choices(range(1, 4), k=rng.randrange(4)))
    dtype = rng.choice([np.uint8, np.float32, np.float64, np.int16])
    if dtype is np.uint8:
        return spaces.Box(0, 255, shape, dtype)
    low = np.array(np.random.default_rng(rng.randrange(99)).normal(-5, 1, shape).astype(dtype))
    high = np.array(-low if np.issubdtype(dtype, np.integer) else np.full(shape, np.inf, dtype))
    return spaces.Box(low, high, dtype=dtype)


LEAVES = [
    lambda rng: None,
    lambda rng: rng.random() < 0.5,
    lambda rng: rng.randrange(-(2 ** rng.randrange(1, 200)), 2**70),
    lambda rng: rng.choice([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 0.1, rng.gauss(0, 1e9)]),
    lambda rng: rng.choice(["", "$float", "naïve ☂", "\ud800", "a/b", "0", "\x00", "$missing"]),
    lambda rng: np.dtype(rng.choice(encoding.DTYPES)).type(rng.randrange(2)),
    lambda rng: np.dtype(rng.choice(encoding.DTYPES)),
    lambda rng: np.ones(rng.choices(range(3), k=rng.randrange(4)), rng.choice(encoding.DTYPES)),
    lambda rng: np.array([math.nan, -0.0, 1.5], rng.choice(["float16", "float32", "float64"]))[::-1].copy(),
    lambda rng: torch.arange(6.0).view(2, 3).to(rng.choice([torch.bfloat16, torch.float64, torch.bool])),
    lambda rng: rng.choice([torch.float32, torch.bfloat16, torch.int64]),
    lambda rng: rng.choice(list(encoding.CLASSES.values())),
    lambda rng: FloatSchedule(rng.choice([0.1, LinearSchedule(1.0, 0.1, 0.5), ConstantSchedule(3.0)])),
    lambda rng: LinearSchedule(rng.random(), 0.0, 1.0),
    a_box,
    lambda rng: spaces.Discrete(rng.randrange(1, 9), start=rng.randrange(-3, 3)),
    lambda rng: spaces.MultiDiscrete([[2, 3], [4, 5]], dtype=np.int32, start=[[0, 1], [-2, 3]]),
    lambda rng: spaces.MultiBinary(rng.choice([3, (2, 3)])),
    lambda rng: spaces.Dict([("z", a_box(rng)), ("a", spaces.Dict({"in": spaces.Discrete(2)}))]),
]
BRANCHES = [
    lambda items, rng: items,
    lambda items, rng: tuple(items),
    lambda items, rng: deque(items, maxlen=rng.choice([None, len(items) + 2])),
    lambda items, rng: dict(zip(["$tuple", "a/b", "a", "$", "é", "a.b"], items, strict=False)),
    lambda items, rng: dict(zip([0, -7, "0", None, 1.5, (1, "x")], items, strict=False)),
]


def grow(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(LEAVES)(rng)
    return rng.choice(BRANCHES)([grow(rng, depth - 1) for _ in range(rng.randrange(5))], rng)


@pytest.mark.parametrize("seed", range(10))
def test_what_goes_in_comes_out(seed: int) -> None:
    rng = random.Random(seed)
    data = {f"field{i}": grow(rng, 4) for i in range(30)}
    content = saved(data)
    agent = loaded(content)
    assert agent.missing == {}
    assert same(agent.data, data)
    assert saved(agent.data) == content


def test_every_leaf_alone_and_the_oracle_sees_differences() -> None:
    rng = random.Random(0)
    for leaf in LEAVES:
        for _ in range(20):
            value = leaf(rng)
            assert same(come_back(value), value)
    assert not same(0.0, -0.0)
    assert not same((1,), [1])
    assert not same(np.float32(1), np.float64(1))
    assert not same(deque([1], maxlen=2), deque([1]))
    assert not same(spaces.Box(0, 1, (2,)), spaces.Box(0, np.nextafter(np.float32(1), np.float32(2)), (2,)))


def test_a_state_keeps_its_structure() -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, eps=1e-5)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    agent = loaded(saved(states={"policy": network.state_dict(), "policy.optimizer": optimizer.state_dict()}))
    assert same(agent.states["policy"], dict(network.state_dict()))
    assert same(agent.states["policy.optimizer"], optimizer.state_dict())
    torch.optim.Adam(network.parameters()).load_state_dict(agent.states["policy.optimizer"])


def test_tensors_that_share_memory_or_are_views() -> None:
    base = torch.arange(12.0).view(3, 4)
    state = {"base": base, "again": base, "turned": base.t(), "part": base[1:, ::2], "empty": base[:0]}
    assert same(loaded(saved(states={"policy": state})).states["policy"], state)
    backwards = np.arange(6, dtype=">f4").reshape(2, 3)[::-1]
    assert np.array_equal(come_back(backwards), backwards)
    assert come_back(torch.nn.Parameter(base)).requires_grad is False


def test_tensors_whose_paths_are_spelt_alike() -> None:
    state = {
        "a/b": torch.ones(1),
        "a": {"b": torch.zeros(1)},
        "\ud800": torch.ones(2),
        "\\ud800": torch.ones(3),
    }
    assert same(loaded(saved(states={"policy": state})).states["policy"], state)


def test_depth_is_bounded() -> None:
    def nested(levels: int) -> list[Any]:
        return [nested(levels - 1)] if levels else []

    assert come_back(nested(encoding.DEPTH - 3)) == nested(encoding.DEPTH - 3)
    loop: dict[str, Any] = {}
    loop.update(a=loop, b=loop)
    agent = loaded(saved({"deep": nested(encoding.DEPTH), "loop": loop, "gamma": 0.9}))
    assert agent.data == {"gamma": 0.9}
    assert agent.missing["loop"] == f"dict nested deeper than {encoding.DEPTH} levels"


def test_what_has_another_shape_outside() -> None:
    assert come_back(torch.device("cuda", 1)) == "cuda:1"
    assert come_back(Path("runs") / "a") == str(Path("runs") / "a")
    assert come_back(OrderedDict(b=1, a=2)) == {"a": 2, "b": 1}
    assert come_back(RMSpropTFLike) is RMSpropTFLike


def test_same_agent_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    data = {f"field{i}": grow(rng, 3) for i in range(20)}
    data["numbered"] = {10: "a", 9: "b"}
    first = saved(data, {"policy": {"b": torch.ones(2), "a": torch.zeros(2)}})
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2040, 1, 1, 0, 0, 0, 0, 0, 0))
    backwards = {**dict(reversed(data.items())), "numbered": {9: "b", 10: "a"}}
    assert saved(backwards, {"policy": {"a": torch.zeros(2), "b": torch.ones(2)}}) == first
    assert saved(data, {"policy": {"b": torch.ones(2), "a": torch.full((2,), 1e-45)}}) != first


def test_the_file_is_plain_json_and_safetensors() -> None:
    content = saved({"gamma": 0.9, "activation": torch.nn.ReLU}, {"policy": {"weight": torch.ones(2)}})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["agent.json", "tensors.safetensors"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        document = json.loads(archive.read("agent.json"))
    assert document["data"] == {"gamma": 0.9, "activation": {"$class": "torch.nn.ReLU"}}
    assert document["states"] == {"policy": {"weight": {"$tensor": "policy/weight"}}}
    agent = loaded(content)
    assert (agent.kind, agent.system["torch"]) == ("Test", torch.__version__)


def not_data() -> dict[str, Any]:
    loop: list[Any] = []
    loop.append(loop)
    return {
        "learning_rate": lambda progress: progress,
        "clip_range": FloatSchedule(partial(pow, 2)),
        "policy_kwargs": {"extractor": Extractor, "deep": [{"noise": threading.Lock()}], "ok": 1},
        "names": {1: len, 2: "two"},
        "objects": np.array([None, 1]),
        "huge": 1 << 5000,
        "keys": {Extractor: 1},
        "loop": loop,
        "gamma": 0.5,
    }


def test_what_cannot_be_data_is_missing_by_name_and_type() -> None:
    agent = loaded(saved(not_data()))
    assert agent.missing == {
        "learning_rate": "function",
        "clip_range": "partial",
        "policy_kwargs.extractor": "class Extractor",
        "policy_kwargs.deep.0.noise": "lock",
        "names.1": "builtin_function_or_method",
        "objects": "ndarray",
        "huge": "int",
        "keys": "class Extractor",
        "loop": f"list nested deeper than {encoding.DEPTH} levels",
    }
    assert agent.data == {"policy_kwargs": {"deep": [{}], "ok": 1}, "names": {2: "two"}, "gamma": 0.5}


def test_custom_objects_replace_and_fill() -> None:
    content = saved(not_data())
    given = {
        "learning_rate": 0.1,
        "gamma": abs,
        "policy_kwargs.extractor": NatureCNN,
        "new": 7,
    }
    agent = loaded(content, custom_objects=given)
    assert agent.data["learning_rate"] == 0.1
    assert agent.data["gamma"] is abs
    assert agent.data["new"] == 7 and agent.added == {"new"}
    assert agent.data["policy_kwargs"]["extractor"] is NatureCNN
    assert {"learning_rate", "policy_kwargs.extractor"}.isdisjoint(agent.missing)
    whole = loaded(content, custom_objects={"policy_kwargs": {"a": len}})
    assert whole.data["policy_kwargs"] == {"a": len}
    assert not any(path.startswith("policy_kwargs") for path in whole.missing)


def test_require_says_what_is_missing_and_how_to_give_it() -> None:
    agent = loaded(saved({"gamma": 0.5, "schedule": len, "policy_kwargs": {"ok": 1, "extractor": Extractor}}))
    assert require(agent, "gamma") == 0.5
    with pytest.raises(UserError) as caught:
        require(agent, "schedule")
    assert str(caught.value) == (
        "the agent's file lacks schedule, which could not be stored (it was a builtin_function_or_method): "
        "give it to load, in custom_objects={'schedule': ...} or as the keyword schedule."
    )
    with pytest.raises(
        UserError, match=r"'policy_kwargs\.extractor': .* policy_kwargs; to need this no more"
    ):
        require(agent, "policy_kwargs")
    with pytest.raises(UserError, match="n_steps, which was left out"):
        require(agent, "n_steps")


def test_a_registered_class_travels_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CLASSES", dict(encoding.CLASSES))
    encoding.register_class("mine", Extractor)
    encoding.register_class("mine", Extractor)
    content = saved({"extractor": Extractor})
    assert loaded(content).data["extractor"] is Extractor
    with pytest.raises(UserError, match="'mine' belongs to Extractor"):
        encoding.register_class("mine", NatureCNN)
    monkeypatch.undo()
    lacking = loaded(content)
    assert lacking.missing == {"extractor": "class registered as 'mine'"}
    with pytest.raises(UserError) as caught:
        require(lacking, "extractor")
    assert str(caught.value) == (
        "the agent's file has extractor as the class registered as 'mine', which is not known here: before "
        "loading, call rlrnn.register_class('mine', ...) with that class (in the shell: --import "
        "a module that does), or give it to load, in custom_objects={'extractor': ...} or as the keyword "
        "extractor."
    )


@pytest.mark.parametrize(
    ("given", "written"),
    [("agent", "agent.zip"), ("agent.v1", "agent.v1"), ("deep/er/agent.zip", "deep/er/agent.zip")],
)
def test_suffixes_and_folders_as_in_sb3(tmp_path: Path, given: str, written: str) -> None:
    for path in (tmp_path / given, str(tmp_path / given)):
        write_agent(path, {"a": 1}, {}, kind="Test")
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / written]
        assert read_agent(path).data == {"a": 1}
        assert read_agent(tmp_path / written).data == {"a": 1}


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    write_agent(tmp_path / "agent", {"a": 1}, {}, kind="Test")
    assert read_agent(tmp_path / "agent").data == {"a": 1}
    (tmp_path / "b.zip").mkdir()
    with pytest.warns(UserWarning, match=r"b\.zip is a folder"):
        write_agent(tmp_path / "b.zip", {"a": 2}, {}, kind="Test")
    assert read_agent(tmp_path / "b.zip_2").data == {"a": 2}


def test_file_objects(tmp_path: Path) -> None:
    with open(tmp_path / "agent", "w+b") as stream:
        write_agent(stream, {"a": 1}, {}, kind="Test")
        assert read_agent(stream).data == {"a": 1}
    with pytest.raises(FileFault, match="closed file"):
        write_agent(stream, {}, {}, kind="Test")
    with open(tmp_path / "agent", "rb") as stream, pytest.raises(FileFault, match="cannot save"):
        write_agent(stream, {}, {}, kind="Test")
    for wrong in (io.StringIO(), 7, None):
        with pytest.raises(TypeError, match="neither a path nor"):
            write_agent(wrong, {}, {}, kind="Test")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="neither a path nor"):
            read_agent(wrong)  # type: ignore[arg-type]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="there is no file") as caught:
        read_agent(tmp_path / "nothing")
    assert isinstance(caught.value, FileNotFoundError)


class FullDisk(io.FileIO):
    """A disk that fills up after a while."""

    def write(self, content: Any) -> int:
        super().write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("failure", ["write", "fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    path = tmp_path / "agent.zip"
    write_agent(path, {"a": "old"}, {}, kind="Test")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failure == "write":
        monkeypatch.setattr("builtins.open", lambda name, mode: FullDisk(name, mode))
    else:
        monkeypatch.setattr(os, failure, fail)
    with pytest.raises(FileFault, match=r"cannot save .*agent\.zip: No space left on device .*unchanged"):
        write_agent(path, {"a": "new"}, {}, kind="Test")
    monkeypatch.undo()
    assert read_agent(path).data == {"a": "old"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room, or choose another place."),
        (errno.EACCES, "check its permissions, or choose another place."),
        (errno.EROFS, "nothing can be written there; choose another place."),
        (errno.EIO, "the disk does not answer as it should; check it, then try again."),
        (errno.ESTALE, "the network folder was lost; check its connection, then try again."),
        (errno.EBUSY, "try again, or choose another place."),
    ],
)
def test_each_failure_of_saving_has_its_remedy(
    number: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileFault) as fault:
        write_agent(tmp_path / "agent.zip", {}, {}, kind="Test")
    place = tmp_path / "agent.zip"
    told = f"cannot save {place}: {os.strerror(number)} (what was there before is unchanged): {remedy}"
    assert str(fault.value) == told and not list(tmp_path.iterdir())


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileFault, match="cannot save"):
        write_agent(tmp_path / "file" / "agent.zip", {}, {}, kind="Test")
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(FileFault, match="Permission denied"):
            write_agent(tmp_path / "agent", {}, {}, kind="Test")
        tmp_path.chmod(stat.S_IRWXU)


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    write_agent(tmp_path / "target.zip", {"a": 1}, {}, kind="Test")
    (tmp_path / "link.zip").symlink_to(tmp_path / "target.zip")
    write_agent(tmp_path / "link.zip", {"a": 2}, {}, kind="Test")
    assert (tmp_path / "link.zip").is_symlink()
    assert read_agent(tmp_path / "target.zip").data == {"a": 2}
    pipe = tmp_path / "pipe.zip"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_agent(pipe, {"a": 3}, {}, kind="Test")
    reader.join(timeout=10)
    assert loaded(received[0]).data == {"a": 3}
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def rebuilt(content: bytes, changes: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The same zip with other members; None leaves one out."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, member in {**members, **changes}.items():
            if member is not None:
                archive.writestr(name, member)
    return buffer.getvalue()


def with_document(content: bytes, **changes: Any) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        document = json.loads(archive.read("agent.json"))
    return rebuilt(content, {"agent.json": json.dumps({**document, **changes})})


def an_agent() -> bytes:
    data = {
        "observation_space": spaces.Box(-1, 1, (3,)),
        "policy_kwargs": {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU},
        "lr_schedule": FloatSchedule(0.1),
        "ep_info_buffer": deque([{"r": 1.0, "l": 5}], maxlen=100),
        "noise": lambda: 0,
    }
    network = torch.nn.GRUCell(3, 4)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return saved(data, {"policy": network.state_dict(), "policy.optimizer": optimizer.state_dict()})


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


BOMB = {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}
EMPTY_BOMB = {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 0]}
DEEP = b'{"format": 1, "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: b"", "is not a zip"),
        (lambda c: b"not a zip at all" * 100, "is not a zip"),
        (lambda c: c[: len(c) // 2], "is not a zip"),
        (lambda c: rebuilt(c, {"agent.json": None}), "holds no agent.json"),
        (lambda c: rebuilt(c, {"tensors.safetensors": None}), "holds no tensors.safetensors"),
        (lambda c: rebuilt(c, {}, zipfile.ZIP_DEFLATED), "compressed"),
        (lambda c: rebuilt(c, {"agent.json": b"\xff\xfe"}), "corrupted in agent.json"),
        (lambda c: rebuilt(c, {"agent.json": "[]"}), "corrupted in agent.json"),
        (lambda c: rebuilt(c, {"agent.json": '{"format": NaN}'}), "NaN is not JSON"),
        (lambda c: rebuilt(c, {"agent.json": DEEP}), "corrupted in agent.json"),
        (lambda c: rebuilt(c, {"agent.json": '{"format": ' + "9" * 5000 + "}"}), "corrupted in agent.json"),
        (lambda c: rebuilt(c, {"tensors.safetensors": header(x=BOMB)}), "corrupted in tensors"),
        (lambda c: rebuilt(c, {"tensors.safetensors": header(x=EMPTY_BOMB)}), "corrupted in tensors"),
        (lambda c: rebuilt(c, {"tensors.safetensors": struct.pack("<Q", 1 << 60)}), "corrupted in tensors"),
        (lambda c: with_document(c, format=2), "newer rlrnn.*pip install -U"),
        (lambda c: with_document(c, data={"a": {"$tensor": "absent"}}), "corrupted in agent.json .'absent'"),
        (lambda c: with_document(c, data={"a": {"$unknown": 1}}), "corrupted in agent.json"),
        (lambda c: with_document(c, data={"a": {"$float": 1, "b": 2}}), "corrupted in agent.json"),
        (lambda c: with_document(c, data={"$missing": "x"}), "corrupted in agent.json"),
        (lambda c: with_document(c, data=[1]), "is not a table"),
        (lambda c: with_document(c, data={"a": {"$dtype": "V1000000000000"}}), "is not one of bool"),
        (lambda c: with_document(c, data={"a": {"$torch.dtype": "load"}}), "is not one of bool"),
        (lambda c: with_document(c, data={"a": {"$Discrete": {"n": 10**30}}}), "corrupted in agent.json"),
        (lambda c: with_document(c, data={"a": {"$FloatSchedule": {"value_schedule": "x"}}}), "corrupted"),
        (lambda c: with_document(c, states={"policy": [1]}), "policy is not a table"),
        (lambda c: with_document(c, states=None), "corrupted in agent.json"),
    ],
)  # fmt: skip
def test_broken_files_say_what_is_wrong(change: Any, message: str) -> None:
    content = change(an_agent())
    tracemalloc.start()
    with pytest.raises(FileFault, match=message) as caught:
        loaded(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    assert str(caught.value).startswith("the BytesIO")
    assert "\n" not in str(caught.value)


def with_sizes(content: bytes, compressed: int, plain: int) -> bytes:
    """The last member's entry in the zip's directory has its sizes at bytes 20 and 24."""
    place = content.rindex(b"PK\x01\x02") + 20
    return content[:place] + struct.pack("<II", compressed, plain) + content[place + 8 :]


def test_members_that_claim_more_than_the_file_holds() -> None:
    with pytest.raises(FileFault, match=f"claims {1 << 30} bytes"):
        loaded(with_sizes(an_agent(), 1 << 30, 1 << 30))
    packed = io.BytesIO(rebuilt(an_agent(), {"tensors.safetensors": None}))
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("tensors.safetensors", bytes(10**8))
        size = archive.getinfo("tensors.safetensors").compress_size
    bomb = packed.getvalue()
    tracemalloc.start()
    with pytest.raises(FileFault, match="compressed"):
        loaded(with_sizes(bomb, size, size))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def flipped(content: bytes, first: int, rng: random.Random) -> bytes:
    """A few bits turned over, none before the first byte."""
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(first, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def rearranged(content: bytes, rng: random.Random) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(content)) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def test_thousands_of_damaged_files_are_refused_or_load_right() -> None:
    rng = random.Random(7)
    content = an_agent()
    right = loaded(content)
    directory = content.index(b"PK\x01\x02")
    damages = [
        lambda: flipped(content, 0, rng),
        lambda: flipped(content, directory, rng),
        lambda: content[: rng.randrange(len(content))],
        lambda: rearranged(content, rng),
    ]
    outcomes = {"right": 0, "refused": 0}
    tracemalloc.start()
    for trial in range(2000):
        try:
            agent = loaded(damages[trial % len(damages)]())
        except FileFault:
            outcomes["refused"] += 1
        else:
            outcomes["right"] += 1
            assert same(agent.data, right.data)
            assert same(agent.states, right.states)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert min(outcomes.values()) > 100


def test_a_thousand_forged_members_are_refused_or_are_data() -> None:
    """Members that were changed and have the right checksum: anything but a fault is an agent."""
    rng = random.Random(8)
    content = an_agent()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    opened = 0
    tracemalloc.start()
    for trial in range(1000):
        name = list(members)[trial % 2]
        member = bytearray(members[name])
        for _ in range(rng.randrange(1, 4)):
            member[rng.randrange(min(len(member), 4000))] = rng.choice(b'0123456789"[]{}:,$.x\xff')
        try:
            agent = loaded(rebuilt(content, {name: bytes(member)}))
        except FileFault:
            continue
        opened += 1
        assert isinstance(agent.data, dict)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert 50 < opened < 950


def test_swapped_members() -> None:
    content = an_agent()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        a, b = (archive.read(name) for name in archive.namelist())
    with pytest.raises(FileFault, match=r"corrupted in agent\.json"):
        loaded(rebuilt(content, {"agent.json": b, "tensors.safetensors": a}))


class Payload:
    """Unpickling it would set a flag."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Payload, "ran", True)


def test_pickles_are_never_run(tmp_path: Path) -> None:
    payload = pickle.dumps(Payload())
    content = an_agent()
    legacy, modern = io.BytesIO(), io.BytesIO()
    torch.save(Payload(), modern)
    torch.save(Payload(), legacy, _use_new_zipfile_serialization=False)
    for attack in (payload, legacy.getvalue(), modern.getvalue()):
        for files in (
            attack,
            rebuilt(content, {"agent.json": attack}),
            rebuilt(content, {"tensors.safetensors": attack}),
        ):
            with pytest.raises(FileFault):
                loaded(files)
        loaded(rebuilt(content, {"../../evil.pkl": attack, "data.pkl": attack}))
    assert not Payload.ran
    pickle.loads(payload)
    assert Payload.ran  # the payload does run where pickles are loaded
