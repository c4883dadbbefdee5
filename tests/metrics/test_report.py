"""The report: what given arrays allow."""

import json

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import (
    active_units,
    divergence_from_prior,
    effective_sharing,
    irs,
    mig,
    report,
)
from pyro_decomp.metrics.report import METRICS, SLOW

RNG = np.random.default_rng(0)
V = RNG.integers(0, 3, size=(60, 2))
Z = V + 0.1 * RNG.normal(size=V.shape)
OF_CLASSES = {"linear_accuracy", "knn_accuracy", "nmi", "ari", "silhouette"}
ENCODINGS = (Z, np.full_like(Z, 0.1))
CODES_ONLY = {
    "gaussian_total_correlation",
    "wasserstein_dependence",
    "hoyer_sparsity",
    "active_units",
}


def test_codes_alone() -> None:
    assert report(Z, num_resamples=0).keys() == CODES_ONLY


def test_codes_prior_and_encodings() -> None:
    scores = report(Z, encodings=ENCODINGS, prior=Normal(0.0, 1.0), num_resamples=0)
    more = {"index_code_information", "effective_sharing", "divergence_from_prior"}
    assert scores.keys() == CODES_ONLY | more
    alone = effective_sharing(ENCODINGS, num_resamples=0)
    assert scores["effective_sharing"].to_json() == alone.to_json()


@pytest.mark.full
def test_the_divergence_takes_sampled_codes() -> None:
    wide = (Z, np.full_like(Z, 3.0))
    only = ["divergence_from_prior"]
    prior = Normal(0.0, 1.0)
    mean, sampled = (
        report(Z, encodings=encodings, prior=prior, only=only, num_resamples=0)[
            "divergence_from_prior"
        ]
        for encodings in (None, wide)
    )
    assert mean.to_json() == divergence_from_prior(Z, prior, num_resamples=0).to_json()
    assert sampled.value > mean.value + 0.1


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*is left out")
def test_all_of_them() -> None:
    pytest.importorskip("sklearn")
    scores = report(
        Z, V, encodings=ENCODINGS, prior=Normal(0.0, 1.0), untrained=Z @ [[1, 1], [1, -1]],
        num_resamples=0,
    )  # fmt: skip
    assert scores.keys() == METRICS.keys() - SLOW - OF_CLASSES
    assert list(scores) == [name for name in METRICS if name in scores]
    assert json.loads(json.dumps({name: score.to_json() for name, score in scores.items()}))
    for name, score in scores.items():
        assert score.name == name
        assert score.variant["seed"] == 0
        assert ("untrained" in score.details) == ("codes" in METRICS[name][1])


def test_class_labels() -> None:
    pytest.importorskip("sklearn")
    comparing = {"factor_vae_score", "beta_vae_score", "dci_lasso", "modularity", "irs"}
    with pytest.warns(UserWarning, match="are left out: factors: expected at least 2") as told:
        scores = report(Z, V[:, :1], untrained=Z[:, ::-1] ** 2, num_resamples=0)
    assert [set(str(one.message).partition(" are ")[0].split(", ")) for one in told] == [comparing]
    of_factors = {n for n, (_, needs) in METRICS.items() if needs == ("codes", "factors")}
    assert scores.keys() == (of_factors - SLOW - comparing) | OF_CLASSES | CODES_ONLY
    for name in OF_CLASSES:
        assert scores[name].value > scores[name].details["untrained"]
    with pytest.raises(DataError, match=r"^labels: expected one column of class labels, got 2"):
        report(Z, V, only=["nmi"])


def test_the_untrained_encoder_beside() -> None:
    other = RNG.normal(size=Z.shape)
    scores = report(Z, V, untrained=other, only=["mig", "irs"], num_resamples=0)
    for metric in (mig, irs):
        score = scores[metric.__name__]
        assert score.details["untrained"] == metric(other, V, num_resamples=0).value
        assert score.value == metric(Z, V, num_resamples=0).value
    constant = report(Z, untrained=np.ones_like(Z), num_resamples=0)
    assert constant["hoyer_sparsity"].details["untrained"] is None
    assert constant["active_units"].details["untrained"] == 0


@pytest.mark.full
def test_the_untrained_encodings_beside() -> None:
    loc, scale = (np.asarray(each) for each in ENCODINGS)
    wider = loc, 3 * scale
    names = ["density_mig", "index_code_information", "divergence_from_prior"]
    arguments = {"prior": Normal(0.0, 1.0), "num_resamples": 0, "only": names}
    both = report(Z, V, encodings=ENCODINGS, untrained=Z, untrained_encodings=wider, **arguments)
    alone = report(Z, V, encodings=wider, **arguments)
    for name in names:
        assert both[name].details["untrained"] == alone[name].value


def test_resamples_and_seed_reach_the_metrics() -> None:
    (score,) = report(Z, V, only=["irs"], num_resamples=7, seed=3).values()
    assert score.to_json() == irs(Z, V, num_resamples=7, seed=3).to_json()


def test_tensors_will_do() -> None:
    scores = report(torch.tensor(Z), torch.tensor(V), only=["active_units", "irs"])
    assert scores["active_units"].to_json() == active_units(Z).to_json()


def test_what_cannot_be_scored_is_left_out_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="^hoyer_sparsity is left out: codes: expected at least 2"):
        scores = report(Z[:, :1], num_resamples=0)
    assert scores.keys() == CODES_ONLY - {"hoyer_sparsity"}


@pytest.mark.full
def test_a_corrected_value_within_an_interval_or_why_there_is_none() -> None:
    quick = {"num_resamples": 4, "encodings": (Z, np.full_like(Z, 0.5)), "prior": Z[::2]}
    scores = report(Z, V, **quick)
    for score in scores.values():
        if score.interval is None:
            assert score.corrected is None
            assert score.no_interval
        else:
            assert score.interval[0] <= score.corrected <= score.interval[1]
            assert score.no_interval is None
    few = ["mig", "mean_maximal_mutual_information", "modularity", "irs"]  # rows for three values
    without = {name for name, score in scores.items() if score.interval is None}
    assert without == {"sap", *few}
    assert all(score.no_interval for score in report(Z, V, num_resamples=0).values())


def test_too_few_rows_for_intervals() -> None:
    scores = report(Z[:3], V[:3], only=["mig", "irs", "hoyer_sparsity", "active_units"])
    assert [score.interval for score in scores.values()] == [None] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ["mug"]}, "only: expected names among density_mig, mig, .* got 'mug'"),
        ({"only": []}, "only: expected names among density_mig, mig, .* got none"),
        ({"only": ["mig"]}, "mig: expected factors, got none"),
        ({"only": ["density_mig"]}, "density_mig: expected encodings and factors, got none"),
        ({"only": ["divergence_from_prior"]}, "divergence_from_prior: expected prior, got none"),
        ({"factors": Z}, r"factors: expected whole numbers, got 1\.95\d+ in row 0, column 0"),
        ({"encodings": (Z, -Z)}, r"scale: expected positive numbers, got -\d"),
        ({"prior": Z[:, :1]}, r"prior: expected \[m, 2\] with m at least 4, got \[60, 1\]"),
        ({"untrained": Z[:5]}, "untrained: expected 60 rows, one a code, got 5"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        report(Z, **arguments)


def test_a_metric_that_fails_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arrays: object, **options: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    codes = np.random.default_rng(0).normal(size=(50, 3))
    whole = set(report(codes, num_resamples=0))
    _, needs = METRICS["hoyer_sparsity"]
    monkeypatch.setitem(METRICS, "hoyer_sparsity", (fails, needs))
    with pytest.warns(UserWarning, match=r"^hoyer_sparsity is left out: LinAlgError: SVD did not"):
        assert set(report(codes, num_resamples=0)) == whole - {"hoyer_sparsity"}
    with pytest.raises(np.linalg.LinAlgError):
        report(codes, num_resamples=0, only=["hoyer_sparsity"])
