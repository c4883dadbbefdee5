"""One experiment trained with several seeds: together where that can be, else one after another."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.sweep.folder import SweepFolder
from pyro_decomp.sweep.progress import SweepReporter
from pyro_decomp.sweep.running import sweep
from pyro_decomp.sweep.supervisor import FINISHED, SweepInterrupted
from pyro_decomp.sweep.table import read_table
from pyro_decomp.training.display import in_notebook
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run, load
from pyro_decomp.training.run_files.run_folder import RunFolder, temporary_folder
from pyro_decomp.training.run_files.writer import check_free

Train = Callable[..., Run]


def one_by_one(train: Train, out: str | Path | None, seeds: Sequence[int]) -> list[Run]:
    """Train with one seed after another, each into ``out/seed=N``.

    Raises:
        Interrupted: The user stopped one; ``runs`` has those before it.
    """
    runs: list[Run] = []
    for seed in seeds:
        try:
            run = train(None if out is None else Path(out, f"seed={seed}"), seed=seed)
        except Interrupted as interruption:
            interruption.runs = runs
            raise
        runs.append(run)
        if run.interrupted:
            break
    return runs


def together(
    source: ExperimentFile,
    out: str | Path | None,
    seeds: Sequence[int],
    arguments: Mapping[str, Any],
    **options: Any,
) -> list[Run]:
    """Train a file with several seeds in this process, as the members of a sweep.

    Returns:
        The runs in the order of the seeds; in a notebook, if stopped, those that were done, and
        how to go on is said.

    Raises:
        RunError: A member could not be trained to its end; the others are in ``out``.
        Interrupted: The user stopped it; ``runs`` has those that were done.
    """
    root = temporary_folder() if out is None else _folder(out, **options)
    values = {name: [value] for name, value in arguments.items()}
    interruption = None
    with SweepReporter() as report:
        if root.note:
            report.say(root.note)
        try:
            table = sweep(
                source, values, seeds, out=root.path, num_workers=1, report=report, **options
            )
        except SweepInterrupted as stopped:
            interruption = stopped
            table = read_table(root.path)
            how = f"{stopped}; the same call with out={str(root.path)!r} and resume=True goes on"
            if in_notebook():
                report.say(how)
    rows = table.select(["member", "seed", "status", "message"]).to_pylist()
    runs = _loaded(root, [row["member"] for row in rows if row["status"] == FINISHED])
    if interruption is not None:
        root.keep()
        if in_notebook():
            return runs
        ended = Interrupted(0, root.path, interruption.signal)
        ended.args, ended.runs = (how,), runs
        raise ended from interruption
    if failed := [f"seed {r['seed']}: {r['message']}" for r in rows if r["status"] != FINISHED]:
        root.keep()
        raise RunError(f"{'; '.join(failed)}; the other runs are in {root.path}")
    return runs


def _folder(out: str | Path, *, resume: bool, force: bool, **_: Any) -> RunFolder:
    """The folder of a sweep; of a new one, with a number where a finished one is there."""
    folder = RunFolder(out)
    check_free(folder.path)
    if resume or force or not SweepFolder(out).description_path.exists():
        return folder
    is_finished = set(read_table(out)["status"].to_pylist()) == {FINISHED}
    return folder.numbered("sweep") if is_finished else folder


def _loaded(root: RunFolder, members: Sequence[str]) -> list[Run]:
    """Runs of a sweep, which keep a temporary folder as long as they are there."""
    runs = [load(SweepFolder(root.path).run_path(name)) for name in members]
    for run in runs:
        run.folder.held_by = root
    return runs
