"""The mutual information gap as its paper has it, from densities of sampled codes."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import Factors, as_array, as_codes, as_factors
from pyro_decomp.metrics.bootstrap import estimate_from_halves, half_samples
from pyro_decomp.metrics.mig import gaps
from pyro_decomp.metrics.overlap import gaussian_parameters
from pyro_decomp.metrics.posteriors import DistributionPosterior, GaussianPosterior, Posterior
from pyro_decomp.metrics.score import Score

SECOND = 200  # data sampled twice, for the width of the interval


def density_mig(
    posterior: tuple[object, object] | Distribution,
    factors: object,
    *,
    weights: object = None,
    num_samples: int = 10_000,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""The mutual information gap (MIG) of codes sampled through q(z|n), from their densities.

    .. math::
        I(z_j; v_k) = \mathrm{E}_{q(z_j, v_k)}[\log q(z_j|v_k) - \log q(z_j)], \quad
        q(z_j|v) = \frac{1}{p(v)} \sum_{n: v_k(n) = v} p(n) \, q(z_j|n), \quad
        p(v) = \sum_{n: v_k(n) = v} p(n)

    and the gap of :func:`.mig`, with p(n) = 1/N unless ``weights`` say otherwise. This is the
    paper's definition: the aggregate posterior and that of each factor value are the mixtures over
    the data given, without an approximation; only the expectation is a mean, over samples
    z ~ q(z|n) that serve both terms. Data are drawn in proportion to p(n), each as often as that
    is to the next whole number. The mean is unbiased for each I; a gap of two near ties is biased
    up.

    A mixture holds each sample's own q(z|n). Where posteriors are narrow beside the distance of
    their means, I counts single data apart, up to log N: with few data per factor value every code
    then seems to know every factor. Give it all data there are.

    Costs num_samples x N x d densities, in blocks of bounded memory: a minute at most for 10,000
    samples of 10 Gaussian dimensions on 50,000 data. Gaussians are evaluated in float32, relative
    to the sample's own log q(z_j|n); what is less than exp(-80) of that counts as exp(-80), which
    moves a log density by less than N exp(-80).

    Args:
        posterior: Location and scale [N, d] of Gaussian posteriors, one row a datum; or a torch
            distribution whose batch is [N, d] (or an ``Independent`` of one), of any family.
        factors: [N, k] whole numbers; constant columns are left out.
        weights: [N], how much each datum counts, of any sum: p(n) up to a factor. A datum of weight
            2 is the same as two of it, and one of weight 0 as none. By default all count the same.
        num_samples: Codes sampled.
        num_resamples: Half samples for the interval (:class:`.Score`), of the sampled codes,
            with the mixtures as they are: it is one for the value of *these* data; 0 for none.
        seed: Of the samples. Samplers of other families use torch's global generator, which is
            given back as it was.

    Returns:
        The score, with ``mutual_information`` [d, k] and ``entropy`` [k] in nats and the ``gaps``
        [k].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), a scale is not positive, weights are
            negative, not finite or all 0, or densities overflow.
        ArgumentError: ``num_samples`` is less than 4.

    Reference:
        Chen et al., Isolating sources of disentanglement in VAEs, 2018, eq. 5-6 and appendix B,
        https://arxiv.org/abs/1802.04942.

    >>> v = np.repeat([[0], [1]], 50, axis=0)
    >>> round(density_mig((10.0 * v, np.ones([100, 1])), v, num_samples=100).value, 3)
    1.0
    """
    arguments.annotated(density_mig, locals(), num_samples=4, num_resamples=0, seed=0)
    num_samples = int(num_samples)
    encoded = _posterior(posterior)
    share = _shares(weights, encoded.num_rows)
    levels = _factors(factors, share)
    known = torch.from_numpy(levels.levels)
    rows = _drawn(share, num_samples, np.random.default_rng(int(seed)))
    ratios = _log_ratios(encoded, rows, known, seed, share)
    from scipy.special import entr  # noqa: PLC0415 - a fifth of a second

    uncertainty = np.array([entr(np.bincount(v, share)).sum() for v in levels.levels.T])
    information = ratios.mean(0)
    gap = gaps(information, uncertainty)
    value = float(gap.mean())
    halves = np.array(
        [
            gaps(ratios[half].mean(0), uncertainty).mean()
            for half in half_samples(num_samples, num_resamples, seed)
        ]
    )
    if len(halves):
        some = rows[:SECOND]
        again = _log_ratios(encoded, some, known, seed + 1, share)
        terms, second = (_terms(each, information, uncertainty) for each in (ratios, again))
        in_all = np.minimum(1, num_samples * share[rows]).mean()
        halves = halves.mean() + (halves - halves.mean()) * _noise(terms, second, in_all)
    return Score(
        name="density_mig",
        value=value,
        **estimate_from_halves(value, halves, bounds=(0, 1))._asdict(),
        variant={
            "estimator": "density",
            "posterior": encoded.family,
            "num_samples": num_samples,
            "num_rows": encoded.num_rows,
            "weighted": weights is not None,
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"mutual_information": information, "entropy": uncertainty, "gaps": gap},
    )


def _posterior(posterior: object) -> Posterior:
    if isinstance(posterior, Distribution):
        return DistributionPosterior(posterior)
    expected = "posterior: expected (loc, scale) or a distribution"
    loc, scale = gaussian_parameters(posterior, expected)
    return GaussianPosterior(loc.numpy(), scale.numpy())


def _shares(weights: object, num_rows: int) -> Float[np.ndarray, " n"]:
    """The probability p(n) of each datum, from weights of any sum."""
    if weights is None:
        return np.full(num_rows, 1 / num_rows)
    array = as_array(weights, "weights")
    if array.shape != (num_rows,):
        raise DataError(f"weights: expected shape {(num_rows,)}, got {array.shape}")
    given = as_codes(array[:, None], "weights", largest=np.inf)[:, 0]
    if given.min() < 0:
        row = int(given.argmin())
        raise DataError(f"weights: expected at least 0, got {given[row]:g} in row {row}")
    if given.max() == 0:
        raise DataError("weights: expected one above 0, got none")
    given /= given.max()  # their sum may be more than there are numbers
    return given / given.sum()


def _factors(factors: object, share: Float[np.ndarray, " n"]) -> Factors:
    """Factors that vary among data of positive weight; the levels of others are all the same."""
    found = as_factors(factors, num_rows=len(share))
    counts = share > 0
    if counts.all():
        return found
    some = as_factors(found.levels[counts], num_rows=int(counts.sum()))
    levels = np.zeros([len(share), len(some.columns)], dtype=np.int64)
    levels[counts] = some.levels
    values = tuple(found.values[k][of] for k, of in zip(some.columns, some.values, strict=True))
    return Factors(levels, values, tuple(found.columns[k] for k in some.columns))


def _drawn(
    share: Float[np.ndarray, " n"], size: int, generator: np.random.Generator
) -> Int[Tensor, " s"]:
    """Draw data in proportion to p(n): one in each of as many equal parts of all, shuffled."""
    order = generator.permutation(len(share))
    ends = np.cumsum(share[order])
    places = np.minimum((np.arange(size) + generator.random(size)) / size, np.nextafter(1, 0))
    rows = order[np.searchsorted(ends / ends[-1], places, side="right")]
    return torch.from_numpy(generator.permutation(rows))


def _terms(
    ratios: Float[np.ndarray, "s d k"],
    information: Float[np.ndarray, "d k"],
    uncertainty: Float[np.ndarray, " k"],
) -> Float[np.ndarray, " s"]:
    """The terms of the samples whose mean is the score."""
    best = np.argsort(-information, axis=0)[:2]
    found = np.take_along_axis(ratios, best[None], axis=1) / uncertainty
    first: Float[np.ndarray, " s"] = found[:, 0].mean(1)
    return first - found[:, 1].mean(1) if len(best) > 1 else first


def _noise(terms: Float[np.ndarray, " s"], second: Float[np.ndarray, " t"], in_all: float) -> float:
    """The noise of the mean of all terms, relative to that of independently drawn data.

    Data that are all drawn as often differ without noise. Second samples of the first few data
    tell how much of the variance is of one datum's samples.
    """
    whole = terms.var(ddof=1)
    if whole <= 0:
        return 1.0
    of_one = min(whole, float(np.mean((terms[: len(second)] - second) ** 2) / 2))
    return float(np.sqrt((of_one + (1 - in_all) * (whole - of_one)) / whole))


def _log_ratios(
    posterior: Posterior,
    rows: Int[Tensor, " s"],
    levels: Int[Tensor, "n k"],
    seed: int,
    share: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "s d k"]:
    """Log q(z_j|v_k) - log q(z_j) of a code sampled from each row; all rows alike by default."""
    size = len(levels)
    counts = torch.ones(size) if share is None else torch.from_numpy(share * size)
    sizes = torch.stack([torch.bincount(v, counts)[v[rows]] for v in levels.T], dim=1)
    codes = levels.T.to(torch.float32).contiguous()  # compared, never computed with
    own = codes[:, rows].T.contiguous()
    result = np.empty([len(rows), posterior.num_dims, levels.shape[1]])
    for samples, blocks in posterior.relative_densities(rows, seed):
        total = torch.zeros(
            [len(own[samples]), levels.shape[1] + 1, posterior.num_dims], dtype=torch.float64
        )
        for columns, densities in blocks:
            members = counts[columns].to(densities.dtype).repeat(len(densities), len(codes) + 1, 1)
            members[:, 1:] *= torch.eq(own[samples][:, :, None], codes[:, columns])
            total += torch.bmm(members, densities.transpose(1, 2))
        log_mean = total.log()
        log_mean[:, 0] -= np.log(posterior.num_rows)
        log_mean[:, 1:] -= sizes[samples][:, :, None].log()
        result[samples] = (log_mean[:, 1:] - log_mean[:, :1]).transpose(1, 2).numpy()
    if not np.isfinite(result).all():
        raise DataError("posterior: expected densities of similar magnitude, got an overflow")
    return result
