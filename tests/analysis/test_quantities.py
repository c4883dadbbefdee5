import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp.analysis.quantities import (
    by_itself,
    hold_numbers,
    keep_finite,
    mean,
)
from pyro_decomp.analysis.scores import hold_scores
from pyro_decomp.errors import ModelError
from pyro_decomp.training.interruption import Interrupted
from tests.statistics import STANDARD_ERRORS


def test_want_of_memory_is_a_reason_too() -> None:
    left_out: dict[str, str] = {}
    with by_itself(left_out, "kl"):
        raise MemoryError
    assert left_out["kl"].startswith("not enough memory")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelError("site 'z':\n no density"), "site 'z': no density"),
        (ValueError("no\nway"), "ValueError: no way"),
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


SET: dict[str, Any] = {"size": 100, "log_size": math.log(100), "num_dims": 2}
GOOD = {
    "elbo": -2.0,
    "elbo_standard_error": 0.1,
    "kl": 1.0,
    "kl_standard_error": 0.1,
    "mutual_information": 2.0,
    "mutual_information_standard_error": 0.01,
    "effective_sharing": 100 * math.exp(-2.0),
    "marginal_kl": -0.001,
    "marginal_kl_standard_error": 0.01,
    "importance_weighted_log_px": -1.9,
    "importance_weighted_log_px_standard_error": 0.1,
}


def held(changes: dict[str, float], **options: Any) -> tuple[dict[str, float], dict[str, str]]:
    numbers, left_out = GOOD | changes, {}
    hold_numbers(numbers, left_out, **SET | options)
    return numbers, left_out


def test_what_can_be_stays() -> None:
    assert held({}) == (GOOD, {})


@pytest.mark.parametrize(
    ("changes", "gone", "reason"),
    [
        ({"mutual_information": 4.8}, {"mutual_information", "effective_sharing"}, "above log N"),
        ({"mutual_information": -0.2}, {"mutual_information", "effective_sharing"}, "below 0"),
        ({"marginal_kl": -0.1}, {"marginal_kl"}, "it is -0.1 nats, below 0"),
        ({"total_correlation": -0.1}, {"total_correlation"}, "below 0"),
        ({"divergence": -0.1}, {"divergence"}, "below 0"),
        ({"dimensionwise_kl": -0.1}, {"dimensionwise_kl"}, "below 0"),
        ({"kl": -0.7}, {"kl"}, "below 0"),
        ({"effective_sharing": 0.9}, {"effective_sharing"}, "not between 1 and 100"),
        ({"effective_sharing": 110.0}, {"effective_sharing"}, "not between 1 and 100"),
        (
            {"importance_weighted_log_px": -3.0},
            {"importance_weighted_log_px"},
            "it is 1 nats below the ELBO",
        ),
    ],
    ids=lambda value: ", ".join(sorted(value)) if isinstance(value, set) else None,
)
def test_what_cannot_be_is_left_out(changes: dict[str, float], gone: set[str], reason: str) -> None:
    numbers, left_out = held(changes)
    assert left_out.keys() == gone
    assert all(each.endswith("which cannot be: please report") for each in left_out.values())
    assert reason in left_out[next(iter(changes))]
    assert {*GOOD, *changes} - numbers.keys() == gone | {
        name for name in GOOD if name.removesuffix("_standard_error") in gone
    }


def test_rounding_is_put_back_on_the_bound() -> None:
    numbers, left_out = held(
        {"mutual_information": math.log(100) + 1e-6, "effective_sharing": 1 - 1e-6}
    )
    assert not left_out
    assert numbers["mutual_information"] == math.log(100)
    assert numbers["effective_sharing"] == 1.0


def test_a_kl_of_programs_with_sites_left_out_has_no_bound() -> None:
    _, left_out = held({"kl": -5.0, "importance_weighted_log_px": -9.0}, has_plain_kl=False)
    assert not left_out


def score(value: float | None, interval: Any = None) -> dict[str, Any]:
    return {"value": value, "interval": interval}


def test_scores_are_between_their_bounds_and_finite() -> None:
    scores = {
        "mig": score(1.2),
        "irs": score(-0.1),
        "ari": score(-0.1),
        "silhouette": score(-1.1),
        "sap": score(None),
        "dci_lasso": score(1.0, [0.9, None]),
        "active_units": score(7.0),
    }
    left_out: dict[str, str] = {}
    hold_scores(scores, left_out)
    assert scores == {
        "ari": score(-0.1),
        "dci_lasso": score(1.0),
        "active_units": score(7.0),
    }
    assert left_out == {
        "mig": "it is 1.2, not between 0 and 1, which cannot be: please report",
        "irs": "it is -0.1, not between 0 and 1, which cannot be: please report",
        "silhouette": "it is -1.1, not between -1 and 1, which cannot be: please report",
        "sap": "it is not a finite number for these codes",
    }
