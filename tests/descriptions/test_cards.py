"""Cards: whole HTML of plain text, whatever is shown and whatever fails."""

from html.parser import HTMLParser

import pytest

from pyro_decomp import BetaELBO
from pyro_decomp.descriptions import Described, card
from pyro_decomp.descriptions.cards import purpose
from tests.descriptions.test_lines import ROWS, Failing


class Page(HTMLParser):
    """The text of a page, of which every element that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.images: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_all_text_is_escaped() -> None:
    evil = "<script>alert('x')</script> & \"quotes\""
    html = card(
        evil, {evil: evil}, tables=[(["", evil], [[evil, evil]])], picture=b"\1", warnings=[evil]
    )
    assert "<script" not in html
    page = Page(html)
    assert page.text == [evil] * 7
    assert page.images == ["data:image/png;base64,AQ=="]
    assert Page(card("a\u202eb\x1b", {})).text == [r"a\u202eb\x1b"]


def test_what_is_empty_or_fails_is_left_out() -> None:
    page = Page(card("one", {"empty": "", "failing": lambda: str(1 // 0), "there": lambda: "yes"}))
    assert page.text == ["one", "there", "yes"]


@pytest.mark.parametrize("name", [name for name in ROWS if name != "Data"])
def test_every_object_has_a_card_with_its_line_and_its_purpose(name: str) -> None:
    thing = ROWS[name]()
    title, what, purpose, *_ = Page(thing._repr_html_()).text
    assert title == repr(thing)
    assert what == "what"
    assert purpose.endswith((".", ":"))
    assert not {"`", "\n"} & set(purpose)


def test_an_objective_that_cannot_be_asked_has_a_card() -> None:
    assert Page(Failing()._repr_html_()).text[0] == "Failing(...)"


def test_what_a_class_is_for_is_its_own_or_that_of_one_above() -> None:
    class Mine(Described):
        pass

    assert purpose(Mine()) == ""
    assert purpose(BetaELBO()).startswith("The objective of the beta-VAE")
