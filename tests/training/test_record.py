"""Runs that functions and experiments began come back, and what they are held against is named."""

import linecache
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, BetaELBO, Experiment, InclusiveKL, load, train
from pyro_decomp.cli import main
from pyro_decomp.errors import ExperimentError, ModelError, RunError
from pyro_decomp.training.description import DifferentDataWarning, objective_text
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.record import UnrecordedWarning
from pyro_decomp.training.run import Run, untrained

ROOT = Path(__file__).parents[2]
NUM_DATA = 12
DATA = torch.linspace(-1.0, 1.0, NUM_DATA)[:, None]


def line(
    beta: float = 1.0,
    data: Tensor = DATA,
    prior: Any = dist.Normal,
    *,
    elbo: Any = None,
    epochs: int = 3,
    hidden: int = 1,
) -> Experiment:
    """A line of points, which other functions change."""
    network = nn.Sequential(nn.Linear(1, hidden), nn.Linear(hidden, 1))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(data), subsample=x):
            z = pyro.sample("z", prior(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(data), subsample=x):
            pyro.sample("z", dist.Normal(network(x), 1.0).to_event(1))

    return Experiment(model, guide, data, elbo or BetaELBO(beta=beta), epochs=epochs)


def make(beta: float = 1.0) -> Experiment:
    return line(beta)


def wider() -> Experiment:
    return line(hidden=2)


def weights(run: Run) -> list[Any]:
    return [value.tolist() for value in run.state.parameters.values()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("trained") / "run"
    return train(make, path, seed=3, arguments={"beta": 2.0})


def test_a_run_of_a_function_is_loaded_from_its_folder(trained: Run) -> None:
    loaded = load(trained.path)
    assert weights(loaded) == weights(trained)
    assert loaded.experiment.elbo.beta == 2.0
    assert loaded.config["arguments"] == {"beta": 2.0}


@pytest.mark.full
def test_it_is_loaded_by_its_function_too(trained: Run) -> None:
    assert weights(load(trained.path, experiment=make)) == weights(trained)


@pytest.mark.full
def test_it_is_known_as_it_was_before_training(trained: Run) -> None:
    before = untrained(trained)
    assert before is not None
    pyro.set_rng_seed(3)
    expected = [p.tolist() for p in make(2.0).guide.__closure__[1].cell_contents.parameters()]
    assert weights(before) == expected


@pytest.mark.full
def test_loading_changes_neither_the_experiment_given_nor_another_run(tmp_path: Path) -> None:
    given = make()
    first = train(given, tmp_path / "first")
    second = train(given, tmp_path / "second", seed=1)
    before = weights(first), weights(second), [p.tolist() for p in _parameters(given)]
    loaded = load(tmp_path / "first", experiment=given), load(tmp_path / "second", experiment=given)
    assert [weights(run) for run in loaded] == [before[0], before[1]]
    assert (weights(first), weights(second), [p.tolist() for p in _parameters(given)]) == before


def _parameters(experiment: Experiment) -> list[nn.Parameter]:
    cells = [cell.cell_contents for cell in experiment.guide.__closure__]  # type: ignore[attr-defined]
    return [p for each in cells if isinstance(each, nn.Module) for p in each.parameters()]


@pytest.mark.full(but=["weight"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            partial(line, 3.0),
            r"objective BetaELBO\(beta=2.0\): .* got objective BetaELBO\(beta=3.0\)",
        ),
        (
            partial(line, elbo=AggregateELBO(beta=2.0, divergence=InclusiveKL())),
            r"objective BetaELBO\(beta=2.0\): .* got objective AggregateELBO\(beta=2.0, diverg",
        ),
        (partial(line, 2.0, epochs=4), "total_steps 3: expected the same, got total_steps 4"),
        (partial(line, 2.0, DATA[1:]), "num_data 12: expected the same, got num_data 11"),
        (partial(line, 2.0, DATA + 1), "data of digest .*: expected the same, got data of digest"),
        (
            partial(line, 2.0, prior=dist.Laplace),
            r"sites z ~ Normal\[1\], x ~ Normal\[1\]: .* got sites z ~ Laplace\[1\], x ~ Normal",
        ),
        (partial(line, 2.0, hidden=2), "does not fit the run's experiment"),
    ],
    ids=["weight", "objective", "length", "rows", "values", "prior", "network"],
)
def test_another_experiment_is_refused_with_what_differs(
    trained: Run, given: Callable[[], Experiment], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        load(trained.path, experiment=given())


@pytest.mark.full
def test_another_function_is_refused(trained: Run) -> None:
    def make(beta: float = 1.0) -> Experiment:
        return line(beta, epochs=3)

    with pytest.raises(RunError, match=r"<make> as it was then: .* \(leave `experiment` out"):
        load(trained.path, experiment=make)


def of_cell(text: str, **names: Any) -> Any:
    """The function ``build`` of a cell of a notebook."""
    file = "<ipython-input-7-test>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope = {"__name__": "__main__", **names}
    exec(compile(text, file, "exec"), scope)
    return scope["build"]


@pytest.mark.full
def test_a_function_of_a_cell_comes_back_with_its_values(tmp_path: Path) -> None:
    text = "def build(beta=1.0):\n    return line(beta, DATA.float() + SHIFT)\n"
    build = of_cell(text, line=line, DATA=DATA.double(), SHIFT=0.5)
    run = train(build, tmp_path / "run")
    loaded = load(tmp_path / "run")
    assert weights(loaded) == weights(run)
    torch.testing.assert_close(loaded.data[:][0], DATA + 0.5)
    (tmp_path / "run" / "source.pt").unlink()
    with pytest.raises(RunError, match=r"source\.pt: expected the tensors .* found no such file"):
        load(tmp_path / "run")
    assert weights(load(tmp_path / "run", experiment=build)) == weights(run)


@pytest.mark.full
def test_a_function_that_cannot_be_kept_trains_and_says_so(tmp_path: Path) -> None:
    text = "def build():\n    network(DATA)\n    return line()\n"
    build = of_cell(text, line=line, DATA=DATA, network=nn.Linear(1, 1))
    with pytest.warns(UnrecordedWarning, match=r"build: .* got `network`, a Linear \(make it ins"):
        run = train(build, tmp_path / "run")
    with pytest.raises(RunError, match=r"got `network`, a Linear .*: give it, or the function"):
        load(tmp_path / "run")
    assert weights(load(tmp_path / "run", experiment=build)) == weights(run)
    assert untrained(run) is None


@pytest.mark.full
def test_an_argument_that_is_no_number_or_text_is_part_of_the_source(tmp_path: Path) -> None:
    run = train(line, tmp_path / "run", arguments={"prior": dist.Laplace, "beta": 2.0})
    assert run.config["arguments"] == {"beta": 2.0}
    assert weights(load(tmp_path / "run")) == weights(run)
    with pytest.raises(RunError, match=r"trained with prior=.*Laplace.*functools\.partial"):
        load(tmp_path / "run", experiment=line)
    given = partial(line, prior=dist.Laplace)
    assert weights(load(tmp_path / "run", experiment=given)) == weights(run)


def bare(weight, beta=1, hidden=None) -> Experiment:  # type: ignore[no-untyped-def]
    return line(float(weight) * float(beta), hidden=hidden or 1)


def typed(beta: float = 1.0, hidden: int = 1) -> Experiment:
    return line(beta, hidden=hidden) if isinstance(beta, float) else wider()


@pytest.mark.full
@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (bare, {"weight": 2}),
        (bare, {"weight": 2.0, "beta": 0.5}),
        (bare, {"weight": np.float64(0.25), "hidden": np.int64(3)}),
        (typed, {"beta": 3, "hidden": np.int32(2)}),
    ],
    ids=["untyped", "not-of-the-default", "numpy", "whole-for-float"],
)
def test_a_function_is_called_again_as_it_was(
    tmp_path: Path, build: Callable[..., Experiment], arguments: dict[str, Any]
) -> None:
    run = train(build, tmp_path / "run", arguments=arguments)
    for again in (load(tmp_path / "run"), load(tmp_path / "run", experiment=build)):
        assert weights(again) == weights(run)
    both = train(build, seeds=[0, 1], arguments=arguments)
    assert torch.allclose(both[0].codes(), run.codes(), atol=1e-5)


def test_an_argument_of_another_type_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"`hidden`: expected int, got 1\.5"):
        train(typed, tmp_path / "run", arguments={"hidden": 1.5})
    assert not (tmp_path / "run").exists()


def experiment(beta: float = 1.0) -> Experiment:
    return line(beta)


@pytest.mark.full
def test_a_function_may_use_one_called_experiment(tmp_path: Path) -> None:
    run = train(partial(experiment, beta=0.5), tmp_path / "run")
    assert load(tmp_path / "run").experiment.elbo.beta == 0.5
    assert weights(load(tmp_path / "run")) == weights(run)


@pytest.mark.full
def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    given = line(elbo=BetaELBO(beta=np.float64(0.5)), epochs=np.int64(2))
    run = train(given, tmp_path / "run", seed=np.int64(3))
    again = load(tmp_path / "run", experiment=line(elbo=BetaELBO(beta=0.5), epochs=2))
    assert again.train(epochs=np.int64(1)).step == run.step + 1
    runs = train(given, seeds=np.arange(3, 5))
    assert [each.seed for each in runs] == [3, 4]
    assert weights(runs[0]) == weights(run)


NETWORK = nn.Linear(1, 1)


def by_its_name(x: Tensor) -> None:
    with pyro.plate("data", NUM_DATA, subsample=x):
        pyro.sample("z", dist.Normal(globals()["NETWORK"](x), 1.0).to_event(1))


def test_a_network_that_no_copy_of_a_program_reaches_is_refused(tmp_path: Path) -> None:
    given = line()
    given.guide, given.modules = by_its_name, [NETWORK]
    with pytest.raises(
        ModelError, match=r"^modules: expected programs that run the copy of Linear"
    ):
        train(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def shaped(hidden: tuple[int, ...] = (1,), epochs: int = 3) -> Experiment:
    return line(hidden=hidden[0], epochs=epochs)


@pytest.mark.full
def test_a_run_goes_on_whose_arguments_are_lists_in_its_record(tmp_path: Path) -> None:
    train(shaped, tmp_path / "run", arguments={"hidden": (2,), "epochs": 2})
    more = {"hidden": (2,), "epochs": 4}
    run = train(shaped, tmp_path / "run", arguments=more, resume=True)
    assert (run.step, load(tmp_path / "run").step) == (4, 4)
    assert weights(load(tmp_path / "run")) == weights(run)


@pytest.mark.full
def test_an_argument_of_a_file_that_no_run_can_keep_is_said(tmp_path: Path) -> None:
    file = ExperimentFile.of_function(line)
    file = ExperimentFile.from_source(
        file.source, tmp_path / "line.py", tensors=file.tensors, folders=file.folders
    )
    with pytest.warns(UnrecordedWarning, match="prior: expected numbers, text, or lists of these"):
        train(file, tmp_path / "run", arguments={"prior": dist.Laplace})
    with pytest.raises(RunError, match="prior: expected numbers"):
        load(tmp_path / "run")


@pytest.mark.full
def test_data_that_changed_on_disk_are_refused(tmp_path: Path) -> None:
    torch.save(DATA, tmp_path / "data.pt")
    text = "def build():\n    return line(data=torch.load(PATH))\n"
    build = of_cell(text, line=line, torch=torch, PATH=tmp_path / "data.pt")
    train(build, tmp_path / "run")
    load(tmp_path / "run")
    torch.save(DATA * 2, tmp_path / "data.pt")
    with pytest.raises(RunError, match=r"expected its experiment to read the same, .*restore"):
        load(tmp_path / "run")
    torch.save(DATA * (1 + 2e-7), tmp_path / "data.pt")  # as another processor may round
    with pytest.warns(DifferentDataWarning, match="differ from these in their last digits"):
        load(tmp_path / "run")


def test_the_words_of_an_objective_are_its_arguments() -> None:
    trial = line(elbo=AggregateELBO(alpha=3.0, divergence=2 * InclusiveKL() + InclusiveKL(8)))
    assert objective_text(trial) == (
        "AggregateELBO(alpha=3.0, divergence=WeightedSum(parts=[[2, InclusiveKL()], "
        "[1.0, InclusiveKL(num_samples=8)]]))"
    )


def test_a_function_begins_anew_by_its_text(tmp_path: Path) -> None:
    file = ExperimentFile.of_function(make)
    assert file.parameters[0].name == "beta"
    again = file.fresh(0)
    assert again.function is not make
    assert again.source == file.source
    assert again.build({"beta": 3}).elbo.beta == 3.0
    with pytest.raises(ExperimentError, match=r"<make>: `experiment` has no parameter `gamma`"):
        again.build({"gamma": 1})


FILE = """
from tests.training.test_record import line

def experiment():
    return line(BETA)
"""


@pytest.mark.full
def test_a_run_of_an_experiment_is_measured_by_the_shell_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make(2.0), tmp_path / "run")
    command = ["evaluate", str(tmp_path / "run"), "--only", "elbo", "--quiet"]
    assert said_by(command) == 1
    assert (
        "trained from an Experiment: give it, or the function that builds it, to load(path"
        in one_line(capsys)
    )
    (tmp_path / "same.py").write_text(FILE.replace("BETA", "2.0"))
    (tmp_path / "other.py").write_text(FILE.replace("BETA", "3.0"))
    assert said_by([*command, "--experiment", str(tmp_path / "same.py")]) == 0
    assert said_by([*command, "--experiment", str(tmp_path / "other.py")]) == 1
    assert "got objective BetaELBO(beta=3.0)" in one_line(capsys)


def said_by(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


SCRIPT = """
import sys
import torch
from pyro_decomp import evaluate, load, train
from tests.training.test_record import line

print("at the top")
DATA = torch.randn(12, 1)

def build(beta=1.0):
    return line(beta, DATA)

if GUARD:
    run = train(build, "run", arguments={"beta": 2.0})
    print(evaluate(run, only=["elbo"])["train"]["elbo"])
"""


@pytest.mark.full
@pytest.mark.parametrize("guard", ['__name__ == "__main__"', "True"])
def test_a_run_of_a_script_is_evaluated_and_drawn_by_the_shell(tmp_path: Path, guard: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace("GUARD", guard))

    def said(*words: str, cwd: Path = tmp_path) -> str:
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
        command = [sys.executable, *words]
        return subprocess.run(
            command, cwd=cwd, env=environment, check=True, capture_output=True, text=True
        ).stdout

    first, elbo = said("script.py").splitlines()
    assert first == "at the top"
    for command in ("evaluate", "plot", "inspect"):
        options = ["--only", "elbo"] if command == "evaluate" else []
        words = said("-m", "pyro_decomp", command, str(tmp_path / "run"), *options, cwd=ROOT)
        assert "at the top" not in words
    measured = (tmp_path / "run" / "metrics.json").read_text()
    assert elbo in measured


def test_a_path_is_the_file_that_it_names(tmp_path: Path) -> None:
    text = Path(__file__).parents[2].joinpath("examples", "pinwheel_mixture.py").read_text()
    path = tmp_path / "clusters.py"
    path.write_text(text)
    arguments = {"epochs": 1, "hidden": 4}
    run = train(str(path), tmp_path / "run", seed=3, arguments=arguments)
    same = train(ExperimentFile.read(path), tmp_path / "same", seed=3, arguments=arguments)
    assert run.history["elbo"].tolist() == same.history["elbo"].tolist()
    assert load(tmp_path / "run", experiment=path).step == run.step
