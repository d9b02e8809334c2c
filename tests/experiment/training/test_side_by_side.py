"""Trainings side by side: what their processes say comes to whoever shows them."""

from pathlib import Path

import pytest

from rlrnn.common.progress import ProgressDisplay
from rlrnn.experiment.training.side_by_side import Job, work


class Seen:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ends: list[tuple[int, bool]] = []

    def begun(self, k: int) -> None:
        pass

    def show(self, k: int, steps: int, words: str) -> None:
        pass

    def said(self, line: str) -> None:
        self.lines.append(line)

    def ended(self, k: int, well: bool) -> None:
        self.ends.append((k, well))


def test_what_a_process_says_on_stderr_comes_line_by_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def talk() -> None:
        import sys
        import warnings

        print("rlrnn: a line", file=sys.stderr)
        sys.stderr.write("and ")
        warnings.warn("a warning\n", stacklevel=1)
        sys.stderr.write("the end\nno end")

    seen = Seen()
    assert work([Job("seed 0", tmp_path / "run", talk)], 1, seen) == {}
    assert seen.lines[0] == "rlrnn: a line" and seen.lines[-2:] == ["the end", "no end"]
    assert any("UserWarning: a warning" in line for line in seen.lines)
    assert seen.ends == [(0, True)] and "a line" not in capfd.readouterr().err


def test_a_line_stands_above_the_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for forced, quiet in (("1", False), ("", False), ("", True)):
        monkeypatch.setenv("FORCE_COLOR", forced)
        monkeypatch.setenv("TERM", "xterm-256color")
        with ProgressDisplay(quiet=quiet) as display:
            display.add(10, "a bar", "begun")
            display.say("look [here] \x1b[33myellow\x1b[0m")
        written = capsys.readouterr().err
        assert "look [here] " in written and "yellow" in written
        assert written.rindex("look") < written.rindex("a bar") if forced else "a bar" not in written
