"""The parameters of ``experiment``: its signature, and values of them in words and in JSON."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pyro_decomp.errors import ExperimentError


@dataclass(frozen=True)
class Parameter:
    """One parameter of ``experiment``: what ``--set`` can give.

    Args:
        name: Its name.
        annotation: Its annotation, or the type of its default where it has none; then only what is
            given in words has to be of it.
        default: Its default; None where it is required.
        required: Whether it has no default.
        help: What the docstring's ``Args:`` says about it; empty where it says nothing.
    """

    name: str
    annotation: Any
    default: Any
    required: bool
    help: str
    is_annotated: bool = True

    @property
    def type_text(self) -> str:
        """The parameter's type as a person would write it."""
        return annotation_text(self.annotation)


def read_signature(function: Callable[..., Any], place: str) -> tuple[Parameter, ...]:
    """Read the parameters of a function ``experiment``.

    Raises:
        ExperimentError: A parameter cannot be set by name, or an annotation cannot be evaluated.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:  # annotations are the user's code: they may raise anything
        raise ExperimentError(
            f"{place}: the signature of `experiment` cannot be read: {error}"
        ) from error
    texts = _argument_texts(inspect.getdoc(function) or "")
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ExperimentError(
                f"{place}: expected every parameter of `experiment` to be one that can be set by "
                f"name, got `{parameter}`"
            )
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        annotation = parameter.annotation
        is_annotated = annotation is not parameter.empty
        if not is_annotated:
            annotation = str if required else type(default)
        text = texts.get(parameter.name, "")
        parameters.append(
            Parameter(parameter.name, annotation, default, required, text, is_annotated)
        )
    return tuple(parameters)


def _argument_texts(docstring: str) -> dict[str, str]:
    """Find what the ``Args:`` of a Google docstring says about each argument."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    if section is None:
        return {}
    entries = re.split(r"\n(?=\S)", textwrap.dedent(section[1]).strip())
    pairs = (entry.partition(":") for entry in entries)
    return {name.split("(")[0].strip(): " ".join(text.split()) for name, _, text in pairs}


SUPPORTED = "int, float, bool, str, Path, Literal, Optional, or lists and tuples of these"


class UnsupportedAnnotationError(TypeError):
    """An annotation that no text can be read as."""


def annotation_text(annotation: Any) -> str:
    """Name an annotation as a person would write it, ``float`` or ``Path | None``."""
    if get_origin(annotation) is Literal:
        return " | ".join(repr(choice) for choice in get_args(annotation))
    text = inspect.formatannotation(annotation)
    return text.replace("pathlib.", "").replace("collections.abc.", "")


def parse(text: str, annotation: Any) -> Any:
    """Read one value of an annotated type from the text that a person typed.

    >>> parse("no", bool), parse("none", float | None), parse("[64, 32]", tuple[int, ...])
    (False, None, (64, 32))

    Args:
        text: What was typed; of containers, JSON or a Python literal.
        annotation: The parameter's annotation.

    Raises:
        ValueError: The text is no value of that type.
        UnsupportedAnnotationError: The annotation is not among ``SUPPORTED``.
    """
    if annotation in _READERS:
        return _READERS[annotation](text)
    if get_origin(annotation) is Literal:
        return _choose(text, {str(choice): choice for choice in get_args(annotation)})
    if _is_union(annotation):
        return _first_that_fits(parse, text, _members(annotation))
    if _is_sequence(annotation):
        return conform(_literal(text), annotation)
    raise UnsupportedAnnotationError(annotation_text(annotation))


def conform(value: Any, annotation: Any) -> Any:
    """Check that a value is of an annotated type, and give it back in that type.

    What JSON cannot keep apart is restored: whole numbers for floats, lists for tuples, text for
    paths.

    >>> conform([1, 2], tuple[float, float])
    (1.0, 2.0)

    Raises:
        ValueError: The value is not of that type.
        UnsupportedAnnotationError: The annotation is not among ``SUPPORTED``.
    """
    if annotation in _KINDS:
        if not isinstance(value, _KINDS[annotation]):
            raise ValueError(value)
        if isinstance(value, bool) and annotation is not bool:
            raise ValueError(value)
        return None if value is None else annotation(value)
    if get_origin(annotation) is Literal:
        for choice in get_args(annotation):
            if type(value) is type(choice) and value == choice:
                return choice
        raise ValueError(value)
    if _is_union(annotation):
        return _first_that_fits(conform, value, _members(annotation))
    if _is_sequence(annotation):
        return _conform_sequence(value, annotation)
    raise UnsupportedAnnotationError(annotation_text(annotation))


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_READERS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    bool: lambda text: _choose(text.lower(), _BOOLEANS),
    str: str,
    Path: Path,
    NoneType: lambda text: _choose(text.lower(), {"none": None}),
}
_KINDS: dict[Any, Any] = {
    int: Integral,
    float: Real,
    bool: bool,
    str: str,
    Path: (str, Path),
    NoneType: NoneType,
}


def _conform_sequence(value: Any, annotation: Any) -> Any:
    """Check a list or tuple item by item; ``Sequence`` gives a tuple."""
    if not isinstance(value, list | tuple):
        raise ValueError(value)
    container = list if list in (annotation, get_origin(annotation)) else tuple
    members = get_args(annotation)
    if not members:
        return container(value)
    if get_origin(annotation) is tuple and members[-1] is not Ellipsis:
        if len(members) != len(value):
            raise ValueError(value)
        return tuple(conform(item, member) for item, member in zip(value, members, strict=True))
    return container(conform(item, members[0]) for item in value)


def _literal(text: str) -> Any:
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(text.strip())
    return json.loads(text)


def _choose(key: str, choices: dict[str, Any]) -> Any:
    if key not in choices:
        raise ValueError(key)
    return choices[key]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _is_sequence(annotation: Any) -> bool:
    return bool({annotation, get_origin(annotation)} & {list, tuple, Sequence})


def _members(union: Any) -> list[Any]:
    """Order the members of a union: none first and free text last, for text fits anything."""
    return sorted(
        get_args(union), key=lambda member: (member in (str, Path)) - (member is NoneType)
    )


def _first_that_fits(read: Callable[[Any, Any], Any], value: Any, members: list[Any]) -> Any:
    failure: Exception = ValueError(value)
    for member in members:
        try:
            return read(value, member)
        except ValueError:
            continue
        except UnsupportedAnnotationError as error:
            failure = error
    raise failure
