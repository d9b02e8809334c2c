"""Options as recipes, saved agents and users give them: plain data of the kinds that annotations ask for."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from rlrnn.common.settings import is_number, is_whole
from rlrnn.errors import UserError

WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a word"}


def check_options(whose: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse a value that is not of the kind its parameter's annotation names; others are not looked at."""
    hints = _hints(make)
    for name, value in options.items():
        hint = hints.get(name, Any)
        if not _fits(hint, value):
            raise UserError(f"{name} is {value!r}; {whose} takes {_words(hint)}.")


@functools.lru_cache(
    maxsize=256
)  # evaluating annotations takes milliseconds, and is done before every update
def _hints(make: Callable[..., Any]) -> Mapping[str, Any]:
    """Of each parameter by itself, as a user's own may have annotations that only a type checker can read."""
    plain = inspect.unwrap(make)
    found: dict[str, Any] = {}
    for name, annotation in getattr(plain, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            found |= get_type_hints(alone, getattr(plain, "__globals__", {}))
    return found


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(member, value) for member in inner)
    if origin is collections.abc.Sequence:
        listed = isinstance(value, list | tuple | np.ndarray)
        return listed and all(_fits(inner[0], each) for each in value)
    if origin in (collections.abc.Mapping, dict):
        return isinstance(value, Mapping)
    if origin in (type, collections.abc.Callable):  # what makes an object of that class will do
        return callable(value)
    if hint is bool or isinstance(value, bool | np.bool_):
        return hint not in (int, float, str, type(None)) and isinstance(value, bool | np.bool_)
    if hint is int:
        return is_whole(value)
    if hint is float:
        return is_number(value)
    return not isinstance(hint, type) or hint not in (str, type(None)) or isinstance(value, hint)


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(member) for member in inner if member is not type(None))
    if origin is collections.abc.Sequence:
        return "a list" if inner[0] is Any else f"a list, each of it {_words(inner[0])}"
    if origin is type:
        return f"a class derived from {getattr(inner[0], '__name__', inner[0])}"
    if origin is collections.abc.Callable:
        return "a function"
    return "a table" if origin in (collections.abc.Mapping, dict) else WORDS.get(hint, str(hint))
