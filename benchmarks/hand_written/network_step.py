"""What the steps of convolutional networks have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

MIN_SCALE = 1e-6


class NetworkStep(nn.Module, ABC):
    """Networks one operation at a time, densities compiled, fused Adam.

    All but a hundredth of such a step is spent in oneDNN's convolutions, which compiled networks
    call too. What wins is pictures in ``channels_last``, activations in place, products in
    bfloat16, and the densities as one function.

    Args:
        encoder: Gives location and raw scale.
        decoder: Gives what the density of pictures takes.
        x: The batch, the same in every step.
        latent_dim: Dimensions of z.
        lr: Learning rate.
        bfloat16: Run the networks under autocast.
        compiled: False runs the densities one operation at a time too.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        x: Tensor,
        *,
        latent_dim: int,
        lr: float,
        bfloat16: bool,
        compiled: bool,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.to(memory_format=torch.channels_last)
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.latent_dim = latent_dim
        self.bfloat16 = bfloat16
        self.compiled = compiled
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr, fused=True)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the parameters and buffers of a ``VAE``, by name."""
        own = {n: value for n, value in state.items() if not n.startswith("prior.")}
        self.load_state_dict(own)

    def step(self) -> Tensor:
        """One step; minus the objective before it."""
        loss = self.loss(*self.noise())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @abstractmethod
    def noise(self) -> tuple[Tensor, ...]:
        """What ``loss`` takes."""

    @abstractmethod
    def loss(self, *noise: Tensor) -> Tensor:
        """Minus the objective, in nats per datum."""

    def encoded(self) -> tuple[Tensor, Tensor]:
        """Location and scale of q(z|x), in 32 bits."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loc, raw_scale = self.encoder(self.x)
        return loc.float(), softplus(raw_scale.float()) + MIN_SCALE

    def decoded(self, z: Tensor) -> Tensor:
        """What the decoder gives, in 32 bits."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            return self.decoder(z).float()

    def density(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of densities, compiled if that was asked for."""
        return torch.compile(function, dynamic=False) if self.compiled else function


class TwoHeads(nn.Module):
    """A body, and location and raw scale on top of it, each flattened to a row."""

    def __init__(self, body: nn.Module, loc: nn.Module, scale: nn.Module) -> None:
        super().__init__()
        self.body, self.loc, self.scale = body, loc, scale

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both heads on the features."""
        features = self.body(x)
        return self.loc(features).flatten(1), self.scale(features).flatten(1)


class Body(nn.Module):
    """A network for codes of a shape, by the name that the package gives it."""

    def __init__(self, body: nn.Module, *shape: int) -> None:
        super().__init__()
        self.body, self.shape = body, shape

    def forward(self, z: Tensor) -> Tensor:
        """Run it."""
        return self.body(z.view(-1, *self.shape))
