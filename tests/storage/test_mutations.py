"""Whatever a file holds: it is loaded correctly or refused in a sentence, and nothing else happens."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import CARTPOLE, broken_off

from rlrnn.envs import games
from rlrnn.experiment.runs import runs
from rlrnn.experiment.training import training


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by Linux's means")
@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_files_are_refused_or_loaded(count: int, tmp_path: Path) -> None:
    broken_off(CARTPOLE, tmp_path, 1)
    whole = training.train(CARTPOLE, 1, tmp_path / "whole", progress=False)
    shutil.copy(whole.folder / "agent.zip", tmp_path)
    (tmp_path / "game.toml").write_text(runs.to_toml(games.game("pong")))
    script = Path(__file__).parents[1] / "mutations.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(count), "0"],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])  # a forged file may be verbose
    assert not report["wrong"], "\n".join(report["wrong"][:20])
    seen = report["seen"]
    assert sum(seen.values()) == count and len(seen) == 8, seen  # each kind was loaded at times, and refused
    assert "Traceback" not in done.stderr
