import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, evaluate
from pyro_decomp.analysis import encoding
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.representations import Representations
from pyro_decomp.analysis.scores import scores
from pyro_decomp.metrics import density_mig, gaussian_total_correlation, mig, normal_scores
from pyro_decomp.training.run import Run, finish, untrained
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare
from tests.training.test_run import trained_from_file

N = 120
FACTORS = torch.stack([torch.arange(N) % 4, torch.arange(N) // 4 % 3], 1)
X = FACTORS.double() - 1.0
NORMAL = dist.Normal(torch.zeros(2, dtype=torch.double), 1.0).to_event(1)
STUDENT = dist.StudentT(torch.tensor([3.0, 5.0], dtype=torch.double)).to_event(1)
QUICK = {"mig", "gaussian_total_correlation"}


def normal(loc: Tensor) -> Any:
    return dist.Normal(loc, 0.3).to_event(1)


def laplace(loc: Tensor) -> Any:
    return dist.Laplace(loc, 0.3).to_event(1)


def build(
    folder: Path,
    pz: Any = NORMAL,
    qz_x: Callable[[Tensor], Any] = normal,
    *,
    with_class: bool = False,
    sees_class: bool = False,
    has_weights: bool = False,
) -> Run:
    """z|x has the mean x; beside it, if asked for, a class that is the first factor."""
    layer = nn.Linear(1, 1, dtype=torch.double)
    chances = torch.full((4,), 0.25, dtype=torch.double)

    def weighted(x: Tensor) -> Any:
        return poutine.scale(scale=2 + x[:, 0]) if has_weights else nullcontext()

    def model(x: Tensor, label: Tensor | None = None) -> None:
        with pyro.plate("data", N, subsample=x), weighted(x):
            prior = pz
            if with_class:
                pyro.sample("c", dist.Categorical(chances))
            if label is not None:
                y = pyro.sample("label", dist.Categorical(chances), obs=label)
                prior = normal(y.double()[:, None].expand(-1, 2))
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor, label: Tensor | None = None) -> None:
        with pyro.plate("data", N, subsample=x), weighted(x):
            if with_class:
                logits = 20 * nn.functional.one_hot((x[:, 0] + 1).long(), 4).double()
                pyro.sample("c", dist.Categorical(logits=logits))
            pyro.sample("z", qz_x(x + 0 * layer(x[:, :1])))

    data: Any = (X, FACTORS[:, 0]) if sees_class else X
    trial = Experiment(model, guide, data=data, elbo=AggregateELBO(alpha=0.0), factors=FACTORS)
    return finish(RunFolder(folder), trial, prepare(trial), {}, 0)


def test_scores_are_those_of_the_codes(tmp_path: Path) -> None:
    run = build(tmp_path)
    found, left_out = scores(EncodedData.of(run), FACTORS, only=QUICK)
    assert not left_out
    rows = Representations(EncodedData.of(run)).rows
    assert sorted(rows.tolist()) == list(range(N))
    expected = mig(X[rows], FACTORS[rows]).to_json()
    assert found["mig"] == expected | {"variant": expected["variant"] | {"codes": "mean"}}
    total_correlation = gaussian_total_correlation(X).value
    assert found["gaussian_total_correlation"]["value"] == pytest.approx(total_correlation)


def test_of_many_data_some_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BATCH_ELEMENTS", 14)
    run = build(tmp_path)
    encoder = Representations(EncodedData.of(run), max_rows=50)
    assert torch.equal(encoder.codes, X[encoder.rows])
    assert len(encoder.rows.unique()) == 50
    assert encoder.rows.max() - encoder.rows.min() > 80


@pytest.mark.full(but=["laplace"])
@pytest.mark.parametrize("qz_x", [normal, laplace])
def test_densities_are_of_all_data_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qz_x: Callable[[Tensor], Any]
) -> None:
    monkeypatch.setattr(encoding, "BATCH_ELEMENTS", 14)
    found, _ = scores(EncodedData.of(build(tmp_path, qz_x=qz_x)), FACTORS, only={"density_mig"})
    loc, scale = X, torch.full_like(X, 0.3)
    encodings = (loc, scale) if qz_x is normal else dist.Laplace(loc, scale)
    assert found["density_mig"] == density_mig(encodings, FACTORS).to_json()


@pytest.mark.full
def test_weights_of_data_are_those_of_the_densities_and_no_other_metric_takes_any(
    tmp_path: Path,
) -> None:
    run = build(tmp_path, has_weights=True)
    found, left_out = scores(
        EncodedData.of(run), FACTORS, before=EncodedData.of(run), only={"mig", "density_mig"}
    )
    assert left_out == {"mig": "the data have weights, which this metric does not take"}
    expected = density_mig((X, torch.full_like(X, 0.3)), FACTORS, weights=2 + X[:, 0])
    untrained = found["density_mig"]["details"].pop("untrained")
    assert found["density_mig"] == expected.to_json()
    assert untrained == expected.value


def test_codes_under_a_prior_that_is_not_normal_are_mapped(tmp_path: Path) -> None:
    run = build(tmp_path, STUDENT)
    encoder = Representations(EncodedData.of(run))
    expected = normal_scores(X[encoder.rows], STUDENT.base_dist)
    np.testing.assert_allclose(encoder.codes, expected, rtol=1e-12)
    assert torch.equal(encoder.continuous, X[encoder.rows])
    found, _ = scores(EncodedData.of(run), FACTORS, only=QUICK)
    assert found["mig"]["variant"]["mapped"] == {"z": "StudentT"}
    assert "mapped" not in found["gaussian_total_correlation"]["variant"]


def test_a_discrete_site_is_a_code_of_factors_alone(tmp_path: Path) -> None:
    run = build(tmp_path, with_class=True)
    encoder = Representations(EncodedData.of(run))
    assert torch.equal(encoder.codes[:, 0], FACTORS[encoder.rows, 0].double())
    assert torch.equal(encoder.codes[:, 1:], X[encoder.rows])
    assert torch.equal(encoder.continuous, X[encoder.rows])
    assert encoder.sampled.shape == encoder.drawn_from_prior.shape == (N, 2)


@pytest.mark.full
def test_samples_of_the_prior_are_compared_with_samples_of_the_codes(tmp_path: Path) -> None:
    def scored(pz: Any) -> dict[str, Any]:
        found, _ = scores(EncodedData.of(build(tmp_path, pz)), only={"divergence_from_prior"})
        return found["divergence_from_prior"]

    alike = dist.Normal(X.mean(0), (X.var(0) + 0.09).sqrt()).to_event(1)
    assert scored(alike)["details"]["p_value"] > 0.05
    far = scored(dist.Normal(X.mean(0) + 3, 1.0).to_event(1))
    assert far["details"]["p_value"] == 0.01
    assert far["details"]["z_score"] > 20


@pytest.mark.full
def test_what_cannot_be_scored_says_why(tmp_path: Path) -> None:
    run = build(tmp_path, sees_class=True)
    found, left_out = scores(EncodedData.of(run), only={"divergence_from_prior", "mig"})
    assert found.keys() == {"divergence_from_prior"}  # its prior is summed over the labels
    assert left_out["mig"] == "the experiment has no factors of these data"


@pytest.mark.full
def test_an_untrained_encoder_stands_beside_each_score(tmp_path: Path) -> None:
    run = trained_from_file(tmp_path)
    names = {"mig", "density_mig", "gaussian_total_correlation", "divergence_from_prior"}
    metrics = evaluate(run, only=names)["train"]
    assert metrics["scores"].keys() == names
    assert not metrics["left_out"]
    before = untrained(run)
    assert before is not None
    expected, _ = scores(EncodedData.of(before), before.experiment.factors, only=names)
    for name, score in metrics["scores"].items():
        assert score["details"]["untrained"] == pytest.approx(expected[name]["value"], abs=1e-9)
        assert name == "mig" or score["value"] != expected[name]["value"]
    assert json.loads(json.dumps(metrics)) == metrics
