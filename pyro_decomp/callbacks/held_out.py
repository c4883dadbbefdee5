"""The objective and its terms on held-out data, while a run trains."""

from typing import Any

import torch

from pyro_decomp import arguments
from pyro_decomp.callbacks import cadence
from pyro_decomp.errors import ExperimentError
from pyro_decomp.programs.program_state.modules import in_mode
from pyro_decomp.seeds import seeded
from pyro_decomp.training.callbacks import Callback, Training


class HeldOut(Callback):
    """Evaluates the objective and all of its terms on ``test_data`` every so often.

    History gets the columns ``test_objective``, ``test_elbo`` and so on, in nats per datum, in the
    rows of the evaluations and of the last step; elsewhere they are NaN. Networks are in evaluation
    mode, and every evaluation takes the same draws, so that its values can be compared with one
    another. Terms of the aggregate posterior are estimated as in training, from random batches of
    at most ``batch_size`` held-out data taken as a sample of as many data as the training set has,
    and are biased as they are there; :func:`pyro_decomp.evaluate` estimates them over the whole
    set.

    Args:
        every: A whole number of epochs, or a fraction of the run in (0, 1]: 0.02 is 50 times.
        seed: Of the draws.
    """

    def __init__(self, every: float = 0.02, *, seed: int = 0) -> None:
        cadence.check(every)
        arguments.whole(0, arguments.LARGEST_SEED, seed=seed)
        self._every, self._seed = every, seed
        self._next = 0

    def check(self, training: Training) -> None:
        """Check that there are data to evaluate.

        Raises:
            ExperimentError: There are no test data.
        """
        if training.experiment.test_data is None:
            raise ExperimentError(
                "HeldOut: expected an experiment with test_data, got none (give "
                "Experiment(test_data=...), or leave HeldOut out)"
            )

    def started(self, training: Training) -> None:
        """Find out at which steps to evaluate."""
        self._steps = cadence.steps_between(self._every, training)
        self._next = self._next or self._steps

    def step(self, training: Training) -> None:
        """Evaluate, if it is due, and at the last step; always at a row of the history."""
        is_due = training.step >= self._next and training.is_logged
        if is_due or training.step == training.total_steps:
            self._next = (training.step // self._steps + 1) * self._steps
            training.record(evaluated(training, self._seed), is_evaluation=True)

    def state_dict(self) -> dict[str, Any]:
        """The step at which the next evaluation is due."""
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._next = state.get("next", 0)


def evaluated(training: Training, seed: int) -> dict[str, float]:
    """The objective and its terms on the test data, by name with ``test_`` before it.

    Means over the data, in nats per datum; generators, buffers and what programs keep are as
    before afterwards.
    """
    experiment, state = training.experiment, training.state
    data, sums = experiment.test_data, dict[str, float]()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(int(seed)))
    batches = order.tensor_split(-(-len(data) // experiment.data_per_step))
    with (
        state.program.preserving_rng_and_buffers(),
        in_mode(state.modules, training=False),
        seeded(seed),
        torch.no_grad(),
    ):
        for rows in batches:
            estimate = experiment.elbo.evaluate(experiment.model, experiment.guide, *data[rows])
            for name, value in estimate.logged.items():
                sums[name] = sums.get(name, 0.0) + len(rows) * float(value)
    return {f"test_{name}": total / len(data) for name, total in sums.items()}
