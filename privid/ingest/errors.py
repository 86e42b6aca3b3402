"""What can be wrong with what was handed in for recording."""


class BadVideoFile(Exception):
    """A file that cannot be imported; the message names it, says what is wrong, and what to do."""


class BadRecording(Exception):
    """A configuration of the recorder that cannot be used; the message says what to do."""


class SourceFailure(Exception):
    """A live source gives no video, or none that can be used: the camera is tried again later.

    `reason` is what the catalog keeps of it: a few words out of a fixed set, never an address.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
