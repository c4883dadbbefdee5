import math
from pathlib import Path

import pytest
import torch

from pyro_decomp.analysis.quantities import by_itself, keep_finite, mean
from pyro_decomp.errors import ModelError
from pyro_decomp.training.interruption import Interrupted
from tests.statistics import STANDARD_ERRORS


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelError("site 'z':\n no density"), "site 'z': no density"),
        (ValueError("no\nway"), "ValueError: no way"),
        (MemoryError(), "MemoryError"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_fails_is_left_out_and_the_rest_goes_on(error: Exception, reason: str) -> None:
    left_out = {"other": "as it was"}
    with by_itself(left_out, "kl", "elbo"):
        raise error
    assert left_out == {"other": "as it was", "kl": reason, "elbo": reason}


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(), Interrupted(3, Path("run")), UserWarning("as an error")],
    ids=lambda value: type(value).__name__,
)
def test_the_users_wish_is_no_reason(error: BaseException) -> None:
    left_out: dict[str, str] = {}
    with pytest.raises(type(error)), by_itself(left_out, "kl"):
        raise error
    assert not left_out


def test_a_mean_of_one_value_has_no_error() -> None:
    assert mean("kl", torch.tensor([2.0])) == {"kl": 2.0}
    assert mean("kl", torch.tensor([2.0, 9.0]), torch.tensor([1.0, 0.0])) == {"kl": 2.0}


def test_equal_weights_change_nothing() -> None:
    values = torch.randn(30, dtype=torch.double)
    plain, weighted = mean("kl", values), mean("kl", values, torch.full_like(values, 2.5))
    assert weighted == pytest.approx(plain, rel=1e-12)


def test_the_error_is_the_spread_of_the_mean() -> None:
    """Over 4,000 repeats: the standard deviation of a variance's root is 1 / sqrt(8,000) of it."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, 50, generator=generator, dtype=torch.double)
    weights = torch.rand(50, generator=generator, dtype=torch.double) + 0.5
    found = [mean("kl", each, weights) for each in values]
    spread = torch.tensor([each["kl"] for each in found], dtype=torch.double).std().item()
    error = sum(each["kl_standard_error"] ** 2 for each in found) / len(found)
    assert abs(spread / math.sqrt(error) - 1) < STANDARD_ERRORS / math.sqrt(2 * len(found)) + 0.01


def test_what_is_not_finite_is_no_number() -> None:
    numbers = {"a": math.nan, "a_standard_error": 0.1, "b": 1.0, "b_standard_error": math.inf}
    left_out: dict[str, str] = {}
    keep_finite(numbers, left_out)
    assert numbers == {"b": 1.0}
    assert left_out == {"a": "it is nan, which is no number to report"}
