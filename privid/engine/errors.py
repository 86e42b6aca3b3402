"""What the engine can refuse, besides what the language and the ledger refuse. Every message says what to do."""


class EngineError(Exception):
    """A request that cannot be carried out; `code` is public and stable."""

    code = "engine"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnknownQuery(EngineError):
    """No query of this id is visible to the caller."""

    code = "unknown_query"


class NoVideo(EngineError):
    """Nothing at all is recorded in a window that a query reads."""

    code = "no_video"


class CannotEnforce(EngineError):
    """A policy asks for something that this host or version cannot enforce."""

    code = "cannot_enforce"


class NotCancellable(EngineError):
    """The query has an answer already, or was cancelled before."""

    code = "not_cancellable"
