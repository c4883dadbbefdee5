"""How far a run is, shown while it trains."""

from typing import Any, Literal

from pyro_decomp import arguments
from pyro_decomp.training.callbacks import Callback, Training
from pyro_decomp.training.display import (
    Lines,
    Shower,
    Shown,
    display_for,
    duration_text,
    number_text,
)


class Progress(Callback):
    """Shows the step, the terms, held-out terms, the rate and the time left of a run.

    The terms are the means over the last epoch, or of the last step where an epoch is one step or
    none is done. In a notebook and on a terminal a bar is drawn in place; elsewhere the standard
    error stream gets the first step, the last, and between them a line where both 10 seconds and a
    tenth of the run have passed. :func:`pyro_decomp.train` adds one where none is given.

    Args:
        style: "auto", as above; "lines" anywhere; or "none" for silence.
        console: A console of ``rich``, in the place of the standard error stream.
    """

    is_last = True  # what others find out at a step is shown with it

    def __init__(
        self,
        style: Literal["auto", "lines", "none"] = "auto",
        *,
        console: Any = None,
    ) -> None:
        arguments.one_of(("auto", "lines", "none"), style=style)
        if console is not None and not hasattr(console, "is_terminal"):
            arguments.refuse("console", "a console of rich", console)
        self._style, self._console = style, console
        self._shower = Shower(None)

    def started(self, training: Training) -> None:
        """Find out where to show it."""
        if self._style == "none" or getattr(self._console, "quiet", False):
            self._shower = Shower(None)
        elif self._style == "lines":
            self._shower = Shower(Lines(None if self._console is None else self._console.file))
        else:
            self._shower = Shower(display_for(self._console))
        if self._console is None and training.folder.note:
            self._shower.say(training.folder.note)

    def step(self, training: Training) -> None:
        """Show it, if it is due; the last step is shown once others have said all of it."""
        if training.step < training.total_steps and self._shower.is_due(training.step):
            self._shower.show(shown(training))

    def ended(self, training: Training) -> None:
        """Show where it ended."""
        if training.values:
            self._shower.show(shown(training), is_last=True)
        self._shower.close()


def shown(training: Training) -> Shown:
    """The step, the terms, held-out terms, the rate and the time left of a run that trains."""
    rate, per_epoch = training.steps_per_second, training.steps_per_epoch
    values = {**(training.epoch_means or training.values), **training.evaluation}
    pieces = [
        f"step {training.step}/{training.total_steps}",
        *([f"epoch {training.epoch}"] if per_epoch > 1 else []),
        *(f"{name} {number_text(value)}" for name, value in values.items()),
        f"{rate:.0f} steps/s" if rate >= 10 else f"{rate:.2f} steps/s",
        f"{duration_text(training.seconds_left)} left",
    ]
    return Shown(pieces, training.step, training.total_steps)
