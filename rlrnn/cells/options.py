"""Options as recipes, saved agents and users give them: plain data of the kinds that annotations ask for."""

from __future__ import annotations

import collections.abc
import functools
import types
from collections.abc import Callable, Mapping
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
    try:
        return get_type_hints(make)
    except Exception:  # annotations of a user's own, which only a type checker can read
        return {}


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
