from pathlib import Path
from typing import Any

import pytest

from pyro_decomp.errors import ExperimentError
from pyro_decomp.sweep.grid import make_grid, read_values
from pyro_decomp.training.experiment_file import ExperimentFile

SOURCE = """
from pathlib import Path
from typing import Literal


def experiment(
    alpha: float = 0.0,
    depth: int = 1,
    name: str = "a",
    hidden: tuple[int, ...] = (1,),
    sizes: list[list[int]] = [],
    path: Path | None = None,
    kind: Literal["one", "two"] = "one",
    bias: bool = True,
    model: object = None,
): ...
"""
FILE = ExperimentFile.from_source(SOURCE, Path("trial.py"))
REQUIRED = ExperimentFile.from_source("def experiment(alpha: float): ...", Path("needs.py"))


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("alpha=0.01,0.5,1", [0.01, 0.5, 1.0]),
        ("alpha=3", [3.0]),
        ("depth= 1 , 2", [1, 2]),
        ("name=a,b", ["a", "b"]),
        ("name='a,b',c", ["a,b", "c"]),
        ("name=", [""]),
        ("name=x=1,y=2", ["x=1", "y=2"]),
        ("hidden=[64,32],[128]", [(64, 32), (128,)]),
        ("hidden=(64,32),(128,)", [(64, 32), (128,)]),
        ("hidden=64,32", [(64, 32)]),  # as train reads it
        ("sizes=[[1,2],[3]],[]", [[[1, 2], [3]], []]),
        ("path=none,a/b", [None, Path("a/b")]),
        ("kind=one,two", ["one", "two"]),
        ("bias=yes,no", [True, False]),
    ],
)
def test_values_are_read_as_the_annotation_says(setting: str, values: list[Any]) -> None:
    (read,) = read_values(FILE, [setting]).values()
    assert read == values
    assert list(map(type, read)) == list(map(type, values))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["alpah=1,2"], r"no parameter `alpah` \(did you mean `alpha`\?\)"),
        (["alpha=1,x"], "`alpha`: expected float, got 'x'"),
        (["alpha=1,"], "`alpha`: expected float, got ''"),
        (["alpha"], "--set: expected key=value, got 'alpha'"),
        (["=1"], "--set: expected key=value, got '=1'"),
        (["alpha=1", "alpha=2"], "--set alpha: expected all its values in one --set"),
        (["kind=one,three"], "`kind`: expected 'one' | 'two', got 'three'"),
        (["model=1"], "`model` cannot be set in words"),
    ],
)
def test_words_that_are_no_values(settings: list[str], message: str) -> None:
    with pytest.raises(ExperimentError, match=message.replace("|", r"\|")):
        read_values(FILE, settings)


def test_every_combination_in_the_order_given_and_seeds_innermost() -> None:
    grid = make_grid(FILE, {"depth": [1, 2], "alpha": [0.5, 1]}, (3, 1))
    assert [(m.arguments["depth"], m.arguments["alpha"], m.seed) for m in grid.members()] == [
        (depth, alpha, seed) for depth in (1, 2) for alpha in (0.5, 1.0) for seed in (3, 1)
    ]
    assert grid.num_combinations == 4
    first = grid.members()[0]
    assert first.name == "alpha=0.5,depth=1,seed=3"
    assert type(grid.members()[2].arguments["alpha"]) is float


def test_a_name_does_not_depend_on_the_order_of_the_settings() -> None:
    one, other = {"depth": [1], "alpha": [0.5]}, {"alpha": [0.5], "depth": [1]}
    assert make_grid(FILE, one, 1).members() == make_grid(FILE, other, 1).members()


def test_no_values_is_one_combination() -> None:
    assert [member.name for member in make_grid(FILE, {}, 2).members()] == ["seed=0", "seed=1"]


def test_names_of_awkward_values_are_names_of_files(tmp_path: Path) -> None:
    values = {
        "name": ["a/b", "..", "a,b", "a%2Cb", "", "ä", "x" * 300, "x" * 301, "\n"],
        "hidden": [(), (64, 32)],
        "path": [None, Path("/a")],
    }
    members = make_grid(FILE, values, 1).members()
    for member in members:
        (tmp_path / member.name).mkdir()
    assert len(list(tmp_path.iterdir())) == len(members) == 36


@pytest.mark.parametrize(
    ("values", "seeds", "message"),
    [
        ({"alpha": []}, 1, r"alpha: expected a list of at least one value, got \[\]"),
        ({"name": "ab"}, 1, "name: expected a list of at least one value, got 'ab'"),
        ({"alpah": [1]}, 1, "no parameter `alpah` .did you mean `alpha`.*; it has alpha, depth"),
        ({"alpha": ["x"]}, 1, "`alpha`: expected float, got 'x'"),
        ({"alpha": [1, 2, 1.0]}, 1, "alpha: expected different values, got 1 twice"),
        ({"hidden": [(1,), [1]]}, 1, r"hidden: expected different values, got \[1\] twice"),
        ({}, 0, "seeds: expected at least one, got none"),
        ({}, (), "seeds: expected at least one, got none"),
        ({}, 10**25, "expected at most 100000 members, got 10000000000000000000000000"),
        ({}, range(10**25), "expected at most 100000 members, got 9223372036854775807"),
        ({}, (-1,), "seeds: expected whole numbers from 0 to 4294967295, got -1"),
        ({}, (True,), "seeds: expected whole numbers .* got True"),
        ({}, (1, 2, 1), "seeds: expected different seeds, got 1 twice"),
        ({"depth": range(1, 1001)}, 1000, "expected at most 100000 members, got 1000000"),
    ],
)
def test_errors(values: dict[str, Any], seeds: Any, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        make_grid(FILE, values, seeds)


def test_a_required_parameter_needs_a_value() -> None:
    with pytest.raises(ExperimentError, match="expected a value for `alpha`"):
        make_grid(REQUIRED, {}, 1)
    assert len(make_grid(REQUIRED, {"alpha": [1]}, 1).members()) == 1
