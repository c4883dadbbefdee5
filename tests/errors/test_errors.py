"""The errors of the public API are of one family; what else is raised never reaches a caller."""

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyro_decomp
from pyro_decomp import errors
from pyro_decomp.errors import DecompError

PACKAGE = Path(pyro_decomp.__file__).parent
OF_PYTHON = {name for name, it in vars(builtins).items() if isinstance(it, type)}
STRANGERS = {  # files that raise an error of Python's own, and why that is right
    "__init__.py": "a module's `__getattr__`",
    "acceleration/fusion/operations.py": "no way to write this as C: another is taken",
    "acceleration/fusion/program.py": "a fused step is given what it was not written for; memory",
    "acceleration/fusion/values.py": "no way to write this as C: another is taken",
    "aggregate_posterior/gaussian.py": "as torch does where autograd cannot",
    "aggregate_posterior/gaussian_native.py": "memory",
    "acceleration/capture/compiled.py": "as `torch.compile` does; caught by its callers",
    "aggregate_posterior/native/code_cache.py": "no private folder: said by `why_not`",
    "aggregate_posterior/native/library.py": "no compiler: said by `why_not`",
    "cli/failures.py": "the full disk that standard output is on",
    "data/readable.py": "the sentence is its callers'",
    "divergences/covariance.py": "as torch's moments that are not known; caught in the same file",
    "programs/program_state/snapshot.py": "what cannot be copied, caught where it is copied",
    "sweep/__init__.py": "a module's `__getattr__`",
    "sweep/journal.py": "the sentence is its callers'",
    "sweep/cli_values.py": "the sentence is its caller's",
    "sweep/ensemble/__init__.py": "a module's `__getattr__`",
    "training/run_files/checked_files.py": "the sentence is its callers'",
    "training/run_files/contents.py": "the sentence is its callers'",
    "training/run_files/history.py": "the sentence is its callers'",
    "training/interruption.py": "a KeyboardInterrupt is no error",
    "training/run_files/json_files.py": "the sentence is its callers'",
    "training/parameters.py": "the sentence is its callers'",
    "training/recorded/kept.py": "the sentence is its callers'",
    "training/run_files/run_folder.py": "never: for the checker of types",
    "training/second_process.py": "as a pipe does",
    "training/state.py": "as torch's load_state_dict; the sentence is its callers'",
}


def raised(path: Path) -> Iterator[str]:
    """The names of what a file raises, but for errors that it has caught and raises again."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(error, ast.Name):
                yield error.id


def test_all_that_is_raised_is_of_the_family_or_stays_inside() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if OF_PYTHON & set(raised(path))
    }
    assert found <= STRANGERS.keys()  # a file that is not there raises one: say why it may


FAMILY = [it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, Exception)]


@pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)
def test_all_errors_are_of_one_family(error: type[Exception]) -> None:
    assert issubclass(error, DecompError)


def test_what_python_expects_of_an_argument_is_caught_as_that() -> None:
    with pytest.raises(TypeError):
        pyro_decomp.BetaELBO(beta="1")
    with pytest.raises(ValueError, match=r"^beta: expected"):
        pyro_decomp.BetaELBO(beta=-1)
