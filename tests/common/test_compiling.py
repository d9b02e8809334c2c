"""What numba compiles is announced, kept while no source has changed, and done without where it cannot be."""

import errno
import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import rlrnn
from rlrnn.common import compiling

if not compiling.can_compile():
    pytest.skip("numba is missing or switched off", allow_module_level=True)

import numba
from numba.core import event

PACKAGE = Path(rlrnn.__file__).parent


def child(code: str, folder: Path = PACKAGE.parent, **environment: str) -> tuple[str, str]:
    """What a process of its own says, and what it complains of; it looks for rlrnn in that folder first."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"import sys, torch\nfrom rlrnn.common import compiling\n{code}",
        ],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_the_switch_leaves_torch_alone() -> None:
    code = """
from rlrnn.network.paths import what_runs
from rlrnn.network.memory import Memory
Memory("gru", 2, 3).unroll(torch.ones(4, 5, 2), torch.zeros(4, 5, dtype=torch.bool), torch.zeros(5, 3))
print(compiling.can_compile(), "numba" in sys.modules, what_runs("gru", "cpu"))
"""
    assert child(code, **{compiling.SWITCH: "0"}) == ("False False torch", "")


COMPILE_ONE = """
state = torch.ones(2, 3)
from rlrnn.cells.kernels.rows import leave
start = torch.tensor([True, False]).numpy()
leave(start, state.numpy())
leave(start, state.double().numpy())
print(state.tolist())
"""
ONE_CLEARED = "[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]"


def test_compiling_is_announced_once_and_kept_for_the_next_process(tmp_path: Path) -> None:
    kept = {"NUMBA_CACHE_DIR": str(tmp_path)}
    said, complaint = child(COMPILE_ONE, **kept)
    assert said == ONE_CLEARED
    assert complaint == "rlrnn: compiling its kernels for this machine, once: some seconds ..."
    assert child(COMPILE_ONE, **kept) == (ONE_CLEARED, "")


def test_where_nothing_can_be_kept_each_process_compiles(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "rlrnn", ignore=shutil.ignore_patterns("__pycache__"))
    blocked = tmp_path / "rlrnn" / "cells" / "kernels" / "__pycache__"
    # A file in place of a folder stops even root.
    blocked.touch()
    nowhere = dict.fromkeys(("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME"), str(blocked))
    said, complaint = child(COMPILE_ONE, tmp_path, **nowhere)
    assert said == ONE_CLEARED
    assert complaint.count("\n") == 0 and "anew in each process (set NUMBA_CACHE_DIR" in complaint


@pytest.mark.parametrize("kind", [ImportError, OSError, AttributeError])
def test_a_numba_that_cannot_start_is_named_and_done_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    real = __import__

    def refusing(name: str, *rest: Any) -> Any:
        if name == "numba":
            raise kind("Numba needs NumPy\n2.4 or less.")
        return real(name, *rest)

    monkeypatch.setattr("builtins.__import__", refusing)
    assert not compiling.can_compile.__wrapped__()
    assert capsys.readouterr().err == (
        "rlrnn: torch runs instead of its compiled kernels, as numba cannot start: Numba needs NumPy 2.4 or "
        "less.\n"
    )


def test_a_numba_that_may_not_compile_is_done_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compiling.can_compile.__wrapped__()
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert not compiling.can_compile.__wrapped__()
    assert capsys.readouterr().err == (
        "rlrnn: torch runs instead of its compiled kernels, as NUMBA_DISABLE_JIT is set\n"
    )
    monkeypatch.setattr(compiling, "can_compile", lambda: False)
    assert compiling.load.__wrapped__("rlrnn.games.kernels.pong") is None


def test_a_processor_without_fused_multiply_add_does_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("numba.config.CPU_NAME", None)
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"fma": False})
    assert not compiling.can_compile.__wrapped__()
    assert capsys.readouterr().err == (
        "rlrnn: torch runs instead of its compiled kernels, as this processor has no fused multiply-add, "
        "which they would emulate slowly\n"
    )
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {})  # as other architectures have
    assert compiling.can_compile.__wrapped__()


def test_without_numba_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not compiling.can_compile.__wrapped__()
    assert capsys.readouterr().err == (
        "rlrnn: torch runs instead of its compiled kernels, as numba is not installed\n"
    )


@pytest.mark.parametrize("failing", ["save", "_load_index", "damaged"])
def test_a_folder_of_machine_code_that_fails_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, failing: str
) -> None:
    def plus(x: Any, y: Any) -> Any:
        return x + y

    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    compiling._warn.cache_clear()
    if failing == "damaged":
        assert compiling.jit(plus)(1, 2) == 3
        for path in tmp_path.rglob("*.nb?"):
            path.write_bytes(b"not what numba wrote")
    else:
        full = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(f"numba.core.caching.IndexDataCacheFile.{failing}", Mock(side_effect=full))
    assert compiling.jit(plus)(1, 2) == 3
    assert f"cannot be kept in {tmp_path}" in capsys.readouterr().err
    if failing == "save":
        assert list(tmp_path.rglob("*.nb?")) == []


def test_an_edited_helper_of_another_module_is_compiled_anew(tmp_path: Path) -> None:
    """numba itself looks at the file of the function alone, and would give the old 20."""
    package = tmp_path / "rlrnn"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    helper, caller = package / "helper.py", package / "caller.py"
    helper.write_text("from rlrnn.common.compiling import jit\n@jit\ndef scaled(x):\n    return 10 * x\n")
    caller.write_text(
        "from rlrnn.common.compiling import jit\nfrom rlrnn.helper import scaled\n"
        "@jit\ndef run(x):\n    return scaled(x)\n"
    )
    code = "from rlrnn.caller import run\nprint(run(2), sum(run.stats.cache_hits.values()))"
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    assert child(code, tmp_path, **kept)[0] == "20 0"
    assert child(code, tmp_path, **kept) == ("20 1", "")
    helper.write_text(helper.read_text().replace("10", "15"))
    assert child(code, tmp_path, **kept)[0] == "30 0"


def test_a_digest_is_that_of_every_module_on_the_way() -> None:
    kernels = PACKAGE / "cells" / "kernels"
    known = {name: compiling.digest(str(kernels / f"{name}.py")) for name in ("rows", "gru", "lstm")}
    assert len(set(known.values())) == 3
    nowhere = compiling.digest(str(kernels / "nowhere.py"))  # of a module without a file
    assert nowhere not in known.values()


@pytest.mark.parametrize("before", [(123, 4, 5), (0, 10, 10)])
def test_garbage_is_looked_for_rarely_while_numba_compiles_and_as_before_then(
    before: tuple[int, int, int],
) -> None:
    assert compiling.load("rlrnn.cells.kernels.rows")  # so that ours listen
    seen = []

    class Look(event.Listener):
        def on_start(self, event: Any) -> None:
            seen.append(gc.get_threshold())

        def on_end(self, event: Any) -> None: ...

    inner = numba.njit(lambda x: x + 1)
    usual = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        with event.install_listener("numba:compile", Look()):
            numba.njit(lambda x: inner(x) + inner(x + 0.5))(1)
            assert gc.get_threshold() == before
            with pytest.raises(numba.TypingError):
                inner("no number")
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*usual)
    assert len(seen) == 4 and set(seen) == {compiling._Collecting.RARELY if before[0] else before}
