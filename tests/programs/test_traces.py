"""What a pair of traces says per datum, free of plates and handlers."""

from contextlib import ExitStack, nullcontext
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_decomp import AggregateELBO, BetaELBO
from pyro_decomp.distributions.closed_form_kl import analytic_kl
from pyro_decomp.divergences import ExclusiveKL
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import data_plate, sample_sites
from pyro_decomp.programs.traces import TracePair
from tests.example_programs import PROGRAMS, B, N, Programs, functions, hierarchy, vae


def pair_of(programs: Programs) -> TracePair:
    pyro.clear_param_store()
    (pair,) = AggregateELBO().trace_pairs(programs.model, programs.guide, programs.x)
    return pair


@pytest.mark.full(but=["VAE", "nested plates", "two sites", "user's mask"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_per_datum_values_add_up_to_pyros_sums(name: str) -> None:
    pair = pair_of(PROGRAMS[name]())
    pair.model.compute_log_prob()
    pair.guide.compute_log_prob()
    sites = [
        *((name, False) for name in (*pair.observed, *pair.latents, *pair.global_latents)),
        *((name, True) for name in (*pair.latents, *pair.auxiliaries, *pair.global_latents)),
    ]
    for site, guide in sites:
        log_prob = pair.scaled.log_prob(site, guide=guide)
        trace = pair.guide if guide else pair.model
        outside = site in pair.global_latents
        assert log_prob.shape == (() if outside else (B,))
        weight = 1 if pair.rows.weight is None else pair.rows.weight
        scale = 1 if outside else weight * pair.num_data / pair.batch_size
        torch.testing.assert_close((scale * log_prob).sum(), trace.nodes[site]["log_prob_sum"])


def test_sites_are_sorted_by_where_they_are() -> None:
    pair = pair_of(PROGRAMS["a global latent"]())
    assert (pair.latents, pair.global_latents, pair.observed) == (["z"], ["noise"], ["x"])
    assert (pair.batch_size, pair.num_data, pair.data_plate.name) == (B, N, "data")
    pair = pair_of(PROGRAMS["an auxiliary site"]())
    assert (pair.latents, pair.auxiliaries) == (["z"], ["u"])
    pair = pair_of(hierarchy("reverse"))
    assert pair.latents == ["z2", "z1"]  # the guide's order


def test_rows_are_the_datas_own() -> None:
    pair = pair_of(vae())
    log_px = pair.log_prob("x")
    fn, x = pair.model.nodes["x"]["fn"], pair.model.nodes["x"]["value"]
    torch.testing.assert_close(log_px, torch.stack([fn.log_prob(x)[i] for i in range(B)]))
    q, p = pair.guide.nodes["z"]["fn"], pair.model.nodes["z"]["fn"]
    torch.testing.assert_close(pair.kl("z"), kl_divergence(q, p))


def test_a_users_scale_and_mask_are_of_rows() -> None:
    plain = functions()
    scale, kept = torch.linspace(0.5, 2, B).double(), torch.arange(B) != 2
    with poutine.scale(scale=scale), poutine.mask(mask=kept):
        pair = pair_of(plain)
    fn, x = pair.model.nodes["x"]["fn"], pair.model.nodes["x"]["value"]
    torch.testing.assert_close(pair.log_prob("x"), fn.log_prob(x) * kept)
    q, p = pair.guide.nodes["z"]["fn"], pair.model.nodes["z"]["fn"]
    torch.testing.assert_close(pair.kl("z"), kl_divergence(q, p) * kept)
    torch.testing.assert_close(pair.counts, scale * kept)
    expected = (scale * kept * kl_divergence(q, p)).sum() / (scale * kept).sum()
    torch.testing.assert_close(pair.mean(pair.kl("z")), expected)
    torch.testing.assert_close(pair.total, (scale * kept).sum() * N / B)


def test_the_data_plate_may_lie_left_of_another() -> None:
    def model(x: Tensor) -> None:
        data, part = pyro.plate("data", N, subsample=x, dim=-2), pyro.plate("part", 4, dim=-1)
        with data, part:
            z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
        with data:
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0), obs=x[:, :1])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x, dim=-2), pyro.plate("part", 4, dim=-1):
            pyro.sample("z", dist.Normal(x @ torch.ones(3, 4).double(), 0.5))

    pair = pair_of(Programs(model, guide, torch.randn(B, 3).double()))
    z = pair.guide.nodes["z"]["value"]
    expected = dist.Normal(z.sum(-1), 1.0).log_prob(pair.model.nodes["x"]["value"][:, 0])
    torch.testing.assert_close(pair.log_prob("x"), expected)
    torch.testing.assert_close(pair.log_prob("z"), dist.Normal(0.0, 1.0).log_prob(z).sum(-1))
    assert len(pair.aggregate_posterior) == B
    log_qz = pair.aggregate_posterior.log_prob({"z": z})
    pairs = pair.guide.nodes["z"]["fn"].log_prob(z[:, None]).sum(-1)
    torch.testing.assert_close(log_qz, pairs.logsumexp(1) - torch.tensor(B).double().log())


def test_the_aggregate_posterior_is_that_of_the_batch() -> None:
    pair = pair_of(hierarchy("mean-field"))
    qz = pair.aggregate_posterior
    assert list(qz.qz_x) == ["z1", "z2"]
    assert len(qz) == B
    values = {name: pair.guide.nodes[name]["value"] for name in pair.latents}
    pairs = sum(fn.log_prob(values[name][:, None]) for name, fn in qz.qz_x.items())
    expected = pairs.logsumexp(1) - torch.tensor(B).double().log()
    torch.testing.assert_close(qz.log_prob(values), expected)


def test_a_global_latent_is_no_dependence_between_data() -> None:
    def model(x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(shift, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(x[:, 0] - shift, 1.0))

    pair = pair_of(Programs(model, guide, torch.randn(B, 3).double()))
    assert pair.guide_dependencies == {"shift": set(), "z": {"shift"}}
    assert len(pair.aggregate_posterior) == B


def test_deterministic_sites_are_not_random() -> None:
    plain = functions()

    def model(x: Tensor) -> None:
        plain.model(x)
        pyro.deterministic("copy", x)

    pair = pair_of(Programs(model, plain.guide, plain.x))
    assert "copy" in pair.model.nodes
    assert [site["name"] for site in sample_sites(pair.model)] == ["z", "x"]
    assert pair.observed == ["x"]


NORMAL = dist.Normal(torch.zeros(4, 2), 1.0).to_event(1)


@pytest.mark.parametrize(
    ("q", "p", "has_closed_form"),
    [
        (NORMAL, NORMAL, True),
        (dist.Laplace(torch.zeros(4, 2), 1.0).to_event(1), NORMAL, True),
        (NORMAL, dist.MultivariateNormal(torch.zeros(2), torch.eye(2)).expand([4]), True),
        (NORMAL, dist.StudentT(3.0, torch.zeros(4, 2)).to_event(1), False),
        (NORMAL, dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), NORMAL.base_dist), False),
        (dist.Delta(torch.zeros(4, 2), torch.ones(4, 2)).to_event(1), NORMAL, False),
        (dist.Delta(torch.zeros(4, 2), torch.ones(4), event_dim=1), NORMAL, False),
        (NORMAL.mask(False), NORMAL.mask(False), False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_closed_form_is_used_where_it_is_right(
    q: dist.TorchDistribution, p: dist.TorchDistribution, has_closed_form: bool
) -> None:
    kl = analytic_kl(q, p)
    assert (kl is not None) == has_closed_form
    if kl is not None:
        torch.testing.assert_close(kl, kl_divergence(q, p))


def plated(*names: str) -> poutine.Trace:
    def model() -> None:
        with ExitStack() as stack:
            for i, name in enumerate(names):
                stack.enter_context(pyro.plate(name, 3, dim=-1 - i))
            pyro.sample("z", dist.Normal(0.0, 1.0))

    return poutine.trace(model).get_trace()


def test_the_data_plate_is_the_one_named_data_or_the_only_one() -> None:
    assert data_plate(plated("data")).name == "data"
    assert data_plate(plated("cells")).name == "cells"
    assert data_plate(plated("parts", "data")).dim == -2
    with pytest.raises(ModelError, match=r"the model has no data plate: open pyro\.plate"):
        data_plate(plated())
    with pytest.raises(ModelError, match=r"plates '.*', '.*' and none is named 'data'"):
        data_plate(plated("rows", "columns"))


def test_programs_are_looked_at_again_for_other_arguments() -> None:
    """One model with and without u: its prior is given u only where there is one."""
    u = torch.tensor([-2.0, 0.0, 2.0]).double()[:, None]
    x = torch.zeros_like(u)

    def prior(u: Tensor | None) -> Tensor:
        loc = torch.zeros_like(x) if u is None else u
        return pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    def model(x: Tensor, u: Tensor | None = None) -> None:
        with pyro.plate("data", 3, subsample=x):
            pyro.sample("x", dist.Normal(prior(u), 1.0).to_event(1), obs=x)

    def guide(x: Tensor, u: Tensor | None = None) -> None:
        with pyro.plate("data", 3, subsample=x):
            prior(u)

    elbo = AggregateELBO(1.0, 1.0, ExclusiveKL())
    for args in ((x,), (x, u), (x, None), (x, u)):
        assert elbo.evaluate(model, guide, *args).terms["divergence"].abs() < 1e-12


@pytest.mark.parametrize(
    "handler", [poutine.scale(scale=0.3), poutine.mask(mask=torch.arange(5) > 1)]
)
@pytest.mark.parametrize("role", ["model", "guide"])
def test_a_closed_form_is_not_of_sites_that_count_otherwise(handler: Any, role: str) -> None:
    """One scale or mask around one of log q and log p makes no KL of them: Pyro's own estimate."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", 5, subsample=x):
            with handler if role == "model" else nullcontext():
                z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        own = handler if role == "guide" else nullcontext()
        with pyro.plate("data", 5, subsample=x), own:
            pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1))

    x = torch.linspace(-2, 2, 5, dtype=torch.double)[:, None]
    pyro.set_rng_seed(0)
    expected = Trace_ELBO().loss(model, guide, x)
    pyro.set_rng_seed(0)
    assert BetaELBO().loss(model, guide, x) == pytest.approx(expected, rel=1e-12)
