"""Text from files, folders and games: shown letter by letter, never as markup, command or path."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TextIO

from rlrnn.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# Control characters but for newline and tab, those that turn the direction of reading, and what is no
# character at all: halves of pairs, which stand for the bytes of a file's name that are not UTF-8.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
LONGEST = 200  # bytes of a name that becomes a folder's; file systems take 255, and some is added


def printable(text: object) -> str:
    """The text with all that terminals, XML and UTF-8 cannot show written as escapes, such as \\x1b."""
    return UNSEEN.sub(lambda match: ascii(match[0])[1:-1], str(text))


def is_name(text: object) -> bool:
    """Whether a file or a folder may be called so, on every system, without leading anywhere else."""
    if not isinstance(text, str) or not text or text.strip(" .") != text:
        return False
    return not (set("/\\\n\t") & set(text) or UNSEEN.search(text))


def check_name(name: str, what: str) -> None:
    """Refuse a name that is no folder's."""
    if not is_name(name) or len(name.encode()) > LONGEST:
        label = name if len(name) <= LONGEST else f"{name[:20]}..."
        raise UserError(
            f"{what} is called {label!r}, but its folder bears that name: give 1 to {LONGEST} letters, "
            "digits, spaces and signs, no / or \\ among them and no dot or space at an end."
        )


def tell(*texts: object, sep: str = " ", file: TextIO | None = None) -> None:
    """Print a line."""
    print(*map(printable, texts), sep=sep, file=file)


def tell_json(data: Any, file: TextIO | None = None) -> None:
    """Print one JSON document; numbers that JSON does not know are null."""
    import json

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): known(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [known(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(known(data), indent=1, allow_nan=False), file=file)


def terminal(stderr: bool = False, **how: Any) -> Console:
    """A console of rich's that takes no string for markup or for an emoji's name, wherever it stands."""
    from rich.console import Console

    class Terminal(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})

    return Terminal(stderr=stderr, **how)


def html(table: Any) -> str:
    """What rich would print, as HTML, for a notebook."""
    import io

    how: dict[str, Any] = {"force_jupyter": False}  # in a notebook it would be shown here, too
    console = terminal(file=io.StringIO(), record=True, width=100, **how)
    console.print(table)
    style = "font-family: monospace; line-height: 1.2"
    return str(console.export_html(inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>'))
