"""What the docstrings say of parameters: each of the learners' is told, and none that is not there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import rlrnn

TOLD_IN_FULL = {
    "RecurrentPPO": (rlrnn.RecurrentPPO, rlrnn.RecurrentPPO.__init__),  # whose docstring, whose parameters
    "Evolution": (rlrnn.Evolution, rlrnn.Evolution.__init__),
    "SequenceLearner": (rlrnn.SequenceLearner, rlrnn.SequenceLearner.__init__),
    "SequenceLearner.fit": (rlrnn.SequenceLearner.fit, rlrnn.SequenceLearner.fit),
    "train": (rlrnn.train, rlrnn.train),
    "evaluate": (rlrnn.evaluate, rlrnn.evaluate),
}


def told(thing: Any) -> dict[str, str]:
    """What a docstring says of each parameter, in its order."""
    text = re.split(r"\n(?=\S)", inspect.getdoc(thing) or "")
    entries = [re.match(r":param (\w+): *(.*)", part, re.DOTALL) for part in text]
    return {entry[1]: " ".join(entry[2].split()) for entry in entries if entry}


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("name", TOLD_IN_FULL)
def test_every_parameter_is_told_in_the_order_of_the_signature(name: str) -> None:
    documented, function = TOLD_IN_FULL[name]
    assert list(told(documented)) == parameters(function)
    assert all(told(documented).values())


@pytest.mark.parametrize("name", sorted(set(rlrnn.__all__) - {"__version__"}))
def test_no_docstring_tells_a_parameter_that_is_not_there(name: str) -> None:
    thing = getattr(rlrnn, name)
    function = thing.__init__ if isinstance(thing, type) else thing
    assert set(told(thing)) <= set(parameters(function))
    if isinstance(thing, type):
        methods = inspect.getmembers(thing, inspect.isfunction)
        for method in (method for own, method in methods if own in vars(thing)):
            assert set(told(method)) <= set(parameters(method)), method


def test_the_defaults_are_contribs_as_the_docstring_says() -> None:
    contrib = inspect.signature(pytest.importorskip("sb3_contrib").RecurrentPPO).parameters
    ours = inspect.signature(rlrnn.RecurrentPPO).parameters
    assert list(ours)[: len(contrib)] == list(contrib)
    assert {name: ours[name].default for name in contrib} == {n: p.default for n, p in contrib.items()}
