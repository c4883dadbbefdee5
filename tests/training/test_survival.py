"""Runs that are interrupted, starved of disk or pointed at the wrong folder."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyro_decomp import load, train
from pyro_decomp.cli import main
from pyro_decomp.errors import DataError, DecompError, ExperimentError, RunError
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import Run
from tests.training.edited import edit_config
from tests.training.run_files.test_run_folder import full_disk

# PAUSE makes a step long without making it costly, and a byte more in a file tells that it began;
# the experiment, and so the run, stays the same.
SOURCE = """
import json
import os
import time
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.data import pinwheel
from pyro_decomp.networks import MLPDecoder, MLPEncoder


def prior():
    if pause := float(os.environ.get("PAUSE", 0)):
        with open("draws", "a") as file:
            file.write(".")
        time.sleep(pause)
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(epochs: int = 25, hidden: int = 16, beta: float = 1.0) -> Experiment:
    data = pinwheel(4, 25)
    networks = MLPEncoder(2, 2, hidden=(hidden,)), MLPDecoder(2, 2, hidden=(hidden,))
    vae = VAE(prior, *networks, size=len(data))
    optimizer = partial(torch.optim.Adam, amsgrad=True)
    settings = dict(epochs=epochs, batch_size=30, optimizer=optimizer)
    return Experiment(vae.model, vae.guide, data=data, elbo=AggregateELBO(beta=beta), **settings)
"""
STEPS = 25 * 4
ROOT = Path(__file__).parents[2]
SEED = 11


def trained(out: Path | str, arguments: dict[str, Any] | None = None, **options: Any) -> Run:
    """Train as the command line does."""
    options = {"seed": SEED} | options
    return train(ExperimentFile.read("trial.py"), out, arguments=arguments, **options)


def contents(folder: Path | str) -> dict[str, bytes]:
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def result(folder: Path | str) -> dict[str, bytes]:
    """What must not depend on how often a run was stopped."""
    return {name: (Path(folder) / name).read_bytes() for name in ("checkpoint.pt", "history.csv")}


def start(*words: str, pause: float = 0.0) -> subprocess.Popen[str]:
    environment = os.environ | {"PAUSE": str(pause), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "pyro_decomp", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped; copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("trial.py").write_text(SOURCE)
        trained("run")
    return folder / "run"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment file in the current folder, by its name alone."""
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(SOURCE)


@pytest.mark.full
def test_signals_end_the_command_after_the_step_and_it_resumes() -> None:
    words = ["train", "trial.py", "--set", "epochs=25", "--out", "my run", "--seed", str(SEED)]
    go_on = [*words, "--device", "cpu", "--resume"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process = start(*(go_on if Path("my run").exists() else words), pause=0.05)
        assert process.stdout
        assert any(line.startswith("step ") for line in process.stdout)
        process.send_signal(number)
        begun = Path("draws").stat().st_size
        told = process.communicate()[1]
        assert Path("draws").stat().st_size - begun <= 1  # no step but that which was begun
        assert process.returncode == 128 + number
        first, second = told.splitlines()
        assert re.fullmatch(r"interrupted at step \d+; the run so far is in my run", first)
        assert shlex.split(second.removeprefix("go on with: ")) == ["pyro-decomp", *go_on]
    step = load("my run").step
    assert 0 < step < STEPS
    trained("my run", {"epochs": 25}, resume=True)
    trained("whole", {"epochs": 25})
    assert result("my run") == result("whole")


@pytest.mark.full
def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_resumes(finished: Path) -> None:
    # without the optimiser's moments the first checkpoint still fits
    limit = (len(result(finished)["checkpoint.pt"]) + 20_000) // 2
    with (
        full_disk(limit),
        pytest.raises(OSError, match=r"too large: 'run/checkpoint.pt'") as caught,
    ):
        trained("run")
    assert caught.value.__notes__[0].startswith("step 0 is saved in run: --resume")
    assert load("run").step == 0
    assert not list(Path("run").glob(".*"))
    trained("run", resume=True)
    assert result("run") == result(finished)


@pytest.mark.full
def test_a_full_disk_is_one_line_of_the_command(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = (len(result(finished)["checkpoint.pt"]) + 20_000) // 2
    with full_disk(limit), pytest.raises(SystemExit) as caught:
        main(["train", "trial.py", "--out", "run", "--quiet"])
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "error: run/checkpoint.pt: File too large; step 0 is saved in run: --res"
    )
    assert told.count("\n") == 1


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while, if we are root, who may write anywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.full
def test_a_folder_that_cannot_be_written_is_left_as_it_was() -> None:
    source = ExperimentFile.read("trial.py")
    train(source, "before")  # nobody may not read what is imported late
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        folder.mkdir()
        Path(name).chmod(0o755)
        folder.chmod(0o555)
        with unprivileged(), pytest.raises(PermissionError):
            train(source, folder)
        with unprivileged(), pytest.raises(PermissionError):
            train(source, folder / "below")
        assert list(folder.iterdir()) == []


def truncate(length: int) -> Callable[[], None]:
    return lambda: os.truncate("run/checkpoint.pt", length)


def change(name: str, old: bytes, new: bytes) -> Callable[[], None]:
    def do() -> None:
        content = Path("run", name).read_bytes()
        assert old in content
        Path("run", name).write_bytes(content.replace(old, new, 1))

    return do


def take_checkpoint_of_another() -> None:
    trained("other", {"hidden": 17, "epochs": 1})
    shutil.copy("other/checkpoint.pt", "run/checkpoint.pt")


def only_other_files() -> None:
    shutil.rmtree("run")
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("mine")


def be_a_file() -> None:
    shutil.rmtree("run")
    Path("run").write_text("mine")


def edit_the_file() -> None:
    Path("trial.py").write_text(SOURCE + "# better\n")


def nothing() -> None:
    pass


def never_finished() -> None:
    edit_config("run", {"total_steps": 10**6})


RESUME: dict[str, Any] = {"resume": True}


@pytest.mark.full(but=["a run", "others, force", "bad config, force", "cut to 100", "no history"])
@pytest.mark.parametrize(
    ("arrange", "options", "message"),
    [
        pytest.param(
            never_finished, {}, "run already holds a run: continue it with --res", id="a run"
        ),
        pytest.param(only_other_files, {}, "run holds files but no run", id="other files"),
        pytest.param(only_other_files, {"force": True}, "holds files but no", id="others, force"),
        pytest.param(only_other_files, RESUME, "holds files but no run", id="others, resume"),
        pytest.param(be_a_file, {}, "run: expected a folder for the run, got a file", id="file"),
        pytest.param(be_a_file, RESUME, "expected a folder .* got a file", id="file, resume"),
        pytest.param(be_a_file, {"force": True}, "a folder .* got a file", id="file, force"),
        pytest.param(
            nothing, {"resume": True, "force": True}, "one of resume and force", id="both"
        ),
        pytest.param(nothing, RESUME | {"seed": 1}, "with seed 11, not 1; use", id="other seed"),
        pytest.param(
            nothing,
            RESUME | {"arguments": {"epochs": 1}},
            "epochs",
            id="fewer epochs",
        ),
        pytest.param(edit_the_file, RESUME, "with a different experiment file", id="other source"),
        *(
            pytest.param(truncate(n), RESUME, "truncated or corrupt", id=f"cut to {n}")
            for n in (0, 1, 100, 10_000, 20_000)
        ),
        pytest.param(
            change("checkpoint.pt", b"exp_avg", b"exp_agv"),
            RESUME,
            "truncated or corrupt",
            id="changed checkpoint",
        ),
        pytest.param(
            take_checkpoint_of_another,
            RESUME,
            "expected a checkpoint of this run, got one of another",
            id="other's checkpoint",
        ),
        pytest.param(
            lambda: Path("run/history.csv").unlink(),
            RESUME,
            "history.csv cannot be read",
            id="no history",
        ),
        pytest.param(
            change("history.csv", b"\n2,1,", b"\nx,1,"),
            RESUME,
            "history.csv: exp",
            id="bad history",
        ),
        pytest.param(
            lambda: os.truncate("run/history.csv", 1000),
            RESUME,
            "history.csv: exp",
            id="cut history",
        ),
        pytest.param(
            change("config.json", b"{", b""), RESUME, "config.json: expected JSON", id="bad config"
        ),
        pytest.param(
            change("config.json", b"{", b""),
            {"force": True},
            "expected JSON",
            id="bad config, force",
        ),
        pytest.param(
            change("config.json", b'"arguments"', b'"name"'),
            {"force": True},
            "config.json: expected what was written, got other contents",
            id="not our config, force",
        ),
    ],
)
def test_a_bad_situation_is_one_sentence_and_changes_nothing(
    finished: Path, arrange: Callable[[], None], options: dict[str, Any], message: str
) -> None:
    shutil.copytree(finished, "run")
    arrange()
    before = contents(".")
    with pytest.raises(RunError, match=message) as caught:
        trained("run", **options)
    assert (
        "\n"
        not in str(caught.value).partition("expected a checkpoint of this run, got one of another")[
            0
        ]
    )
    assert contents(".") == before


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("data = pinwheel(4, 25)", "data = pinwheel(4, 0)", DataError, "points_per_arm: expected"),
        ("data=data", "data=data[:0]", DataError, "expected at least one value, got shape"),
        ("data=data", "data=data / 0", DataError, "expected finite numbers .* got NaN or infi"),
        ("data=data", "data=data[:99]", DecompError, "opened with size 100, expected 99"),
        ("data=data", "data=data, test_data=data[:, 1:]", ExperimentError, "test_data: expected"),
        ("data=data", "data='absent.csv'", DataError, "absent.csv"),
    ],
)
def test_bad_data_is_one_sentence_and_begins_no_run(
    finished: Path, old: str, new: str, error: type[Exception], message: str
) -> None:
    shutil.copytree(finished, "run")
    assert SOURCE.count(old) == 1
    Path("trial.py").write_text(SOURCE.replace(old, new))
    before = contents(".")
    with pytest.raises(error, match=message) as caught:
        trained("run", force=True)
    assert "\n" not in str(caught.value)
    assert contents(".") == before


@pytest.mark.full
def test_force_replaces_the_run_and_leaves_what_is_not_of_it(finished: Path) -> None:
    shutil.copytree(finished, "run")
    Path("run/notes.txt").write_text("mine")
    Path("run/metrics.json").write_text("{}")
    trained("run", {"epochs": 2}, force=True)
    files = {"config.json", "checkpoint.pt", "history.csv", "resources.json"}
    assert set(contents("run")) == {*files, "notes.txt"}
    assert load("run").step == 8
    trained("run", force=True)
    assert result("run") == result(finished)
