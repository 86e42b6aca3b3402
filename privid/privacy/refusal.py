"""Why a query cannot be answered privately, before it is tied to a place in the query's text."""

from __future__ import annotations


class Refusal(Exception):  # a refusal is a rule at work, not a failure
    """The calculus has no sound number for this; `hint` says what would work, `span` where in the text, if known."""

    def __init__(self, code: str, message: str, hint: str, span: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.span = span
