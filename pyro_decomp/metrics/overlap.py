"""How much the encodings of different data overlap: I(x; z), and how many data share a code."""

import dataclasses
import math
from typing import Any

from pyro_decomp import arguments
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.encodings import log_ratios
from pyro_decomp.metrics.score import Score

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

    Raises:
        DataError: The encodings are of another form, or their parameters are not finite, or not of
            one shape, or scales are not positive.
        ValueError: ``num_samples`` is less than 2.
    """
    arguments.annotated(index_code_information, locals(), num_resamples=0, seed=0)
    import torch

    if num_samples < 2:
        raise ValueError(f"num_samples: expected at least 2, got {num_samples}")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
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
    """The effective sharing that a mutual information of N data stands for."""
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
