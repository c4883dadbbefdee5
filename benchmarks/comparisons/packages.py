"""Steps of training against those of packages that users have."""

from collections.abc import Callable, Iterator
from functools import partial

import pyro.optim
import torch
from hand_written import Sprites
from pyro import infer
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from timing import Action, Comparison, in_turns
from torch import Tensor, nn

from comparisons import Effort
from comparisons.alternation import alternate, training_of
from comparisons.cases import TOTAL_CORRELATION, pinwheel, sprites
from pyro_decomp import SVI
from pyro_decomp.acceleration import Execution
from pyro_decomp.elbo import BetaELBO
from pyro_decomp.training.experiment import Experiment


def packages(effort: Effort) -> Iterator[Comparison]:
    """Pyro's SVI on the pinwheel and on sprites, and pythae's BetaTCVAE on sprites."""
    few, batch_size = effort.is_quick, 8 if effort.is_quick else 64

    def against(
        what: str, experiment: Experiment, name: str, other: Action, precision: str = "float32"
    ) -> Comparison:
        training = training_of(experiment, Execution(effort.steps, precision))
        is_small = experiment.batch_size is None
        steps = (2 if few else 100) if is_small else (1 if few else 3)
        pair = alternate(training, other, steps=steps, turns=effort.turns)
        return Comparison(what, f"train(), {precision}", name, *pair)

    experiment, name = pinwheel(alpha=0.0), "Pyro's SVI, Trace_ELBO"
    other = svi(pinwheel(alpha=0.0), Trace_ELBO())
    yield against("pinwheel, B = 400, ELBO", experiment, name, other)
    for loss in (Trace_ELBO(), BetaELBO(1.0)):
        yield inference(pinwheel(alpha=0.0), loss, effort)
    for precision in ("float32", "bfloat16"):
        experiment, name = sprites(BetaELBO(1.0), batch_size), "Pyro's SVI, TraceMeanField_ELBO"
        other = svi(sprites(BetaELBO(1.0), batch_size), TraceMeanField_ELBO())
        yield against(f"sprites, B = {batch_size}, ELBO", experiment, name, other, precision)
        experiment, name = sprites(TOTAL_CORRELATION, batch_size), "pythae's BetaTCVAE"
        try:
            other = beta_tcvae(experiment, batch_size)
        except ImportError:
            continue
        what = f"sprites, B = {batch_size}, total correlation"
        yield against(what, experiment, name, other, precision)


def inference(experiment: Experiment, loss: ELBO, effort: Effort) -> Comparison:
    """``pyro_decomp.SVI`` and Pyro's on the same programs and parameters, step after step."""
    few = effort.is_quick
    actions = {
        "pyro_decomp.SVI": svi(experiment, loss, partial(SVI, steps=effort.steps)),
        "Pyro's SVI": svi(experiment, loss),
    }
    for _ in range(2 if few else 20):  # the first ones, after which steps are captured
        actions["pyro_decomp.SVI"]()
    seconds = in_turns(actions, effort.turns, calls=2 if few else 100)
    what = f"pinwheel, B = 400, {type(loss).__name__}"
    (ours, times), (other, others) = seconds.items()
    return Comparison(what, ours, other, times, others)


def svi(experiment: Experiment, loss: ELBO, kind: Callable[..., infer.SVI] = infer.SVI) -> Action:
    """A step of inference on an experiment that no training trains, on its first batch."""
    settings = dict(experiment.optimizer.keywords)
    optimizer = pyro.optim.PyroOptim(torch.optim.Adam, settings)
    inference = kind(experiment.model, experiment.guide, optimizer, loss)
    return partial(inference.step, *experiment.data[: experiment.batch_size])


def beta_tcvae(experiment: Experiment, batch_size: int) -> Action:
    """A step of pythae on the same networks, as its trainer takes it.

    Raises:
        ImportError: pythae is not installed.
    """
    from pythae.models import BetaTCVAE, BetaTCVAEConfig  # noqa: PLC0415
    from pythae.models.base.base_utils import ModelOutput  # noqa: PLC0415
    from pythae.models.nn import BaseDecoder, BaseEncoder  # noqa: PLC0415

    batch = experiment.data.x[:batch_size]
    same = Sprites(batch, compiled=False)

    class Encoder(BaseEncoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> ModelOutput:
            loc, log_variance = self.network(x)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.network(z).sigmoid())

    config = BetaTCVAEConfig(
        input_dim=tuple(batch.shape[1:]),
        latent_dim=same.latent_dim,
        reconstruction_loss="bce",
        beta=4.0,
    )
    model = BetaTCVAE(config, Encoder(same.encoder), Decoder(same.decoder))
    model.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

    def step() -> float:
        output = model({"data": batch}, dataset_size=len(experiment.data))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        return output.loss.item()

    return step
