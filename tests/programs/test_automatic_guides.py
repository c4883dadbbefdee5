"""Pyro's automatic guides: Pyro's own loss where it is right, and a sentence where it is not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
    AutoStructured,
)
from pyro.infer.autoguide.gaussian import AutoGaussian
from torch import Tensor, nn

from pyro_decomp import MMD, VAE, AggregateELBO, BetaELBO, Experiment, load, train
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.errors import ExperimentError, ModelError
from pyro_decomp.networks import MLPDecoder

N, D = 12, 3
FEW = torch.tensor([3, 1, 7, 10, 2])


@pytest.fixture(autouse=True)
def _separate() -> Iterator[None]:
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    pyro.clear_param_store()


class Model(nn.Module):
    """Two local sites, one of them positive, and one that all data share."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, D).double()

    def forward(self, x: Tensor, rows: Tensor) -> None:
        zero = torch.zeros(2).double()
        w = pyro.sample("w", dist.LogNormal(zero[0], 1.0))
        with pyro.plate("data", N, subsample=rows):
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            a = pyro.sample("a", dist.Gamma(zero[0] + 2, 2.0))
            px = dist.Normal(self.decoder(z) + a[:, None], 0.5 * w)
            pyro.sample("x", px.to_event(1), obs=x)


def plates(x: Tensor, rows: Tensor) -> pyro.plate:
    return pyro.plate("data", N, subsample=rows)


def joined(model: Model) -> AutoGuideList:
    guide = AutoGuideList(model, create_plates=plates)
    guide.append(AutoNormal(poutine.block(model, expose=["z"])))
    guide.append(AutoDelta(poutine.block(model, expose=["a"])))
    guide.append(AutoMultivariateNormal(poutine.block(model, expose=["w"])))
    return guide


BY_ROW: dict[str, Callable[[Model], Any]] = {
    "AutoNormal": lambda model: AutoNormal(model, create_plates=plates),
    "AutoDelta": lambda model: AutoDelta(model, create_plates=plates),
    "AutoGuideList": joined,
    "AutoNormalMessenger": AutoNormalMessenger,
    "AutoHierarchicalNormalMessenger": AutoHierarchicalNormalMessenger,
    "amortized": lambda model: AutoRegressiveMessenger(model, amortized_plates=("data",)),
}
WHOLE: dict[str, Callable[[Model], Any]] = {
    guide.__name__: guide
    for guide in (
        AutoDiagonalNormal,
        AutoMultivariateNormal,
        AutoLowRankMultivariateNormal,
        AutoIAFNormal,
        AutoStructured,
    )
} | {"AutoGaussianDense": AutoGaussian}
IN_ORDER = WHOLE | {"AutoNormal": AutoNormal, "AutoDelta": AutoDelta}


def data(rows: Tensor) -> tuple[Tensor, Tensor]:
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    return x[rows], rows


def made(build: Callable[[Model], Any], rows: Tensor) -> tuple[Model, Any]:
    """A model and its guide, which has seen these rows."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    model = Model()
    guide = build(model)
    guide(*data(rows))
    return model, guide


def assert_pyros_loss(model: Model, guide: Any, rows: Tensor) -> None:
    elbo, losses = BetaELBO(analytic_kl=False), []
    for objective in (elbo, Trace_ELBO(), elbo):
        pyro.set_rng_seed(1)
        losses.append(objective.loss(model, guide, *data(rows)))
    assert losses[0] == losses[2]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    pyro.set_rng_seed(1)
    assert elbo(model, guide)(*data(rows)).item() == losses[0]


@pytest.mark.full(but=["AutoNormal", "AutoStructured", "amortized"])
@pytest.mark.parametrize("name", BY_ROW | IN_ORDER)
def test_all_data_give_pyros_loss(name: str) -> None:
    rows = torch.arange(N)
    for guides in (BY_ROW, IN_ORDER):
        if name in guides:
            assert_pyros_loss(*made(guides[name], rows), rows)


@pytest.mark.full(but=["AutoNormal", "AutoDelta"])
@pytest.mark.parametrize("name", BY_ROW)
def test_a_batch_gives_pyros_loss(name: str) -> None:
    assert_pyros_loss(*made(BY_ROW[name], FEW), FEW)


@pytest.mark.full(but=["AutoDelta", "AutoStructured"])
@pytest.mark.parametrize("name", IN_ORDER)
def test_a_batch_of_rows_that_the_guide_does_not_know_is_refused(name: str) -> None:
    expected = "holds one vector" if name in WHOLE else "draws rows of its own.*create_plates="
    with pytest.raises(ModelError, match=f"{name} {expected}"):
        BetaELBO().loss(*made(IN_ORDER[name], FEW), *data(FEW))
    model, guide = made(IN_ORDER[name], torch.arange(N))
    with pytest.raises(ModelError, match=f"{name} has latents of its own"):
        BetaELBO().loss(model, guide, *data(FEW))


@pytest.mark.full(but=["AutoDelta", "AutoNormal"])
@pytest.mark.parametrize("name", sorted(BY_ROW.keys() - {"amortized"}))
def test_all_rows_in_another_order_are_refused(name: str) -> None:
    """Pyro takes the parameters in their order then, whatever the rows are."""
    model, guide = made(BY_ROW[name], torch.arange(N))
    for rows in (torch.arange(N).flip(0), torch.arange(2 * N) % N):
        with pytest.raises(ModelError, match=r"in their order|latents of its own"):
            BetaELBO().loss(model, guide, *data(rows))


def test_rows_that_are_no_numbers_are_refused() -> None:
    model = Model()
    guide = AutoNormal(model, create_plates=lambda x, rows: pyro.plate("data", N, subsample=x))
    with pytest.raises(ModelError, match=r"no row numbers: give the programs the row numbers"):
        BetaELBO().loss(model, guide, *data(FEW))


def test_its_parameters_are_trained_by_every_way() -> None:
    rows = torch.arange(N)
    model, guide = made(BY_ROW["AutoNormal"], rows)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), loss=BetaELBO())
    before = guide.locs.z.detach().clone()
    svi.step(*data(FEW))
    moved = (guide.locs.z.detach() != before).any(1)
    assert moved.tolist() == [row in FEW for row in range(N)]
    module = BetaELBO()(model, guide)
    assert {id(p) for p in guide.parameters()} <= {id(p) for p in module.parameters()}


def experiment(*, plates_given: bool = True, **settings: Any) -> Experiment:
    torch.manual_seed(0)
    model = Model()
    guide = AutoNormal(model, **({"create_plates": plates} if plates_given else {}))
    settings = {"elbo": BetaELBO(), "epochs": 4, "batch_size": 5} | settings
    return Experiment(model, guide, data=data(torch.arange(N)), **settings)


@pytest.mark.full
def test_a_run_trains_them_and_is_loaded_and_evaluated(tmp_path: Path) -> None:
    elbo = AggregateELBO(alpha=1.0, divergence=MMD())
    run = train(experiment(elbo=elbo), tmp_path / "run")
    names = [name.partition(".")[2] for name in run.state.parameters]
    assert {"locs.z_unconstrained", "scales.a_unconstrained", "locs.w_unconstrained"} <= set(names)
    loaded = load(tmp_path / "run", experiment=experiment(elbo=elbo))
    for name, parameter in run.state.parameters.items():
        assert torch.equal(parameter, loaded.state.parameters[name])
    with pytest.warns(UserWarning, match="auxiliary site"):
        measured = evaluate(run, num_importance_samples=5)["train"]
    assert torch.tensor([measured["elbo"], measured["importance_weighted_log_px"]]).isfinite().all()
    assert "auxiliary site" in measured["left_out"]["mutual_information"]


def test_a_run_refuses_what_its_guide_cannot_know(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="AutoNormal draws rows of its own"):
        train(experiment(plates_given=False), tmp_path / "a")
    with pytest.raises(ExperimentError, match=r"AutoNormal has latents of its own.*test_data"):
        train(experiment(test_data=data(FEW)), tmp_path / "b")


@pytest.mark.full
def test_of_a_vae(tmp_path: Path) -> None:
    def prior() -> Tensor:
        return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    x = torch.randn(N, D)
    vae = VAE(prior, nn.Identity(), MLPDecoder(2, D), size=N)
    for guide in (AutoNormal(vae.model), AutoMultivariateNormal(vae.model)):
        run = train(
            Experiment(vae.model, guide, data=x, elbo=BetaELBO(), epochs=3),
            tmp_path / type(guide).__name__,
        )
        with pytest.warns(UserWarning, match="left out"):
            measured = evaluate(run, num_importance_samples=3)["train"]
        is_local = isinstance(guide, AutoNormal)
        assert ("importance_weighted_log_px" in measured) == is_local
