"""The keys that data files may hold, as the code says them: type, default, and the comment beside each.

A key is a field of a dataclass or an argument of a constructor; its meaning is the comment on its line.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from rlrnn.common.records import takes, to_mapping

NOTHING = object()  # the default of a key that must be given


@dataclass(frozen=True)
class Key:
    """One key of a data file."""

    name: str
    hint: Any  # its annotation
    default: Any  # NOTHING: it must be given; None: not given
    meaning: str  # its sentence; "" where the code has none

    @property
    def takes(self) -> str:
        """What it takes, in words."""
        return takes(self.hint)

    @property
    def table(self) -> type[Any] | None:
        """The dataclass that its value is built of, where the key names a table of its own."""
        kinds = [kind for kind in (self.hint, *get_args(self.hint)) if isinstance(kind, type)]
        tables = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
        return tables[0] if tables and not {int, float, str} & set(kinds) else None

    @property
    def written(self) -> str:
        """Its default as TOML writes it; "" where there is none to write."""
        return "" if self.default is NOTHING or self.default is None else inline(self.default)


def sentence_of(kind: type[Any]) -> str:
    """What a class is, by the first sentence of its documentation, as it stands in the middle of a text."""
    first = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")
    return first[:1].lower() + first[1:]


def inline(value: Any) -> str:
    """A value as TOML writes it within a line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {inline(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def keys_of(kind: type[Any]) -> list[Key]:
    """The keys of a dataclass, or of what a class's constructor takes by keyword."""
    return _fields(kind) if dataclasses.is_dataclass(kind) else _arguments(kind)


def _fields(kind: type[Any]) -> list[Key]:
    hints = get_type_hints(kind, include_extras=True)
    meanings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            meanings |= _comments(base)
    found = []
    for field in dataclasses.fields(kind):
        made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = NOTHING if made is dataclasses.MISSING else made
        default = to_mapping(default) if dataclasses.is_dataclass(default) else default
        found.append(Key(field.name, hints[field.name], default, meanings.get(field.name, "")))
        if (inner := found[-1].table) is not None and not found[-1].meaning:
            found[-1] = dataclasses.replace(found[-1], meaning=sentence_of(inner))
    return found


def _arguments(kind: type[Any]) -> list[Key]:
    hints, meanings = get_type_hints(kind.__init__), _comments(kind.__init__)
    taken = [p for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return [
        Key(p.name, hints[p.name], NOTHING if p.default is p.empty else p.default, meanings.get(p.name, ""))
        for p in taken
    ]


def _comments(part: Any) -> dict[str, str]:
    """The comment that stands on the lines of each field of a class, or of each argument of a function."""
    source = textwrap.dedent(inspect.getsource(part))
    tree: Any = ast.parse(source).body[0]
    if isinstance(tree, ast.ClassDef):
        fields = [node for node in tree.body if isinstance(node, ast.AnnAssign)]
        places = [(ast.unparse(node.target), node.lineno, node.end_lineno) for node in fields]
    else:
        arguments = tree.args.kwonlyargs
        ends = [node or argument for node, argument in zip(tree.args.kw_defaults, arguments, strict=True)]
        places = [(a.arg, a.lineno, end.end_lineno) for a, end in zip(arguments, ends, strict=True)]
    said = _lines(source)
    return {
        name: " ".join(said[line] for line in range(first, (last or first) + 1) if line in said)
        for name, first, last in places
    }


def _lines(source: str) -> dict[int, str]:
    """The comment of each line that has one."""
    tokens: Sequence[tokenize.TokenInfo] = list(tokenize.generate_tokens(io.StringIO(source).readline))
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
