"""What an agent may see, by name: wrappers over any VecEnv."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.settings import check_names, choices
from rlrnn.envs.wrappers.base import View
from rlrnn.envs.wrappers.chance import Flicker, Noise
from rlrnn.envs.wrappers.fields import Flatten, Hide, OneHot
from rlrnn.envs.wrappers.past import Delay, Previous, Stack
from rlrnn.errors import UserError

WRAPPERS: dict[str, type[View]] = {
    "delay": Delay,
    "flatten": Flatten,
    "flicker": Flicker,
    "hide": Hide,
    "noise": Noise,
    "one_hot": OneHot,
    "previous": Previous,
    "stack": Stack,
}


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
        if name not in WRAPPERS:
            raise UserError(f"The wrapper {name!r} is unknown; the known ones are {choices(name, WRAPPERS)}.")
        accepted = [p for p in inspect.signature(WRAPPERS[name]).parameters.values() if p.name != "venv"]
        names = [p.name for p in accepted]
        check_names(f"The wrapper {name}", "option", options, names)
        for p in accepted:
            if p.default is p.empty and p.name not in options:
                raise UserError(f"The wrapper {name} needs the option {p.name!r}.")
        env = WRAPPERS[name](env, **options)
    return env
