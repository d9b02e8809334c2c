"""What an agent may see, by name: wrappers over any VecEnv, ours and those that a user registers."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from rlrnn.common.settings import check_names, check_registered, register
from rlrnn.envs.wrappers.chance import Flicker, Noise
from rlrnn.envs.wrappers.fields import Flatten, Hide, OneHot
from rlrnn.envs.wrappers.past import Delay, Previous, Stack
from rlrnn.errors import GAME_ERRORS, UserError, place

WRAPPERS: dict[str, type[VecEnvWrapper]] = {
    "delay": Delay,
    "flatten": Flatten,
    "flicker": Flicker,
    "hide": Hide,
    "noise": Noise,
    "one_hot": OneHot,
    "previous": Previous,
    "stack": Stack,
}


def register_wrapper(name: str, wrapper: type[VecEnvWrapper]) -> None:
    """Make a wrapper of batches known by name to recipes and game files: ``wrappers = [{name = "mine"}]``.

    Its constructor takes the batch first, then the options that a file gives by keyword. One derived from
    ``rlrnn.envs.wrappers.base.View`` is saved with a run; any other of SB3's kind works, but a training
    that is resumed begins new episodes. Registering the same class twice is harmless; another class under a
    name that is taken is a ``UserError``.
    """
    if not (isinstance(wrapper, type) and issubclass(wrapper, VecEnvWrapper)) or inspect.isabstract(wrapper):
        lacks = ", ".join(sorted(getattr(wrapper, "__abstractmethods__", ())))
        raise UserError(
            f"{wrapper!r} is no wrapper of batches: register a class derived from "
            "rlrnn.envs.wrappers.base.View or SB3's VecEnvWrapper"
            f"{f', which says {lacks}' if lacks else ''}."
        )
    if issubclass(wrapper, VecNormalize):
        raise UserError(
            f"{wrapper.__name__} learns statistics, which no evaluation would find again: set "
            "normalize.observations and normalize.rewards in the recipe instead."
        )
    try:
        inspect.signature(wrapper).bind_partial(None)
    except TypeError:
        raise UserError(
            f"the constructor of {wrapper.__name__} takes {inspect.signature(wrapper)}: that of a wrapper "
            "takes (venv, **options)."
        ) from None
    register("wrapper", name, wrapper, WRAPPERS)


def wrap(env: VecEnv, specs: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> VecEnv:
    """The environment in its wrappers, innermost first: {"name": "delay", "steps": 2}."""
    for spec in [specs] if isinstance(specs, str | Mapping) else specs:
        if not isinstance(spec, Mapping):
            raise UserError(
                f"a wrapper is {spec!r}, but must be a table, such as {{'name': 'stack', 'frames': 4}}, or a "
                "list of these."
            )
        options = dict(spec)
        name = options.pop("name", None)
        check_registered("the wrapper", name, WRAPPERS)
        _check_options(name, options)
        try:
            wrapped = WRAPPERS[name](env, **options)
        except UserError:
            raise
        except GAME_ERRORS as error:
            raise UserError(
                f"the wrapper {name} cannot be made of {options}: {type(error).__name__}: "
                f"{error}{place(error)}."
            ) from error
        if "venv" not in vars(wrapped):  # which SB3 would look for without end
            raise UserError(
                f"the constructor of {WRAPPERS[name].__qualname__} must call super().__init__(venv)."
            )
        env = wrapped
    return env


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a wrapper does not have, and the lack of those that it needs."""
    _, *accepted = inspect.signature(WRAPPERS[name]).parameters.values()  # the first one is the batch
    if not any(p.kind is p.VAR_KEYWORD for p in accepted):  # which may hand them on
        check_names(f"The wrapper {name}", "option", options, [p.name for p in accepted])
    for p in accepted:
        needed = p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        if needed and p.name not in options:
            raise UserError(f"The wrapper {name} needs the option {p.name!r}.")
