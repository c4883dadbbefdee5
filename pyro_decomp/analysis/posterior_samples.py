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
from pyro_decomp.analysis.quantities import by_itself, mean
from pyro_decomp.elbo.base import PlainTerm, plain_terms
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.traces import TracePair

MAX_PASSES = 100  # over a set that has fewer data than samples are wanted
POSTERIOR, PRIOR = "q(z)", "p(z)"
SIGNS = {"log_likelihood": 1.0, "kl": -1.0, "global_kl": -1.0}  # of the ELBO's parts


class TermSums:
    """Terms of all data of a set, summed over the batches of one pass or several.

    Attributes:
        counts: How much each row counts, ``[N]``; 0 where it is masked.
    """

    def __init__(self, size: int, refused: Mapping[str, str] | None = None) -> None:
        self.counts = torch.ones(size, dtype=torch.float64)
        self._rows_seen = 0
        self._own: dict[str, Tensor] = {}
        self._shared: dict[str, Tensor] = {}
        self._left_out = dict(refused or {})

    def add(self, pair: TracePair, start: int) -> None:
        """Add the terms of a batch.

        Args:
            pair: Guide and model on it.
            start: The row of the set that its first row is.
        """
        rows = slice(start, start + pair.batch_size)
        self._rows_seen += pair.batch_size
        if pair.counts is not None:
            self.counts[rows] = pair.counts.cpu().double()
        for name, term in plain_terms(pair).items():
            if name not in self._left_out:
                with by_itself(self._left_out, name):
                    self._add(name, term, pair, rows)

    def numbers(self) -> tuple[dict[str, float], dict[str, str]]:
        """The ELBO and its terms in nats per datum, and why others are left out, by name.

        Beside each is its standard error over the data, ``<name>_standard_error``, that of the part
        which each datum has for itself.
        """
        passes = self._rows_seen / len(self.counts)
        own = {name: values / passes for name, values in self._own.items()}
        shared = {name: values / passes for name, values in self._shared.items()}
        left_out = dict(self._left_out)
        parts = [name for name in SIGNS if name in {*own, *shared, *left_out}]
        if missing := next((name for name in parts if name in left_out), None):
            left_out["elbo"] = left_out[missing]
        else:
            for each in (own, shared):
                each["elbo"] = sum(
                    (SIGNS[name] * each[name] for name in parts if name in each),
                    torch.zeros_like(self.counts),
                )
        found: dict[str, float] = {}
        for name in ("elbo", *(name for name in {**own, **shared} if name != "elbo")):
            if name not in left_out:
                numbers, reason = self._mean(name, own.get(name), shared.get(name))
                found |= numbers
                left_out |= {name: reason} if reason else {}
        return found, left_out

    def _add(self, name: str, term: PlainTerm, pair: TracePair, rows: slice) -> None:
        zero = torch.zeros_like(self.counts)
        if term.per_datum is not None:
            values = term.per_datum()
            if pair.counts is not None and values.dim():
                values = values.masked_fill(pair.counts == 0, 0.0)
            self._own.setdefault(name, zero.clone())[rows] += values.cpu().double()
        if term.shared is not None:
            value = (term.shared() / pair.total).cpu().double()
            self._shared.setdefault(name, zero)[rows] += value

    def _mean(
        self, name: str, own: Tensor | None, shared: Tensor | None
    ) -> tuple[dict[str, float], str]:
        """The mean over the data and its error, or why it is no number to report."""
        valid = self.counts > 0
        counts = self.counts[valid]
        weights = None if bool((counts == counts[0]).all()) else counts
        found = {name: 0.0} if own is None else mean(name, own[valid], weights)
        if shared is not None:
            found[name] += mean(name, shared[valid], weights)[name]
        if math.isfinite(found[name]):
            return {key: value for key, value in found.items() if math.isfinite(value)}, ""
        zero = torch.zeros_like(self.counts)
        total = sum((each for each in (own, shared) if each is not None), zero)
        spoilt = valid & ~total.isfinite()
        where = f"{int(spoilt.sum())} of {int(valid.sum())} data, first in row"
        return {}, f"it is {found[name]} in {where} {int(spoilt.nonzero()[0])}"


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
