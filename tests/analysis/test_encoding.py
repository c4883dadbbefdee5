"""How often a datum is sent through the encoder, and that kept encodings draw as the guide does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, BetaELBO, Experiment, codes, evaluate, log_likelihood
from pyro_decomp.analysis import evaluation, representations
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.latents import latents, reconstruct
from pyro_decomp.analysis.log_likelihood import importance_weighted_log_px
from pyro_decomp.analysis.pictures import draw
from pyro_decomp.analysis.stored_guide import StoredGuide
from pyro_decomp.data.batches import Data
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.training.run import Run, finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare
from tests.enumerated import ENUMERATED
from tests.example_programs import PROGRAMS, D, N
from tests.runs import run_of

SIZE, TEST_SIZE = 60, 40
FIXED_SIZE = {"VAE, full batch", "user's scale", "user's mask"}  # not of N data
TABLE = {n: make for n, make in {**PROGRAMS, **ENUMERATED}.items() if n not in FIXED_SIZE}
K = 50  # draws a datum


class Seen:
    """Counts the rows that a network is given; what programs keep is put back, but not this."""

    _is_memory_of_programs = True

    def __init__(self, network: nn.Module) -> None:
        self.rows = 0
        network.register_forward_hook(self.count)

    def count(self, _network: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
        self.rows += len(inputs[0])


def vae(folder: Path) -> tuple[Run, Seen]:
    """A run on data of five factors with held-out data, and what its encoder sees."""

    def prior() -> Any:
        return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    encoder = MLPEncoder(3, 2, (8,))
    programs = VAE(prior, encoder, MLPDecoder(2, 3, (8,)), size=SIZE)
    factors = torch.stack([torch.arange(SIZE) % 5, torch.arange(SIZE) % 3], 1)
    trial = Experiment(
        *(programs.model, programs.guide, torch.randn(SIZE, 3), AggregateELBO(alpha=0.0)),
        test_data=torch.randn(TEST_SIZE, 3),
        factors=factors,
        factor_names=("a", "b"),
    )
    folder.mkdir(exist_ok=True)
    return finish(RunFolder(folder), trial, prepare(trial), {}, 0), Seen(encoder)


QUICK = [*evaluation.MEASURES[:8], "components", "mig", "density_mig", "divergence_from_prior"]
COMMANDS: dict[str, tuple[Callable[[Run], Any], int]] = {  # rows that the encoder is to see
    "evaluate": (lambda run: evaluate(run, only=QUICK, num_importance_samples=K), SIZE + TEST_SIZE),
    "evaluate a score": (lambda run: evaluate(run, only=["mig"]), SIZE + TEST_SIZE),
    "evaluate densities": (lambda run: evaluate(run, only=["density_mig"]), SIZE + TEST_SIZE),
    "plot": (draw, SIZE),
    "codes": (codes, SIZE),
    "latents": (latents, SIZE),
    "samples": (lambda run: latents(run, kind="sample"), SIZE),
    "reconstruct": (reconstruct, SIZE),
    "log_likelihood": (lambda run: log_likelihood(run, num_samples=K), SIZE),
}


@pytest.mark.full(but=["codes", "latents"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_datum_is_sent_through_the_encoder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(evaluation, "MIN_SAMPLES", 2 * SIZE)
    monkeypatch.setattr(evaluation, "MAX_SAMPLES", 2 * SIZE)
    run, seen = vae(tmp_path)
    command, rows = COMMANDS[name]
    command(run)
    assert seen.rows == rows


def test_scores_are_the_same_bits_whatever_else_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of one batch is encoded in one, since rows are rounded as their batch is cut."""
    monkeypatch.setattr(representations, "FIRST", 7)
    run, _ = vae(tmp_path)
    sizes: list[int] = []
    run.model.__self__.encoder.register_forward_hook(lambda _n, x, _z: sizes.append(len(x[0])))
    data = EncodedData.of(run)
    _ = representations.Representations(data).encodings
    assert sizes == [SIZE]
    names = ["density_mig", "divergence_from_prior"]
    beside = evaluate(run, only=["elbo", *names])["train"]["scores"]
    for name in names:
        assert evaluate(run, only=[name])["train"]["scores"] == {name: beside[name]}


def run_for_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredGuide, "of", lambda *_arguments: None)


def numbers(run: Run) -> list[Tensor]:
    """Draws, codes and log p(x) of data that are gone over several times."""
    torch.manual_seed(1)
    data = EncodedData.of(run)
    some = torch.tensor([3, 3, 1, 7])
    with torch.no_grad():
        first = [pair.log_likelihood() for pair in data.pairs()]
        again = [pair.total_kl() for pair in data.pairs()]
        mixed = [data.pair(some).log_posterior(), *data.latents(some).values()]
        drawn = [*data.latents(kind="sample").values()]
        scored = [importance_weighted_log_px(data, num_samples=5)] if scores_x(run) else []
    return [*first, *again, *mixed, *drawn, *scored]


def scores_x(run: Run) -> bool:
    with torch.no_grad():
        return not EncodedData.of(run).first.why_not_weighted()


@pytest.mark.full(but=["VAE-*", "a Delta guide-21"])
@pytest.mark.parametrize("elements", [10**6, 7 * D])
@pytest.mark.parametrize("name", TABLE)
def test_draws_from_kept_encodings_are_those_of_the_guide(
    name: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_decomp.analysis.encoding.BATCH_ELEMENTS", elements)
    run = run_of(TABLE[name]())
    found = numbers(run)
    run_for_every_draw(monkeypatch)
    for one, other in zip(found, numbers(run), strict=True):
        torch.testing.assert_close(one, other)


def plates(x: Tensor) -> Any:
    return pyro.plate("data", N, subsample=x)


def of_guide(guide: Callable[[Tensor], Any]) -> EncodedData:
    def model(x: Tensor) -> None:
        with plates(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(D).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    return EncodedData(Data.of(torch.randn(N, D).double()), model, guide, BetaELBO())


def test_a_guide_that_draws_beside_its_sites_is_run_for_every_draw() -> None:
    runs = 0

    def guide(x: Tensor) -> None:
        nonlocal runs
        runs += 1
        with plates(x):
            pyro.sample("z", dist.Normal(x + torch.randn_like(x), 0.1).to_event(1))

    data = of_guide(guide)
    with torch.no_grad():
        z = [next(data.pairs()).guide.nodes["z"]["fn"].mean for _ in range(2)]
    assert runs >= 2
    assert not torch.allclose(*z)


def test_a_guide_of_dependent_sites_is_run_for_every_draw() -> None:
    """The second site's network takes a draw of the first, and is run once with all of them."""
    network = nn.Linear(D, D).double()
    seen = Seen(network)

    def model(x: Tensor) -> None:
        with plates(x):
            a = pyro.sample("a", dist.Normal(torch.zeros(D).double(), 1.0).to_event(1))
            z = pyro.sample("z", dist.Normal(a, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with plates(x):
            a = pyro.sample("a", dist.Normal(x, 1.0).to_event(1))
            pyro.sample("z", dist.Normal(network(x + a), 1.0).to_event(1))

    data = EncodedData(Data.of(torch.randn(N, D).double()), model, guide, BetaELBO())
    found = importance_weighted_log_px(data, num_samples=K)
    assert found.isfinite().all()
    assert seen.rows == (2 + K) * N  # two looks at the programs, and all draws at once


def test_programs_of_the_table_are_of_both_kinds() -> None:
    """Else the test of draws would compare a guide with itself."""
    kept = {name: EncodedData.of(run_of(make())) for name, make in TABLE.items()}
    found = set()
    for data in kept.values():
        with torch.no_grad():
            data.encode(torch.arange(N))
        found.add(data._stored is None)
    assert found == {True, False}
