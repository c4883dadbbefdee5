"""A whole data set through guide and model once: terms, encodings, and samples of q(z)."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, StructuredPosterior
from pyro_decomp.analysis.quantities import by_itself
from pyro_decomp.analysis.term_sums import TermSums
from pyro_decomp.data.batches import AnyData, Batch, Data
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.training.run import Run

Encodings = AggregatePosterior | StructuredPosterior

BATCH_ELEMENTS = 2**21  # elements of data encoded at once
MAX_PASSES = 100  # over a set that has fewer data than samples are wanted
POSTERIOR, PRIOR = "q(z)", "p(z)"


@dataclass(frozen=True)
class Samples:
    """Draws of q(z|x), one for each of some data.

    Attributes:
        z: Values of every latent site of a datum.
        codes: The same, flattened and joined, a row a datum.
        log_qz_x: Their joint log density under their own encodings.
        log_pz: That under the prior of each datum, given what enters of it.
        weights: How much each counts; None where all count the same.
    """

    z: dict[str, Tensor]
    codes: Float[Tensor, "s d"]
    log_qz_x: Float[Tensor, " s"]
    log_pz: Float[Tensor, " s"]
    weights: Float[Tensor, " s"] | None = None


@dataclass(frozen=True)
class Encoded:
    """What one pass over a set of data gives; several, where there are fewer data than samples.

    Attributes:
        size: N, the number of data: of rows that are not masked.
        terms: The plain ELBO and its terms over the whole set, in nats per datum, with their
            standard errors.
        first: Guide and model on the first batch.
        parts: q(z|x) of all data in order, a batch each; none where q(z) cannot be scored.
        samples: Of data chosen at random, a batch each.
        reason: Why q(z) cannot be scored; empty where it can be.
        priors: p(z|u) of all data in order, a batch each; none where all data share one prior.
        draws: Gives so many draws of the prior, each of a datum chosen at random, where the prior
            is given something of the datum.
        entropy: H(w/W) of the data's weights, in nats; None where all count the same.
        left_out: Why terms are left out, by name.
        no_prior: Why p(z) cannot be scored; empty where it can be.
    """

    size: int
    terms: dict[str, float]
    first: TracePair
    parts: list[Encodings]
    samples: list[Samples]
    reason: str
    priors: list[Encodings] = field(default_factory=list)
    draws: Callable[[int], dict[str, Tensor]] | None = None
    entropy: float | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    no_prior: str = ""

    @property
    def num_samples(self) -> int:
        """How many samples there are."""
        return sum(len(some.log_qz_x) for some in self.samples)

    @property
    def log_size(self) -> float:
        """The largest mutual information of data and codes: log N, or the weights' entropy."""
        return math.log(self.size) if self.entropy is None else self.entropy

    def draw_prior(self, num_samples: int) -> dict[str, Tensor]:
        """So many draws of the prior; see :func:`draw_prior`."""
        if self.draws is None:
            return self.first.prior.draw(num_samples)[0]
        return self.draws(num_samples)


def encode(run: Run, x: AnyData) -> Iterator[TracePair]:
    """Run guide and model once over data, a batch at a time; see :class:`TracePair`.

    Discrete sites of the guide are drawn.
    """
    data = Data.of(x).to(run.data.device)
    rows = max(1, BATCH_ELEMENTS // data.datum_size)
    for batch in data.split(rows):
        yield run.experiment.elbo.drawn_pair(run.model, run.guide, *batch)


def encode_set(
    run: Run,
    x: AnyData,
    num_samples: Callable[[TracePair], int],
    *,
    refused: Mapping[str, str] | None = None,
) -> Encoded:
    """Encode a whole set, in as few passes as give so many samples, but at most in 100.

    Args:
        run: The run.
        x: The set.
        num_samples: How many samples, when it is known what is encoded.
        refused: Terms of the ELBO that are not tried, and why.

    Raises:
        DataError: All rows are masked.
    """
    data = Data.of(x)
    batches = encode(run, data)
    first = next(batches)
    unscored: dict[str, str] = {}
    wanted = len(data)
    with by_itself(unscored, POSTERIOR):
        _check_scored(first)
    with by_itself(unscored, PRIOR):
        wanted = num_samples(first)
    found = None if first.counts is None else data_counts(run, data)
    counts = torch.ones(len(data), dtype=torch.float64) if found is None else found
    valid = counts.nonzero()[:, 0]
    if not len(valid):
        raise DataError(f"all {len(data)} rows are masked: expected data to measure")
    wanted = min(wanted, MAX_PASSES * len(valid))
    repeats = -(-wanted // len(valid))
    chosen = valid[torch.randperm(len(valid))[: -(-wanted // repeats)]].sort().values
    sums = TermSums(len(data), refused)
    parts: list[Encodings] = []
    priors: list[Encodings] = []
    samples: list[Samples] = []
    for repeat in range(repeats):
        start = 0
        for pair in encode(run, data) if repeat else chain([first], batches):
            stop = start + pair.batch_size
            sums.add(pair, start)
            if POSTERIOR not in unscored:
                with by_itself(unscored, POSTERIOR):
                    parts += [] if repeat else [pair.aggregate_posterior]
                    rows = chosen[(chosen >= start) & (chosen < stop)] - start
                    samples += [_samples(pair, rows, unscored)] if len(rows) else []
            if not (repeat or unscored):
                with by_itself(unscored, PRIOR):
                    priors += [] if pair.aggregate_prior is None else [pair.aggregate_prior]
            start = stop
    if POSTERIOR in unscored:
        parts, samples = [], []
    terms, left_out = sums.numbers()
    return Encoded(
        len(valid),
        terms,
        first,
        parts,
        samples,
        unscored.get(POSTERIOR, ""),
        priors,
        partial(draw_prior, run, data, first, counts=found),
        None if found is None else torch.special.entr(counts / counts.sum()).sum().item(),
        left_out,
        unscored.get(PRIOR, ""),
    )


def terms_over(run: Run, x: AnyData) -> TermSums:
    """The plain ELBO's terms over a set, in one pass.

    Args:
        run: The run.
        x: The set.
    """
    data = Data.of(x)
    sums, start = TermSums(len(data)), 0
    for pair in encode(run, data):
        sums.add(pair, start)
        start += pair.batch_size
    return sums


def draw_prior(
    run: Run,
    x: AnyData,
    pair: TracePair,
    num_samples: int,
    *,
    counts: Float[Tensor, " n"] | None = None,
) -> dict[str, Tensor]:
    """Draws of the prior, along the data's dimension of every latent site.

    Where the prior is given something of the datum, every draw is given that of a datum of the set:
    of each as often as of any other, and of chosen ones at random where there are fewer draws.
    Where data do not count the same, they are chosen with chances as they count.

    Args:
        run: The run.
        x: The set.
        pair: Guide and model on some of it.
        num_samples: How many.
        counts: How much each row of the set counts; None where all count the same.
    """
    if not pair.prior_inputs.given:
        return pair.prior.draw(num_samples)[0]
    data = Data.of(x).to(run.data.device)
    if counts is None:
        repeats = range(-(-num_samples // len(data)))
        rows = torch.cat([torch.randperm(len(data)) for _ in repeats])[:num_samples]
    else:
        rows = torch.multinomial(counts, num_samples, replacement=True)
    size = max(1, BATCH_ELEMENTS // data.datum_size)
    drawn = [pair.prior_of(*data[some]).draw()[0] for some in rows.to(data.device).split(size)]
    return {
        name: torch.cat([values[name] for values in drawn], axis)
        for name, axis in pair.axes.items()
    }


def data_counts(run: Run, x: AnyData) -> Float[Tensor, " n"] | None:
    """How much each row of a set counts, 0 where it is masked; None where all count the same.

    The random generators are left as they were.

    Args:
        run: The run.
        x: The set, of which one batch is run to see whether the programs tell rows apart.
    """
    found: list[Tensor] = []
    with torch.random.fork_rng(), torch.no_grad():
        for pair in encode(run, x):
            if pair.counts is None and not found:
                return None
            counts = torch.ones(pair.batch_size) if pair.counts is None else pair.counts
            found.append(counts.cpu().double())
    return torch.cat(found)


def spread(x: AnyData, limit: int) -> Tensor | Batch:
    """At most so many data, spread evenly over the set, which may be in some order."""
    data = Data.of(x)
    kept = min(len(data), limit)
    some = data[torch.arange(kept, device=data.device) * len(data) // kept]
    return some if len(some) > 1 else some[0]


def _check_scored(pair: TracePair) -> None:
    """Refuse encodings of which q(z) cannot be scored.

    Raises:
        ModelError: It cannot.
    """
    try:
        q = pair.aggregate_posterior
    except ModelError as error:
        raise ModelError(str(error).partition(":")[0]) from error
    if isinstance(q, AggregatePosterior) and (reason := q.why_no_density()):
        raise ModelError(reason)
    if not len(q):
        raise ModelError("there are no data")


def _samples(pair: TracePair, rows: Int[Tensor, " s"], unscored: dict[str, str]) -> Samples:
    codes = pair.all_codes()
    rows = rows.to(codes.device)
    counts = None if pair.rows.weight is None or pair.counts is None else pair.counts[rows]
    log_qz_x = torch.stack([pair.log_prob(name, guide=True) for name in pair.latents]).sum(0)[rows]
    log_pz = torch.full_like(log_qz_x, math.nan)
    if PRIOR not in unscored:
        with by_itself(unscored, PRIOR):
            log_pz = pair.log_prior()[rows]
    z = {name: _rows_of(pair, name, rows) for name in pair.latents}
    return Samples(z, codes[rows], log_qz_x, log_pz, counts)


def _rows_of(pair: TracePair, name: str, rows: Int[Tensor, " s"]) -> Tensor:
    """The samples of some data at a latent site."""
    site = pair.guide.nodes[name]
    value: Tensor = site["value"]
    return value.index_select(pair.data_plate.dim - len(site["fn"].event_shape), rows)
