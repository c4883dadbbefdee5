"""Members that were trained, and of whom nothing was recorded."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pyro_decomp.sweep import sweep
from pyro_decomp.sweep.ensemble.item_checkpoint import Begun
from pyro_decomp.sweep.ensemble.members import Member
from pyro_decomp.sweep.folder import SweepFolder
from pyro_decomp.sweep.running import recovered
from tests.sweep.files import SOURCE

MEMBER = Member("seed=0", {}, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A sweep of one member that is finished."""
    folder = tmp_path_factory.mktemp("recovery")
    (folder / "trial.py").write_text(SOURCE)
    sweep(folder / "trial.py", {}, out=folder / "out", way="processes", num_workers=1)
    return SweepFolder(folder / "out")


def test_a_finished_run_is_a_record_without_its_time(trained: SweepFolder) -> None:
    (record,) = recovered(trained, [MEMBER, Member("seed=1", {}, 1)])
    assert (record.member, record.status, record.steps, record.seconds) == (
        "seed=0", "finished", 3, None,
    )  # fmt: skip
    assert record.terms.keys() == {"objective", "elbo", "log_likelihood", "kl"}
    assert record.way == "single"


def test_members_of_an_interrupted_item_are_left_to_it(trained: SweepFolder) -> None:
    trained.items_path.mkdir(exist_ok=True)
    begun = trained.items_path / "0.json"
    item = Begun(members=["seed=0"], why="", backend="captured", numbers=[])
    begun.write_text(json.dumps(asdict(item)))
    assert recovered(trained, [MEMBER]) == []
    begun.unlink()


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b"{"), ("history.csv", b"step,elbo\n2,1\n"), ("checkpoint.pt", b"x")],
)
def test_a_run_that_is_not_whole_is_trained_again(
    trained: SweepFolder, name: str, content: bytes
) -> None:
    path: Path = trained.run_path("seed=0") / name
    before = path.read_bytes()
    path.write_bytes(content)
    assert recovered(trained, [MEMBER]) == []
    path.write_bytes(before)
    assert len(recovered(trained, [MEMBER])) == 1
