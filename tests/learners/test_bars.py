"""What a progress bar shows, on a terminal and in a notebook, where tables are shown once, too."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import rich.console
import rich.jupyter

import rlrnn
from rlrnn.common import progress
from rlrnn.learners.bars import StepsBar, StepsLines, steps_bar

HOW = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 0, "device": "cpu"}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook shows, in which rich believes itself to be; without ipywidgets."""
    found: list[str] = []
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(rich.jupyter, "display", lambda segments, text: found.append(text))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ipywidgets" else real(name)
    )
    return found


def test_in_a_notebook_without_widgets_it_is_lines(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", "CartPole-v1", **HOW)
    agent.learn(32, progress_bar=True)
    assert len(shown) == 33 and shown[0].startswith("1 of 32 steps")
    assert shown[-1].startswith("32 of 32 steps   ") and shown[-1].strip().endswith("points")
    agent.learn(16, reset_num_timesteps=False, progress_bar=True)
    assert shown[-1].startswith("48 of 48 steps")


def test_where_widgets_are_or_no_notebook_it_is_sb3s(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(steps_bar()) is StepsLines
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "some")
    assert type(steps_bar()) is StepsBar
    monkeypatch.undo()
    assert type(steps_bar()) is StepsBar


def test_a_result_is_shown_once(shown: list[str]) -> None:
    """By the notebook, of what ``_repr_html_`` returns."""
    assert "random player" in rlrnn.check("rlrnn/CartPole-v1", 2)._repr_html_()
    assert shown == []
