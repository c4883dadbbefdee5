"""Discrete sites are summed over: Pyro's TraceEnum_ELBO, sums by hand, and refusals."""

import itertools
import math
from functools import partial
from itertools import product
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyro_decomp import MMD, AggregateELBO, BetaELBO, EntropyRegularizedELBO, ExclusiveKL
from pyro_decomp.divergences import InclusiveKL
from pyro_decomp.elbo import FactorELBO, TermsELBO, TotalCorrelationELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import Discriminator
from tests.enumerated import (
    COMPONENTS,
    ENUMERATED,
    NUM_PLATES,
    component_in_the_guide,
    components,
    decoded,
    encoded,
    guide,
    mixture,
    mixture_seen_by_the_decoder,
    spikes,
    summed_mixture,
    tensor,
)
from tests.example_programs import B, D, K, N, Programs, batch
from tests.statistics import assert_mean

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def loss_and_gradients(
    elbo: Any, programs: Programs, *names: str
) -> tuple[float, dict[str, Tensor]]:
    pyro.set_rng_seed(3)
    with poutine.trace(param_only=True) as captured:
        loss = elbo.differentiable_loss(programs.model, programs.guide, programs.x)
    sites = captured.trace.nodes.items()
    parameters = {n: site["value"].unconstrained() for n, site in sites}
    kept = {name: parameters[name] for name in names or parameters}
    gradients = torch.autograd.grad(loss, list(kept.values()))
    return loss.item(), dict(zip(kept, gradients, strict=True))


def assert_same(
    first: Any, second: Any, programs: Programs, others: Programs | None = None
) -> None:
    loss, gradients = loss_and_gradients(first, programs)
    expected, expected_gradients = loss_and_gradients(second, others or programs)
    assert loss == pytest.approx(expected, rel=1e-10)
    assert gradients.keys() == expected_gradients.keys() != set()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], **CLOSE)
        assert gradient.any(), name


@pytest.mark.full(but=["mixture-*", "chain-1"])
@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("name", ENUMERATED)
def test_the_plain_elbo_is_pyros(name: str, num_particles: int) -> None:
    programs = ENUMERATED[name]()
    marked = Programs(
        config_enumerate(programs.model), config_enumerate(programs.guide), programs.x
    )
    reference = TraceEnum_ELBO(
        num_particles=num_particles, max_plate_nesting=NUM_PLATES.get(name, 1)
    )
    elbo = BetaELBO(num_particles=num_particles, analytic_kl=False)
    loss, gradients = loss_and_gradients(elbo, programs)
    expected, expected_gradients = loss_and_gradients(reference, marked)
    assert loss == pytest.approx(expected, rel=1e-10)
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[key], **CLOSE)


@pytest.mark.parametrize(
    "elbo",
    [
        partial(BetaELBO, 3.0),
        partial(EntropyRegularizedELBO, 3.0),
        partial(AggregateELBO, 0.5, 2.0, ExclusiveKL()),
        partial(AggregateELBO, 0.5, 2.0, ExclusiveKL("batch"), num_particles=2),
    ],
)
def test_an_enumerated_mixture_is_one_of_the_same_family(elbo: partial[TermsELBO]) -> None:
    """Weights included: they apply to what is left after summing out."""
    pyro.set_rng_seed(1)
    enumerated, summed = mixture(), summed_mixture()
    summed.x = enumerated.x
    assert_same(elbo(), elbo(), enumerated, summed)


@pytest.mark.parametrize(
    "elbo",
    [partial(BetaELBO, 4.0), partial(TotalCorrelationELBO, 0.5, 3.0, 0.7)],
    ids=["beta", "total correlation"],
)
def test_a_mixture_in_a_plate_is_one_of_the_same_family(elbo: partial[TermsELBO]) -> None:
    """Spikes and slabs per dimension, where the prior is a product over dimensions."""
    programs = spikes()

    def summed(x: Tensor) -> None:
        weight = pyro.param("decoding")
        share = torch.tensor(0.8).double()
        scales = 1 - share * torch.arange(2)
        with pyro.plate("data", N, subsample=x):
            with pyro.plate("dimensions", 3):
                shares = dist.Categorical(torch.stack([1 - share, share]))
                z = pyro.sample("z", dist.MixtureSameFamily(shares, dist.Normal(0.0, scales)))
            pyro.sample("x", dist.Normal(z.mT @ weight, 0.8).to_event(1), obs=x)

    programs.parameters()
    twin = Programs(summed, programs.guide, programs.x)
    assert_same(elbo(), elbo(), programs, twin)


def test_weights_apply_after_summing_out_a_component_that_the_decoder_sees() -> None:
    programs = mixture_seen_by_the_decoder()
    pyro.set_rng_seed(3)
    estimate = BetaELBO(4.0).evaluate(programs.model, programs.guide, programs.x)
    (pair,) = estimate.pairs
    z, (weights, locs) = pair.guide.nodes["z"]["value"], components()
    log_c_z = weights.logits + dist.Normal(locs, 0.5).to_event(1).log_prob(z[:, None])
    means = z @ pyro.param("decoding")
    seen = dist.Normal(means[:, None] + pyro.param("decoded shifts"), 0.8).to_event(1)
    log_x = seen.log_prob(programs.x[:, None])
    log_pz = log_c_z.logsumexp(1)
    log_px_z = (log_c_z + log_x).logsumexp(1) - log_pz  # sum over p(c|z) p(x|z, c)
    torch.testing.assert_close(estimate.terms["log_likelihood"], log_px_z.mean(), **CLOSE)
    log_qz_x = pair.guide.nodes["z"]["fn"].log_prob(z)
    torch.testing.assert_close(estimate.terms["kl"], (log_qz_x - log_pz).mean(), **CLOSE)
    expected = estimate.terms["log_likelihood"] - 4 * estimate.terms["kl"]
    torch.testing.assert_close(estimate.objective, expected)


def test_an_expectation_over_a_component_of_the_guide() -> None:
    """By hand: a Gaussian-mixture VAE with closed forms of both KLs."""
    programs, elbo = component_in_the_guide(), BetaELBO(2.0)
    pyro.set_rng_seed(3)
    estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    assert elbo.kl_methods == {"c": "analytic", "z": "analytic"}
    x, z = programs.x, estimate.pairs[0].guide.nodes["z"]["value"]  # [COMPONENTS, B, K]
    weights, locs = components()
    q_c = dist.Categorical(logits=x @ pyro.param("classifier"))
    base = encoded(x).base_dist
    log_likelihood, kl = 0.0, kl_divergence(q_c, weights)
    for c in range(COMPONENTS):
        share = q_c.probs[:, c]
        qz_xc = dist.Normal(base.loc + pyro.param("shifts")[c], base.scale).to_event(1)
        kl = kl + share * kl_divergence(qz_xc, dist.Normal(locs[c], 0.5).expand([B, K]).to_event(1))
        px_zc = decoded(z[c], pyro.param("decoded shifts")[c])
        log_likelihood = log_likelihood + share * px_zc.log_prob(x)
    torch.testing.assert_close(estimate.terms["log_likelihood"], log_likelihood.mean(), **CLOSE)
    torch.testing.assert_close(estimate.terms["kl"], kl.mean(), **CLOSE)


@pytest.mark.parametrize("divergence", [InclusiveKL(), ExclusiveKL(), ExclusiveKL("stratified")])
def test_the_aggregate_posterior_of_a_component_and_a_code(divergence: Any) -> None:
    """By hand: q(c, z) over all pairs, and the divergence of the joint."""
    programs = component_in_the_guide()
    elbo = AggregateELBO(1.0, 1.0, divergence)
    programs.parameters()
    pyro.set_rng_seed(3)
    with torch.no_grad():
        pair = next(elbo.trace_pairs(programs.model, programs.guide, programs.x))
        generator = torch.get_rng_state()
        value = divergence(pair)
        torch.set_rng_state(generator)
    x, base = programs.x, encoded(programs.x).base_dist
    logits, shifts = (x @ pyro.param("classifier")).log_softmax(-1), pyro.param("shifts")

    def log_q(c: Tensor, z: Tensor) -> Tensor:
        """All pairs, a row a sample."""
        fn = dist.Normal(base.loc + shifts[c][:, None], base.scale).to_event(1)
        return logits.T[c] + fn.log_prob(z[:, None])

    weights, locs = components()
    if isinstance(divergence, InclusiveKL):
        z, _ = pair.prior.draw()
        log_p = weights.log_prob(z["c"]) + dist.Normal(locs[z["c"]], 0.5).to_event(1).log_prob(
            z["z"]
        )
        expected = log_p - log_q(z["c"], z["z"]).logsumexp(1) + math.log(B)
    else:
        own, others = 1 / N, (N - 1) / (N * (B - 1))
        table = torch.full((B, B), others, dtype=torch.double).fill_diagonal_(own)
        if divergence.estimator == "stratified":
            m = B - 1
            table = torch.full((B, B), 1 / m, dtype=torch.double).fill_diagonal_(own)
            rows = torch.arange(B)
            table[rows, (rows + 1) % B] = (N - m) / (N * m)
        expected = torch.zeros(B).double()
        for c in range(COMPONENTS):
            z, every = pair.guide.nodes["z"]["value"][c], torch.full((B,), c)
            log_p = weights.logits[c] + dist.Normal(locs[c], 0.5).to_event(1).log_prob(z)
            log_qz = (log_q(every, z) + table.log()).logsumexp(1)
            expected += logits[:, c].exp() * (log_qz - log_p)
    torch.testing.assert_close(value, expected.mean().detach(), **CLOSE)


def test_total_correlation_of_independent_discrete_and_continuous_sites() -> None:
    """The parts of the KL add up to it, by enumeration of the one and sampling of the other."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", dist.Categorical(logits=torch.zeros(COMPONENTS).double()))
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            pyro.sample("x", decoded(z, c[..., None] * 0.1), obs=x)

    def mean_field(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", encoded(x))
            logits = pyro.param("classifier", lambda: tensor(D, COMPONENTS))
            pyro.sample("c", dist.Categorical(logits=x @ logits))

    elbo = TotalCorrelationELBO(0.5, 2.0, 0.7, analytic_kl=False)
    terms = elbo.evaluate(model, mean_field, batch()).terms
    parts = ("mutual_information", "total_correlation", "dimensionwise_kl")
    torch.testing.assert_close(sum(terms[part] for part in parts), terms["kl"], **CLOSE)


LABELLED = torch.tensor([True, False] * (B // 2))
LABELS = torch.arange(B) % COMPONENTS


def semi_supervised(*, in_guide: bool) -> Programs:
    def model(x: Tensor) -> None:
        weights, locs = components()
        shifts = pyro.param("decoded shifts", lambda: tensor(COMPONENTS, D))
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", weights, obs=LABELS, obs_mask=LABELLED)
            z = pyro.sample("z", dist.Normal(locs[c], 0.5).to_event(1))
            pyro.sample("x", decoded(z, shifts[c]), obs=x)

    def labelling(x: Tensor) -> None:
        logits = pyro.param("classifier", lambda: tensor(D, COMPONENTS))
        shifts = pyro.param("shifts", lambda: tensor(COMPONENTS, K))
        with pyro.plate("data", N, subsample=x):
            fn = dist.Categorical(logits=x @ logits)
            c = pyro.sample("c", fn, obs=LABELS, obs_mask=LABELLED)
            qz_x = encoded(x).base_dist
            pyro.sample("z", dist.Normal(qz_x.loc + shifts[c], qz_x.scale).to_event(1))

    return Programs(model, labelling if in_guide else guide, batch())


@pytest.mark.parametrize("in_guide", [True, False])
def test_the_same_program_conditioned_on_some_labels(in_guide: bool) -> None:
    """Each datum is scored as a model with its label, or without, scores it by itself."""
    programs = semi_supervised(in_guide=in_guide)
    elbo = BetaELBO(1.0, analytic_kl=False)
    pyro.set_rng_seed(3)
    estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    (pair,) = estimate.pairs
    x, z = programs.x, pair.guide.nodes["z"]["value"]
    weights, locs = components()
    expected = []
    for i, known in enumerate(LABELLED.tolist()):
        log_ps, log_qs, shares = [], [], []
        for c in range(COMPONENTS):
            z_i = z[c, i] if in_guide else z[i]
            log_p = weights.logits[c] + dist.Normal(locs[c], 0.5).to_event(1).log_prob(z_i)
            log_p = log_p + decoded(z_i, pyro.param("decoded shifts")[c]).log_prob(x[i])
            base = encoded(x[i]).base_dist
            shift = pyro.param("shifts")[LABELS[i] if known else c] if in_guide else 0.0
            log_q = dist.Normal(base.loc + shift, base.scale).to_event(1).log_prob(z_i)
            log_ps.append(log_p)
            log_qs.append(log_q)
            shares.append((x[i] @ pyro.param("classifier")).log_softmax(-1)[c] if in_guide else 0.0)
        label = int(LABELS[i])
        if in_guide:
            terms = [
                share.exp() * (log_p - log_q - share)
                for share, log_p, log_q in zip(shares, log_ps, log_qs, strict=True)
            ]
            if known:  # drawn once for each of the values that the label leaves out
                terms = []
                for c in range(COMPONENTS):
                    log_p = weights.logits[label]
                    log_p = log_p + dist.Normal(locs[label], 0.5).to_event(1).log_prob(z[c, i])
                    shift = pyro.param("decoded shifts")[label]
                    log_p = log_p + decoded(z[c, i], shift).log_prob(x[i])
                    terms.append(shares[c].exp() * (log_p - log_qs[c]))
            expected.append(sum(terms))
        elif known:
            expected.append(log_ps[label] - log_qs[0])
        else:
            expected.append(torch.stack(log_ps).logsumexp(0) - log_qs[0])
    torch.testing.assert_close(estimate.elbo, torch.stack(expected).mean(), **CLOSE)
    if in_guide:
        log_c = (x @ pyro.param("classifier")).log_softmax(-1)[torch.arange(B), LABELS]
        supervision = (log_c * LABELLED).mean()
        torch.testing.assert_close(estimate.terms["supervision"], supervision, **CLOSE)
        torch.testing.assert_close(estimate.objective, estimate.elbo + supervision, **CLOSE)
        elbo.supervision = 5.0
        pyro.set_rng_seed(3)
        heavier = elbo.evaluate(programs.model, programs.guide, programs.x).objective
        torch.testing.assert_close(heavier, estimate.elbo + 5 * supervision, **CLOSE)


def test_prior_draws_are_scored_with_the_component_summed_out() -> None:
    programs, others = mixture(), summed_mixture()
    programs.parameters()
    pairs = [
        next(BetaELBO().trace_pairs(each.model, each.guide, programs.x))
        for each in (programs, others)
    ]
    pyro.set_rng_seed(0)
    z, log_pz = pairs[0].prior.draw(2 * N + 1)
    assert list(z) == ["z"]
    assert z["z"].shape == (2 * N + 1, K)
    torch.testing.assert_close(log_pz, pairs[1].prior.log_prob(z), **CLOSE)
    torch.testing.assert_close(pairs[0].prior.log_prob(z), log_pz, **CLOSE)
    assert pairs[0].prior.without_gradient == ["c"]  # its learned weights pass none to the draw


@pytest.mark.parametrize("name", ENUMERATED)
def test_a_seed_gives_the_same_value_every_time(name: str) -> None:
    programs, elbo, values = ENUMERATED[name](), BetaELBO(), []
    programs.parameters()
    for _ in range(2):  # the programs are inspected in the first evaluation only
        pyro.set_rng_seed(6)
        values.append(elbo.loss(programs.model, programs.guide, programs.x))
        values.append(torch.rand(1).item())
    assert values[:2] == values[2:]


def test_sites_drawn_instead_average_to_the_sum() -> None:
    programs = component_in_the_guide()
    programs.parameters()
    x = programs.x[:1].repeat(4000, 1)  # copies of one datum, each with its own draw
    with torch.no_grad():
        drawn = BetaELBO().drawn_pair(programs.model, programs.guide, x)
        assert drawn.guide.nodes["c"]["value"].shape == (len(x),)
        (summed,) = BetaELBO().trace_pairs(programs.model, programs.guide, x)
        elbos = [
            pair.log_likelihood() + pair.log_prior() - pair.log_posterior()
            for pair in (drawn, summed)
        ]
    assert_mean(elbos[0] - elbos[1], 0.0)
    assert elbos[0].std() > 1.2 * elbos[1].std()


def with_scale(programs: Programs) -> Programs:
    def scaled(x: Tensor) -> None:
        with poutine.scale(scale=0.5):
            programs.model(x)

    return Programs(scaled, programs.guide, programs.x)


def outside_its_plate() -> Programs:
    """The decoder sees values of a plate one by one, yet all at once."""
    programs = spikes()

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            with pyro.plate("dimensions", 3):
                is_spike = pyro.sample("is_spike", dist.Bernoulli(torch.tensor(0.8).double()))
                z = pyro.sample("z", dist.Normal(0.0, 1 - torch.tensor(0.8).double() * is_spike))
            total = (z * is_spike).sum(-2, keepdim=True)
            total = total if total.dim() > 2 else total[0]
            loc = total[..., None].expand(*total.shape, D)
            pyro.sample("x", dist.Normal(loc, 0.8).to_event(1), obs=x)

    return Programs(model, programs.guide, programs.x)


def cannot_broadcast() -> Programs:
    def model(x: Tensor) -> None:
        weights, locs = components()
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", weights)
            z = pyro.sample("z", dist.Normal(locs[c], 0.5).to_event(1))
            both = torch.cat([z, c[:, None].expand(len(z), 1)], -1)
            pyro.sample("x", dist.Normal(both, 1.0).to_event(1), obs=x)

    return Programs(model, guide, batch())


@pytest.mark.parametrize(
    ("elbo", "programs", "message"),
    [
        (BetaELBO(), lambda: with_scale(mixture()), "site 'c' has a scale of its own"),
        (BetaELBO(), outside_its_plate, "'x' depends on the discrete site 'is_spike', which is in"),
        (BetaELBO(), cannot_broadcast, "cannot be run with all values of 'c' at once"),
        (
            AggregateELBO(1.0, 1.0, MMD()),
            component_in_the_guide,
            "the prior of 'c', 'z'|the guide's site 'c' is discrete and summed over|'c' is learned",
        ),
        (
            FactorELBO(1.0, Discriminator(K, (4,)).double()),
            component_in_the_guide,
            "the guide's site 'c' is discrete and summed over, so that a datum has no one code",
        ),
        (
            TotalCorrelationELBO(beta=2.0),
            mixture,
            "site 'z': its prior is a mixture over 'c' and so is not a product over dimensions",
        ),
        (
            AggregateELBO(1.0, 1.0, InclusiveKL()),
            mixture,
            "the prior of 'c' is learned but cannot be drawn with gradients",
        ),
    ],
)
def test_what_cannot_be_summed_is_refused_in_a_sentence(
    elbo: TermsELBO, programs: Any, message: str
) -> None:
    made = programs()
    with pytest.raises(ModelError, match=message) as refusal:
        elbo.evaluate(made.model, made.guide, made.x)
    assert "\n" not in str(refusal.value)


def test_a_site_in_more_plates_is_summed_out_first() -> None:
    """Whatever the order of two discrete sites, as Pyro does it."""

    def model(x: Tensor, *, inner_first: bool) -> None:
        half, share = torch.tensor([0.5, 0.3]).double()
        with pyro.plate("data", N, subsample=x):
            parts = pyro.plate("parts", D)
            if inner_first:
                with parts:
                    inner = pyro.sample("inner", dist.Bernoulli(share))
            outer = pyro.sample("outer", dist.Bernoulli(half))
            if not inner_first:
                with parts:
                    inner = pyro.sample("inner", dist.Bernoulli(share))
            z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
            with parts:
                pyro.sample("x", dist.Normal(z + inner + 2 * outer, 1.0), obs=x.T)

    def mean_field(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(x.sum(-1), 0.5))

    x = batch()
    for inner_first in (True, False):
        program = partial(model, inner_first=inner_first)
        pyro.set_rng_seed(0)
        loss = BetaELBO(analytic_kl=False).loss(program, mean_field, x)
        pyro.set_rng_seed(0)
        reference = TraceEnum_ELBO(max_plate_nesting=2)
        expected = reference.loss(config_enumerate(program), mean_field, x)
        assert loss == pytest.approx(expected, rel=1e-10)


def test_buffers_are_updated_once_a_step_from_the_first() -> None:
    """To find the discrete sites takes a run of its own, which leaves nothing behind."""
    norm = nn.BatchNorm1d(D).double()
    programs = mixture()

    def normalised(x: Tensor) -> None:
        programs.guide(norm(x))

    x, statistics = programs.x, norm.running_mean
    for step in range(1, 4):
        BetaELBO().loss(programs.model, normalised, x)
        assert int(norm.num_batches_tracked) == step
    assert norm.running_mean is statistics
    torch.testing.assert_close(statistics, (1 - 0.9**3) * x.mean(0), **CLOSE)


def test_every_choice_of_two_sites_of_the_guide() -> None:
    """Two discrete sites in the guide: the sum over their product, by hand."""
    table = tensor(2, 3, D)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            a = pyro.sample("a", dist.Categorical(logits=torch.zeros(2).double()))
            b = pyro.sample("b", dist.Categorical(logits=torch.zeros(3).double()))
            pyro.sample("x", dist.Normal(table[a, b], 1.0).to_event(1), obs=x)

    def both(x: Tensor) -> None:
        first = pyro.param("first", lambda: tensor(D, 2))
        second = pyro.param("second", lambda: tensor(D, 3))
        with pyro.plate("data", N, subsample=x):
            a = pyro.sample("a", dist.Categorical(logits=x @ first))
            pyro.sample("b", dist.Categorical(logits=x @ second * (1 + a[..., None])))

    x = batch()
    objective = BetaELBO().evaluate(model, both, x).objective
    expected = torch.zeros(()).double()
    log_a = (x @ pyro.param("first")).log_softmax(-1)
    for a, b in product(range(2), range(3)):
        log_q = log_a[:, a] + (x @ pyro.param("second") * (1 + a)).log_softmax(-1)[:, b]
        log_p = dist.Normal(table[a, b], 1.0).to_event(1).log_prob(x) - math.log(6)
        expected = expected + (log_q.exp() * (log_p - log_q)).mean()
    torch.testing.assert_close(objective, expected, **CLOSE)


def test_labels_that_the_prior_does_not_depend_on_are_no_condition() -> None:
    """Kingma's M2: y beside z, so that p(z) is what the model gives, labels or not."""
    labels = torch.arange(B) % COMPONENTS

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", dist.Categorical(torch.ones(COMPONENTS).double()), obs=labels)
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            pyro.sample("x", decoded(z, c[..., None] * 0.1), obs=x)

    (pair,) = BetaELBO().trace_pairs(model, guide, batch())
    assert pair.prior_inputs.labels == ()
    for divergence in (InclusiveKL(), ExclusiveKL()):
        estimate = AggregateELBO(1.0, 1.0, divergence).evaluate(model, guide, batch())
        assert "divergence" in estimate.terms
    programs = semi_supervised(in_guide=True)
    (pair,) = BetaELBO().trace_pairs(programs.model, programs.guide, programs.x)
    assert pair.prior_inputs.labels == ("c_observed",)


@pytest.mark.parametrize("can_be_put_back", [True, False])
def test_programs_with_other_sites_in_every_run(can_be_put_back: bool) -> None:
    """A counter is put back between looks, so that the sites agree; a generator cannot be."""
    programs = mixture()
    runs = itertools.count() if can_be_put_back else (number for number in range(100))

    def model(x: Tensor) -> None:
        programs.model(x)
        pyro.sample(f"y{next(runs)}", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))

    evaluate = partial(BetaELBO().evaluate, model, programs.guide, programs.x)
    if not can_be_put_back:
        with pytest.raises(ModelError, match="have other sites in every run"):
            evaluate()
        return
    found = [evaluate().pairs[0].observed[-1] for _ in range(3)]
    assert found == ["y0", "y1", "y2"]
