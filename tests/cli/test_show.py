"""``pyro-decomp show``: what a folder holds, with nothing of it executed."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pyro_decomp import train
from pyro_decomp.cli import main
from pyro_decomp.sweep.contents import contents as contents_of_sweep
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run_files import trust
from pyro_decomp.training.run_files.contents import contents, word
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.run_files.writer import NAME, writer
from tests.callbacks import Step
from tests.fixtures.write_run_folder import HERE, stop
from tests.sweep.grids import write_run, write_sweep

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(HERE / "run_folder", "run")


def show(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["show", *words])
    return ended.value.code or 0


def test_a_run(capsys: Capture) -> None:
    assert show("run") == 0
    out, err = capsys.readouterr()
    assert not err
    assert "run: a run, unfinished, 5 of 8 steps" in out
    assert "SHA-256 4" in out
    assert "checkpoint.pt=" in out
    assert "pyro-decomp show run --source > pinwheel_as_trained.py" in out  # its file is not here
    assert (
        "train pinwheel_as_trained.py --set alpha=2.0 --out run --seed 0 --device cpu --re" in out
    )
    assert "cannot be used" not in out
    assert "not at their end" not in out


def test_what_was_measured(capsys: Capture) -> None:
    train = {"elbo": -2.0, "elbo_standard_error": 0.1, "scores": {}, "left_out": {}, "seeds": {}}
    RunFolder("run").write_metrics({"train": train})
    show("run")
    out, _ = capsys.readouterr()
    assert "elbo (nats)  -2 ± 0.2" in out
    assert "cannot be used" not in out
    assert "digest" not in out


def test_schedules_that_the_run_stopped_before_the_end_of(capsys: Capture) -> None:
    config = json.loads(Path("run/config.json").read_text()) | {"schedules": {"beta": [0.5, 2.0]}}
    Path("run/config.json").write_text(json.dumps(config))
    assert contents(Path("run"))["schedules_left"] == {"beta": {"now": 1.0, "end": 2.0}}
    show("run")
    assert "schedules not at their end  beta=(now=1, end=2)" in capsys.readouterr().out


def test_a_run_of_a_function(capsys: Capture) -> None:
    write_run(Path("made"), {}, 0, "step,elbo\n2,1\n", file="<make>")
    show("made")
    out, _ = capsys.readouterr()
    assert "made: a run, not begun, 0 of 3 steps" in out  # there is no checkpoint
    assert "function make in /somewhere, 0 lines" in out
    assert "train(..., 'made', seed=0, resume=True) in Python" in out


def test_a_run_that_keeps_no_source(capsys: Capture) -> None:
    config = json.loads(Path("run/config.json").read_text())
    config |= {"source": None, "source_file": None, "source_sha256": None}
    Path("run/config.json").write_text(json.dumps(config))
    assert show("run") == 0
    out, _ = capsys.readouterr()
    assert "train(..., 'run', seed=0, resume=True) in Python" in out
    assert "pyro-decomp evaluate run --experiment FILE" in out
    assert show("run", "--source") == 1
    assert "expected a run that keeps its source" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_who_writes_into_a_folder(kind: str, capsys: Capture) -> None:
    write_sweep(Path("sweep"), {"beta": [0.5]}, 2, {})
    before = contents_of(kind)
    assert before["writer"] is None
    assert any("--resume" in line for line in before["next"])
    with writer(Path(kind)):
        assert show(kind) == 0
        out, _ = capsys.readouterr()
        assert f"written by process {os.getpid()} on " in out
        assert ", heard of at " in out
        assert "--resume" not in out
        left = json.loads(Path(kind, NAME).read_text())
    Path(kind, NAME).write_text(json.dumps(left | {"started": "-1"}))  # by one that was killed
    assert show(kind) == 0
    out, _ = capsys.readouterr()
    assert "which has ended" in out
    assert "--resume" in out


def contents_of(path: str) -> dict[str, Any]:
    return (contents if path == "run" else contents_of_sweep)(Path(path))


def test_one_form_at_a_time() -> None:
    assert show("run", "--source", "--json") == 2


def test_its_source(capsys: Capture) -> None:
    assert show("run", "--source") == 0
    assert capsys.readouterr().out == (HERE / "pinwheel.py").read_text()


def test_a_sweep(capsys: Capture) -> None:
    terms = {"beta=0.5,seed=0": {"elbo": -1.0}, "beta=2,seed=0": "failed"}
    write_sweep(Path("out"), {"beta": [0.5, 2.0]}, 2, terms)
    assert show("out", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "sweep"
    assert (found["step"], found["total_steps"], found["state"]) == (1, 4, "unfinished")
    assert found["members"] == {"finished": 1, "failed": 1}
    assert found["failed"] == {"beta=2,seed=0": "no way"}
    assert found["damages"] == []
    assert found["next"][0] == "pyro-decomp show out --source > trial_as_trained.py"
    assert found["next"][1].endswith("--set beta=0.5,2.0 --seeds 0,1 --out out --resume")
    assert show("out") == 0
    assert "out: a sweep, unfinished, 1 of 4 members finished" in capsys.readouterr().out


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]\u202e\r"


@pytest.mark.parametrize("options", [[], ["--json"], ["--source"]])
def test_stored_text_does_nothing_to_a_terminal(options: list[str], capsys: Capture) -> None:
    metrics = {"train": {HOSTILE: 1.0, "left_out": {}, "seeds": {HOSTILE: HOSTILE}}}
    source = f"# {HOSTILE}\n\tpass\n"
    write_run(Path("bad"), {HOSTILE: HOSTILE}, 0, f"step,{HOSTILE!r}\n3,1\n", source=source,
              file=f"{HOSTILE}.py", metrics=metrics)  # fmt: skip
    assert show("bad", *options) == 0
    out, _ = capsys.readouterr()
    assert all(c.isprintable() or c in "\n\t" for c in out)
    assert "[red]" in out
    assert options != ["--source"] or out.splitlines()[1] == "\tpass"


def test_words_of_errors_do_nothing_to_a_terminal(capsys: Capture) -> None:
    assert show(f"no{HOSTILE}") == 1
    _, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize("folder", ["no", "empty", "file"])
def test_what_holds_no_run_is_said(folder: str, capsys: Capture) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    assert show(folder) == 1
    assert "expected the folder of a run or of a sweep" in capsys.readouterr().err


FIFO = object()
DAMAGES: dict[str, Any] = {
    "config.json": [b"", b"{", b"[1]", b"\0" * 9, b'{"a": NaN}', b"[" * 100_000, FIFO, None],
    "history.csv": [b"step\nx\n", b"a,b\n1\n", b"step\n\xff\n", FIFO],
    "checkpoint.pt": [b"", b"PK", FIFO],
    "metrics.json": [b"{", b'{"train": 3}', b'{"train": {"scores": [1]}}', FIFO],
    "resources.json": [b"3", FIFO],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, each) for name, found in DAMAGES.items() for each in found]
)
def test_what_is_damaged_is_named_and_the_rest_is_shown(
    name: str, content: Any, capsys: Capture
) -> None:
    path = Path("run", name)
    path.unlink(missing_ok=True)
    if content is FIFO:
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    assert show("run") == 0
    out, _ = capsys.readouterr()
    assert "run: a run" in out
    damages = [line for line in out.splitlines() if " cannot be used: " in f" {line}"]
    assert damages
    assert all(name in line and len(line) < 300 for line in damages)


@pytest.mark.parametrize(("name", "kind"), [("config.json", "run"), ("sweep.json", "sweep")])
def test_nothing_is_said_that_the_record_does_not_tell(
    name: str, kind: str, capsys: Capture
) -> None:
    Path("run/config.json").unlink()
    Path("run", name).write_text("{")
    show("run")
    out, _ = capsys.readouterr()
    assert f"run: a {kind}, of unknown length, {5 if kind == 'run' else 0} " in out
    assert "None" not in out
    assert "none is kept" not in out


def test_a_source_that_is_not_the_recorded_one_is_said(capsys: Capture) -> None:
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps(config | {"source": "pass"}))
    show("run")
    assert "cannot be used: run/config.json: source: expected the text" in capsys.readouterr().out


def test_a_format_of_the_future_is_said_and_what_is_known_shown(capsys: Capture) -> None:
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps(config | {"format": 99, "digest": ""}))
    show("run")
    out, _ = capsys.readouterr()
    assert "run/config.json was written by a newer pyro-decomp" in out
    assert "5 of 8 steps" in out


def test_of_a_stranger_s_run_the_source_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "user", lambda: os.geteuid() + 1)
    found = contents(Path("run"))
    assert found["strangers"]
    assert found["next"] == [
        "pyro-decomp show run --source",
        "pyro-decomp evaluate run --trust",
        "pyro-decomp plot run --trust",
    ]


@pytest.mark.parametrize("value", [0.1, 1.0, True, None, [64, 32], [0.5], "a, b", float("inf")])
def test_values_are_written_as_they_are_read(value: Any) -> None:
    kinds = "bool | None", "float", "list[int]", "list[float]", "str"
    is_one = [value is None or value is True, isinstance(value, float), value == [64, 32]]
    kind = next(
        (k for k, is_it in zip(kinds, [*is_one, value == [0.5]], strict=False) if is_it), "str"
    )
    source = f"def experiment(a: {kind}): ..."
    file = ExperimentFile.from_source(source, Path("file.py"))
    assert file.parse([f"a={word(value)}"]) == {"a": value}


@pytest.mark.full
def test_nothing_is_executed_and_torch_is_not_imported() -> None:
    config = json.loads(Path("run/config.json").read_text())
    config["source"] = "open('executed', 'w')\n" + config["source"]
    Path("run/config.json").write_text(json.dumps(config))
    program = (
        "import sys; from pyro_decomp.cli import main\n"
        "try: main(['show', 'run'])\n"
        "finally: print('torch' in sys.modules, 'numpy' in sys.modules, 'pyarrow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False False False"
    assert not Path("executed").exists()


@pytest.mark.full
@pytest.mark.parametrize("is_there", [True, False])
def test_the_commands_that_it_gives_go_on_with_the_run(is_there: bool, capsys: Capture) -> None:
    file = shutil.copy(HERE / "pinwheel.py", "own.py")
    source = ExperimentFile.read(file, seed=3)
    arguments = {"alpha": 2.0, "hidden": (5, 4)}
    with suppress(Interrupted):
        train(source, "stopped", seed=3, arguments=arguments, callbacks=[Step(stop)])
    if not is_there:
        Path("own.py").write_text("edited = 1\n")
    found = contents(Path("stopped"))
    assert (found["step"], found["state"]) == (5, "unfinished")
    *first, going_on = [line for line in found["next"] if "evaluate" not in line][: 2 - is_there]
    for line in first:
        command, _, written = line.partition(" > ")
        capsys.readouterr()
        assert show(*shlex.split(command)[2:]) == 0
        Path(written).write_text(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main([*shlex.split(going_on)[1:], "--quiet"])
    found = contents(Path("stopped"))
    assert (found["step"], found["state"]) == (8, "finished")
    assert found["pictures"]
    assert found["next"] == ["pyro-decomp evaluate stopped"]
