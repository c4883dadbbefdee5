"""Steps of training against steps written by hand."""

from collections.abc import Iterator

from hand_written import FashionMNIST, Pinwheel, Sprites
from timing import Action, Comparison

from comparisons import Effort
from comparisons.alternation import alternate, training_of
from comparisons.cases import BETA, TOTAL_CORRELATION, fashion_mnist, pinwheel, sprites
from pyro_decomp.acceleration import Execution
from pyro_decomp.training.experiment import Experiment


def by_hand(effort: Effort) -> Iterator[Comparison]:
    """The pinwheel, sprites and Fashion-MNIST, in 32 bits and with products in bfloat16."""
    hand_compiled = not effort.is_quick

    def against(
        what: str, experiment: Experiment, other: Action, precision: str, steps: int
    ) -> Comparison:
        training = training_of(experiment, Execution(effort.steps, precision))
        pair = alternate(training, other, steps=steps, turns=effort.turns)
        return Comparison(what, f"train(), {precision}", "by hand", *pair)

    for alpha in (0.0, 1.0):
        experiment = pinwheel(alpha)
        other = Pinwheel(experiment.data.x, alpha, compiled=hand_compiled).step
        what = f"pinwheel, B = {len(experiment.data)}, alpha = {alpha:g}"
        yield against(what, experiment, other, "float32", 2 if effort.is_quick else 200)
    batch_size = 8 if effort.is_quick else 64
    for precision in ("float32", "bfloat16"):
        for elbo in (BETA, TOTAL_CORRELATION):
            experiment = sprites(elbo, batch_size)
            other = Sprites(
                experiment.data.x[:batch_size],
                total_correlation=elbo is TOTAL_CORRELATION,
                num_data=len(experiment.data),
                bfloat16=precision == "bfloat16",
                compiled=hand_compiled,
            ).step
            what = f"sprites, B = {batch_size}, {type(elbo).__name__}"
            yield against(what, experiment, other, precision, 1 if effort.is_quick else 3)
    batch_size = 8 if effort.is_quick else 500
    for precision in ("float32", "bfloat16"):
        experiment = fashion_mnist(batch_size)
        batch = experiment.data.x[:batch_size]
        other = FashionMNIST(batch, bfloat16=precision == "bfloat16", compiled=hand_compiled).step
        what = f"Fashion-MNIST, B = {batch_size}, MMD a dimension"
        yield against(what, experiment, other, precision, 1)
