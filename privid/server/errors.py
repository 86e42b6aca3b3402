"""What the services themselves refuse."""


class Refused(Exception):
    """A call that is refused. `code` is a key of the public table in `privid.server.translate`."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
