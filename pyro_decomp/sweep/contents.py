"""What the folder of a sweep holds, read without torch; nothing in it is executed.

Internal: ``pyro-decomp show`` prints it.
"""

import math
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from pyro_decomp.sweep.journal import Record, read_journal
from pyro_decomp.training.contents import files, noted, provenance, read_record, word

DESCRIPTION = "sweep.json"
MOST_TOLD = 20  # members that failed, of which the sentences are kept


def contents(path: Path) -> dict[str, Any]:
    """All that is known of a sweep from its files, in JSON's types; ``source`` has its text.

    What cannot be read is left out, and is among ``damages`` with the reason.
    """
    damages: list[str] = []
    description = read_record(path / DESCRIPTION, damages)
    records: dict[str, Record] = {}
    with noted(damages, path / "members.jsonl"):
        records = read_journal(path / "members.jsonl")
    total = None
    with noted(damages, path / DESCRIPTION):
        values, seeds = description["values"], description["seeds"]
        total = len(seeds) * math.prod(map(len, values.values()))
    statuses = Counter(record.status for record in records.values())
    finished = statuses["finished"]
    state = "finished" if len(records) == total else "unfinished"
    failed = {r.member: r.message for r in records.values() if r.status != "finished"}
    found = {
        "kind": "sweep", "path": str(path), "step": finished, "total_steps": total, "state": state,
        **provenance(path, description, damages),
        "members": dict(statuses), "failed": dict([*failed.items()][:MOST_TOLD]), **files(path),
        "damages": damages,
    }  # fmt: skip
    following = [] if not finished else [f"pyro-decomp compare {shlex.quote(str(path))}"]
    file = description.get("source_file")
    if state != "finished" and total and not found["strangers"] and str(file).endswith(".py"):
        words = ["pyro-decomp", "sweep", str(file)]
        for name, given in values.items():
            words += ["--set", f"{name}={','.join(map(_word, given))}"]
        words += ["--seeds", ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")]
        following.insert(0, shlex.join([*words, "--out", str(path), "--resume"]))
    return found | {"next": following}


def _word(value: Any) -> str:
    """A value among others between commas; text is quoted where it has what separates these."""
    return repr(value) if isinstance(value, str) and set(value) & set(",'\"[({ ") else word(value)
