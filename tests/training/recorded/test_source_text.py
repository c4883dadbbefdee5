"""What a function is written down as makes it again, with all that it reaches."""

import ast
import io
import linecache
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyro_decomp.training.recorded.definitions import UnrecordedError
from pyro_decomp.training.recorded.kept import ENTRY
from pyro_decomp.training.recorded.source_text import source_text
from tests.training.recorded import functions


def made_again(function: Any) -> Any:
    """The function that the text makes, in a namespace of its own."""
    written = source_text(function)
    again = types.ModuleType("again")
    again._tensors = written.tensors  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "again", again)  # dataclasses look there
        exec(compile(written.text, "again", "exec", dont_inherit=True), vars(again))
    return getattr(again, ENTRY, again.experiment)


def flat(value: Any) -> Any:
    """A value that ``==`` compares."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return type(value).__name__, str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    return [flat(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.full(but=["classes", "closed", "decorated"])
@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_a_function_made_again_does_the_same(name: str) -> None:
    function = getattr(functions, name)
    again = made_again(function)
    assert getattr(again, "__code__", None) is not getattr(function, "__code__", 0)
    assert flat(again()) == flat(function())


@pytest.mark.full
@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_a_text_is_the_same_each_time(name: str) -> None:
    function = getattr(functions, name)
    assert source_text(function).text == source_text(function).text


def test_only_what_is_used_is_written() -> None:
    text = source_text(functions.decorated).text
    assert "WIDTH = 4" in text
    assert "DATA" not in text
    assert "open()" not in text


def test_a_value_is_as_it_is_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "WIDTH", 9)
    assert made_again(functions.lambdas)() == (81, 3)


def test_only_the_part_of_a_tensor_that_is_used_is_kept() -> None:
    tensors = source_text(functions.classes).tensors.values()
    assert [tensor.untyped_storage().nbytes() for tensor in tensors] == [12]


def test_tensors_are_not_copied() -> None:
    kept = [t.data_ptr() for t in source_text(functions.values).tensors.values()]
    assert functions.DATA.data_ptr() in kept
    assert torch.from_numpy(functions.TABLE).data_ptr() in kept


def uses(name: str) -> Any:
    """A function of the file of functions that uses one of its names."""
    code = compile(f"def using():\n    return {name}\n", f"<cell {name}>", "exec")
    text = f"def using():\n    return {name}\n"
    linecache.cache[f"<cell {name}>"] = (len(text), None, text.splitlines(True), f"<cell {name}>")
    scope = vars(functions)
    exec(code, scope)
    return scope.pop("using")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("counting", "`counting`, which changes `number` of the function around it"),
        ("rewrapped", "`rewrapped`, which wraps `is_odd`"),
        ("scaled", "`scaled`, which wraps `scaled`"),
        ("late", "`late`, one of several lambdas in a line"),
        ("with_default", "`with_default`, whose default `limit` is another by now"),
    ],
)
def test_what_cannot_be_written_is_named(name: str, message: str) -> None:
    with pytest.raises(UnrecordedError) as caught:
        source_text(uses(name))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("log", io.StringIO, "`log`, a StringIO"),
        ("weight", lambda: nn.Parameter(torch.zeros(2)), "`weight`, a parameter"),
        ("trained", lambda: torch.ones(2).requires_grad_(), "`trained`, a tensor that is trained"),
        ("generator", lambda: (i for i in [1]), "`generator`, a generator"),
        ("network", lambda: nn.Linear(1, 1), "`network`, a Linear"),
        ("objects", lambda: np.array([{}]), "`objects`, an array of Python objects or of its own"),
    ],
)
def test_what_a_script_has_and_no_text_can_make_is_named(
    name: str, make: Callable[[], Any], message: str
) -> None:
    text = f"def make():\n    return {name}\n"
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(True), "<cell>")
    scope = {"__name__": "__main__", name: make()}
    exec(compile(text, "<cell>", "exec"), scope)
    with pytest.raises(UnrecordedError) as caught:
        source_text(scope["make"])
    assert str(caught.value).startswith(message)


@pytest.mark.full
def test_the_function_itself_may_be_decorated() -> None:
    text = "import functools\n@functools.lru_cache\ndef make():\n    return 3\n"
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(True), "<cell>")
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), scope)
    assert made_again(scope["make"])() == 3


def test_a_function_of_a_cell_that_imports_what_it_calls_is_found() -> None:
    text = "import math\n\n\ndef make(x):\n    return math.sqrt(x)\n"
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(True), "<cell>")
    scope: dict[str, Any] = {"__name__": "__main__"}
    for statement in ast.parse(text).body:  # as notebooks do
        exec(compile(ast.Module([statement], []), "<cell>", "exec"), scope)
    assert text in source_text(scope["make"]).text


def test_a_function_without_a_text_is_named() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def make():\n    return 1\n", scope)
    with pytest.raises(UnrecordedError, match="`make`, whose text is not, or no longer, in a file"):
        source_text(scope["make"])


def load_module(path: Path, text: str) -> types.ModuleType:
    """A module of a text in a file, loaded as an import does."""
    path.write_text(text)
    found = types.ModuleType("__main__")
    found.__file__ = str(path)
    exec(compile(text, str(path), "exec"), vars(found))
    return found


def test_a_text_that_was_edited_since_is_not_taken_for_the_function(tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    before = load_module(path, "def make():\n    return 1\n")
    assert made_again(before.make)() == 1
    path.write_text("def make():\n    return 22\n")
    linecache.checkcache(str(path))
    with pytest.raises(UnrecordedError, match="no longer"):
        source_text(before.make)
    after = load_module(path, "def make():\n    return 333\n")
    assert made_again(after.make)() == 333


@pytest.mark.full
def test_a_class_without_methods_that_two_cells_define_is_not_guessed() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    cells = ["class C:\n    width = 1\n", "class C:\n    width = 2\n", "def make(): return C.width"]
    for index, text in enumerate(cells):
        name = f"<ipython-input-{index}-test>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), scope)
    main = sys.modules["__main__"]
    with pytest.raises(UnrecordedError, match="`C`, whose text"):
        source_text(scope["make"])
    assert sys.modules["__main__"] is main


def test_more_than_can_be_kept_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_decomp.training.recorded.tensors.MOST_BYTES", 100)
    with pytest.raises(UnrecordedError, match=r"`NESTED`, .*too much to keep"):
        source_text(functions.values)


def test_the_name_experiment_may_be_used_for_something_else() -> None:
    scope: dict[str, Any] = {"__name__": "__main__", "experiment": 3}
    text = "def make():\n    return experiment\ndef other():\n    return 4\n"
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(True), "<cell>")
    exec(compile(text, "<cell>", "exec"), scope)
    assert made_again(scope["other"])() == 4
    assert made_again(scope["make"])() == 3
