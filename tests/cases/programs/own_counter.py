"""KL annealing written in the model by a counter of its own, as Pyro's tutorials scale latents.

``ramp`` is linear over ``until`` calls, as in the deep Markov model's tutorial; "stages" is a tenth
for ``until`` calls, and all of it then.
"""

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Experiment

NUM_DATA, WIDTH = 64, 3


class Annealed(nn.Module):
    def __init__(self, kind: str, until: int) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, 4), nn.Linear(2, WIDTH)
        self.kind, self.until, self.step = kind, until, 0

    def weight(self) -> float:
        if self.kind == "ramp":
            return min(1.0, 0.01 + self.step / self.until)
        return 0.1 if self.step <= self.until else 1.0

    def model(self, x: Tensor) -> None:
        self.step += 1
        with pyro.plate("data", NUM_DATA, subsample=x):
            with poutine.scale(scale=self.weight()):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x), poutine.scale(scale=self.weight()):
            loc, log_scale = self.encoder(x).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(
    kind: Literal["ramp", "stages"] = "stages", epochs: int = 1000, until: int = 500
) -> Experiment:
    torch.manual_seed(0)
    annealed = Annealed(kind, until)
    x = torch.randn(NUM_DATA, WIDTH)
    return Experiment(annealed.model, annealed.guide, data=x, elbo=BetaELBO(), epochs=epochs)
