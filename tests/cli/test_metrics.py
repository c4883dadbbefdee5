"""``pyro-decomp metrics`` on files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyro_decomp.cli import main
from pyro_decomp.metrics import report

RNG = np.random.default_rng(0)
V = RNG.integers(0, 3, size=(40, 2))
Z = V + 0.1 * RNG.normal(size=V.shape)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", Z)
    np.save("factors.npy", V)
    np.save("scale.npy", np.full_like(Z, 0.1))
    np.savez("codes.npz", z=Z)
    np.savetxt("factors.csv", V, delimiter=",", header="shape,size", comments="")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["metrics", *words])
    return caught.value.code


@pytest.mark.parametrize("names", [("codes.npy", "factors.npy"), ("codes.npz", "factors.csv")])
def test_json_is_the_report(names: tuple[str, str], capsys: Capture) -> None:
    assert run(*names, "--only", "mig,irs", "--json", "--seed", "3", "--resamples", "5") == 0
    out, err = capsys.readouterr()
    assert not err
    expected = report(Z, V, only=["mig", "irs"], seed=3, num_resamples=5)
    assert json.loads(out) == {name: score.to_json() for name, score in expected.items()}


def test_a_table(capsys: Capture) -> None:
    words = ("codes.npy", "factors.npy", "--only", "irs,active_units", "--untrained", "scale.npy")
    assert run(*words) == 0
    out, err = capsys.readouterr()
    assert not err
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["value", "95", "%", "interval", "plug-in", "untrained"]
    assert lines[1][0] == "irs"
    assert lines[2] == ["active_units", "2.000", "2.000", "to", "2.000", "2.000", "0.000"]


@pytest.mark.full
def test_encodings_and_prior(capsys: Capture) -> None:
    names = "index_code_information,divergence_from_prior"
    words = ("codes.npy", "--scale", "scale.npy", "--prior", "normal", "--only", names)
    assert run(*words, "--resamples", "0") == 0
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [*names.split(","), "divergence_from_prior, p-value"]
    assert run("codes.npy", "--prior", "codes.npz", "--only", names[23:], "--resamples", "0") == 0


@pytest.mark.full
def test_help_needs_no_torch() -> None:
    code = "import sys, pyro_decomp.cli as cli\ntry: cli.main(['metrics', '--help'])\nfinally: "
    code += "print(sorted({'torch', 'numpy', 'scipy', 'pyro'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for word in ("CODES", "FACTORS", "--json", "--only", "--seed", "--untrained"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.npy"], r"absent\.npy: expected an existing file"),
        (["codes.npy", "codes.npy"], "factors: expected whole numbers, got"),
        (["codes.npy", "--only", "mig"], "mig: expected factors, got none"),
        (["codes.npy", "--only", "mug"], "only: expected names among .* got 'mug'"),
        (["codes.npy", "--scale", "factors.npy"], "scale: expected positive numbers, got 0"),
        (["codes.npy", "--prior", "gaussian"], "gaussian: expected a file ending in"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is left out")
def test_an_error_is_one_line(words: list[str], message: str, capsys: Capture) -> None:
    assert run(*words) == 1
    out, err = capsys.readouterr()
    assert re.match(f"error: {message}", err), err
    assert err.count("\n") == 1
    assert not out


def test_words_that_make_no_command(capsys: Capture) -> None:
    assert run("codes.npy", "--resamples", "1") == 2
    assert "--resamples: expected 0 or at least 2, got 1" in capsys.readouterr().err
