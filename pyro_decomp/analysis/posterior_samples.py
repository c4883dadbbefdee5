"""A whole data set through guide and model: the plain ELBO's terms, and samples of q(z)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior
from pyro_decomp.analysis.encoding import EncodedData, Posterior
from pyro_decomp.analysis.quantities import by_itself
from pyro_decomp.analysis.term_sums import TermSums
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.traces import TracePair

MAX_PASSES = 100  # over a set that has fewer data than samples are wanted
POSTERIOR, PRIOR = "q(z)", "p(z)"


@dataclass(frozen=True)
class Samples:
    """Draws of q(z|x), one for each of some data.

    Attributes:
        z: Values of every latent site of a datum.
        codes: The values of all sites, flattened and joined, a row a datum.
        log_qz_x: The joint log density of each draw under its own encoding, in nats.
        log_pz: Its log density under the prior of its datum, given what enters of it, in nats.
        weights: How much each draw counts; None where all count the same.
    """

    z: dict[str, Tensor]
    codes: Float[Tensor, "s d"]
    log_qz_x: Float[Tensor, " s"]
    log_pz: Float[Tensor, " s"]
    weights: Float[Tensor, " s"] | None = None


@dataclass(frozen=True)
class PosteriorSamples:
    """The terms of a data set and samples of its q(z), from one pass or, of a small set, several.

    Attributes:
        data: The data and their encodings.
        terms: The plain ELBO and its terms over the whole set, in nats per datum, with their
            standard errors.
        left_out: Why terms are left out, by name.
        first: Guide and model on the first batch.
        parts: q(z|x) of all data in order, a batch each; none where q(z) cannot be scored.
        samples: Draws of q(z|x) of data chosen at random, a batch each.
        reason: Why q(z) cannot be scored; empty where it can be.
        priors: p(z|u) of all data in order, a batch each; none where all data share one prior.
        no_prior: Why p(z) cannot be scored; empty where it can be.
    """

    data: EncodedData
    terms: dict[str, float]
    left_out: dict[str, str]
    first: TracePair
    parts: list[Posterior] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    reason: str = ""
    priors: list[Posterior] = field(default_factory=list)
    no_prior: str = ""

    @property
    def num_samples(self) -> int:
        """The number of samples of q(z)."""
        return sum(len(some.log_qz_x) for some in self.samples)

    @property
    def log_size(self) -> float:
        """The largest mutual information of data and codes: log N, or the weights' entropy."""
        counts = self.data.counts
        if counts is None:
            return math.log(len(self.data))
        return float(torch.special.entr(counts / counts.sum()).sum())

    def draw_prior(self, num_samples: int) -> dict[str, Tensor]:
        """Draw the prior; see :meth:`.EncodedData.draw_prior`."""
        return self.data.draw_prior(self.first, num_samples)


def sample_posterior(
    data: EncodedData,
    num_samples: Callable[[TracePair], int],
    *,
    refused: Mapping[str, str] | None = None,
) -> PosteriorSamples:
    """Go over a whole set, as few times as give so many samples, but at most 100.

    Args:
        data: The set.
        num_samples: How many samples, when it is known what is encoded.
        refused: Terms of the ELBO that are not tried, and why.

    Returns:
        The terms and the samples; why any of them could not be had is among its attributes.

    Raises:
        DataError: All rows are masked.
    """
    pairs = data.pairs()
    first = next(pairs)
    unscored: dict[str, str] = {}
    wanted = len(data)
    with by_itself(unscored, POSTERIOR):
        _check_scored(first)
    with by_itself(unscored, PRIOR):
        wanted = num_samples(first)
    valid = data.valid
    wanted = min(wanted, MAX_PASSES * len(valid))
    repeats = -(-wanted // len(valid))
    chosen = valid[torch.randperm(len(valid))[: -(-wanted // repeats)]].sort().values
    sums = TermSums(len(data), refused)
    parts: list[Posterior] = []
    priors: list[Posterior] = []
    samples: list[Samples] = []
    for repeat in range(repeats):
        start = 0
        for pair in data.pairs() if repeat else chain([first], pairs):
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
    return PosteriorSamples(
        data,
        *sums.numbers(),
        first,
        parts,
        samples,
        unscored.get(POSTERIOR, ""),
        priors,
        unscored.get(PRIOR, ""),
    )


def terms_over(data: EncodedData, rows: Int[Tensor, " n"]) -> TermSums:
    """The plain ELBO's terms over some rows of a set, in one pass."""
    sums, start = TermSums(len(rows)), 0
    for pair in data.pairs(rows):
        sums.add(pair, start)
        start += pair.batch_size
    return sums


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
    z = {
        name: pair.guide.nodes[name]["value"].index_select(axis, rows)
        for name, axis in pair.axes.items()
    }
    return Samples(z, codes[rows], log_qz_x, log_pz, counts)
