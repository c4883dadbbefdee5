"""A table from a file, standardised as docs/your_own_data.md says."""

import pyro
import pyro.distributions as dist
import torch

from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.data import as_tensor
from pyro_decomp.networks import MLPDecoder, MLPEncoder


def prior() -> torch.Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(  # noqa: PLR0917 (a configuration is a long signature)
    path: str = "",
    columns: str = "",
    standardise: bool = True,
    epochs: int = 20,
    alpha: float = 1.0,
    batch_size: int = 256,
) -> Experiment:
    x = as_tensor(path, columns=columns.split(",") if columns else None)
    if standardise:
        x = (x - x.mean(0)) / x.std(0)
    vae = VAE(prior, MLPEncoder(x.shape[1], 2), MLPDecoder(2, x.shape[1]), size=len(x))
    return Experiment(
        vae.model,
        vae.guide,
        data=x,
        elbo=AggregateELBO(alpha=alpha),
        epochs=epochs,
        batch_size=batch_size,
    )
