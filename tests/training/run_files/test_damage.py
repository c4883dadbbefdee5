"""Run folders that are damaged, hostile, of another run or of another version."""

import ast
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp import load
from pyro_decomp.errors import RunError
from pyro_decomp.training.recorded.kept import KeptTensors, key_of
from pyro_decomp.training.run_files import checked_files
from pyro_decomp.training.run_files.checked_files import FORMAT, digest, write_checked
from pyro_decomp.training.run_files.damages import damages
from pyro_decomp.training.run_files.run_folder import RunFolder
from tests.training.run_files.test_run_folder import (
    CONFIG,
    HISTORY,
    Malice,
    checkpoint,
    contents,
    same,
)

ROOT = Path(__file__).parents[3]
OLDER = ROOT / "tests" / "sweep" / "older" / "members" / "limit=inf,seed=0"
FILES = ("config.json", "history.csv", "checkpoint.pt", "metrics.json", "resources.json")


def written(path: Path, config: dict[str, Any] = CONFIG, value: float = 0.0) -> RunFolder:
    """A run of five steps, with all files but tensors of its source."""
    folder = RunFolder(path)
    folder.open_new(config)
    history = {**HISTORY, "elbo": [v + value for v in HISTORY["elbo"]]}
    folder.write_checkpoint(checkpoint(), history)
    folder.write_metrics({"train": {"elbo": -1.25}})
    folder.write_resources({"steps": 5})
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return written(tmp_path / "run")


def everything(folder: RunFolder) -> tuple[Any, ...]:
    """What is read of all files."""
    saved = folder.read_checkpoint()
    assert saved is not None
    history = folder.read_history(saved["step"], saved["rows"])
    return folder.read_config(), saved, history, folder.read_metrics(), folder.read_resources()


def unchanged(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return same(one[1], other[1]) and repr((one[0], one[2:])) == repr((other[0], other[2:]))


def test_a_whole_folder_has_no_damage(folder: RunFolder) -> None:
    assert damages(folder.path) == []
    folder.write_checkpoint(checkpoint(), HISTORY, "best")
    assert damages(folder.path) == []


@pytest.mark.full
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_named_or_harmless(folder: RunFolder, name: str) -> None:
    path, generator, named = folder.path / name, random.Random(0), 0
    whole, expected = path.read_bytes(), everything(folder)
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        if found := damages(folder.path):
            assert str(path) in found[0]
            named += 1
        else:  # such as a space in JSON, which is another kind of space
            assert name != "checkpoint.pt"
            assert unchanged(everything(folder), expected)
    assert named > 25


@pytest.mark.full(but=["checkpoint.pt"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_ends_too_early_is_named(folder: RunFolder, name: str) -> None:
    path = folder.path / name
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 70, len(whole) - 3):
        path.write_bytes(whole[: max(0, length)])
        (found, *_) = damages(folder.path)
        assert str(path) in found


def test_damaged_metrics_are_none_and_damaged_resources_are_refused(folder: RunFolder) -> None:
    for path in (folder.metrics_path, folder.resources_path):
        path.write_text(path.read_text().replace("5", "6", 1))
    assert folder.read_metrics() == {}
    with pytest.raises(RunError, match=r"resources\.json: expected what was written, got other"):
        folder.read_resources()


def test_a_history_of_another_run_is_refused(folder: RunFolder, tmp_path: Path) -> None:
    other = written(tmp_path / "other", value=1.0)
    shutil.copy(other.history_path, folder.history_path)
    with pytest.raises(RunError, match=r"history\.csv: .* checkpoint was written with, got"):
        folder.read_history(5, 3)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"arguments": {"beta": 2}}, {"data_blake2b": ""}])
def test_a_checkpoint_of_another_run_is_refused(
    folder: RunFolder, tmp_path: Path, changes: dict[str, Any]
) -> None:
    other = written(tmp_path / "other", CONFIG | changes)
    shutil.copy(other.checkpoint_path, folder.checkpoint_path)
    with pytest.raises(RunError, match=r"checkpoint\.pt: expected a checkpoint of this run, got"):
        folder.read_checkpoint()
    folder.write_stretches([5, 10])  # and nothing that a run changes of itself makes it another
    folder.write_checkpoint(checkpoint(), HISTORY)
    assert damages(folder.path) == []


def test_an_older_checkpoint_goes_with_a_longer_and_wider_history(folder: RunFolder) -> None:
    before = folder.checkpoint_path.read_bytes()
    longer: dict[str, list[float]] = {name: [*column, 9.0] for name, column in HISTORY.items()}
    longer["new"] = [float("nan")] * 3 + [0.5]
    folder.write_checkpoint(checkpoint(9, 4), longer)
    folder.checkpoint_path.write_bytes(before)  # as where a kill fell between the two
    assert folder.read_history(5, 3)["step"] == [1, 2, 5]
    assert damages(folder.path) == []


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**32)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(10_000))


@pytest.mark.full(but=["config.json-fifo", "checkpoint.pt-huge"])
@pytest.mark.parametrize("kind", [fifo, loop, huge, zeros, Path.mkdir])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_a_run_is_one_sentence(
    folder: RunFolder, name: str, kind: Callable[[Path], None]
) -> None:
    path = folder.path / name
    path.unlink()
    kind(path)
    found = damages(folder.path)
    assert str(path) in found[0]
    assert "\n" not in found[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "x"}, r'seed: expected a whole number from 0, got "x"'),
        ({"seed": True}, "seed: expected a whole number from 0, got true"),
        ({"seed": 10**30}, "seed: expected a whole number from 0"),
        ({"arguments": []}, r"arguments: expected an object, got \[\]"),
        ({"total_steps": -1}, "total_steps: expected a whole number from 0, got -1"),
        ({"source": 3}, "source: expected text or null, got 3"),
        ({"stretches": [1, "x"]}, "stretches: expected a list, each a whole number from 0, got"),
        ({"schedules": {"beta": 3}}, "schedules: expected an object, each a list, got"),
        ({"versions": "1.0"}, "versions: expected an object, each text, got"),
        ({"execution": "eager"}, "execution: expected an object, got"),
    ],
)
def test_values_of_other_types_are_named(
    folder: RunFolder, changes: dict[str, Any], message: str
) -> None:
    write_checked(folder.config_path, CONFIG | changes)
    with pytest.raises(RunError, match=rf"config\.json: {message}"):
        folder.read_config()


def test_a_format_of_the_future_is_refused_and_a_newer_package_is_not(folder: RunFolder) -> None:
    newer = CONFIG | {"versions": {"pyro-decomp": "9.1"}, "new": {"key": 1}}
    write_checked(folder.config_path, newer)
    assert folder.read_config() == newer
    assert damages(folder.path) == []
    future = newer | {"format": FORMAT + 1}
    folder.config_path.write_text(json.dumps(future | {"digest": digest(future)}))
    message = f"written by a newer pyro-decomp, 9.1, in format {FORMAT + 1}: .*update pyro-decomp"
    for act in (folder.read_config, lambda: folder.open_new(CONFIG, force=True)):
        with pytest.raises(RunError, match=message):
            act()


def test_neither_format_nor_digest_can_be_lost_alone(folder: RunFolder) -> None:
    contents = json.loads(folder.config_path.read_text())
    for key in ("format", "digest"):
        folder.config_path.write_text(
            json.dumps({name: value for name, value in contents.items() if name != key})
        )
        with pytest.raises(RunError, match="expected what was written, got other contents"):
            folder.read_config()


def test_a_link_to_itself_is_no_checkpoint_that_was_never_written(folder: RunFolder) -> None:
    for path in (folder.checkpoint_path, folder.resources_path):
        path.unlink()
        loop(path)
    for read in (folder.read_checkpoint, folder.read_resources):
        with pytest.raises(RunError, match=r"cannot be read: Too many levels of symbolic links"):
            read()


def test_too_large_a_configuration_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_files, "MOST_BYTES", 1000)
    with pytest.raises(RunError, match=r"config\.json: expected at most 0.0 MiB of text, got 0.0"):
        write_checked(tmp_path / "config.json", {"source": "x" * 1000})
    assert list(tmp_path.iterdir()) == []


def test_what_the_sentences_say_to_do_mends_it(folder: RunFolder) -> None:
    folder.checkpoint_path.write_bytes(b"damaged")
    folder.resources_path.write_text("{}}")
    (checkpoint, resources) = damages(folder.path)
    assert "or train again with --force" in checkpoint
    assert "delete it" in resources
    with pytest.raises(RunError, match=r"checkpoint\.pt cannot be read: .* again with --force"):
        folder.open_new(CONFIG)
    folder.resources_path.unlink()
    folder.open_new(CONFIG, force=True)
    assert damages(folder.path) == []


@pytest.mark.parametrize("how", ["compressed", "overlapping"])
def test_a_checkpoint_that_is_larger_than_its_file_is_refused(folder: RunFolder, how: str) -> None:
    small = folder.path / "small.pt"
    torch.save(checkpoint() | {"parameters": {"a": torch.zeros(10**6)}}, small)
    kind = zipfile.ZIP_DEFLATED if how == "compressed" else zipfile.ZIP_STORED
    with (
        zipfile.ZipFile(small) as before,
        zipfile.ZipFile(folder.checkpoint_path, "w", kind) as after,
    ):
        for info in before.infolist():
            after.writestr(info.filename, before.read(info))
        if how == "overlapping":
            after.filelist += [after.filelist[-3]] * 1000  # entries of one record
    assert zipfile.is_zipfile(folder.checkpoint_path)
    with pytest.raises(RunError, match=r"checkpoint\.pt cannot be read: it is truncated or corr"):
        folder.read_checkpoint()


def test_code_in_what_was_kept_is_named_and_not_run(folder: RunFolder, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name in ("checkpoint.pt", "best.pt", "source.pt"):
        torch.save(checkpoint() | {"optimizer": Malice(mark)}, folder.path / name)
    for which in ("last", "best"):
        with pytest.raises(RunError, match=r"\.pt cannot be read: it holds other things than tens"):
            folder.read_checkpoint(which)
    with pytest.raises(RunError, match=r"source\.pt: expected the tensors of a run, got Unpickli"):
        KeptTensors(folder.tensors_path).names()
    assert damages(folder.path) == []
    assert not mark.exists()


def test_tensors_of_a_source_are_those_of_its_text(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        tensors = {key_of(0, torch.full((3,), value)): torch.full((3,), value)}
        (tmp_path / name).mkdir()
        KeptTensors(tensors).write(tmp_path / name)
    path = tmp_path / "a" / "source.pt"
    (key,) = KeptTensors(path).names()["_tensors"]
    shutil.copy(tmp_path / "b" / "source.pt", path)
    with pytest.raises(RunError, match=r"expected the tensors that .* uses, found no"):
        KeptTensors(path).names()["_tensors"][key]
    torch.save({key: torch.zeros(3)}, path)
    with pytest.raises(RunError, match=r"source\.pt: expected the tensors .* another value than"):
        KeptTensors(path).names()


@pytest.mark.full
def test_a_run_of_an_older_version_is_loaded_and_goes_on(tmp_path: Path) -> None:
    shutil.copytree(OLDER, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert damages(folder.path) == []
    before = contents(folder)
    run = load(folder.path)
    assert run.config["arguments"] == {"limit": float("inf")}
    assert (run.step, run.resources["steps"], len(run.history["elbo"])) == (8, 8, 8)
    assert contents(folder) == before
    run.train(epochs=2)
    assert load(folder.path).step == 10
    assert damages(folder.path) == []
    assert json.loads(folder.config_path.read_text())["format"] == FORMAT


@pytest.mark.full
def test_nothing_is_unpickled() -> None:
    """Every reader of tensors or arrays says that it reads no others."""
    safe = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}
    safe |= {"format.read_array": "allow_pickle=False", "NpzFile": "allow_pickle=False"}
    calls: list[str] = []
    for path in sorted((ROOT / "pyro_decomp").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            text, name = ast.unparse(node), ast.unparse(node.func)
            for reader, word in safe.items():
                if name == reader or name.endswith(f".{reader}"):
                    assert word in text, (path, text)
                    calls.append(reader)
            if name.startswith(("pickle.", "joblib.", "marshal.", "shelve.")) and "load" in name:
                assert path.name == "second_process.py", path  # of its own child, by a pipe
    assert "torch.load" in calls
    assert set(calls) - {"torch.load"}  # of NumPy
