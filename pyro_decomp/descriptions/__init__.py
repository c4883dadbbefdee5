"""What objects say of themselves, a line each and cards in a notebook; never what they compute."""

from pyro_decomp.descriptions.cards import Described, Fact, Table, card, object_card
from pyro_decomp.descriptions.lines import (
    constructor_call,
    shortened,
    value_text,
    visible,
    weighted_sum,
)

__all__ = [
    "Described",
    "Fact",
    "Table",
    "card",
    "constructor_call",
    "object_card",
    "shortened",
    "value_text",
    "visible",
    "weighted_sum",
]
