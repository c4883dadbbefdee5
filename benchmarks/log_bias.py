"""Bias of log q(z), of MI, TC and DWKL, when a batch stands for the data set.

    python benchmarks/log_bias.py

N encodings Normal(loc, scale^2 I) in ten dimensions with loc ~ Normal(0, I). Each number is the
mean, over batches drawn without replacement and over their data, of the estimate less the value
under all N encodings at the same samples; in nats.
"""

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, PairWeights, pair_weights

DIM = 10
COLUMNS = ("log q(z)", "MI", "TC", "DWKL")


def parts(log_q: Tensor, log_marginals: Tensor) -> Tensor:
    """What of log q(z), MI, TC and DWKL depends on the estimate, ``[4, S]``."""
    return torch.stack([log_q, -log_q, log_q - log_marginals, log_marginals])


def score(loc: Tensor, scale: float, z: Tensor, weights: PairWeights) -> Tensor:
    """The same from encodings and samples, ``[S, D]``."""
    posterior = AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)})
    log_q = posterior.log_densities({"z": z}, weights)
    return parts(log_q.joint, log_q.dimensions["z"].sum(-1))


def biases(num_data: int, batch_size: int, scale: float, estimator: str) -> tuple[Tensor, float]:
    """The four biases, and the mutual information under all data."""
    torch.manual_seed(0)
    loc = torch.randn(num_data, DIM, dtype=torch.double)
    z = loc + scale * torch.randn_like(loc)
    exact = score(loc, scale, z, PairWeights(-math.log(num_data)))
    weights = pair_weights(estimator, num_data, batch_size)
    found = []
    for _ in range(max(1, 8192 // batch_size)):
        batch = torch.randperm(num_data)[:batch_size]
        found.append(score(loc[batch], scale, z[batch], weights) - exact[:, batch])
    entropy = DIM * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(scale))
    return torch.cat(found, 1).mean(1), -entropy - exact[0].mean().item()


def main() -> None:
    """Print a table for each setting, in Markdown."""
    settings = [(64, 1.0, (8, 16, 32, 64)), (4096, 2.0, (16, 64, 256, 1024, 4096))]
    settings.append((4096, 0.5, (16, 64, 256, 1024, 4096)))
    for num_data, scale, sizes in settings:
        _, information = biases(num_data, num_data, scale, "batch")
        print(f"\nN = {num_data}, scale {scale}, MI = {information:.2f} nats\n")
        print(f"| B | estimator | {' | '.join(COLUMNS)} |\n|{'---|' * (2 + len(COLUMNS))}")
        for size in sizes:
            for estimator in ("stratified_averaged", "batch", "weighted"):
                values, _ = biases(num_data, size, scale, estimator)
                cells = " | ".join(f"{value:+.2f}".replace("-0.00", "+0.00") for value in values)
                print(f"| {size} | {estimator} | {cells} |")


if __name__ == "__main__":
    with torch.no_grad():
        main()
