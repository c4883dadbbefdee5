"""Every broken pair gives one sentence that names the site and the fix; every good one passes."""

import re
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_decomp import AggregateELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.programs import preflight
from tests.example_programs import PROGRAMS

N, B, D, K = 20, 6, 3, 2
Program = Callable[[Tensor], Any]


def data_plate(x: Tensor, name: str = "data", size: int = N) -> pyro.plate:
    return pyro.plate(name, size, subsample=x)


def normal(loc: Tensor | float, shape: tuple[int, ...] = (K,)) -> dist.TorchDistribution:
    return dist.Normal(loc + torch.zeros(shape), 1.0)


def prior() -> Tensor:
    return pyro.sample("z", normal(0.0).to_event(1))


def observe(z: Tensor, x: Tensor) -> None:
    pyro.sample("x", normal(z.sum(-1, keepdim=True), (D,)).to_event(1), obs=x)


def model(x: Tensor) -> None:
    with data_plate(x):
        observe(prior(), x)


def guide(x: Tensor) -> None:
    with data_plate(x):
        pyro.sample("z", normal(x[:, :K]).to_event(1))


def model_with(
    z: Callable[[], dist.TorchDistribution] = lambda: normal(0.0).to_event(1),
    x_fn: Callable[[Tensor], dist.TorchDistribution] | None = None,
) -> Program:
    def model(x: Tensor) -> None:
        with data_plate(x):
            value = pyro.sample("z", z())
            if x_fn is None:
                observe(value.reshape(len(x), -1).float(), x)
            else:
                pyro.sample("x", x_fn(value), obs=x)

    return model


def guide_with(z: Callable[[Tensor], dist.TorchDistribution], **settings: Any) -> Program:
    def guide(x: Tensor) -> None:
        with data_plate(x, **settings):
            pyro.sample("z", z(x))

    return guide


def without_plate(x: Tensor) -> None:
    observe(pyro.sample("z", normal(0.0, (B, K)).to_event(2)), x)


def two_plates(x: Tensor) -> None:
    with data_plate(x, "rows"), pyro.plate("columns", 4):
        pyro.sample("w", dist.Normal(0.0, 1.0))


def sequential(x: Tensor) -> None:
    for i in pyro.plate("data", B):
        pyro.sample(f"z{i}", dist.Normal(0.0, 1.0))


def with_another(
    name: str, fn: dist.TorchDistribution, program: Program, **settings: Any
) -> Program:
    def wrapped(x: Tensor) -> None:
        program(x)
        pyro.sample(name, fn, **settings)

    return wrapped


def latent_outside(x: Tensor) -> None:
    z = pyro.sample("z", normal(0.0).to_event(1))
    with data_plate(x):
        observe(z, x)


def guide_outside(x: Tensor) -> None:
    pyro.sample("z", normal(0.0).to_event(1))


def nothing_observed(x: Tensor) -> None:
    with data_plate(x):
        prior()


def observed_outside(x: Tensor) -> None:
    with data_plate(x):
        z = prior()
    pyro.sample("total", dist.Normal(z.sum(), 1.0), obs=torch.tensor(1.0))


def only_deterministic(x: Tensor) -> None:
    with data_plate(x):
        pyro.deterministic("x", prior())


def bernoulli(z: Tensor) -> dist.TorchDistribution:
    return dist.Bernoulli(logits=z.sum(-1, keepdim=True).expand(-1, D)).to_event(1)


def continuous_bernoulli(z: Tensor) -> dist.TorchDistribution:
    return dist.ContinuousBernoulli(logits=z.sum(-1, keepdim=True).expand(-1, D)).to_event(1)


def unit(*shape: int) -> dist.TorchDistribution:
    return dist.Normal(torch.zeros(shape), 1.0)


def angle() -> dist.TorchDistribution:
    return dist.VonMises(torch.zeros(K), 1.0)


RANDOM, GREY = torch.randn(B, D), torch.linspace(0, 1, B * D).view(B, D)

WITH_NAN = torch.cat([torch.full((1, D), torch.nan), torch.randn(B - 1, D)])


def without_prior(x: Tensor) -> None:
    with data_plate(x):
        observe(torch.zeros(K), x)


def returns(make: Callable[[Tensor], Any]) -> Program:
    def guide(x: Tensor) -> Any:
        with data_plate(x):
            return make(x)

    return guide


def observing(make: Callable[[Tensor], Any], fn: dist.TorchDistribution | None = None) -> Program:
    def model(x: Tensor) -> None:
        with data_plate(x):
            prior()
            pyro.sample("x", bernoulli(x) if fn is None else fn, obs=make(x))

    return model


BROKEN: dict[str, tuple[Program, Program, Tensor, str]] = {
    "a guide that returns a distribution": (
        model,
        returns(lambda x: normal(x[:, :K]).to_event(1)),
        RANDOM,
        r"'z' is absent from the guide, which returned Independent and sampled nothing of that n",
    ),
    "a guide that returns two tensors": (
        model,
        returns(lambda x: (x[:, :K], x[:, :K].exp())),
        RANDOM,
        r"absent from the guide, which returned Tensor, Tensor .* pyro\.sample\('z', \.\.\.\) ther",
    ),
    "a model that samples nothing": (
        without_prior,
        guide,
        RANDOM,
        r"the guide's site 'z' is not in the model: it draws no latent site: expected pyro\.sample",
    ),
    "a tensor in the place of a likelihood": (
        model_with(x_fn=lambda z: z),
        guide,
        RANDOM,
        r"site 'x' is given a torch\.Tensor in the place of a distribution: expected one of pyro",
    ),
    "two tensors in the place of an encoding": (
        model,
        guide_with(lambda x: (x, x)),
        RANDOM,
        r"site 'z' is given a tuple in the place of a distribution",
    ),
    "a distribution of torch": (
        model,
        guide_with(lambda x: torch.distributions.Normal(x[:, 0], 1.0)),
        RANDOM,
        r"given a torch\.distributions\.normal\.Normal in the place of .* pyro\.distributions, ",
    ),
    "truth values under a Bernoulli": (
        observing(lambda x: x > 0),
        guide,
        RANDOM,
        r"the model's site 'x' observes truth values: expected numbers, as value\.float\(\) gives",
    ),
    "an array of numpy": (
        observing(lambda x: x.round().numpy(), normal(0.0, (B, D)).to_event(1)),
        guide,
        RANDOM,
        r"site 'x' has a value of type ndarray: expected a tensor, as torch\.as_tensor\(value\) is",
    ),
    "a column against numbers, which would become B x B": (
        observing(lambda x: x[:, 0], dist.Normal(torch.zeros(B, 1), 1.0)),
        guide,
        RANDOM,
        r"'x' has batch shape \(6, 6\) .* it observes values of shape \(6,\), .* loc\.squeeze\(",
    ),
    "numbers against a column": (
        observing(lambda x: x[:, :1], dist.Normal(torch.zeros(B), 1.0)),
        guide,
        RANDOM,
        r"'x' has values of shape \(6, 1\), expected \(6,\) \(batch \(6,\), event \(\)\): make the",
    ),
    "no plate": (
        without_plate,
        guide_with(lambda x: normal(0.0).to_event(1)),
        RANDOM,
        r"the model has no data plate: open pyro\.plate\(\"data\", N, subsample=x\)",
    ),
    "two plates, neither named data": (
        two_plates,
        two_plates,
        RANDOM,
        "the model has the plates '(rows', 'columns|columns', 'rows)' and none is named 'data'",
    ),
    "a sequential plate": (
        sequential,
        sequential,
        RANDOM,
        "the data plate 'data' is a sequential loop: open pyro.plate",
    ),
    "a site only in the guide": (
        model,
        with_another("extra", unit(), guide),
        RANDOM,
        "the guide's site 'extra' is not in the model: expected one of 'z'",
    ),
    "a site only in the model": (
        with_another("extra", unit(), model),
        guide,
        RANDOM,
        r"the model's latent site 'extra' is absent from the guide: expected pyro.sample\('extra'",
    ),
    "a discrete site only in the model, outside the plate": (
        with_another("component", dist.Categorical(torch.ones(4)), model),
        guide,
        RANDOM,
        "discrete site 'component' is absent from the guide and outside the data plate 'data'",
    ),
    "a discrete site without end only in the model": (
        with_another("count", dist.Poisson(torch.tensor(2.0)), model),
        guide,
        RANDOM,
        "the model's discrete site 'count' is absent from the guide and cannot be summed out",
    ),
    "several discrete dimensions declared as one event": (
        with_another("bits", dist.Bernoulli(torch.full((3,), 0.5)).to_event(1), model),
        guide,
        RANDOM,
        "discrete site 'bits' .* cannot be summed out: .* a plate in the place of .to_event",
    ),
    "labels in the model alone": (
        with_another(
            "c",
            dist.Categorical(torch.ones(B, 4)),
            model,
            obs=torch.zeros(B, dtype=torch.long),
            obs_mask=torch.arange(B) > 2,
        ),
        with_another("c", dist.Categorical(torch.ones(B, 4)), guide),
        RANDOM,
        "site 'c' is observed for some of the data in the model but drawn for all in the guide",
    ),
    "drawn in the guide, observed in the model": (
        model,
        with_another("x", unit(B, D).to_event(2), guide),
        RANDOM,
        "site 'x' is drawn in the guide but observed in the model: observe it in the guide too",
    ),
    "observed in the guide": (
        model,
        with_another("seen", unit(), guide, obs=torch.tensor(0.0)),
        RANDOM,
        "the guide's site 'seen' is observed but not in the model: expected the same label obse",
    ),
    "no to_event in the guide": (
        model,
        guide_with(lambda x: normal(x[:, :K])),
        RANDOM,
        r"shape mismatch inside plate\('data'\) at site z dim -1, 6 vs 2: .*\.to_event\(\)",
    ),
    "no to_event in the guide, B == D": (
        model_with(lambda: normal(0.0, (B,)).to_event(1)),
        guide_with(lambda x: normal(0.0, (B, B))),
        RANDOM,
        r"'z' has event shape \(\) in the guide but \(6,\) in the model: .*adjust \.to_event\(\)",
    ),
    "no to_event in either, B == D": (
        model_with(lambda: normal(0.0, (B, B))),
        guide_with(lambda x: normal(0.0, (B, B))),
        RANDOM,
        r"the guide's site 'z' has batch shape \(6, 6\) but its plates .* \.to_event\(1\)",
    ),
    "no to_event in the model, B == D": (
        model_with(x_fn=lambda z: normal(0.0, (B, B))),
        guide,
        torch.randn(B, B),
        r"the model's site 'x' has batch shape \(6, 6\) but its plates .* \.to_event\(1\)",
    ),
    "no to_event, one dimension": (
        model_with(lambda: dist.Normal(0.0, 1.0).expand([1]).to_event(1)),
        guide_with(lambda x: dist.Normal(x[:, :1], 1.0)),
        RANDOM,
        r"'z' has event shape \(\) in the guide but \(1,\) in the model: .*adjust \.to_event\(\)",
    ),
    "event shapes differ": (
        model_with(lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1)),
        guide,
        RANDOM,
        r"'z' has event shape \(2,\) in the guide but \(1,\) in the model: expected the same",
    ),
    "event dimensions differ": (
        model_with(lambda: unit(B, K)),
        guide,
        RANDOM,
        r"shape mismatch inside plate\('data'\) at site z",
    ),
    "data of another shape": (
        model_with(x_fn=lambda z: normal(0.0, (D + 1,)).to_event(1)),
        guide,
        RANDOM,
        r"the model's site 'x' has values of shape \(6, 3\), expected \(6, 4\)",
    ),
    "grey pixels for a Bernoulli": (
        model_with(x_fn=bernoulli),
        guide,
        GREY,
        r"data for site 'x' range from 0 to 1, outside the support of Bernoulli.* or use Contin",
    ),
    "data beyond a ContinuousBernoulli": (
        model_with(x_fn=continuous_bernoulli),
        guide,
        2 * GREY,
        "data for site 'x' range from 0 to 2, .* ContinuousBernoulli.*: rescale the data",
    ),
    "data that are not a number": (
        model,
        guide_with(lambda x: normal(0.0).to_event(1)),
        torch.full((B, D), torch.nan),
        r"the data for site 'x' are not all finite, first at \[0, 0\] with nan: leave such rows",
    ),
    "masked data that are not a number": (
        poutine.mask(model, mask=torch.arange(B) > 0),
        guide_with(lambda x: normal(0.0).to_event(1)),
        WITH_NAN,
        "site 'x' are not all finite, .* what is masked out must be a number too",
    ),
    "a Normal guide for a Beta prior": (
        model_with(lambda: dist.Beta(torch.ones(K), 1.0).to_event(1)),
        guide,
        RANDOM,
        "guide's draws for site 'z' .* support of Beta, .*choose a guide family with the prior's",
    ),
    "a Normal guide for a LogNormal prior": (
        model_with(lambda: dist.LogNormal(torch.zeros(K), 1.0).to_event(1)),
        guide,
        RANDOM,
        "guide's draws for site 'z' .* outside the support of LogNormal",
    ),
    "a discrete guide without end": (
        model_with(lambda: dist.Poisson(torch.ones(B))),
        guide_with(lambda x: dist.Poisson(torch.ones(B))),
        RANDOM,
        r"guide's site 'z' \(Poisson\) cannot be drawn with gradients: .*finitely many values",
    ),
    "a discrete guide outside the plate": (
        with_another("c", dist.Categorical(torch.ones(4)), model),
        with_another("c", dist.Categorical(torch.ones(4)), guide),
        RANDOM,
        "the guide's discrete site 'c' is in no plate: expected it in the data plate 'data' alone",
    ),
    "a guide without rsample": (
        model_with(lambda: angle().to_event(1)),
        guide_with(lambda x: angle().to_event(1)),
        RANDOM,
        r"guide's site 'z' \(VonMises\) cannot be drawn with gradients: use a family with rsample",
    ),
    "an auxiliary site without rsample": (
        model,
        with_another("u", dist.Poisson(2.0), guide, infer={"is_auxiliary": True}),
        RANDOM,
        r"guide's site 'u' \(Poisson\) cannot be drawn with gradients: use a family with rsample",
    ),
    "outside the plate in the model": (
        latent_outside,
        guide_with(lambda x: normal(x[:1, :K]).to_event(1).expand([B])),
        RANDOM,
        r"'z' is inside the data plate 'data' in the guide but not in the model: open pyro\.plate",
    ),
    "outside the plate in the guide": (
        model_with(lambda: normal(0.0, (B, K)).to_event(1)),
        lambda x: pyro.sample("z", normal(0.0, (B, K)).to_event(1)),
        RANDOM,
        r"'z' is inside the data plate 'data' in the model but not in the guide: open pyro\.plate",
    ),
    "a batch outside the plate": (
        latent_outside,
        lambda x: pyro.sample("z", normal(0.0, (B, K)).to_event(1)),
        RANDOM,
        r"guide's site 'z' has batch shape \(6,\) .* 0 dimension\(s\): open the data plate around",
    ),
    "another size in the guide": (
        model,
        guide_with(lambda x: normal(x[:, :K]).to_event(1), size=B),
        RANDOM,
        "the data plate 'data' around site 'z' was opened with size 6 in the guide but 20 in the",
    ),
    "another plate in the guide": (
        model,
        guide_with(lambda x: normal(x[:, :K]).to_event(1), name="rows"),
        RANDOM,
        r"'z' is inside the data plate 'data' in the model but not in the guide: open pyro\.plate",
    ),
    "nothing observed": (
        nothing_observed,
        guide,
        RANDOM,
        "no site of the model is observed inside the data plate 'data': expected the likelihood",
    ),
    "observed outside the plate": (
        observed_outside,
        guide,
        RANDOM,
        "no site of the model is observed inside the data plate 'data'",
    ),
    "a deterministic site is no likelihood": (
        only_deterministic,
        guide,
        RANDOM,
        "no site of the model is observed inside the data plate 'data'",
    ),
}


@pytest.mark.parametrize(("model", "guide", "x", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_pair_is_named_in_one_sentence(
    model: Program, guide: Program, x: Tensor, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        AggregateELBO().evaluate(model, guide, x)
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 300
    assert not re.search(r"\. |\.$", text)


def deterministic(x: Tensor) -> None:
    with data_plate(x):
        z = pyro.deterministic("decoded", prior())
        observe(z, x)
    pyro.deterministic("total", x.sum())


def masked_out(x: Tensor) -> None:
    with data_plate(x):
        z = prior()
        with poutine.mask(mask=False):
            pyro.sample("unused", bernoulli(z), obs=x.round().clamp(0, 1))
        observe(z, x)


def missing_data(x: Tensor) -> None:
    """The rows that are not a number are masked out, and filled in."""
    with data_plate(x), poutine.mask(mask=~x.isnan().any(-1)):
        observe(prior(), x.nan_to_num())


def auxiliary(x: Tensor) -> None:
    with data_plate(x):
        u = pyro.sample("u", normal(x[:, :K]).to_event(1), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Delta(u, event_dim=1))


def two_likelihoods(x: Tensor) -> None:
    with data_plate(x):
        z = prior()
        pyro.sample("left", normal(z[:, :1], (1,)).to_event(1), obs=x[:, :1])
        pyro.sample("right", dist.Normal(z[:, 1], 1.0), obs=x[:, 1])
        pyro.factor("penalty", -z.square().sum(-1))


def both_masked(x: Tensor) -> None:
    with data_plate(x):
        observe(pyro.sample("z", normal(0.0).to_event(1).mask(False)), x)


def rows_model(x: Tensor) -> None:
    with data_plate(x, "rows"):
        observe(prior(), x)


GOOD: dict[str, tuple[Program, Program, Tensor]] = {
    "plain": (model, guide, RANDOM),
    "one datum": (model, guide, RANDOM[:1]),
    "deterministic sites": (deterministic, guide, RANDOM),
    "a site under poutine.mask(False)": (masked_out, guide, RANDOM),
    "missing data under a mask": (
        missing_data,
        guide_with(lambda x: normal(x.nan_to_num()[:, :K]).to_event(1)),
        WITH_NAN,
    ),
    "an auxiliary site": (model, auxiliary, RANDOM),
    "a Delta guide": (model, guide_with(lambda x: dist.Delta(x[:, :K], event_dim=1)), RANDOM),
    "two likelihoods and a factor": (two_likelihoods, guide, RANDOM),
    "distributions masked in both": (
        both_masked,
        guide_with(lambda x: normal(x[:, :K]).to_event(1).mask(False)),
        RANDOM,
    ),
    "a plate of another name": (
        rows_model,
        guide_with(lambda x: normal(x[:, :K]).to_event(1), name="rows"),
        RANDOM,
    ),
    "black and white pixels for a Bernoulli": (model_with(x_fn=bernoulli), guide, GREY.round()),
    "grey pixels for a ContinuousBernoulli": (model_with(x_fn=continuous_bernoulli), guide, GREY),
    "latent outside the plate": (latent_outside, guide_outside, RANDOM),
}


@pytest.mark.parametrize(("model", "guide", "x"), GOOD.values(), ids=GOOD)
def test_a_good_pair_passes(model: Program, guide: Program, x: Tensor) -> None:
    estimate = AggregateELBO().evaluate(model, guide, x)
    assert set(estimate.terms) - {"global_kl"} == {"log_likelihood", "kl"}
    assert estimate.objective.isfinite()


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_plate_has_the_size_of_the_data(name: str) -> None:
    programs = PROGRAMS[name]()
    trace = poutine.trace(programs.model).get_trace(programs.x)
    size = 6 if name == "VAE, full batch" else 20
    preflight.check_plate_size(trace, size)
    message = f"the data plate 'data' was opened with size {size}, expected 400, the size of the wh"
    with pytest.raises(ModelError, match=message):
        preflight.check_plate_size(trace, 400)


def test_the_check_draws_no_random_number() -> None:
    guide_trace = poutine.trace(guide).get_trace(RANDOM)
    model_trace = poutine.trace(poutine.replay(model, guide_trace)).get_trace(RANDOM)
    before = torch.get_rng_state()
    preflight.check(model_trace, guide_trace)
    assert torch.equal(torch.get_rng_state(), before)
