"""Whatever a user registers has a free lower-case word as its name, also where the lines are run again."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.torch_layers import FlattenExtractor

import rlrnn
from rlrnn.cells import CELLS, Gru
from rlrnn.envs.wrappers import WRAPPERS
from rlrnn.envs.wrappers.past import Stack
from rlrnn.errors import UserError
from rlrnn.experiment.callbacks import CALLBACKS
from rlrnn.learners.evolution.judging import FITNESSES
from rlrnn.learners.evolution.strategies import STRATEGIES, Snes
from rlrnn.network.extractors import EXTRACTORS


def own(base: type[Any]) -> type[Any]:
    """A user's class, as the same lines of a notebook make it again and again."""
    return type("Mine", (base,), {"__module__": "notebook", "__qualname__": "Mine"})


def fitness(_: Any) -> Callable[..., float]:
    def mine(**_: Any) -> float:
        return 0.0

    return mine


REGISTRIES: list[tuple[Callable[[str, Any], None], dict[str, Any], Callable[[Any], Any], Any]] = [
    (rlrnn.register_cell, CELLS, own, Gru),
    (rlrnn.register_strategy, STRATEGIES, own, Snes),
    (rlrnn.register_callback, CALLBACKS, own, CheckpointCallback),
    (rlrnn.register_wrapper, WRAPPERS, own, Stack),
    (rlrnn.register_extractor, EXTRACTORS, own, FlattenExtractor),
    (rlrnn.register_fitness, FITNESSES, fitness, None),
]


@pytest.mark.parametrize(
    ("register", "registry", "make", "base"), REGISTRIES, ids=[row[0].__name__ for row in REGISTRIES]
)
def test_names_are_free_lower_case_words(register: Any, registry: Any, make: Any, base: Any) -> None:
    with patch.dict(registry):
        for name in ("Mine", "my own", "my-own", "2nd", "", 3, None):
            with pytest.raises(UserError, match="should be a lower-case word"):
                register(name, make(base))
        register("mine", make(base))
        again = make(base)
        register("mine", again)
        assert registry["mine"] is again
        other = make(base)
        other.__qualname__ = "Other"
        with pytest.raises(UserError, match=r"name 'mine' belongs to .*[Mm]ine already: choose another"):
            register("mine", other)
        assert registry["mine"] is again
