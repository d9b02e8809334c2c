"""rlrnn record, rlrnn imitate, and training from there; rlrnn completion."""

import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_runs import TINY

import rlrnn
from rlrnn.experiment.recipes import to_toml
from rlrnn.experiment.training.training import train
from rlrnn.shell.cli import main
from rlrnn.shell.verbs import VERBS


def test_recorded_imitated_and_gone_on_from(tmp_path, capsys):
    run = train(TINY, 1, tmp_path / "run", progress=False)
    episodes, agent = tmp_path / "e.npz", tmp_path / "a.zip"
    assert main(["record", str(run.folder), "--episodes", "8", "--out", str(tmp_path / "e")]) == 0
    recorded = rlrnn.load_episodes(episodes)
    theirs = rlrnn.record(run.agent(), run.game, 8)
    assert len(recorded) == 8
    for one, other in zip(recorded, theirs, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.observations, other.observations)
    assert f"{episodes}: 8 episodes of {run.game.name}" in capsys.readouterr().out
    (tmp_path / "tiny.toml").write_text(to_toml(TINY))
    recipe = str(tmp_path / "tiny.toml")
    told = ["--epochs", "3", "--seed", "2", "--out", str(tmp_path / "a"), "--quiet"]
    assert main(["imitate", recipe, str(episodes), *told]) == 0
    said = capsys.readouterr()
    assert f"{agent}: 8 episodes, 3 epochs; the last one: " in said.out and said.err == ""
    first = rlrnn.load(agent, device="cpu").policy.state_dict()
    assert main(["imitate", recipe, str(episodes), *told]) == 0  # the same again
    again = rlrnn.load(agent, device="cpu").policy.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    still = ["--set", "ppo.learning_rate=0.0", "--steps", "128", "--out", str(tmp_path / "next"), "--quiet"]
    assert main(["train", recipe, "--from", str(agent), *still]) == 0
    went_on = rlrnn.load(tmp_path / "next", device="cpu").policy.state_dict()
    assert all(torch.equal(first[name], went_on[name]) for name in first)


def test_what_cannot_be_imitated_is_named(tmp_path, capsys):
    assert main(["imitate", "pong-gru", str(tmp_path / "none")]) == 2
    assert f"there is no {tmp_path / 'none.npz'}: rlrnn record" in capsys.readouterr().err
    (tmp_path / "no.npz").write_bytes(b"no")
    assert main(["imitate", "pong-gru", str(tmp_path / "no.npz")]) == 2
    assert "no.npz" in capsys.readouterr().err
    assert main(["record", str(tmp_path / "none")]) == 2
    assert "there is no run" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("shtab") is None, reason="needs the extra completion")
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_command_is_completed(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in VERBS) and "--snapshots" in text


@pytest.mark.skipif(importlib.util.find_spec("shtab") is None, reason="needs the extra completion")
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("rlrnn tr", {"train"}),
        ("rlrnn train pong-g", {"pong-gru"}),
        ("rlrnn train --game pon", {"pong"}),
        ("rlrnn evaluate mine", {"mine.zip"}),  # a file, as nothing of the catalogue is called that
        ("rlrnn show memory-chain-512", {"memory-chain-512", "memory-chain-512-dqn"}),
        ("rlrnn new pong-g", set()),  # a name that is still to be thought of
    ],
)
def test_bash_completes_names_of_the_catalogue_and_files(line, among, tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "mine.zip").touch()
    last = len(line.split()) - 1
    asked = f"source ./script; COMP_WORDS=({line}) COMP_CWORD={last}; _shtab_rlrnn; echo ${{COMPREPLY[@]}}"
    command = ["bash", "-c", asked]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(told.stdout.split()) == among, told.stderr


def test_completion_without_its_extra_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err.strip().endswith('pip install "rlrnn[completion]".')
