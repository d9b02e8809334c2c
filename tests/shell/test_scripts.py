"""What scripts and papers read: one JSON document on stdout, CSV, LaTeX, hidden units as arrays."""

import csv
import json
import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from tiny_runs import TINY

from rlrnn.common.texts import tell_json
from rlrnn.errors import UserError
from rlrnn.experiment.evaluation import evaluate
from rlrnn.experiment.pictures.units import record_units
from rlrnn.experiment.runs.exporting import COLUMNS, escaped
from rlrnn.experiment.training.training import train
from rlrnn.shell.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TINY, 1, tmp_path_factory.mktemp("scripts") / "tiny" / "seed1", progress=False)


def printed(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_prints_one_document(run, tmp_path, capsys):
    listed = printed(capsys, "list", "pong", "--json")
    assert listed["games"]["pong"]["id"] == "rlrnn/Pong-v0" and "cartpole" not in listed["games"]
    assert listed["agents"]["pong-gru"]["game"] == "pong"
    played = printed(capsys, "evaluate", run.folder, "--json", "--quiet")
    assert played["scores"] == json.loads((run.folder / "score.json").read_text())["scores"]
    table, tex = tmp_path / "a.csv", tmp_path / "a.tex"
    compared = printed(capsys, "compare", run.folder, "--json", "--csv", table, "--latex", tex)
    rows = {row["playing"]: row for row in compared["rows"]}
    mean = run.scores()["with memory"].mean
    assert rows["with memory"]["mean"] == mean and rows["with memory"]["seeds"] == 1
    assert len(rows["with memory"]["points"][0]) == 6 and compared["improvement"] == []
    with table.open() as file:
        written = list(csv.DictReader(file))
    assert tuple(written[0]) == COLUMNS and float(written[0]["mean"]) == mean
    text = tex.read_text()
    assert text.startswith("\\begin{tabular}") and f"${mean:.2f}$" in text and text.count(r"\\") == 4


PRINTS = """
import ctypes
import os

import gymnasium as gym
from rlrnn.games.cartpole import SingleCartPole

print("a library greets you")


class Loud(SingleCartPole):
    def step(self, action):
        print("step", action)
        os.write(1, b"without Python\\n")
        ctypes.CDLL(None).printf(b"late")  # which C keeps until the end
        return super().step(action)


gym.register("Loud-v0", Loud, max_episode_steps=5)
"""


def test_what_a_game_prints_does_not_come_between(tmp_path, capsys, monkeypatch):
    """Neither what Python prints nor what a library prints without it, nor what is printed late."""
    (tmp_path / "loud.py").write_text(PRINTS)
    game = ["check", "Loud-v0", "--import", str(tmp_path / "loud.py"), "--episodes", "2", "--json"]
    program = f"from rlrnn.shell.cli import main; main({game}); print('afterwards')"
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=usual)
    document, _, after = done.stdout.rpartition(b"}")
    assert json.loads(document + b"}")["lengths"] == [5, 5] and after == b"\nafterwards\n"
    for words in (b"a library greets you", b"step 1", b"without Python", b"late"):
        assert words in done.stderr
    assert printed(capsys, *game)["game"] == "Loud-v0"  # where standard output is no file of the system, too
    assert main(["check", "Nothing-v0", "--json"]) == 2
    print("afterwards")
    assert capsys.readouterr().out == "afterwards\n"  # it is what it was
    monkeypatch.delitem(gym.registry, "Loud-v0")


def test_a_reader_that_goes_away_is_no_fault():
    command = f"{sys.executable} -m rlrnn list --json | head -c 5"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (b'{\n "g', b"", 1)


def test_quiet_leaves_out_the_progress(run, tmp_path, capsys):
    recipe = str(run.folder / "recipe.toml")
    assert main(["train", recipe, "--steps", "128", "--out", str(tmp_path / "q"), "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "with memory" in said.out


def test_numbers_and_signs_that_others_do_not_know(capsys):
    tell_json({"a": [float("nan"), 1.5], 3: (float("inf"),)})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "3": [None]}
    assert escaped(r"50%_of {x}\y") == r"50\%\_of \{x\}\textbackslash{}y"


def test_units_are_those_of_the_network_that_plays(run, tmp_path, capsys):
    path = tmp_path / "units.npz"
    assert main(["inspect", str(run.folder), "--data", str(path), "--episodes", "3"]) == 0
    assert "units [" in capsys.readouterr().out
    with np.load(path) as data:
        tables = dict(data)
    steps = len(tables["starts"])
    score = evaluate(run.agent(), run.game, 3)
    assert steps == max(score.lengths)
    assert tables["units"].shape == (steps, 3, 8) and tables["observations"].shape == (steps, 3, 2)
    # CartPole gives a point per step: the first episodes are those of an evaluation.
    for b in range(3):
        assert tables["points"][: int(score.lengths[b]), b].sum() == score.points[b]
        if score.lengths[b] < steps:
            assert (
                tables["starts"][: int(score.lengths[b]) + 1, b].tolist()[:: int(score.lengths[b])]
                == [True] * 2
            )
    # The memory of one row, unrolled at once, is what was recorded step by step.
    network = run.agent().policy.network
    with torch.no_grad():
        x = network.sensors(torch.as_tensor(tables["observations"]).flatten(0, 1)).view(steps, 3, -1)
        start, first = torch.as_tensor(tables["starts"]), torch.as_tensor(tables["state"][0])
        y = network.memory.outputs(x, start, first)
    np.testing.assert_allclose(tables["units"], y, atol=1e-5)
    assert (tables["state"][0] == 0).all()
    with pytest.raises(UserError, match=r"should end in \.npz"):
        record_units(run.agent(), run.game, tmp_path / "units.csv")
