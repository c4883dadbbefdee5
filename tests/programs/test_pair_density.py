"""A guide whose sites depend on one another, over pairs: linear-Gaussian chains in closed form."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, ExclusiveKL, InclusiveKL, TotalCorrelationELBO
from pyro_decomp.aggregate_posterior import (
    AggregatePosterior,
    Exact,
    StructuredPosterior,
    pair_weights,
    structured,
)
from pyro_decomp.divergences import Divergence
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.traces import TracePair
from tests.checking import Recorder
from tests.example_programs import B, N, hierarchy

D, CLOSE = 3, {"rtol": 1e-10, "atol": 1e-12}
PRIOR = dist.Normal(torch.zeros(2).double(), 1.0).to_event(1)


class Chain(nn.Module):
    """q(z1|x) = Normal(A x, s), q(z2|z1, x) = Normal(C x + R z1, t), all diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.randn(2, D).double()) for _ in range(2))
        self.turn = nn.Parameter(torch.randn(2, 2).double())
        self.log_scales = nn.Parameter(torch.tensor([-0.5, -1.0]).double())

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            first, second = x @ self.first.T, x @ self.second.T
            s, t = self.log_scales.exp()
            z1 = pyro.sample("z1", dist.Normal(first, s).to_event(1))
            features = torch.cat([second, z1], -1)  # as a user would write it
            loc = features[..., :2] + features[..., 2:] @ self.turn.T
            pyro.sample("z2", dist.Normal(loc, t).to_event(1))

    def joint(self, x: Tensor) -> dist.MultivariateNormal:
        """The same as one Gaussian over (z1, z2)."""
        first, second = x @ self.first.T, x @ self.second.T
        s, t = (2 * self.log_scales).exp()
        eye = torch.eye(2).double()
        across = s * self.turn
        covariance = torch.cat(
            [
                torch.cat([s * eye, across.T], 1),
                torch.cat([across, t * eye + self.turn @ across.T], 1),
            ]
        )
        loc = torch.cat([first, second + first @ self.turn.T], -1)
        return dist.MultivariateNormal(loc, covariance)


def model(x: Tensor) -> None:
    with pyro.plate("data", N, subsample=x):
        z1 = pyro.sample("z1", PRIOR)
        z2 = pyro.sample("z2", dist.Normal(0.5 * z1, 0.7).to_event(1))
        pyro.sample(
            "x",
            dist.Normal(z2.sum(-1, keepdim=True), 1.0).expand([len(x), D]).to_event(1),
            obs=x,
        )


@pytest.fixture
def chain() -> Chain:
    torch.manual_seed(0)
    return Chain()


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(B, D).double()


def pair_of(guide: Callable[[Tensor], None], x: Tensor) -> TracePair:
    return next(AggregateELBO().trace_pairs(model, guide, x))


def joined(z: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"z": torch.cat([z["z1"], z["z2"]], -1)}


@pytest.mark.parametrize("block", [2**20, 60, 1])
def test_a_chain_is_scored_as_the_gaussian_that_it_is(
    chain: Chain, x: Tensor, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structured, "BLOCK", block)
    pair = pair_of(chain, x)
    q = pair.aggregate_posterior
    assert isinstance(q, StructuredPosterior)
    assert len(q) == B
    expected = AggregatePosterior({"z": chain.joint(x)})
    parameters = list(chain.parameters())
    for estimator in ("batch", "stratified_averaged", "stratified"):
        weights = pair_weights(estimator, N, B)
        z = {name: pair.guide.nodes[name]["value"] for name in ("z1", "z2")}
        values = [q.log_prob(z, weights), expected.log_prob(joined(z), weights)]
        torch.testing.assert_close(*values, **CLOSE)
        gradients = [
            torch.autograd.grad(value.sum(), parameters, retain_graph=True) for value in values
        ]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, **CLOSE)
    z = {name: torch.randn(17, 2).double() for name in ("z1", "z2")}  # any number of samples
    torch.testing.assert_close(q.log_prob(z), expected.log_prob(joined(z)), **CLOSE)


def test_pretending_that_it_is_mean_field_would_be_wrong(chain: Chain, x: Tensor) -> None:
    pair = pair_of(chain, x)
    z = {name: pair.guide.nodes[name]["value"] for name in ("z1", "z2")}
    pretended = AggregatePosterior({name: pair.guide.nodes[name]["fn"] for name in z})
    difference = pretended.log_prob(z) - pair.aggregate_posterior.log_prob(z)
    assert difference.abs().max() > 0.1


@pytest.mark.parametrize("divergence", [InclusiveKL(), ExclusiveKL(), ExclusiveKL("batch")])
def test_divergences_of_a_chain(chain: Chain, x: Tensor, divergence: Divergence) -> None:
    pair = pair_of(chain, x)
    pyro.set_rng_seed(5)
    value = divergence(pair)
    log_p = {
        n: pair.model.nodes[n]["fn"].log_prob(pair.model.nodes[n]["value"]) for n in ("z1", "z2")
    }
    expected = AggregatePosterior({"z": chain.joint(x)})
    if isinstance(divergence, InclusiveKL):
        pyro.set_rng_seed(5)
        z, log_pz = pair.prior.draw()
        reference = log_pz - expected.log_prob(joined(z))
    else:
        z = {name: pair.guide.nodes[name]["value"] for name in log_p}
        weights = pair_weights(divergence.estimator, N, B)
        reference = expected.log_prob(joined(z), weights) - sum(log_p.values())
    torch.testing.assert_close(value, reference.mean(), **CLOSE)


def test_the_whole_data_set_as_reference(chain: Chain, x: Tensor) -> None:
    data = torch.cat([x, torch.randn(N - B, D).double()])
    pair = pair_of(chain, x)
    value = ExclusiveKL(Exact(data))(pair)
    z = {name: pair.guide.nodes[name]["value"] for name in ("z1", "z2")}
    log_q = AggregatePosterior({"z": chain.joint(data)}).log_prob(joined(z))
    log_p = sum(pair.model.nodes[n]["fn"].log_prob(z[n]) for n in z)
    torch.testing.assert_close(value, (log_q - log_p).mean(), **CLOSE)


def test_a_site_scored_in_its_own_plate(x: Tensor) -> None:
    """Four parts a datum, each pair of them a chain of its own."""
    weight = torch.randn(D, 4).double()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x), pyro.plate("parts", 4):
            a = pyro.sample("a", dist.Normal((x @ weight).T, 0.5))
            pyro.sample("b", dist.Normal((x @ weight).T - a, 0.3))

    def parts(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            with pyro.plate("parts", 4):
                a = pyro.sample("a", dist.Normal(torch.zeros(()).double(), 1.0))
                pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([D]).to_event(1), obs=x)

    pair = next(AggregateELBO().trace_pairs(parts, guide, x))
    a, b = (pair.guide.nodes[name]["value"] for name in "ab")  # [4, B]
    loc = (x @ weight).T
    pairs = sum(
        dist.Normal(loc[k], 0.5).log_prob(a[k, :, None])
        + dist.Normal(loc[k] - a[k, :, None], 0.3).log_prob(b[k, :, None])
        for k in range(4)
    )
    expected = pairs.logsumexp(1) - math.log(B)
    torch.testing.assert_close(
        pair.aggregate_posterior.log_prob({"a": a, "b": b}), expected, **CLOSE
    )


def test_what_depends_on_the_data_alone_is_computed_once(x: Tensor) -> None:
    """The encoder runs on B data, not on B x B pairs."""
    sizes = Recorder()

    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            sizes.append(torch.func.debug_unwrap(y, recurse=True).numel() // 2)
            return y

    encoder, head = Watched(D, 2).double(), Watched(4, 2).double()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            features = encoder(x)
            z1 = pyro.sample("z1", dist.Normal(features, 1.0).to_event(1))
            pyro.sample("z2", dist.Normal(head(torch.cat([features, z1], -1)), 1.0).to_event(1))

    pair = pair_of(guide, x)
    ExclusiveKL()(pair)  # the first finds out how the guide is to be run
    del pair.aggregate_posterior
    sizes.clear()
    ExclusiveKL()(pair)
    assert sizes == [B, B * B]


def test_what_depends_on_a_code_alone_is_computed_once_a_sample(x: Tensor) -> None:
    sizes = Recorder()

    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            sizes.append(torch.func.debug_unwrap(y, recurse=True).numel() // 2)
            return y

    encoder, head = Watched(D, 2).double(), Watched(2, 2).double()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z1 = pyro.sample("z1", dist.Normal(encoder(x), 1.0).to_event(1))
            pyro.sample("z2", dist.Normal(head(z1), 1.0).to_event(1))

    pair = pair_of(guide, x)
    value = ExclusiveKL()(pair)
    del pair.aggregate_posterior
    sizes.clear()
    torch.testing.assert_close(ExclusiveKL()(pair), value, **CLOSE)
    assert sizes == [B, B]
    z = {name: pair.guide.nodes[name]["value"] for name in ("z1", "z2")}
    first = dist.Normal(encoder(x), 1.0).to_event(1).log_prob(z["z1"][:, None])
    second = dist.Normal(head(z["z1"]), 1.0).to_event(1).log_prob(z["z2"])
    expected = first.logsumexp(1) - math.log(B) + second
    torch.testing.assert_close(pair.aggregate_posterior.log_prob(z), expected, **CLOSE)


def test_a_guide_that_mixes_the_data_of_a_batch_is_copied(x: Tensor) -> None:
    """It gives something else where a value is not there once for every datum."""

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z1 = pyro.sample("z1", dist.Normal(x[:, :2], 1.0).to_event(1))
            loc = z1 + z1.sum(0) / 10
            pyro.sample("z2", dist.Normal(loc, 1.0).to_event(1))

    pair = pair_of(guide, x)
    z = {name: pair.guide.nodes[name]["value"] for name in ("z1", "z2")}
    first = dist.Normal(x[:, :2], 1.0).to_event(1).log_prob(z["z1"][:, None])
    loc = z["z1"] * (1 + B / 10)  # a copy for every datum
    second = dist.Normal(loc, 1.0).to_event(1).log_prob(z["z2"])
    expected = first.logsumexp(1) - math.log(B) + second
    torch.testing.assert_close(pair.aggregate_posterior.log_prob(z), expected, **CLOSE)


def test_mean_field_guides_keep_the_fast_path(x: Tensor) -> None:
    for order, kind in (("mean-field", AggregatePosterior), ("same", StructuredPosterior)):
        programs = hierarchy(order)
        pair = next(AggregateELBO().trace_pairs(programs.model, programs.guide, programs.x))
        assert type(pair.aggregate_posterior) is kind
        assert pair.is_structured == (kind is StructuredPosterior)


def branching(x: Tensor) -> None:
    with pyro.plate("data", N, subsample=x):
        z1 = pyro.sample("z1", dist.Normal(x[:, :2], 1.0).to_event(1))
        loc = z1 if bool((z1 > 0).all()) else z1 + 1
        pyro.sample("z2", dist.Normal(loc, 1.0).to_event(1))


def test_what_cannot_be_run_for_pairs_is_refused_in_a_sentence(chain: Chain, x: Tensor) -> None:
    with pytest.raises(
        ModelError, match=r"cannot be run for pairs .* torch\.func\.vmap \("
    ) as error:
        ExclusiveKL()(pair_of(branching, x))
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="depend on one another, so that the marginals of q"):
        pair_of(chain, x).aggregate_posterior.log_densities({})
    with pytest.raises(ModelError):
        TotalCorrelationELBO(beta=2.0).evaluate(model, chain, x)


def after_the_code(layer: nn.Module) -> Callable[[Tensor], None]:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z1 = pyro.sample("z1", dist.Normal(x[:, :2], 1.0).to_event(1))
            pyro.sample("z2", dist.Normal(layer(z1), 1.0).to_event(1))

    return guide


@pytest.mark.parametrize(
    ("layer", "hint"),
    [(nn.Dropout(0.5), "without dropout"), (nn.BatchNorm1d(2).double(), "expected LayerNorm")],
    ids=["dropout", "batch normalisation"],
)
def test_layers_that_pairs_cannot_go_through_are_named(
    layer: nn.Module, hint: str, x: Tensor
) -> None:
    with pytest.raises(ModelError, match=hint):
        ExclusiveKL()(pair_of(after_the_code(layer), x))


def test_random_numbers_and_buffers_are_left_alone(chain: Chain, x: Tensor) -> None:
    pair = pair_of(chain, x)
    state = torch.get_rng_state()
    ExclusiveKL()(pair)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("block", [2**20, 20])
def test_an_encoder_with_batch_normalisation_sees_each_batch_once(
    x: Tensor, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structured, "BLOCK", block)
    norm, weight = nn.BatchNorm1d(D).double(), torch.randn(D, 2).double().requires_grad_()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            features = norm(x) @ weight
            z1 = pyro.sample("z1", dist.Normal(features, 1.0).to_event(1))
            pyro.sample("z2", dist.Normal(features + z1, 1.0).to_event(1))

    elbo, statistics = AggregateELBO(1.0, 1.0, ExclusiveKL()), norm.running_mean
    for step in range(1, 4):
        elbo.evaluate(model, guide, x).loss.backward()
        assert int(norm.num_batches_tracked) == step
    assert norm.running_mean is statistics
    torch.testing.assert_close(statistics, (1 - 0.9**3) * x.mean(0), **CLOSE)
