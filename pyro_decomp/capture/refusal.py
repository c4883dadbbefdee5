"""Why a step was not captured."""


class CaptureError(Exception):
    """A step that cannot be one graph of tensors; the message says why, to follow "because"."""
