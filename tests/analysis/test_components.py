"""Which components of its prior a run uses, for every way in which a prior has components."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, evaluate
from pyro_decomp.analysis import components as module
from pyro_decomp.analysis.components import assigned, components, described
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.scores import scores
from pyro_decomp.errors import ModelError
from pyro_decomp.priors import (
    EnumeratedGaussianMixture,
    EnumeratedNestedClusters,
    GaussianMixture,
    NestedClusters,
    SpikeAndSlab,
    VampPrior,
)
from pyro_decomp.programs.prior_components import PriorComponents
from pyro_decomp.training.run import Run, finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare

LOCS = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
WEIGHTS = torch.tensor([0.4, 0.3, 0.2, 0.1])
CLUSTER = torch.tensor([0] * 30 + [1] * 20 + [3] * 10)  # of each datum; 2 holds none
N = len(CLUSTER)
X = LOCS[CLUSTER] + torch.linspace(-0.3, 0.3, N)[:, None]
OCCUPANCY = [1 / 2, 1 / 3, 0.0, 1 / 6]


def encoder(x: Tensor) -> Any:
    return dist.Normal(x, 0.1).to_event(1)


def of_prior(prior: Callable[[], Any]) -> tuple[Any, Any]:
    """A model with z from the prior, and a guide whose z is close to x."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = prior()
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", encoder(x))

    return model, guide


def inferred() -> tuple[Any, Any]:
    """The guide infers the component, and is in doubt between the right one and the next."""
    model, _ = of_prior(EnumeratedGaussianMixture(LOCS, 0.5, WEIGHTS))

    def guide(x: Tensor) -> None:
        near = torch.cdist(x, LOCS).argmin(-1)
        chances = 0.75 * torch.eye(4)[near] + 0.25 * torch.eye(4)[(near + 1) % 4]
        with pyro.plate("data", N, subsample=x):
            pyro.sample("c", dist.Categorical(chances))
            pyro.sample("z", encoder(x))

    return model, guide


def beside() -> tuple[Any, Any]:
    """A discrete latent site of which z does not know, one-hot."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 5.0).to_event(1))
            c = pyro.sample("c", dist.OneHotCategorical(WEIGHTS))
            pyro.sample("x", dist.Normal(z + c[..., :2], 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        near = torch.eye(4)[torch.cdist(x, LOCS).argmin(-1)]
        with pyro.plate("data", N, subsample=x):
            pyro.sample("c", dist.OneHotCategorical(near))
            pyro.sample("z", encoder(x))

    return model, guide


def under_a_layer() -> tuple[Any, Any]:
    """c, then a site given it, then z given that; of rows with a dimension to the right."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x, dim=-2):
            c = pyro.sample("c", dist.Categorical(WEIGHTS))
            top = pyro.sample("top", dist.Normal(LOCS[c], 0.3).to_event(1))
            z = pyro.sample("z", dist.Normal(top, 0.3).to_event(1))
            with pyro.plate("dimensions", 2, dim=-1):
                pyro.sample("x", dist.Normal(z[..., 0, :], 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x, dim=-2):
            pyro.sample("top", encoder(x[:, None]))
            pyro.sample("z", encoder(x[:, None]))

    return model, guide


def labelled() -> tuple[Any, Any]:
    """The component is observed: the prior is the model's marginal."""

    def model(x: Tensor) -> None:
        label = torch.cdist(x, LOCS).argmin(-1)
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), obs=label)
            z = pyro.sample("z", dist.Normal(LOCS[c], 0.5).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    return model, of_prior(lambda: None)[1]


GIVEN = WEIGHTS.tolist()
EQUAL = [0.25] * 4
NESTED = (LOCS[:2], LOCS.reshape(2, 2, 2) - LOCS[:2, None], 0.5)
DIAGONAL = dist.MixtureOfDiagNormals(LOCS, torch.full((4, 2), 0.5), WEIGHTS.log())
LEARNED = GaussianMixture(LOCS, 0.5, WEIGHTS, learned=("locs", "scale", "weights"))
IN_DOUBT = [10 / 24, 9 / 24, 2 / 24, 3 / 24]
Case = tuple[tuple[Any, Any], dict[str, int], list[float], list[float]]
CASES: dict[str, Case] = {  # programs, sites, weights, occupancy
    "mixture": (of_prior(GaussianMixture(LOCS, 0.5, WEIGHTS)), {"z": 4}, GIVEN, OCCUPANCY),
    "learned": (of_prior(LEARNED), {"z": 4}, GIVEN, OCCUPANCY),
    "Pyro's own": (of_prior(lambda: pyro.sample("z", DIAGONAL)), {"z": 4}, GIVEN, OCCUPANCY),
    "enumerated": (
        of_prior(EnumeratedGaussianMixture(LOCS, 0.5, WEIGHTS)),
        *({"c": 4}, GIVEN, OCCUPANCY),
    ),
    "nested": (of_prior(NestedClusters(*NESTED)), {"z": 4}, EQUAL, OCCUPANCY),
    "enumerated nested": (
        of_prior(EnumeratedNestedClusters(*NESTED)),
        *({"g": 2, "c": 2}, EQUAL, OCCUPANCY),
    ),
    "VampPrior": (of_prior(VampPrior(encoder, LOCS)), {"z": 4}, EQUAL, OCCUPANCY),
    "inferred": (inferred(), {"c": 4}, GIVEN, IN_DOUBT),
    "beside z": (beside(), {"c": 4}, GIVEN, OCCUPANCY),
    "under a layer": (under_a_layer(), {"c": 4}, GIVEN, OCCUPANCY),
    "labels": (labelled(), {"c": 4}, GIVEN, OCCUPANCY),
}


def build(folder: Path, programs: tuple[Any, Any], **settings: Any) -> Run:
    model, guide = programs
    layer = nn.Linear(1, 1)
    trial = Experiment(
        model, lambda x: guide(x + 0 * layer(x[:, :1])), data=X, elbo=AggregateELBO(alpha=0.0),
        **settings,
    )  # fmt: skip
    return finish(RunFolder(folder), trial, prepare(trial), {}, 0)


@pytest.mark.full(but=["VampPrior", "inferred", "mixture"])
@pytest.mark.parametrize("name", CASES)
def test_occupancy(tmp_path: Path, name: str) -> None:
    """Clusters are 9 scales apart, so that responsibilities are 0 or 1."""
    programs, sites, weights, occupancy = CASES[name]
    run = build(tmp_path, programs)
    found = components(EncodedData.of(run))
    assert found["sites"] == sites
    assert found["weights"] == pytest.approx(weights, abs=1e-5)
    assert found["occupancy"] == pytest.approx(occupancy, abs=1e-4)
    assert found["empty"] == ([] if occupancy[2] else [2])
    assert found["merged"] == []
    rows = torch.randperm(N)
    assert torch.equal(assigned(EncodedData.of(run), rows), CLUSTER[rows])


@pytest.mark.full
def test_a_few_data_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build(tmp_path, CASES["enumerated"][0])
    monkeypatch.setattr(module, "ELEMENTS", 100)
    assert components(EncodedData.of(run))["occupancy"] == pytest.approx(OCCUPANCY, abs=1e-4)
    rows = torch.randperm(N)
    assert torch.equal(assigned(EncodedData.of(run), rows), CLUSTER[rows])


@pytest.mark.parametrize("prior", [GaussianMixture, EnumeratedGaussianMixture])
def test_merged(tmp_path: Path, prior: type[GaussianMixture]) -> None:
    locs = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.5, 0.0], [9.0, 9.0], [9.0, 9.4]])
    found = components(EncodedData.of(build(tmp_path, of_prior(prior(locs, 0.5)))))
    assert found["merged"] == [[0, 2], [3, 4]]
    assert found["empty"] == []
    words = "5 components of the prior: 0 and 2, 3 and 4 are merged"
    assert described(found) == words.replace("2, 3", "2; 3")


@pytest.mark.full
def test_responsibilities_of_draws(tmp_path: Path) -> None:
    """p(1|z) = sigmoid(2 z_1) under z ~ N(0.7, 0.5^2), by quadrature.

    A responsibility's standard deviation is below 0.25; 1,200 draws, 4.3 standard errors.
    """
    z = torch.linspace(-3, 5, 10_001, dtype=torch.double)
    density = dist.Normal(0.7, 0.5).log_prob(z).exp()
    expected = torch.trapezoid(density * (2 * z).sigmoid(), z).item()
    locs = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    model, _ = of_prior(GaussianMixture(locs, 1.0))

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(0 * x + torch.tensor([0.7, 0.0]), 0.5).to_event(1))

    run = build(tmp_path, (model, guide))
    found = [components(EncodedData.of(run), seed=seed)["occupancy"][1] for seed in range(20)]
    assert sum(found) / 20 == pytest.approx(expected, abs=4.3 * 0.25 / 1200**0.5)


def test_masked_rows_do_not_count(tmp_path: Path) -> None:
    model, guide = CASES["mixture"][0]
    seen = CLUSTER < 3

    def masked(program: Any) -> Any:
        def run_masked(x: Tensor) -> None:
            with poutine.mask(mask=torch.cdist(x, LOCS).argmin(-1) < 3):
                program(x)

        return run_masked

    found = components(EncodedData.of(build(tmp_path, (masked(model), masked(guide)))))
    assert found["num_rows"] == seen.sum()
    assert found["occupancy"] == pytest.approx([0.6, 0.4, 0.0, 0.0], abs=1e-4)
    assert found["empty"] == [2, 3]


def test_evaluate_has_them_where_there_are_some(tmp_path: Path) -> None:
    run = build(tmp_path / "a", CASES["mixture"][0])
    found = evaluate(run, only={"components"})["train"]
    assert found["components"] == components(EncodedData.of(run))
    normal = of_prior(lambda: pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)))
    for number, programs in enumerate([normal, of_prior(SpikeAndSlab(2))]):
        run = build(tmp_path / str(number), programs)
        found = evaluate(run, only={"components"})["train"]
        assert "components" not in found
        assert found["left_out"]["components"].startswith("components: expected a prior that is a")


def test_too_many(tmp_path: Path) -> None:
    run = build(tmp_path, of_prior(GaussianMixture(torch.randn(1001, 2), 0.5)))
    with pytest.raises(ModelError, match="components: expected at most 1000, got 1001"):
        components(EncodedData.of(run))


def test_no_table_is_made_of_too_many_combinations(tmp_path: Path) -> None:
    """Sixteen digits that the guide infers: a table of 10^16."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            for k in range(16):
                pyro.sample(f"c{k}", dist.Categorical(torch.ones(10)))
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            for k in range(16):
                pyro.sample(f"c{k}", dist.Categorical(torch.ones(10)))
            pyro.sample("z", encoder(x))

    pair = AggregateELBO(alpha=0.0).drawn_pair(model, guide, X)
    prior = PriorComponents(pair, partial(model, X))
    with pytest.raises(ModelError, match="components: expected at most 1000, got 1" + 16 * "0"):
        prior.joint(pair.prior.draw()[0])


@pytest.mark.full
def test_clusters_of_scores_are_the_components(tmp_path: Path) -> None:
    run = build(tmp_path, CASES["mixture"][0], factors=CLUSTER[:, None])
    found, left_out = scores(
        EncodedData.of(run), CLUSTER[:, None], only={"nmi", "ari", "irs", "silhouette"}
    )
    assert left_out["irs"].startswith("factors: expected at least 2 that vary, as they")
    for name in ("nmi", "ari"):
        assert found[name]["value"] == pytest.approx(1.0)
        assert found[name]["variant"]["clusters"] == "components of the prior"
    merged = of_prior(GaussianMixture(torch.zeros(1, 2), 0.5))
    one, _ = scores(EncodedData.of(build(tmp_path / "b", merged)), CLUSTER[:, None], only={"ari"})
    assert one["ari"]["value"] == 0.0
    normal = of_prior(lambda: pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)))
    other, _ = scores(EncodedData.of(build(tmp_path / "c", normal)), CLUSTER[:, None], only={"ari"})
    assert other["ari"]["variant"]["clusters"] == "k-means"
    assert other["ari"]["value"] == pytest.approx(1.0)


def test_a_class_among_the_codes_is_no_number(tmp_path: Path) -> None:
    """A discrete code is a column a value: classes 0 and 3 are not further apart than 0 and 1."""
    run = build(tmp_path, inferred())
    found, _ = scores(EncodedData.of(run), CLUSTER[:, None], only={"silhouette", "linear_accuracy"})
    run = build(tmp_path / "b", CASES["enumerated"][0])
    plain, _ = scores(EncodedData.of(run), CLUSTER[:, None], only={"silhouette"})
    assert found["linear_accuracy"]["value"] == 1.0
    assert found["silhouette"]["value"] > plain["silhouette"]["value"] - 0.05


def test_a_sentence() -> None:
    found: dict[str, Any] = {"occupancy": [0.0] * 40, "empty": list(range(1, 39)), "merged": []}
    assert described(found) == (
        "40 components of the prior: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 28 more are empty"
    )
    found = {"occupancy": [0.5, 0.5], "empty": [], "merged": []}
    assert described(found) == "2 components of the prior: all hold data, none merged"
    found = {"occupancy": [1.0], "empty": [], "merged": []}
    assert described(found) == "1 component of the prior: it holds all data"
