"""Members that were trained to the end just before a sweep was killed, and not recorded."""

from collections.abc import Iterable

from pyro_decomp.errors import RunError
from pyro_decomp.sweep.ensemble.in_progress import interrupted
from pyro_decomp.sweep.ensemble.members import Member
from pyro_decomp.sweep.folder import SweepFolder
from pyro_decomp.sweep.journal import Record
from pyro_decomp.sweep.run_files import last_terms
from pyro_decomp.training.json_files import read_json
from pyro_decomp.training.run_folder import RunFolder


def recovered(folder: SweepFolder, members: Iterable[Member]) -> list[Record]:
    """The records of members whose run folders are those of runs that are finished.

    How long they took is not known. Members of items that were interrupted are left to these, which
    go on with all of their members from what they saved.
    """
    found = []
    in_items = {name for item in interrupted(folder.path) for name in item.members}
    for member in members:
        if member.name in in_items:
            continue
        run = RunFolder(folder.run_path(member.name))
        try:
            total = read_json(run.config_path)["total_steps"]
            terms, step = last_terms(run.path)
            checkpoint = run.read_checkpoint() if step == total else None
        except (OSError, ValueError, KeyError, RunError):
            continue  # there is none, or it is trained again
        if checkpoint is not None and checkpoint["step"] == total:
            found.append(Record(member.name, "finished", "", total, None, _way(run), terms))
    return found


def _way(run: RunFolder) -> str:
    return "together" if run.read_config().get("together") else "alone"
