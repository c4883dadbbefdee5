"""How often the 95 % intervals of metrics hold the population's value, by simulation.

    python benchmarks/coverage.py --write docs/coverage_table.md [--only mig,irs] [--repeats 20]

Data sets are drawn from three populations of codes, and an interval of each is held against the
value of the same statistic on a sample of at least 50 times as many rows. Settings are smaller than
the metrics' defaults (:data:`CASES`), as the time is that of many thousand scores. A row is written
as soon as it is known; rows that the file has already are not computed again, so that the command
can be stopped and started, and a row be computed anew by deleting it.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch.distributions import Normal

from pyro_decomp import metrics
from pyro_decomp.metrics import Score

Codes = NDArray[np.float64]
Factors = NDArray[np.int64]

SIZES = np.array([4, 5, 3])  # values of each factor
NUM_ROWS = (500, 2000)
MANY = 100_000
LEAST, MOST = 0.90, 0.98
ROUNDING = 1e-9
SAMPLES = 500  # codes drawn of encodings
HEADER = (
    "---\norphan: true\n---\n\n<!-- by benchmarks/coverage.py -->\n\n"
    "| metric | codes | rows | population's value | mean value | mean corrected value | covered | "
    "repeats | 95 % of the coverage | |\n|---|---|---|---|---|---|---|---|---|---|\n"
)


def clean(generator: np.random.Generator, factors: Factors) -> Codes:
    """A code a factor, with little noise."""
    return factors + 0.1 * generator.uniform(-1, 1, factors.shape)


def noisy(generator: np.random.Generator, factors: Factors) -> Codes:
    """Codes of several factors, a weak one, and one that knows nothing."""
    first, second, third = factors.T
    noise = generator.uniform(-1, 1, [5, len(factors)])
    codes = [
        first + 0.8 * noise[0],
        second + 0.6 * third + 0.5 * noise[1],
        third + 0.3 * first + 0.7 * noise[2],
        noise[3],
        0.7 * second + 1.5 * noise[4],
    ]
    return np.stack(codes, 1)


def rotated(generator: np.random.Generator, factors: Factors) -> Codes:
    """A code a factor, the first two turned into each other by 0.6."""
    codes = (factors - (SIZES - 1) / 2) / np.sqrt((SIZES**2 - 1) / 12)
    codes += 0.5 * generator.uniform(-1, 1, factors.shape)
    cos, sin = np.cos(0.6), np.sin(0.6)
    codes[:, :2] = codes[:, :2] @ np.array([[cos, sin], [-sin, cos]])
    return codes


POPULATIONS = {"clean": clean, "noisy": noisy, "rotated": rotated}


def drawn(name: str, size: int, seed: int) -> tuple[Codes, Factors]:
    """So many rows of a population."""
    generator = np.random.default_rng(seed)
    factors = generator.integers(SIZES, size=[size, len(SIZES)])
    return POPULATIONS[name](generator, factors), factors


def of_codes(metric: Callable[..., Score]) -> Callable[..., Score]:
    """A metric that takes no factors, as one that is given some."""
    return lambda codes, factors, **settings: metric(codes, **settings)


def of_encodings(metric: Callable[..., Score]) -> Callable[..., Score]:
    """A metric of encodings, around codes of which there is one set of data for all repeats."""
    return lambda codes, factors, **settings: (
        metric((codes, np.full(codes.shape, 0.3)), factors, **settings)
        if metric is metrics.density_mig
        else metric((codes, np.full(codes.shape, 0.3)), **settings)
    )


def of_classes(metric: Callable[..., Score]) -> Callable[..., Score]:
    """A metric of class labels, which are the first factor."""
    return lambda codes, factors, **settings: metric(codes, factors[:, 0], **settings)


def of_clusters(metric: Callable[..., Score]) -> Callable[..., Score]:
    """One that compares them with clusters, which are the first code to the next whole number."""
    return lambda codes, factors, **settings: metric(
        codes, factors[:, 0], clusters=np.rint(codes[:, 0]), **settings
    )


def from_prior(codes: Codes, factors: Factors, **settings: Any) -> Score:
    """The distance from a standard Normal, by all rows."""
    return metrics.divergence_from_prior(
        codes, Normal(0.0, 1.0), num_samples=len(codes), num_null=1, **settings
    )


def udr(codes: Codes, factors: Factors, *, seed: int = 0, **settings: Any) -> Score:
    """Of the first of three runs: a second has its codes with noise, a third has them turned."""
    noise = np.random.default_rng(seed + 10_000).uniform(-1, 1, codes.shape)
    turn = np.linalg.qr(np.eye(codes.shape[1]) + 0.3)[0]
    runs = [codes, codes[:, ::-1] + 0.3 * noise, codes @ turn]
    return metrics.udr(runs, seed=seed, **settings)[0]


@dataclass(frozen=True)
class Case:
    """How one metric is simulated.

    Attributes:
        score: The metric, of codes and factors.
        settings: Its settings.
        repeats: How many data sets.
        exact: Settings of the population's value.
        truths: How many such values are averaged, of samples of ``many`` rows.
        many: Rows of the population's value.
        is_of_data: Whether the interval is for the draws of one set of encodings.
        corrected: Whether the population's value is the corrected one of many rows.
        bounds: Least and largest value there can be.
    """

    score: Callable[..., Score]
    settings: Mapping[str, Any] = field(default_factory=lambda: {"num_resamples": 20})
    repeats: int = 400
    exact: Mapping[str, Any] = field(default_factory=dict)
    truths: int = 1
    many: int = MANY
    is_of_data: bool = False
    corrected: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)

    def data(self, codes: str, size: int, seed: int) -> tuple[Codes, Factors]:
        """The data of one repeat."""
        return drawn(codes, size, 999 if self.is_of_data else seed)


FEW = {"num_resamples": 10}
MEANS = {"is_of_data": True, "exact": {"num_samples": 60 * SAMPLES}}
SAMPLED = {"num_samples": SAMPLES, "num_resamples": 20}
UNBOUNDED = (0.0, np.inf)
CASES = {
    "density_mig": Case(of_encodings(metrics.density_mig), SAMPLED, **MEANS),
    "mig": Case(metrics.mig),
    "mean_maximal_mutual_information": Case(metrics.mean_maximal_mutual_information),
    "factor_vae_score": Case(
        metrics.factor_vae_score,
        {"num_votes": 1000, "num_held_out": 1000, "votes_of": 8, **FEW},
        100,
        {"num_votes": 100_000, "num_held_out": 100_000},
    ),
    "beta_vae_score": Case(
        metrics.beta_vae_score,
        {"num_points": 1000, "num_held_out": 1000, "pairs_of": 8, **FEW},
        100,
        {"num_held_out": 20_000},
        truths=20,
    ),
    "sap": Case(metrics.sap, {"continuous": (0, 1, 2), "num_resamples": 20}),
    "dci_lasso": Case(metrics.dci_lasso),
    "modularity": Case(metrics.modularity, corrected=True),
    "explicitness": Case(metrics.explicitness, repeats=100),
    "irs": Case(metrics.irs, FEW),
    "nmi": Case(of_clusters(metrics.nmi)),
    "ari": Case(of_clusters(metrics.ari), bounds=(-1.0, 1.0)),
    "silhouette": Case(
        of_classes(metrics.silhouette), FEW, 100, truths=50, many=2000, bounds=(-1.0, 1.0)
    ),
    "index_code_information": Case(
        of_encodings(metrics.index_code_information), SAMPLED, **MEANS, bounds=UNBOUNDED
    ),
    "effective_sharing": Case(
        of_encodings(metrics.effective_sharing), SAMPLED, **MEANS, bounds=(1.0, np.inf)
    ),
    "divergence_from_prior": Case(from_prior, FEW, truths=300, many=500, bounds=UNBOUNDED),
    "gaussian_total_correlation": Case(
        of_codes(metrics.gaussian_total_correlation), bounds=UNBOUNDED
    ),
    "wasserstein_dependence": Case(of_codes(metrics.wasserstein_dependence), bounds=UNBOUNDED),
    "hoyer_sparsity": Case(of_codes(metrics.hoyer_sparsity)),
    "active_units": Case(of_codes(metrics.active_units)),
    "udr": Case(udr, FEW),
}


@cache
def truth(name: str, codes: str, size: int) -> float:
    """The population's value, from so many rows."""
    case = CASES[name]
    settings = {**case.settings, **case.exact}
    if not case.corrected:
        settings["num_resamples"] = 0
    found = [
        case.score(*drawn(codes, size, 999 + part), **settings, seed=100_000 + part)
        for part in range(case.truths)
    ]
    return float(np.mean([one.corrected if case.corrected else one.value for one in found]))


def row(name: str, codes: str, size: int, repeats: int | None) -> str:
    """Simulate one metric on one population and size."""
    case = CASES[name]
    target = truth(name, codes, size if case.is_of_data else case.many)
    found = [
        case.score(*case.data(codes, size, seed), **case.settings, seed=seed)
        for seed in range(repeats or case.repeats)
    ]
    found = [one for one in found if one.interval is not None]  # repeats are those with one
    ends = np.array([one.interval for one in found])
    hits = int(np.sum((ends[:, 0] <= target + ROUNDING) & (target - ROUNDING <= ends[:, 1])))
    coverage = binomtest(hits, len(found)).proportion_ci(0.95)
    value, corrected = (np.mean([getattr(one, k) for one in found]) for k in ("value", "corrected"))
    cells = [
        f"`{name}`",
        codes,
        f"{size:,}",
        *(f"{number:.4f}" for number in (target, value, corrected)),
        f"{hits / len(found):.3f}",
        len(found),
        f"{coverage.low:.3f} to {coverage.high:.3f}",
        remark(coverage, ends, case.bounds),
    ]
    return "| " + " | ".join(map(str, cells)) + " |\n"


def remark(coverage: Any, ends: Codes, bounds: tuple[float, float]) -> str:
    """What is to be said of the ends of a coverage's interval."""
    if coverage.high < LEAST:
        return "**too low**"
    if np.mean(ends[:, 0] == ends[:, 1]) > 0.5:
        return "no noise"
    if np.mean((ends == np.array(bounds)).any(1)) > 0.5:
        return "at a bound"
    return "**too wide**" if coverage.low > MOST else ""


def main(arguments: list[str] | None = None) -> None:
    """Write the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, required=True)
    parser.add_argument("--only", type=lambda names: names.split(","), default=list(CASES))
    parser.add_argument("--rows", type=int, nargs="+", default=NUM_ROWS)
    parser.add_argument("--repeats", type=int, help="other than those of CASES")
    options = parser.parse_args(arguments)
    file: Path = options.write
    known = file.read_text() if file.exists() else HEADER
    file.write_text(known)
    for name in options.only:
        for codes in POPULATIONS:
            for size in options.rows:
                if f"| `{name}` | {codes} | {size:,} |" not in known:
                    with file.open("a") as table:
                        table.write(row(name, codes, size, options.repeats))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main()
