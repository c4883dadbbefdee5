import json
import math
from pathlib import Path

import pytest

from pyro_decomp.training.run_files.json_files import marked, plain, read_json, to_json, write_json


def test_values_come_back_and_tuples_as_lists(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, True, None, "text"], "b": (math.inf, -math.inf, 0.1)}
    write_json(tmp_path / "file", marked({name: plain(each) for name, each in value.items()}))
    assert read_json(tmp_path / "file") == {"a": value["a"], "b": [math.inf, -math.inf, 0.1]}
    write_json(tmp_path / "file", marked([math.nan]))
    assert math.isnan(read_json(tmp_path / "file")[0])


def test_what_is_written_is_json_to_anyone(tmp_path: Path) -> None:
    write_json(tmp_path / "file", marked([math.inf]))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads((tmp_path / "file").read_text(), parse_constant=refuse) == [{"float": "inf"}]


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"elbo": math.nan})
    (tmp_path / "file").write_text('{"elbo": NaN}')
    with pytest.raises(ValueError, match="NaN, which is none"):
        read_json(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": 1', "other text at line 1, column 8"),
        (b'{"a": "\xff"}', "bytes that are no text in UTF-8"),
        (b"1" * 5000, "a number of 5000 digits"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_damaged_is_said_in_own_words(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        read_json(tmp_path / "file")


def test_an_object_that_is_no_float_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"float": "many"}')
    assert read_json(tmp_path / "file") == {"float": "many"}
