"""The card of a run, alone and in a notebook."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from pyro_decomp import AggregateELBO, Execution, Experiment, evaluate, train
from pyro_decomp.analysis import run_card as cards
from pyro_decomp.analysis.evaluation import write_metrics
from pyro_decomp.analysis.pictures.drawing import terms_drawing
from pyro_decomp.schedules import Linear, UnfinishedScheduleWarning
from pyro_decomp.training.run import Run
from tests.descriptions.test_cards import Page
from tests.example_programs import PROGRAMS, D, N, vae
from tests.runs import run_of


def trained(folder: Path, **settings: Any) -> Run:
    programs = vae()
    data = torch.randn(N, D, dtype=torch.double)
    elbo = AggregateELBO(beta=2.0, alpha=3.0)
    experiment = Experiment(programs.model, programs.guide, data, elbo, epochs=2, **settings)
    return train(experiment, folder, execution=Execution("eager"))


@pytest.mark.full
def test_only_terms_are_said_to_be_in_nats(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", schedules={"beta": Linear(0.0, 4.0, until=2)})
    figure = terms_drawing(run)()
    assert isinstance(figure, Figure)
    titles = {axes.get_title(loc="left") for axes in figure.axes}
    assert titles >= {"elbo (nats)", "log likelihood (nats)", "kl (nats)", "divergence (nats)"}
    assert titles & {"beta", "beta (nats)"} == {"beta"}


def without_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Run) -> bytes:
        raise RuntimeError("no <canvas>")

    monkeypatch.setattr(cards, "_picture", fail)


def test_a_run_says_what_it_is_and_its_numbers_where_no_picture_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_picture(monkeypatch)
    with pytest.warns(UnfinishedScheduleWarning):
        run = trained(tmp_path / "run", schedules={"beta": Linear(0.0, 4.0, until=9)})
    line = repr(run)
    assert line.startswith(f"Run('{tmp_path / 'run'}', 2 of 2 steps, elbo ")
    assert line.endswith(f"{run.experiment.elbo!r})")
    page = Page(run._repr_html_())
    assert not page.images
    for said in (
        "the schedule of beta ends at step 9, after the run",
        "RuntimeError: no <canvas>",
        str(tmp_path / "run"),
        repr(run.experiment.elbo),
        f"{N} of shape ({D},)",
        f"all {N} train data",
        "elbo (nats)",
    ):
        assert any(said in text for text in page.text), said
    assert run.experiment.elbo.beta == pytest.approx(8 / 9)
    assert f"beta={run.experiment.elbo.beta:.6g}" in repr(run.experiment)


@pytest.mark.full
def test_numbers_are_of_evaluate_where_they_are_of_this_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_picture(monkeypatch)
    run = trained(tmp_path / "run")
    found = evaluate(run, only=["elbo"])
    write_metrics(run, found)
    measured = found.quantities()[0].text
    assert measured in Page(run._repr_html_()).text
    with torch.no_grad():
        next(iter(run.state.parameters.values())).add_(1.0)
    assert measured not in Page(run._repr_html_()).text


def test_a_run_that_ended_early_says_so_and_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    without_picture(monkeypatch)
    run = run_of(PROGRAMS["functions with pyro.param"]())
    assert repr(run) == "Run('absent', 0 of 100 steps, BetaELBO(beta=1.0))"
    said = "the run {} at step 0 of 100; run.train() goes on with it"
    assert said.format("ended") in Page(run._repr_html_()).text
    run.interrupted = True
    assert said.format("was stopped") in Page(run._repr_html_()).text


@pytest.mark.full
@pytest.mark.parametrize("name", ["VAE", "two sites", "an auxiliary site", "a Delta guide"])
def test_a_card_leaves_the_run_and_the_generators_as_they_were(name: str) -> None:
    run = run_of(PROGRAMS[name]())
    run.history = {"step": torch.arange(1, 9).numpy(), "elbo": torch.randn(8).numpy()}
    before = run.codes()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    page = Page(run._repr_html_())
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(run.codes(), before)
    (picture,) = page.images
    assert picture.startswith("data:image/png;base64,iVBOR")
    assert not plt.get_fignums()


@pytest.mark.slow
def test_cards_in_a_notebook(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [
        "from tests.analysis.test_run_card import trained\nfrom pathlib import Path",
        f"run = trained(Path({str(tmp_path / 'run')!r}))\nrun",
        "run.experiment",
        "run.experiment.elbo",
        "run.experiment.elbo.divergence",
        "run.experiment.model.__self__",
        "run.evaluate(only=['elbo'])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    root = {"metadata": {"path": str(Path(__file__).parents[2])}}
    nbclient.NotebookClient(notebook, timeout=120, resources=root).execute()
    titles = []
    for cell in notebook.cells[1:]:
        *_, shown = (out["data"] for out in cell.outputs if "data" in out)  # after any bar
        assert "\n" not in shown["text/plain"]
        titles.append(Page(shown["text/html"]).text[0])
    assert titles[:2] == ["Run", "Experiment"]
    assert titles[2:4] == [
        "AggregateELBO(beta=2.0, alpha=3.0, divergence=InclusiveKL())",
        "InclusiveKL()",
    ]
    assert titles[4].startswith("VAE(prior=normal_prior, ")
    assert titles[5] == "Evaluation"
