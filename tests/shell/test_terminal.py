"""The shell on a terminal: no line is wider than it, and progress leaves nothing behind."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from tiny_runs import TINY

from rlrnn.common.progress import ProgressDisplay
from rlrnn.experiment import catalogue
from rlrnn.experiment.judging import Judging
from rlrnn.experiment.training.seeds import SeedsProgress, Task

RECIPE = """
game = "cartpole-no-velocity"
steps = 128
[network]
hidden_size = 4
net_arch = []
[ppo]
n_envs = 4
n_steps = 32
n_epochs = 1
[evaluation]
episodes = 4
"""
# Several commands in one process, which takes seconds to start.
COMMANDS = """
import shlex, sys
from rlrnn.shell.cli import main
sys.exit(max(main(shlex.split(line)) for line in sys.argv[1:]))
"""
LINES = (
    "list",
    "check CartPole-v1 --episodes 2",
    "train tiny.toml --quiet",
    "evaluate runs/tiny --quiet --episodes 2",
    "train tiny.toml --quiet --seed 1 --out runs/other",
    "compare runs/tiny runs/other",
)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl
    import pty
    import termios

    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS, *LINES],
        stdout=slave,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                chunk = os.read(master, 1 << 16)
            except OSError:  # as Linux says that nobody writes there any more
                break
            if not chunk:
                break
            written += chunk
        os.close(master)
        assert process.stderr is not None
        complaints = process.stderr.read().decode()
    assert process.returncode == 0, complaints
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in written.decode().split("\r\n")]
    for title in ("must be remembered", "sees  ", "memory wiped", "Probability of improvement"):
        assert any(title in line for line in lines)
    assert [line for line in lines if cell_len(line.rstrip()) > columns or "…" in line] == []
    assert max(map(cell_len, lines)) > 0.9 * columns  # which are as wide as they may
    text = " ".join(" ".join(lines).split())
    assert [game.name for game in catalogue.list_games().values() if game.remember not in text] == []


class Screen:
    """As much of a terminal as bars need: carriage returns, lines up, and lines that are erased."""

    def __init__(self) -> None:
        self.lines, self.row = [""], 0

    def show(self, text: str) -> list[str]:
        """The lines that are seen in the end."""
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            elif part.endswith("A") and part[0] == "\x1b":
                self.row -= int(part[2:-1] or 1)
            elif part.endswith("K") and part[0] == "\x1b":
                self.lines[self.row] = ""
            elif part[0] not in "\x1b\r":
                self.lines[self.row] += part
        return [line.rstrip() for line in self.lines]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes any file for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


def test_the_bar_of_an_evaluation_vanishes(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Judging("position-cartpole-medium-gru") as judging:
        judging.shown = -1e9
        judging("random player", 3, 100, 1_060)
    written = capsys.readouterr().err
    assert "evaluating: random player, 3 of 100 episodes, 1,060 steps per copy" in written
    assert set(Screen().show(written)) == {""}
    assert Screen().show(written + "\nafter")[-1] == "after"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "dumb")
    with Judging("mine") as judging:
        judging.shown = -1e9
        judging("random player", 3, 100, 1_060)
    words = "random player, 3 of 100 episodes, 1,060 steps per copy"
    assert capsys.readouterr().err == f"evaluating mine: {words}\n"


def test_what_bars_say_fits_a_narrow_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "-123.45 points, 173,456 steps/s   120 min left"
    with ProgressDisplay() as display:
        shown = SeedsProgress([Task(TINY, 10, Path("x"))], [10], display)
        shown.waiting = [Task(TINY, 10, Path("x"))]
        shown.show(0, 99_999_999, words)
    (line,) = filter(None, Screen().show(capsys.readouterr().err))
    assert line.startswith("seed 10 ━") and line.endswith(f" 99,999,999 steps, {words}") and len(line) == 80
