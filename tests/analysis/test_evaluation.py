import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, evaluate
from pyro_decomp.analysis import encoding, evaluation, kl_decomposition, log_likelihood
from pyro_decomp.analysis.encoding import EncodedData, evenly_spaced
from pyro_decomp.analysis.evaluation import write_metrics
from pyro_decomp.analysis.quantities import LOG_PX
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.report import METRICS
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.training.run import Run, finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare
from tests.statistics import STANDARD_ERRORS

NUMBERS = ("elbo", *evaluation.PARTS, "importance_weighted_log_px")  # all but scores of codes
WEIGHT, NOISE = 1.5, 0.8
SLOPE, SHIFT, SCALE = 0.4, 0.1, 0.6
DATA = torch.linspace(-3, 3, 30, dtype=torch.double)[:, None]
TEST = torch.linspace(-1, 2, 50, dtype=torch.double)[:, None]
Z = torch.linspace(-12, 12, 40_001, dtype=torch.double)
STEP = float(Z[1] - Z[0])


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the samples, for speed; the standard errors tell how far off that may be."""
    monkeypatch.setattr(evaluation, "MAX_SAMPLES", 2000)


def build(
    folder: Path,
    encode: Callable[[Tensor], tuple[Tensor, Any]] | None = None,
    *,
    data: Tensor = DATA,
    test_data: Tensor | None = None,
    elbo: AggregateELBO | None = None,
) -> Run:
    """z ~ N(0, 1), x|z ~ N(1.5 z, 0.8^2), and z|x ~ N(0.4 x + 0.1, 0.6^2) if not told otherwise."""
    layer = nn.Linear(1, 1, dtype=torch.double)
    with torch.no_grad():
        layer.weight.fill_(SLOPE)
        layer.bias.fill_(SHIFT)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(data), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=torch.double), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(WEIGHT * z, NOISE).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc, scale = encode(x) if encode else (layer(x), SCALE)
        with pyro.plate("data", len(data), subsample=x):
            pyro.sample("z", dist.Normal(loc + 0 * layer(x), scale).to_event(1))

    elbo = elbo or AggregateELBO()
    trial = Experiment(model, guide, data=data, test_data=test_data, elbo=elbo)
    return finish(RunFolder(folder), trial, prepare(trial), {}, 0)


def normal(z: Tensor, loc: Tensor | float, scale: float) -> Tensor:
    return torch.exp(-0.5 * ((z - loc) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))


class Exact:
    """Every number of the default run in closed form, or by quadrature over z."""

    def __init__(self, x: Tensor) -> None:
        loc = SLOPE * x + SHIFT
        squares = (x - WEIGHT * loc) ** 2 + WEIGHT**2 * SCALE**2
        constant = -math.log(NOISE * math.sqrt(2 * math.pi))
        self.log_likelihood = (constant - squares / (2 * NOISE**2)).mean().item()
        # of a square of a Normal with mean m and variance v: 4 m^2 v + 2 v^2
        mean, variance = x - WEIGHT * loc, (WEIGHT * SCALE) ** 2
        spread = 4 * mean**2 * variance + 2 * variance**2
        self.log_likelihood_variance = (spread / (4 * NOISE**4)).mean().item()
        self.kl = (0.5 * (SCALE**2 + loc**2 - 1) - math.log(SCALE)).mean().item()
        qz_x = normal(Z, loc, SCALE)
        qz, pz = qz_x.mean(0), normal(Z, 0.0, 1.0)
        ratio = torch.where(qz_x > 0, (qz_x / qz).log(), 0.0)
        self.mutual_information = ((qz_x * ratio).sum(1) * STEP).mean().item()
        self.marginal_kl = ((qz * (qz / pz).log()).nan_to_num(0.0).sum() * STEP).item()
        self.divergence = ((pz * (pz / qz).log()).nan_to_num(0.0).sum() * STEP).item()
        self.marginal_kl = ((qz * (qz / pz).log()).nan_to_num(0.0).sum() * STEP).item()
        self.log_px = normal(x, 0.0, math.hypot(WEIGHT, NOISE)).log().mean().item()
        posterior = normal(x, WEIGHT * Z, NOISE) * pz / normal(x, 0.0, math.hypot(WEIGHT, NOISE))
        chi_squared = (posterior**2 / qz_x).nan_to_num(0.0).sum(1) * STEP - 1
        self.weight_variance = chi_squared.mean().item()


def assert_close(metrics: dict[str, float], name: str, expected: float) -> None:
    error = metrics[f"{name}_standard_error"]
    assert 0 < error < 0.1
    assert abs(metrics[name] - expected) < STANDARD_ERRORS * error


@pytest.mark.full(but=["one batch"])
@pytest.mark.parametrize("batch_elements", [10**6, 16], ids=["one batch", "a last smaller batch"])
def test_every_number_of_a_linear_gaussian_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_elements: int
) -> None:
    monkeypatch.setattr(encoding, "BATCH_ELEMENTS", batch_elements)
    metrics = evaluate(build(tmp_path, test_data=TEST), num_importance_samples=2000, only=NUMBERS)
    for name, x in (("train", DATA), ("test", TEST)):
        found, exact = metrics[name], Exact(x)
        assert found["kl"] == pytest.approx(exact.kl, rel=1e-9)
        error = math.sqrt(exact.log_likelihood_variance / 2000)
        assert abs(found["log_likelihood"] - exact.log_likelihood) < STANDARD_ERRORS * error < 0.2
        assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"], rel=1e-9)
        assert_close(found, "mutual_information", exact.mutual_information)
        assert_close(found, "divergence", exact.divergence)
        assert_close(found, "marginal_kl", exact.marginal_kl)
        assert_close(found, "dimensionwise_kl", exact.marginal_kl)  # there is one dimension
        assert found["total_correlation"] == pytest.approx(0.0, abs=1e-12)
        assert_close(found, "marginal_kl", exact.marginal_kl)
        assert found["dimensionwise_kl"] == pytest.approx(found["marginal_kl"], abs=1e-9)
        assert found["total_correlation"] == pytest.approx(0.0, abs=1e-9)  # of one dimension
        sharing = len(x) * math.exp(-found["mutual_information"])
        assert found["effective_sharing"] == pytest.approx(sharing)
        variance = exact.weight_variance / 2000
        bound = STANDARD_ERRORS * math.sqrt(variance / len(x)) + variance
        assert abs(found["importance_weighted_log_px"] - exact.log_px) < bound < 0.03
        assert found["importance_weighted_data"] == len(x)
        assert found["elbo"] < found["importance_weighted_log_px"]


@pytest.mark.full
def test_batches_of_copies_give_the_same_log_px_in_the_order_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_likelihood, "ROW_ELEMENTS", 70)
    run = build(tmp_path)
    data = EncodedData.of(run)
    found = log_likelihood.importance_weighted_log_px(data, num_samples=2001)
    exact = normal(DATA, 0.0, math.hypot(WEIGHT, NOISE)).log().squeeze(1)
    assert found.shape == (len(DATA),)
    assert (found - exact).abs().max().item() < 0.25
    with pytest.raises(ValueError, match="num_samples: expected a positive whole number, got 0"):
        log_likelihood.importance_weighted_log_px(data, num_samples=0)


@pytest.mark.full
def test_encodings_that_do_not_meet_tell_all_about_the_data(tmp_path: Path) -> None:
    run = build(tmp_path, lambda x: (10 * x, 1e-2))
    metrics = evaluate(run, only=evaluation.PARTS)["train"]
    assert metrics["mutual_information"] == pytest.approx(math.log(len(DATA)), abs=1e-9)
    assert metrics["effective_sharing"] == pytest.approx(1.0, abs=1e-7)


@pytest.mark.full(but=["0.0"])
@pytest.mark.parametrize("loc", [0.0, 3.0])
def test_encodings_that_are_one_tell_nothing_about_the_data(tmp_path: Path, loc: float) -> None:
    run = build(tmp_path, lambda x: (torch.full_like(x, loc), 1.0))
    metrics = evaluate(run, only=evaluation.PARTS)["train"]
    assert metrics["mutual_information"] == pytest.approx(0.0, abs=1e-9)
    assert metrics["effective_sharing"] == pytest.approx(len(DATA))
    # KL(N(0, 1) || N(loc, 1))
    assert metrics["divergence"] == pytest.approx(
        loc**2 / 2, abs=STANDARD_ERRORS * loc / 2000**0.5 + 1e-9
    )


@pytest.mark.full
def test_encodings_in_pairs_are_shared_by_two(tmp_path: Path) -> None:
    run = build(
        tmp_path, lambda x: (100 * (x.double() * 29 / 6 + 14.5).round().div(2).floor(), 1.0)
    )
    metrics = evaluate(run, only=evaluation.PARTS)["train"]
    assert metrics["effective_sharing"] == pytest.approx(2.0, abs=1e-6)


@pytest.mark.full
def test_the_metrics_do_not_depend_on_the_weights_nor_the_particles(tmp_path: Path) -> None:
    plain = evaluate(build(tmp_path), num_importance_samples=5, only=NUMBERS)
    for elbo in (AggregateELBO(beta=4.0, alpha=2.0), AggregateELBO(num_particles=3)):
        assert evaluate(build(tmp_path, elbo=elbo), num_importance_samples=5, only=NUMBERS) == plain


@pytest.mark.full
def test_an_objective_of_the_users_own_is_measured_by_the_plain_terms(tmp_path: Path) -> None:
    class Mine(AggregateELBO):
        def terms(self, traces: Any) -> dict[str, Tensor]:
            return super().terms(traces) | {"mine": torch.tensor(1.0)}

        def weights(self) -> Any:
            return super().weights() | {"mine": 7.0}

    mine = evaluate(build(tmp_path, elbo=Mine(alpha=1.0)), num_importance_samples=5, only=NUMBERS)
    assert mine == evaluate(build(tmp_path), num_importance_samples=5, only=NUMBERS)


@pytest.mark.full
def test_the_same_seed_gives_the_same_numbers_and_generators_are_left_alone(tmp_path: Path) -> None:
    run = build(tmp_path)

    def draws() -> Any:
        return torch.rand(3).tolist(), np.random.rand(), random.random()

    pyro.set_rng_seed(0)
    expected = draws()
    pyro.set_rng_seed(0)
    first = evaluate(run, num_importance_samples=5)
    assert draws() == expected
    assert evaluate(run, num_importance_samples=5) == first
    other = evaluate(run, seed=1, num_importance_samples=5)
    assert other["train"]["kl"] == first["train"]["kl"]
    for name in ("divergence", "mutual_information", "importance_weighted_log_px"):
        assert other["train"][name] != first["train"][name]


@pytest.mark.parametrize(("size", "limit"), [(10, 10), (10, 400), (11, 10), (1000, 400), (3, 1)])
def test_evenly_spaced(size: int, limit: int) -> None:
    chosen = evenly_spaced(torch.arange(size), limit)
    assert len(chosen) == min(size, limit)
    gaps = torch.cat([chosen, torch.tensor([size])]).diff()
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.full
def test_metrics_are_written_as_json(tmp_path: Path) -> None:
    run = build(tmp_path)
    metrics = evaluate(run, num_importance_samples=2)
    path = write_metrics(run, metrics)
    assert path == tmp_path / "metrics.json"
    assert run.folder.read_metrics() == metrics


def run_of(folder: Path, model: Callable[[Tensor], None], guide: Callable[[Tensor], None]) -> Run:
    trial = Experiment(model, guide, data=DATA, elbo=AggregateELBO())
    return finish(RunFolder(folder), trial, prepare(trial), {}, 0)


@pytest.mark.full
def test_a_guide_of_dependent_sites_is_scored_over_pairs(tmp_path: Path) -> None:
    layer = nn.Linear(1, 1, dtype=torch.double)

    def model(x: Tensor) -> None:
        zero = torch.zeros(1, dtype=torch.double)
        with pyro.plate("data", len(DATA), subsample=x):
            a = pyro.sample("a", dist.Normal(zero, 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(a, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(b, NOISE).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(DATA), subsample=x):
            a = pyro.sample("a", dist.Normal(100 * x + 0 * layer(x), 1.0).to_event(1))
            pyro.sample("b", dist.Normal(a, 1.0).to_event(1))

    experiment = Experiment(model, guide, data=DATA, elbo=AggregateELBO())
    run = finish(RunFolder(tmp_path), experiment, prepare(experiment), {}, 0)
    metrics = evaluate(run, num_importance_samples=10, only=["mutual_information", "elbo"])["train"]
    assert metrics["mutual_information"] == pytest.approx(math.log(len(DATA)), abs=1e-6)
    left_out = evaluate(run, only=["total_correlation"])["train"]["left_out"]
    assert "'s sites depend on one another" in left_out["total_correlation"]


@pytest.mark.full
def test_of_a_prior_given_labels_all_is_measured_but_the_parts_of_dimensions(
    tmp_path: Path,
) -> None:
    layer = nn.Linear(1, 1, dtype=torch.double)
    labels = torch.arange(len(DATA)) % 2

    def model(x: Tensor, labels: Tensor) -> None:
        chances = torch.full((len(x), 2), 0.5, dtype=torch.double)
        with pyro.plate("data", len(DATA), subsample=x):
            y = pyro.sample("y", dist.Categorical(chances), obs=labels)
            z = pyro.sample("z", dist.Normal(y.double()[:, None], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, NOISE).to_event(1), obs=x)

    def guide(x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", len(DATA), subsample=x):
            pyro.sample("z", dist.Normal(layer(x), 1.0).to_event(1))

    experiment = Experiment(model, guide, data=(DATA, labels), elbo=AggregateELBO(alpha=0.0))
    run = finish(RunFolder(tmp_path), experiment, prepare(experiment), {}, 0)
    metrics = evaluate(run, only=evaluation.PARTS)["train"]
    assert metrics.keys() >= {"mutual_information", "divergence", "marginal_kl"}
    assert metrics["left_out"].keys() == {"dimensionwise_kl"}


def test_no_name_is_refused_and_any_collection_of_names_taken(tmp_path: Path) -> None:
    run = build(tmp_path)
    with pytest.raises(DataError, match=r"only: expected names among elbo, .*, got none"):
        evaluate(run, only=[])
    assert "kl" in evaluate(run, only=(name for name in ["elbo"]))["train"]  # type: ignore[arg-type]


def test_names_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"only: expected names among elbo, divergence, .*'mug'"):
        evaluate(build(tmp_path), only=["elbo", "mug"])


@pytest.fixture
def very_few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MIN_SAMPLES", 60)
    monkeypatch.setattr(evaluation, "MAX_SAMPLES", 60)


def fail(*args: Any, **options: Any) -> Any:
    raise ZeroDivisionError("no\nway")


OF_Q = {*evaluation.PARTS}
ALL = {"elbo", "log_likelihood", "kl", *evaluation.PARTS, "importance_weighted_log_px"}
FAULTS: dict[str, tuple[Any, str, set[str]]] = {  # what fails, and what is lost by it
    "the likelihood": (
        TracePair,
        "log_likelihood",
        {"elbo", "log_likelihood", "importance_weighted_log_px"},
    ),
    "the KL": (TracePair, "total_kl", {"elbo", "kl"}),
    "the prior at the codes": (
        TracePair,
        "log_prior",
        {"divergence", "marginal_kl", "dimensionwise_kl", "importance_weighted_log_px"},
    ),
    "q(z)": (kl_decomposition, "log_prob_over", OF_Q - {"dimensionwise_kl"}),
    "its marginals": (
        kl_decomposition,
        "log_densities_over",
        {"total_correlation", "dimensionwise_kl"},
    ),
    "draws of the prior": (encoding.EncodedData, "draw_prior", {"divergence"}),
    "encoding": (evaluation, "sample_posterior", ALL - {"log_likelihood", "kl", LOG_PX}),
    "importance weights": (log_likelihood, "importance_weighted_log_px", {LOG_PX}),
    "all scores": (evaluation, "scores", {"active_units"}),
}


@pytest.mark.full(but=["the likelihood", "all scores", "draws of the prior"])
@pytest.mark.usefixtures("very_few_samples")
@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_is_left_out_and_all_else_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    run = build(tmp_path, test_data=TEST)
    place, name, lost = FAULTS[fault]
    monkeypatch.setattr(place, name, fail)
    metrics = evaluate(run, num_importance_samples=5, only=[*NUMBERS, "active_units"])
    write_metrics(run, metrics)
    for found in metrics.values():
        failed = {n for n, why in found["left_out"].items() if "no way" in why}
        assert lost <= failed
        assert failed - lost <= {"active_units"}
        stand = ALL - lost - ({"log_likelihood", "kl"} if fault == "encoding" else set())
        assert stand <= found.keys()
        assert not lost & found.keys()
        assert ("active_units" in found["scores"]) == (fault != "all scores")


def test_a_score_that_fails_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "active_units", (fail, ("codes",)))
    found = evaluate(build(tmp_path), only=["active_units", "divergence_from_prior"])["train"]
    assert found["left_out"]["active_units"] == "ZeroDivisionError: no way"
    assert found["scores"].keys() == {"divergence_from_prior"}


@pytest.mark.usefixtures("very_few_samples")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    ordinary = kl_decomposition.log_prob_over
    monkeypatch.setattr(
        kl_decomposition, "log_prob_over", lambda *args: ordinary(*args).fill_(value)
    )
    run = build(tmp_path)
    found = evaluate(run, num_importance_samples=5, only=NUMBERS)["train"]
    assert {"elbo", "importance_weighted_log_px"} <= found.keys()
    lost = OF_Q - {"dimensionwise_kl"}  # which takes the marginals of q(z) alone
    assert not lost & found.keys()
    assert found["left_out"].keys() == lost
    write_metrics(run, {"train": found})


BOUNDS = {  # added to log q(z): what cannot be then, within the errors of this model
    -5.0: {"mutual_information", "effective_sharing", "total_correlation"},
    5.0: {"mutual_information", "effective_sharing", "divergence"},
}


@pytest.mark.full(but=["5.0"])
@pytest.mark.parametrize("shift", BOUNDS)
def test_a_number_that_cannot_be_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    ordinary = kl_decomposition.log_prob_over
    monkeypatch.setattr(kl_decomposition, "log_prob_over", lambda *args: ordinary(*args) + shift)
    found = evaluate(build(tmp_path), only=evaluation.PARTS)["train"]
    for name in BOUNDS[shift]:
        assert name not in found
        assert f"{name}_standard_error" not in found
        assert found["left_out"][name].endswith("please report")


@pytest.mark.usefixtures("very_few_samples")
def test_log_px_below_the_elbo_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = log_likelihood.importance_weighted_log_px

    def lower(*args: Any, **options: Any) -> Tensor:
        return ordinary(*args, **options) - 20

    monkeypatch.setattr(log_likelihood, "importance_weighted_log_px", lower)
    found = evaluate(build(tmp_path), num_importance_samples=5, only=["elbo", LOG_PX])["train"]
    assert LOG_PX not in found
    assert found["left_out"][LOG_PX].endswith("nats below the ELBO, which cannot be: please report")


@pytest.mark.usefixtures("very_few_samples")
def test_a_datum_without_a_density_costs_the_likelihood_alone(tmp_path: Path) -> None:
    layer = nn.Linear(1, 1, dtype=torch.double)
    data = (torch.arange(20) % 2).double()[:, None]

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(data), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=torch.double), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(data), subsample=x):
            pyro.sample("z", dist.Normal(layer(x.clamp(max=1.0)), 1.0).to_event(1))

    trial = Experiment(model, guide, data=data, test_data=data.clone(), elbo=AggregateELBO())
    run = finish(RunFolder(tmp_path), trial, prepare(trial), {}, 0)
    trial.test_data.x[7] = 255.0
    metrics = evaluate(run, num_importance_samples=5, only=[*NUMBERS, "active_units"])
    assert not {"elbo", LOG_PX} - metrics["train"].keys()
    found = metrics["test"]
    lost = {"elbo", "log_likelihood", LOG_PX}
    assert not lost & found.keys()
    assert {"kl", *OF_Q} <= found.keys()
    assert "active_units" in found["scores"]
    for name in lost:
        assert re.search("row 7.*255", found["left_out"][name])


@pytest.mark.usefixtures("very_few_samples")
def test_a_number_is_the_same_alone_as_with_the_rest(tmp_path: Path) -> None:
    run = build(tmp_path)
    together = evaluate(run, num_importance_samples=5, only=NUMBERS)["train"]
    for name in ("elbo", *evaluation.PARTS, LOG_PX):
        assert evaluate(run, num_importance_samples=5, only=[name])["train"][name] == together[name]


@pytest.mark.full
@pytest.mark.usefixtures("very_few_samples")
def test_one_datum_is_measured_without_errors(tmp_path: Path) -> None:
    run = build(tmp_path, data=DATA[:1])
    metrics = evaluate(run, num_importance_samples=5, only=NUMBERS)
    found = metrics["train"]
    assert {"elbo", "mutual_information", LOG_PX} <= found.keys()
    assert "elbo_standard_error" not in found
    write_metrics(run, metrics)


@pytest.mark.full
@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_data_are_gone_over_a_hundred_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    passes, once = 0, EncodedData.pairs

    def counted(data: EncodedData) -> Any:
        nonlocal passes
        for pair in once(data):
            passes += 1
            yield pair

    run = build(tmp_path, data=DATA[:size])
    monkeypatch.setattr(EncodedData, "pairs", counted)
    found = evaluate(run, only=("elbo", *evaluation.PARTS))["train"]
    assert passes == 100
    assert not found["left_out"]
    error = found["mutual_information_standard_error"] if size > 1 else 1e-9
    assert -4.3 * error <= found["mutual_information"] <= math.log(size) + 4.3 * error


@pytest.mark.usefixtures("very_few_samples")
def test_evaluation_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1, dtype=torch.double)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += len(x)
            return self.layer(x)

    network = Seen()
    run = build(tmp_path, lambda x: (network(x), 1.0))
    evaluate(run, num_importance_samples=5, only=[*NUMBERS, "active_units"])
    assert network.seen == 0


@pytest.mark.parametrize("text", ["{", "[1]", '{"train": {"elbo": NaN}}', 100_000 * "["])
def test_damaged_metrics_are_written_anew(tmp_path: Path, text: str) -> None:
    run = build(tmp_path)
    run.folder.metrics_path.write_text(text)
    with pytest.warns(UserWarning, match=r"metrics.json holds no metrics that can be read"):
        write_metrics(run, {"train": {"elbo": 1.0}})
    assert run.folder.read_metrics() == {"train": {"elbo": 1.0}}


@pytest.mark.usefixtures("very_few_samples")
def test_what_is_measured_later_is_merged(tmp_path: Path) -> None:
    run = build(tmp_path)
    write_metrics(run, evaluate(run, num_importance_samples=5, only=[*NUMBERS, "active_units"]))
    before = json.loads((tmp_path / "metrics.json").read_text())["train"]
    write_metrics(run, evaluate(run, seed=1, num_importance_samples=7, only=[LOG_PX]))
    after = json.loads((tmp_path / "metrics.json").read_text())["train"]
    assert after["importance_weighted_samples"] == 7
    assert after["seeds"][LOG_PX] == 1
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {
        LOG_PX,
        f"{LOG_PX}_standard_error",
        "importance_weighted_samples",
        "seeds",
    }
    run.step += 1
    with pytest.warns(UserWarning, match="another checkpoint"):
        write_metrics(run, evaluate(run, only=["elbo"]))
    assert LOG_PX not in json.loads((tmp_path / "metrics.json").read_text())["train"]


@pytest.mark.parametrize(
    ("occupancy", "reason"),
    [(fail, "ZeroDivisionError: no way"), (lambda *args, **options: [math.nan], "not JSON")],
)
def test_components_that_fail_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, occupancy: Any, reason: str
) -> None:
    monkeypatch.setattr(evaluation, "components", occupancy)
    run = build(tmp_path)
    found = evaluate(run, only=["components", "active_units"])
    assert "components" not in found["train"]
    assert reason in found["train"]["left_out"]["components"]
    assert found["train"]["scores"].keys() == {"active_units"}
    write_metrics(run, found)


@pytest.mark.parametrize("most_seconds", [0.0, 1e9])
def test_so_many_samples_that_nobody_waits_for_them_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_seconds: float
) -> None:
    monkeypatch.setattr(log_likelihood, "MOST_SECONDS", most_seconds)
    monkeypatch.setattr(log_likelihood, "USUAL_SAMPLES", 5)
    run = build(tmp_path)
    if most_seconds:
        evaluate(run, num_importance_samples=6, only=[LOG_PX])
        return
    with pytest.raises(DataError, match=r"importance samples: expected at most about \d+, .*got 6"):
        evaluate(run, num_importance_samples=6, only=[LOG_PX])
    evaluate(run, num_importance_samples=5, only=[LOG_PX])
    evaluate(run, num_importance_samples=6, only=["elbo"])


@pytest.mark.full
def test_trees_are_for_those_who_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def record(*args: Any, only: Any, **options: Any) -> Any:
        asked.append(only)
        return {}, {}

    monkeypatch.setattr(evaluation, "scores", record)
    run = build(tmp_path)
    run.experiment.factors = torch.arange(len(DATA))[:, None] % 3
    evaluate(run, num_importance_samples=2)
    evaluate(run, num_importance_samples=2, trees=True)
    assert asked[1] - asked[0] == {"dci_trees"}
    assert "mig" in asked[0]
