"""What can be wrong with what was handed in for recording."""


class BadVideoFile(Exception):
    """A file that cannot be imported; the message names it, says what is wrong, and what to do."""
