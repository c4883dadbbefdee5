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
ESTIMATORS = ("stratified_averaged", "batch")
SETTINGS = [
    (64, 1.0, (8, 16, 32, 64)),
    (4096, 2.0, (16, 64, 256, 1024, 4096)),
    (4096, 0.5, (16, 64, 256, 1024, 4096)),
]
COLUMNS = ("log q(z)", "MI", "TC", "DWKL")


def parts(log_q: Tensor, log_marginals: Tensor) -> Tensor:
    """What of log q(z), MI, TC and DWKL depends on the estimate, ``[4, S]``."""
    return torch.stack([log_q, -log_q, log_q - log_marginals, log_marginals])


def score(loc: Tensor, scale: float, z: Tensor, weights: PairWeights) -> Tensor:
    """The same from encodings and samples, ``[S, D]``."""
    posterior = AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)})
    log_q = posterior.log_densities({"z": z}, weights)
    return parts(log_q.joint, log_q.dimensions["z"].sum(-1))


def biases(encodings: Tensor, scale: float, batch_size: int) -> dict[str, Tensor]:
    """The four biases by estimator, over several epochs of batches."""
    n, found = len(encodings), {estimator: [] for estimator in ESTIMATORS}
    for _ in range(-(-8192 // n)):
        z = encodings + scale * torch.randn_like(encodings)
        exact = score(encodings, scale, z, PairWeights(-math.log(n)))
        for rows in torch.randperm(n).split(batch_size):
            for estimator, differences in found.items():
                weights = pair_weights(estimator, n, batch_size)
                estimate = score(encodings[rows], scale, z[rows], weights)
                differences.append(estimate - exact[:, rows])
    return {estimator: torch.cat(each, 1).mean(1) for estimator, each in found.items()}


def information(encodings: Tensor, scale: float) -> float:
    """The mutual information of data and codes under all data."""
    z = encodings + scale * torch.randn_like(encodings)
    log_q = score(encodings, scale, z, PairWeights(-math.log(len(z))))[0]
    entropy = DIM * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(scale))
    return -entropy - log_q.mean().item()


def main() -> None:
    """Print a table for each setting, in Markdown."""
    torch.manual_seed(0)
    for num_data, scale, sizes in SETTINGS:
        encodings = torch.randn(num_data, DIM)
        print(f"\nN = {num_data}, scale {scale}: MI = {information(encodings, scale):.2f} nats\n")
        print(f"| B | estimator | {' | '.join(COLUMNS)} |\n|{'---|' * (2 + len(COLUMNS))}")
        for size in sizes:
            for estimator, values in biases(encodings, scale, size).items():
                cells = " | ".join(f"{value:+.2f}".replace("-0.00", "+0.00") for value in values)
                print(f"| {size} | {estimator} | {cells} |")


if __name__ == "__main__":
    with torch.no_grad():
        main()
