"""The objectives, as a table: one a row, and each gets every law of ``test_base.py``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyro_decomp import AggregateELBO, InclusiveKL
from pyro_decomp.elbo import TermsELBO


@dataclass(frozen=True)
class Objective:
    """How to build an objective, and what the laws need to know of it.

    Attributes:
        build: The class.
        settings: Arguments with which every term counts.
        neutral: Arguments with which it is the plain ELBO.
        others: For every argument there is, another value than that of ``settings``.
        symmetric: Terms that permuting the batch leaves as they are, random numbers held fixed.
    """

    build: Callable[..., TermsELBO]
    settings: Mapping[str, Any]
    neutral: Mapping[str, Any]
    others: Mapping[str, Any]
    symmetric: tuple[str, ...]


OBJECTIVES = {
    "AggregateELBO": Objective(
        AggregateELBO,
        settings={"beta": 0.5, "alpha": 2.0},
        neutral={"beta": 1.0, "alpha": 0.0},
        others={
            "beta": 0.7,
            "alpha": 3.0,
            "divergence": InclusiveKL(num_samples=9),
            "num_particles": 2,
            "analytic_kl": False,
        },
        symmetric=("kl", "divergence"),
    ),
}
