"""Callbacks of the user's own, which recipes name: registered from a module that --import names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from rlrnn.common.settings import check_known, choices, register
from rlrnn.errors import PartFault, UserError, place
from rlrnn.learners.ppo.ahead import may_be_late

CALLBACKS: dict[str, type[BaseCallback]] = {}


def register_callback(name: str, callback: type[BaseCallback]) -> None:
    """Make a callback of SB3's kind known by name to recipes: ``callbacks = [{name = "mine", every = 10}]``.

    Its constructor takes the other settings. Registering the same class twice is harmless; another class
    under a name that is taken is a ``UserError``.
    """
    if not (isinstance(callback, type) and issubclass(callback, BaseCallback)):
        raise UserError(f"{callback!r} is no callback: register a class derived from SB3's BaseCallback.")
    register("callback", name, callback, CALLBACKS)


def made(specs: Sequence[Mapping[str, Any]]) -> list[BaseCallback]:
    """The callbacks of a recipe."""
    result = []
    for spec in specs:
        options = dict(spec)
        name = options.pop("name", None)
        if name not in CALLBACKS:
            known = choices(name, CALLBACKS) or "none"
            raise UserError(
                f"the callback {name!r} is not registered (there are: {known}): import the module that calls "
                "rlrnn.register_callback for it (in the shell: --import MODULE)."
            )
        kind = CALLBACKS[name]
        check_known(f"settings of the callback {name}", options, kind)
        try:
            callback = kind(**options)
        except TypeError as error:
            raise UserError(
                f"the callback {name} cannot be made of {options}: {error}{place(error)}."
            ) from error
        if not hasattr(callback, "n_calls"):
            raise UserError(f"the constructor of {kind.__qualname__} must call super().__init__().")
        result.append(callback)
    return result


class Heard(CallbackList):
    """The user's own callbacks, and which of them ended the training."""

    def __init__(self, callbacks: list[BaseCallback]) -> None:
        super().__init__(callbacks)
        self.may_be_late = all(map(may_be_late, callbacks))
        self.ended_by = ""  # its class

    def _on_step(self) -> bool:
        proceeds = True
        for callback in self.callbacks:
            answer = callback.on_step()
            if answer is None:  # as SB3 has it, the training would end without a word
                raise PartFault(
                    f"{type(callback).__qualname__}._on_step returned nothing: return True to go on, or "
                    "False to end the training."
                )
            if not answer:
                proceeds, self.ended_by = False, type(callback).__qualname__
        return proceeds
