"""Several values of one parameter, as a person types them: ``0.01,0.5,1``."""

import ast
from contextlib import suppress

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_QUOTES = "\"'"
MOST_SEEDS = 2**32


def split_values(text: str) -> list[str]:
    """Split at the commas that are outside brackets and quoted strings.

    A quote opens a string at the beginning of a value or inside brackets only, so that ``don't``
    is a word.

    >>> split_values("[64,32],[128]")
    ['[64,32]', '[128]']
    >>> split_values("don't,'one, two'")
    ["don't", "'one, two'"]
    """
    pieces = [""]
    depth, quote = 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and (depth or not pieces[-1].strip()):
            quote = character
        elif character in _CLOSING:
            depth += 1
        elif character in _CLOSING.values():
            depth = max(depth - 1, 0)
        elif character == "," and not depth:
            pieces.append("")
            continue
        pieces[-1] += character
    return [piece.strip() for piece in pieces] if len(pieces) > 1 else pieces


def unquoted(piece: str) -> str:
    """A piece that is one quoted string without its quotes; anything else as it is.

    >>> unquoted("'one, two'"), unquoted("don't")
    ('one, two', "don't")
    """
    if piece.startswith(tuple(_QUOTES)):
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(piece)
            return value if isinstance(value, str) else piece
    return piece


def read_seeds(text: str) -> range | list[int]:
    """Read ``8`` as the seeds 0 to 7, and ``3,5,7`` or ``5,`` as a list of seeds.

    Raises:
        ValueError: It is neither, or too many.
    """
    if "," not in text:
        count = int(text)
        if count > MOST_SEEDS:
            raise ValueError(text)
        return range(count)
    return [int(piece) for piece in text.removesuffix(",").split(",")]
