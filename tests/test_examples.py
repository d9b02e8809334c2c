"""Each example runs, at a small size."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What its main returns, with --small."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "argv", [name, "--small"])
    spec.loader.exec_module(module)
    return module.main()


def needs_digits() -> None:
    pytest.importorskip("sklearn", reason="the extra [digits] is not installed")


def test_every_example_is_run_here() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"digits", "digit_strings", "imitation"}


def test_digits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    needs_digits()
    (accuracy,) = run("digits", monkeypatch)
    assert accuracy > 0.5  # chance is 0.1
    assert f"{accuracy:.2%} of 360 test digits correct" in capsys.readouterr().out


def test_digit_strings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    needs_digits()
    rates = run("digit_strings", monkeypatch)
    assert set(rates) == {"side by side", "random gaps"}
    assert all(0.0 <= rate <= 1.5 for (rate,) in rates.values())  # two epochs learn next to nothing
    assert "is read as" in capsys.readouterr().out


def test_imitation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    solved = run("imitation", monkeypatch)
    (alone,), (after,) = solved["reward alone"], solved["imitation first"]
    assert after is not None and after < (math.inf if alone is None else alone)
    assert "recorded 20 episodes, 80 steps, 4.00 points each" in capsys.readouterr().out
