from pathlib import Path
from typing import Any

import pytest

from pyro_decomp.analysis.pictures import draw, outputs
from pyro_decomp.training.interruption import Interrupted
from tests.analysis.pictures.examples import picture_data


@pytest.mark.full
def test_a_picture_that_cannot_be_drawn_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = picture_data(tmp_path).run
    whole = {path.name for path in draw(run)}
    assert {"reconstructions.png", "prior_samples.png", "traversals.gif"} <= whole

    def fails(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("no room")

    monkeypatch.setattr(outputs, "intervention", fails)
    with pytest.warns(UserWarning, match=r"^prior_samples.png is not drawn: .*no room$"):
        left = draw(run)
    assert {path.name for path in left} == whole - {"prior_samples.png"}


@pytest.mark.full
def test_pictures_that_fail_alike_are_named_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = picture_data(tmp_path).run

    def fails(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("pyro_decomp.analysis.pictures.traversals.traversal", fails)
    with pytest.warns(UserWarning, match=r"^traversals.png, traversals.gif.* are not drawn: Mem"):
        draw(run)


def test_ctrl_c_ends_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = picture_data(tmp_path).run

    def stops(*arguments: Any, **options: Any) -> Any:
        raise Interrupted(0, tmp_path)

    monkeypatch.setattr(outputs, "intervention", stops)
    with pytest.raises(Interrupted):
        draw(run)
