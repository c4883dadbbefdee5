"""Models and guides, as a table: one a row, each a way in which a user may write them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import Tensor, nn

from pyro_decomp import VAE
from pyro_decomp.networks import MLPDecoder, MLPEncoder

N, B, D, K = 20, 6, 3, 2  # data in all, data in the batch, length of a datum, length of a latent


@dataclass
class Programs:
    """A model and a guide, with a batch for them."""

    model: Callable[[Tensor], Any]
    guide: Callable[[Tensor], Any]
    x: Tensor

    def parameters(self) -> dict[str, Tensor]:
        """What is trained, unconstrained, by the name that Pyro gives it."""
        with poutine.trace(param_only=True) as captured:
            self.guide(self.x)
            self.model(self.x)
        return {n: site["value"].unconstrained() for n, site in captured.trace.nodes.items()}


def batch() -> Tensor:
    return torch.randn(B, D, dtype=torch.double)


def normal_prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(K, dtype=torch.double), 1.0).to_event(1))


def mixture_prior() -> Tensor:
    locs = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.double)
    clusters = dist.Categorical(logits=torch.zeros(4, dtype=torch.double))
    components = dist.Normal(locs, 0.03**0.5).to_event(1)
    return pyro.sample("z", dist.MixtureSameFamily(clusters, components))


class LearnedPrior(nn.Module):
    """A Normal prior whose location is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(K, dtype=torch.double))

    def forward(self) -> Tensor:
        return pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))


class LaplaceEncoder(MLPEncoder):
    """The same two heads, read as a Laplace."""

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        normal = super().forward(x).base_dist
        return dist.Laplace(normal.loc, normal.scale).to_event(1)


def vae(
    prior: Callable[[], Tensor] = normal_prior,
    encoder: type[MLPEncoder] = MLPEncoder,
    size: int = N,
) -> Programs:
    made = VAE(
        prior,
        encoder(D, K, hidden=(5,)).double(),
        MLPDecoder(K, D, hidden=(5,)).double(),
        size=size,
    )
    return Programs(made.model, made.guide, batch())


def functions(use: Callable[[str, nn.Module], Any] = pyro.module) -> Programs:
    encoder, decoder = MLPEncoder(D, K, (5,)).double(), MLPDecoder(K, D, (5,)).double()

    def model(x: Tensor) -> None:
        use("decoder", decoder)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("x", decoder(normal_prior()), obs=x)

    def guide(x: Tensor) -> None:
        use("encoder", encoder)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", encoder(x))

    return Programs(model, guide, batch())


def parameters() -> Programs:
    start = torch.randn(D, K, dtype=torch.double)

    def model(x: Tensor) -> None:
        weight = pyro.param("weight", start.T.clone())
        scale = pyro.param(
            "noise", torch.tensor(0.7).double(), constraint=dist.constraints.positive
        )
        with pyro.plate("data", N, subsample=x):
            z = normal_prior()
            pyro.sample("x", dist.Normal(z @ weight, scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        weight = pyro.param("encoding", start.clone())
        scale = pyro.param(
            "scale", torch.full((K,), 0.5).double(), constraint=dist.constraints.positive
        )
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(x @ weight, scale).to_event(1))

    return Programs(model, guide, batch())


class ModelModule(PyroModule):
    """A model as a module, with a random weight outside the plate."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = PyroModule[nn.Linear](K, D).double()
        self.noise = PyroParam(torch.tensor(0.7).double(), dist.constraints.positive)
        self.shift = PyroSample(dist.Normal(torch.zeros(D).double(), 1.0).to_event(1))

    def forward(self, x: Tensor) -> None:
        shift = self.shift
        with pyro.plate("data", N, subsample=x):
            z = normal_prior()
            pyro.sample("x", dist.Normal(self.decoder(z) + shift, self.noise).to_event(1), obs=x)


class GuideModule(PyroModule):
    """The guide of :class:`ModelModule`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PyroModule[nn.Linear](D, K).double()
        self.loc = PyroParam(torch.zeros(D).double())

    def forward(self, x: Tensor) -> None:
        pyro.sample("shift", dist.Normal(self.loc, 0.1).to_event(1))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))


def pyro_modules() -> Programs:
    return Programs(ModelModule(), GuideModule(), batch())


def hierarchy(guide_order: str) -> Programs:
    """z1 -> z2 -> x, with a guide that is mean-field, in the model's order, or in reverse order."""
    weights = torch.randn(2, D, K, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(0.5 * z1, 0.6).to_event(1))
            pyro.sample("x", dist.Normal(z2 @ weights[0].T, 0.8).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        encoding = pyro.param("encoding", weights.clone())
        scale = pyro.param(
            "scale", torch.tensor(0.4).double(), constraint=dist.constraints.positive
        )
        names = ("z1", "z2") if guide_order != "reverse" else ("z2", "z1")
        with pyro.plate("data", N, subsample=x):
            parent = pyro.sample(names[0], dist.Normal(x @ encoding[0], scale).to_event(1))
            loc = x @ encoding[1]
            if guide_order != "mean-field":
                loc = loc + 0.5 * parent
            pyro.sample(names[1], dist.Normal(loc, scale).to_event(1))

    return Programs(model, guide, batch())


def nested_plates() -> Programs:
    """Four latents a datum, in a plate of their own inside the data plate."""
    encoding = torch.randn(D, 4, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            with pyro.plate("parts", 4):
                part = pyro.sample("part", dist.Normal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(part.T @ encoding.T, 0.8).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        weight = pyro.param("encoding", encoding.clone())
        with pyro.plate("data", N, subsample=x), pyro.plate("parts", 4):
            pyro.sample("part", dist.Normal((x @ weight).T, 0.5))

    return Programs(model, guide, batch())


def global_latent() -> Programs:
    """A scale shared by all data, with a positive guide, beside a latent a datum."""
    encoding = torch.randn(D, K, dtype=torch.double)

    def model(x: Tensor) -> None:
        noise = pyro.sample("noise", dist.LogNormal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", N, subsample=x):
            z = normal_prior()
            pyro.sample("x", dist.Normal(z @ encoding.T, noise).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(()).double())
        pyro.sample("noise", dist.LogNormal(loc, 0.2))
        weight = pyro.param("encoding", encoding.clone())
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(x @ weight, 0.5).to_event(1))

    return Programs(model, guide, batch())


def scaled() -> Programs:
    """Handlers of the user's: one scale for all, and one of a size for each datum."""
    plain = functions()

    def wrapped(program: Callable[[Tensor], Any], x: Tensor) -> None:
        with poutine.scale(scale=0.3), poutine.scale(scale=torch.linspace(0.5, 2, B).double()):
            program(x)

    return Programs(partial(wrapped, plain.model), partial(wrapped, plain.guide), plain.x)


def masked() -> Programs:
    """A mask of the user's that leaves out every third datum."""
    plain = functions()
    kept = torch.arange(B) % 3 != 0

    def wrapped(program: Callable[[Tensor], Any], x: Tensor) -> None:
        with poutine.mask(mask=kept):
            program(x)

    return Programs(partial(wrapped, plain.model), partial(wrapped, plain.guide), plain.x)


def auxiliary() -> Programs:
    """A positive latent, drawn in the guide as an auxiliary Normal and put through exp."""
    encoding = torch.randn(D, K, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Gamma(torch.full((K,), 2.0).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.log() @ encoding.T, 0.8).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        weight = pyro.param("encoding", encoding.clone())
        with pyro.plate("data", N, subsample=x):
            base = dist.Normal(x @ weight, 0.5).to_event(1)
            u = pyro.sample("u", base, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u.exp(), log_density=-u.sum(-1), event_dim=1))

    return Programs(model, guide, batch())


def delta_guide() -> Programs:
    """A guide without spread: maximum a posteriori."""
    plain = functions()
    encoding = torch.randn(D, K, dtype=torch.double)

    def guide(x: Tensor) -> None:
        weight = pyro.param("encoding", encoding.clone())
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Delta(x @ weight, event_dim=1))

    return Programs(plain.model, guide, plain.x)


PROGRAMS: dict[str, Callable[[], Programs]] = {
    "VAE": vae,
    "VAE, full batch": partial(vae, size=B),
    "VAE, mixture prior": partial(vae, mixture_prior),
    "VAE, learned prior": lambda: vae(LearnedPrior()),
    "VAE, Laplace guide": partial(vae, encoder=LaplaceEncoder),
    "VAE, Laplace guide, mixture prior": partial(vae, mixture_prior, LaplaceEncoder),
    "functions with pyro.module": functions,
    "functions with pyro.param": parameters,
    "PyroModules": pyro_modules,
    "two sites": partial(hierarchy, "mean-field"),
    "two sites, guide in the model's order": partial(hierarchy, "same"),
    "two sites, guide in reverse order": partial(hierarchy, "reverse"),
    "nested plates": nested_plates,
    "a global latent": global_latent,
    "user's scale": scaled,
    "user's mask": masked,
    "an auxiliary site": auxiliary,
    "a Delta guide": delta_guide,
}
