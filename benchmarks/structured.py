"""What structure costs: one evaluation and its gradients, as ratios within one run.

    python benchmarks/structured.py [--repeats 30]

Programs are evaluated in turns, so that other work on the machine meets all of them alike; times
are medians of one thread's processor seconds. "by loop" scores the pairs of a structured guide as
one would without vmap: the guide is run once a sample.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from timing import in_turns, medians
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, BetaELBO, ExclusiveKL
from pyro_decomp.aggregate_posterior import pair_weights
from pyro_decomp.divergences import Divergence
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.programs.pair_density import GuideDensity
from pyro_decomp.programs.traces import TracePair

N, B, D, K, COMPONENTS = 10_000, 256, 64, 8, 10
LOCS = torch.randn(COMPONENTS, K, generator=torch.Generator().manual_seed(0))


def isotropic() -> Tensor:
    """One Normal site."""
    return pyro.sample("z", dist.Normal(torch.zeros(K), 1.0).to_event(1))


def same_family() -> Tensor:
    """A mixture as one site."""
    parts = dist.Normal(LOCS, 0.5).to_event(1)
    return pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(COMPONENTS)), parts))


def enumerated() -> Tensor:
    """The same mixture as a component and a code."""
    c = pyro.sample("c", dist.Categorical(torch.ones(COMPONENTS)))
    return pyro.sample("z", dist.Normal(LOCS[c], 0.5).to_event(1))


def two_layers() -> Tensor:
    """A code whose location is drawn too."""
    z2 = pyro.sample("z2", dist.Normal(torch.zeros(K), 1.0).to_event(1))
    return pyro.sample("z", dist.Normal(z2, 0.5).to_event(1))


class Encoder(nn.Module):
    """Both layers from the data; the upper one also from the lower, if it is structured."""

    def __init__(self, *, is_structured: bool) -> None:
        super().__init__()
        self.lower = MLPEncoder(D, K, (256,))
        self.upper = MLPEncoder(K if is_structured else D, K, (256,))
        self.is_structured = is_structured

    def forward(self, x: Tensor) -> None:
        """Sample z and z2."""
        z = pyro.sample("z", self.lower(x))
        pyro.sample("z2", self.upper(z if self.is_structured else x))


class ByLoop(Divergence):
    """KL(q || p) of a structured guide, the guide run once a sample."""

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate it, in nats."""
        axes = dict.fromkeys(traces.latents, -2)
        args, _ = traces._arguments
        density = GuideDensity(partial(traces.guide_program, *args), axes, {}, traces.data_plate)
        values = [traces.guide.nodes[name]["value"] for name in axes]
        pairs = torch.stack([density(*sample) for sample in zip(*values, strict=True)])
        weights = pair_weights("stratified_averaged", traces.num_data, traces.batch_size)
        log_qz = weights.add_(pairs).logsumexp(-1) + weights.other
        return (log_qz - traces.log_prior()).mean()


def main() -> None:
    """Time every program and print the ratios as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="evaluations of each")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    pyro.set_rng_seed(0)
    x = torch.randn(B, D)
    structured, mean_field = Encoder(is_structured=True), Encoder(is_structured=False)
    plain = MLPEncoder(D, K, (256,))
    rows = {
        "isotropic, ELBO": step(x, isotropic, plain),
        "mixture as one site, ELBO": step(x, same_family, plain),
        "mixture summed out, ELBO": step(x, enumerated, plain),
        "two layers, mean-field guide, ELBO": step(x, two_layers, mean_field),
        "two layers, structured guide, ELBO": step(x, two_layers, structured),
        "two layers, mean-field guide, KL(q||p)": step(x, two_layers, mean_field, ExclusiveKL()),
        "two layers, structured guide, KL(q||p)": step(x, two_layers, structured, ExclusiveKL()),
        "two layers, structured guide, KL(q||p) by loop": step(x, two_layers, structured, ByLoop()),
    }
    seconds = medians(in_turns(rows, repeats, warm_up=2, clock=time.process_time))
    base = seconds["isotropic, ELBO"]
    print(f"B = {B}, {K} latents a layer\n\n| program | ms | ratio |\n|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {1e3 * value:.1f} | {value / base:.2f} |")


def step(
    x: Tensor, prior: Callable[[], Tensor], encoder: nn.Module, divergence: Divergence | None = None
) -> Callable[[], None]:
    """One evaluation with gradients."""
    vae = VAE(prior, encoder, MLPDecoder(K, D, (256,)), size=N)
    elbo = BetaELBO() if divergence is None else AggregateELBO(1.0, 1.0, divergence)

    def run() -> None:
        loss = elbo.differentiable_loss(vae.model, vae.guide, x)
        assert math.isfinite(loss.item())
        loss.backward()

    return run


if __name__ == "__main__":
    main()
