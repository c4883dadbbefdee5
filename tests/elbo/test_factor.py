import math
from functools import partial

import pyro
import pytest
import torch
from pyro.infer import SVI
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.divergences.auxiliary import guide_codes
from pyro_decomp.elbo.factor import FactorELBO, permute_dims
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import Discriminator
from pyro_decomp.training.state import prepare
from tests.example_programs import PROGRAMS, B, D, K, N, Programs, vae
from tests.statistics import assert_mean


def discriminator() -> nn.Module:
    return Discriminator(K, hidden=(8, 8)).double()


def gradients(module: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in module.parameters()]


@pytest.fixture
def programs() -> Programs:
    return vae()


def test_the_objective_reaches_the_encoder_but_not_the_discriminator(programs: Programs) -> None:
    elbo = FactorELBO(10.0, discriminator())
    estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    encoder = programs.guide.__self__.encoder
    estimate.terms["total_correlation"].backward()
    assert all(grad is not None and grad.abs().sum() > 0 for grad in gradients(encoder))
    assert gradients(elbo.discriminator) == [None] * len(gradients(elbo.discriminator))


def test_the_discriminators_loss_reaches_nothing_else(programs: Programs) -> None:
    elbo = FactorELBO(10.0, discriminator())
    pair = next(elbo.trace_pairs(programs.model, programs.guide, programs.x))
    assert pair.codes().requires_grad
    elbo.discriminator_loss(pair.codes(), pair.codes()).backward()
    assert all(grad is not None for grad in gradients(elbo.discriminator))
    assert all(parameter.grad is None for parameter in programs.parameters().values())


def test_no_main_optimiser_owns_the_discriminator(programs: Programs) -> None:
    elbo = FactorELBO(10.0, discriminator())
    theirs = {id(parameter) for parameter in elbo.discriminator.parameters()}
    svi = SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.1}), loss=elbo)
    before = [parameter.clone() for parameter in elbo.discriminator.parameters()]
    svi.step(programs.x)
    torch.testing.assert_close([*elbo.discriminator.parameters()], before, rtol=0, atol=0)
    assert not theirs & {id(p) for p in elbo(programs.model, programs.guide).parameters()}
    data = torch.randn(N, D, dtype=torch.double)
    # even where it is, or is a part of, what the user says that the model uses
    for module in (elbo.discriminator, nn.ModuleList([elbo.discriminator])):
        made = Experiment(programs.model, programs.guide, data, elbo, modules=[module])
        state = prepare(made)
        assert not theirs & {id(parameter) for parameter in state.parameters.values()}
        assert len(state.parameters) == len(programs.parameters())
        assert state.modules[-1] is elbo.discriminator


def test_two_optimisers_take_turns(programs: Programs) -> None:
    """Torch refuses a backward pass through what an optimiser has changed since."""
    elbo = FactorELBO(10.0, discriminator())
    main = torch.optim.Adam(list(programs.parameters().values()))
    own = torch.optim.Adam(elbo.discriminator.parameters())
    losses = []
    for _ in range(3):
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
        main.zero_grad()
        estimate.loss.backward()
        main.step()
        other = guide_codes(programs.guide, programs.x)
        loss = elbo.discriminator_loss(estimate.pairs[0].codes(), other)
        own.zero_grad()
        loss.backward()
        own.step()
        losses.append(estimate.loss.item())
    assert len(set(losses)) == 3


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_the_elbo_less_the_mean_logit(name: str) -> None:
    programs = PROGRAMS[name]()
    width = guide_codes(programs.guide, programs.x).shape[1]
    elbo = FactorELBO(3.0, Discriminator(width, hidden=(8,)).double())
    pyro.set_rng_seed(1)
    if name == "user's scale":
        with pytest.raises(ModelError, match=r"gives data weights .* FactorELBO"):
            elbo.evaluate(programs.model, programs.guide, programs.x)
        return
    estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    pyro.set_rng_seed(1)
    plain = AggregateELBO().evaluate(programs.model, programs.guide, programs.x)
    total_correlation = elbo.discriminator(estimate.pairs[0].codes()).mean()
    torch.testing.assert_close(estimate.elbo, plain.elbo)
    torch.testing.assert_close(estimate.terms["total_correlation"], total_correlation)
    torch.testing.assert_close(estimate.objective, plain.elbo - 3.0 * total_correlation)


def test_a_permutation_keeps_every_marginal() -> None:
    z = torch.randn(500, 4, dtype=torch.double)
    permuted = permute_dims(z)
    assert torch.equal(permuted.sort(0).values, z.sort(0).values)
    assert z.shape == permuted.shape


def test_a_permutation_breaks_the_joint() -> None:
    column = torch.randn(2000, 1, dtype=torch.double)
    z = permute_dims(column.expand(-1, 3))  # columns that were equal
    correlation = torch.corrcoef(z.T)[torch.triu_indices(3, 3, 1).unbind()]
    assert (correlation.abs() < 4.3 / 2000**0.5).all()


def test_columns_are_not_permuted_together() -> None:
    rows = torch.arange(1000.0)[:, None].expand(-1, 3)
    permuted = permute_dims(rows)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (permuted[:, i] == permuted[:, j]).sum() < 10  # one is expected
    assert (permuted == rows).sum(0).max() < 10


def test_every_order_is_as_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(3.0)[:, None].expand(-1, 6000)
    orders = permute_dims(rows, generator).T
    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        assert_mean((orders == torch.tensor(order)).all(1).double(), 1 / 6)


@pytest.mark.full
def test_the_estimate_of_a_known_total_correlation() -> None:
    correlation = 0.9
    expected = -0.5 * math.log(1 - correlation**2)  # 0.8304
    cholesky = torch.tensor([[1.0, 0.0], [correlation, (1 - correlation**2) ** 0.5]])

    def codes(n: int) -> Tensor:
        return torch.randn(n, 2) @ cholesky.T

    elbo = FactorELBO(1.0, Discriminator(2, hidden=(32, 32)))
    optimizer = torch.optim.Adam(elbo.discriminator.parameters(), lr=5e-3, fused=True)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for _ in range(600):
        optimizer.zero_grad()
        elbo.discriminator_loss(codes(500), codes(500)).backward()
        optimizer.step()
        annealing.step()
    with torch.no_grad():
        estimate = elbo.discriminator(codes(50_000)).mean().item()
        loss = elbo.discriminator_loss(codes(50_000), codes(50_000)).item()
    assert estimate == pytest.approx(expected, rel=0.1)
    assert loss < math.log(2) - 0.1


def test_every_argument_changes_the_loss(programs: Programs) -> None:
    one, another = discriminator(), discriminator()

    def loss(gamma: float = 2.0, network: nn.Module = one, **options: int) -> float:
        pyro.set_rng_seed(1)
        elbo = FactorELBO(gamma, network, **options)
        return elbo.loss(programs.model, programs.guide, programs.x)

    losses = [loss(), loss(3.0), loss(0.0), loss(network=another), loss(num_particles=2)]
    assert len({*losses, loss(analytic_kl=False)}) == 6
    pyro.set_rng_seed(1)
    plain = AggregateELBO().loss(programs.model, programs.guide, programs.x)
    assert loss(0.0) == pytest.approx(plain, rel=1e-10)


def test_the_optimiser_is_the_papers_unless_given() -> None:
    network = discriminator()
    (published,) = FactorELBO(1.0, network).auxiliaries
    assert published.optimizer(network.parameters()).defaults["betas"] == (0.5, 0.9)
    (given,) = FactorELBO(1.0, network, optimizer=partial(torch.optim.SGD, lr=7.0)).auxiliaries
    assert given.optimizer(network.parameters()).defaults["lr"] == 7.0


def test_the_published_discriminator() -> None:
    linear = [layer for layer in Discriminator(10).modules() if isinstance(layer, nn.Linear)]
    widths = [(layer.in_features, layer.out_features) for layer in linear]
    assert widths == [(10, 1000), *[(1000, 1000)] * 5, (1000, 1)]
    assert Discriminator(10, hidden=())(torch.ones(B, 10)).shape == (B,)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gamma: expected .* at least 0, got -1.0"):
        FactorELBO(-1.0, discriminator())
    with pytest.raises(TypeError, match=r"discriminator: expected a module .* got 10"):
        FactorELBO(1.0, 10)
