"""A model and a guide from parts: what SVI sees of them, and what they share (nothing)."""

import copy
import io
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from tests.example_programs import LearnedPrior, normal_prior
from tests.statistics import assert_mean

N, B, D, K = 20, 6, 3, 2


def made(prior: object = normal_prior, **names: str) -> VAE:
    encoder, decoder = MLPEncoder(D, K, (5,)).double(), MLPDecoder(K, D, (5,)).double()
    return VAE(prior, encoder, decoder, size=N, **names)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, D, dtype=torch.double)


def step(vae: VAE, x: Tensor) -> float:
    optimizer = pyro.optim.Adam({"lr": 0.1})
    return SVI(vae.model, vae.guide, optimizer, loss=Trace_ELBO()).step(x)


def values(vae: VAE) -> dict[str, Tensor]:
    return copy.deepcopy(vae.state_dict())


def test_two_of_them_in_one_process_share_nothing(x: Tensor) -> None:
    first, second = made(LearnedPrior()), made(LearnedPrior())
    before = values(first), values(second)
    step(first, x)
    assert not any(torch.equal(value, before[0][name]) for name, value in values(first).items())
    assert all(torch.equal(value, before[1][name]) for name, value in values(second).items())
    step(second, x)
    assert not any(torch.equal(value, before[1][name]) for name, value in values(second).items())
    assert not list(pyro.get_param_store().keys())


def test_the_order_of_training_does_not_matter(x: Tensor) -> None:
    start = made()
    alone, after = copy.deepcopy(start), copy.deepcopy(start)
    pyro.set_rng_seed(1)
    step(alone, x)
    step(made(), x)
    pyro.set_rng_seed(1)
    step(after, x)
    for name, value in values(alone).items():
        assert torch.equal(value, values(after)[name])


def test_the_traces_have_the_plate_the_sites_and_every_parameter(x: Tensor) -> None:
    vae = made(LearnedPrior())
    guide = pyro.poutine.trace(vae.guide).get_trace(x)
    model = pyro.poutine.trace(pyro.poutine.replay(vae.model, guide)).get_trace(x)
    for site in (guide.nodes["z"], model.nodes["z"], model.nodes["x"]):
        (frame,) = site["cond_indep_stack"]
        assert (frame.name, frame.size, frame.full_size) == ("data", B, N)
        assert site["fn"].batch_shape == (B,)
    with pyro.poutine.trace(param_only=True) as captured:
        vae.guide(x)
        vae.model(x)
    seen = {name: site["value"].unconstrained() for name, site in captured.trace.nodes.items()}
    assert {name: id(p) for name, p in seen.items()} == {
        n: id(p) for n, p in vae.named_parameters()
    }
    assert model.nodes["x"]["value"] is x
    torch.testing.assert_close(
        model.log_prob_sum(),
        (N / B)
        * (
            dist.Normal(vae.prior.loc, 1.0).log_prob(guide.nodes["z"]["value"]).sum()
            + vae.decoder(guide.nodes["z"]["value"]).log_prob(x).sum()
        ),
    )


def test_names_of_the_sites_are_the_users(x: Tensor) -> None:
    def prior() -> Tensor:
        return pyro.sample("code", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))

    vae = made(prior, latent="code", observed="pixels")
    (pair,) = AggregateELBO().trace_pairs(vae.model, vae.guide, x)
    assert (pair.latents, pair.observed) == (["code"], ["pixels"])


def test_what_the_prior_returns_is_what_is_decoded(x: Tensor) -> None:
    class Identity(nn.Module):
        def forward(self, z: Tensor) -> dist.TorchDistribution:
            return dist.Normal(z, 1.0).to_event(1)

    def prior() -> Tensor:
        z = normal_prior()
        return 100 + torch.cat([z, z[:, :1]], -1)

    vae = VAE(prior, MLPEncoder(D, K).double(), Identity(), size=N)
    trace = pyro.poutine.trace(pyro.poutine.uncondition(vae.model)).get_trace(x)
    draws = trace.nodes["x"]["value"]
    assert_mean(draws.flatten(), 100.0)


def test_frozen_parameters_stay(x: Tensor) -> None:
    vae = made(LearnedPrior())
    vae.prior.loc.requires_grad_(False)
    before = values(vae)
    optimizer = torch.optim.Adam([p for p in vae.parameters() if p.requires_grad])
    loss = AggregateELBO()(vae.model, vae.guide)(x)
    loss.backward()
    optimizer.step()
    assert torch.equal(vae.prior.loc, before["prior.loc"])


def test_the_state_makes_the_round_trip(x: Tensor) -> None:
    trained, fresh = made(LearnedPrior()), made(LearnedPrior())
    step(trained, x)
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert_same_loss(trained, fresh, x)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_a_trained_one_can_be_copied(duplicate: object, x: Tensor) -> None:
    vae = made(LearnedPrior())
    step(vae, x)
    other = duplicate(vae)
    assert_same_loss(vae, other, x)
    before = values(vae)
    step(other, x)
    assert all(torch.equal(value, before[name]) for name, value in values(vae).items())
    assert not torch.equal(other.prior.loc, vae.prior.loc)


def assert_same_loss(one: VAE, other: VAE, x: Tensor) -> None:
    losses = []
    for vae in (one, other):
        pyro.set_rng_seed(1)
        losses.append(AggregateELBO(alpha=1.0).loss(vae.model, vae.guide, x))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("size", [0, -1, "4", 2.5, True])
def test_the_size_is_checked(size: int) -> None:
    with pytest.raises(ValueError, match=f"size: expected a positive whole number, got {size!r}"):
        VAE(normal_prior, nn.Identity(), nn.Identity(), size=size)


def test_pyros_own_elbo_sees_the_parameters_outside_svi(x: Tensor) -> None:
    vae = made()
    Trace_ELBO().loss_and_grads(vae.model, vae.guide, x)
    assert all(parameter.grad is not None for parameter in vae.parameters())


def pair_prior() -> tuple[Tensor, Tensor]:
    zeros = torch.zeros(K, dtype=torch.double)
    u = pyro.sample("u", dist.Normal(zeros, 1.0).to_event(1))
    return u, pyro.sample("v", dist.Normal(u, 0.5).to_event(1))


class SumDecoder(nn.Module):
    """Takes what the prior returns as several arguments."""

    def forward(self, u: Tensor, v: Tensor) -> dist.TorchDistribution:
        return dist.Normal((u + 2 * v).sum(-1, keepdim=True).expand(-1, D), 1.0).to_event(1)


class Heads(nn.Module):
    """One distribution for each of two sites."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Linear(D, 2 * K, dtype=torch.double)

    def forward(self, x: Tensor) -> dict[str, dist.TorchDistribution]:
        u, v = self.loc(x).chunk(2, -1)
        return {"u": dist.Normal(u, 0.3).to_event(1), "v": dist.Normal(v, 0.3).to_event(1)}


class BottomUp(Heads):
    """A program, which draws the second site first and the other given it."""

    def forward(self, x: Tensor) -> None:  # type: ignore[override]
        u, v = self.loc(x).chunk(2, -1)
        v = pyro.sample("v", dist.Normal(v, 0.3).to_event(1))
        pyro.sample("u", dist.Normal(u + v, 0.3).to_event(1))


@pytest.mark.parametrize("encoder", [Heads, BottomUp])
def test_an_encoder_of_several_sites(encoder: type[Heads], x: Tensor) -> None:
    vae = VAE(pair_prior, encoder(), SumDecoder(), size=N)
    guide = pyro.poutine.trace(vae.guide).get_trace(x)
    model = pyro.poutine.trace(pyro.poutine.replay(vae.model, trace=guide)).get_trace(x)
    u, v = guide.nodes["u"]["value"], guide.nodes["v"]["value"]
    assert u.shape == v.shape == (B, K)
    torch.testing.assert_close(model.nodes["x"]["fn"].mean[:, 0], (u + 2 * v).sum(-1))
    expected = vae.encoder.loc(x)[:, :K] + (v if encoder is BottomUp else 0)
    torch.testing.assert_close(guide.nodes["u"]["fn"].mean, expected)
    before = values(vae)
    step(vae, x)
    assert not torch.equal(vae.encoder.loc.weight, before["encoder.loc.weight"])
    elbo = AggregateELBO(0.5, 2.0)
    pyro.set_rng_seed(0)
    loss = elbo.differentiable_loss(vae.model, vae.guide, x)
    (gradient,) = torch.autograd.grad(loss, [vae.encoder.loc.weight])
    assert gradient.abs().min() > 0


class Part(nn.Module):
    """A network whose forward returns what a function makes of a linear map."""

    def __init__(self, sizes: tuple[int, int], make: object) -> None:
        super().__init__()
        self.linear, self.make = nn.Linear(*sizes, dtype=torch.double), make

    def forward(self, x: Tensor) -> object:
        return self.make(self.linear(x))


def two(h: Tensor) -> tuple[Tensor, Tensor]:
    return h, h.exp()


def sampled(fn: object) -> object:
    return lambda: pyro.sample("z", fn)


def normal(h: Tensor) -> dist.TorchDistribution:
    return dist.Normal(h, 1.0).to_event(1)


def of_torch(h: Tensor) -> torch.distributions.Distribution:
    return torch.distributions.Independent(torch.distributions.Normal(h, 1.0), 1)


STANDARD = normal(torch.zeros(K, dtype=torch.double))
RETURNS: dict[str, tuple[object, str, object]] = {  # what it returns, what is said, the remedy
    "a pair": (
        two,
        r"returned a tuple \(Tensor, Tensor\), .* of the two, such as dist.Normal\(loc, scale\)",
        lambda h: dist.Normal(*two(h)).to_event(1),
    ),
    "a tensor": (
        lambda h: h,
        rf"returned a tensor of shape \({B}, .\), .* dist.Normal\(loc, 1.0\).to_event\(1\) with it",
        normal,
    ),
    "nothing": (lambda h: None, r"returned None, expected a distribution", normal),
    "a distribution of torch": (of_torch, ".*: take the same of pyro.distributions", normal),
}


@pytest.mark.parametrize(("wrong", "message", "right"), RETURNS.values(), ids=RETURNS)
@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_what_a_network_returned_is_named_and_the_remedy_trains(
    role: str, wrong: object, message: str, right: object, x: Tensor
) -> None:
    def vae(make: object) -> VAE:
        parts = {"encoder": Part((D, K), normal), "decoder": Part((K, D), normal)}
        parts[role].make = make
        return VAE(sampled(STANDARD), **parts, size=N)

    for run in (step, lambda vae, x: AggregateELBO().loss(vae.model, vae.guide, x)):
        with pytest.raises(ModelError, match=f"the {role} {message}") as raised:
            run(vae(wrong), x)
    assert "\n" not in str(raised.value)
    assert step(vae(right), x) < torch.inf


def test_a_dictionary_of_tensors_is_named(x: Tensor) -> None:
    vae = VAE(sampled(STANDARD), Part((D, K), lambda h: {"z": h}), Part((K, D), normal), size=N)
    with pytest.raises(ModelError, match="the encoder, for site 'z', returned a tensor"):
        step(vae, x)


def test_an_encoder_that_samples_may_return_anything(x: Tensor) -> None:
    encoder = Part((D, K), lambda h: pyro.sample("z", normal(h)))
    step(VAE(sampled(STANDARD), encoder, Part((K, D), normal), size=N), x)


PRIORS: dict[str, tuple[object, str]] = {
    "a distribution": (STANDARD, r"prior: expected a program .* got a distribution \(Independent"),
    "a tensor": (torch.zeros(K), r"prior: .* got a tensor of shape \(2,\): give a function that"),
    "a network": (nn.Linear(K, K), r"prior: .* without arguments, got Linear \(missing a required"),
    "a program with arguments": (lambda x: x, "prior: .* called without arguments, got <lambda>"),
    "a class": (
        LearnedPrior,
        r"got the class LearnedPrior: give one of it, LearnedPrior\(\.",
    ),
    "a function of a distribution": (
        lambda: STANDARD,
        r"the prior returned a distribution .* re",
    ),
    "a function of nothing": (
        lambda: None,
        r"the prior returned None, .* return pyro\.sample\('z",
    ),
    "a function of a tensor": (
        lambda: torch.zeros(K).double(),
        "'z' is not in the model: it draws no",
    ),
}


@pytest.mark.parametrize(("prior", "message"), PRIORS.values(), ids=PRIORS)
def test_a_prior_of_another_kind_is_named(prior: object, message: str, x: Tensor) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        AggregateELBO().loss(*programs_of(made(prior)), x.double())
    assert "\n" not in str(raised.value)


def programs_of(vae: VAE) -> tuple[object, object]:
    return vae.model, vae.guide


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize("part", [None, Part, normal])
def test_a_part_that_is_no_network_is_named(name: str, part: object) -> None:
    parts = {"encoder": nn.Identity(), "decoder": nn.Identity()} | {name: part}
    with pytest.raises(ModelError, match=f"{name}: expected a network"):
        VAE(normal_prior, **parts, size=N)
