"""Networks of every kind, and operations that few use."""

import copy

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from tests.unusual.base import Usual, spread


def batch_norm() -> Usual:
    """Without the biases that batch statistics cancel: their gradients are rounding alone."""
    programs = Usual(between=(nn.BatchNorm1d(8), nn.ReLU()))
    for network in (programs.encoder, programs.decoder):
        network[0].register_parameter("bias", None)
    return programs


def dropout() -> Usual:
    return Usual(between=(nn.ReLU(), nn.Dropout(0.3)))


def activations() -> Usual:
    kinds = [nn.GELU(), nn.SiLU(), nn.ELU(), nn.Softplus(), nn.PReLU(), nn.Hardtanh(), nn.Mish()]
    kinds += [nn.Softmax(-1), nn.LogSigmoid()]
    layers = [layer for kind in kinds for layer in (kind, nn.Linear(8, 8))]
    return Usual(between=(nn.LayerNorm(8), *layers))


class NormedWeights(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.decoder[0] = spectral_norm(self.decoder[0])
        self.encoder[0] = weight_norm(self.encoder[0])


class TiedWeights(Usual):
    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        hidden = self.decoder[0](z).tanh()
        return dist.Normal(linear(hidden, self.encoder[0].weight.T), 0.5).to_event(1)


class SortedLatents(Usual):
    """Sorting, running sums, the largest, products, rolling and flipping."""

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        z = z.sort(-1).values
        z = torch.where(z > 0, z, z.abs().cumsum(-1)).clamp(-2, 2)
        z = z + z.max(-1, keepdim=True).values + z.prod(-1, keepdim=True)
        z = z + z.std(-1, keepdim=True)
        return dist.Normal(self.decoder(z.roll(1, -1).flip(-1)), 0.5).to_event(1)


class Recurrent(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 4)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self.head(self.recurrent(x[..., None])[0][:, -1]).split(2, -1)
        return first, second


class Attention(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Linear(1, 8), nn.Linear(8, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        each = self.embedding(x[..., None])
        attended = self.attention(each, each, each, need_weights=False)[0].mean(1)
        first, second = self.head(attended).split(2, -1)
        return first, second


class Embedding(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        word = (x[:, 0] * 2).round().long().clamp(-2, 2) + 2
        first, second = (self.encoder(x) + self.embedding(word)).split(2, -1)
        return first, second


class Convolutions(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(nn.Conv2d(1, 3, 2, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.LazyLinear(4)),
        )
        self.down(torch.zeros(2, 1, 2, 2))
        self.up = nn.Sequential(
            nn.Linear(2, 3), nn.Unflatten(1, (3, 1, 1)), nn.ConvTranspose2d(3, 1, 2)
        )

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.down(x.view(-1, 1, 2, 2)).split(2, -1)
        return dist.Normal(loc, spread(unbounded)).to_event(1)

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.up(z).flatten(1), 0.5).to_event(1)


class DetachedScale(Usual):
    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        mean = self.decoder(z)
        return dist.Normal(mean, mean.detach().abs() + 0.1).to_event(1)


class StraightThrough(Usual):
    """Rounded on the way forward, and as it was on the way back."""

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        mean = self.decoder(z)
        return dist.Normal(mean + (mean.round() - mean).detach(), 0.5).to_event(1)


class SelectedRows(Usual):
    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        mean = self.decoder(z)
        backwards = torch.arange(len(mean)).flip(0)
        return dist.Normal(mean[backwards].flip(0), 0.5).to_event(1)


class SlowCopy(Usual):
    """Frozen parameters to which the programs write, as of a target network."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = copy.deepcopy(self.decoder).requires_grad_(False)

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        with torch.no_grad():
            for slow, own in zip(self.slow.parameters(), self.decoder.parameters(), strict=True):
                slow.mul_(0.9).add_(0.1 * own)
        return dist.Normal(0.5 * (self.decoder(z) + self.slow(z)), 0.5).to_event(1)


NETWORKS = {
    "slow copy": SlowCopy,
    "batch norm": batch_norm,
    "dropout": dropout,
    "activations": activations,
    "normed weights": NormedWeights,
    "tied weights": TiedWeights,
    "sorted latents": SortedLatents,
    "recurrent": Recurrent,
    "attention": Attention,
    "embedding": Embedding,
    "convolutions": Convolutions,
    "detached scale": DetachedScale,
    "straight through": StraightThrough,
    "selected rows": SelectedRows,
}
