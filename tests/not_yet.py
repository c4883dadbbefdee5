"""What is known to be wrong today, in one place: each a test of the right value that fails.

A row is marked ``xfail(strict=True)``, so that the test of what is mended fails until its row here
is removed.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest

WITH_KL = "beta, capacity, annealed prior, total correlation, DIP I, DIP II, entropy, factor"
WITH_KL += ", exclusive KL, inclusive KL, InfoVAE"

NOT_YET: dict[str, tuple[str, Sequence[str]]] = {  # area: why, and which rows
    "command lines": (
        "issue 11: what was not foreseen, or takes for ever",
        [
            "train base.py --out o",
            "train wrongdim.py --out o",
            "train wronglat.py --out o",
            "train f16net.py --out o",
            "train lastone.py --out o",
            "train good.py --out o --threads 100000",
            "train good.py --out o --device meta",
            "inspect wrongdim.py",
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
            "VAE(3, networks.MLPEncoder(2, 2), networks.MLPDecoder(2, 2), size=4)",
            "VAE(priors.IsotropicNormal(2), None, networks.MLPDecoder(2, 2), size=4)",
            "vae(size='4')",
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
    "coverage": (
        "issue 11: the bias is taken for another, or the votes' noise is shared",
        [
            "modularity, n = 500",
            "modularity without a code of noise, n = 500",
            "FactorVAE score of turned codes",
        ],
    ),
    "plain formulas": (
        "issue 10: a Normal with covariances has a Monte-Carlo KL",
        [
            f"{name}; {family}; {size}; True"
            for name in WITH_KL.split(", ")
            for family in ("full covariance", "low rank")
            for size in (30, 7)
        ],
    ),
    "AutoNormal": (
        "issue 10: AutoNormal in batches meets provenance",
        ["batches"],
    ),
    "AutoNormal in batches": (
        "issue 10: AutoNormal in batches meets provenance",
        ["trains with its plate", "says how without"],
    ),
    "straight through": (
        "issue 10: a density is asked for that there is not",
        ["trained on a divergence", "evaluated"],
    ),
    "closed-form KL": (
        "issue 10: a Normal with covariances has a Monte-Carlo KL",
        ["full", "low rank"],
    ),
    "moving support": (
        "issue 10: torch refuses values outside the support",
        ["exclusive", "total correlation", "inclusive"],
    ),
    "annealed mixture": (
        "issue 10: the shape is taken for another",
        ["of numbers", "of vectors"],
    ),
    "Lp-nested gradient": (
        "issue 10: the gradient of a norm of 0 is not a number",
        ["of a Normal", "of an objective"],
    ),
    "row mask": (
        "issue 10: masked rows enter q(z)",
        ["kl", "log_likelihood", "elbo", "marginal_kl", "dimensionwise_kl", "total_correlation"],
    ),
    "row mask in training": (
        "issue 10: masked rows enter q(z) and the means",
        ["kl", "divergence", "log_likelihood"],
    ),
    "annealing scale": (
        "issue 10: a scale enters the terms",
        ["0.1"],
    ),
    "log p(x) of scaled programs": (
        "issue 10: a scale enters log p(x)",
        ["0.1"],
    ),
    "missing entries": (
        "issue 10: obs_mask is taken for labels",
        ["obs_mask"],
    ),
    "label as an argument": (
        "issue 10: p(z) is one prior for all data",
        ["label"],
    ),
    "priors given something": (
        "issue 10: p(z) is one prior for all data",
        [
            "column, inclusive",
            "column, exclusive",
            "argument, inclusive",
            "argument, exclusive",
            "observed site, inclusive",
            "observed site, exclusive",
        ],
    ),
    "samples of priors given something": (
        "issue 10: pairs of one datum are counted",
        [
            "column, MMD",
            "column, energy distance",
            "argument, MMD",
            "argument, energy distance",
            "observed site, MMD",
            "observed site, energy distance",
        ],
    ),
    "parts of priors given something": (
        "issue 10: p(z) is one prior for all data",
        ["column", "argument", "observed site"],
    ),
    "time stamps": (
        "issue 10: rounded to 32 bits",
        ["right"],
    ),
    "masked array": (
        "issue 10: the mask is dropped",
        ["right"],
    ),
    "header of numbers": (
        "issue 10: a header of numbers is data",
        ["right"],
    ),
    "row numbers": (
        "issue 10: row numbers are data",
        ["right"],
    ),
    "constant columns": (
        "issue 10: the columns are not named",
        ["right"],
    ),
    "trials": (
        "issue 10: another data type, lazy weights",
        ["float64_default", "tokens", "weights, lazy"],
    ),
    "value outside the support": (
        "issue 10: only the first batch is looked at",
        ["eager", "captured", "fused", "auto"],
    ),
    "a last batch of one": (
        "issue 10: torch's own error",
        ["right"],
    ),
    "channels last": (
        "issue 10: drawn as vectors",
        ["right"],
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
