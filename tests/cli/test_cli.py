import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_decomp import load
from pyro_decomp.analysis import evaluation, pictures
from pyro_decomp.cli import main
from pyro_decomp.errors import ModelError

SOURCE = '''"""A line of four points."""

import pyro
import pyro.distributions as dist
import torch

from pyro_decomp import AggregateELBO, Experiment

DATA = torch.arange(4.0)[:, None]


def model(x):
    with pyro.plate("data", 4, subsample=x):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1).to_event(1))
        pyro.sample("x", dist.Normal(z, 1).to_event(1), obs=x)


def experiment(alpha: float = 0.0, epochs: int = 3, fail: str = "never"):
    """Describe it.

    Args:
        alpha: The match to the prior.
    """
    network = torch.nn.Linear(1, 1)

    def guide(x):
        if fail == "model":
            raise RuntimeError(f"no\\nway")
        with pyro.plate("data", 4, subsample=x):
            pyro.sample("z", dist.Normal(network(x), 1).to_event(1))

    if fail == "interrupt":
        raise KeyboardInterrupt
    if fail == "build":
        raise RuntimeError("no way")
    if fail == "return":
        return network
    elbo = AggregateELBO(alpha=alpha)
    return Experiment(model, guide, data=DATA, elbo=elbo, epochs=epochs)
'''
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment file in the current folder, by its name alone."""
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(SOURCE)
    return Path("trial.py")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without drawing, which takes longer than all else and has a test of its own."""
    monkeypatch.setattr(pictures, "draw", lambda run, **_: [])


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--help"], ["train", "inspect", "evaluate", "plot", "--version"]),
        (["inspect", "--help"], ["FILE", "--set", "--seed"]),
        (["train", "--help"], ["FILE", "--set", "--out", "--seed", "--device", "--resume"]),
        (["evaluate", "--help"], ["RUN", "--seed", "--only", "--trees", "--device"]),
        (["plot", "--help"], ["RUN"]),
        (["--version"], ["0."]),
    ],
)
def test_help(words: list[str], expected: list[str], capsys: Capture) -> None:
    assert run(*words) == 0
    out, err = capsys.readouterr()
    assert not err
    for word in expected:
        assert word in out


@pytest.mark.parametrize(
    "words",
    [["trial.py", "--help"], ["--help", "trial.py"], ["--seed", "3", "--help", "trial.py"]],
    ids=" ".join,
)
def test_help_on_a_file_lists_its_parameters(words: list[str], capsys: Capture) -> None:
    assert run("train", *words) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    after = lines[lines.index("Parameters of trial.py, each --set KEY=VALUE:") :]
    assert after[1:] == [
        "A line of four points.",
        "",
        "alpha <float> The match to the prior. [default: 0.0]",
        "epochs <int> [default: 3]",
        "fail <str> [default: never]",
    ]


def test_help_needs_no_torch() -> None:
    code = "import sys, pyro_decomp.cli as cli\ntry: cli.main(['train', '--help'])\nfinally: "
    code += "print(sorted({'torch', 'numpy', 'matplotlib', 'pyro'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.full
def test_training_and_drawing_wait_for_no_package_of_a_single_metric() -> None:
    code = "import sys, pyro_decomp.training.training, pyro_decomp.analysis.pictures\n"
    code += "import pyro_decomp.analysis.findings\n"
    code += "print(sorted({'scipy', 'sklearn', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "Missing argument 'FILE'"),
        (["train", "trial.py", "--sed", "3"], "No such option: --sed"),
        (["train", "trial.py", "--seed", "-1"], "--seed"),
        (["train", "trial.py", "--seed", "x"], "--seed"),
        (["train", "trial.py", "--resume", "--force"], "expected one of --resume and --force"),
        (["evaluate", "run", "--importance-samples", "0"], "--importance-samples"),
        (["trian", "trial.py"], "Did you mean 'train'"),
    ],
)
def test_words_that_make_no_command(words: list[str], message: str, capsys: Capture) -> None:
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert not out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "absent.py"], r"absent\.py: expected a Python file, found no such file"),
        (["train", "absent.py", "--help"], r"absent\.py: expected a Python file, found no such"),
        (["train", "broken.py"], r"broken\.py:1: expected Python, got '\(' was never closed"),
        (["train", "trial.py", "--set", "alpah=1"], r".* no parameter `alpah` \(did you mean `alp"),
        (["train", "trial.py", "--set", "alpha=x"], r"trial\.py: `alpha`: expected float, got 'x'"),
        (["train", "trial.py", "--set", "fail=build"], r"trial\.py:35: .* raised RuntimeError: no"),
        (["train", "trial.py", "--set", "fail=return"], r"trial\.py:18: .* an Experiment, got Lin"),
        (["train", "trial.py", "--set", "epochs=0"], r"epochs: expected a positive whole number"),
        (["train", "trial.py", "--out", "full"], r"full holds files but no run: .*"),
        (["train", "trial.py", "--out", "trial.py"], r"trial\.py: .*got a file"),
        (["train", "trial.py", "--out", "trial.py/run"], r"trial\.py/run.*: Not a directory$"),
        (["train", "trial.py", "--device", "abacus"], r"--device: expected a .* got 'abacus'"),
        (["train", "trial.py", "--device", "cuda:99"], r"--device: expected a .* got 'cuda:99'"),
        (["inspect", "absent.py"], r"absent\.py: expected a Python file, found no such file"),
        (["inspect", "trial.py", "--set", "alpha=x"], r"trial\.py: `alpha`: expected float, got"),
        (["inspect", "trial.py", "--set", "fail=build"], r"trial\.py:35: .* raised RuntimeError"),
        (["inspect", "trial.py", "--set", "fail=model"], r"the programs .* no way \(trial.py:28\)"),
        (["evaluate", "absent"], r"absent: expected a run folder"),
        (["evaluate", "absent", "--only", "mug"], r"only: expected names among .*, got 'mug'$"),
        (["plot", "full"], r"full: expected a run folder"),
    ],
)
def test_an_error_is_one_line(words: list[str], message: str, capsys: Capture) -> None:
    Path("broken.py").write_text("x = (")
    Path("full").mkdir()
    Path("full/thesis.txt").touch()
    before = sorted(Path().rglob("*"))
    assert run(*words) == 1
    out, err = capsys.readouterr()
    assert re.match(f"error: {message}", err)
    assert err.count("\n") == 1
    assert not out
    assert sorted(Path().rglob("*")) == before


def test_an_error_of_the_model_names_the_line_of_the_file(capsys: Capture) -> None:
    assert run("train", "trial.py", "--set", "fail=model") == 1
    assert capsys.readouterr().err == (
        "error: the programs cannot be run on a batch of shape (4, 1): RuntimeError: no way "
        "(trial.py:28)\n"
    )


def test_the_whole_trace_can_be_asked_for() -> None:
    with pytest.raises(ModelError, match="RuntimeError: no way") as caught:
        main(["train", "trial.py", "--set", "fail=model", "--traceback"])
    assert str(caught.value.__cause__).startswith("no\nway")


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(file: Path, capsys: Capture) -> None:
    file.write_text("import warnings\nwarnings.warn('take\\ncare')\n")
    assert run("train", "trial.py") == 1
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == "warning: take care"
    assert error.startswith("error: trial.py: expected a function `experiment`")


def test_an_interruption_before_training(capsys: Capture) -> None:
    assert run("train", "trial.py", "--set", "fail=interrupt") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interruption_while_drawing_leaves_the_run_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def draw(_run: object, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "draw", draw)
    assert run("train", "trial.py", "--out", "a run", "--quiet") == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("the run is whole: pyro-decomp plot 'a run' draws it")
    whole = load("a run")
    assert whole.step == whole.experiment.total_steps


def test_a_reader_that_goes_away_is_no_error(file: Path) -> None:
    file.write_text("def experiment(): ...")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pyro_decomp", "train", "trial.py", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""


@pytest.mark.usefixtures("undrawn")
def test_train_shows_progress_terms_and_what_to_do_next(capsys: Capture) -> None:
    assert run("train", "trial.py", "--set", "alpha=2", "--seed", "3") == 0
    out, err = capsys.readouterr()
    assert not err
    lines = out.splitlines()
    assert lines[1] == "objective   AggregateELBO: log_likelihood - kl - 2 divergence"
    start = next(index for index, line in enumerate(lines) if line.startswith("step"))
    assert lines[start].startswith("step 1/3  objective ")
    assert lines[start + 1].startswith("step 3/3  objective ")
    assert lines[-3] == "The run is in runs/trial. Next:"
    assert re.fullmatch(r"3 steps in [\d.]+ s, \d+ MiB of memory at most", lines[-4])
    assert lines[start - 2] == "eager steps (3 are too few for capturing to pay), float32, 1 thread"
    assert lines[start + 2] == "After step 3, over all 4 data"
    assert [line.split()[0] for line in lines[start + 4 : start + 7]] == [
        "elbo",
        "log_likelihood",
        "kl",
    ]
    assert lines[start + 7].startswith("± is half of a 95 % confidence interval")
    assert lines[-2:] == ["  pyro-decomp evaluate runs/trial", "  pyro-decomp plot runs/trial"]
    config = json.loads(Path("runs/trial/config.json").read_text())
    assert config["arguments"] == {"alpha": 2.0}
    assert config["seed"] == 3


@pytest.mark.usefixtures("undrawn")
def test_inspect_shows_what_train_would_and_makes_nothing(capsys: Capture) -> None:
    assert run("inspect", "trial.py", "--set", "alpha=2") == 0
    shown, err = capsys.readouterr()
    assert not err
    assert not Path("runs").exists()
    assert [line.split() for line in shown.splitlines() if line.startswith(("z", "x"))] == [
        ["z", "latent", "1", "Normal", "Normal", "analytic"],
        ["x", "observed", "1", "Normal", "given", "z"],
    ]
    assert run("train", "trial.py", "--set", "alpha=2") == 0
    assert capsys.readouterr().out.startswith(shown)
    assert run("inspect", "trial.py", "--help") == 0
    assert "Parameters of trial.py, each --set KEY=VALUE" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_training_does_not_depend_on_being_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for out, quiet in (("loud", []), ("quiet", ["--quiet"])):
        assert run("train", "trial.py", "--out", out, *quiet) == 0
    assert Path("loud/history.csv").read_bytes() == Path("quiet/history.csv").read_bytes()
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "pyro_decomp.analysis.summary", None)
    assert run("train", "trial.py", "--out", "unseen") == 0
    out, err = capsys.readouterr()
    assert err.startswith("warning: what is trained could not be shown: ModuleNotFoundError")
    assert "The run is in unseen" in out


@pytest.mark.full
def test_a_run_can_be_measured_and_drawn(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(evaluation, "MIN_SAMPLES", 100)  # the four data are gone over for each four
    monkeypatch.setattr(evaluation, "MAX_SAMPLES", 100)
    assert run("train", "trial.py", "--out", "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run("evaluate", "out", "--importance-samples", "10") == 0
    out, _ = capsys.readouterr()
    assert out.split()[0] == "train"
    assert "elbo" in out
    assert "untrained" in out
    told = [line for line in out.splitlines() if line.startswith("left out")]
    assert any(line.startswith("left out: hoyer_sparsity: codes: expected") for line in told)
    assert out.splitlines()[-1] == "written to out/metrics.json"
    before = json.loads(Path("out/metrics.json").read_text())["train"]
    assert run("evaluate", "out", "--only", "elbo, active_units", "--seed", "1") == 0
    *measured, kept = capsys.readouterr().out.splitlines()
    assert "divergence" not in "\n".join(measured)
    assert kept.startswith("which keeps what was measured with seed 0: divergence, ")
    after = json.loads(Path("out/metrics.json").read_text())["train"]
    assert after.keys() == before.keys()
    assert after["scores"].keys() == before["scores"].keys()
    assert after["elbo"] != before["elbo"]
    assert after["divergence"] == before["divergence"]
    assert after["seeds"] == before["seeds"] | {"elbo": 1, "active_units": 1}
    assert run("plot", "out") == 0
    for picture in capsys.readouterr().out.splitlines():
        assert Path(picture).stat().st_size > 0


@pytest.mark.full
def test_a_numbered_folder_is_said_even_where_little_is(capsys: Capture) -> None:
    for _ in range(2):
        assert run("train", "trial.py", "--out", "out", "--quiet") == 0
    said = "warning: out holds a finished run, so this one is in out-2"
    assert capsys.readouterr().err.splitlines() == [said]


def test_a_run_that_cannot_be_drawn_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "pyro_decomp.analysis.pictures", None)
    assert run("train", "trial.py") == 0
    out, err = capsys.readouterr()
    assert re.match("warning: the run is whole, but could not be drawn: ModuleNotFoundError", err)
    assert err.count("\n") == 1
    assert "The run is in runs/trial" in out


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_kept_unless_told_otherwise(capsys: Capture) -> None:
    assert run("train", "trial.py", "--quiet") == 0
    checkpoint = Path("runs/trial/checkpoint.pt").read_bytes()
    for number in (2, 3):
        assert run("train", "trial.py", "--seed", "1") == 0
        first, *_ = capsys.readouterr().out.splitlines()
        where = f"runs/trial-{number}"
        assert first == f"runs/trial holds a finished run, so this one is in {where}"
        assert Path(where, "checkpoint.pt").read_bytes() != checkpoint
    assert Path("runs/trial/checkpoint.pt").read_bytes() == checkpoint
    assert run("train", "trial.py", "--seed", "1", "--force") == 0
    assert Path("runs/trial/checkpoint.pt").read_bytes() != checkpoint


@pytest.mark.usefixtures("undrawn")
def test_numbers_are_handed_on_by_name(capsys: Capture) -> None:
    assert run("train", "trial.py", "--track", "csv", "--track", "csv", "--quiet") == 0
    lines = Path("runs/trial/log.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,name,value"
    assert lines[1].startswith("1,1,objective,")
    assert run("train", "trial.py", "--out", "other", "--track", "wandb") == 1
    message = "--track: expected one of csv, mlflow, tensorboard, got 'wandb'"
    assert message in capsys.readouterr().err
    assert not Path("other").exists()


@pytest.mark.parametrize("words", [["--alpha", "2"], ["--alpha=2"], ["alpha=2"]])
def test_a_parameter_given_as_an_option_is_answered_with_set(
    words: list[str], capsys: Capture
) -> None:
    assert run("train", "trial.py", *words) == 2
    assert "expected --set alpha=2, as alpha is a parameter of trial.py" in capsys.readouterr().err


def test_help_is_help_whatever_the_parameters_are_called(capsys: Capture) -> None:
    text = Path("trial.py").read_text()
    Path("helpful.py").write_text(text.replace("def experiment(", "def experiment(help: int = 1, "))
    assert run("train", "helpful.py", "--help") == 0
    assert "help <int>" in capsys.readouterr().out
