"""log q(z) equals its definition, written naively, for every family, shape and block size."""

import math
import threading
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import (
    AggregatePosterior,
    diagonal_gaussian,
    gaussian_native,
    gaussian_torch,
    log_prob_over,
    pairs,
)
from tests.statistics import assert_mean

M, S, D = 7, 11, 3  # encodings, samples, length of a latent

Sites = dict[str, Callable[[dict[str, Tensor]], dist.Distribution]]


def set_block(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(gaussian_native, "compiled", lambda _: None)
    for module in (gaussian_torch, pairs):
        monkeypatch.setattr(module, "BLOCK", size)


def positive(x: Tensor) -> Tensor:
    return x.exp() + 0.1


def covariance(x: Tensor) -> Tensor:
    return x @ x.mT + torch.eye(D, dtype=x.dtype)


NORMAL: Sites = {"z": lambda p: dist.Normal(p["loc"], positive(p["scale"])).to_event(1)}
FAMILIES: dict[str, Sites] = {
    "Normal": NORMAL,
    "scalar Normal": {"z": lambda p: dist.Normal(p["loc"][:, 0], positive(p["scale"][:, 0]))},
    "Normal, one scale for all": {"z": lambda p: dist.Normal(p["loc"], 0.7).to_event(1)},
    "expanded Normal": {
        "z": lambda p: dist.Normal(p["loc"][0], positive(p["scale"][0])).to_event(1).expand([M])
    },
    "Normal, two event dimensions": {
        "z": lambda p: dist.Normal(
            torch.stack([p["loc"], p["scale"]], -1), positive(p["scale"])[..., None]
        ).to_event(2)
    },
    "Laplace": {"z": lambda p: dist.Laplace(p["loc"], positive(p["scale"])).to_event(1)},
    "StudentT": {"z": lambda p: dist.StudentT(3.0, p["loc"], positive(p["scale"])).to_event(1)},
    "Beta": {"z": lambda p: dist.Beta(positive(p["loc"]), positive(p["scale"])).to_event(1)},
    "MultivariateNormal": {
        "z": lambda p: dist.MultivariateNormal(p["loc"], covariance(p["square"]))
    },
    "two Normal sites": {
        "a": lambda p: dist.Normal(p["loc"], positive(p["scale"])).to_event(1),
        "b": lambda p: dist.Normal(p["scale"][:, 0], positive(p["loc"][:, 0])),
    },
    "Normal and Laplace": {
        "a": lambda p: dist.Normal(p["loc"], positive(p["scale"])).to_event(1),
        "b": lambda p: dist.Laplace(p["scale"][:, 0], positive(p["loc"][:, 0])),
    },
}

every_family = pytest.mark.parametrize("sites", FAMILIES.values(), ids=FAMILIES)


@pytest.fixture(
    params=[None, 2**18, 1, 50], ids=["native", "one block", "a row a block", "blocks of two rows"]
)
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        set_block(monkeypatch, request.param)


def parameters(dtype: torch.dtype = torch.double) -> dict[str, Tensor]:
    shapes = {"loc": (M, D), "scale": (M, D), "square": (M, D, D)}
    return {
        name: torch.randn(shape, dtype=torch.double).to(dtype).requires_grad_()
        for name, shape in shapes.items()
    }


def samples(fn: dist.Distribution, axis: int = 0) -> Tensor:
    """S samples that need gradients, of encodings picked at random."""
    with torch.no_grad():
        rows = torch.randint(M, (S,))
        return fn.sample().index_select(axis, rows).requires_grad_()


def naive(qz_x: dict[str, dist.Distribution], z: dict[str, Tensor]) -> Tensor:
    """The definition, a loop over samples and data, for sites of one batch dimension."""
    rows = []
    for s in range(S):
        logs = [
            sum(fn.log_prob(z[n][s].expand(fn.shape()))[j] for n, fn in qz_x.items())
            for j in range(M)
        ]
        rows.append(torch.stack(logs).exp().mean().log())
    return torch.stack(rows)


@pytest.mark.full(but=["native-*", "*-MultivariateNormal"])
@every_family
@pytest.mark.usefixtures("block")
def test_value_and_gradients_equal_the_definition(sites: Sites) -> None:
    p = parameters()
    qz_x = {name: site(p) for name, site in sites.items()}
    z = {name: samples(fn) for name, fn in qz_x.items()}
    log_qz, expected = AggregatePosterior(qz_x).log_prob(z), naive(qz_x, z)
    assert log_qz.shape == (S,)
    torch.testing.assert_close(log_qz, expected, rtol=1e-12, atol=1e-12)
    inputs = [*p.values(), *z.values()]
    weights = torch.randn(S, dtype=torch.double)
    found, right = (
        torch.autograd.grad(value @ weights, inputs, allow_unused=True, retain_graph=True)
        for value in (log_qz, expected)
    )
    for one, other in zip(found, right, strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace])
@pytest.mark.parametrize("dim", [-1, -2])
def test_other_plates_are_summed_on_either_side_of_the_data_plate(
    family: type[dist.TorchDistribution], dim: int
) -> None:
    shape = (4, M, D) if dim == -1 else (M, 4, D)
    loc, scale = torch.randn(2, *shape, dtype=torch.double)
    fn = family(loc, scale.exp()).to_event(1)
    axis = dim - 1
    z = samples(fn, axis)
    found = AggregatePosterior({"z": fn}, dim).log_prob({"z": z})
    rows_first = family(loc.movedim(axis, 0), scale.exp().movedim(axis, 0)).to_event(2)
    expected = naive({"z": rows_first}, {"z": z.movedim(axis, 0)})
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.full(but=["*-Normal", "*-Beta"])
@every_family
@pytest.mark.usefixtures("block")
def test_single_precision_is_near_double(sites: Sites) -> None:
    p = parameters()
    qz_x = {name: site(p) for name, site in sites.items()}
    z = {name: samples(fn).detach().float().double() for name, fn in qz_x.items()}
    single = {name: tensor.detach().float() for name, tensor in p.items()}
    found = AggregatePosterior({name: site(single) for name, site in sites.items()}).log_prob(
        {name: value.float() for name, value in z.items()}
    )
    assert found.dtype == torch.float
    expected = AggregatePosterior(qz_x).log_prob(z)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["Normal, two event dimensions", "StudentT", "Normal and Laplace"])
def test_equal_encodings_are_one_encoding(name: str) -> None:
    p = {k: v[:1].expand(v.shape) for k, v in parameters().items()}
    qz_x = {n: site(p) for n, site in FAMILIES[name].items()}
    z = {n: samples(fn) for n, fn in qz_x.items()}
    first = {n: site({k: v[:1] for k, v in p.items()}) for n, site in FAMILIES[name].items()}
    expected = sum(fn.log_prob(z[n]) for n, fn in first.items())
    torch.testing.assert_close(AggregatePosterior(qz_x).log_prob(z), expected)


@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace])
def test_it_is_a_density(family: type[dist.TorchDistribution]) -> None:
    loc, scale = torch.rand(30, 2).double() - 0.5, 0.05 + torch.rand(30, 2).double() / 5
    axis = torch.linspace(-4, 4, 401, dtype=torch.double)
    z = torch.cartesian_prod(axis, axis)
    log_qz = AggregatePosterior({"z": family(loc, scale).to_event(1)}).log_prob({"z": z})
    mass = log_qz.exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=1e-6 if family is dist.Normal else 0.01)


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_far_away_samples_keep_value_and_gradient(dtype: torch.dtype) -> None:
    # Each density underflows, in double precision too; the nearest encoding is all that counts.
    loc = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-3.0, 2.0]], dtype=dtype, requires_grad=True)
    fn = dist.Normal(loc, torch.full((3, 2), 0.01, dtype=dtype)).to_event(1)
    z = torch.tensor([[100.0, 0.0], [-50.0, 3.0]], dtype=dtype, requires_grad=True)
    log_qz = AggregatePosterior({"z": fn}).log_prob({"z": z})
    nearest = dist.Normal(loc[[1, 2]], 0.01).to_event(1).log_prob(z) - math.log(3)
    assert (nearest < -1e5).all()
    torch.testing.assert_close(log_qz, nearest)
    for found, expected in zip(
        torch.autograd.grad(log_qz.sum(), [z, loc]),
        torch.autograd.grad(nearest.sum(), [z, loc]),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.full
def test_a_minibatch_is_unbiased_for_the_density_and_biased_low_for_its_logarithm() -> None:
    loc = 3 * torch.randn(64, 2).double()
    scale = torch.full((64, 2), 0.5).double()
    z = {"z": torch.randn(5, 2).double()}
    whole = AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)}).log_prob(z)
    log_qz = torch.stack(
        [
            AggregatePosterior({"z": dist.Normal(loc[rows], scale[rows]).to_event(1)}).log_prob(z)
            for rows in torch.stack([torch.randperm(64)[:8] for _ in range(500)])
        ]
    )
    assert_mean(log_qz.exp(), whole.exp())
    assert (log_qz.mean(0) < whole - 0.1).all()


def test_batches_of_unequal_size_make_one_mixture() -> None:
    p = parameters()
    fn = NORMAL["z"](p)
    z = {"z": samples(fn)}
    parts = [
        AggregatePosterior({"z": NORMAL["z"]({name: value[rows] for name, value in p.items()})})
        for rows in (slice(0, 2), slice(2, 3), slice(3, M))
    ]
    assert [len(part) for part in parts] == [2, 1, 4]
    torch.testing.assert_close(log_prob_over(parts, z), AggregatePosterior({"z": fn}).log_prob(z))


def test_a_subclass_of_normal_keeps_its_own_density() -> None:
    class Doubled(dist.Normal):
        def log_prob(self, value: Tensor) -> Tensor:
            return 2 * super().log_prob(value)

    fn = Doubled(torch.randn(M, 1), 1.0).to_event(1)
    assert diagonal_gaussian(fn) is None
    assert diagonal_gaussian(fn.base_dist.expand([M, 2])) is None
    z = torch.randn(S, 1)
    expected = torch.logsumexp(fn.log_prob(z[:, None]), 1) - math.log(M)
    torch.testing.assert_close(AggregatePosterior({"z": fn}).log_prob({"z": z}), expected)


def test_it_trains_after_inference_mode() -> None:
    fn = NORMAL["z"](parameters())
    with torch.inference_mode():
        before = AggregatePosterior({"z": fn}).log_prob({"z": torch.ones(S, D).double()})
    after = AggregatePosterior({"z": fn}).log_prob({"z": torch.ones(S, D).double()})
    after.sum().backward()
    assert torch.equal(before, after)


@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace])
def test_no_tensor_holds_all_pairs_of_all_dimensions(
    family: type[dist.TorchDistribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_block(monkeypatch, 4096)
    monkeypatch.setattr(gaussian_torch, "_kept", threading.local())
    many, wide = 256, 8
    loc = torch.randn(many, wide).requires_grad_()
    z = {"z": torch.randn(many, wide).requires_grad_()}
    with LargestTensor() as seen:
        qz = AggregatePosterior({"z": family(loc, 1.0).to_event(1)})
        qz.log_prob(z).sum().backward()
    assert 2048 <= seen.elements <= 8192  # all pairs are 65,536, and 524,288 over dimensions


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """The number of elements in storage of the largest tensor that any operation gave."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor):
                size = one.untyped_storage().nbytes() // one.element_size()
                self.elements = max(self.elements, size)
        return out
