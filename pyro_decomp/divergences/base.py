"""What a divergence between the aggregate posterior and the prior is given, and gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described, shortened, value_text
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.prior_program import PriorProgram
from pyro_decomp.programs.traces import TracePair

Weight = int | float | Tensor


class Divergence(Described, ABC):
    """D(q(z), p(z)): a scalar from the batch's encodings and the prior program.

    p(z) is the prior that the model's program draws from. Where that is given something of the
    datum, an argument, a column or an observed site u, p(z) is the mixture of all data's priors,
    the sum of p(z|u_n)/N over all of them; where it depends on labels, it is summed over these.

    Divergences add, and take weights: ``InclusiveKL() + 10 * MMD()`` is a divergence. A weight is
    a number, or a scalar tensor if it is to be learned or changed in place.
    """

    @abstractmethod
    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the divergence, a scalar with gradients.

        Args:
            traces: One guide trace and the model trace. Take from it what is needed: samples
                (:func:`samples`), densities (``aggregate_posterior``, ``prior``), or the
                encodings' distributions.

        Returns:
            The estimate, in nats or in the unit that the class names.
        """

    def __add__(self, other: "Divergence") -> "WeightedSum":
        arguments.instance(Divergence, "a Divergence to add", other=other)
        return WeightedSum([(1.0, self), (1.0, other)])

    def __radd__(self, zero: int) -> "Divergence":
        if zero != 0:  # what sum() starts from
            arguments.refuse("other", "a Divergence to add", zero)
        return self

    def __mul__(self, weight: Weight) -> "WeightedSum":
        return WeightedSum([(weight, self)])

    __rmul__ = __mul__


class WeightedSum(Divergence):
    r"""\sum_k w_k D_k(q(z), p(z)), in the sum of their units.

    A part whose weight is the number 0 is not computed, and draws nothing.

    Args:
        parts: Weight and divergence, each.

    Attributes:
        parts: The same; a sum among them was taken apart, unless tensors are to be multiplied.
    """

    def __init__(self, parts: Sequence[tuple[Weight, Divergence]]) -> None:
        arguments.items((tuple, list), "pairs of a weight and a divergence", parts=parts)
        for weight, part in parts:
            arguments.instance(Divergence, "a Divergence such as InclusiveKL()", parts=part)
            arguments.number("[0, inf)", weight=weight)
        self.parts = [pair for weight, part in parts for pair in _flattened(weight, part)]

    def __repr__(self) -> str:
        return shortened(" + ".join(map(_term_text, self.parts))) or "WeightedSum([])"

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the weighted sum.

        Returns:
            The weighted sum, a scalar with gradients.
        """
        needed = [(w, part) for w, part in self.parts if isinstance(w, Tensor) or w != 0]
        values = (weight * part(traces) for weight, part in needed)
        return reduce(add, values) if needed else torch.zeros(())


def samples(
    traces: TracePair, num_samples: int | None, divergence: str
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "s d"]]:
    """The codes of the batch, a sample of q(z), beside a sample of the prior; one row a draw.

    The prior's draws carry gradients only where it is learned.

    Args:
        traces: One guide trace and the model trace.
        num_samples: S, draws from the prior; None for as many as the batch has data. It is rounded
            up to a multiple of B where the prior is given something of the datum.
        divergence: What they are for, as errors are to name it.

    Returns:
        The codes, ``[B, D]``, and the draws of the prior, ``[S, D]``.

    Raises:
        ModelError: No latent site is inside the data plate; the batch has one datum alone; the
            prior is learned but its sampler passes no gradients.
    """
    if not traces.latents:
        raise ModelError(
            f"no latent site is inside the data plate '{traces.data_plate.name}': {divergence} "
            "needs one there; set its weight to 0 to do without"
        )
    if (size := traces.num_rows) < 2:
        raise ModelError(
            f"{divergence}: expected at least 2 data in a batch, got {size}: choose a batch size "
            "that does not leave a single datum over"
        )
    drawn = traces.prior_codes(num_samples)
    require_gradients(traces.prior, divergence)
    return traces.codes(), drawn


def of_samples(
    distance: Callable[..., Tensor], traces: TracePair, num_samples: int | None, divergence: str
) -> Tensor:
    """A U-statistic of the batch's codes and draws of the prior.

    Where the prior is given something of the datum, code i and draw i belong to one datum and not
    to independent ones, so that the pair is left out; the prior is drawn a whole batch at a time,
    and the mean is taken over batches.

    Args:
        distance: Takes the two samples, ``weights`` of their rows and ``is_paired``.
        traces: One guide trace and the model trace.
        num_samples: As for :func:`samples`.
        divergence: As for :func:`samples`.

    Returns:
        The statistic, a scalar with gradients.

    Raises:
        ModelError: As :func:`samples`.
    """
    if not traces.prior_inputs.given:
        drawn = samples(traces, num_samples, divergence)
        return distance(*drawn, weights=sample_weights(traces, num_samples))
    num_runs = -(-(num_samples or 1) // traces.batch_size)
    runs = (samples(traces, None, divergence) for _ in range(num_runs))
    weights = sample_weights(traces, None)
    each = (distance(*drawn, weights=weights, is_paired=True) for drawn in runs)
    return reduce(add, each) / num_runs


def sample_weights(
    traces: TracePair, num_samples: int | None
) -> tuple[Float[Tensor, " b"] | None, Float[Tensor, " b"] | None]:
    """How much each row of the two samples counts; None where all of them count the same.

    A draw of the prior belongs to a datum, whose weight it has, unless their number is another.
    """
    weights = traces.row_weights()
    return weights, weights if num_samples is None else None


def require_equal_weights(traces: TracePair, what: str) -> None:
    """Refuse data that do not count the same.

    Raises:
        ModelError: A scale that varies along the data plate weighs them.
    """
    if traces.rows.weight is not None:
        raise ModelError(
            f"poutine.scale gives data weights along the plate '{traces.data_plate.name}', which "
            f"{what} does not take: use InclusiveKL(), ExclusiveKL(), MMD() or EnergyDistance(), "
            "or repeat rows in the data"
        )


def require_gradients(prior: PriorProgram, divergence: str) -> None:
    """Refuse a learned prior whose last draw passes no gradients to what is learned.

    Raises:
        ModelError: A site of it is of that kind.
    """
    if prior.without_gradient:
        names = ", ".join(map(repr, prior.without_gradient))
        raise ModelError(
            f"the prior of {names} is learned but cannot be drawn with gradients, so {divergence} "
            "cannot train it: use a family with rsample, fix its parameters, use a divergence of "
            "densities such as ExclusiveKL(), or set its weight to 0 (alpha=0)"
        )


def _term_text(term: tuple[Weight, Divergence]) -> str:
    weight, part = term
    text = f"({part})" if isinstance(part, WeightedSum) else str(part)
    return (
        text if not isinstance(weight, Tensor) and weight == 1 else f"{value_text(weight)} * {text}"
    )


def _flattened(weight: Weight, divergence: Divergence) -> Iterator[tuple[Weight, Divergence]]:
    """The parts of a sum; the sum itself if a tensor would be multiplied now instead of later."""
    parts = divergence.parts if isinstance(divergence, WeightedSum) else []
    if parts and not isinstance(weight, Tensor):
        if weight == 1:
            yield from parts
            return
        if not any(isinstance(w, Tensor) for w, _ in parts):
            yield from ((weight * w, part) for w, part in parts)
            return
    yield weight, divergence
