from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from pyro_decomp.training.parameters import (
    UnsupportedAnnotationError,
    annotation_text,
    conform,
    parse,
)

GOOD = [
    ("3", int, 3),
    ("-1_000", int, -1000),
    ("3", float, 3.0),
    ("1e-3", float, 1e-3),
    ("inf", float, float("inf")),
    ("True", bool, True),
    ("yes", bool, True),
    ("1", bool, True),
    ("no", bool, False),
    ("0", bool, False),
    ("3", str, "3"),
    ("", str, ""),
    ("none", str, "none"),
    ("a b/c.csv", Path, Path("a b/c.csv")),
    ("adam", Literal["adam", "sgd"], "adam"),
    ("2", Literal[1, 2], 2),
    ("none", float | None, None),
    ("None", Optional[Path], None),  # noqa: UP045
    ("2", float | None, 2.0),
    ("2", int | str, 2),
    ("two", str | int, "two"),
    ("[64, 32]", list[int], [64, 32]),
    ("[64, 32]", tuple[int, ...], (64, 32)),
    ("64, 32", tuple[int, ...], (64, 32)),
    ("[]", tuple[int, ...], ()),
    ("(1, 2)", Sequence[float], (1.0, 2.0)),
    ("[true, null]", list[bool | None], [True, None]),
    ("[1, 'a', 'b']", tuple[int, str, Path], (1, "a", Path("b"))),
    ('[["a"], []]', list[list[Literal["a"]]], [["a"], []]),
    ("[1, 'a']", list, [1, "a"]),
]
BAD = [
    ("1.5", int),
    ("1e3", int),
    ("", int),
    ("a", float),
    ("maybe", bool),
    ("2", bool),
    ("rmsprop", Literal["adam", "sgd"]),
    ("nil", float | None),
    ("none", float),
    ("64", list[int]),
    ("[64, 1.5]", list[int]),
    ("[true]", list[int]),
    ("[a]", list[str]),
    ("[1", list[int]),
    ("[1]", tuple[int, int]),
    ("{'a': 1}", list[str]),
    ("__import__('os').getcwd()", list[str]),
]


@pytest.mark.parametrize(("text", "annotation", "value"), GOOD)
def test_text_becomes_the_annotated_type(text: str, annotation: Any, value: Any) -> None:
    parsed = parse(text, annotation)
    assert parsed == value
    assert type(parsed) is type(value)
    if isinstance(value, list | tuple):
        assert [type(item) for item in parsed] == [type(item) for item in value]


@pytest.mark.parametrize(("text", "annotation", "value"), GOOD)
def test_a_value_of_its_type_is_kept(text: str, annotation: Any, value: Any) -> None:
    kept = conform(value, annotation)
    assert kept == value
    assert type(kept) is type(value)


@pytest.mark.parametrize(("text", "annotation"), BAD)
def test_other_text_is_refused(text: str, annotation: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the caller writes the sentence)
        parse(text, annotation)


@pytest.mark.parametrize(
    ("stored", "annotation", "value"),
    [
        (1, float, 1.0),
        ("a/b", Path, Path("a/b")),
        ("a/b", Path | None, Path("a/b")),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ([["a"]], list[tuple[Path]], [(Path("a"),)]),
    ],
)
def test_what_json_loses_is_restored(stored: Any, annotation: Any, value: Any) -> None:
    assert repr(conform(stored, annotation)) == repr(value)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1.5, int),
        (True, int),
        (True, float),
        (1, bool),
        (1, str),
        (0, type(None)),
        ([], float | None),
        (True, Literal[1]),
        ("ab", list[str]),
        ([1], tuple[int, int]),
    ],
)
def test_a_value_of_another_type_is_refused(value: Any, annotation: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the caller writes the sentence)
        conform(value, annotation)


@pytest.mark.parametrize(
    "annotation", [dict, Callable[[int], int], object, list[dict], dict | None]
)
def test_annotations_that_no_text_fits_are_told_apart(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotationError):
        parse("[{}]", annotation)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (float, "float"),
        (Path | None, "Path | None"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Sequence[int], "Sequence[int]"),
        (Literal["a", 2], "'a' | 2"),
    ],
)
def test_annotations_are_named_plainly(annotation: Any, text: str) -> None:
    assert annotation_text(annotation) == text
