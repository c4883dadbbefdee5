"""Why a step cannot be made fast. Internal: what is refused is trained by the programs instead."""

from collections.abc import Sequence


class CaptureError(Exception):
    """A step that cannot be one graph of tensors; the message says why, to follow "because"."""


class HiddenValueError(CaptureError, RuntimeError):
    """Python asked for the value of a tensor that is another at every step.

    A RuntimeError, as torch's own transforms raise, for programs that have another way without it.

    ``inputs`` are the positions of the inputs that the value depends on.
    """

    def __init__(
        self,
        message: str = "values of tensors decide what the programs compute",
        inputs: Sequence[int] = (),
    ) -> None:
        # Raised anew with its message where torch runs backward passes, and by Pyro with what it
        # knows of shapes on further lines.
        super().__init__(message.partition("\n")[0])
        self.inputs = tuple(inputs)


class UsedByPythonError(HiddenValueError):
    """Python asked for the value of a number or buffer that may be another at the next step."""


class FusionError(Exception):
    """A graph has an operation that is not written as C; the message names it."""


class GoEager(Exception):  # noqa: N818 - a way on, not an error
    """From this step on the programs are to be run; the message says why, to follow "because"."""


class ChangedTooOften(GoEager):
    """What a step computes is another so often that no graph is worth its cost."""


class Departed(Exception):  # noqa: N818 - a way back, not an error
    """Steps are no longer what the programs compute; the message says how that was seen."""
