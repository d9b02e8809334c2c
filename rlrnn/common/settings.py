"""Settings where they come in: numpy's scalars, as tuners give them, become plain; names are known ones."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from rlrnn.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

LARGEST_SEED = 2**32 - 1  # of numpy's global generator, which SB3 seeds too


def takes_plain(function: Callable[P, R]) -> Callable[P, R]:
    """A function or constructor whose arguments arrive as ``plain`` makes them."""

    @functools.wraps(function)
    def wrapper(*arguments: P.args, **named: P.kwargs) -> R:
        plain_named: dict[str, Any] = {name: plain(value) for name, value in named.items()}
        return function(*map(plain, arguments), **plain_named)

    return wrapper


def several(texts: str | Sequence[str]) -> tuple[str, ...]:
    """A list of texts, for which one text may stand."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def plain(value: Any) -> Any:
    """The value with Python's own scalars for all others, within lists, tuples and dicts too."""
    if value is None or type(value) in (bool, str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if type(value) is dict:
        return {key: plain(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(inner) for inner in value)
    numpy = sys.modules.get("numpy")  # not imported for the sake of --help alone
    if numpy and isinstance(value, numpy.bool | numpy.str_ | numpy.ndarray) and value.ndim == 0:
        return plain(value.item())
    return value


def is_whole(value: Any) -> bool:
    """Whether this is a whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether this is a finite number."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and bool(-math.inf < value < math.inf)


def check_whole(name: str, value: Any, least: int, most: float = math.inf, remedy: str = "") -> None:
    """Refuse what is not a whole number from ``least`` to ``most``."""
    if not (is_whole(value) and least <= value <= most):
        allowed = f"a whole number {_limits(least, most)}"
        raise UserError(f"{name} is {value!r}, but must be {allowed}{remedy}.")


def check_number(
    name: str, value: Any, least: float, most: float = math.inf, ends: str = "[]", remedy: str = ""
) -> None:
    """Refuse what is not a finite number from ``least`` to ``most``, themselves left out by "(" or ")"."""
    inside = is_number(value) and least <= value <= most
    if not inside or (ends[0] == "(" and value == least) or (ends[1] == ")" and value == most):
        kind = "a finite number" if str(value) in ("nan", "inf", "-inf") else "a number"
        raise UserError(f"{name} is {value!r}, but must be {kind} {_limits(least, most, ends)}{remedy}.")


def _limits(least: float, most: float, ends: str = "[]") -> str:
    low = f"above {least}" if ends[0] == "(" else f"of at least {least}"
    if most == math.inf:
        return low
    high = f"below {most}" if ends[1] == ")" else f"at most {most}"
    return f"from {least} to {most}" if ends == "[]" else f"{low} and {high}"


def check_choice(name: str, value: Any, known: Iterable[str]) -> None:
    """Refuse what is none of those known."""
    if value not in list(known):
        raise UserError(f"{name} is {value!r}: choose one of {choices(value, known)}.")


def check_names(whose: str, what: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names of options that somebody does not have."""
    for name in names:
        if name not in known:
            raise UserError(f"{whose} has no {what} {name!r}: it knows {choices(name, known)}.")


def check_registered(what: str, name: str, registry: Mapping[str, Any]) -> None:
    """Refuse a name under which nothing is registered."""
    if name not in registry:
        raise UserError(
            f"{what} {name!r} is not known: choose one of {choices(name, registry)}, or import the module "
            "that registers it (in the shell: --import MODULE)."
        )


def register(what: str, name: Any, part: Any, registry: dict[str, Any]) -> None:
    """Enter a class or a function of the user's under a name that is free.

    The same once more, of a module or a notebook's cell that ran again, takes its own place.
    """
    if not (isinstance(name, str) and name.isidentifier() and name.islower()):
        raise UserError(f"{what} name {name!r} should be a lower-case word, such as 'mine'.")
    known = registry.setdefault(name, part)
    if (known.__module__, known.__qualname__) != (part.__module__, part.__qualname__):
        raise UserError(f"{what} name {name!r} belongs to {known.__qualname__} already: choose another.")
    registry[name] = part


def check_seed(seed: Any) -> None:
    """Refuse what the generators cannot be seeded with; None leaves them as they are."""
    if seed is not None:
        check_whole("seed", seed, 0, LARGEST_SEED)


def check_device(device: Any) -> None:
    """Refuse what torch knows no device by; one that is missing here is named by torch or SB3."""
    import torch

    try:
        valid = device == "auto" or torch.device(device).type != "meta"  # where nothing is computed
    except (RuntimeError, TypeError):
        valid = False
    if not valid:
        raise UserError(f"device is {device!r}: choose one of auto, cpu, cuda, mps, or such as cuda:0.")


def unknown(what: str, name: object, known: Iterable[str], among: str = "") -> str:
    """The sentence for an unknown name: the closest known one, then all of them unless they are many."""
    names = sorted(known)
    hint = f" {meant(name, names)}".rstrip()
    listed = ", ".join(names) if len(names) <= 40 else f"{len(names)} of them"
    return f"unknown {what} {name!r};{hint} known {among or what + 's'}: {listed or 'none'}."


def choices(name: object, known: Iterable[str]) -> str:
    """What there is to choose from, with the closest one to a name that is none of them."""
    names = list(known)
    hint = meant(name, names)
    return ", ".join(names) + (f" ({hint})" if hint else "")


def meant(name: object, names: Sequence[str]) -> str:
    """The question for the closest of some names; nothing where none is close."""
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def check_known(
    what: str, named: Mapping[str, Any], function: Callable[..., Any], given: Sequence[str] = ()
) -> None:
    """Refuse keyword arguments that a function does not have, or that are ``given`` already."""
    takes = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        return  # it may hand them on
    names = [name for name in takes if name not in given]
    for name in named:
        if name not in names:
            raise UserError(unknown("setting", name, names, what))
