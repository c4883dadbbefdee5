"""Means over seeds, worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pyro_decomp.errors import DataError
from pyro_decomp.sweep import compare
from pyro_decomp.training.run_files.json_files import to_json
from tests.sweep.grids import write_run, write_sweep

HISTORY = "step,epoch,elbo\n3,3,{elbo}\n"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    terms: dict[str, Any] = {
        "beta=0.5,alpha=0,seed=0": {"objective": 9.0, "kl": 1.0, "elbo": -1.0},
        "beta=0.5,alpha=0,seed=1": {"objective": 9.0, "kl": 2.0, "elbo": -3.0},
        "beta=0.5,alpha=0,seed=2": "not finite",
        "beta=0.5,alpha=1,seed=0": {"objective": 9.0, "kl": 5.0, "elbo": -5.0, "divergence": 0.5},
        "beta=0.5,alpha=1,seed=1": {"objective": 9.0, "kl": 7.0, "elbo": -7.0, "divergence": None},
        "beta=0.5,alpha=1,seed=2": {"objective": 9.0, "kl": 9.0, "elbo": -9.0, "divergence": 0.7},
        "beta=2,alpha=0,seed=0": "failed",
    }
    write_sweep(tmp_path / "out", {"beta": [0.5, 2.0], "alpha": [0.0, 1.0]}, 3, terms)
    return tmp_path / "out"


def test_a_combination_has_its_means_and_counts_all_its_runs(out: Path) -> None:
    found = compare(out)
    assert found.by == ("beta", "alpha")
    assert found.quantities == ("elbo", "kl", "divergence")
    assert found.averaged == ()
    counts = [(c.num_finished, c.num_failed, c.num_unfinished) for c in found.combinations]
    assert counts == [(2, 1, 0), (3, 0, 0), (0, 1, 2), (0, 0, 3)]
    first, second, third, _ = found.combinations
    assert first.arguments == {"beta": 0.5, "alpha": 0.0}
    assert first.title == "beta = 0.5, alpha = 0"
    assert (first.means["elbo"].mean, first.means["elbo"].size) == (-2.0, 2)
    # t of one degree of freedom at 0.975 is 12.706; the standard error of -1 and -3 is 1
    assert first.means["elbo"].half_width == pytest.approx(12.706, abs=1e-3)
    assert second.means["kl"].mean == 7.0
    # t of two degrees of freedom is 4.3027; the standard error is 2 / sqrt(3)
    assert second.means["kl"].half_width == pytest.approx(4.3027 * 2 / 3**0.5, abs=1e-3)
    assert (second.means["divergence"].mean, second.means["divergence"].size) == (0.6, 2)
    assert third.means["elbo"].size == 0
    assert second.values("divergence") == [0.5, 0.7]
    assert second.pairs("kl", "divergence") == [(5.0, 0.5), (9.0, 0.7)]


def test_arguments_that_are_not_finite_are_compared_and_are_json(tmp_path: Path) -> None:
    for index, beta in enumerate([{"float": "inf"}, 2.0]):
        history = HISTORY.format(elbo=-index)
        write_run(tmp_path / str(index), {"beta": beta}, seed=0, history=history)
    found = compare(tmp_path, by=["beta"])
    assert [one.arguments for one in found.combinations] == [{"beta": math.inf}, {"beta": 2.0}]
    written = json.loads(to_json(found.to_json()))
    assert [one["arguments"] for one in written] == [{"beta": {"float": "inf"}}, {"beta": 2.0}]


def test_what_is_not_compared_by_is_averaged_over(out: Path) -> None:
    found = compare(out, by=["beta"], quantities=["elbo"])
    assert found.averaged == ("alpha",)
    assert [one.arguments for one in found.combinations] == [{"beta": 0.5}, {"beta": 2.0}]
    assert found.combinations[0].means["elbo"].mean == pytest.approx(-5.0)
    whole = compare(out, by=[])
    assert [one.arguments for one in whole.combinations] == [{}]
    assert len(whole.combinations[0].rows) == 12


def test_in_json(out: Path) -> None:
    first, _, third, _ = compare(out, quantities=["elbo"]).to_json()
    assert first["arguments"] == {"beta": 0.5, "alpha": 0.0}
    assert (first["finished"], first["failed"], first["unfinished"]) == (2, 1, 0)
    elbo = first["means"]["elbo"]
    assert (elbo["mean"], elbo["runs"]) == (-2.0, 2)
    assert elbo["high"] - elbo["mean"] == pytest.approx(12.706, abs=1e-3)
    assert third["means"]["elbo"] == {"mean": None, "low": None, "high": None, "runs": 0}


def test_measured_quantities_have_short_names_and_hide_the_last_step(tmp_path: Path) -> None:
    measured = {
        "train.elbo": -1.0, "test.elbo": -2.0, "train.mig": 0.1, "train.mig.low": 0.0,
        "train.mig.high": 0.2, "train.log_px_standard_error": 1.0, "test.sap": 0.5,
    }  # fmt: skip
    write_sweep(tmp_path / "out", {}, 1, {"seed=0": measured}, metrics=True)
    found = compare(tmp_path / "out")
    assert found.by == ()
    assert found.quantities == ("train.elbo", "train.mig")
    assert compare(tmp_path / "out", quantities=["mig", "sap", "test.elbo"]).quantities == (
        "train.mig", "test.sap", "test.elbo",
    )  # fmt: skip


def test_runs_of_several_files_and_folders(tmp_path: Path) -> None:
    for seed, elbo in enumerate((-1.0, -2.0)):
        history = HISTORY.format(elbo=elbo)
        write_run(tmp_path / "one" / str(seed), {"beta": 1.0}, seed, history, file="one.py")
        write_run(tmp_path / "two" / str(seed), {}, seed, HISTORY.format(elbo=-5), file="two.py")
    found = compare([tmp_path / "one", tmp_path / "two"])
    assert found.by == ("file",)  # the default of beta, 1, is what was given
    assert [one.arguments["file"] for one in found.combinations] == ["one", "two"]
    assert [one.means["elbo"].mean for one in found.combinations] == [-1.5, -5.0]


def test_errors(out: Path) -> None:
    with pytest.raises(DataError, match=r"by: expected arguments among file, .* got 'gamma'"):
        compare(out, by=["gamma"])
    with pytest.raises(DataError, match=r"quantities: expected names among elbo, .* got 'mig'"):
        compare(out, quantities=["mig"])
