"""Codes and reconstructions against closed forms, and inferred components against Bayes."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pyro_decomp.analysis import encoding
from pyro_decomp.analysis.latents import codes, latents, log_likelihood, reconstruct
from pyro_decomp.distributions import VonMisesFisher
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.training.run import Run
from tests.enumerated import ENUMERATED, mixture_seen_by_the_decoder
from tests.example_programs import (
    PROGRAMS,
    D,
    K,
    N,
    Programs,
    functions,
    hierarchy,
    nested_plates,
    parameters,
    pyro_modules,
    vae,
)
from tests.runs import parameter, run_of
from tests.statistics import assert_mean

FIXED_SIZE = {"VAE, full batch", "user's scale", "user's mask"}  # not of N data
TABLE = {n: make for n, make in {**PROGRAMS, **ENUMERATED}.items() if n not in FIXED_SIZE}
DRAWS = 4000


def data(n: int = N) -> Tensor:
    return torch.randn(n, D, dtype=torch.double)


def likelihood_of(model: Callable[..., Any]) -> Programs:
    """A model of one standard Normal latent, whose guide is its prior."""

    def guide(*batch: Tensor) -> None:
        with pyro.plate("data", N, subsample=batch[0]):
            loc = pyro.param("loc", torch.zeros(K).double())
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    return Programs(model, guide, data())


@pytest.mark.full(but=["VAE", "nested plates", "mixture", "spikes", "a global latent"])
@pytest.mark.parametrize("name", TABLE)
def test_codes_are_a_row_a_datum_whatever_the_batch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(TABLE[name]())
    found = latents(run)
    assert all(len(value) == N for value in found.values())
    flat = torch.cat([value.reshape(N, -1).double() for value in found.values()], -1)
    torch.testing.assert_close(codes(run), flat)
    order = torch.randperm(N)
    for key, value in latents(run, run.data.x[order]).items():
        torch.testing.assert_close(value, found[key][order])
    decoded = reconstruct(run)
    assert decoded.shape == run.data.x.shape
    monkeypatch.setattr(encoding, "BATCH_ELEMENTS", 7 * D)
    for key, value in latents(run).items():
        torch.testing.assert_close(value, found[key])
    torch.testing.assert_close(reconstruct(run), decoded)
    monkeypatch.setattr(encoding, "BATCH_ELEMENTS", 1)
    for key, value in latents(run, run.data[:2]).items():
        torch.testing.assert_close(value, found[key][:2])


@pytest.mark.full(but=["VAE", "nested plates", "mixture"])
@pytest.mark.parametrize("name", TABLE)
def test_a_seed_fixes_draws_and_leaves_the_generators_alone(name: str) -> None:
    run = run_of(TABLE[name]())
    torch.manual_seed(5)
    expected = torch.rand(3), np.random.rand()
    torch.manual_seed(5)
    state = np.random.get_state()
    one, same, other = (latents(run, kind="sample", seed=seed) for seed in (1, 1, 2))
    np.random.set_state(state)
    assert torch.equal(torch.rand(3), expected[0])
    for key in one:
        assert torch.equal(one[key], same[key])
    if name != "a Delta guide":
        assert any(not torch.equal(one[key], other[key]) for key in one)


def encoder_of(run: Run) -> Any:
    return next(m for m in run.state.modules for m in m.modules() if "Encoder" in type(m).__name__)


def test_codes_of_a_vae_are_its_encoders_means() -> None:
    run = run_of(vae())
    with torch.no_grad():
        expected = encoder_of(run)(run.data.x).mean
    torch.testing.assert_close(codes(run), expected)


@pytest.mark.parametrize(
    "order", ["mean-field", "same", "reverse"], ids=lambda order: f"guide {order}"
)
def test_a_site_has_its_mean_given_those_before(order: str) -> None:
    run = run_of(hierarchy(order))
    first, second = run.data.x @ parameter(run, "encoding")
    second = second + 0.5 * first * (order != "mean-field")
    found = latents(run)
    names = ("z2", "z1") if order == "reverse" else ("z1", "z2")
    torch.testing.assert_close([found[name] for name in names], [first, second])
    assert list(found) == ["z1", "z2"]
    draws = latents(run, run.data.x[:1].expand(DRAWS, D), kind="sample")
    assert_mean(draws[names[1]], second[0])


def test_codes_beside_global_latents_and_in_plates() -> None:
    run = run_of(pyro_modules())
    guide = next(m for m in run.state.modules if hasattr(m, "encoder"))
    model = next(m for m in run.state.modules if hasattr(m, "decoder"))
    with torch.no_grad():
        z = guide.encoder(run.data.x)
        torch.testing.assert_close(latents(run), {"z": z})
        torch.testing.assert_close(reconstruct(run), model.decoder(z) + guide.loc)
    run = run_of(nested_plates())
    torch.testing.assert_close(latents(run), {"part": run.data.x @ parameter(run, "encoding")})


def exact_component(run: Run, x: Tensor, z: Tensor) -> Tensor:
    """Log p(c | x, z) of the mixture that the decoder sees, ``[n, C]``."""
    logits, locs = parameter(run, "logits"), parameter(run, "locs")
    x_loc = (z @ parameter(run, "decoding"))[:, None] + parameter(run, "decoded shifts")
    joint = logits + dist.Normal(locs, 0.5).to_event(1).log_prob(z[:, None])
    joint = joint + dist.Normal(x_loc, 0.8).to_event(1).log_prob(x[:, None])
    return joint.log_softmax(-1)


def test_a_component_of_the_model_alone_is_inferred_by_bayes() -> None:
    run = run_of(mixture_seen_by_the_decoder())
    found = latents(run)
    z = run.data.x @ parameter(run, "encoding")
    expected = exact_component(run, run.data.x, z)
    assert list(found) == ["c", "z"]
    torch.testing.assert_close(found["z"], z)
    assert torch.equal(found["c"], expected.argmax(-1))
    assert found["c"].unique().numel() > 1
    torch.testing.assert_close(
        reconstruct(run),
        z @ parameter(run, "decoding") + parameter(run, "decoded shifts")[found["c"]],
    )


def test_a_drawn_component_has_the_posterior_given_the_drawn_code() -> None:
    run = run_of(mixture_seen_by_the_decoder())
    x = data(DRAWS)
    found = latents(run, x, kind="sample")
    expected = exact_component(run, x, found["z"]).exp()
    assert expected.max(-1).values.mean() < 0.99  # else nothing would be tested
    assert_mean(one_hot(found["c"], 4) - expected, 0.0)


def test_a_component_of_the_guide_is_its_likeliest() -> None:
    run = run_of(ENUMERATED["component in the guide"]())
    c = (run.data.x @ parameter(run, "classifier")).argmax(-1)
    z = run.data.x @ parameter(run, "encoding") + parameter(run, "shifts")[c]
    torch.testing.assert_close(latents(run), {"c": c, "z": z})


def test_discrete_sites_in_a_plate_are_inferred_one_by_one() -> None:
    run = run_of(ENUMERATED["spikes"]())
    z = run.data.x @ parameter(run, "encoding")
    log_spike = 0.8 * dist.Normal(0.0, 0.2).log_prob(z).exp()
    log_slab = 0.2 * dist.Normal(0.0, 1.0).log_prob(z).exp()
    expected = {"is_spike": (log_spike > log_slab).double(), "z": z}
    torch.testing.assert_close(latents(run), expected)


def test_a_chain_of_discrete_sites_is_jointly_the_likeliest() -> None:
    run = run_of(ENUMERATED["chain"]())
    found, batch = latents(run), run.data.x
    values = list(product(range(2), range(4)))
    log_joint = []
    for c, d in values:
        given = {"c": torch.full((N,), float(c)).double(), "d": torch.full((N,), d)}
        given |= {name: found[name] for name in ("z", "u")}
        trace = pyro.poutine.trace(pyro.poutine.condition(run.model, data=given)).get_trace(batch)
        trace.compute_log_prob()
        log_joint.append(sum(trace.nodes[n]["unscaled_log_prob"] for n in ("c", "d", "z")))
    best = torch.stack(log_joint).argmax(0)
    assert [(int(c), int(d)) for c, d in zip(found["c"], found["d"], strict=True)] == [
        values[index] for index in best
    ]


def test_directions_are_on_the_sphere() -> None:
    loc = torch.nn.functional.normalize(torch.randn(K).double(), dim=-1)

    def program(x: Tensor, *, is_model: bool) -> None:
        concentration = pyro.param("concentration", torch.tensor(3.0).double())
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", VonMisesFisher(loc, concentration))
            if is_model:
                pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    run = run_of(
        Programs(partial(program, is_model=True), partial(program, is_model=False), data()),
        data()[:, :1],
    )
    torch.testing.assert_close(codes(run), loc.expand(N, K))


def test_of_several_tensors_the_first_is_reconstructed() -> None:
    def model(x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("label", dist.Bernoulli(torch.tensor(0.5).double()), obs=labels)
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            loc = z.sum(-1, keepdim=True) + labels[:, None].expand(-1, D)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    labels = (torch.arange(N) % 2).double()
    run = run_of(likelihood_of(model), (data(), labels))
    torch.testing.assert_close(reconstruct(run), labels[:, None].expand(N, D))
    swapped = (data(3), 1 - labels[:3])
    torch.testing.assert_close(reconstruct(run, swapped), (1 - labels[:3, None]).expand(3, D))


def test_coins_are_reconstructed_by_their_probability() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z.sum(-1) - 1), obs=x)

    run = run_of(likelihood_of(model), (data()[:, 0] > 0).double())
    torch.testing.assert_close(reconstruct(run), torch.tensor(-1.0).double().sigmoid().expand(N))


def test_a_likelihood_without_a_mean_gives_its_mode_or_a_draw() -> None:
    transforms = dist.transforms.ComposeTransform(
        [dist.transforms.SigmoidTransform(), dist.transforms.AffineTransform(2.0, 3.0)]
    )
    families = {
        "Cauchy": lambda z: dist.Cauchy(z[..., :1] + 3, 1.0),
        "transformed": lambda z: dist.TransformedDistribution(
            dist.Normal(z[..., :1], 1.0), [transforms]
        ),
    }
    found = {}
    for name, family in families.items():

        def model(x: Tensor, family: Any = family) -> None:
            with pyro.plate("data", N, subsample=x):
                z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
                pyro.sample("x", family(z).to_event(1), obs=x)

        run = run_of(likelihood_of(model), 2.5 + torch.rand(N, 1).double())
        found[name] = reconstruct(run, torch.full((DRAWS, 1), 2.5).double())
        assert torch.equal(found[name], reconstruct(run, torch.full((DRAWS, 1), 2.5).double()))
    assert (found["Cauchy"] == 3).all()
    assert_mean(found["transformed"], 3.5)  # symmetric about the sigmoid's middle


def test_a_family_without_a_mean_is_refused_or_drawn() -> None:
    def program(x: Tensor, *, is_model: bool) -> None:
        loc = pyro.param("loc", torch.zeros(()).double())
        with pyro.plate("data", N, subsample=x):
            base = dist.Normal(loc.expand(K), 1.0)
            squashed = dist.TransformedDistribution(base, [dist.transforms.SigmoidTransform()])
            z = pyro.sample("z", squashed.to_event(1))
            if is_model:
                pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    run = run_of(
        Programs(partial(program, is_model=True), partial(program, is_model=False), data()),
        data()[:, :1],
    )
    with pytest.raises(ModelError, match=r"'z' \(Independent.*no mean that is known.*'sample'"):
        latents(run)
    draws = codes(run, data(DRAWS)[:, :1], kind="sample")
    assert_mean(draws, 0.5)
    with pytest.raises(ValueError, match="kind: expected one of 'mean', 'sample', got 'mode'"):
        codes(run, kind="mode")  # type: ignore[arg-type]


def test_log_likelihood_is_exact_where_the_guide_is_the_posterior() -> None:
    """z ~ N(0, I), x = z + noise, and q(z|x) = N(x / 2, I / 2)."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(D).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        half = pyro.param("half", torch.tensor(0.5).double())
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(half * x, half.sqrt()).to_event(1))

    run = run_of(Programs(model, guide, data()))
    marginal = dist.Normal(torch.zeros(D).double(), 2**0.5).to_event(1)
    torch.testing.assert_close(log_likelihood(run, num_samples=3), marginal.log_prob(run.data.x))
    more = data(3 * N)
    torch.testing.assert_close(log_likelihood(run, more, num_samples=1), marginal.log_prob(more))


def test_log_likelihood_has_a_seed() -> None:
    run = run_of(functions())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (log_likelihood(run, num_samples=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not parameters().x.requires_grad


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(D), r"x: expected data of shape \(n, \d\), got \(\d,\) .a single datum is x"),
        (
            torch.zeros(3, D + 1),
            r"x: expected data that .*, \d+ of shape .*; got 3 of shape ",
        ),
        (torch.full((1, D), torch.nan), "x: expected finite numbers, got nan in row 0"),
    ],
    ids=["one datum", "longer", "not finite"],
)
def test_data_unlike_those_of_training_are_refused(x: Tensor, said: str) -> None:
    run = run_of(vae())
    with pytest.raises(DataError, match=said):
        codes(run, x)


def test_data_of_another_precision_are_taken() -> None:
    run, x = run_of(vae()), torch.randn(3, D)
    assert codes(run, x).equal(codes(run, x.double()))
