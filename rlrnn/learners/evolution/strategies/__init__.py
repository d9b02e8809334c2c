"""Ask / tell search distributions, one file per family, and the registry that names them.

strategy = make_strategy("snes")
state = strategy.start(center)                       # arrays [..., D]: all that changes
while ...:
    genomes = strategy.ask(state, seed)              # [P, D]
    state = strategy.tell(state, genomes, fitness)   # [P], larger is better
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from rlrnn.common.settings import check_names, check_registered, register, takes_plain
from rlrnn.errors import UserError
from rlrnn.learners.evolution.strategies.cma import CmaEs, SepCmaEs
from rlrnn.learners.evolution.strategies.genetic import Genetic
from rlrnn.learners.evolution.strategies.gradients import OpenAiEs, Pgpe
from rlrnn.learners.evolution.strategies.nes import Snes, XNes
from rlrnn.learners.evolution.strategies.strategy import State, Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    "openai_es": OpenAiEs,
    "pgpe": Pgpe,
    "snes": Snes,
    "xnes": XNes,
    "genetic": Genetic,
    "cma_es": CmaEs,
    "sep_cma_es": SepCmaEs,
}


def register_strategy(name: str, strategy: type[Strategy]) -> None:
    """Make a strategy, a frozen dataclass of its settings, known by name.

    Registering the same class twice is harmless; another class under a name that is taken is a ``UserError``.
    """
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)) or inspect.isabstract(strategy):
        raise UserError(
            f"{strategy!r} is not a strategy: register a frozen dataclass derived from rlrnn.Strategy."
        )
    register("strategy", name, strategy, STRATEGIES)


@takes_plain
def make_strategy(name: str, **settings: Any) -> Strategy:
    """Build a strategy by its registered name; unknown names and settings say which are known."""
    check_registered("strategy", name, STRATEGIES)
    names = [field.name for field in dataclasses.fields(STRATEGIES[name])]
    check_names(f"the strategy {name}", "setting", settings, names)
    return STRATEGIES[name](**settings)


__all__ = [
    "STRATEGIES",
    "CmaEs",
    "Genetic",
    "OpenAiEs",
    "Pgpe",
    "SepCmaEs",
    "Snes",
    "State",
    "Strategy",
    "XNes",
    "make_strategy",
    "register_strategy",
]
