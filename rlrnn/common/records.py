"""Trees of frozen dataclasses from and to plain tables, as TOML and JSON hold them: games, recipes, runs.

Names and types are checked on the way; an error names the key and what it takes.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rlrnn.common.settings import is_number, meant, unknown
from rlrnn.errors import FileFault, UserError

T = TypeVar("T")

Count = Annotated[int, 1]  # a whole number of at least 1


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFault(f"there is no file {path}; check the path.") from None
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of a number with too many digits
        raise FileFault(f"{path} is not a TOML file: {error}.") from None


def leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of a table, and of all tables in it, by dotted names."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def to_mapping(record: Any) -> dict[str, Any]:
    """The table of a dataclass: plain values under the names of its fields, without those that are None."""
    fields = ((f.name, getattr(record, f.name)) for f in dataclasses.fields(record))
    return {name: _plain(value) for name, value in fields if value is not None}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def build(kind: type[T], table: Mapping[str, Any], where: str, path: str = "") -> T:
    """A dataclass from a table; an error begins with ``where`` and names the key from ``path`` on.

    None means "not given", as in Python's own keyword arguments (TOML cannot say it).
    """
    fields: dict[str, Any] = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind, include_extras=True)
    for key in table:
        if key not in fields:
            among = f"keys of [{path[:-1]}]" if path else "keys"
            raise UserError(f"{where}: {unknown('key', key, fields, among)}")
    for name, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and table.get(name) is None:
            raise UserError(f"{where}: the key {path + name!r} is missing; it takes {takes(hints[name])}.")
    values = {key: value for key, value in table.items() if value is not None}
    return kind(**{key: _convert(hints[key], value, where, path + key) for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    near = f" ({meant(value, arguments)})" if origin is Literal and meant(value, arguments) else ""
    fault = UserError(f"{where}: {path} is {value!r}; it takes {takes(hint)}{near}.")
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        # A table means the member that is made of a table, so that errors inside it are named precisely.
        table = isinstance(value, Mapping)
        for member in arguments:
            if table == (
                dataclasses.is_dataclass(member) or get_origin(member) is dict
            ) and member is not type(None):
                try:
                    return _convert(member, value, where, path)
                except UserError:
                    if table:
                        raise
        raise fault
    if origin is Annotated:
        number = _convert(arguments[0], value, where, path) if is_whole(value) else None
        if number is None or number < arguments[1]:
            raise fault
        return number
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(hint, value, where, f"{path}.")  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], inner, where, f"{path}[{i}]") for i, inner in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        values = {key: inner for key, inner in value.items() if inner is not None}
        return {key: _convert(arguments[1], inner, where, f"{path}.{key}") for key, inner in values.items()}
    if origin is Literal and value in arguments:
        return value
    if hint is int and is_whole(value):
        return int(value)
    if hint is float and is_number(value):
        return float(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise fault


def hint_of(kind: type[Any], key: str) -> Any:
    """What a dotted key of a dataclass takes: Any within free tables, None where it is no key."""
    hint: Any = kind
    for part in key.split("."):
        members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        record = next((member for member in members if dataclasses.is_dataclass(member)), None)
        if record is not None:
            hint = get_type_hints(record, include_extras=True).get(part)
        elif hint is not Any:
            hint = Any if any(get_origin(member) is dict for member in members) else None
    return hint


def is_whole(value: Any) -> bool:
    """Whether this is a whole number, written as one or not."""
    # 1e6 is a float to TOML; people who type it mean a million.
    return is_number(value) and bool(value == int(value))


def takes(hint: Any) -> str:
    """What a key takes, in words, by its annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(takes(member) for member in arguments if member is not type(None))
    if origin is Annotated:
        return f"a whole number of at least {arguments[1]}"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple:
        return f"a list, each {takes(arguments[0])}"
    if origin is collections.abc.Sequence:
        return "a list" if arguments[0] is Any else f"a list, each {takes(arguments[0])}"
    if dataclasses.is_dataclass(hint):
        return "a table of " + ", ".join(f.name for f in dataclasses.fields(hint))
    if hint is Any:
        return "any value"
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a string in quotes"}
    return plain.get(hint, "a table")
