"""What is known to be wrong today, in one place: each a test of the right value that fails.

A row is marked ``xfail(strict=True)``, so that the test of what is mended fails until its row here
is removed.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest

NOT_YET: dict[str, tuple[str, Sequence[str]]] = {  # area: why, and which rows
    "command lines": (
        "issue 11: what was not foreseen, or takes for ever",
        [
            "evaluate run --importance-samples 1000000000",
        ],
    ),
    "calls": (
        "issue 11: accepted, or in the words of another library",
        [
            "BetaELBO('a')",
            "BetaELBO(None)",
            "BetaELBO(num_particles=1.5)",
            "AnnealedPriorELBO(float('inf'))",
            "EntropyRegularizedELBO('x')",
            "CapacityELBO(1, None)",
            "FactorELBO('g', networks.Discriminator(2))",
            "FactorELBO(10, torch.nn.Linear(2, 7))",
            "InfoELBO(0, 'l', MMD())",
            "SlicedWasserstein('a')",
            "InclusiveKL()*'a'",
            "InclusiveKL()+3",
            "float('nan')*InclusiveKL()",
            "experiment(clip_grad_norm='a')",
            "experiment(schedules=[1])",
            "experiment(modules=[3])",
            "train(experiment(optimizer=lambda p: None, epochs=2), 'o')",
            "train(experiment(modules=[3], epochs=2), 'o')",
            "train(3, 'o')",
            "train(experiment(epochs=2), 'o', seed='a')",
            "train(experiment(epochs=2), 'o', device='tpu')",
            "train(experiment(epochs=2), 'o', execution='fast')",
            "load('run', device='cuda')",
            "load('run', experiment=3)",
            "evaluate('run')",
            "evaluate(load('run'), num_importance_samples=0)",
            "evaluate(load('run'), seed=-1)",
            "reconstruct(load('run'), 'x')",
            "anneal(3, 2)",
            "anneal(dist.Normal(0., 1.), -1)",
            "anneal(dist.Normal(0., 1.), 'a')",
            "priors.IsotropicNormal(0)",
            "priors.IsotropicNormal('2')",
            "priors.IsotropicNormal(-1)",
            "priors.AnisotropicNormal([1, -1])",
            "priors.AnisotropicNormal([])",
            "priors.GaussianMixture(torch.zeros(3), 1.)",
            "priors.VampPrior(None, None)",
            "priors.UniformSphere(0)",
            "priors.FactorisedFlow(0)",
            "priors.Hierarchical(0, 0)",
            "priors.NestedClusters(0, 0, 0)",
            "networks.MLPEncoder(0, 2)",
            "networks.MLPEncoder(2, 2, hidden=3)",
            "networks.MLPDecoder(2, 'a')",
            "networks.ConvEncoder32(0)",
            "networks.SpritesConvEncoder('4')",
            "networks.Discriminator(0)",
            "metrics.hoyer(np.zeros((5, 1)))",
            "metrics.total_correlation(np.zeros((2, 2)))",
            "metrics.density_mig(None, None)",
            "data.as_tensor('dup.csv', columns=['a'])",
            "data.image_folder('img_ok', size='a')",
            "data.pinwheel(rate=None)",
            "data.packed(3)",
            "data.FactorGrid(3, 3)",
            "sweep('good.py', {'a':[1.]}, out='o', way='x')",
            "sweep('good.py', [1], out='o')",
            "compare([])",
        ],
    ),
}


def rows(area: str, names: Iterable[str], *, often: Collection[str] = ()) -> list[Any]:
    """The names as parameters of a test, marked as slow or as failing today.

    Args:
        area: Which of the tables of ``NOT_YET``.
        names: Names of the rows.
        often: Those that are not slow.
    """
    reason, known = NOT_YET.get(area, ("", ()))
    names = list(names)
    unknown = set(known) - set(names)
    assert not unknown, f"{area}: no rows {unknown}"
    found = []
    for name in names:
        marks = [] if name in often else [pytest.mark.slow]
        if name in known:
            marks.append(pytest.mark.xfail(strict=True, reason=reason))
        found.append(pytest.param(name, marks=marks))
    return found
