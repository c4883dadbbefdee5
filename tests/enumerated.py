"""Models and guides with discrete sites, as a table: each a way in which they are summed over."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.example_programs import B, D, K, N, Programs, batch

COMPONENTS = 4
POSITIVE = dist.constraints.positive


def tensor(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.double)


def encoded(x: Tensor) -> dist.TorchDistribution:
    weight = pyro.param("encoding", lambda: tensor(D, K))
    scale = pyro.param("scale", lambda: torch.tensor(0.4).double(), constraint=POSITIVE)
    return dist.Normal(x @ weight, scale).to_event(1)


def components() -> tuple[dist.Categorical, Tensor]:
    logits = pyro.param("logits", lambda: tensor(COMPONENTS))
    return dist.Categorical(logits=logits), pyro.param("locs", lambda: tensor(COMPONENTS, K))


def decoded(z: Tensor, shift: Tensor | float = 0.0) -> dist.TorchDistribution:
    weight = pyro.param("decoding", lambda: tensor(K, D))
    return dist.Normal(z @ weight + shift, 0.8).to_event(1)


def guide(x: Tensor) -> None:
    with pyro.plate("data", N, subsample=x):
        pyro.sample("z", encoded(x))


def guide_with_component(x: Tensor) -> None:
    """q(c|x) q(z|x, c)."""
    logits = pyro.param("classifier", lambda: tensor(D, COMPONENTS))
    shifts = pyro.param("shifts", lambda: tensor(COMPONENTS, K))
    with pyro.plate("data", N, subsample=x):
        c = pyro.sample("c", dist.Categorical(logits=x @ logits))
        qz_x = encoded(x).base_dist
        pyro.sample("z", dist.Normal(qz_x.loc + shifts[c], qz_x.scale).to_event(1))


def mixture() -> Programs:
    """The prior is a mixture, and the decoder does not see the component."""

    def model(x: Tensor) -> None:
        weights, locs = components()
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", weights)
            z = pyro.sample("z", dist.Normal(locs[c], 0.5).to_event(1))
            pyro.sample("x", decoded(z), obs=x)

    return Programs(model, guide, batch())


def summed_mixture() -> Programs:
    """The same as one site."""

    def model(x: Tensor) -> None:
        weights, locs = components()
        with pyro.plate("data", N, subsample=x):
            parts = dist.Normal(locs, 0.5).to_event(1)
            z = pyro.sample("z", dist.MixtureSameFamily(weights, parts))
            pyro.sample("x", decoded(z), obs=x)

    return Programs(model, guide, batch())


def seen_by_the_decoder(x: Tensor) -> None:
    weights, locs = components()
    shifts = pyro.param("decoded shifts", lambda: tensor(COMPONENTS, D))
    with pyro.plate("data", N, subsample=x):
        c = pyro.sample("c", weights)
        z = pyro.sample("z", dist.Normal(locs[c], 0.5).to_event(1))
        pyro.sample("x", decoded(z, shifts[c]), obs=x)


def mixture_seen_by_the_decoder() -> Programs:
    return Programs(seen_by_the_decoder, guide, batch())


def component_in_the_guide() -> Programs:
    return Programs(seen_by_the_decoder, guide_with_component, batch())


def component_after_the_code() -> Programs:
    """q(z|x) q(c|z), against the model's order."""

    def reversed_guide(x: Tensor) -> None:
        logits = pyro.param("classifier", lambda: tensor(K, COMPONENTS))
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", encoded(x))
            pyro.sample("c", dist.Categorical(logits=z @ logits))

    return Programs(seen_by_the_decoder, reversed_guide, batch())


def chain() -> Programs:
    """c -> d -> z, both summed out, and a site that depends on neither."""
    table = tensor(2, COMPONENTS)

    def model(x: Tensor) -> None:
        locs = pyro.param("locs", lambda: tensor(COMPONENTS, K))
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3).double()))
            d = pyro.sample("d", dist.Categorical(logits=table[c.long()]))
            z = pyro.sample("z", dist.Normal(locs[d], 0.5).to_event(1))
            u = pyro.sample("u", dist.Normal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", decoded(z, u[..., None]), obs=x)

    def both(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", encoded(x))
            pyro.sample("u", dist.Normal(x.sum(-1), 0.3))

    return Programs(model, both, batch())


def one_in_the_guide() -> Programs:
    """One discrete site in the guide, another in the model alone."""
    table = tensor(COMPONENTS, 3)
    means = tensor(3, D)

    def model(x: Tensor) -> None:
        weights, locs = components()
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", weights)
            z = pyro.sample("z", dist.Normal(locs[c], 0.5).to_event(1))
            d = pyro.sample("d", dist.Categorical(logits=table[c]))
            pyro.sample("x", decoded(z, means[d]), obs=x)

    return Programs(model, guide_with_component, batch())


def spikes() -> Programs:
    """A spike and a slab for each dimension, in a plate of their own."""

    def model(x: Tensor) -> None:
        weight = pyro.param("decoding", lambda: tensor(3, D))
        with pyro.plate("data", N, subsample=x):
            with pyro.plate("dimensions", 3):
                is_spike = pyro.sample("is_spike", dist.Bernoulli(torch.tensor(0.8).double()))
                z = pyro.sample("z", dist.Normal(0.0, 1 - torch.tensor(0.8).double() * is_spike))
            pyro.sample("x", dist.Normal(z.mT @ weight, 0.8).to_event(1), obs=x)

    def dimensions(x: Tensor) -> None:
        weight = pyro.param("encoding", lambda: tensor(D, 3))
        with pyro.plate("data", N, subsample=x), pyro.plate("dimensions", 3):
            pyro.sample("z", dist.Normal((x @ weight).mT, 0.5))

    return Programs(model, dimensions, batch())


ENUMERATED: dict[str, Callable[[], Programs]] = {
    "mixture": mixture,
    "mixture that the decoder sees": mixture_seen_by_the_decoder,
    "component in the guide": component_in_the_guide,
    "component after the code": component_after_the_code,
    "chain": chain,
    "one in the guide": one_in_the_guide,
    "spikes": spikes,
}
NUM_PLATES = {"spikes": 2}
assert B < N
