"""A data set under a run's guide: each datum is encoded once, whatever is asked about it."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from pyro import poutine
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.aggregate_posterior import AggregatePosterior, StructuredPosterior
from pyro_decomp.analysis.inference import Kind, infer, likelihood_mean, local_latents
from pyro_decomp.analysis.stored_guide import StoredGuide
from pyro_decomp.data.batches import AnyData, Batch, Data
from pyro_decomp.data.checks import check_finite
from pyro_decomp.distributions.densities import unmasked
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.errors import DataError
from pyro_decomp.programs.automatic_guides import has_local_parameters
from pyro_decomp.programs.sites import SampleTrace
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import random_state, seeded
from pyro_decomp.training.run import Run
from pyro_decomp.training.user_code import sentence

Posterior = AggregatePosterior | StructuredPosterior
Rows = Int[Tensor, " b"]

BATCH_ELEMENTS = 2**21  # elements of data encoded at once


class EncodedData:
    """A data set under a guide and a model, which sends no datum through the encoder twice.

    Internal. The guide's distributions q(z|x) of the rows that were asked for are kept, and all
    further draws are made from them, by the same random numbers as the guide itself would take. A
    guide whose sites depend on one another's draws, or that draws otherwise than at its sites, is
    run for every draw instead. Data are read a batch at a time, and none are kept.
    """

    def __init__(
        self, data: Data, model: Callable[..., Any], guide: Callable[..., Any], elbo: TermsELBO
    ) -> None:
        self.data = data
        self.model = model
        self._guide = guide
        self._elbo = elbo
        self._is_looked_at = False
        self._stored: StoredGuide | None = None
        self._of_stored = elbo

    @classmethod
    def of(cls, run: Run, x: AnyData | None = None) -> "EncodedData":
        """Data under the programs of a run; by default its training data.

        Raises:
            DataError: A value is not finite, or the programs cannot be run on data of this shape.
        """
        data = run.data
        if x is None:
            pass
        elif len(x) == 0 or getattr(x, "is_meta", False):
            arguments.refuse("x", "at least one datum, in memory", x)
        else:
            data = _like(run.data, Data.of(x)).to(run.data.device)
        programs = run.model, run.guide, run.experiment.elbo
        if data.shapes != run.data.shapes[: len(data.shapes)]:
            with _refused_for_shape(data, run.data):
                cls(data, *programs).look(torch.arange(1))
        return cls(data, *programs)

    def __len__(self) -> int:
        return len(self.data)

    def batches(
        self, rows: Int[Tensor, " n"] | None = None, *, elements: int | None = None
    ) -> Iterator[Rows]:
        """Rows, by default all, so many at a time as make this number of elements of data."""
        every = torch.arange(len(self)) if rows is None else rows
        size = max(1, (elements or BATCH_ELEMENTS) // self.data.datum_size)
        yield from every.split(size)

    def batch(self, rows: Rows) -> Batch:
        """The data of some rows, as the programs take them."""
        start, stop = int(rows[0]), int(rows[0]) + len(rows)
        if torch.equal(rows.cpu(), torch.arange(start, stop)):
            return self.data[start:stop]
        return self.data[rows.to(self.data.device)]

    def pair(self, rows: Rows) -> TracePair:
        """Guide and model, run on some rows in whatever order and as often as they are named.

        The guide's discrete sites are drawn.

        Raises:
            ModelError: The programs cannot be scored on these data.
        """
        guide = self.guide(rows)
        if guide is self._stored:
            return self._of_stored.drawn_pair(self.model, guide, *self.batch(rows))
        began = random_state()
        pair = self._elbo.drawn_pair(self.model, guide, *self.batch(rows))
        if not self._is_looked_at:
            self._is_looked_at = True
            self._stored = StoredGuide.of(pair, len(self), rows, began)
            if self._stored is not None:
                self._of_stored = self._elbo.with_guide(self._stored)
        return pair

    def pairs(self, rows: Int[Tensor, " n"] | None = None) -> Iterator[TracePair]:
        """Guide and model on all rows, or on some, a batch at a time."""
        yield from map(self.pair, self.batches(rows))

    def look(self, rows: Rows) -> TracePair:
        """Guide and model as :meth:`pair` runs them; the random generators are as before."""
        with seeded(0), torch.no_grad():
            return self.pair(rows)

    def encode(self, rows: Rows) -> None:
        """Run the guide on those of the rows whose encodings are not kept, and keep them."""
        if not self._is_looked_at:
            self.look(rows)
        self.guide(rows)

    @property
    def takes_repeated_rows(self) -> bool:
        """Whether a datum may be among the rows of a batch several times, once it is encoded."""
        return self._stored is not None or not has_local_parameters(self._guide)

    def guide(self, rows: Rows) -> Callable[..., Any]:
        """The guide to run on some rows: the one of kept encodings where that is as good."""
        if self._stored is not None and len(missing := self._stored.missing(rows)):
            for some in self.batches(missing):
                with seeded(0), torch.no_grad():
                    trace = SampleTrace()(self._guide).get_trace(*self.batch(some))
                if not self._stored.add(some, trace):
                    self._stored = None
                    break
        return self._guide if self._stored is None else self._stored.at(rows)

    def infer(self, rows: Rows, kind: Kind) -> tuple[poutine.Trace, poutine.Trace]:
        """Traces of codes of some rows, and of the model at them; see :func:`.infer`."""
        return infer(self.model, self.guide(rows), self.batch(rows), kind)

    def latents(
        self, rows: Int[Tensor, " n"] | None = None, *, kind: Kind = "mean"
    ) -> dict[str, Tensor]:
        """Codes of all rows, or of some, at each latent site of a datum, data first.

        Args:
            rows: The rows.
            kind: As for :func:`pyro_decomp.analysis.latents.latents`.

        Raises:
            ModelError: The mean of a site's family is not known.
        """
        parts: dict[str, list[Tensor]] = {}
        for some in self.batches(rows):
            for name, value in local_latents(self.infer(some, kind)[1]).items():
                parts.setdefault(name, []).append(value)
        return {name: torch.cat(values) for name, values in parts.items()}

    def reconstructions(
        self, rows: Int[Tensor, " n"] | None = None, *, kind: Kind = "mean"
    ) -> Tensor:
        """The mean of p(x|z) at the codes of all rows, or of some; see :func:`likelihood_mean`."""
        return torch.cat(
            [
                likelihood_mean(self.infer(some, kind)[1], self.batch(some)[0])
                for some in self.batches(rows)
            ]
        )

    @cached_property
    def counts(self) -> Float[Tensor, " n"] | None:
        """How much each row counts, 0 where it is masked; None where all count the same.

        One batch is looked at to see whether the programs tell rows apart.
        """
        if self.first.counts is None:
            return None
        pairs = (self.look(rows) for rows in self.batches())
        counts = (torch.ones(p.batch_size) if p.counts is None else p.counts for p in pairs)
        return torch.cat([each.cpu().double() for each in counts])

    @cached_property
    def valid(self) -> Int[Tensor, " m"]:
        """The rows that are not masked, in order.

        Raises:
            DataError: All are.
        """
        if self.counts is None:
            return torch.arange(len(self))
        if not bool((self.counts > 0).any()):
            raise DataError(f"all {len(self)} rows are masked: expected data to measure")
        return self.counts.nonzero()[:, 0]

    @cached_property
    def first(self) -> TracePair:
        """Guide and model on the first batch."""
        return self.look(next(self.batches()))

    @cached_property
    def posteriors(self) -> list[Posterior]:
        """q(z|x) of all data in order, a batch each.

        Raises:
            ModelError: They have no density that is known.
        """
        with seeded(0), torch.no_grad():
            return [self._posterior(rows) for rows in self.batches()]

    def draw_prior(self, pair: TracePair, num_samples: int) -> dict[str, Tensor]:
        """Draws of the prior, along the data's dimension of every latent site.

        Where the prior is given something of the datum, every draw is given that of a datum of the
        set: of each as often as of any other, and of chosen ones at random where there are fewer
        draws. Where data do not count the same, they are chosen with chances as they count.
        """
        if not pair.prior_inputs.given:
            return pair.prior.draw(num_samples)[0]
        if self.counts is None:
            repeats = range(-(-num_samples // len(self)))
            rows = torch.cat([torch.randperm(len(self)) for _ in repeats])[:num_samples]
        else:
            rows = torch.multinomial(self.counts, num_samples, replacement=True)
        drawn = [pair.prior_of(*self.batch(some)).draw()[0] for some in self.batches(rows)]
        return {
            name: torch.cat([values[name] for values in drawn], axis)
            for name, axis in pair.axes.items()
        }

    def _posterior(self, rows: Rows) -> Posterior:
        if self.guide(rows) is not self._stored:
            return self.first.encodings(*self.batch(rows))
        counts = self.counts
        if counts is not None:
            counts = counts[rows].to(self.data.device, self.first.dtype)
        qz_x = {n: unmasked(self._stored.distribution(n)) for n in self.first.latents}
        return AggregatePosterior(qz_x, self.first.data_plate.dim, counts)


def encode(run: Run, x: AnyData) -> Iterator[TracePair]:
    """Run guide and model once over data, a batch at a time; discrete sites of the guide are drawn.

    Args:
        run: The run.
        x: The data.

    Returns:
        A :class:`.TracePair` for each batch.
    """
    yield from EncodedData.of(run, x).pairs()


def evenly_spaced(x: AnyData, limit: int) -> Tensor | Batch:
    """At most so many data, spread evenly over the set, which may be in some order.

    Returns:
        One tensor, or a tuple of them where the set has several.
    """
    data = Data.of(x)
    kept = min(len(data), limit)
    some = data[torch.arange(kept, device=data.device) * len(data) // kept]
    return some if len(some) > 1 else some[0]


def _like(known: Data, data: Data) -> Data:
    """Data that a user gives, of the floating-point types of those that a run was trained on.

    Raises:
        DataError: A value is not finite, or data have more or fewer axes than these.
    """
    tensors = list(data.tensors)
    for index, (given, like) in enumerate(zip(data.tensors, known[:1], strict=False)):
        name = "x" if len(tensors) == 1 else f"x[{index}]"
        if len(given.shape) != like.dim():
            shape = ", ".join(["n", *map(str, like.shape[1:])])
            raise DataError(
                f"{name}: expected data of shape ({shape}), got {tuple(given.shape)} (a single "
                "datum is x[None])"
            )
        if isinstance(given, Tensor) and given.is_floating_point():
            check_finite(given, name, range(len(given)))
            tensors[index] = given.to(like.dtype) if like.is_floating_point() else given
    return data if all(map(operator.is_, tensors, data.tensors)) else Data(tuple(tensors))


@contextmanager
def _refused_for_shape(data: Data, known: Data) -> Iterator[None]:
    """Say that data are of another shape than those of training where programs fail on them."""
    try:
        yield
    except Exception as error:  # programs are the user's, and raise what they like
        raise DataError(
            f"x: expected data that the programs can be run on, as those of training, {known}; got "
            f"{data}: {sentence(error)}"
        ) from error
