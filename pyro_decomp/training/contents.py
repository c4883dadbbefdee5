"""What the folder of a run holds, read without torch; nothing in it is executed or unpickled.

Internal: ``pyro-decomp show`` prints it.
"""

import csv
import json
import pickletools
import shlex
import stat
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.training.checked_files import read_checked
from pyro_decomp.training.json_files import read_json
from pyro_decomp.training.trust import source_digest, strangers, user_name

CONFIG, HISTORY, CHECKPOINT = "config.json", "history.csv", "checkpoint.pt"
SOURCE_KEYS = ("source", "source_file", "source_sha256", "source_folders")
MOST_PICKLED = 2**20  # bytes of a checkpoint in which its step is looked for

Found = dict[str, Any]


def contents(path: Path) -> Found:
    """All that is known of a run from its files, in JSON's types; ``source`` has its text.

    What cannot be read is left out, and is among ``damages`` with the reason.

    Raises:
        RunError: There is no run.
    """
    if not any((path / name).exists() for name in (CONFIG, HISTORY, CHECKPOINT)):
        what = "no such folder" if not path.is_dir() else "neither"
        raise RunError(f"{path}: expected the folder of a run or of a sweep, found {what}")
    damages: list[str] = []
    config = read_record(path / CONFIG, damages)
    found: Found = {"kind": "run", "path": str(path), "step": None}
    found["total_steps"] = config.get("total_steps")
    found |= {"last": {}, **provenance(path, config, damages)}
    with noted(damages, path / HISTORY):
        found["last"] = last_row(path / HISTORY)
        found["step"] = found["last"].get("step")
    with noted(damages, path / CHECKPOINT):
        found["step"] = step_of(path / CHECKPOINT)
    resources = read_record(path / "resources.json", damages, needed=False)
    metrics = read_record(path / "metrics.json", damages, needed=False)
    found |= {"resources": resources, "metrics": metrics}
    found["state"] = _state(found["step"], found["total_steps"], resources.get("stopped"))
    found |= files(path) | {"damages": damages, "next": []}
    with noted(damages, path / CONFIG):
        found["next"] = list(_next(path, config, found))
    return found


def provenance(path: Path, record: Mapping[str, Any], damages: list[str]) -> Found:
    """From what a run or sweep was made, by whom, and what else its record has."""
    found: Found = {"source": None, "record": dict(record), "strangers": []}
    with noted(damages, path):
        digest = source_digest(record)
        times = [each.stat().st_mtime for each in path.iterdir() if each.is_file()]
        ends = [datetime.fromtimestamp(at).astimezone() for at in (min(times), max(times))]
        found |= {
            "source": record.get("source"),
            "source_file": record.get("source_file"),
            "source_sha256": record.get("source_sha256"),
            "source_folders": record.get("source_folders", []),
            "source_is_recorded": digest is not None and digest == record.get("source_sha256"),
            "owner": user_name(path.stat().st_uid),
            "written": [end.isoformat(timespec="seconds") for end in ends],
            "strangers": list(strangers(path, record)),
            "record": {name: v for name, v in record.items() if name not in SOURCE_KEYS},
        }
    return found


def files(path: Path) -> Found:
    """Sizes of the files in a folder, in bytes, and the names of its pictures."""
    sizes, plots = {}, path / "plots"
    for each in sorted(path.iterdir()):
        if stat.S_ISREG(each.lstat().st_mode):
            sizes[each.name] = each.lstat().st_size
    return {"files": sizes, "pictures": sorted(p.name for p in plots.glob("*.*"))}


@contextmanager
def noted(damages: list[str], path: Path) -> Iterator[None]:
    """Read a file; where that fails, note why."""
    try:
        yield
    except RunError as error:
        damages.append(str(error))
    except Exception as error:  # whatever is in a damaged file, or in one made to do harm
        damages.append(f"{path}: cannot be read: {error or type(error).__name__}")


def read_record(path: Path, damages: list[str], *, needed: bool = True) -> Found:
    """What a file of JSON holds; empty where it cannot be read, or is not there."""
    with noted(damages, path):
        if not needed and not path.exists():
            return {}
        _check_file(path)
        value = read_json(path)
        if isinstance(value, dict):
            with noted(damages, path):
                read_checked(path, "restore it")
            return {name: v for name, v in value.items() if name not in ("format", "digest")}
        damages.append(f"{path}: expected an object of JSON, got {type(value).__name__}")
    return {}


def last_row(path: Path) -> dict[str, float | None]:
    """The last row of ``history.csv``; empty where there is none."""
    if not path.exists():
        return {}
    _check_file(path)
    with path.open(newline="") as file:
        reader = csv.reader(file)
        names, last = next(reader, []), deque(reader, maxlen=1)
    values = dict(zip(names, last[0], strict=True)) if last else {}
    return {
        name: int(text) if name in ("step", "epoch") else float(text) if text else None
        for name, text in values.items()
    }


def step_of(path: Path) -> int | None:
    """The step of a checkpoint, of which its operations are read and none is done.

    Returns:
        None where there is no checkpoint.

    Raises:
        ValueError: None is found.
    """
    if not path.exists():
        return None
    _check_file(path)
    with zipfile.ZipFile(path) as records:
        name = next(name for name in records.namelist() if name.endswith("/data.pkl"))
        with records.open(name) as file:
            pickled = file.read(MOST_PICKLED)
    before = None
    for operation, argument, _ in pickletools.genops(pickled):
        if "PUT" in operation.name or operation.name == "MEMOIZE":
            continue
        if before == "step" and isinstance(argument, int):
            return argument
        before = argument
    raise ValueError("expected a checkpoint, found no step")


def _check_file(path: Path) -> None:
    if not path.is_file():  # a pipe would be waited for
        raise RunError(
            f"{path}: expected a file, found {'none' if not path.exists() else 'another'}"
        )


def _state(step: int | None, total: Any, stopped: Any) -> str:
    if not step:
        return "not begun"
    if step == total:
        return "finished"
    return f"stopped early: {stopped}" if stopped else "unfinished"


def _next(path: Path, config: Mapping[str, Any], found: Found) -> Iterator[str]:
    """Commands that go on with a run, as far as its folder tells them."""
    folder, own = shlex.quote(str(path)), not found["strangers"]
    if not own:
        yield f"pyro-decomp show {folder} --source"
    file = found["source_file"]
    is_begun = found["state"] in ("not begun", "unfinished") and own
    if is_begun and isinstance(file, str) and file.endswith(".py"):
        if not _is_as_trained(Path(file), found):
            file = f"{Path(file).stem}_as_trained.py"
            yield f"pyro-decomp show {folder} --source > {shlex.quote(file)}"
        words = ["pyro-decomp", "train", file]
        for name, value in config["arguments"].items():
            words += ["--set", f"{name}={word(value)}"]
        words += ["--out", str(path), "--seed", str(config["seed"])]
        yield shlex.join([*words, "--device", str(config.get("device", "cpu")), "--resume"])
    elif is_begun:
        yield f"train(..., {str(path)!r}, seed={config.get('seed')}, resume=True) in Python"
    if found["step"]:
        trust, given = "" if own else " --trust", "" if found["source"] else " --experiment FILE"
        for name in ("evaluate", "plot"):
            if not found["metrics" if name == "evaluate" else "pictures"]:
                yield f"pyro-decomp {name} {folder}{given}{trust}"


def _is_as_trained(file: Path, found: Found) -> bool:
    """Whether a file still has the text that the run was begun with."""
    try:
        return file.is_file() and file.read_text() == found["source"]
    except (OSError, ValueError):
        return False


def word(value: Any) -> str:
    """A value of an argument as it is typed behind ``--set NAME=``.

    >>> [word(value) for value in (0.5, True, None, [64, 32], "a, b")]
    ['0.5', 'true', 'none', '[64, 32]', 'a, b']
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
