"""The mutual information gap as its paper has it, from densities of sampled codes."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.bootstrap import interval
from pyro_decomp.metrics.mig import gaps
from pyro_decomp.metrics.mutual_information import entropy
from pyro_decomp.metrics.posteriors import DistributionPosterior, GaussianPosterior, Posterior
from pyro_decomp.metrics.score import Score


def density_mig(
    posterior: tuple[object, object] | Distribution,
    factors: object,
    *,
    num_samples: int = 10_000,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""The mutual information gap (MIG) of codes sampled through q(z|n), from their densities.

    .. math::
        I(z_j; v_k) = \mathrm{E}_{q(z_j, v_k)}[\log q(z_j|v_k) - \log q(z_j)], \quad
        q(z_j|v) = \frac{1}{N_v} \sum_{n: v_k(n) = v} q(z_j|n)

    and the gap of :func:`.mig`. This is the paper's definition: the aggregate posterior and that of
    each factor value are the mixtures over the data given, without an approximation; only the
    expectation is a mean, over samples z ~ q(z|n) that serve both terms, with the data taken in
    turn. The mean is unbiased for each I; a gap of two near ties is biased up.

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
        num_samples: Codes sampled.
        num_resamples: Half samples for the interval (:func:`.interval`), of the sampled codes,
            with the mixtures as they are; 0 for none.
        seed: Of the samples. Samplers of other families use torch's global generator, which is
            given back as it was.

    Returns:
        The score, with ``mutual_information`` [d, k] and ``entropy`` [k] in nats and the ``gaps``
        [k].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), a scale is not positive, or densities
            overflow.
        ValueError: ``num_samples`` is less than 4.

    Reference:
        Chen et al., Isolating sources of disentanglement in VAEs, 2018, eq. 5-6 and appendix B,
        https://arxiv.org/abs/1802.04942.

    >>> v = np.repeat([[0], [1]], 50, axis=0)
    >>> round(density_mig((10.0 * v, np.ones([100, 1])), v, num_samples=100).value, 3)
    1.0
    """
    arguments.annotated(density_mig, locals(), num_resamples=0, seed=0)
    if num_samples < 4:
        raise ValueError(f"num_samples: expected at least 4, got {num_samples}")
    encoded = _posterior(posterior)
    levels = as_factors(factors, num_rows=encoded.num_rows)
    generator = np.random.default_rng(seed)
    rounds = -(-num_samples // encoded.num_rows)
    shuffled = [generator.permutation(encoded.num_rows) for _ in range(rounds)]
    rows = torch.from_numpy(np.concatenate(shuffled)[:num_samples])
    ratios = _log_ratios(encoded, rows, torch.from_numpy(levels.levels), seed)
    uncertainty = entropy(levels)
    information = ratios.mean(0)
    gap = gaps(information, uncertainty)
    value = float(gap.mean())

    def statistic(half: Int[np.ndarray, " m"]) -> float:
        return float(gaps(ratios[half].mean(0), uncertainty).mean())

    return Score(
        name="density_mig",
        value=value,
        interval=interval(
            statistic, num_samples, value=value, num_resamples=num_resamples, seed=seed
        ),
        variant={
            "estimator": "density",
            "posterior": encoded.family,
            "num_samples": num_samples,
            "num_rows": encoded.num_rows,
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"mutual_information": information, "entropy": uncertainty, "gaps": gap},
    )


def _posterior(posterior: object) -> Posterior:
    if isinstance(posterior, Distribution):
        return DistributionPosterior(posterior)
    if not isinstance(posterior, tuple | list) or len(posterior) != 2:
        got = type(posterior).__name__
        raise DataError(f"posterior: expected (loc, scale) or a distribution, got {got}")
    loc, scale = posterior
    locs = as_codes(loc, "loc")
    scales = as_codes(scale, "scale", num_rows=len(locs))
    if scales.shape != locs.shape:
        raise DataError(f"scale: expected shape {locs.shape}, got {scales.shape}")
    return GaussianPosterior(locs, scales)


def _log_ratios(
    posterior: Posterior, rows: Int[Tensor, " s"], levels: Int[Tensor, "n k"], seed: int
) -> Float[np.ndarray, "s d k"]:
    """Log q(z_j|v_k) - log q(z_j) of a code sampled from each row."""
    sizes = torch.stack([torch.bincount(column)[column[rows]] for column in levels.T], dim=1)
    codes = levels.T.to(torch.float32).contiguous()  # compared, never computed with
    own = codes[:, rows].T.contiguous()
    result = np.empty([len(rows), posterior.num_dims, levels.shape[1]])
    for samples, blocks in posterior.relative_densities(rows, seed):
        total = torch.zeros(
            [len(own[samples]), levels.shape[1] + 1, posterior.num_dims], dtype=torch.float64
        )
        for columns, densities in blocks:
            members = torch.ones(
                [len(densities), levels.shape[1] + 1, densities.shape[2]], dtype=densities.dtype
            )
            torch.eq(own[samples][:, :, None], codes[:, columns], out=members[:, 1:])
            total += torch.bmm(members, densities.transpose(1, 2))
        log_mean = total.log()
        log_mean[:, 0] -= np.log(posterior.num_rows)
        log_mean[:, 1:] -= sizes[samples][:, :, None].log()
        result[samples] = (log_mean[:, 1:] - log_mean[:, :1]).transpose(1, 2).numpy()
    if not np.isfinite(result).all():
        raise DataError("posterior: expected densities of similar magnitude, got an overflow")
    return result
