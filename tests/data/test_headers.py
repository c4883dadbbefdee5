import numpy as np
import pytest

from pyro_decomp.data.headers import counting, header, row_numbers


def lines(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.split()]


HEADERS = {
    "words": "a,b 1,2 3,4",
    "a word above a number": "id,400,402 1,.1,.2 2,.3,.1",
    "the corner of R": ",400,402 1,.1,.2 2,.3,.1",
    "the corner of pandas": ",0,1 0,5.1,3.5 1,4.9,3.0",
    "words over rows that have one": "who,age ann,7 bob,8",
}
JUDGED = {
    "wavelengths": "400,402,404 .1,.2,.3 .2,.1,.4",
    "uneven wavelengths": "400.1,402.3,404.4,406.8,409.0 .1,.2,.3,.1,.2 .2,.1,.4,.2,.1",
    "falling wavenumbers": "4000,3998,3996 .1,.2,.3 .2,.1,.4",
    "years over sums of their size": "2000,2001,2002,2003,2004 1980,2013,1999,2040,3 9,8,2050,1,3",
    "positions from 0": "0,1,2 5,3,1 2,2,0 7,1,3",
    "positions from 1": "1,2,3,4 5,3,1,0 2,2,0,9 7,1,3,2",
    "wavelengths beside names": "id,400,402,404 ann,.1,.2,.3 bob,.2,.1,.4",
}
DATA = {
    "numbers": "1,-2.5 3,4e-3",
    "one column": "5 3 4",
    "one line": "1,2,3,4,5,6",
    "all lines in even steps": "1,2,3 4,5,6 7,8,9",
    "a missing number": "NA,2 3,4 5,6",
    "an empty cell within": "1,,3 4,5,6 7,8,8",
    "words in every line": "ann,7,1 bob,2,3 cy,9,4",
    "a constant line": "0,0,0,0,0 9,8,7,1,2 3,4,4,5,6",
    "a rising line within the range of others": "1,3,7 2,1,9 4,4,0 0,2,8",
}
DOUBTFUL = {
    "two numbers far away": "2000,2001 1,2 2,1",
    "even steps, few and near": "3,4,5 5,3,1 2,2,0 7,1,3",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_words_are_a_header(text: str) -> None:
    first, *below = lines(text)
    assert header(first, below) == (first, "")


@pytest.mark.parametrize("text", JUDGED.values(), ids=JUDGED)
def test_numbers_like_no_other_line_are_a_header_and_it_is_said(text: str) -> None:
    first, *below = lines(text)
    names, said = header(first, below)
    assert names == first
    assert "taken as a header" in said
    assert header(first, below, asked=False) == (None, "")


@pytest.mark.parametrize("text", DATA.values(), ids=DATA)
def test_numbers_like_the_others_are_data(text: str) -> None:
    first, *below = lines(text)
    assert header(first, below) == (None, "")
    assert header(first, below, asked=True) == (first, "")


@pytest.mark.parametrize("text", DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_may_be_a_header_stays_data_and_it_is_said(text: str) -> None:
    first, *below = lines(text)
    names, said = header(first, below)
    assert names is None
    assert "may be a header" in said
    assert header(first, below, asked=False) == (None, "")


def test_a_first_line_of_noise_is_hardly_ever_a_header() -> None:
    generator = np.random.default_rng(0)
    for k in (2, 3, 5, 8):
        for _ in range(100):
            table = generator.normal(size=(6, k)).round(3).astype(str).tolist()
            assert header(table[0], table[1:])[0] is None


def test_the_first_column_numbers_the_rows_if_it_has_no_name() -> None:
    values = np.array([[3.0, 0.5], [7.0, 0.5]])
    assert row_numbers(["", "x"], values)
    assert row_numbers(["Unnamed: 0", "x"], values)
    assert not row_numbers(["id", "x"], values)
    assert not row_numbers(None, values)
    assert not row_numbers(["", "x"], values[:, [1, 0]])
    assert not row_numbers(["", "x"], values[[0, 0]])


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_column_counts_from_0_or_1(start: float) -> None:
    rows = np.arange(start, start + 5)
    table = np.stack([rows, rows + 2, 2 * rows, rows[::-1], rows], 1)
    assert counting(table).tolist() == [True, False, False, False, True]
    assert not counting(table[:2]).any()
