"""What may be the weight of a term, for the objectives that leave the check to one function."""

import math
from collections.abc import Callable

import pytest
import torch

from pyro_decomp import DIPELBO, AggregateELBO, GroupedTotalCorrelationELBO, TotalCorrelationELBO
from pyro_decomp.elbo import TermsELBO


def dip(**weights: float) -> DIPELBO:
    return DIPELBO("I", **{"lambda_od": 1.0, "lambda_d": 1.0} | weights)


WEIGHTS = [
    (AggregateELBO, "alpha"),
    (AggregateELBO, "beta"),
    (TotalCorrelationELBO, "alpha"),
    (TotalCorrelationELBO, "beta"),
    (TotalCorrelationELBO, "gamma"),
    (GroupedTotalCorrelationELBO, "between"),
    (GroupedTotalCorrelationELBO, "within"),
    (dip, "lambda_od"),
    (dip, "lambda_d"),
]


@pytest.mark.parametrize(("build", "name"), WEIGHTS)
def test_weights_are_finite_numbers_of_at_least_zero(
    build: Callable[..., TermsELBO], name: str
) -> None:
    for weight in (math.nan, math.inf, -1.0, torch.tensor(-1.0)):
        with pytest.raises(ValueError, match=f"{name}: expected a finite number of at least 0"):
            build(**{name: weight})
    for weight in ("a", True, torch.ones(2)):
        with pytest.raises(TypeError, match=f"{name}: expected a"):
            build(**{name: weight})
    for weight in (0, 2.0, torch.tensor(0.5)):
        assert getattr(build(**{name: weight}), name) is weight
