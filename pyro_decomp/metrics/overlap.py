"""How much the encodings of different data overlap: I(x; z), and how many data share a code."""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.score import Score

if TYPE_CHECKING:
    from torch import Tensor

# torch is loaded once there is something to score.
# ruff: noqa: PLC0415

_PAIRS = 2**18  # pairs (times dimensions) held at once


def sampled(encodings: Any, seed: int = 0) -> "Float[Tensor, 'n d']":
    """Draw a code from each encoding.

    Args:
        encodings: ``(loc, scale)`` or a distribution, as for :func:`index_code_information`.
        seed: Of the draws.

    Raises:
        DataError: The encodings are of another form.
    """
    import torch
    from torch.distributions import Distribution

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(seed))
        if isinstance(encodings, Distribution):
            return encodings.sample()
        return torch.normal(*gaussian_parameters(encodings))


def log_ratios(
    encodings: Any, codes: object, num_samples: int
) -> tuple[Float[np.ndarray, " s"], int, str]:
    """Log q(z|x) - log q(z) at samples z of q(z|x), with q(z) the mixture over all data.

    Args:
        encodings: As for :func:`.index_code_information`.
        codes: A draw of each encoding, where these are a function; else unused.
        num_samples: How many samples; at most one a datum of a function.

    Returns:
        The logarithms, the number of data, and the family of the encodings.

    Raises:
        DataError: The encodings are of another form, or not finite.
    """
    import torch
    from torch.distributions import Distribution

    if isinstance(encodings, Distribution):
        return _of_distribution(encodings, num_samples)
    if callable(encodings):
        if codes is None:
            raise DataError("codes: expected a draw of each encoding beside a function, got None")
        z = torch.from_numpy(as_codes(codes))
        chosen = _chosen(len(z), min(num_samples, len(z)))
        return _over_blocks(encodings, z[chosen], chosen, len(z)), len(z), "function"
    loc, scale = gaussian_parameters(encodings)
    return _of_gaussians(loc, scale, num_samples), len(loc), "Normal"


def gaussian_parameters(
    encodings: Any,
    expected: str = "encodings: expected (loc, scale), a distribution or a function of codes",
) -> "tuple[Tensor, Tensor]":
    """Location and scale of factorised Gaussian encodings, each [n, d], in double precision.

    Args:
        encodings: A pair of arrays.
        expected: What the message says of anything else.

    Raises:
        DataError: They are not a pair of matrices of one shape, finite, with positive scales.
    """
    import torch

    if not isinstance(encodings, tuple | list) or len(encodings) != 2:
        raise DataError(f"{expected}, got {type(encodings).__name__}")
    loc = as_codes(encodings[0], "loc")
    scale = as_codes(encodings[1], "scale", num_rows=len(loc))
    if loc.shape != scale.shape:
        raise DataError(f"scale: expected shape {loc.shape} as loc has, got {scale.shape}")
    if scale.min() <= 0:
        row = int(scale.min(1).argmin())
        raise DataError(f"scale: expected positive numbers, got {scale[row].min():g} in row {row}")
    return torch.from_numpy(loc), torch.from_numpy(scale)


def _of_distribution(qz_x: Any, num_samples: int) -> tuple[Float[np.ndarray, " s"], int, str]:
    import torch

    shape = qz_x.batch_shape + qz_x.event_shape
    if not qz_x.batch_shape or len(shape) > 2:
        raise DataError(
            "encodings: expected a distribution of shape [n, d], got "
            f"{list(qz_x.batch_shape)} with events of shape {list(qz_x.event_shape)}"
        )
    base, size = _base(qz_x), int(shape[0])
    if type(base).log_prob is torch.distributions.Normal.log_prob:
        loc, scale = (
            value.double().expand(shape).reshape(size, -1) for value in (base.loc, base.scale)
        )
        return _of_gaussians(loc, scale, num_samples), size, "Normal"
    repeats = -(-num_samples // size)
    chosen = _chosen(repeats * size, num_samples)
    z = qz_x.sample((repeats,)).flatten(0, 1)[chosen]

    def score(block: "Tensor") -> "Tensor":
        scored: Tensor = qz_x.log_prob(block[:, None])
        return scored.flatten(2).sum(-1) if scored.dim() > 2 else scored

    return _over_blocks(score, z, chosen % size, size), size, type(base).__name__


def _base(qz_x: Any) -> Any:
    """The distribution inside of torch's or Pyro's ``Independent``."""
    while hasattr(qz_x, "reinterpreted_batch_ndims"):
        qz_x = qz_x.base_dist
    return qz_x


def _of_gaussians(loc: "Tensor", scale: "Tensor", num_samples: int) -> Float[np.ndarray, " s"]:
    import torch
    from pyro.distributions import Normal

    from pyro_decomp.aggregate_posterior import AggregatePosterior

    size = len(loc)
    data = _chosen(-(-num_samples // size) * size, num_samples) % size
    own = Normal(loc[data], scale[data])
    z = torch.normal(loc[data], scale[data])
    encodings = AggregatePosterior({"z": Normal(loc, scale).to_event(1)})
    return (own.log_prob(z).sum(-1) - encodings.log_prob({"z": z})).numpy()


def _over_blocks(
    score: "Callable[[Tensor], Tensor]", z: "Tensor", data: "Tensor", size: int
) -> Float[np.ndarray, " s"]:
    """Log q(z_s|x) of the sample's own datum less log q(z_s), a block of samples at a time."""
    import torch

    height = max(1, _PAIRS // (size * z[0].numel()))
    ratios = []
    for block, own in zip(z.split(height), data.split(height), strict=True):
        pairs = torch.as_tensor(score(block)).double()
        if pairs.shape != (len(block), size):
            raise DataError(
                f"encodings: expected log densities of shape {[len(block), size]} for "
                f"{len(block)} codes, got {list(pairs.shape)}"
            )
        ratios.append(pairs.gather(1, own[:, None])[:, 0] - pairs.logsumexp(1) + math.log(size))
    joined = torch.cat(ratios).numpy()
    if not np.isfinite(joined).all():
        raise DataError("encodings: expected finite log densities of their own draws, got others")
    return joined


def _chosen(total: int, kept: int) -> "Tensor":
    """Which of the draws to keep, so that all data have as many, up to one."""
    import torch

    return torch.randperm(total)[:kept].sort().values


# torch is loaded once there is something to score.
# ruff: noqa: PLC0415


def index_code_information(
    encodings: Any,
    *,
    codes: object = None,
    num_samples: int = 5000,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""Information I(x; z) of a code about which datum it encodes, in nats.

    .. math::
        I(x; z) = \frac1N \sum_n E_{q(z|x_n)} \log \frac{q(z|x_n)}{q(z)},
        \quad q(z) = \frac1N \sum_m q(z|x_m)

    with q(z) exact over the given data: an unbiased estimate, between 0 and log N, of the value for
    *these* data. It grows with N; compare runs on as many data. 0 where all encodings are the same,
    log N where none overlap: Mathieu et al. 2019, "Disentangling Disentanglement in Variational
    Autoencoders", section 3 (https://arxiv.org/abs/1812.02833), on overlap; the index-code mutual
    information of Chen et al. 2018, eq. 2 (https://arxiv.org/abs/1802.04942). The interval is for
    the draws alone, not for other data.

    Time grows as num_samples x N, memory does not.

    Args:
        encodings: q(z|x) of N data:

            - ``(loc, scale)``, each [N, d]: factorised Gaussians;
            - a torch or Pyro distribution whose first batch dimension is the data;
            - a function of codes [s, d] (a tensor) that gives log q(z_s|x_m), [s, N]; it needs
              ``codes``.
        codes: [N, d], one draw of each datum's encoding; only with a function.
        num_samples: Codes to average over, each of its own datum as far as there are enough data.
        num_resamples: Of the interval; 0 for none.
        seed: Of the draws and the interval.

    Returns:
        The score, in nats; it has no details.

    Raises:
        DataError: The encodings are of another form, or their parameters are not finite, or not of
            one shape, or scales are not positive.
        ArgumentError: ``num_samples`` is less than 2.
    """
    arguments.annotated(index_code_information, locals(), num_samples=2, num_resamples=0, seed=0)
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(seed))
        ratios, size, family = log_ratios(encodings, codes, num_samples)
    value = float(ratios.mean())
    likely = estimate(
        lambda rows: float(ratios[rows].mean()),
        len(ratios),
        value=value,
        num_resamples=num_resamples,
        seed=seed,
        bounds=(0.0, math.log(size)),
        order=math.inf,
    )
    variant = {
        "estimator": "exact q(z) over the data",
        "encodings": family,
        "num_rows": size,
        "num_samples": len(ratios),
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Score("index_code_information", value, variant=variant, **likely._asdict())


def effective_sharing(encodings: Any, **arguments: Any) -> Score:
    r"""How many data share a code: exp(log N - I(x; z)).

    1 where no encodings overlap, N where all are the same. Takes the arguments of
    :func:`index_code_information` and shares its limits. An estimate of I that is a little above
    log N by chance gives a value a little below 1.

    Args:
        encodings: q(z|x) of N data.
        **arguments: As there.
    """
    return as_sharing(index_code_information(encodings, **arguments))


def as_sharing(information: Score) -> Score:
    """The effective sharing that an index-code information stands for; internal."""
    size = information.variant["num_rows"]
    bounds, corrected = information.interval, information.corrected
    return dataclasses.replace(
        information,
        name="effective_sharing",
        value=size * math.exp(-information.value),
        interval=bounds and (size * math.exp(-bounds[1]), size * math.exp(-bounds[0])),
        details={},
        corrected=None if corrected is None else size * math.exp(-corrected),
    )
