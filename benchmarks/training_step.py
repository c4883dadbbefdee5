"""One step of training without the loop around it: no checks, history or checkpoints."""

from collections.abc import Callable
from functools import partial

from pyro_decomp.divergences.auxiliary import guide_codes
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.state import prepare


def training_step(experiment: Experiment) -> Callable[[], None]:
    """A step on the first batch, by running the programs, and one of each auxiliary network."""
    state = prepare(experiment)
    state.train(True)
    batch = experiment.data[: experiment.batch_size or len(experiment.data)]
    optimizer = experiment.optimizer(state.parameters.values())
    auxiliaries = [
        (auxiliary, auxiliary.optimizer(auxiliary.module.parameters()))
        for auxiliary in experiment.auxiliaries.values()
    ]

    def step() -> None:
        estimate = experiment.elbo.evaluate(experiment.model, experiment.guide, *batch)
        optimizer.zero_grad()
        (-estimate.objective).backward()
        optimizer.step()
        for auxiliary, own in auxiliaries:
            other = partial(guide_codes, experiment.guide, *batch)
            loss = auxiliary.loss(estimate.pairs[0], other)
            own.zero_grad()
            loss.backward()
            own.step()

    return step
