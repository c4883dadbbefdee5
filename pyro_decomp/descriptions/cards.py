"""Cards: what an object says of itself in a notebook, as HTML that reads on light and on dark."""

import inspect
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from pyro_decomp.descriptions.lines import constructor_call, shortened, visible

GREY = "rgba(128,128,128,.4)"
BOX = f"border:1px solid {GREY};border-radius:6px;padding:.6em 1em;max-width:60em;overflow-x:auto"
CELL = "text-align:left;padding:.1em 1em .1em 0;vertical-align:top;white-space:pre-wrap"
NUMBER = "text-align:right;padding:.1em 1em .1em 0;white-space:nowrap"
WARNING = "border-left:3px solid #d98200;padding-left:.6em;margin:.3em 0"
PICTURE = "background:white;border-radius:4px;margin-top:.5em;max-width:100%"

Fact = str | Callable[[], str]
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings, and rows of as many cells; the first column is of names, the others of numbers."""


def card(
    title: str,
    facts: Mapping[str, Fact],
    *,
    tables: Sequence[Table] = (),
    picture: bytes | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """A card in HTML, of plain text: all of it is escaped.

    Args:
        title: What it is.
        facts: What is known of it, by name, as text or as what gives it; one that is empty or
            fails is left out.
        tables: Numbers.
        picture: A PNG file.
        warnings: What is to be noticed.

    Returns:
        One ``div``, with styles of its own and colours of the page around it.
    """
    parts = [f"<div><b>{_escaped(title)}</b></div>"]
    parts += [f'<div style="{WARNING}">{_escaped(text)}</div>' for text in warnings]
    rows = [(name, text) for name, fact in facts.items() if (text := _told(fact))]
    parts += [_table((), rows, numbers=False)] if rows else []
    parts += [_table(headings, cells) for headings, cells in tables]
    if picture is not None:
        source = f"data:image/png;base64,{b64encode(picture).decode()}"
        parts.append(f'<img alt="{_escaped(title)}" src="{source}" style="{PICTURE}">')
    return f'<div style="{BOX}">{"".join(parts)}</div>'


def object_card(thing: object, facts: Mapping[str, Fact] | None = None) -> str:
    """A card of an object by itself: its line, and what its class is for."""
    return card(shortened(repr(thing)), {"what": purpose(thing), **(facts or {})})


class Described:
    """A class of objects that show themselves as the call that makes them, and in a card as that.

    A subclass that is a dataclass is one with ``repr=False``.
    """

    __repr__ = constructor_call

    def _repr_html_(self) -> str:
        return object_card(self)


def purpose(thing: object) -> str:
    """The first sentence of the docstring of an object's class, without marks of formatting."""
    told = inspect.getdoc(type(thing)) or ""
    first = told.partition("\n\n")[0] if told != inspect.getdoc(Described) else ""
    plain = re.sub(r":\w+:`~?\.?([^`<]*)`|``([^`]*)``", lambda found: found[1] or found[2], first)
    return " ".join(plain.split())


def _told(fact: Fact) -> str:
    try:
        return fact if isinstance(fact, str) else fact()
    except Exception:  # a card shows what can be told
        return ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    style = (CELL, NUMBER if numbers else CELL)
    head = "".join(
        f'<th style="{style[at > 0]}">{_escaped(h)}</th>' for at, h in enumerate(headings)
    )
    body = "".join(
        f"<tr>{''.join(_cell(text, style[at > 0]) for at, text in enumerate(row))}</tr>"
        for row in rows
    )
    return (
        f'<table style="border:0;margin:.4em 0">{f"<tr>{head}</tr>" if head else ""}{body}</table>'
    )


def _escaped(text: str) -> str:
    return escape(visible(text, keep="\n"))


def _cell(text: Any, style: str) -> str:
    return f'<td style="{style}">{_escaped(str(text))}</td>'
