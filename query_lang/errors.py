"""The one exception that a query's text can raise, and how it is shown to the person who wrote it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

Span = tuple[int, int]
"""Half-open character offsets [start, end) in the query's text."""

_EXPLAIN: Final = re.compile(r"(?:\s|--[^\r\n]*|/\*.*?\*/)*(explain)(?![A-Za-z0-9_])", re.IGNORECASE | re.DOTALL)
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


class QueryError(Exception):
    """A query that is not accepted: what is wrong, where, and what would work instead.

    `line` and `column` count from 1; they are None when the error belongs to the query as a whole. Whoever refuses a
    query later (the privacy layer, say) raises the same class, with `script.text` and the span stored in the plan.
    """

    def __init__(
        self, code: str, message: str, *, text: str = "", span: Span | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.text = text
        self.span = span
        self.line: int | None = None
        self.column: int | None = None
        if span is not None:
            self.line, self.column = position(text, span[0])

    @property
    def source_line(self) -> str | None:
        """The line of the text that the error points at."""
        return None if self.line is None else _LINE_END.split(self.text)[self.line - 1]

    def render(self, name: str = "query") -> str:
        """The error as shown in a terminal: position, message, source line, caret, hint."""
        if self.line is None or self.column is None or self.span is None:
            head = f"{name}  {self.message}"
            return f"{head}\n  {self.hint}" if self.hint else head
        source = (self.source_line or "").expandtabs(1)
        before = source[: self.column - 1]
        left = max(0, len(before) - 70)
        length = max(1, min(self.span[1] - self.span[0], len(source) - self.column + 1))
        shown = source[left : left + 110]
        indent = len(source) - len(source.lstrip())
        cut = min(indent, self.column - 1) if left == 0 else 0
        caret = " " * (len(before) - left - cut) + "^" * min(length, len(shown) - (len(before) - left) or 1)
        tail = f"  {self.hint}" if self.hint else ""
        return f"{name}:{self.line}:{self.column}  {self.message}\n  {shown[cut:]}\n  {caret}{tail}"

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}, column {self.column}: "
        tail = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{tail}"


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a character offset; an offset beyond the text is its end."""
    line, start = 1, 0
    for end in _LINE_END.finditer(text):
        if end.end() > offset:
            break
        line, start = line + 1, end.end()
    return line, min(offset, len(text)) - start + 1


def without_explain(text: str) -> str:
    """The text with an EXPLAIN in front of it, if there is one, replaced by blanks: places in it stay what they are."""
    found = _EXPLAIN.match(text)
    return text if found is None else f"{text[: found.start(1)]}{' ' * len(found[1])}{text[found.end(1) :]}"


def did_you_mean(wanted: str, known: Iterable[str]) -> str | None:
    """A question that names the most similar known name, or None."""
    names = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(wanted.casefold(), names, n=1, cutoff=0.6)
    return f"Did you mean {names[close[0]]}?" if close else None


def name_hint(wanted: str, known: Iterable[str], owner: str) -> str:
    """What names there are (`owner` reads like "camera plaza has"), with a suggestion when one is close."""
    names = sorted(known)
    if not names:
        return f"{owner} none"
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    guess = did_you_mean(wanted, names)
    return f"{owner}: {listed}." + (f"  {guess}" if guess else "")
