"""Terms over a set of data are those of the objective on all of it, each by itself."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp import BetaELBO
from pyro_decomp.analysis.posterior_samples import TermSums
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.programs.traces import TracePair
from tests.example_programs import PROGRAMS, batch

ELBO = BetaELBO()


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_of_one_batch_they_are_the_objectives(name: str) -> None:
    programs = PROGRAMS[name]()
    with torch.no_grad():
        pair = ELBO.drawn_pair(programs.model, programs.guide, batch())
        wanted = TermsELBO.terms(ELBO, pair)
        sums = TermSums(pair.batch_size)
        sums.add(pair, 0)
    found, left_out = sums.numbers()
    assert not left_out
    for term, value in wanted.items():
        assert found[term] == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
    elbo = wanted["log_likelihood"] - wanted["kl"] - wanted.get("global_kl", 0.0)
    assert found["elbo"] == pytest.approx(elbo.item(), rel=1e-5, abs=1e-6)


DATA = torch.tensor([[0.0], [1.0], [4.0]], dtype=torch.double)


def model(x: Tensor) -> None:
    with pyro.plate("data", len(DATA), subsample=x):
        z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=torch.double), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(x - x + 0 * z, 1.0).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    with pyro.plate("data", len(DATA), subsample=x):
        pyro.sample("z", dist.Normal(0 * x, 1.0).to_event(1))


def summed(passes: int = 1, refused: dict[str, str] | None = None) -> TermSums:
    sums = TermSums(len(DATA), refused)
    for _ in range(passes):
        for start, stop in ((0, 2), (2, 3)):
            sums.add(ELBO.drawn_pair(model, guide, DATA[start:stop]), start)
    return sums


@pytest.mark.parametrize("passes", [1, 3])
def test_the_mean_over_batches_and_its_error(passes: int) -> None:
    found, _ = summed(passes).numbers()
    each = -0.5 * DATA[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)
    assert found["log_likelihood"] == pytest.approx(each.mean().item(), rel=1e-12)
    error = each.std().item() / 3**0.5
    assert found["log_likelihood_standard_error"] == pytest.approx(error, rel=1e-12)
    assert found["elbo_standard_error"] == pytest.approx(error, rel=1e-12)
    assert found["kl"] == 0.0


def test_a_term_that_fails_takes_only_the_elbo_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pair: TracePair) -> Tensor:
        raise ZeroDivisionError("no way")

    monkeypatch.setattr(TracePair, "total_kl", fail)
    found, left_out = summed().numbers()
    assert found.keys() == {"log_likelihood", "log_likelihood_standard_error"}
    assert left_out == dict.fromkeys(("elbo", "kl"), "ZeroDivisionError: no way")


def test_a_term_that_is_infinite_names_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = TracePair.log_likelihood

    def infinite(pair: TracePair) -> Tensor:
        values = ordinary(pair)
        return torch.where(values < -5, -torch.inf, values)

    monkeypatch.setattr(TracePair, "log_likelihood", infinite)
    found, left_out = summed().numbers()
    assert found.keys() == {"kl", "kl_standard_error"}
    reason = "it is -inf in 1 of 3 data, first in row 2"
    assert left_out == {"elbo": reason, "log_likelihood": reason}


def test_what_is_refused_is_not_tried() -> None:
    found, left_out = summed(refused={"log_likelihood": "no density"}).numbers()
    assert "kl" in found
    assert left_out == {"log_likelihood": "no density", "elbo": "no density"}
