"""A report holds all that it shows, and what it says is what was measured."""

import base64
import dataclasses
import re
from html.parser import HTMLParser

import pytest
from tiny_runs import CARTPOLE, broken_off

from rlrnn.errors import UserError
from rlrnn.experiment.pictures.reporting import report
from rlrnn.experiment.runs import runs
from rlrnn.experiment.training import training
from rlrnn.shell.cli import main

RECIPE = dataclasses.replace(CARTPOLE, wrappers=(), description="<script>alert('no')</script> & more")


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    for seed in (0, 1):
        training.train(RECIPE, seed, folder / f"seed{seed}", progress=False)
    return folder


@pytest.fixture(scope="module")
def page(agent):
    return Page(report(agent, agent / "report.html").read_text(encoding="utf-8"))


def test_nothing_comes_from_elsewhere_and_nothing_runs(page):
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.tags)
    assert len(page.sources) == page.tags.count("img") == 6
    for source in page.sources:
        kind, data = re.fullmatch(r"data:(image/[a-z+]+);base64,(.+)", source).groups()
        begins = {"image/png": b"\x89PNG", "image/gif": b"GIF8", "image/svg+xml": b"<?xml"}[kind]
        assert base64.b64decode(data, validate=True).startswith(begins)


def test_it_says_what_was_measured(page, agent):
    points = [runs.read_run(agent / f"seed{k}").scores() for k in (0, 1)]
    for playing in ("with memory", "memory wiped"):
        mean = sum(score[playing].mean for score in points) / 2
        assert f"{mean:.2f}" in page.text and f"{mean:.1f}points, {playing}" in page.text
    assert "Final agents of seeds 0, 1, deterministic actions" in page.text
    assert "384 environment steps" in page.text


def test_what_users_write_is_text(page):
    assert "<script>alert('no')</script> & more" in page.text


def test_one_agent_finished_and_a_file_that_browsers_open(agent, tmp_path):
    with pytest.raises(UserError, match=r"report\.txt should end in \.html"):
        report(agent, tmp_path / "report.txt")
    other = dataclasses.replace(RECIPE, name="other")
    training.train(other, 0, tmp_path / "other" / "seed0", progress=False)
    both = [runs.read_run(agent / "seed0"), runs.read_run(tmp_path / "other" / "seed0")]
    with pytest.raises(UserError, match="a report is on one agent, not on other, tiny: see rlrnn compare"):
        report(both, tmp_path / "report.html")
    broken_off(CARTPOLE, tmp_path / "broken" / "seed1", 1)
    with pytest.raises(
        UserError, match="holds no finished run: train one first, or resume one with rlrnn train --resume"
    ):
        report(tmp_path / "broken", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_shell_finds_an_agent_by_its_name(agent, monkeypatch, capsys):
    monkeypatch.chdir(agent.parent.parent)
    (agent.parent.parent / "runs").mkdir(exist_ok=True)
    target = agent.parent.parent / "runs" / "tiny"
    if not target.exists():
        target.symlink_to(agent)
    (agent / "report.html").unlink(missing_ok=True)
    assert main(["report", "tiny"]) == 0
    assert capsys.readouterr().out.strip().endswith("runs/tiny/report.html")
    assert (agent / "report.html").exists()
