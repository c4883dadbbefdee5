"""Draws of the prior and under interventions, against closed forms and ``pyro.poutine.do``."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_decomp.analysis import generation
from pyro_decomp.analysis.generation import descendants, intervene, sample_prior, traverse
from pyro_decomp.analysis.latents import latents
from pyro_decomp.training.run import Run
from tests.enumerated import ENUMERATED
from tests.example_programs import PROGRAMS, D, K, N, Programs, nested_plates, pyro_modules
from tests.runs import parameter, run_of
from tests.statistics import assert_mean

FIXED_SIZE = {"VAE, full batch", "user's scale", "user's mask"}  # not of N data
TABLE = {n: make for n, make in {**PROGRAMS, **ENUMERATED}.items() if n not in FIXED_SIZE}
DRAWS = 4000
SLOPE, SHIFT, SCALE = 0.7, 0.3, 0.6
WEIGHT = torch.linspace(-1, 2, 2 * K * D).view(2 * K, D).double()


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.double)


def chain_model(x: Tensor, *, with_data: bool = True) -> None:
    """a -> b -> x <- u: b ~ N(0.7 a + 0.3, 0.6^2), a ~ N(1, 0.5^2), u ~ N(0, 1)."""
    with pyro.plate("data", N, subsample=x):
        a = pyro.sample("a", dist.Normal(tensor(1.0, 1.0), 0.5).to_event(1))
        u = pyro.sample("u", dist.Normal(tensor(0.0, 0.0), 1.0).to_event(1))
        b = pyro.sample("b", dist.Normal(SLOPE * a + SHIFT, SCALE).to_event(1))
        if with_data:
            loc = torch.cat([b, u], -1) @ WEIGHT
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def chain_guide(x: Tensor) -> None:
    encoding = pyro.param("encoding", lambda: torch.randn(3, D, K).double())
    with pyro.plate("data", N, subsample=x):
        for name, weight in zip(("a", "u", "b"), encoding, strict=True):
            pyro.sample(name, dist.Normal(x @ weight, 0.5).to_event(1))


@pytest.fixture
def chain() -> Run:
    return run_of(Programs(chain_model, chain_guide, torch.zeros(0)))


def decoded(latents: dict[str, Tensor]) -> Tensor:
    return torch.cat([latents["b"], latents["u"]], -1) @ WEIGHT


@pytest.mark.full(but=["VAE", "nested plates", "mixture", "a global latent"])
@pytest.mark.parametrize("name", TABLE)
def test_as_many_as_asked_with_the_data_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "BATCH_SIZE", 3)
    run = run_of(TABLE[name]())
    shapes = {key: value.shape[1:] for key, value in latents(run).items()}
    torch.manual_seed(5)
    expected, state = torch.rand(3), np.random.get_state()
    torch.manual_seed(5)
    for total in (1, 3, N + 5):
        draws = sample_prior(run, total)
        assert {key: value.shape for key, value in draws.latents.items()} == {
            key: (total, *shape) for key, shape in shapes.items()
        }
        assert draws.x.shape == (total, D)
        again = intervene(run, {}, num_samples=total)
        assert all(torch.equal(again.latents[key], draws.latents[key]) for key in shapes)
        assert torch.equal(again.x, draws.x)
    np.random.set_state(state)
    assert torch.equal(torch.rand(3), expected)
    other = sample_prior(run, 3, seed=1).latents
    assert any(not torch.equal(other[key], draws.latents[key][:3]) for key in shapes)


def test_the_prior_of_a_chain(chain: Run) -> None:
    draws = sample_prior(chain, DRAWS)
    a, u, b = (draws.latents[name] for name in ("a", "u", "b"))
    assert_mean(a, 1.0)
    assert_mean((a - 1) ** 2, 0.25)
    assert_mean(u**2, 1.0)
    assert_mean(b - SLOPE * a, SHIFT)
    assert_mean((b - SLOPE * a - SHIFT) ** 2, SCALE**2)
    assert_mean((b - SLOPE * a) * u, 0.0)
    torch.testing.assert_close(draws.x, decoded(draws.latents))


def test_setting_a_site_moves_what_depends_on_it_alone(chain: Run) -> None:
    draws = intervene(chain, {"a": tensor(3.0, -2.0)}, num_samples=DRAWS)
    assert (draws.latents["a"] == tensor(3.0, -2.0)).all()
    assert_mean(draws.latents["b"], SLOPE * tensor(3.0, -2.0) + SHIFT)
    assert_mean(draws.latents["u"], 0.0)
    torch.testing.assert_close(draws.x, decoded(draws.latents))
    draws = intervene(chain, {"b": tensor(3.0, -2.0)}, num_samples=DRAWS)
    assert_mean(draws.latents["a"], 1.0)  # conditioning on b would move it


def test_values_are_one_for_all_or_one_for_each(chain: Run) -> None:
    rows = torch.randn(7, K).double()
    torch.testing.assert_close(intervene(chain, {"a": rows}).latents["a"], rows)
    both = intervene(chain, {"a": rows.tolist(), "u": [1, 2]}).latents
    torch.testing.assert_close(both["a"], rows)
    assert (both["u"] == tensor(1.0, 2.0)).all()
    assert len(intervene(chain, {"u": [1, 2]}).x) == 1


def test_setting_a_component_is_poutine_do() -> None:
    run = run_of(ENUMERATED["mixture that the decoder sees"]())
    draws = intervene(run, {"c": 2}, num_samples=DRAWS)
    assert draws.latents["c"].dtype == torch.int64
    batch = torch.zeros(DRAWS, D).double()
    done = poutine.trace(poutine.do(run.model, data={"c": torch.tensor(2)})).get_trace(batch)
    for ours, pyros in (
        (draws.latents["z"], done.nodes["z"]["value"]),
        (draws.x, done.nodes["x"]["fn"].mean.expand(DRAWS, D)),
    ):
        for power in (1, 2):
            assert_mean((ours**power - pyros.detach() ** power), 0.0)
    assert_mean(draws.latents["z"], parameter(run, "locs")[2])
    assert_mean((draws.latents["z"] - parameter(run, "locs")[2]) ** 2, 0.25)


def test_descendants_are_found_through_others(chain: Run) -> None:
    assert descendants(chain, "a") == {"b"}
    assert descendants(chain, "u") == descendants(chain, "b") == set()
    discrete = run_of(ENUMERATED["chain"]())
    assert descendants(discrete, "c") == {"d", "z"}
    assert descendants(discrete, "d") == {"z"}


@pytest.mark.parametrize("is_at_datum", [True, False], ids=["at a datum", "at a draw"])
def test_a_traversal_moves_a_child_by_its_slope_and_nothing_else(
    chain: Run, is_at_datum: bool
) -> None:
    x = chain.data[4:5] if is_at_datum else None
    values = tensor(-2.0, 0.0, 1.0)
    draws = traverse(chain, "a", values, dim=1, x=x, seed=3)
    a, u, b = (draws.latents[name] for name in ("a", "u", "b"))
    torch.testing.assert_close(a[:, 1], values)
    for held in (a[:, 0], u):
        assert torch.equal(held, held[:1].expand_as(held))
    moves = torch.stack([torch.zeros(3).double(), SLOPE * (values + 2)], -1)
    torch.testing.assert_close(b - b[:1], moves)
    torch.testing.assert_close(draws.x, decoded(draws.latents))
    if x is not None:
        base = latents(chain, x)
        assert torch.equal(a[0, 0], base["a"][0, 0])
        assert torch.equal(u[0], base["u"][0])
        sampled = traverse(chain, "a", values, dim=1, x=x, seed=3, kind="sample")
        drawn = latents(chain, x, kind="sample", seed=3)
        assert torch.equal(sampled.latents["u"][0], drawn["u"][0])


@pytest.mark.full
def test_the_noise_of_children_is_apart_from_the_base(chain: Run) -> None:
    """One seed would give the first numbers of its stream to the base and to the child again."""
    x, noise = chain.data[:1], []
    for seed in range(25):
        b = traverse(chain, "a", [0.0], dim=0, x=x, kind="sample", seed=seed).latents["b"]
        a = latents(chain, x, kind="sample", seed=seed)["a"]
        child = b - SLOPE * tensor(0.0, a[0, 1]) - SHIFT
        noise.append((child * (a - latents(chain, x)["a"]))[0] / (SCALE * 0.5))
    assert_mean(torch.stack(noise), 0.0)  # 1 if it were the same


def test_a_traversal_of_a_leaf_draws_nothing(chain: Run) -> None:
    x, values = chain.data[:1], torch.randn(9, K).double()
    draws = traverse(chain, "u", values, x=x)
    base = {name: value.expand(9, -1) for name, value in latents(chain, x).items()}
    torch.testing.assert_close(draws.latents, base | {"u": values})
    torch.testing.assert_close(draws.x, decoded(base | {"u": values}))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    traverse(chain, "a", values)
    assert torch.equal(torch.rand(3), expected)


def test_a_traversal_of_components_shifts_their_codes() -> None:
    run = run_of(ENUMERATED["mixture that the decoder sees"]())
    draws = traverse(run, "c", range(4))
    assert draws.latents["c"].tolist() == [0, 1, 2, 3]
    locs = parameter(run, "locs")
    torch.testing.assert_close(draws.latents["z"] - draws.latents["z"][0], locs - locs[0])


def test_a_traversal_in_a_plate() -> None:
    run = run_of(nested_plates())
    draws = traverse(run, "part", [5.0, 6.0], dim=-1, x=run.data.x[:1])
    expected = latents(run, run.data.x[:1])["part"].repeat(2, 1)
    expected[:, 3] = tensor(5.0, 6.0)
    torch.testing.assert_close(draws.latents["part"], expected)


def test_global_latents_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "BATCH_SIZE", 4)
    run = run_of(pyro_modules())
    draws = sample_prior(run, 10)
    decoder = next(m for m in run.state.modules if hasattr(m, "decoder")).decoder
    with torch.no_grad():
        shift = draws.x - decoder(draws.latents["z"])
    torch.testing.assert_close(shift, shift[:1].expand(10, D))
    assert "shift" not in draws.latents
    assert (shift[0].abs() < 0.1 * 6).all()  # as the guide draws it, not as the prior
    with torch.no_grad():
        other = sample_prior(run, 1, seed=1)
        assert not torch.allclose(other.x - decoder(other.latents["z"]), shift[:1])


def test_what_the_model_takes_beside_latents_is_used_in_order() -> None:
    def model(x: Tensor, level: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(level[:, None], 0.1).to_event(1))
            pyro.sample("x", dist.Normal(z.expand(-1, D), 1.0).to_event(1), obs=x)

    def guide(x: Tensor, level: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(1.0).double())
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(level[:, None], scale).to_event(1))

    data = torch.zeros(N, D).double(), 10 * torch.arange(N).double()
    run = run_of(Programs(model, guide, data[0]), data)
    draws = sample_prior(run, 2 * N + 3)
    expected = 10.0 * (torch.arange(2 * N + 3) % N)
    assert torch.equal((draws.x[:, 0] / 10).round() * 10, expected)
    other = (torch.zeros(2, D).double(), tensor(30.0, -70.0))
    draws = sample_prior(run, 4, x=other)
    assert (draws.x[:, 0] / 10).round().tolist() == [3, -7, 3, -7]
    draws = traverse(run, "z", [1.0, 2.0], x=(other[0][:1], other[1][:1]))
    assert draws.x[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: intervene(r, {"x": 1.0}), r"expected a latent site of a datum \('a', 'u', 'b'"),
        (lambda r: intervene(r, {"a": [1.0]}), r"shape \[n, 2\] or \[2\], got \[1\]"),
        (lambda r: intervene(r, {"a": torch.zeros(3, 1, 2)}), r"got \[3, 1, 2\]"),
        (lambda r: intervene(r, {}), r"num_samples: expected one number .* got None"),
        (
            lambda r: intervene(r, {"a": torch.zeros(3, 2), "b": torch.zeros(4, 2)}),
            r"num_samples: expected one number .* got \[3, 4\]",
        ),
        (lambda r: sample_prior(r, 0), "num_samples: expected a positive whole number, got 0"),
        (lambda r: traverse(r, "c", [1.0]), r"latent site of a datum \('a', 'u', 'b'\), got 'c'"),
        (lambda r: traverse(r, "a", [1.0]), r"rows of the 2 dimensions .* got shape \(1,\)"),
        (
            lambda r: traverse(r, "a", [1.0], dim=2),
            "dim: expected .* from -2 to 1, got 2",
        ),
        (lambda r: traverse(r, "a", [[1.0, 2.0]], dim=0), r"numbers, got shape \(1, 2\)"),
        (lambda r: traverse(r, "a", [], dim=0), r"numbers, got shape \(0,\)"),
        (lambda r: traverse(r, "a", [1.0], dim=0, x=r.data[:2]), "x: expected one datum, got 2"),
        (lambda r: descendants(r, "x"), "expected a latent site of a datum"),
    ],
)
def test_what_cannot_be_drawn_is_said(chain: Run, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(chain)
