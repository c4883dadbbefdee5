"""``pyro-decomp sweep`` in words."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_decomp import load
from pyro_decomp.cli import main
from pyro_decomp.sweep import read_table
from pyro_decomp.sweep.folder import as_csv
from tests.sweep.files import SOURCE

Capture = pytest.CaptureFixture[str]
ALONE = ("--way", "processes", "--workers", "1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(SOURCE)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["sweep", *words])
    return caught.value.code


def test_help_needs_no_torch() -> None:
    code = "import sys, pyro_decomp.cli as cli\ntry: cli.main(['sweep', '--help'])\nfinally: "
    code += "print(sorted({'torch', 'numpy', 'pyarrow', 'pyro'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for word in ("FILE", "--set", "--seeds", "--way", "--workers", "--metrics", "--resume"):
        assert word in done.stdout


def test_help_on_a_file_lists_its_parameters(capsys: Capture) -> None:
    assert run("trial.py", "--help") == 0
    assert "beta <float>" in capsys.readouterr().out


@pytest.mark.full
def test_what_will_run_what_ran_and_where_the_table_is(capsys: Capture) -> None:
    words = ("trial.py", "--set", "beta=0.5,2", "--set", "hidden=(1,),(2,3)", "--seeds", "2,4")
    assert run(*words, *ALONE) == 0
    out, err = capsys.readouterr()
    assert not err
    lines = out.splitlines()
    assert lines[0] == (
        "8 members: 4 combinations of arguments, 2 seeds each; 1 worker process at most"
    )
    assert lines[1].startswith("  8 one by one: ")
    assert lines[-3:] == [
        "members 8/8  100 % of the training  0:00:00 left",
        "The table is in sweeps/trial/table.csv and sweeps/trial/table.parquet. Next:",
        "  pyro-decomp compare sweeps/trial",
    ]
    table = read_table("sweeps/trial")
    assert table["beta"].to_pylist() == [0.5] * 4 + [2.0] * 4
    assert table["hidden"].to_pylist() == [[1], [1], [2, 3], [2, 3]] * 2
    assert table["seed"].to_pylist() == [2, 4] * 4
    assert set(table["status"].to_pylist()) == {"finished"}
    capsys.readouterr()
    assert run(*words[:-1], "2,4,", *ALONE, "--resume", "--metrics", "elbo", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert None not in read_table("sweeps/trial")["train.elbo"].to_pylist()


def test_members_that_went_wrong_are_counted(capsys: Capture) -> None:
    assert run("trial.py", "--set", "fail=none,build", "--out", "out", "--quiet", *ALONE) == 1
    out, err = capsys.readouterr()
    assert not out
    first, second = err.splitlines()
    assert re.match(r"warning: fail=build,seed=0: failed: .*trial\.py.* no way", first)
    assert second == "error: 1 of 2 members went wrong; the table says how"
    assert read_table("out")["status"].to_pylist() == ["finished", "failed"]


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["trial.py", "--set", "fail=none,interrupt,build", "--seeds", "1", "--out", "my sweep"]
    words += ["--metrics", "elbo", *ALONE]
    assert run(*words) == 130
    first, second = capsys.readouterr().err.splitlines()
    assert first == "interrupted after 1 of 3 members, in my sweep"
    table = read_table("my sweep")
    assert table["status"].to_pylist() == ["finished", "unfinished", "unfinished"]
    assert Path("my sweep/table.csv").read_bytes() == as_csv(table)
    assert load("my sweep/members/fail=interrupt,seed=0").step == 1
    again = shlex.split(second.removeprefix("go on with: "))
    assert again[:2] == ["pyro-decomp", "sweep"]
    assert sorted(again[2:]) == sorted([*words, "--device", "cpu", "--resume"])
    monkeypatch.setenv("UNHARMED", "1")
    assert run(*again[2:]) == 1
    assert read_table("my sweep")["status"].to_pylist() == ["finished", "finished", "failed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing argument 'FILE'"),
        (["trial.py", "--resume", "--force"], "expected one of --resume and --force"),
        (["trial.py", "--seeds", "0"], "--seeds: expected at least one, got '0'"),
        (["trial.py", "--seeds", "a"], "--seeds: expected how many or a list such as 3,5,7"),
        (["trial.py", "--way", "both"], "--way"),
        (["trial.py", "--workers", "0"], "--workers"),
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
        (["absent.py"], r"absent\.py: expected a Python file, found no such file"),
        (["trial.py", "--set", "bta=1"], r".* no parameter `bta` \(did you mean `beta`"),
        (["trial.py", "--set", "beta=1,x"], r"trial\.py: `beta`: expected float, got 'x'"),
        (["trial.py", "--set", "beta=1,1"], "beta: expected different values, got 1 twice"),
        (["trial.py", "--set", "beta=1", "--set", "beta=2"], "--set beta: expected all its"),
        (["trial.py", "--seeds", "3,3"], "seeds: expected different seeds, got 3 twice"),
        (["trial.py", "--seeds", "-1,3"], "seeds: expected whole numbers from 0"),
        (["trial.py", "--seeds", "200000"], "expected at most 100000 members, got 200000"),
        (["trial.py", "--metrics", "mug"], "only: expected names among .* got 'mug'"),
        (["trial.py", "--device", "abacus"], "--device: expected a .* got 'abacus'"),
        (["trial.py", "--out", "full"], "full holds files but no sweep"),
        (["trial.py", "--out", "trial.py"], r"trial\.py: expected a folder"),
    ],
)
def test_an_error_is_one_line(words: list[str], message: str, capsys: Capture) -> None:
    Path("full").mkdir()
    Path("full/thesis.txt").touch()
    before = sorted(Path().rglob("*"))
    assert run(*words) == 1
    out, err = capsys.readouterr()
    assert re.match(f"error: {message}", err), err
    assert err.count("\n") == 1
    assert not out
    assert sorted(Path().rglob("*")) == before


def test_what_is_kept_of_a_sweep(capsys: Capture) -> None:
    assert run("trial.py", "--set", "beta=2", "--out", "out", "--metrics", "elbo", *ALONE) == 0
    description = json.loads(Path("out/sweep.json").read_text())
    assert description["values"] == {"beta": [2.0]}
    assert description["defaults"]["hidden"] == [1]
    assert description["seeds"] == [0]
    assert description["metrics"] == ["elbo"]
    assert description["source"] == SOURCE
    assert description["versions"].keys() >= {"python", "torch", "pyro-decomp"}
    capsys.readouterr()
    assert run("trial.py", "--set", "beta=2", "--out", "out") == 1
    assert "out already holds a sweep: go on with it with --resume" in capsys.readouterr().err
