"""What cannot be written as C."""


class FusionError(Exception):
    """A graph has an operation that is not written as C; the message names it."""
