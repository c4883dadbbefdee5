"""The C code against the definition and against the torch code that stands in for it."""

import math
import shutil
from collections.abc import Iterator
from threading import get_ident

import pytest
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import PairWeights, gaussian_native, pair_weights
from pyro_decomp.aggregate_posterior.gaussian import log_densities
from pyro_decomp.aggregate_posterior.gaussian_native import num_shares, run_split

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)
SHAPES = [(1, 1, 1), (1, 6, 1), (2, 1, 9), (3, 33, 5), (10, 7, 64), (20, 5, 70), (2, 3, 700)]
ESTIMATORS = ["stratified_averaged", "stratified", "weighted", "batch"]
Inputs = tuple[Tensor, Tensor, Tensor]


def drawn(d: int, s: int, m: int, dtype: torch.dtype = torch.double) -> Inputs:
    z, loc = torch.randn(d, s).to(dtype), torch.randn(d, m).to(dtype)
    return z, loc, torch.rand(d, m).to(dtype) + 0.2


def definition(inputs: Inputs, weights: PairWeights, ranges: tuple[slice, ...] = ()) -> Tensor:
    """All pairs at once: a row for each set of dimensions."""
    z, loc, scale = inputs
    log_weights = torch.full((z.shape[1], loc.shape[1]), weights.other, dtype=z.dtype)
    weights.add_(log_weights)
    pairs = torch.distributions.Normal(loc[:, None], scale[:, None], validate_args=False)
    single = pairs.log_prob(z[..., None])
    joints = [single[part].sum(0) for part in (slice(None), *ranges)]
    return (torch.cat([torch.stack(joints), single]) + log_weights).logsumexp(-1)


def differentiated(values: Tensor, factors: Tensor, inputs: Inputs) -> list[Tensor]:
    return [values.detach(), *torch.autograd.grad((values * factors.to(values)).sum(), inputs)]


def compare(inputs: Inputs, weights: PairWeights, tolerance: float) -> None:
    """Values and gradients; the definition's in double precision."""
    ranges = (slice(0, 1), slice(0, len(inputs[0])))
    ours, exact = (
        [x.to(dtype).requires_grad_() for x in inputs] for dtype in (inputs[0].dtype, torch.double)
    )
    for split in (False, True):
        found = log_densities(*ours, weights, ranges, split=split)
        expected = definition(exact, weights, ranges)[: len(found)]
        factors = torch.randn(found.shape, dtype=torch.double)
        pairs = zip(
            differentiated(found, factors, ours),
            differentiated(expected, factors, exact),
            strict=True,
        )
        for one, other in pairs:
            assert (one - other).norm() <= tolerance * other.norm()


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(gaussian_native, "LEAST_WORK", 1)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_it_is_the_c_code_that_is_tested() -> None:
    for dtype in (torch.float, torch.double):
        assert gaussian_native.compiled((*drawn(2, 3, 4, dtype), None)) is not None
    z, loc, scale = drawn(2, 3, 4)
    assert gaussian_native.compiled((z, loc.float(), scale, None)) is None
    assert gaussian_native.compiled((*drawn(2, 3, 4, torch.bfloat16), None)) is None
    assert gaussian_native.compiled((z[:, :0], loc, scale, None)) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape(shape: tuple[int, int, int]) -> None:
    compare(drawn(*shape), PairWeights(-0.7), 1e-13)
    compare(drawn(*shape, torch.float), PairWeights(-0.7), 3e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 30, 67])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_any_weights(estimator: str, size: int) -> None:
    weights = pair_weights(estimator, 1000, size)
    compare(drawn(3, size, size), weights, 1e-13)
    compare(drawn(3, size, size, torch.float), weights, 3e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3])
def test_scales_and_distances(scale: float) -> None:
    z, loc, around = drawn(4, 30, 50)
    near = (loc[:, :30] + scale * z, loc, scale * around)
    far = (100 * scale * z, scale * loc, scale * around)
    for inputs in (near, far):  # rounding of z - loc, and of large logarithms
        compare(inputs, PairWeights(0.0), 1e-9)


def test_digits_that_only_the_largest_pair_has() -> None:
    """All exponentials would be 0 without the shift, and with a shift by an upper bound."""
    z = torch.full((1, 3), 200.0)
    loc, scale = torch.tensor([[0.0, 50.0, 100.0]]), torch.tensor([[1.0, 1.0, 0.5]])
    expected = -0.5 * 150.0**2 - 0.5 * math.log(2 * math.pi)
    found = log_densities(z, loc, scale, PairWeights(0.0))
    torch.testing.assert_close(found, torch.full((1, 3), expected), rtol=1e-7, atol=0)


BAD = {
    "a sample is nan": ((0, (0, 2), math.nan),),
    "a sample is infinite": ((0, (1, 0), math.inf),),
    "a location is nan": ((1, (0, 4), math.nan),),
    "a location is infinite": ((1, (0, 4), -math.inf),),
    "a scale is nan": ((2, (1, 1), math.nan),),
    "a scale is zero": ((2, (1, 1), 0.0),),
    "a scale is negative": ((2, (0, 3), -1.0),),
    "a scale is infinite": ((2, (0, 3), math.inf),),
    "all locations are infinite": ((1, (0, slice(None)), math.inf),),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("split", [False, True])
def test_what_is_not_finite_is_so_in_the_same_places_as_in_the_torch_code(
    bad: tuple[tuple[int, tuple[int, int], float], ...],
    split: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = drawn(2, 5, 7)
    for which, at, value in bad:
        inputs[which][at] = value
    for x in inputs:
        x.requires_grad_()
    weights = PairWeights(-1.0)
    factors = torch.rand(3 if split else 1, 5)

    def everything() -> list[Tensor]:
        return differentiated(log_densities(*inputs, weights, split=split), factors, inputs)

    ours = everything()
    monkeypatch.setattr(gaussian_native, "compiled", lambda _: None)
    for one, other in zip(ours, everything(), strict=True):
        finite = other.isfinite()
        assert torch.equal(one.isfinite(), finite)
        torch.testing.assert_close(one[finite], other[finite], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.usefixtures("two_threads")
def test_threads_change_rounding_at_most_and_not_from_call_to_call(split: bool) -> None:
    inputs = [x.requires_grad_() for x in drawn(3, 45, 400, torch.float)]
    factors = torch.randn(4 if split else 1, 45)

    def everything(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        values = log_densities(*inputs, PairWeights(0.0), split=split)
        return differentiated(values, factors, inputs)

    one, two, again = everything(1), everything(2), everything(2)
    assert all(map(torch.equal, two, again))
    for place, (alone, together) in enumerate(zip(one, two, strict=True)):
        if place == 1:  # by z: a sum over threads
            torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(alone, together)


@pytest.mark.usefixtures("two_threads")
def test_several_threads_over_members() -> None:
    z, loc = torch.randn(2, 5, 3, 11, dtype=torch.double)
    scale = torch.rand(5, 3, 11, dtype=torch.double) + 0.1
    found = log_densities(z, loc, scale, PairWeights(0.0), split=True)
    alone = [
        log_densities(*member, PairWeights(0.0), split=True)
        for member in zip(z, loc, scale, strict=True)
    ]
    assert torch.equal(found, torch.stack(alone))


def test_an_arrangement_in_memory_does_not_count() -> None:
    inputs = drawn(3, 8, 6)
    strided = [x.T.contiguous().T for x in inputs]
    assert torch.equal(*(log_densities(*x, PairWeights(0.0)) for x in (inputs, strided)))


def of_rows(num_rows: int, m: int, dtype: torch.dtype) -> PairWeights:
    """Weights of rows, every third 0; own weights in the second row."""
    rows = torch.randn(num_rows, m).to(dtype)
    rows[0, ::3] = -math.inf
    return PairWeights(0.0, rows=rows)


@pytest.mark.parametrize("num_rows", [1, 2])
@pytest.mark.parametrize(("d", "m"), [(2, 7), (3, 300), (10, 130)])
def test_weights_of_rows(d: int, m: int, num_rows: int) -> None:
    for dtype, tolerance in ((torch.double, 1e-13), (torch.float32, 3e-5)):
        compare(drawn(d, m, m, dtype), of_rows(num_rows, m, dtype), tolerance)


@pytest.mark.parametrize("num_rows", [1, 2])
def test_weights_of_rows_of_several_members(num_rows: int) -> None:
    members = [drawn(2, 9, 9) for _ in range(3)]
    weights = [of_rows(num_rows, 9, torch.double) for _ in members]
    rows = torch.stack([w.rows for w in weights if w.rows is not None])

    def score(z: Tensor, loc: Tensor, scale: Tensor, rows: Tensor) -> Tensor:
        return log_densities(z, loc, scale, PairWeights(0.0, rows=rows), split=True)

    stacked = [torch.stack(each) for each in zip(*members, strict=True)]
    found = torch.func.vmap(score)(*stacked, rows)
    expected = [log_densities(*x, w, split=True) for x, w in zip(members, weights, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))
    shared = torch.func.vmap(score, (0, 0, 0, None))(*stacked, rows[0])
    torch.testing.assert_close(shared[0], expected[0])


@pytest.mark.parametrize(("units", "shares"), [(1, 1), (10, 3), (2, 4), (7, 7)])
def test_every_unit_is_done_once_in_threads_of_their_own(units: int, shares: int) -> None:
    done: list[int] = []
    called: dict[int, int] = {}

    def function(share: int, begin: int, end: int) -> int:
        called[share] = get_ident()
        done.extend(range(begin, end))
        return 0

    run_split(function, units, shares)
    assert sorted(done) == list(range(units))
    assert sorted(called) == list(range(shares))
    assert called[0] == get_ident()
    assert get_ident() not in [called[share] for share in range(1, shares)]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_share_that_fails(failing: int) -> None:
    ended: list[int] = []

    def function(share: int, begin: int, end: int) -> int:
        ended.append(share)
        return int(share == failing)

    with pytest.raises(MemoryError, match="sums over pairs"):
        run_split(function, 4, 2)
    assert sorted(ended) == [0, 1]  # none is still at work


def test_small_work_is_not_split() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [num_shares(work, 10) for work in (0, 19, 20, 1000)] == [1, 1, 2, 2]
    finally:
        torch.set_num_threads(before)
