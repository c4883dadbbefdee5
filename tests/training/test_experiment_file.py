import json
import pickle
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp.errors import DataError, ExperimentError
from pyro_decomp.training.experiment_file import ExperimentFile

SOURCE = '''"""Two numbers.

And more.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from pyro_decomp import AggregateELBO, Experiment

DRAWN = torch.rand(2)


@dataclass
class Network:
    width: int = 3

    def model(self, x):
        return x


def experiment(
    alpha: float = 1.0,
    hidden: tuple[int, ...] = (100,),
    kind: Literal["a", "b"] = "a",
    table: Path | None = None,
    *,
    hook: dict = {},
    plain=3,
):
    """Describe it.

    Args:
        alpha: How much q(z) is to
            match p(z): at least zero.
        kind (str): Which.

    Returns:
        It.
    """
    model = Network(plain).model
    elbo = AggregateELBO(alpha=alpha)
    return Experiment(model, lambda x: hidden, data=torch.ones(4, 2), elbo=elbo, epochs=plain)
'''
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(source: str, name: str = "trial.py") -> Path:
        path = tmp_path / name
        path.write_text(source)
        return path

    return write


@pytest.fixture
def file(write: Write) -> ExperimentFile:
    return ExperimentFile.read(write(SOURCE))


def test_the_signature_is_the_configuration(file: ExperimentFile) -> None:
    assert file.docstring.startswith("Two numbers.\n")
    assert [(p.name, p.type_text, p.default, p.help) for p in file.parameters] == [
        ("alpha", "float", 1.0, "How much q(z) is to match p(z): at least zero."),
        ("hidden", "tuple[int, ...]", (100,), ""),
        ("kind", "'a' | 'b'", "a", "Which."),
        ("table", "Path | None", None, ""),
        ("hook", "dict", {}, ""),
        ("plain", "int", 3, ""),
    ]
    assert not any(parameter.required for parameter in file.parameters)


def test_settings_reach_the_experiment(file: ExperimentFile) -> None:
    arguments = file.parse(["alpha=3", "hidden=[64, 32]", "plain=7", "table=a=b.csv"])
    assert arguments == {"alpha": 3.0, "hidden": (64, 32), "plain": 7, "table": Path("a=b.csv")}
    experiment = file.build(arguments)
    assert experiment.elbo.alpha == 3.0
    assert experiment.epochs == 7
    assert experiment.guide(None) == (64, 32)


def test_arguments_survive_json(file: ExperimentFile) -> None:
    stored = json.loads(json.dumps(file.parse(["alpha=3", "hidden=[64]"])))
    assert file.build(stored).guide(None) == (64,)


def test_an_argument_of_any_type_can_be_given_from_python(file: ExperimentFile) -> None:
    assert file.build({"hook": {"a": print}}).epochs == 3


def test_the_text_alone_makes_it_again(file: ExperimentFile) -> None:
    file.path.unlink()
    again = ExperimentFile.from_source(file.source, file.path)
    assert again.sha256 == file.sha256
    assert again.parameters == file.parameters
    assert again.build({"alpha": 2}).elbo.alpha == 2.0


def test_a_seed_covers_what_the_file_draws_at_its_top(write: Write) -> None:
    path = write(SOURCE)
    draws = [ExperimentFile.read(path, seed=seed).function.__globals__ for seed in (1, 1, 2)]
    first, second, third = (names["DRAWN"] for names in draws)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_classes_of_a_file_can_be_pickled(file: ExperimentFile) -> None:
    network = file.function.__globals__["Network"](5)
    assert pickle.loads(pickle.dumps(network)) == network


def test_a_file_can_import_its_neighbours(write: Write) -> None:
    write("WIDTH = 11", "a_neighbour.py")
    write("WIDTH = 12", "a_late_neighbour.py")
    late = "def experiment():\n    import a_late_neighbour\n    raise ValueError(WIDTH)"
    before = list(sys.path)
    file = ExperimentFile.read(write(f"from a_neighbour import WIDTH\n{late}", "user.py"))
    with pytest.raises(ExperimentError, match="ValueError: 11"):
        file.build({})
    assert sys.modules.pop("a_late_neighbour").WIDTH == 12
    assert sys.modules.pop("a_neighbour").WIDTH == 11
    assert sys.path == before


def test_a_trace_shows_the_text_of_the_file(write: Write) -> None:
    file = ExperimentFile.read(write("def experiment():\n    raise KeyError('here')"))
    file.path.unlink()
    with pytest.raises(ExperimentError) as caught:
        file.build({})
    assert "raise KeyError('here')" in "".join(traceback.format_exception(caught.value.__cause__))


def test_errors_of_the_package_pass_unchanged(write: Write) -> None:
    source = "from pyro_decomp.errors import DataError\n"
    file = ExperimentFile.read(write(source + "def experiment():\n    raise DataError('no data')"))
    with pytest.raises(DataError, match=r"^no data$"):
        file.build({})


BAD_FILES = [
    ("x = (", r"trial\.py:1: expected Python, got '\(' was never closed"),
    ("x = 1\nif x\n", r"trial\.py:2: expected Python, got expected ':'"),
    ("x = 1\n", r"trial\.py: expected a function `experiment` that returns an Experiment, found"),
    ("experiment = 3", r"trial\.py: expected `experiment` to be a function, got int"),
    ("x = 1\n1 / 0\n", r"trial\.py:2: the file raised ZeroDivisionError: division by zero"),
    ("import no_such", r"trial\.py:1: the file raised ModuleNotFoundError: No module named 'no_s"),
    ("import sys\nsys.exit()", r"trial\.py:2: the file raised SystemExit$"),
    ("\ndef experiment(*all): ...", r"trial\.py:2: expected every parameter .* got `\*all`"),
    ("def experiment(**all): ...", r"trial\.py:1: expected every parameter .* got `\*\*all`"),
    ("def experiment(a, /): ...", r"trial\.py:1: expected every parameter .* got `a`"),
    ("def experiment(a: 'No'): ...", r"trial\.py:1: the signature .*name 'No' is not defined"),
]


@pytest.mark.parametrize(("source", "message"), BAD_FILES)
def test_a_file_that_cannot_be_used(write: Write, source: str, message: str) -> None:
    modules = {name for name in sys.modules if "trial" in name}
    with pytest.raises(ExperimentError) as caught:
        ExperimentFile.read(write(source))
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
    if "raised" in message:
        assert {name for name in sys.modules if "trial" in name} == modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.py", r"absent\.py: expected a Python file, found no such file"),
        ("", "expected a Python file, got a folder"),
        ("notes.txt", r"notes\.txt: expected a Python file whose name ends in \.py"),
        ("latin.py", r"latin\.py: expected Python in UTF-8, got "),
    ],
)
def test_a_path_that_is_no_experiment_file(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "notes.txt").write_text("alpha: 3")
    (tmp_path / "latin.py").write_bytes("x = 'é'".encode("latin-1"))
    with pytest.raises(ExperimentError, match=message):
        ExperimentFile.read(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["alpah=1"],
            r"has no parameter `alpah` \(did you mean `alpha`\?\); it has alpha, hidden, k",
        ),
        (["zzz=1"], r"has no parameter `zzz`; it has alpha"),
        (["alpha=x"], r"trial\.py: `alpha`: expected float, got 'x'"),
        (["hidden=[1.5]"], r"`hidden`: expected tuple\[int, \.\.\.\], got '\[1\.5\]'"),
        (["kind=c"], r"`kind`: expected 'a' \| 'b', got 'c'"),
        (["hook={}"], r"`hook` cannot be set in words: expected .* int, float, .* got dict"),
        (["alpha"], r"--set: expected key=value, got 'alpha'"),
        (["=3"], r"--set: expected key=value, got '=3'"),
        (["alpha=1", "alpha=2"], r"--set alpha: expected one value, got a second, '2'"),
    ],
)
def test_bad_settings(file: ExperimentFile, settings: list[str], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        file.parse(settings)


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ("return {}", {"a": 1}, r"trial\.py:1: expected `experiment` to return .* got dict"),
        ("pass", {"a": 1}, r"trial\.py:1: expected `experiment` to return .* got NoneType"),
        ("return a + ''", {"a": 1}, r"trial\.py:2: `experiment` raised TypeError: unsupported"),
        ("pass", {}, r"expected a value for `a` \(int\), got none; give --set a=\.\.\."),
        ("pass", {"a": "x"}, r"`a`: expected int, got 'x'"),
        ("pass", {"a": 1, "b": 2}, r"no parameter `b`; it has a$"),
    ],
)
def test_what_cannot_be_built(
    write: Write, body: str, arguments: dict[str, Any], message: str
) -> None:
    file = ExperimentFile.read(write(f"def experiment(a: int):\n    {body}"))
    with pytest.raises(ExperimentError, match=message):
        file.build(arguments)
