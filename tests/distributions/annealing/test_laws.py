"""What must hold of every family that can be annealed."""

from collections.abc import Iterator

import pytest
import torch
from pyro.distributions.testing.gof import auto_goodness_of_fit
from torch import Tensor
from torch.distributions import Independent

from pyro_decomp.distributions.annealing import (
    AnnealedMixture,
    annealed,
    annealed_with_normalizer,
    log_normalizer,
)
from tests.distributions.annealing.families import (
    FAMILIES,
    FINITE,
    JOINT,
    LINE,
    PLANE,
    Family,
    integral,
)
from tests.statistics import FAILURE_RATE, STANDARD_ERRORS, assert_mean

EXACT = FAMILIES.keys() - JOINT.keys()
ON_LINE = LINE | {name: family for name, family in JOINT.items() if not family().event_shape}
IN_PLANE = {n: f for n, f in (PLANE | JOINT).items() if n not in ON_LINE}
CLOSE = {"rtol": 1e-9, "atol": 1e-9}

all_families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
exact_families = pytest.mark.parametrize(
    "family", [FAMILIES[n] for n in sorted(EXACT)], ids=sorted(EXACT)
)


def powers(family: Family) -> Iterator[float]:
    yield from (*family.powers, 1.0)


@pytest.mark.full(but=["Normal", "MultivariateNormal", "Categorical", "spike and slab"])
@exact_families
def test_the_normaliser_is_the_integral(family: Family) -> None:
    for beta in powers(family):
        p = family()
        expected = integral(family, lambda z, p=p, beta=beta: beta * p.log_prob(z)).log()
        torch.testing.assert_close(log_normalizer(p, beta), expected, rtol=0, atol=1e-8)


@pytest.mark.full(but=["Normal", "MultivariateNormal", "Categorical", "spike and slab"])
@exact_families
def test_the_density_integrates_to_one(family: Family) -> None:
    for beta in powers(family):
        total = integral(family, annealed(family(), beta).log_prob)
        torch.testing.assert_close(total, torch.ones(2).double(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("family", JOINT.values(), ids=JOINT)
def test_a_joint_mixture_integrates_to_one_within_its_error(family: Family) -> None:
    for beta in family.powers:
        f = annealed(family(), beta)
        total = integral(family, f.log_prob)
        assert (f.normalizer_error > 0).all()
        assert (f.normalizer_error < 0.03).all()
        assert ((total.log()).abs() < STANDARD_ERRORS * f.normalizer_error).all()


@all_families
def test_density_and_normaliser_make_the_power(family: Family) -> None:
    for beta in powers(family):
        p = family()
        f, log_f = annealed_with_normalizer(p, beta)
        z = p.sample((50,))
        assert log_f.shape == p.batch_shape == (2,)
        torch.testing.assert_close(f.log_prob(z) + log_f, beta * p.log_prob(z), **CLOSE)


@all_families
def test_the_power_one_changes_nothing(family: Family) -> None:
    for beta in (1.0, torch.tensor(1.0).double()):
        p = family()
        f, log_f = annealed_with_normalizer(p, beta)
        z = p.sample((50,))
        error = getattr(f, "normalizer_error", torch.zeros(2))
        torch.testing.assert_close(f.log_prob(z), p.log_prob(z), rtol=0, atol=1e-9)
        assert (log_f.abs() <= error + 1e-9).all()


@pytest.mark.full(but=["Normal", "spike and slab", "StudentT", "Bernoulli", "mixture of Normals"])
@all_families
def test_gradients_reach_the_parameters_and_the_power(family: Family) -> None:
    parameters = [value.clone().requires_grad_() for value in family.parameters]
    for beta in family.powers:
        power = torch.tensor(beta).double().requires_grad_()

        def value(power: Tensor, *parameters: Tensor) -> Tensor:
            return log_normalizer(family.build(*parameters), power)

        close = {"rtol": 1e-4, "atol": 1e-6} if family.smooth else {"rtol": 1e-2, "atol": 1e-3}
        assert torch.autograd.gradcheck(value, (power, *parameters), **close, fast_mode=True)
        (slope,) = torch.autograd.grad(value(power, *parameters).sum(), power)
        assert slope != 0


@all_families
def test_a_power_of_a_power(family: Family) -> None:
    a, b, p = 0.9, 1.4, family()
    first, log_a = annealed_with_normalizer(p, a)
    both, log_b = annealed_with_normalizer(first, b)
    direct, log_ab = annealed_with_normalizer(p, a * b)
    z = p.sample((50,))
    torch.testing.assert_close(both.log_prob(z), direct.log_prob(z), **CLOSE)
    torch.testing.assert_close(b * log_a + log_b, log_ab, **CLOSE)


@pytest.mark.full(but=["Laplace", "spike and slab", "mixture of Normals"])
@pytest.mark.parametrize("family", ON_LINE.values(), ids=ON_LINE)
def test_samples_follow_the_density(family: Family) -> None:
    for beta in family.powers:
        f = annealed(family(), beta)
        z = f.sample((10_000,))
        for draws, log_prob in zip(z.T, f.log_prob(z).T, strict=True):
            assert auto_goodness_of_fit(draws, log_prob.exp()) > FAILURE_RATE


@pytest.mark.full(but=["MultivariateNormal"])
@pytest.mark.parametrize("family", IN_PLANE.values(), ids=IN_PLANE)
def test_samples_in_the_plane_have_the_characteristic_function_of_the_density(
    family: Family,
) -> None:
    frequencies = torch.tensor([[0.3, 0.0], [0.0, 0.7], [1.0, 1.0], [2.0, -1.0]]).double()

    def waves(z: Tensor) -> Tensor:
        return 1 + torch.cos(z @ frequencies.T + 0.4)

    for beta in family.powers:
        f = annealed(family(), beta)
        expected = integral(family, lambda z, f=f: f.log_prob(z).unsqueeze(-1) + waves(z).log())
        total = integral(family, f.log_prob).unsqueeze(-1)  # not quite 1 for a joint mixture
        assert_mean(waves(f.sample((10_000,))), expected / total)


@pytest.mark.full(but=["Normal", "spike and slab", "Bernoulli"])
@all_families
def test_samples_of_any_shape_without_a_batch(family: Family) -> None:
    """One density, as a prior writes it before a plate expands it."""
    if any(value.dim() == 0 for value in family.parameters):
        return  # it is a batch by its own expand
    f = annealed(family.build(*(value[1] for value in family.parameters)), family.powers[1])
    assert f.batch_shape == ()
    for shape in ((), (1,), (50,), (2, 3)):
        assert f.sample(shape).shape == (*shape, *f.event_shape)
    batch = annealed(family(), family.powers[1])
    draws = [f.sample((4000,)), batch.sample((4000,))[:, 1]]
    draws = [d.reshape(4000, -1)[:, 0].double().sort().values for d in draws]
    points = torch.cat(draws).unique()
    steps = [torch.searchsorted(d, points, right=True) / 4000 for d in draws]
    # Kolmogorov and Smirnov's two-sample bound, at the failure rate
    bound = (-torch.tensor(FAILURE_RATE / 2).log() / 4000).sqrt()
    assert (steps[0] - steps[1]).abs().max() < bound


@pytest.mark.parametrize("family", FINITE.values(), ids=FINITE)
def test_samples_have_the_frequencies_of_the_density(family: Family) -> None:
    f = annealed(family(), 2.5)
    support = f.enumerate_support()
    draws = f.sample((10_000,)).unsqueeze(1)
    hits = (draws == support).flatten(3).all(-1) if f.event_shape else draws == support
    assert_mean(hits.double(), f.log_prob(support).exp())


@all_families
def test_closed_forms_stay_in_the_family(family: Family) -> None:
    p, f = family(), annealed(family(), 2.0)
    while isinstance(p, Independent):
        p, f = p.base_dist, f.base_dist
    assert isinstance(f, AnnealedMixture if family.numeric else type(p))


@pytest.mark.full(but=["Normal", "spike and slab", "Bernoulli", "mixture of Normals"])
@all_families
def test_shapes_and_support(family: Family) -> None:
    p, f = family(), annealed(family(), 2.0)
    assert f.batch_shape == p.batch_shape
    assert f.event_shape == p.event_shape
    z = f.sample((3, 4))
    assert z.shape == (3, 4, *p.batch_shape, *p.event_shape)
    assert f().shape == f.sample().shape == p.batch_shape + p.event_shape
    assert p.support.check(z).all()
    assert f.support.event_dim == p.support.event_dim
    assert f.log_prob(z).shape == (3, 4, 2)
    wide = f.expand((5, 2))
    torch.testing.assert_close(wide.log_prob(z[:1, :1]), f.log_prob(z[:1, :1]).expand(1, 5, 2))
    assert wide.sample((3,)).shape == (3, 5, *z.shape[2:])
    assert annealed(p.expand((5, 2)), 2.0).log_prob(z[0, 0]).shape == (5, 2)


@all_families
def test_has_rsample_is_true_where_gradients_pass(family: Family) -> None:
    parameters = [value.clone().requires_grad_() for value in family.parameters]
    f = annealed(family.build(*parameters), 2.0)
    assert f().requires_grad == f.has_rsample


@all_families
def test_the_type_of_the_parameters_is_kept(family: Family) -> None:
    single = family.build(*(value.float() for value in family.parameters))
    f, log_f = annealed_with_normalizer(single, 2.0)
    assert f.sample().dtype == single.sample().dtype
    assert f.log_prob(single.sample()).dtype == log_f.dtype == torch.float
    error = getattr(f, "normalizer_error", torch.zeros(2)).double()
    distance = (log_f.double() - log_normalizer(family(), 2.0)).abs()
    assert (distance < 1e-5 + 2**0.5 * STANDARD_ERRORS * error).all()
