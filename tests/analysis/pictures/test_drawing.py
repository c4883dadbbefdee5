import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp.analysis.pictures import draw, outputs
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.second_process import SecondProcess
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
    with pytest.warns(
        UserWarning, match=r"^traversals.gif, traversals.png.* not drawn: not enough mem"
    ):
        draw(run)


def test_ctrl_c_ends_drawing_and_gives_the_threads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = picture_data(tmp_path).run

    used = []

    def stops(*arguments: Any, **options: Any) -> Any:
        used.append(torch.get_num_threads())
        raise Interrupted(0, tmp_path)

    monkeypatch.setattr(outputs, "intervention", stops)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(Interrupted):
            draw(run)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert used == [1]  # several only wait for each other on data so small


@pytest.fixture
def beside() -> Iterator[SecondProcess]:
    process = SecondProcess("pyro_decomp.plots")
    yield process
    process.end()


@pytest.mark.full
def test_a_second_process_draws_the_same(tmp_path: Path, beside: SecondProcess) -> None:
    run = picture_data(tmp_path).run
    alone = {path.name: path.read_bytes() for path in draw(run)}
    for name in alone:
        (run.folder.plots_path / name).unlink()
    paths = draw(run, beside=beside)
    assert [path.name for path in paths] == list(alone)
    assert {path.name: path.read_bytes() for path in paths} == alone
    assert not beside.submit(eval, "'torch' in __import__('sys').modules").result()


@pytest.mark.full
def test_what_fails_in_the_second_process_is_told(tmp_path: Path, beside: SecondProcess) -> None:
    run = picture_data(tmp_path).run
    whole = [path.name for path in draw(run)]
    (run.folder.plots_path / whole[0]).unlink()
    (run.folder.plots_path / whole[0]).mkdir()  # a file cannot be put there
    with pytest.warns(UserWarning, match=rf"^{whole[0]} is not drawn: "):
        left = draw(run, beside=beside)
    assert [path.name for path in left] == whole[1:]


@pytest.mark.full
def test_a_second_process_that_dies_is_done_without(tmp_path: Path, beside: SecondProcess) -> None:
    run = picture_data(tmp_path).run
    os.kill(beside.submit(os.getpid).result(), signal.SIGKILL)
    assert {path.name for path in draw(run, beside=beside)} == {path.name for path in draw(run)}
