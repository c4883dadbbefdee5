import pytest

from pyro_decomp.sweep.cli_values import read_seeds, split_values, unquoted


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("1", ["1"]),
        ("", [""]),
        ("0.01,0.5, 1", ["0.01", "0.5", "1"]),
        ("1,,2", ["1", "", "2"]),
        ("1,", ["1", ""]),
        ("[64,32],[128]", ["[64,32]", "[128]"]),
        ("(1,(2,3)),(4,)", ["(1,(2,3))", "(4,)"]),
        ('{"a,b":[1,2]},c', ['{"a,b":[1,2]}', "c"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ('"a,b" , "c"', ['"a,b"', '"c"']),
        ("don't,won't", ["don't", "won't"]),
        ("['a]',1],b", ["['a]',1]", "b"]),
        ("f(1,2),g", ["f(1,2)", "g"]),
        ("(1,2", ["(1,2"]),
        ("1),2", ["1)", "2"]),
        (" one value ", [" one value "]),
    ],
)
def test_commas_split_outside_brackets_and_strings(text: str, pieces: list[str]) -> None:
    assert split_values(text) == pieces


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        ("'a,b'", "a,b"),
        ('"it\'s"', "it's"),
        ("''", ""),
        ("word", "word"),
        ("don't", "don't"),
        ("'open", "'open"),
        ("'a' 1", "'a' 1"),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_quotes_around_a_whole_value_are_taken_off(piece: str, text: str) -> None:
    assert unquoted(piece) == text


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("8", [*range(8)]), ("0", []), ("3,5,7", [3, 5, 7]), ("5,", [5]), (" 1, 2 ", [1, 2])],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert list(read_seeds(text)) == seeds


@pytest.mark.parametrize("text", ["", "x", "1.5", "3,x", ",", str(2**40)])
def test_what_are_no_seeds(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_seeds(text)
