import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.analysis import encoding
from pyro_decomp.analysis.encoding import EncodedData, encode
from pyro_decomp.analysis.kl_decomposition import (
    PARTS,
    decomposition,
    information_of_dimensions,
)
from pyro_decomp.analysis.posterior_samples import sample_posterior
from pyro_decomp.training.run import Run, finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare
from tests.statistics import STANDARD_ERRORS

FAR = torch.tensor([[30.0, 30.0], [-30.0, -30.0]], dtype=torch.double)
LINE = torch.linspace(-2, 2, 12, dtype=torch.double)[:, None] * torch.tensor([1.0, 0.5])
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.double)

Encoding = Callable[[Tensor], Any]


def normal(loc: Tensor) -> Any:
    return dist.Normal(loc, 1.0).to_event(1)


def build(
    folder: Path, data: Tensor, qz_x: Encoding = normal, pz: Any = None, label: Tensor | None = None
) -> Run:
    """z ~ p(z), x|z ~ N(z, 1) and z|x as given; with a label, its prior's location is the label."""
    layer = nn.Linear(1, 1, dtype=torch.double)
    pz = pz or dist.Normal(torch.zeros(2, dtype=torch.double), 1.0).to_event(1)

    def model(x: Tensor, label: Tensor | None = None) -> None:
        with pyro.plate("data", len(data), subsample=x):
            prior = pz
            if label is not None:
                chances = torch.full((len(x), 2), 0.5, dtype=torch.double)
                y = pyro.sample("label", dist.Categorical(chances), obs=label)
                prior = normal(y.double()[:, None].expand(-1, 2))
            z = pyro.sample("z", prior)
            pyro.sample("x", normal(z), obs=x)

    def guide(x: Tensor, label: Tensor | None = None) -> None:
        with pyro.plate("data", len(data), subsample=x):
            pyro.sample("z", qz_x(x + 0 * layer(x[:, :1])))

    elbo = AggregateELBO(alpha=0.0)
    whole = data if label is None else (data, label)
    trial = Experiment(model, guide, data=whole, elbo=elbo)
    return finish(RunFolder(folder), trial, prepare(trial), {}, 0)


def parts_of(run: Run, num_samples: int = 400, **options: Any) -> tuple[dict[str, float], Any]:
    with torch.no_grad():
        return decomposition(
            sample_posterior(EncodedData.of(run), lambda pair: num_samples), 100, **options
        )


@pytest.mark.full
def test_encodings_that_lie_apart_along_the_diagonal(tmp_path: Path) -> None:
    found, left_out = parts_of(build(tmp_path, FAR))
    # A code tells which of two data it is of, and so does each of its dimensions.
    assert found["mutual_information"] == pytest.approx(math.log(2), abs=1e-9)
    assert found["total_correlation"] == pytest.approx(math.log(2), abs=1e-9)
    assert found["effective_sharing"] == pytest.approx(1.0)
    # KL(N(30, 1) || N(0, 1)) = 450 in each dimension, less the entropy of which datum
    error = STANDARD_ERRORS * found["dimensionwise_kl_standard_error"]
    assert abs(found["dimensionwise_kl"] - (900 - 2 * math.log(2))) < error
    assert not left_out


@pytest.mark.full(but=["Normal"])
@pytest.mark.parametrize(
    "qz_x",
    [normal, lambda loc: dist.MultivariateNormal(loc, COVARIANCE)],
    ids=["Normal", "MultivariateNormal"],
)
def test_the_parts_add_up_and_do_not_depend_on_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qz_x: Encoding
) -> None:
    run = build(tmp_path, LINE, qz_x)
    found, _ = parts_of(run)
    assert found["marginal_kl"] == pytest.approx(
        found["total_correlation"] + found["dimensionwise_kl"], rel=1e-12
    )
    with torch.no_grad():
        some = sample_posterior(EncodedData.of(run), lambda pair: 12)
        (samples,) = some.samples
        kl = (samples.log_qz_x - samples.log_pz).mean().item()
        whole, _ = decomposition(some, 100)
        monkeypatch.setattr(encoding, "BATCH_ELEMENTS", 10)
        split = sample_posterior(EncodedData.of(run), lambda pair: 12)
    assert whole["mutual_information"] + whole["marginal_kl"] == pytest.approx(kl, rel=1e-12)
    assert [len(part) for part in split.parts] == [5, 5, 2]
    cut = [type(samples)(*_cut(samples, rows)) for rows in torch.arange(12).split([5, 5, 2])]
    again, _ = decomposition(replace(split, samples=cut), 100)
    for name in ("mutual_information", "total_correlation", "dimensionwise_kl"):
        assert again[name] == pytest.approx(whole[name], rel=1e-12)


def _cut(samples: Any, rows: Tensor) -> Any:
    z = {name: value[rows] for name, value in samples.z.items()}
    return z, samples.codes[rows], samples.log_qz_x[rows], samples.log_pz[rows]


def test_samples_are_of_data_all_over_the_set(tmp_path: Path) -> None:
    run = build(tmp_path, torch.arange(100.0).double()[:, None] * torch.ones(2) * 100)
    with torch.no_grad():
        some = sample_posterior(EncodedData.of(run), lambda pair: 20)
    (samples,) = some.samples
    data = (samples.codes[:, 0] / 100).round()
    assert len(data.unique()) == some.num_samples == 20
    assert data.min() < 20
    assert data.max() > 80


def test_of_a_prior_that_is_no_product_one_part_is_left_out(tmp_path: Path) -> None:
    correlated = dist.MultivariateNormal(torch.zeros(2, dtype=torch.double), COVARIANCE)
    found, left_out = parts_of(build(tmp_path, LINE, pz=correlated))
    assert left_out == {"dimensionwise_kl": "the prior is not a product over dimensions"}
    assert found.keys() >= {"total_correlation", "marginal_kl", "divergence"}


@pytest.mark.full
def test_of_a_prior_given_labels_it_is_the_marginal_over_them(tmp_path: Path) -> None:
    run = build(tmp_path, LINE, label=torch.arange(12) % 2)
    found, left_out = parts_of(run, num_samples=2000)
    assert left_out == {"dimensionwise_kl": "the prior is not a product over dimensions"}
    places = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.double)
    log_ratio = _log_density(LINE) - _log_density(places)
    expected = (_density(LINE) * log_ratio).sum() * CELL
    assert_near(found, "marginal_kl", expected)
    assert_near(found, "divergence", -(_density(places) * log_ratio).sum() * CELL)


@pytest.mark.full
def test_of_a_prior_given_a_place_it_is_the_mixture_over_all_data(tmp_path: Path) -> None:
    """Encoded and drawn in several batches, against sums over a grid."""
    run = given(tmp_path)
    found, left_out = parts_of(run, num_samples=2000)
    assert not left_out
    log_ratio = _log_density(LINE) - _log_density(PLACES)
    assert_near(found, "marginal_kl", (_density(LINE) * log_ratio).sum() * CELL)
    assert_near(found, "divergence", -(_density(PLACES) * log_ratio).sum() * CELL)
    of_parts = ("mutual_information", "total_correlation", "dimensionwise_kl")
    kl = sum(found[part] for part in of_parts) - found["prior_information"]
    closed_form = 0.5 * (LINE - PLACES).square().sum(1).mean()
    errors = [found[f"{name}_standard_error"] for name in (*of_parts, "prior_information")]
    assert abs(kl - closed_form) < STANDARD_ERRORS * sum(errors)
    of_one_dimension = sum(
        ((q.logsumexp(1) - p.logsumexp(1)) * q.logsumexp(1).exp()).sum() * CELL**0.5 / 12
        for q, p in (
            (dist.Normal(of[:, d], 1.0).log_prob(AXIS[:, None]) for of in (LINE, PLACES))
            for d in range(2)
        )
    )
    assert_near(found, "dimensionwise_kl", of_one_dimension)


@pytest.mark.full
def test_batches_of_a_set_with_priors_that_are_given_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = given(tmp_path)
    whole, _ = parts_of(run, num_samples=12)
    monkeypatch.setattr(encoding, "BATCH_ELEMENTS", 10)
    with torch.no_grad():
        split = sample_posterior(EncodedData.of(run), lambda pair: 12)
        z = split.draw_prior(30)["z"]
    assert len(split.priors) > 1
    assert z.shape == (30, 2)
    nearest = (z[:24, None] - PLACES).square().sum(-1).argmin(1)
    assert len(nearest.unique()) > 6  # each datum has had its turn
    assert whole.keys() == parts_of(run, num_samples=12)[0].keys()


AXIS = torch.linspace(-9, 9, 361, dtype=torch.double)
GRID = torch.cartesian_prod(AXIS, AXIS)
CELL = float(AXIS[1] - AXIS[0]) ** 2
PLACES = LINE.flip(0) * torch.tensor([0.7, -1.0])


def _log_density(places: Tensor) -> Tensor:
    return normal(places).log_prob(GRID[:, None]).logsumexp(1) - math.log(len(places))


def _density(places: Tensor) -> Tensor:
    return _log_density(places).exp()


def assert_near(found: dict[str, float], name: str, expected: Tensor) -> None:
    error = STANDARD_ERRORS * found[f"{name}_standard_error"]
    assert abs(found[name] - expected) < error, (name, found[name], float(expected), error)


def given(folder: Path) -> Run:
    """Z ~ N(u, 1) with u an argument, and z|x ~ N(x, 1)."""
    layer = nn.Linear(1, 1, dtype=torch.double)

    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", 12, subsample=x):
            z = pyro.sample("z", normal(u))
            pyro.sample("x", normal(z), obs=x)

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", 12, subsample=x):
            pyro.sample("z", normal(x + 0 * layer(x[:, :1])))

    trial = Experiment(model, guide, data=(LINE, PLACES), elbo=AggregateELBO(alpha=0.0))
    return finish(RunFolder(folder), trial, prepare(trial), {}, 0)


@pytest.mark.full
def test_only_what_is_wanted(tmp_path: Path) -> None:
    run = build(tmp_path, LINE)
    for name in PARTS:
        found, left_out = parts_of(run, only={name})
        assert found.keys() - {f"{name}_standard_error"} == {name}
        assert not left_out


def test_each_dimension_knows_what_it_knows(tmp_path: Path) -> None:
    one = FAR * torch.tensor([1.0, 0.0])
    with torch.no_grad():
        run = build(tmp_path, one)
        found = information_of_dimensions(list(encode(run, run.data)))
    assert found is not None
    torch.testing.assert_close(found["z"], torch.tensor([math.log(2), 0.0]).double())
