"""Keys of data files: what the code says of them, and that it says it of each."""

import importlib.util
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from rlrnn.cells import CELLS
from rlrnn.common.keys import NOTHING, Key, inline, keys_of, sentence_of
from rlrnn.common.records import Count
from rlrnn.envs.games import Game
from rlrnn.envs.wrappers import WRAPPERS
from rlrnn.experiment.recipes import Recipe
from rlrnn.learners.evolution.strategies import STRATEGIES

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Legs:
    """How it walks. And more."""

    count: Count = 4  # in all


@dataclass(frozen=True)
class Animal:
    """An animal."""

    name: str  # what it is called, # and all
    size: Literal["small", "large"] = "small"  # beside others
    food: dict[str, Any] = field(default_factory=dict)  # by the day
    legs: Legs = Legs()
    wings: Legs | None = None
    speed: float | Legs | None = None


@dataclass(frozen=True)
class Cat(Animal):
    """A cat."""

    size: Literal["small", "large"] = "large"  # of a cat


class Part:
    """h' = h."""

    def __init__(self, given: int, *, taps: int | None = None, rate: float = 0.5) -> None:  # all of it
        pass


class Other:
    """Another."""

    def __init__(
        self,
        *,
        taps: int = 8,  # how many
        names: tuple[str, ...] = (
            "a",  # the first
            "b",  # the second
        ),
    ) -> None:
        pass


def test_a_field_is_told_by_the_comment_on_its_lines():
    found = {key.name: key for key in keys_of(Animal)}
    assert found["name"] == Key("name", str, NOTHING, "what it is called, # and all")
    assert (found["size"].default, found["size"].meaning) == ("small", "beside others")
    assert found["size"].takes == "one of 'small', 'large'" and found["size"].written == '"small"'
    assert (found["food"].default, found["food"].written) == ({}, "{}")
    assert found["legs"].table is Legs and found["legs"].meaning == "how it walks. And more"
    assert found["wings"].table is Legs and found["wings"].written == ""
    assert found["speed"].table is None and found["speed"].meaning == ""
    assert found["speed"].takes == "a number or a table of count"
    cat = {key.name: key.meaning for key in keys_of(Cat)}
    assert cat["size"] == "of a cat" and cat["food"] == "by the day"


def test_an_argument_is_told_by_the_comment_on_its_lines():
    assert [(key.name, key.default, key.meaning) for key in keys_of(Other)] == [
        ("taps", 8, "how many"),
        ("names", ("a", "b"), "the first the second"),
    ]
    assert [key.name for key in keys_of(Part)] == ["taps", "rate"]
    assert sentence_of(Part) == "h' = h"


@pytest.mark.parametrize(
    "value", [True, 3, 0.1, 1e-10, 'a "b" é', [1, [2.0, "c"]], {}, {"a": {"b": [True]}}, []]
)
def test_a_value_is_written_as_toml_reads_it(value):
    assert tomllib.loads(f"a = {inline(value)}")["a"] == value


def test_every_key_that_a_file_may_hold_has_its_sentence():
    kinds = [Recipe, Game, *CELLS.values(), *WRAPPERS.values(), *STRATEGIES.values()]
    for kind in kinds:
        assert sentence_of(kind)
        for key in keys_of(kind):
            assert key.meaning, f"{kind.__name__}.{key.name} needs a comment on its line that says what it is"
            if key.table is not None and key.table not in kinds:
                kinds.append(key.table)
    assert len(kinds) > 35


def test_the_reference_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("write_keys", ROOT / "docs" / "keys.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
    assert written == module.text(), "docs/keys.md is stale: python docs/keys.py"
    for heading in ("[ppo]", "`mingru`", "`hide`", "`pgpe`"):
        assert f"### {heading}\n" in written
