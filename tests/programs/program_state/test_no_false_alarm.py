"""Programs that keep nothing are not suspected: the suite's, its objectives and the examples."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest

from pyro_decomp import BetaELBO, Experiment
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.errors import DataError
from pyro_decomp.programs.program_state import ProgramState
from pyro_decomp.programs.program_state.modules import find_modules
from tests.elbo.objectives import OBJECTIVES
from tests.example_programs import PROGRAMS

EXAMPLES = Path(__file__).parents[3] / "examples"


def moved_by(
    model: Callable[..., Any], guide: Callable[..., Any], elbo: TermsELBO, *batch: Any
) -> dict[str, str]:
    """What the third run of an objective moves that its second did not have to."""

    def run() -> None:
        elbo.evaluate(model, guide, *batch)

    run()
    networks = find_modules([model, guide])
    state = ProgramState(networks, model=model, guide=guide, elbo=elbo)
    state.look(run)
    before, kept = state.fingerprint(), state.keep()
    run()
    assert state.put_back(kept) == []
    assert state.fingerprint() == before
    return {path: kind for path, kind in state.moving.items() if kind != "generator"}


@pytest.mark.full(but=["VAE", "nested plates", "PyroModules"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_moves_nothing(name: str) -> None:
    pyro.clear_param_store()
    programs = PROGRAMS[name]()
    assert moved_by(programs.model, programs.guide, BetaELBO(), programs.x) == {}


@pytest.mark.full(but=["AggregateELBO", "FactorELBO", "TotalCorrelationELBO", "BetaELBO"])
@pytest.mark.parametrize("row", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_objective_moves_nothing(row: Any) -> None:
    pyro.clear_param_store()
    programs = row.program()
    elbo = row.build(**row.settings)
    assert moved_by(programs.model, programs.guide, elbo, programs.x) == {}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_moves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    if "def experiment(" not in path.read_text():
        pytest.skip("no experiment")
    spec = importlib.util.spec_from_file_location(f"_example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    try:
        trial: Experiment = module.experiment()
    except DataError as error:
        pytest.skip(str(error))
    batch = trial.data[:8]
    assert moved_by(trial.model, trial.guide, trial.elbo, *batch) == {}
