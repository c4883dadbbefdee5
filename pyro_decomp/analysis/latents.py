"""What a trained run makes of data: codes, reconstructions, and log p(x)."""

from typing import get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.inference import Kind
from pyro_decomp.analysis.log_likelihood import check_affordable, importance_weighted_log_px
from pyro_decomp.data.batches import AnyData, Data
from pyro_decomp.data.stored import Stored
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run
from pyro_decomp.training.user_code import memory_counted


@memory_counted("fewer data")
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
        seed: The seed of the draws; the global random generators are left as they were.

    Returns:
        Site to values ``[n, ...]``, in the order of the model.

    Raises:
        DataError: A value of x is not finite, or the programs cannot be run on data of its shape.
        ModelError: A site's family has no mean that is known.
    """
    arguments.one_of(get_args(Kind), kind=kind)
    data = encoded(run, x)
    with seeded(seed), torch.no_grad():
        return data.latents(kind=kind)


def codes(
    run: Run, x: AnyData | None = None, *, kind: Kind = "mean", seed: int = 0
) -> Float[Tensor, "n d"]:
    """Codes of data, a row a datum: those of :func:`latents`, flattened and joined.

    Columns are in the order of the model's sites; a discrete site is one column, its value. Takes
    the arguments of :func:`latents`.

    Returns:
        The codes, ``[n, d]``.
    """
    values = latents(run, x, kind=kind, seed=seed).values()
    return torch.cat([value.reshape(len(value), -1) for value in values], -1)


@memory_counted("fewer data")
def reconstruct(
    run: Run, x: AnyData | None = None, *, kind: Kind = "mean", seed: int = 0
) -> Shaped[Tensor, "n ..."]:
    """The mean of p(x|z) at each datum's code.

    Where the likelihood has no mean that is known its likeliest value, and where that is not known
    either a draw. Takes the arguments of :func:`latents`.

    Returns:
        The means, ``[n, ...]``, each of the shape of a datum where the likelihood is of x itself.
    """
    arguments.one_of(get_args(Kind), kind=kind)
    data = encoded(run, x)
    with seeded(seed), torch.no_grad():
        return data.reconstructions(kind=kind)


@memory_counted("a smaller num_samples")
def log_likelihood(
    run: Run, x: AnyData | None = None, *, num_samples: int = 1000, seed: int = 0
) -> Float[Tensor, " n"]:
    r"""Log p(x) of each datum by importance weighting, a lower bound in expectation.

    .. math:: \log \frac{1}{K} \sum_k p(x, z_k) / q(z_k|x), \quad z_k \sim q(z|x)

    x is all that the model observes, labels included. See
    :func:`pyro_decomp.analysis.log_likelihood.importance_weighted_log_px`.

    Args:
        run: The run.
        x: Data, by default the training data.
        num_samples: K, draws of the guide per datum.
        seed: The seed of the draws; the global random generators are left as they were.

    Returns:
        Log p(x) of each datum in nats, ``[n]``.

    Raises:
        ModelError: The guide has no density, as a Delta has none.
        DataError: So many draws would take more than an hour.
    """
    arguments.whole(num_samples=num_samples)
    data = encoded(run, x)
    with seeded(seed):
        check_affordable([data], num_samples, of_all=True)
    with seeded(seed):
        return importance_weighted_log_px(data, num_samples=num_samples)


def encoded(run: Run, x: AnyData | None) -> EncodedData:
    """Data under a run's programs, by default its own. Internal."""
    arguments.instance(Run, "a run, as load(path) gives", run=run)
    expected = "a tensor, or a tuple of several"
    arguments.instance((Tensor, Stored, Data, tuple), expected, **arguments.given(x=x))
    return EncodedData.of(run, x)
