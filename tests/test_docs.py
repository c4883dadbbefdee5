"""What README and the documentation tell people to write does what they say."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest

from pyro_decomp import priors, train
from pyro_decomp.analysis import evaluation
from pyro_decomp.training.experiment_file import ExperimentFile
from tests.training.test_notebook_record import executed

ROOT = Path(__file__).parents[1]


def test_the_page_on_priors_names_each_of_them() -> None:
    encoders = {"BottomUpEncoder", "TopDownEncoder"}  # of a hierarchy
    page = (ROOT / "docs" / "api" / "priors.md").read_text()
    assert {name for name in priors.__all__ if f"`{name}`" not in page} == encoders


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


README = blocks("README.md", "python")


@pytest.mark.full
@pytest.mark.parametrize("place", range(len(README)))
def test_a_snippet_of_readme_runs_when_pasted_alone(place: int, tmp_path: Path) -> None:
    """In a process of its own, in an empty folder, as a script and as lines of a prompt are."""
    check = {0: "experiment(epochs=2)", 1: "assert run.step == 600", 2: "svi.step(data)"}[place]
    text = f"{README[place]}\n{check}\n"
    done = subprocess.run([sys.executable, "-"], input=text, cwd=tmp_path, text=True, check=False)
    assert done.returncode == 0


@pytest.mark.full
def test_the_python_of_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "examples" / "pinwheel_mixture.py"
    source = ExperimentFile.read(path, seed=0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "MIN_SAMPLES", 400)
    monkeypatch.setattr(evaluation, "MAX_SAMPLES", 400)
    train(source, "runs/pinwheel_mixture", arguments={"epochs": 2})
    make = source.function  # whatever built the experiment of the run "runs/a"
    train(make, "runs/a", arguments={"epochs": 2})
    written: dict[str, Any] = {"make": make}
    for block in blocks("docs/run_folder.md", "python"):
        exec(block, written)
    assert written["run"].step == 8
    assert written["metrics"].keys() == {"train", "test"}


def test_three_lines_train_the_example_on_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "examples" / "pinwheel_mixture.py").read_text()
    (diff,) = blocks("docs/your_own_data.md", "diff")
    changes = re.findall(r"^-(.*\n)(?:\+(.*\n))?", diff, re.M)
    assert sum(bool(new) for _, new in changes) == 3
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    table = np.random.default_rng(0).normal(size=(30, 5))
    np.savetxt(tmp_path / "table.csv", table, delimiter=",", header="a,b,c,d,e", comments="")
    monkeypatch.chdir(tmp_path)
    pyro.set_rng_seed(0)
    source = ExperimentFile.from_source(text, tmp_path / "my_experiment.py", seed=0)
    run = train(source.build({"epochs": 2}), "runs/my_experiment")
    assert run.step == 2
    np.testing.assert_allclose(run.data.x, table, rtol=1e-6)


@pytest.mark.full
def test_programs_without_vae(tmp_path: Path) -> None:
    source = ExperimentFile.read(ROOT / "docs" / "own_programs.py", seed=0)
    arguments = {"epochs": 100}
    run = train(source, tmp_path / "run", arguments=arguments)
    elbo = run.history["elbo"]
    assert elbo[-10:].mean() > elbo[:10].mean() + 1
    assert set(run.state.parameters) >= {"scale"}


def test_the_python_of_programs() -> None:
    """All of the page; its example of missing values has the number of a masked likelihood."""
    written: dict[str, Any] = {}
    for block in blocks("docs/programs.md", r"\{code-cell\} python"):
        exec(block, written)
    programs, x, known = (written[name] for name in ("incomplete", "x", "known"))
    pair = written["BetaELBO"]().drawn_pair(programs.model, programs.guide, x, known)
    px_z = pyro.distributions.Normal(programs.decoder(pair.guide.nodes["z"]["value"]), 0.5)
    expected = (px_z.log_prob(x) * known).sum(-1)
    assert pair.log_likelihood().detach().numpy() == pytest.approx(
        expected.detach().numpy(), rel=1e-4
    )


@pytest.mark.slow
def test_the_notebook_shows_what_its_page_says(tmp_path: Path) -> None:
    cells = [
        re.sub(r"^:tags:.*\n", "", cell)
        for cell in blocks("docs/tutorials/notebook.md", r"\{code-cell\} python")
    ]
    shown: dict[str, dict[str, str]] = {}  # by the last line of a cell, all outputs by their type
    for cell, outputs in zip(cells, executed(cells, tmp_path), strict=True):
        joined = shown.setdefault(cell.strip().splitlines()[-1], {})
        for kind, text in (item for each in outputs for item in each.get("data", {}).items()):
            joined[kind] = joined.get(kind, "") + text
    html = {line: each["text/html"] for line, each in shown.items() if "text/html" in each}
    plain = {line: each["text/plain"] for line, each in shown.items() if "text/plain" in each}
    bars = [re.findall(r"<progress value=.(\d+). max=.(\d+)", text) for text in html.values()]
    *ends, (early,), seeds = filter(None, bars)
    assert ends == [[("200", "200")], [("75", "200")], [("200", "200")], [("250", "250")]]
    assert int(early[0]) < int(early[1]) == 1000
    assert seeds == [("1", "1")]  # a bar of the whole
    assert "test_elbo was no better in 3 values" in plain['early.resources["stopped"]']
    assert [line for line, text in html.items() if "<progress" not in text] == ["run", "found"]
    assert "data:image/png" in html["run"]
    stopped = plain["stopped.interrupted, stopped.step, stopped.codes().shape"]
    assert stopped.endswith("(True, 75, torch.Size([400, 2]))")
    (went_on,) = (text for line, text in plain.items() if line.startswith("finished.interrupted"))
    assert went_on.endswith("(False, 200, True)")
    assert plain["runs"].count("200 of 200 steps") == 2
    (swept,) = (text for line, text in plain.items() if line.startswith("table.select"))
    assert swept.count("'finished'") == 2
    assert plain["again, torch.equal(again.codes(), run.codes())"].endswith("True)")
    figures = [line.partition("(")[0] for line, each in shown.items() if "image/png" in each]
    assert figures == ["plots.terms_over_steps", "Image", "plots.trade_offs"]
