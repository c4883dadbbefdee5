"""What the folder of a sweep holds, read without torch; nothing in it is executed.

Internal: ``pyro-decomp show`` prints it.
"""

import os
import shlex
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.sweep.folder import NAME, SweepFolder, read_description
from pyro_decomp.sweep.grid import num_members
from pyro_decomp.sweep.journal import Record, read_journal
from pyro_decomp.training.run_files.contents import (
    as_it_stands,
    file_as_trained,
    files,
    is_written,
    provenance,
    word,
)
from pyro_decomp.training.run_files.damages import damages as damages_of_run
from pyro_decomp.training.run_files.damages import sentences
from pyro_decomp.training.run_files.run_config import NAME as CONFIG

MOST_TOLD = 20  # members that failed, of which the sentences are kept


def contents(path: Path) -> dict[str, Any]:
    """All that is known of a sweep from its files, in JSON's types; ``source`` has its text.

    What cannot be read is left out, and why is among ``damages``.
    """
    description = as_it_stands(path / NAME)
    records: dict[str, Record] = {}
    with suppress(RunError):
        records = read_journal(SweepFolder(path).journal_path)
    values, seeds, total = {}, [], None
    with suppress(Exception):  # of a description that is another's
        values, seeds = description["values"], description["seeds"]
        total = num_members(values, seeds)
    statuses = Counter(record.status for record in records.values())
    finished = statuses["finished"]
    state = "finished" if len(records) == total else "unfinished" if total else "of unknown length"
    failed = {r.member: r.message for r in records.values() if r.status != "finished"}
    found = {
        "kind": "sweep", "path": str(path), "step": finished, "total_steps": total, "state": state,
        **provenance(path, description),
        "members": dict(statuses), "failed": dict([*failed.items()][:MOST_TOLD]), **files(path),
        "damages": damages(path),
    }  # fmt: skip
    following = [] if not finished else [f"pyro-decomp compare {shlex.quote(str(path))}"]
    is_open = state != "finished" and total and not (found["strangers"] or is_written(found))
    first, file = file_as_trained(path, found) if is_open else ([], "")
    if file:
        words = ["pyro-decomp", "sweep", file]
        for name, given in values.items():
            words += ["--set", f"{name}={','.join(map(_word, given))}"]
        words += ["--seeds", ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")]
        following = [*first, shlex.join([*words, "--out", str(path), "--resume"]), *following]
    return found | {"next": following}


def damages(folder: Path) -> list[str]:
    """What is damaged in the folder of a sweep and of its members, a sentence each."""
    sweep = SweepFolder(folder)
    readers = (partial(read_description, folder), partial(read_journal, sweep.journal_path))
    members = sorted(sweep.members_path.iterdir()) if sweep.members_path.is_dir() else []
    of_members = (damages_of_run(member) for member in members if os.path.lexists(member / CONFIG))
    return [*sentences(iter(readers)), *chain.from_iterable(of_members)]


def _word(value: Any) -> str:
    """A value among others between commas; text is quoted where it has what separates these."""
    return repr(value) if isinstance(value, str) and set(value) & set(",'\"[({ ") else word(value)
