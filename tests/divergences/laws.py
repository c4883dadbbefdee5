"""The divergences, as a table: one a row, and each gets every law of ``test_laws.py``.

Masks and scales over the data plate are tried with each row in ``tests/programs/test_rows.py``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pyro_decomp.divergences import (
    MMD,
    RBF,
    AdversarialDivergence,
    CovariancePenalty,
    DimensionwiseMMD,
    Divergence,
    EnergyDistance,
    ExclusiveKL,
    InclusiveKL,
    SlicedWasserstein,
    WeightedSum,
)

K = 2  # the length of a code
SHIFT = 2.0  # how far the codes that are far from the prior lie from it, in every dimension


@dataclass(frozen=True)
class Row:
    """How to build a divergence, and what the laws need to know of it.

    Attributes:
        family: The class.
        settings: Its arguments.
        others: For every argument there is, another value than that of ``settings``.
        at_equality: The sign of its mean where codes of fresh data are draws of the prior: 0 where
            it is unbiased.
        power: The power of z's unit that it grows with; 0 for nats and for no unit at all; None
            where it holds a scale of its own, such as a kernel's.
        trains: What its gradients reach, of the encodings' loc and scale and of the prior's loc.
        has_exact_gradient: Whether its gradient is the slope of its value.
        counts_rows: Whether the number of rows enters apart from their weights, as in 1/B.
        refused: The cases that it cannot serve, and what it says of each.
        only_trained: Arguments of its network's training, that leave its value be.
    """

    family: Callable[..., Divergence]
    settings: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)
    at_equality: int = 0
    power: int | None = 0
    trains: frozenset[str] = frozenset({"loc", "scale", "prior"})
    has_exact_gradient: bool = True
    counts_rows: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)
    only_trained: frozenset[str] = frozenset()

    def __call__(self, **settings: Any) -> Divergence:
        """With ``settings``, but for these."""
        return self.family(**{**self.settings, **settings})


def perfect() -> nn.Module:
    """The discriminator that is perfect where q(z) is N(SHIFT, I) and the prior N(0, I)."""
    logit = nn.Linear(K, 1).double()
    nn.init.constant_(logit.weight, SHIFT)
    nn.init.constant_(logit.bias, -K * SHIFT**2 / 2)
    return logit


def blunt() -> nn.Module:
    """Another, which is half as sure."""
    logit = perfect()
    with torch.no_grad():
        for parameter in logit.parameters():
            parameter.mul_(0.5)
    return logit


ALONE = {"one datum": "expected at least 2 data in a batch, got 1"}
NOT_DRAWN = {
    "a learned prior without rsample": "'z' is learned but cannot be drawn with gradients, so .* "
    "cannot train it: .* ExclusiveKL",
}
# What q(z) is asked for the density of.
NO_DENSITY = {"a Delta guide": r"'z' is a Delta, of which q\(z\) has no density: .* MMD"}
NO_WEIGHTS = {"data that are weighted": "gives data weights .*, which .* does not take: use Incl"}
OF_SAMPLES = ALONE | NOT_DRAWN
LEARNED = "'z' is learned .*, to which AdversarialDivergence.* passes no gradients: use kind='js'"
NO_GRADIENTS = {"a learned prior": LEARNED, "a learned prior without rsample": LEARNED}
ADVERSARIAL: dict[str, Any] = {
    "family": AdversarialDivergence,
    "others": {"discriminator": blunt(), "optimizer": torch.optim.SGD},
    "at_equality": -1,  # it is sure of what is not so
    "power": None,
    "only_trained": frozenset({"optimizer"}),
}
COVARIANCE: dict[str, Any] = {
    "family": CovariancePenalty,
    "at_equality": 1,
    "power": None,
    "refused": ALONE | {"sites that depend on one another": "'a', 'b' depend on one another"},
}

DIVERGENCES = {
    "InclusiveKL": Row(
        InclusiveKL, others={"num_samples": 7}, at_equality=1, refused=NOT_DRAWN | NO_DENSITY
    ),
    "ExclusiveKL": Row(
        ExclusiveKL, others={"estimator": "stratified"}, at_equality=-1, refused=NO_DENSITY
    ),
    "ExclusiveKL, weighted": Row(
        ExclusiveKL,
        {"estimator": "weighted"},
        others={"estimator": "stratified"},
        at_equality=-1,
        counts_rows=True,
        refused=NO_DENSITY,
    ),
    "ExclusiveKL, batch": Row(
        ExclusiveKL,
        {"estimator": "batch"},
        others={"estimator": "stratified"},
        at_equality=1,
        refused=NO_DENSITY,
    ),
    "MMD": Row(MMD, others={"kernel": RBF(0.7), "num_samples": 30}, power=None, refused=OF_SAMPLES),
    "MMD of a median": Row(
        MMD,
        {"kernel": RBF()},
        others={"kernel": RBF(0.7), "num_samples": 30},
        has_exact_gradient=False,  # none is taken through the median
        counts_rows=True,  # in the median
        refused=OF_SAMPLES,
    ),
    "dimension-wise MMD": Row(
        DimensionwiseMMD,
        others={"kernel": RBF(0.7), "num_samples": 30},
        power=None,
        refused=OF_SAMPLES,
    ),
    "energy": Row(EnergyDistance, others={"num_samples": 30}, power=1, refused=OF_SAMPLES),
    "sliced": Row(
        SlicedWasserstein,
        {"num_projections": 5},
        others={"num_projections": 20, "p": 1, "num_samples": 30},
        at_equality=1,
        power=2,
        refused=OF_SAMPLES | NO_WEIGHTS,
    ),
    "covariance II": Row(
        settings={"kind": "II"},
        others={"kind": "I", "lambda_od": 3.0, "lambda_d": 0.5},
        trains=frozenset({"loc", "scale"}),
        **COVARIANCE,
    ),
    "covariance I": Row(
        settings={"kind": "I"},
        others={"kind": "II", "lambda_od": 3.0, "lambda_d": 0.5},
        trains=frozenset({"loc"}),
        **COVARIANCE,
    ),
    "adversarial js": Row(
        settings={"discriminator": perfect(), "kind": "js"},
        refused=NOT_DRAWN | NO_WEIGHTS,
        **ADVERSARIAL | {"others": ADVERSARIAL["others"] | {"kind": "kl"}},
    ),
    "adversarial kl": Row(
        settings={"discriminator": perfect(), "kind": "kl"},
        trains=frozenset({"loc", "scale"}),
        refused=NO_GRADIENTS | NO_WEIGHTS,
        **ADVERSARIAL | {"others": ADVERSARIAL["others"] | {"kind": "js"}},
    ),
    "adversarial non-saturating": Row(
        settings={"discriminator": perfect(), "kind": "non-saturating"},
        trains=frozenset({"loc", "scale"}),
        refused=NO_GRADIENTS | NO_WEIGHTS,
        **ADVERSARIAL | {"others": ADVERSARIAL["others"] | {"kind": "js"}},
    ),
    "sum": Row(
        WeightedSum,
        {"parts": [(1.0, ExclusiveKL("batch")), (0.2, MMD())]},
        others={"parts": [(1.0, ExclusiveKL("batch")), (2.0, MMD())]},
        at_equality=1,
        power=None,
        refused=OF_SAMPLES | NO_DENSITY,
    ),
}
