"""What files and games call things is shown letter by letter: no markup, no formula, no command, no path."""

import ast
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

import rlrnn
from rlrnn.common import texts
from rlrnn.envs.games import Game, Points, Reference, References
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import evaluation
from rlrnn.experiment.evaluation import RANDOM, WIPED, WITH_MEMORY, Score
from rlrnn.experiment.judging import Judging
from rlrnn.experiment.pictures import plotting, reporting, scores
from rlrnn.experiment.pictures.activations import Episode
from rlrnn.experiment.pictures.memory_pictures import _panels, draw_profile
from rlrnn.experiment.pictures.memory_profile import Profile
from rlrnn.experiment.pictures.network_drawing import draw
from rlrnn.experiment.pictures.network_layout import Node, arrange
from rlrnn.experiment.pictures.plotting import save
from rlrnn.experiment.recipes import Recipe, Verified, read_recipe
from rlrnn.experiment.runs import comparing, contents, facts, runs
from rlrnn.experiment.runs.curves import read_curves
from rlrnn.experiment.training import verifying
from rlrnn.shell.cli import main

NAME = "_a [bold]$x_1$ :smile: $"  # a name that any system can have
WORDS = "[red]$\\foo$ :smile: [/b] <&>"
EVIL = f"{WORDS}\x1b[31m\x9b\udcff\x00"
SHOWN = f"{WORDS}\\x1b[31m\\x9b\\udcff\\x00"
GAME = Game(
    "g",
    "x",
    f"title {EVIL}",
    points=Points(f"unit {EVIL}"),
    references=References(Reference(0.0, f"source {EVIL}"), None, None, Reference(2.0, "b")),
)
SCORES = {
    WITH_MEMORY: Score((1.0, 2.0), (3, 4)),
    WIPED: Score((0.0, 1.0), (3, 4)),
    RANDOM: Score((0.0, 0.5), (3, 4)),
}


@pytest.fixture
def seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(runs.Run, "game", GAME)
    found = []
    for seed in (0, 1):
        run = runs.open_run(
            tmp_path / NAME / f"seed{seed}", Recipe(NAME, "CartPole-v1", 1), seed, None, False
        )
        (run.folder / contents.EPISODES).write_text("step,points,length\n10,1.5,10\n30,-2.0,20\n")
        runs.write_scores(run.folder / contents.SCORE, SCORES)
        found.append(run)
    return found


def printed(*what):
    file = io.StringIO()
    console = texts.terminal(file=file, width=300)
    console.print(*what)
    return close(file.getvalue())


def close(text):
    """Without spaces and the ends of lines, as titles are broken to the width of their tables."""
    return "".join(text.split())


def written(path):
    """All letters of a picture, which is a whole XML file."""
    return "\n".join(ElementTree.parse(path).getroot().itertext())


@pytest.fixture(autouse=True)
def _letters_stay_letters():
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield


def test_what_cannot_be_shown_is_an_escape():
    assert texts.printable("a\tb\nc é 漢 😀 [x] $") == "a\tb\nc é 漢 😀 [x] $"
    assert texts.printable(EVIL) == SHOWN
    assert texts.printable("a\rb\u202e\u2028\ufffe\x7f") == "a\\rb\\u202e\\u2028\\ufffe\\x7f"


def test_all_tables_print_it_letter_by_letter(seeds):
    out = printed(evaluation.shown(SCORES, GAME))
    assert all(close(f"{what} {SHOWN}") in out for what in ("title", "unit", "source"))
    out = printed(comparing.table(comparing.compare(seeds)))
    assert all(close(words) in out for words in (NAME, f"title {SHOWN}", f"unit {SHOWN}"))
    claim = Verified((1.0, 1.5), (0, 1), EVIL, "x", (0.0, 0.0))
    out = printed(verifying.table(verifying.Verdict(NAME, EVIL, claim, (0, 1), (SCORES, SCORES), True)))
    assert close(NAME) in out and close(SHOWN) in out
    assert SHOWN in "".join(Judging(EVIL).states.values())


def test_all_pictures_show_it_letter_by_letter(seeds, tmp_path):
    path = tmp_path / "a.svg"
    shown = written(plotting.save(plotting.draw(read_curves(seeds)), path))
    assert NAME in shown and f"unit {SHOWN[:8]}" in shown and SHOWN[:8] in shown
    shown = written(scores.draw(comparing.compare(seeds), path))
    assert NAME in shown and f"title {SHOWN}" in shown and f"unit {SHOWN}" in shown
    profile = Profile(EVIL, np.ones((2, 3)), np.ones((2, 3)))
    shown = written(draw_profile({NAME: profile, EVIL: profile}, path))
    assert NAME in shown and SHOWN in shown
    shown = written(
        save(draw(arrange([Node(EVIL, "hidden", "b", (0.0, 0.0), EVIL)], [], False, EVIL), EVIL), path)
    )
    assert shown.count(SHOWN) >= 4
    few = np.zeros((2, 2))
    episode = Episode(few, few, few[:, 0], None, 0, few[:, 0], [], True)
    assert f"title {SHOWN}" in written(save(_panels(episode, GAME), path))


def test_a_run_is_named_in_a_line(seeds):
    assert repr(seeds[1]) == f"Run({str(seeds[1].folder)!r}: {NAME}, seed 1, training)"


def test_a_page_is_written_whatever_it_holds(tmp_path, monkeypatch, seeds):
    monkeypatch.setattr(reporting, "_page", lambda *_: EVIL)
    seeds = [run.end(facts.FINISHED, steps=1, seconds=1.0) for run in seeds]
    assert reporting.report(seeds, tmp_path / "a.html").read_text() == SHOWN


def test_what_the_shell_says_holds_no_commands(capsys):
    assert main(["evaluate", "no\x1b[31m\udcff"]) == 2
    assert "there is no run no\\x1b[31m\\udcff" in capsys.readouterr().err


NAMES = (
    "",
    ".",
    "..",
    "../a",
    "/abs",
    "a/b",
    "a\\b",
    "a\nb",
    "a\tb",
    "\x1b[31m",
    ".a",
    "a.",
    " a",
    "a ",
    "a\udcff",
)


@pytest.mark.parametrize("name", [*NAMES, "a" * 201])
def test_a_name_that_leads_elsewhere_is_no_agents(name, tmp_path):
    with pytest.raises(
        UserError, match=r"an agent is called '.*', but its folder bears that name: give 1 to"
    ):
        Recipe(name, "x", 1)
    if "\udcff" not in name:
        (tmp_path / "t.toml").write_text(f"name = {json.dumps(name)}\ngame = 'x'\nsteps = 1\n")
        with pytest.raises(UserError, match="but its folder bears that name"):
            read_recipe(tmp_path / "t.toml")


@pytest.mark.parametrize(
    "name", [NAME, "a", "Pong für Anfänger", "storage: legendre", "a..b", "漢字", "a" * 200]
)
def test_other_names_are_as_they_are(name):
    assert Recipe(name, "x", 1).name == name and texts.is_name(name)


@pytest.mark.parametrize("name", [*NAMES, 3])
def test_a_run_that_would_remove_another_folder_is_not_read(name, tmp_path):
    """``replaces`` names the run beside it that is removed when this one is finished."""
    run = runs.open_run(tmp_path / "seed0", Recipe("a", "CartPole-v1", 1), 0, None, False)
    run.end(facts.TRAINED, replaces=name)
    with pytest.raises(FileFault, match=r"is damaged: its replaces is .*, and not a folder's name\."):
        runs.read_run(tmp_path / "seed0")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names of files are UTF-8")
def test_a_folder_whose_name_is_not_utf8_is_drawn(seeds, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x01"))
    (tmp_path / NAME).rename(folder)
    (folder / "seed0").rename(folder / "a")
    both = [runs.read_run(folder / "a"), runs.read_run(folder / "seed1")]
    both[0] = replace(both[0], recipe=replace(both[0].recipe, steps=2))  # so that folders tell them apart
    assert "\\udcff\\x01" in written(plotting.plot(both, tmp_path / "a.svg"))
    assert "\\udcff\\x01" in written(scores.draw(comparing.compare(both), tmp_path / "b.svg"))


def test_nothing_else_prints():
    """Whatever else made a console of its own, or printed a file's words, would let them through."""
    package = Path(rlrnn.__file__).parent
    shell = {"evaluation", "judging", "comparing", "verifying", "training", "seeds", "serial", "runs"}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "Console" or path.stem == "texts", path
                in_shell = path.stem in shell or "shell" in path.parts
                assert node.func.id != "print" or not in_shell, path
