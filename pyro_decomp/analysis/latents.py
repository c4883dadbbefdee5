"""What a trained run makes of data: codes, reconstructions, and log p(x)."""

from collections.abc import Iterator
from typing import get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.analysis.inference import Kind, infer, likelihood_mean, local_latents
from pyro_decomp.analysis.likelihood import importance_weighted_log_prob
from pyro_decomp.data.batches import AnyData, Batch, Data
from pyro_decomp.data.stored import Stored
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run

BATCH_ELEMENTS = 2**21  # elements of data encoded at once


def latents(
    run: Run, x: AnyData | None = None, *, kind: Kind = "mean", seed: int = 0
) -> dict[str, Shaped[Tensor, "n ..."]]:
    """Codes of data, one tensor for each latent site of a datum, data along its first axis.

    Discrete sites that the model alone has are inferred from the data and the other codes.

    Args:
        run: The run.
        x: What the guide takes, several tensors if it takes several; by default the training data.
        kind: "mean" is that of q(z|x), and of a site that depends on others in the guide given
            their means; where the mean is no possible value, as of a discrete site or a direction,
            the likeliest one. "sample" is one draw.
        seed: Of the draws; the global random generators are left as they were.

    Returns:
        Site to values ``[n, ...]``, in the order of the model.

    Raises:
        ModelError: A site's family has no mean that is known.
    """
    parts: dict[str, list[Tensor]] = {}
    with seeded(seed), torch.no_grad():
        for batch in _batches(run, x, kind):
            for name, value in local_latents(infer(run, batch, kind)[1]).items():
                parts.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in parts.items()}


def codes(
    run: Run, x: AnyData | None = None, *, kind: Kind = "mean", seed: int = 0
) -> Float[Tensor, "n d"]:
    """Codes of data, a row a datum: those of :func:`latents`, flattened and joined.

    Columns are in the order of the model's sites; a discrete site is one column, its value. Takes
    the arguments of :func:`latents`.
    """
    values = latents(run, x, kind=kind, seed=seed).values()
    return torch.cat([value.reshape(len(value), -1) for value in values], -1)


def reconstruct(
    run: Run, x: AnyData | None = None, *, kind: Kind = "mean", seed: int = 0
) -> Shaped[Tensor, "n ..."]:
    """The mean of p(x|z) at each datum's code.

    Where the likelihood has no mean that is known its likeliest value, and where that is not known
    either a draw. Takes the arguments of :func:`latents`.
    """
    with seeded(seed), torch.no_grad():
        found = ((infer(run, batch, kind)[1], batch) for batch in _batches(run, x, kind))
        return torch.cat([likelihood_mean(model, batch[0]) for model, batch in found])


def log_likelihood(
    run: Run, x: AnyData | None = None, *, num_samples: int = 1000, seed: int = 0
) -> Float[Tensor, " n"]:
    """Log p(x) of each datum by importance weighting, in nats; a lower bound in expectation.

    Of all that the model observes, labels included. See
    :func:`pyro_decomp.analysis.likelihood.importance_weighted_log_prob`.

    Args:
        run: The run.
        x: Data, by default the training data.
        num_samples: K, draws of the guide per datum.
        seed: Of the draws; the global random generators are left as they were.
    """
    data = on_device(run, x)
    elbo = run.experiment.elbo
    with seeded(seed):
        return importance_weighted_log_prob(elbo, run.model, run.guide, data, num_samples)


def on_device(run: Run, x: AnyData | None) -> Data:
    """Data where the run is; its own by default."""
    arguments.instance(Run, "a run, as load(path) gives", run=run)
    expected = "a tensor, or a tuple of several"
    arguments.instance((Tensor, Stored, Data, tuple), expected, **arguments.given(x=x))
    own = run.data
    return own if x is None else Data.of(x).to(own.device)


def _batches(run: Run, x: AnyData | None, kind: Kind) -> Iterator[Batch]:
    arguments.one_of(get_args(Kind), kind=kind)
    data = on_device(run, x)
    return data.split(max(1, BATCH_ELEMENTS // data.datum_size))
