"""The ratio of two densities, learned by telling their samples apart."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from pyro_decomp import arguments
from pyro_decomp.errors import ModelError


def check_discriminator(discriminator: object) -> None:
    """Check that this is a network and, where its last layer tells, that it gives one logit.

    Raises:
        ArgumentError: It is no module, or its last layer gives another number of values a row.
    """
    arguments.instance(
        nn.Module, "a module such as Discriminator(latent_dim)", discriminator=discriminator
    )
    last = discriminator
    while isinstance(last, nn.Sequential) and len(last):
        last = last[-1]
    if isinstance(last, nn.Linear) and last.out_features != 1:
        arguments.refuse("discriminator", "one logit a row, as of Discriminator(latent_dim)", last)


def classification_loss(discriminator: nn.Module, z: Tensor, other: Tensor) -> Tensor:
    r"""The discriminator's loss in telling samples of a density a from samples of a density b.

    .. math::
        -\frac{1}{2} E_a[\log D(z)] - \frac{1}{2} E_b[\log(1 - D(z))],
        \quad D(z) = 1 / (1 + \exp(-r(z)))

    in nats, log 2 for a discriminator that cannot tell. It is least at r = log a - log b, and is
    there log 2 less the Jensen-Shannon divergence. Gradients reach the discriminator alone.

    Args:
        discriminator: r: one logit a row.
        z: Samples of a, ``[S, D]``.
        other: Samples of b, ``[T, D]``.

    Returns:
        The loss, a scalar.

    Raises:
        ModelError: The discriminator does not take such rows, or gives not one logit for each.
    """
    samples = torch.cat([z, other]).detach()
    logits = _logits(discriminator, samples)
    return 0.5 * (softplus(-logits[: len(z)]).mean() + softplus(logits[len(z) :]).mean())


def log_ratio(discriminator: nn.Module, z: Tensor) -> Tensor:
    """The discriminator's log a(z) - log b(z), ``[S]``, in nats; gradients reach ``z`` alone.

    Args:
        discriminator: Trained by :func:`classification_loss`.
        z: Samples ``[S, D]`` of any density.

    Returns:
        The logits, ``[S]``.

    Raises:
        ModelError: The discriminator does not take such rows, or gives not one logit for each.
    """
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    return _logits(lambda samples: functional_call(discriminator, frozen, (samples,)), z)


def _logits(discriminator: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
    """One logit for each of ``[S, D]`` samples, ``[S]``."""
    try:
        logits = discriminator(samples)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the discriminator cannot take codes of shape {tuple(samples.shape)} and type "
            f"{samples.dtype}: {error}"
        ) from error
    rows = len(samples)
    if logits.shape not in ((rows,), (rows, 1)):
        raise ModelError(
            f"discriminator: expected one logit a row, shape ({rows},) or ({rows}, 1), got "
            f"{tuple(logits.shape)}"
        )
    return logits.reshape(rows)
