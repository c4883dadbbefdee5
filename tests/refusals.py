"""Right, or refused in one sentence: both are good answers, where a test allows both."""

from collections.abc import Callable
from typing import TypeVar

from pyro_decomp.errors import DecompError

T = TypeVar("T")


def result_or_refusal(call: Callable[[], T]) -> tuple[T | None, str]:
    """What a call gives and no words, or nothing and the sentence with which it is refused."""
    try:
        return call(), ""
    except DecompError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return None, message
