"""What a step leaves besides gradients."""

from dataclasses import dataclass

from pyro_decomp.elbo import Estimate


@dataclass(frozen=True)
class StepResult:
    """The values of one step; its gradients are in the parameters.

    Attributes:
        values: ``objective``, ``elbo`` and every term, in nats per datum.
        estimate: The traces behind them, where the programs were run.
        norm: Of the gradient, before any clipping, where it was computed with it.
    """

    values: dict[str, float]
    estimate: Estimate | None = None
    norm: float | None = None


class GoEager(Exception):  # noqa: N818 - a way on, not an error
    """From this step on the programs are to be run; the message says why, to follow "because"."""


class Departed(Exception):  # noqa: N818 - a way back, not an error
    """Steps are no longer what the programs compute; the message says how that was seen."""
