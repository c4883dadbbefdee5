"""Mutual information of codes and factors, from histograms."""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import Factors, as_codes, as_factors

ROUNDING = 1e-12  # what a constant code seems to know, by rounding; ratios would take it for real
MOST_BINS = 2**20  # of each code


def mutual_information(
    codes: object, factors: object, *, num_bins: int = 20
) -> Float[np.ndarray, "d k"]:
    r"""I(z_j; v_k) of each code and factor that varies, in nats, by counting.

    .. math:: I = \sum_{b, v} \hat{p}(b, v) \log \frac{\hat{p}(b, v)}{\hat{p}(b) \hat{p}(v)}

    over bins b of equal width between a code's least and largest value. The plug-in estimate is
    biased up by about (bins - 1)(levels - 1)/2n for n rows, and the bins themselves lose
    information.

    Args:
        codes: [n, d].
        factors: [n, k] whole numbers; constant columns are left out.
        num_bins: Of each code.

    Returns:
        The information in nats [d, k], for the columns of ``factors`` that vary.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`).
        ArgumentError: ``num_bins`` is less than 1.

    >>> mutual_information([[0.0], [0.1], [5.0], [5.1]], [[0], [0], [1], [1]]).round(4).tolist()
    [[0.6931]]
    """
    arguments.annotated(mutual_information, locals())
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z))
    return JointHistogram(equal_bins(z, num_bins), num_bins, levels).mutual_information()


def equal_bins(codes: Float[np.ndarray, "n d"], num_bins: int) -> Int[np.ndarray, "n d"]:
    """The bin of each code: equal widths from least to largest; constant codes are all in bin 0.

    Args:
        codes: One row a datum.
        num_bins: Number of bins.

    Raises:
        ArgumentError: ``num_bins`` is less than 1.

    >>> equal_bins(np.array([[0.0], [1.0], [2.0]]), 2)[:, 0].tolist()
    [0, 1, 1]
    """
    arguments.whole(1, MOST_BINS, num_bins=num_bins)
    least = codes.min(0)
    width = codes.max(0) - least
    scaled = (codes - least) / np.where(width > 0, width, 1.0)
    return np.minimum((scaled * int(num_bins)).astype(np.int64), int(num_bins) - 1)


class JointHistogram:
    """Counts of each code's bin with each factor's level, for any choice of rows; internal.

    Args:
        bins: Bin of each code, from 0.
        num_bins: Number of bins.
        factors: Levels of the same rows.
    """

    def __init__(self, bins: Int[np.ndarray, "n d"], num_bins: int, factors: Factors) -> None:
        self._given, self._num_bins = bins, (num_bins := int(num_bins))
        self._bins = bins + num_bins * np.arange(bins.shape[1])  # of one long histogram
        self._shape = (bins.shape[1], num_bins)
        self._factors = factors

    def shuffled(self, generator: np.random.Generator) -> "JointHistogram":
        """A histogram of the codes with the factors of other rows, of which they know nothing.

        Args:
            generator: Of the order.
        """
        order = generator.permutation(len(self._given))
        return JointHistogram(self._given, self._num_bins, self._factors.take(order))

    def fewest_rows(self) -> int:
        """How many rows halves need to tell the bias: two for each cell of the largest table.

        The bias falls as 1/n only where most cells hold a row. Bins without a row have no cells.
        """
        occupied = np.bincount(np.unique(self._bins) // self._shape[1])
        return max(4, 2 * int(occupied.max()) * max(self._factors.sizes))

    def mutual_information(
        self, rows: Int[np.ndarray, " m"] | None = None
    ) -> Float[np.ndarray, "d k"]:
        """Mutual information I(z_j; v_k) of every code and factor, in nats.

        Args:
            rows: Which rows to count, by index; None for all.
        """
        bins, levels = self._bins, self._factors.levels
        if rows is not None:
            bins, levels = bins[rows], levels[rows]
        columns = []
        for k, size in enumerate(self._factors.sizes):
            cells = bins * size + levels[:, k, None]
            counts = np.bincount(cells.ravel(), minlength=np.prod(self._shape) * size)
            joint = counts.reshape(*self._shape, size)
            total = _sum_xlogx(joint.sum(2), 1) + _sum_xlogx(joint[0].sum(0), 0)
            information = np.log(len(bins)) + (_sum_xlogx(joint, (1, 2)) - total) / len(bins)
            columns.append(np.where(information > ROUNDING, information, 0.0))
        return np.stack(columns, axis=1)

    def entropy(self, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, " k"]:
        """Entropy H(v_k) of every factor, in nats.

        Args:
            rows: Which rows to count, by index; None for all.
        """
        return entropy(self._factors, rows)


def entropy(factors: Factors, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, " k"]:
    """Entropy H(v_k) of each factor as it occurs, in nats.

    Args:
        factors: Levels.
        rows: Which rows to count, by index; None for all.
    """
    levels = factors.levels if rows is None else factors.levels[rows]
    counts = (np.bincount(column) for column in levels.T)
    return np.array([np.log(len(levels)) - _sum_xlogx(c, 0) / len(levels) for c in counts])


def _sum_xlogx(counts: Int[np.ndarray, "..."], axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    terms = counts * np.log(np.maximum(counts, 1))
    return np.asarray(terms.sum(axis))
