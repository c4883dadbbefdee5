"""Networks trained beside an objective, each by a loss and an optimiser of its own."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.programs.traced_sites import TracedSites
from pyro_decomp.programs.traces import TracePair

OptimizerFactory = Callable[[Any], torch.optim.Optimizer]
AuxiliaryLoss = Callable[[TracePair, Callable[[], Tensor]], Tensor]


def make_optimizer(factory: OptimizerFactory, parameters: Iterable[Any]) -> torch.optim.Optimizer:
    """Make the optimiser of some parameters.

    Returns:
        The optimiser.

    Raises:
        ArgumentError: What the function gives is no optimiser of torch.
    """
    optimizer = factory(parameters)
    arguments.instance(
        torch.optim.Optimizer, "a function that gives a torch optimiser", optimizer=optimizer
    )
    return optimizer


@dataclass(frozen=True, eq=False)
class Auxiliary:
    """A network that an objective or a divergence uses but does not train, such as a discriminator.

    After every step of the model and guide the trainer takes one step of ``optimizer`` on ``loss``,
    and logs it as ``<name>_loss``. The main optimiser never has the network's parameters.

    Args:
        name: What it is called in the history.
        module: The network.
        loss: ``loss(traces, other)`` is what the network minimises, and depends on its parameters
            alone: ``traces`` are those of the main step, whose codes are to be detached, and
            ``other()`` gives the codes ``[B, D]`` of an independent second minibatch, detached.
        optimizer: Builds the optimiser from the network's parameters.
    """

    name: str
    module: nn.Module
    loss: AuxiliaryLoss
    optimizer: OptimizerFactory

    def __post_init__(self) -> None:
        arguments.text(name=self.name)
        arguments.instance(nn.Module, "a module", module=self.module)
        arguments.function(loss=self.loss)
        arguments.function(
            f"a callable that takes the parameters of the {self.name}", optimizer=self.optimizer
        )


@runtime_checkable
class OwnsAuxiliaries(Protocol):
    """An objective or divergence with networks to be trained beside it."""

    auxiliaries: Sequence[Auxiliary]


def guide_codes(guide: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """Samples of all latent sites of a batch, ``[B, D]``: one run of the guide, without gradients.

    Laid out as :meth:`TracePair.codes`; neither the model nor its decoder is run.

    Args:
        guide: The guide, with its data plate.
        *args: What the guide takes, such as the batch.
        **kwargs: The same, by name.

    Returns:
        The codes, ``[B, D]``.
    """
    latents = poutine.block(guide, hide_fn=lambda site: bool(site["infer"].get("is_auxiliary")))
    with torch.no_grad():
        trace = poutine.trace(latents).get_trace(*args, **kwargs)
        return TracedSites(trace, trace).codes()
