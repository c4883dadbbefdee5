r"""Estimators of q(z_i) from a minibatch: how much each encoding of the batch counts for.

For z_i drawn from the encoding of datum i, a batch of B out of N data gives

.. math:: \hat q(z_i) = \sum_j w_{ij} q(z_i|x_j),

and the estimators differ in the weights alone.

===================== ================================= =========================================
estimator             weights w_ij                      what it estimates
===================== ================================= =========================================
"stratified_averaged" 1/N for j = i,                    q(z_i), unbiased; exact at B = N; the
                      (N-1)/(N(B-1)) for the others     variance is never above "stratified"
"stratified"          1/N for j = i,                    q(z_i), unbiased; depends on the order of
                      (N-M)/(NM) for j = i+1 (cyclic),  the batch; not exact at B = N
                      1/M for the others, M = B-1
"weighted"            1/(NB)                            a lower bound of it on average, too small
                                                        by about N: only its gradient has meaning
"batch"               1/B                               the mixture over the batch: too large where
                                                        encodings overlap little (own term 1/B)
Exact(data)           1/N over all N data               q(z_i) itself
===================== ================================= =========================================

Sources: Chen et al. 2018, "Isolating Sources of Disentanglement in Variational Autoencoders"
(https://arxiv.org/abs/1802.04942), eq. 3 for "weighted" and appendix C for "stratified";
"stratified_averaged" is its mean over all choices of the one datum that C singles out.

Where rows of a batch are masked out or have weights (:mod:`.rows`), q(z) is the mixture
over the N_v rows that count, or \sum_n (v_n/V) q(z|x_n) with weights v_n of total V: a row's own
encoding counts 1/N_v, or v_i/V, and the others (N_v-1)/(N_v(B_v-1)), or ((N-1)/(B-1)) v_j/V.

The *logarithm* of an unbiased estimate is still biased low (Jensen): by about 0.4 nats at B = 8,
N = 64 for 10-D encodings that share 3 nats with the data (docs/estimators.md has a table). It
vanishes as B grows to N. Public code often puts 1/N in the first column instead of on the
diagonal, which makes the estimate several times too large.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.descriptions import Described, constructor_call
from pyro_decomp.errors import ArgumentError, ModelError

BatchEstimator = Literal["stratified_averaged", "stratified", "weighted", "batch"]


class Exact(Described):
    """q(z) over a whole data set, whose encodings are computed at every evaluation.

    With fewer than all the data it is the mixture over those: a reference set. Every step costs a
    pass of the guide over it, with gradients, in the mode that the networks are in: BatchNorm sees
    it as one more batch. Give it on the device of the run.

    Args:
        *args: What the guide takes, for the whole data set instead of a batch.
    """

    def __init__(self, *args: Any) -> None:
        self.args = args


Estimator = BatchEstimator | Exact


@dataclass(frozen=True, repr=False)
class PairWeights:
    """Logarithms of the weights of q(z_i|x_j).

    Attributes:
        other: For every j that the two below do not name.
        own: For j = i, the datum that z_i was drawn from; None if nothing sets it apart.
        following: For j = i + 1, cyclically; None if nothing sets it apart.
        rows: Where data do not all count the same, what is added to ``other`` for every j, ``[1,
            M]``; a second row, ``[2, M]``, stands in the place of ``own``. -inf is weight 0.
    """

    other: float
    own: float | None = None
    following: float | None = None
    rows: Float[Tensor, "_ m"] | None = None

    __repr__ = constructor_call

    @property
    def uniform(self) -> bool:
        """Whether a datum counts the same for all samples, so that any z can be scored."""
        of_rows = self.rows is None or len(self.rows) == 1
        return self.own is None and self.following is None and of_rows

    def require_own(self, num_samples: int, num_data: int) -> None:
        """Check that samples are the data's own, one each, where a datum's own weight is apart.

        Raises:
            ArgumentError: Their number is another.
        """
        if not self.uniform and num_samples != num_data:
            raise ArgumentError(
                f"z: expected a sample for each of the {num_data} data, as weights that set a "
                f"datum's own encoding apart need, got {num_samples}"
            )

    def add_(self, pairs: Tensor, first: int = 0) -> Tensor:
        """Add the weights, relative to ``other``, to log densities of pairs, in place.

        Args:
            pairs: ``[..., rows, M]``, the samples ``first``, ``first + 1``, ... of M.
            first: The first sample.

        Returns:
            The same ``pairs``.
        """
        if self.rows is not None:
            diagonal = pairs.diagonal(first, -2, -1)
            own = None if self.uniform else diagonal + self._own(first, diagonal.shape[-1])
            pairs += self.rows[0]
            if own is not None:
                pairs.diagonal(first, -2, -1).copy_(own)
            return pairs
        if self.own is not None:
            pairs.diagonal(first, -2, -1).add_(self.own - self.other)
        if self.following is not None:
            excess = self.following - self.other
            pairs.diagonal(first + 1, -2, -1).add_(excess)
            if first + pairs.shape[-2] == pairs.shape[-1]:
                pairs[..., -1, 0] += excess
        return pairs

    def _own(self, first: int, count: int) -> Tensor:
        assert self.rows is not None
        return self.rows[1, first : first + count]


def pair_weights(
    estimator: BatchEstimator,
    num_data: int,
    batch_size: int,
    *,
    counts: Float[Tensor, " b"] | None = None,
    total: int | float | Tensor | None = None,
    num_valid: int | float | Tensor | None = None,
) -> PairWeights:
    """The weights of an estimator, for a batch of B data out of N drawn without replacement.

    A batch of one tells nothing of the other data: the stratified estimators then give it all of
    the weight, as "batch" does.

    Args:
        estimator: Its name.
        num_data: N; a batch that is larger counts as all the data.
        batch_size: B, of this batch, also when it is the last and smaller.
        counts: How much each row of the batch counts, where that is not the same for all: 1 or 0
            of rows that are masked or not, a datum's weight of the others.
        total: The sum of ``counts`` over all data, V; the same as N_v without weights.
        num_valid: N_v, how many of the N rows are not masked; None where no row is.

    Returns:
        The weights, as logarithms.

    Raises:
        ModelError: "stratified" of rows that do not count the same.

    Example:
        >>> weights = pair_weights("stratified_averaged", num_data=100, batch_size=5)
        >>> round(math.exp(weights.own), 6), round(math.exp(weights.other), 6)
        (0.01, 0.2475)
    """
    b, n = batch_size, max(num_data, batch_size)
    if counts is not None and total is not None:
        return _of_rows(estimator, n, b, counts, total, num_valid)
    if estimator == "weighted":
        return PairWeights(-math.log(n * b))
    if estimator == "batch" or b == 1:
        return PairWeights(-math.log(b))
    if estimator == "stratified_averaged":
        return PairWeights(math.log((n - 1) / (n * (b - 1))), own=-math.log(n))
    m = b - 1
    return PairWeights(-math.log(m), own=-math.log(n), following=math.log((n - m) / (n * m)))


def _of_rows(  # noqa: PLR0917
    estimator: BatchEstimator,
    n: int,
    b: int,
    counts: Tensor,
    total: int | float | Tensor,
    num_valid: int | float | Tensor | None,
) -> PairWeights:
    if estimator == "stratified":
        raise ModelError(
            "estimator 'stratified': expected rows that all count the same, got a mask or weights "
            "over the data plate: use 'stratified_averaged', of which it is a special case"
        )
    share, size = counts / total, (counts > 0).sum()
    if estimator == "batch" or b == 1:
        return PairWeights(0.0, rows=(counts / counts.sum()).log()[None])
    if estimator == "weighted":
        return PairWeights(0.0, rows=(share / size).log()[None])
    if b >= n:
        return PairWeights(0.0, rows=share.log()[None])
    factor = ((n if num_valid is None else num_valid) - 1) / (size - 1)
    factor = factor.where(size > 1, math.nan)  # one datum tells nothing of the others
    own = share.masked_fill(counts == 0, 1.0)  # q(z) at the code of no datum is never used
    return PairWeights(0.0, rows=torch.stack([(factor * share).log(), own.log()]))


def check_estimator(estimator: object) -> None:
    """Check that this is an estimator.

    Raises:
        ArgumentError: It is not.
    """
    names = get_args(BatchEstimator)
    if not isinstance(estimator, Exact) and estimator not in names:
        expected = ", ".join(map(repr, names))
        raise ArgumentError(
            f"estimator: expected one of {expected} or Exact(data), got {estimator!r}"
        )
