"""Why a step was not captured."""


class CaptureError(Exception):
    """A step that cannot be one graph of tensors; the message says why, to follow "because"."""


class HiddenValueError(CaptureError, RuntimeError):
    """The value of a tensor was asked for that is another at every step.

    A RuntimeError as torch's own transforms raise, for programs that have another way without it.
    """

    def __init__(self, message: str = "values of tensors decide what the programs compute") -> None:
        super().__init__(message)  # raised anew with its message where torch runs backward passes
