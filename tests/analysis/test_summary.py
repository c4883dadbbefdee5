"""What a summary says of programs whose sites, dependencies and parameters are known."""

import io
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from pyro_decomp import (
    MMD,
    VAE,
    AggregateELBO,
    BetaELBO,
    ExclusiveKL,
    Experiment,
    FactorELBO,
    InclusiveKL,
    TotalCorrelationELBO,
)
from pyro_decomp.analysis.summary import Summary, describe, summarize
from pyro_decomp.cli.tables import summary_view
from pyro_decomp.networks import Discriminator, MLPDecoder, MLPEncoder
from pyro_decomp.schedules import Linear
from pyro_decomp.training.state import prepare
from tests.enumerated import ENUMERATED
from tests.example_programs import (
    PROGRAMS,
    D,
    K,
    LearnedPrior,
    N,
    Programs,
    functions,
    hierarchy,
    nested_plates,
    parameters,
    pyro_modules,
    vae,
)

TABLE = {**PROGRAMS, **ENUMERATED}


def summary_of(programs: Any, elbo: Any = None, data: Any = None, **settings: Any) -> Summary:
    data = torch.randn(N, D).double() if data is None else data
    experiment = Experiment(programs.model, programs.guide, data, elbo or BetaELBO(), **settings)
    return summarize(experiment, prepare(experiment))


def roles(summary: Summary) -> dict[str, str]:
    return {site.name: site.role for site in (*summary.guide, *summary.model)}


def parents(summary: Summary) -> dict[str, tuple[str, ...]]:
    return {site.name: site.depends_on for site in summary.model}


def shown(summary: Summary, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_view(summary))
    return console.file.getvalue()


def test_a_vae() -> None:
    summary = summary_of(vae(), batch_size=6)
    assert (summary.num_data, summary.batch_size, summary.datum_shapes) == (N, 6, ((D,),))
    z, x = summary.model
    assert (z.role, z.distribution, z.shape, z.depends_on) == ("latent", "Normal", (K,), ())
    assert (x.role, x.distribution, x.shape, x.depends_on) == ("observed", "Normal", (D,), ("z",))
    assert [site.name for site in summary.guide] == ["z"]
    assert summary.prior == (z,)
    assert summary.kl == {"z": "analytic"}
    assert not summary.is_structured


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PyroModules", {"shift": "global", "z": "latent", "x": "observed"}),
        ("an auxiliary site", {"u": "auxiliary", "z": "latent", "x": "observed"}),
        ("mixture", {"c": "summed out", "z": "latent", "x": "observed"}),
        ("component in the guide", {"c": "latent", "z": "latent", "x": "observed"}),
        ("one in the guide", {"c": "latent", "z": "latent", "d": "summed out", "x": "observed"}),
    ],
)
def test_the_role_of_every_site(name: str, expected: dict[str, str]) -> None:
    assert roles(summary_of(TABLE[name]())) == expected


def test_a_label_has_its_role_and_its_weight() -> None:
    def model(x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("y", dist.Bernoulli(torch.tensor(0.5).double()), obs=y)
            z = pyro.sample("z", dist.Normal(y, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor, y: Tensor) -> None:
        slope = pyro.param("slope", torch.tensor(0.5).double())
        with pyro.plate("data", N, subsample=x):
            pyro.sample("y", dist.Bernoulli(logits=slope * x), obs=y)
            pyro.sample("z", dist.Normal(slope * x, 1.0))

    data = torch.randn(N).double(), (torch.arange(N) % 2).double()
    summary = summary_of(Programs(model, guide, data[0]), data=data)
    assert roles(summary) == {"y": "label", "z": "latent", "x": "observed"}
    assert summary.weights == {"supervision": 1.0, "log_likelihood": 1.0, "kl": -1.0}
    assert summary.datum_shapes == ((), ())
    assert [site.name for site in summary.prior] == ["z"]


@pytest.mark.parametrize(
    ("order", "is_structured"), [("mean-field", False), ("same", True), ("reverse", True)]
)
def test_dependencies_and_how_the_kl_is_estimated(order: str, is_structured: bool) -> None:
    summary = summary_of(hierarchy(order))
    assert parents(summary) == {"z1": (), "z2": ("z1",), "x": ("z2",)}
    assert summary.is_structured == is_structured
    of_guide = {site.name: site.depends_on for site in summary.guide}
    assert (
        of_guide
        == {
            "mean-field": {"z1": (), "z2": ()},
            "same": {"z1": (), "z2": ("z1",)},
            "reverse": {"z2": (), "z1": ("z2",)},
        }[order]
    )
    assert summary.kl["z2"] == ("Monte Carlo" if order == "reverse" else "analytic")


def test_depending_on_a_global_latent_is_not_structure() -> None:
    def model(x: Tensor) -> None:
        level = pyro.sample("level", dist.Normal(torch.tensor(0.0).double(), 1.0))
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(level, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).expand((N, D)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", torch.tensor(0.0).double())
        level = pyro.sample("level", dist.Normal(loc, 1.0))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(level + x.sum(-1), 1.0))

    summary = summary_of(Programs(model, guide, torch.zeros(0)))
    assert parents(summary) == {"level": (), "z": ("level",), "x": ("z",)}
    assert not summary.is_structured
    assert summary.weights == {"log_likelihood": 1.0, "kl": -1.0, "global_kl": -1.0}


def test_discrete_parents_are_seen_through_indexing() -> None:
    summary = summary_of(ENUMERATED["chain"]())
    assert parents(summary) == {"c": (), "d": ("c",), "z": ("d",), "u": (), "x": ("u", "z")}
    assert summary.kl == {"z": "Monte Carlo", "u": "analytic"}


def test_other_plates_are_part_of_a_shape() -> None:
    (part, x) = summary_of(nested_plates()).model
    assert (part.shape, x.shape) == ((4,), (D,))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (vae, {"encoder (MLPEncoder)": 44, "decoder (MLPDecoder)": 51}),
        (
            lambda: vae(LearnedPrior()),
            {"prior (LearnedPrior)": 2, "encoder (MLPEncoder)": 44, "decoder (MLPDecoder)": 51},
        ),
        (functions, {"decoder (MLPDecoder)": 51, "encoder (MLPEncoder)": 44}),
        (parameters, {"encoding": 6, "noise": 1, "scale": 2, "weight": 6}),
        (
            pyro_modules,
            {"decoder (PyroLinear)": 9, "noise": 1, "encoder (PyroLinear)": 8, "loc": 3},
        ),
    ],
)
def test_parameters_are_counted_by_their_authors_names(make: Any, expected: dict[str, int]) -> None:
    assert summary_of(make()).parameters == expected


def test_what_is_shared_or_frozen_is_counted_once_or_not_at_all() -> None:
    shared = nn.Linear(D, K).double()

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = shared

        def forward(self, x: Tensor) -> Any:
            return dist.Normal(self.body(x), 1.0).to_event(1)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = shared
            self.frozen = nn.Parameter(torch.zeros(D).double(), requires_grad=False)
            self.scale = nn.Parameter(torch.ones(D).double())

        def forward(self, z: Tensor) -> Any:
            return dist.Normal(z @ self.body.weight + self.frozen, self.scale).to_event(1)

    def prior() -> Tensor:
        return pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))

    summary = summary_of(VAE(prior, Encoder(), Decoder(), size=N))
    assert summary.parameters == {"encoder (Encoder)": D * K + K, "decoder (Decoder)": D}


def test_an_auxiliary_network_is_named_after_its_purpose() -> None:
    discriminator = Discriminator(K, (20,)).double()
    summary = summary_of(vae(), FactorELBO(10.0, discriminator), batch_size=6)
    count = sum(parameter.numel() for parameter in discriminator.parameters())
    assert summary.parameters["discriminator (Discriminator)"] == count
    assert summary.weights["total_correlation"] == -10


@pytest.mark.parametrize(
    ("elbo", "line"),
    [
        (BetaELBO(4.0), "BetaELBO: log_likelihood - 4 kl"),
        (AggregateELBO(0.5, 3.0), "AggregateELBO: log_likelihood - 0.5 kl - 3 divergence"),
        (AggregateELBO(1.0, 0.0), "AggregateELBO: log_likelihood - kl"),
        (
            TotalCorrelationELBO(beta=6.0, estimator="stratified"),
            "TotalCorrelationELBO: log_likelihood - kl - 5 total_correlation",
        ),
    ],
)
def test_the_objective_is_written_as_by_hand(elbo: Any, line: str) -> None:
    lines = [" ".join(row.split()) for row in shown(summary_of(vae(), elbo), 120).splitlines()]
    assert f"objective {line}" in lines
    assert ("divergence InclusiveKL" in lines) == ("- 3 divergence" in line)


def test_divergences_and_schedules_are_named() -> None:
    elbo = AggregateELBO(1.0, 2.0, InclusiveKL() + 0.5 * MMD())
    summary = summary_of(vae(), elbo, schedules={"beta": Linear(0.0, 1.0, until=0.5)})
    assert summary.divergence == "1 InclusiveKL + 0.5 MMD"
    assert summary.schedules == ("beta",)
    assert "scheduled   beta" in shown(summary)


def test_families_are_described_with_what_is_inside() -> None:
    normal = dist.Normal(torch.zeros(5, K), 1.0).to_event(1)
    flow = dist.TransformedDistribution(normal, [dist.transforms.AffineCoupling(1, nn.Identity())])
    sparse = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(3, 2)), dist.Laplace(torch.zeros(3, 2), 1.0)
    )
    assert describe(flow) == "Normal > AffineCoupling"
    assert describe(sparse.to_event(1)) == "mixture of 2 Laplace"
    assert describe(dist.LogNormal(torch.zeros(2), 1.0).to_event(1)) == "LogNormal"
    assert describe(normal.mask(False)) == "Normal"


def test_looking_changes_nothing() -> None:
    class Encoder(MLPEncoder):
        def __init__(self) -> None:
            super().__init__(D, K, hidden=(5,))
            self.norm = nn.BatchNorm1d(D)

        def forward(self, x: Tensor) -> Any:
            return super().forward(self.norm(x))

    def prior() -> Tensor:
        return pyro.sample("z", dist.Normal(torch.zeros(K), 1.0).to_event(1))

    networks = VAE(prior, Encoder(), MLPDecoder(K, D, hidden=(5,)), size=N)
    experiment = Experiment(networks.model, networks.guide, torch.randn(N, D), BetaELBO())
    state = prepare(experiment)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    first = summarize(experiment, state)
    assert torch.equal(torch.rand(3), expected)
    for name, value in networks.state_dict().items():
        assert torch.equal(value, before[name])
    assert summarize(experiment, state) == first


@pytest.mark.full(but=["VAE-*"])
@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["VAE", "one in the guide", "two sites, guide in reverse order"])
def test_it_is_short_and_fits(name: str, width: int) -> None:
    summary = summary_of(TABLE[name](), AggregateELBO(2.0, 3.0, ExclusiveKL()))
    lines = shown(summary, width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= (12 if width >= 80 else 18)
    names = {site.name for site in (*summary.model, *summary.guide)}
    assert names <= {line.split()[0] for line in lines if line.strip()}
    if width >= 80:
        rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.strip()}
        assert rows["data"] == f"{N} of shape {D}, all in each step"
    if name == "two sites, guide in reverse order" and width >= 80:
        assert rows["site"] == "role shape model guide (structured) KL"
        assert rows["z1"] == "latent 2 Normal Normal given z2 analytic"
        assert rows["z2"] == "latent 2 Normal given z1 Normal Monte Carlo"


def test_brackets_in_names_are_shown_as_they_are() -> None:
    def program(x: Tensor, *, is_model: bool) -> None:
        loc = pyro.param("[bold]", torch.zeros(()).double())
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z[1]", dist.Normal(loc, 1.0))
            if is_model:
                pyro.sample("x", dist.Normal(z[:, None].expand(-1, D), 1.0).to_event(1), obs=x)

    programs = Programs(partial(program, is_model=True), partial(program, is_model=False), None)
    text = shown(summary_of(programs))
    assert "z[1]" in text
    assert "[bold] 1" in text
