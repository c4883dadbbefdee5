"""What the folder of a run holds, read without torch; nothing in it is executed or unpickled.

Internal: ``pyro-decomp show`` prints it.
"""

import json
import math
import pickletools
import shlex
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.training.run_files.damages import damages
from pyro_decomp.training.run_files.history import COUNTED, read_history
from pyro_decomp.training.run_files.json_files import read_json, regular
from pyro_decomp.training.run_files.run_config import NAME
from pyro_decomp.training.run_files.trust import strangers, user_name
from pyro_decomp.training.run_files.writer import LONGEST
from pyro_decomp.training.run_files.writer import NAME as WRITER
from pyro_decomp.training.run_files.writer_record import Record, started

HISTORY, CHECKPOINT = "history.csv", "checkpoint.pt"
SOURCE_KEYS = ("source", "source_file", "source_sha256", "source_folders")
MOST_PICKLED = 2**20  # bytes of a checkpoint in which its step is looked for

Found = dict[str, Any]


def contents(path: Path) -> Found:
    """All that is known of a run from its files, in JSON's types; ``source`` has its text.

    What cannot be read is left out, and why is among ``damages``.

    Raises:
        RunError: There is no run.
    """
    if not any((path / name).exists() for name in (NAME, HISTORY, CHECKPOINT)):
        what = "neither" if path.is_dir() else "no such folder"
        raise RunError(f"{path}: expected the folder of a run or of a sweep, found {what}")
    config = as_it_stands(path / NAME)
    found: Found = {"kind": "run", "path": str(path), "total_steps": config.get("total_steps")}
    found |= {"step": 0, "last": {}, "schedules_left": {}, "next": [], "damages": damages(path)}
    found |= provenance(path, config)
    with suppress(RunError, IndexError):
        history = read_history(path / HISTORY, None)
        found["last"] = {
            name: int(column[-1]) if name in COUNTED else column[-1]
            for name, column in history.items()
        }
        found["step"] = found["last"]["step"]
    try:
        found["step"] = step_of(path / CHECKPOINT)
    except Exception:  # of a damaged checkpoint
        if not any(CHECKPOINT in each for each in found["damages"]):
            found["damages"].append(f"{path / CHECKPOINT}: expected a checkpoint of a run")
    with suppress(Exception):  # of a configuration that is another's
        found["schedules_left"] = _schedules_left(config["schedules"], found["last"])
    found["resources"] = as_it_stands(path / "resources.json")
    found["metrics"] = as_it_stands(path / "metrics.json")
    found["state"] = _state(found["step"], found["total_steps"], found["resources"].get("stopped"))
    found |= files(path)
    with suppress(Exception):
        found["next"] = list(_next(path, config, found))
    return found


def provenance(path: Path, record: Mapping[str, Any]) -> Found:
    """From what a run or sweep was made, by whom, and what else its record has."""
    times = [each.stat().st_mtime for each in path.iterdir() if each.is_file()] or [0.0]
    ends = [datetime.fromtimestamp(at).astimezone() for at in (min(times), max(times))]
    found: Found = {name: record.get(name) for name in SOURCE_KEYS}
    found |= {"owner": user_name(path.stat().st_uid), "strangers": [], "writer": None}
    found["written"] = [end.isoformat(timespec="seconds") for end in ends]
    with suppress(Exception):  # of paths that are none, which are damage
        found["strangers"] = list(strangers(path, record))
    with suppress(OSError):  # there is none
        found["writer"] = _writer(path / WRITER)
    return found | {"record": {name: v for name, v in record.items() if name not in SOURCE_KEYS}}


def _writer(path: Path) -> Found | None:
    """Which process says that it writes into a folder, and whether that is so, as far as is known.

    Raises:
        OSError: None says so.
    """
    regular(path, LONGEST)
    heard = datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    found = Record.read(path)
    if found is None:
        return None
    is_known = found.is_here and found.namespace == Record.own().namespace
    has_ended = is_known and started(found.pid) != found.started
    return {"process": str(found), "last_heard_of": heard, "has_ended": has_ended}


def files(path: Path) -> Found:
    """Sizes of the files in a folder, in bytes, and the names of its pictures."""
    sizes, plots = {}, path / "plots"
    for each in sorted(path.iterdir()):
        if stat.S_ISREG(each.lstat().st_mode):
            sizes[each.name] = each.lstat().st_size
    return {"files": sizes, "pictures": sorted(p.name for p in plots.glob("*.*"))}


def as_it_stands(path: Path) -> Found:
    """What a file of JSON holds but for its marks, damaged or not; empty if it cannot be read."""
    with suppress(OSError, ValueError):
        value = read_json(path)
        if isinstance(value, dict):
            return {name: v for name, v in value.items() if name not in ("format", "digest")}
    return {}


def step_of(path: Path) -> int:
    """The step of a checkpoint, of which its operations are read and none is done; 0 without one.

    Raises:
        ValueError: None is found.
    """
    if not path.exists():
        return 0
    regular(path)
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


def _state(step: int, total: Any, stopped: Any) -> str:
    if total is None:
        return "of unknown length"
    if not step:
        return "not begun"
    if step == total:
        return "finished"
    return f"stopped early: {stopped}" if stopped else "unfinished"


def _schedules_left(ends: Mapping[str, list[float]], last: Mapping[str, Any]) -> dict[str, Any]:
    """Scheduled numbers that the last row has not at their end, with that end."""
    now = {name: last[name] for name in ends if isinstance(last.get(name), float)}
    return {
        name: {"now": value, "end": ends[name][-1]}
        for name, value in now.items()
        if not math.isclose(value, ends[name][-1])
    }


def _next(path: Path, config: Mapping[str, Any], found: Found) -> Iterator[str]:
    """Commands that go on with a run, as far as its folder tells them."""
    folder, own = shlex.quote(str(path)), not found["strangers"]
    if not own:
        yield f"pyro-decomp show {folder} --source"
    is_begun = found["state"] in ("not begun", "unfinished") and own and not is_written(found)
    first, file = file_as_trained(path, found) if is_begun else ([], "")
    if file:
        words = ["pyro-decomp", "train", file]
        for name, value in config["arguments"].items():
            words += ["--set", f"{name}={word(value)}"]
        words += ["--out", str(path), "--seed", str(config["seed"])]
        yield from first
        yield shlex.join([*words, "--device", str(config.get("device", "cpu")), "--resume"])
    elif is_begun:
        yield f"train(..., {str(path)!r}, seed={config.get('seed')}, resume=True) in Python"
    if found["step"]:
        trust, given = "" if own else " --trust", "" if found["source"] else " --experiment FILE"
        for name in ("evaluate", "plot"):
            if not found["metrics" if name == "evaluate" else "pictures"]:
                yield f"pyro-decomp {name} {folder}{given}{trust}"


def is_written(found: Found) -> bool:
    """Whether a process may be writing into the folder of a run or sweep at present."""
    return found["writer"] is not None and not found["writer"]["has_ended"]


def file_as_trained(path: Path, found: Found) -> tuple[list[str], str]:
    """The experiment file of a run or sweep, with the text that was trained.

    Returns:
        The command that writes it, if the file is gone or has another text; and its path, empty
        where it was no file.
    """
    name, text = found["source_file"], found["source"]
    if not (isinstance(text, str) and isinstance(name, str) and name.endswith(".py")):
        return [], ""
    try:
        if Path(name).is_file() and Path(name).read_text() == text:
            return [], name
    except (OSError, ValueError):
        pass
    file = f"{Path(name).stem}_as_trained.py"
    return [f"pyro-decomp show {shlex.quote(str(path))} --source > {shlex.quote(file)}"], file


def word(value: Any) -> str:
    """A value of an argument as it is typed behind ``--set NAME=``.

    >>> [word(value) for value in (0.5, True, None, [64, 32], "a, b")]
    ['0.5', 'true', 'none', '[64, 32]', 'a, b']
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
