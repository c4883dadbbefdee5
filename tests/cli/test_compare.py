"""``pyro-decomp compare`` in words."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pyro_decomp.cli import main
from pyro_decomp.cli.compare import comparison_tables
from pyro_decomp.sweep import compare
from tests.sweep.grids import write_run, write_sweep

Capture = pytest.CaptureFixture[str]
MEMBERS: dict[str, Any] = {
    "beta=0.5,seed=0": {"elbo": -1.0, "kl": 1.0},
    "beta=0.5,seed=1": {"elbo": -3.0, "kl": 2.0},
    "beta=2,seed=0": {"elbo": -4.0, "kl": None},
    "beta=2,seed=1": "not finite",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(Path("out"), {"beta": [0.5, 2.0]}, 2, MEMBERS)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["compare", *words])
    return caught.value.code


def test_a_table_and_pictures(capsys: Capture) -> None:
    assert run("out") == 0
    out, err = capsys.readouterr()
    assert not err
    lines = out.splitlines()
    assert lines[0] == "Means over seeds, with 95 % intervals"
    assert [line.split() for line in lines[2:5]] == [
        ["beta", "runs", "failed", "elbo", "kl"],
        ["0.5", "2", "0", "-2", "±", "13", "1.5", "±", "6.4"],
        ["2", "1", "1", "-4", "-"],
    ]
    legend = "± is half of a 95 % confidence interval over seeds, by Student's t"
    assert legend in lines[5:-3]
    assert lines[-3:] == [f"out/plots/{name}.png" for name in ("trade_off", "boxes", "scatter")]
    assert all(Path(line).stat().st_size > 0 for line in lines[-3:])


def test_json_draws_nothing(capsys: Capture) -> None:
    assert run("out", "--json", "--values", "kl,elbo", "--by", "beta") == 0
    out, err = capsys.readouterr()
    assert not err
    assert json.loads(out) == compare("out", by=["beta"], quantities=["kl", "elbo"]).to_json()
    assert not Path("out/plots").exists()


def test_pictures_elsewhere_and_of_other_quantities(capsys: Capture) -> None:
    words = ("out", "--json", "--out", "pictures", "--metric", "elbo", "--against", "elbo")
    assert run(*words) == 0
    out, err = capsys.readouterr()
    json.loads(out)
    assert [path.name for path in Path("pictures").iterdir()] == ["boxes.png"]
    assert err.splitlines() == [
        f"warning: {name} is left out: there are not two quantities to draw"
        for name in ("trade_off.png", "scatter.png")
    ]


def test_runs_and_what_is_averaged_over(capsys: Capture) -> None:
    for seed in range(2):
        history = f"step,epoch,elbo\n3,3,{-seed}\n"
        write_run(Path("runs", str(seed)), {"beta": seed + 1.0}, seed, history)
    assert run("runs/0", "runs/1", "--by", "file") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Means over seeds and beta, with 95 % intervals"
    assert lines[3].split() == ["trial", "2", "-0.5", "±", "6.4"]
    assert not Path("runs/plots").exists()


def test_quantities_that_do_not_fit_are_set_below(tmp_path: Path) -> None:
    names = [f"train.quantity_{k}" for k in range(6)]
    members = {"seed=0": dict.fromkeys(names, 1.0)}
    write_sweep(tmp_path / "wide", {}, 1, members, metrics=True)
    comparison = compare(tmp_path / "wide")
    for width, count in ((200, 1), (40, 2), (20, 6)):
        tables = comparison_tables(comparison, width)
        assert len(tables) == count
        file = io.StringIO()
        console = Console(file=file, width=width)
        for table in tables:
            console.print(table)
        assert all(name.removeprefix("train.") in file.getvalue() for name in names)
        assert "\N{HORIZONTAL ELLIPSIS}" not in file.getvalue()


@pytest.mark.full
def test_help_and_json_need_no_torch() -> None:
    code = "import sys, pyro_decomp.cli as cli\ntry: cli.main(['compare', *sys.argv[1:]])\n"
    code += "finally: print(sorted({'torch', 'pyro', 'matplotlib'} & set(sys.modules)))"
    for words in (["--help"], ["out", "--json"]):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent"], "absent: expected a sweep, a run, or a folder of runs, found none"),
        (["out", "--by", "gamma"], "by: expected arguments among file, beta, .* got 'gamma'"),
        (["out", "--values", "mig"], "quantities: expected names among elbo, kl, got 'mig'"),
        (["out", "--metric", "mig"], "expected a quantity among elbo, kl, got 'mig'"),
    ],
)
def test_an_error_is_one_line(words: list[str], message: str, capsys: Capture) -> None:
    assert run(*words) == 1
    err = capsys.readouterr().err
    assert re.match(f"error: {message}", err), err
    assert err.count("\n") == 1


def test_text_of_others_does_nothing_to_a_terminal(capsys: Capture) -> None:
    hostile = "\x1b[2J\u202e[red]"
    for name, beta in (("a", hostile), ("b", "2")):
        write_run(Path(f"runs/{name}"), {hostile: beta}, 0, f"step,{hostile}\n3,1\n")
    assert run("runs") == 0
    out, err = capsys.readouterr()
    assert "[red]" in out
    assert (out + err).replace("\n", "").isprintable()
