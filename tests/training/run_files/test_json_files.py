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
    with pytest.raises(ValueError, match="NaN is no JSON"):
        read_json(tmp_path / "file")
