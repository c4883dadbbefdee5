"""The signature of ``experiment``: the configuration of an experiment file."""

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.settings import annotation_text


@dataclass(frozen=True)
class Parameter:
    """One parameter of ``experiment``: what ``--set`` can give.

    Args:
        name: Its name.
        annotation: Its annotation, or the type of its default where it has none.
        default: Its default; None where it is required.
        required: Whether it has no default.
        help: What the docstring's ``Args:`` says about it; empty where it says nothing.
    """

    name: str
    annotation: Any
    default: Any
    required: bool
    help: str

    @property
    def type_text(self) -> str:
        """Its type as a person would write it."""
        return annotation_text(self.annotation)


def read_signature(function: Callable[..., Any], place: str) -> tuple[Parameter, ...]:
    """Read the parameters of a function.

    Args:
        function: The function.
        place: Where it is, for messages.

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
        if annotation is parameter.empty:
            annotation = str if required else type(default)
        text = texts.get(parameter.name, "")
        parameters.append(Parameter(parameter.name, annotation, default, required, text))
    return tuple(parameters)


def _argument_texts(docstring: str) -> dict[str, str]:
    """Find what the ``Args:`` of a Google docstring says about each argument."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    if section is None:
        return {}
    entries = re.split(r"\n(?=\S)", textwrap.dedent(section[1]).strip())
    pairs = (entry.partition(":") for entry in entries)
    return {name.split("(")[0].strip(): " ".join(text.split()) for name, _, text in pairs}
