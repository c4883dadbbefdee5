"""Labels: p(z) is the model's own marginal over them, one for data with a label and without."""

import math
from collections.abc import Callable
from itertools import combinations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp import MMD, AggregateELBO, ExclusiveKL, InclusiveKL, TotalCorrelationELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.programs import traces
from pyro_decomp.programs.enumeration import companion, unlabelled
from pyro_decomp.programs.traces import TracePair
from tests.conditional import LOCS, SHARES, N, U, X, normal, shares
from tests.divergences.sites import traced
from tests.statistics import assert_mean

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
SCALE = torch.tensor(0.5, dtype=torch.double)
LABELS = torch.tensor([0, 2, 1, 0, 1])
TABLE = torch.stack([SHARES.roll(k) for k in range(3)])
KNOWN = torch.tensor([True, False, True, True, False])


def encoder(x: Tensor, *others: Tensor) -> None:
    with pyro.plate("data", N, subsample=x):
        pyro.sample("z", normal(0.5 * x, 0.6))


def of_all(x: Tensor, labels: Tensor) -> None:
    with pyro.plate("data", N, subsample=x):
        c = pyro.sample("c", dist.Categorical(SHARES), obs=labels)
        z = pyro.sample("z", normal(LOCS[c], 0.5))
        pyro.sample("x", normal(z), obs=x)


def of_some(x: Tensor, labels: Tensor) -> None:
    known = KNOWN[: len(x)]
    with pyro.plate("data", N, subsample=x):
        c = pyro.sample("c", dist.Categorical(SHARES), obs=labels, obs_mask=known)
        z = pyro.sample("z", normal(LOCS[c], 0.5))
        pyro.sample("x", normal(z), obs=x)


def through_a_component(x: Tensor, labels: Tensor) -> None:
    """The label tells of a component, which is summed out, and the component of the code."""
    with pyro.plate("data", N, subsample=x):
        c = pyro.sample("c", dist.Categorical(SHARES), obs=labels)
        d = pyro.sample("d", dist.Categorical(TABLE[c]))
        z = pyro.sample("z", normal(LOCS[d], 0.5))
        pyro.sample("x", normal(z), obs=x)


def marginal(weights: Tensor, z: Tensor) -> Tensor:
    return (normal(LOCS, 0.5).log_prob(z[:, None]) + weights.log()).logsumexp(1)


MODELS: dict[str, tuple[Callable[[Tensor, Tensor], None], str, Tensor]] = {
    "of all data": (of_all, "c", SHARES),
    "of some data": (of_some, "c_observed", SHARES),
    "through a component": (through_a_component, "c", SHARES @ TABLE),
}
every_model = pytest.mark.parametrize(("model", "label", "weights"), MODELS.values(), ids=MODELS)


def codes(pair: TracePair) -> Tensor:
    value: Tensor = pair.guide.nodes["z"]["value"]
    return value


@every_model
def test_the_prior_is_summed_over_all_labels(
    model: Callable[[Tensor, Tensor], None], label: str, weights: Tensor
) -> None:
    pair = traced(model, encoder, X, LABELS)
    assert pair.prior_inputs.labels == (label,)
    assert not pair.prior_inputs.given  # one prior for all data, whatever their labels
    log_qz = pair.aggregate_posterior.log_prob({"z": codes(pair)})
    expected = (log_qz - marginal(weights, codes(pair))).mean()
    torch.testing.assert_close(ExclusiveKL()(pair), expected, **CLOSE)


@pytest.mark.full(but=["of some data"])
@every_model
def test_draws_are_of_the_marginal(
    model: Callable[[Tensor, Tensor], None], label: str, weights: Tensor
) -> None:
    pyro.set_rng_seed(0)
    pair = traced(model, encoder, X, LABELS)
    z, log_pz = pair.prior.draw(400)
    torch.testing.assert_close(log_pz, marginal(weights, z["z"]), **CLOSE)
    assert_mean(z["z"], weights @ LOCS)
    pyro.set_rng_seed(1)
    z, log_pz = pair.prior.draw(7)
    expected = (log_pz - pair.aggregate_posterior.log_prob(z)).mean()
    pyro.set_rng_seed(1)
    torch.testing.assert_close(InclusiveKL(7)(pair), expected, **CLOSE)
    assert MMD()(pair).isfinite()


def test_labels_may_depend_on_what_is_given() -> None:
    """Over all batches the mixture of the marginals is unbiased."""

    def model(x: Tensor, labels: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", shares(u), obs=labels)
            z = pyro.sample("z", normal(LOCS[c], 0.5))
            pyro.sample("x", normal(z), obs=x)

    z = torch.randn(N, 2, dtype=torch.double)
    each = [marginal(shares(u[None]).probs[0], z) for u in U]
    log_pz = torch.stack(each).logsumexp(0) - math.log(N)
    ratios = torch.zeros(N, dtype=torch.double)
    for batch in combinations(range(N), 2):
        rows = list(batch)
        pair = traced(model, encoder, X[rows], LABELS[rows], U[rows])
        assert pair.prior_inputs.labels == ("c",)
        assert pair.prior_inputs.given == {"the argument 'u'"}
        weights = pair.pair_weights("stratified_averaged")
        ratios[rows] += (
            pair.aggregate_prior.log_prob({"z": z[rows]}, weights) - log_pz[rows]
        ).exp()
    torch.testing.assert_close(ratios / (N - 1), torch.ones(N).double(), **CLOSE)


def test_gradients_reach_what_a_label_is_given() -> None:
    """The gradient of the mixture over data, of marginals over labels, is that by hand."""
    u = U.clone().requires_grad_()

    def model(x: Tensor, labels: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", shares(u), obs=labels)
            z = pyro.sample("z", normal(LOCS[c], 0.5))
            pyro.sample("x", normal(z), obs=x)

    pair = traced(model, encoder, X, LABELS, u)
    z = torch.randn(N, 2, dtype=torch.double)
    weights = pair.pair_weights("stratified_averaged")
    found = torch.autograd.grad(pair.aggregate_prior.log_prob({"z": z}, weights).sum(), u)
    each = [marginal(shares(row[None]).probs[0], z) for row in u]
    expected = torch.autograd.grad(torch.stack(each).logsumexp(0).sum(), u)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_the_elbo_keeps_the_prior_of_the_label() -> None:
    elbo = AggregateELBO(1.0, 1.0, ExclusiveKL())
    estimate = elbo.evaluate(of_all, encoder, X, LABELS)
    expected = torch.distributions.kl_divergence(normal(0.5 * X, 0.6), normal(LOCS[LABELS], 0.5))
    torch.testing.assert_close(estimate.terms["kl"], expected.mean(), **CLOSE)


def test_a_mixture_over_labels_is_no_product_over_dimensions() -> None:
    with pytest.raises(ModelError, match="site 'z': its prior is a mixture over 'c'"):
        TotalCorrelationELBO(1.0, 2.0, 1.0).evaluate(of_all, encoder, X, LABELS)


def test_a_continuous_site_that_is_observed_is_no_label_but_given() -> None:
    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("u", normal(torch.zeros(1).double(), 3.0), obs=u)
            z = pyro.sample("z", normal(u.expand(-1, 2)))
            pyro.sample("x", normal(z), obs=x)

    pair = traced(model, encoder, X, U)
    assert not pair.prior_inputs.labels
    assert pair.prior_inputs.given == {"the argument 'u'", "u"}


def test_counts_without_an_end_are_given_too() -> None:
    def model(x: Tensor, counts: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            n = pyro.sample("n", dist.Poisson(torch.ones(()).double()), obs=counts)
            z = pyro.sample("z", normal(n[:, None].expand(-1, 2)))
            pyro.sample("x", normal(z), obs=x)

    pair = traced(model, encoder, X, LABELS.double())
    assert "n" in pair.prior_inputs.given
    expected = normal(LABELS[:, None].double().expand(-1, 2)).log_prob(codes(pair)[:, None])
    found = pair.aggregate_prior.log_prob({"z": codes(pair)})
    torch.testing.assert_close(found, expected.logsumexp(1) - math.log(N), **CLOSE)


@pytest.mark.parametrize("way", ["obs_mask", "its own site", "its own site, masked"])
def test_a_label_drawn_in_the_guide_for_some_data_is_refused(way: str) -> None:
    def guide(x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            q = dist.Categorical(torch.ones(len(x), 3).double())
            if way == "obs_mask":
                pyro.sample("c", q, obs=labels, obs_mask=KNOWN)
            elif way == "its own site":
                pyro.sample("c_unobserved", q)
            else:
                pyro.sample("c_unobserved", q.mask(~KNOWN))
            pyro.sample("z", normal(0.5 * x, 0.6))

    for divergence in (InclusiveKL(), ExclusiveKL(), MMD()):
        with pytest.raises(ModelError, match="'c' is observed for some of the data and drawn"):
            AggregateELBO(1.0, 1.0, divergence).evaluate(of_some, guide, X, LABELS)
    plain = AggregateELBO(1.0, 0.0).evaluate(of_some, guide, X, LABELS)
    assert plain.objective.isfinite()
    remedy = AggregateELBO(1.0, 1.0, ExclusiveKL()).evaluate(of_some, encoder, X, LABELS)
    assert remedy.objective.isfinite()


def test_the_program_alone() -> None:
    assert companion("c_observed") == "c_unobserved"
    assert companion("c") is None
    with pyro.poutine.trace() as traced:
        unlabelled(of_some, ("c_observed",))(X, LABELS)
    nodes = traced.trace.nodes
    assert not nodes["c_observed"]["is_observed"]
    assert torch.equal(nodes["c_unobserved"]["value"], nodes["c_observed"]["value"])
    assert torch.equal(nodes["c"]["value"], nodes["c_observed"]["value"])


@pytest.mark.parametrize("most", [64, 0], ids=["in turn", "at once"])
def test_labels_of_each_part_of_a_datum(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label for each of two dimensions, in a plate of their own."""
    monkeypatch.setattr(traces, "MOST_RUNS", most)
    places = torch.tensor([-1.0, 0.2, 1.5], dtype=torch.double)

    def model(x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            with pyro.plate("parts", 2, dim=-2):
                c = pyro.sample("c", dist.Categorical(SHARES), obs=labels)
                z = pyro.sample("z", dist.Normal(places[c], SCALE))
            pyro.sample("x", normal(z.movedim(-2, -1)), obs=x)

    def guide(x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", N, subsample=x), pyro.plate("parts", 2, dim=-2):
            pyro.sample("z", dist.Normal(0.5 * x.T, SCALE))

    pair = traced(model, guide, X, torch.stack([LABELS, LABELS.flip(0)]))
    z = codes(pair)
    expected = (dist.Normal(places, SCALE).log_prob(z[..., None]) + SHARES.log()).logsumexp(-1)
    torch.testing.assert_close(pair.prior.log_prob({"z": z}), expected.sum(0), **CLOSE)


def test_a_program_that_does_not_broadcast_over_labels() -> None:
    """Each value of a label is given to it as the data's labels are."""

    def model(x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", dist.Categorical(SHARES), obs=labels)
            one_hot = torch.nn.functional.one_hot(c, 3).double()
            z = pyro.sample("z", normal(torch.cat([one_hot, one_hot], 1)[:, :5:4], 0.5))
            pyro.sample("x", normal(z), obs=x)

    pair = traced(model, encoder, X, LABELS)
    places = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.double)
    each = normal(places, 0.5).log_prob(codes(pair)[:, None]) + SHARES.log()
    torch.testing.assert_close(pair.prior.log_prob({"z": codes(pair)}), each.logsumexp(1), **CLOSE)
