import json
import math
import pickle
import random
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp.errors import RunError, write_whole
from pyro_decomp.training.run_files.run_folder import History, RunFolder

CONFIG: dict[str, Any] = {
    "arguments": {},
    "seed": 0,
    "total_steps": 100,
    "source": None,
    "source_file": None,
    "source_sha256": None,
}
HISTORY: History = {
    "step": [1, 2, 5],
    "epoch": [1, 1, 2],
    "elbo": [-1 / 3, 1e-300, -2.5e17],
    "late": [math.nan, math.nan, 0.1],
}


def checkpoint(step: int = 5, rows: int = 3) -> dict[str, Any]:
    parameter = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.Adam([parameter], amsgrad=True)
    parameter.sum().backward()
    optimizer.step()
    return {
        "step": step,
        "rows": rows,
        "modules": [torch.nn.BatchNorm1d(3).state_dict()],
        "parameters": {"a": parameter.detach()},
        "optimizer": optimizer.state_dict(),
        "auxiliaries": {},
        "random": {"torch": torch.get_rng_state(), "python": (3, tuple(range(625)), None)},
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Let no file grow past so many bytes; Python ignores the signal, so that writing fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run of five steps."""
    folder = RunFolder(tmp_path / "a" / "run")
    folder.open_new(CONFIG)
    folder.write_checkpoint(checkpoint(), HISTORY)
    return folder


def test_arguments_that_are_not_finite_are_kept_and_the_execution_can_be_rewritten(
    folder: RunFolder,
) -> None:
    arguments = {"limit": math.inf, "ends": [-math.inf, 1.5]}
    folder.open_new({**CONFIG, "arguments": arguments}, force=True)
    folder.write_execution({"steps": "eager"})
    assert folder.read_config() == {
        **CONFIG,
        "arguments": arguments,
        "execution": {"steps": "eager"},
    }


def contents(folder: RunFolder) -> dict[str, bytes]:
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}


def test_what_is_written_is_read(folder: RunFolder) -> None:
    assert set(contents(folder)) == {"config.json", "checkpoint.pt", "history.csv"}
    assert folder.read_config() == CONFIG
    read = folder.read_checkpoint()
    assert read is not None
    assert same(read, checkpoint())
    assert repr(folder.read_history(5, 3)) == repr(HISTORY).replace(
        "1, 1, 2", "1.0, 1.0, 2.0"
    ).replace("1, 2, 5", "1.0, 2.0, 5.0")


def test_what_was_read_is_written_in_the_same_bytes(folder: RunFolder) -> None:
    before = contents(folder)
    read = folder.read_checkpoint()
    assert read is not None
    folder.write_checkpoint(read, folder.read_history(5, 3))
    assert contents(folder) == before


def test_versions_that_modules_note_are_kept(folder: RunFolder) -> None:
    read = folder.read_checkpoint()
    assert read is not None
    assert read["modules"][0]._metadata[""] == {"version": 2}


def test_history_ends_at_the_step_asked_for(folder: RunFolder) -> None:
    assert folder.read_history(4, 2)["step"] == [1, 2]
    assert folder.read_history(0, 0) == {}


def test_writing_replaces_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with full_disk(10), pytest.raises(OSError, match="too large"):
        write_whole(path, b"new" * 100)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, b"new" * 100)
    assert path.read_bytes() == b"new" * 100


def test_a_full_disk_keeps_the_checkpoint_that_was_there(folder: RunFolder) -> None:
    before = contents(folder)
    longer = {name: [*column, 9] for name, column in HISTORY.items()}
    with full_disk(1000), pytest.raises(OSError, match="too large"):
        folder.write_checkpoint(checkpoint(9, 4), longer)
    after = contents(folder)
    assert after.pop("history.csv").startswith(before.pop("history.csv"))
    assert after == before
    assert len(folder.read_history(5, 3)["step"]) == 3


@pytest.mark.parametrize("length", [0, 1, 3, 4, 100, 5000, -1000, -22, -1])
def test_a_truncated_checkpoint_is_refused(folder: RunFolder, length: int) -> None:
    path = folder.checkpoint_path
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RunError, match=r"checkpoint\.pt cannot be read: it is truncated or corr"):
        folder.read_checkpoint()


def test_a_flipped_bit_of_an_older_checkpoint_is_refused_or_harmless(folder: RunFolder) -> None:
    torch.save(checkpoint(), folder.checkpoint_path)
    whole, expected = folder.checkpoint_path.read_bytes(), folder.read_checkpoint()
    generator, refused = random.Random(0), 0
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        folder.checkpoint_path.write_bytes(damaged)
        try:
            assert same(folder.read_checkpoint(), expected)
        except RunError:
            refused += 1
    # what is left are the gaps that align the records, and notes such as the time of day
    assert refused > 50


def test_a_number_that_changed_in_a_tensor_is_refused(folder: RunFolder) -> None:
    whole = folder.checkpoint_path.read_bytes()
    record = checkpoint()["parameters"]["a"].numpy().tobytes()
    assert whole.count(record) == 1
    folder.checkpoint_path.write_bytes(whole.replace(record, record[:-1] + b"\x42"))
    with pytest.raises(RunError, match="truncated or corrupt"):
        folder.read_checkpoint()


class Malice:
    """Pickled code that writes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("how", ["pickle", "zip"])
def test_code_in_a_checkpoint_is_not_run(folder: RunFolder, tmp_path: Path, how: str) -> None:
    mark = tmp_path / "mark"
    if how == "pickle":
        folder.checkpoint_path.write_bytes(pickle.dumps(Malice(mark)))
    else:
        with zipfile.ZipFile(folder.checkpoint_path, "w") as records:
            records.writestr("archive/data.pkl", pickle.dumps(Malice(mark), protocol=2))
            records.writestr("archive/version", "3\n")
    with pytest.raises(RunError, match=r"checkpoint\.pt cannot be read"):
        folder.read_checkpoint()
    assert not mark.exists()


@pytest.mark.parametrize("content", [torch.zeros(3), {"step": 3}, [1, 2]])
def test_a_file_of_torch_that_is_no_checkpoint_is_refused(folder: RunFolder, content: Any) -> None:
    torch.save(content, folder.checkpoint_path)
    with pytest.raises(RunError, match="expected a checkpoint of a run"):
        folder.read_checkpoint()


@pytest.mark.parametrize("key", ["step", "rows", "modules", "optimizer", "python", "random"])
def test_a_checkpoint_of_other_types_is_refused(folder: RunFolder, key: str) -> None:
    torch.save(checkpoint() | {key: "x"}, folder.checkpoint_path)
    with pytest.raises(RunError, match=rf'checkpoint\.pt: {key}: expected .*, got "x"'):
        folder.read_checkpoint()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "a table of numbers.*other text"),
        ("step,epoch,elbo\n", "got 0"),
        ("step,elbo\n1,-0.3\n2,-0.2\n", "3 rows up to step 5, got 2"),
        ("step,elbo\n1,-0.3\n2,-0.2\n5\n", "a table of numbers.*other text"),
        ("step,elbo\n1,-0.3\n2,-0.2\n5,0,0\n", "a table of numbers.*other text"),
        ("step,elbo\n1,-0.3\n2,-0.2\n5,zero\n", "a table of numbers.*other text"),
        ("step,elbo\n1,-0.3\n2,-0.2\n5.5,0\n", "a table of numbers.*other text"),
        ("epoch,elbo\n1,-0.3\n1,-0.2\n2,0\n", "a table of numbers.*other text"),
        ("step,elbo\n" + '"' + "x" * 200_000, "a table of numbers.*other text"),
        (b"step\n\xff\xfe\n", "a table of numbers.*other text"),
    ],
)
def test_what_is_no_history_is_refused(
    folder: RunFolder, table: str | bytes | None, message: str
) -> None:
    torch.save(checkpoint(), folder.checkpoint_path)  # an older one, without a digest
    if table is None:
        folder.history_path.unlink()
    else:
        folder.history_path.write_bytes(table.encode() if isinstance(table, str) else table)
    with pytest.raises(RunError, match=rf"history\.csv.*{message}"):
        folder.read_history(5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON"),
        ('{"arguments": {}', "expected JSON"),
        ("[1]", "expected the configuration of a run, got list"),
        ('{"arguments": {}, "seed": 0}', "expected the configuration of a run, found no total_s"),
        ('{"arguments": {}, "arguments": {}}', "expected JSON, got a key twice"),
        ('{"arguments": NaN}', "expected JSON, got NaN, which is none"),
        ('{"arguments": "\0"}', "expected JSON, got other text at line 1, column 16"),
        ("[" * 100_000, "expected JSON, got lists or objects that are nested too deeply"),
        ('{"a":' * 900 + "1" + "}" * 900, "expected "),
        ("\udcff", "expected JSON"),
    ],
)
def test_a_damaged_configuration_is_refused_and_nothing_removed(
    folder: RunFolder, text: str, message: str
) -> None:
    folder.config_path.write_text(text, errors="surrogateescape")
    before = contents(folder)
    with pytest.raises(RunError, match=rf"config\.json: {message}"):
        folder.read_config()
    with pytest.raises(RunError, match=rf"config\.json: {message}"):
        folder.open_new(CONFIG, force=True)
    assert contents(folder) == before


def test_a_run_is_replaced_only_by_force_and_without_files_of_others(folder: RunFolder) -> None:
    (folder.path / "notes.txt").write_text("mine")
    folder.plots_path.mkdir()
    (folder.plots_path / "mine.png").write_bytes(b"mine")
    (folder.plots_path / "terms.png").write_bytes(b"ours")
    folder.write_metrics({"train": {"elbo": 1.0}})
    before = contents(folder)
    with pytest.raises(
        RunError, match=r"already holds a run: continue it with --resume .*, replace"
    ):
        folder.open_new(CONFIG)
    assert contents(folder) == before
    (folder.path / ".checkpoint.pt.0123456789ab.tmp").write_bytes(b"of a run that was killed")
    folder.open_new(CONFIG | {"seed": 1}, force=True)
    after = contents(folder)
    assert json.loads(after.pop("config.json"))["seed"] == 1
    assert after == {"notes.txt": b"mine", "plots/mine.png": b"mine"}


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "3"])
def test_metrics_that_cannot_be_read_are_none(folder: RunFolder, text: str | None) -> None:
    if text is not None:
        folder.metrics_path.write_text(text)
    assert folder.read_metrics() == {}
    folder.write_metrics({"train": {"elbo": 1.0}})
    assert folder.read_metrics() == {"train": {"elbo": 1.0}}


def test_metrics_are_json_that_others_read(folder: RunFolder) -> None:
    folder.write_metrics({"train": {"elbo": 1.0}})
    with pytest.raises(ValueError, match="JSON"):
        folder.write_metrics({"train": {"elbo": float("nan")}})
    assert folder.read_metrics() == {"train": {"elbo": 1.0}}


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_other_files_is_left_alone(tmp_path: Path, force: bool) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds files but no run"):
        RunFolder(tmp_path).open_new(CONFIG, force=force)
    with pytest.raises(RunError, match="expected a folder for the run, got a file"):
        RunFolder(tmp_path / "thesis.txt").open_new(CONFIG, force=force)
    assert contents(RunFolder(tmp_path)) == {"thesis.txt": b"mine"}


def test_a_folder_where_a_run_was_killed_before_it_began_can_be_used(tmp_path: Path) -> None:
    (tmp_path / ".config.json.0123456789ab.tmp").write_text('{"argum')
    folder = RunFolder(tmp_path)
    folder.open_new(CONFIG)
    assert set(contents(folder)) == {"config.json"}
    assert folder.read_checkpoint() is None


def test_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected a run folder with a config\.json, found none"):
        RunFolder(tmp_path / "absent").read_config()
