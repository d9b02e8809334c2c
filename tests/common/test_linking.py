"""Kernels call each other by symbol: each is compiled once, kept, and brought back for those that call it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rlrnn.common import compiling

if not compiling.can_compile():
    pytest.skip("numba is missing or switched off", allow_module_level=True)

import numba

from rlrnn.common.linking import kernel


@kernel
def checked_root(x):
    """A new array of square roots."""
    result = np.empty_like(x)
    for i in range(len(x)):
        if x[i] < 0:
            raise ValueError("less than nothing")
        result[i] = np.sqrt(x[i])
    return result


@kernel
def roots_of_both(x, y):
    """Two calls, of two types."""
    return checked_root(x).sum() + checked_root(y).sum()


def test_a_call_by_symbol_gives_what_the_function_gives_for_each_type() -> None:
    x, y = np.array([4.0, 9.0]), np.array([16.0, 25.0, 1.0], np.float32)
    assert roots_of_both(x, y) == 15.0
    assert [one.dtype.name for (one,) in checked_root.signatures] == ["float64", "float32"]
    with pytest.raises(ValueError, match="less than nothing"):
        roots_of_both(x, -y)


def test_what_is_called_is_no_part_of_its_caller() -> None:
    @numba.njit
    def caller(x):
        return checked_root(x)[0]

    assert caller(np.full(2, 9.0)) == 3.0
    (code,) = caller.inspect_llvm().values()
    lines = [line for line in code.splitlines() if "rlrnn_checked_root" in line]
    assert any(line.startswith("declare") for line in lines)
    assert not any(line.startswith("define") for line in lines)


CALLED = """
from rlrnn.common.linking import kernel
@kernel
def scaled(x):
    return 10 * x
"""
CALLER = """
from called import scaled
from rlrnn.common.linking import kernel
@kernel
def run(x):
    return scaled(x) + 1
"""


def said(folder: Path) -> tuple[str, str]:
    """The result of the caller in a process of its own, how much of it was kept, and what was announced."""
    hits = "sum(run.dispatcher.stats.cache_hits.values())"
    code = f"import sys\nsys.path.append({str(folder)!r})\nfrom caller import run\nprint(run(2), {hits})"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kept")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


PARTS = """
import ctypes
import numba
from called import scaled
from numba import carray, types
from rlrnn.common.compiling import Callback
@numba.njit
def part(x):
    return scaled(x)
def write(where):
    where[0] = part(where[0]) + 1
numbers = Callback(write, types.void(types.CPointer(types.int64)))
def run(x):
    place = ctypes.c_int64(x)
    numbers(ctypes.byref(place))
    return place.value
run.dispatcher = scaled.dispatcher
"""


def test_a_kept_callback_finds_what_its_parts_call(tmp_path: Path) -> None:
    (tmp_path / "called.py").write_text(CALLED)
    (tmp_path / "caller.py").write_text(PARTS)
    assert said(tmp_path)[0].startswith("21 ")
    assert said(tmp_path) == ("21 1", "")


def test_a_kept_caller_finds_what_it_calls(tmp_path: Path) -> None:
    (tmp_path / "called.py").write_text(CALLED)
    (tmp_path / "caller.py").write_text(CALLER)
    announced = "rlrnn: compiling its kernels for this machine, once: some seconds ..."
    assert said(tmp_path) == ("21 0", announced)
    assert said(tmp_path) == ("21 1", "")
    lost = [path for path in tmp_path.rglob("*.nb?") if "scaled" in path.name]
    assert lost
    for path in lost:
        path.unlink()
    assert said(tmp_path) == ("21 1", announced)  # compiled anew, for a caller that was kept
    assert said(tmp_path) == ("21 1", "")
    for path in tmp_path.rglob("*scaled*.nb?"):
        path.write_bytes(b"not what numba wrote")
    printed, complaint = said(tmp_path)
    assert printed == "21 1" and "cannot be kept in" in complaint and announced in complaint
