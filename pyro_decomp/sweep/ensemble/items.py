"""The training of one item of work."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pyro_decomp.acceleration import (
    CaptureError,
    Execution,
    FusionError,
    peak_memory,
    process_settings,
)
from pyro_decomp.errors import one_line
from pyro_decomp.sweep.ensemble.alone import train_alone
from pyro_decomp.sweep.ensemble.batched import BatchedRuns, Report
from pyro_decomp.sweep.ensemble.in_progress import ItemFile
from pyro_decomp.sweep.ensemble.members import Item, Member, Outcome
from pyro_decomp.sweep.ensemble.trial import Trial, own_numbers
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import stop_requests
from pyro_decomp.training.run_folder import RunFolder
from pyro_decomp.training.user_code import sentence


def train_item(
    source: ExperimentFile, item: Item, out: Path, *, device: str, report: Report
) -> list[Outcome]:
    """Train the members of an item, each into its run folder ``out/members/NAME``.

    A member that turns out not to do the same arithmetic as the others, or not what its programs
    do, is trained alone from its beginning; its ``config.json`` says why, under ``execution``.

    Args:
        source: The experiment file.
        item: What to train.
        out: The folder of the sweep.
        device: Where.
        report: Called now and then with the steps done, of all members, and the steps in all.

    Raises:
        Interrupted: The user stopped it; what was done is kept in ``out``.
    """
    if not item.together:
        return [_alone(source, member, out, device, report) for member in item.members]
    began = time.monotonic()
    trials, outcomes = [], []
    for member in item.members:
        try:
            trials.append(Trial.of(source, member, device))
        except Exception as error:
            outcomes.append(Outcome(member.name, "failed", 0, 0.0, sentence(error)))
    numbers = list(dict.fromkeys([*item.numbers, *own_numbers(trials)]))
    same, alone, arithmetic = _same_arithmetic(trials, numbers)
    file = ItemFile(out, item)
    if same:
        try:
            batch = partial(
                BatchedRuns, numbers=numbers, arithmetic=arithmetic, file=file, report=report
            )
            together = _made(batch, same, item.how)
            together.verify_first()
            if departed := _departed(together):
                alone |= departed
                same = [trial for trial in same if trial.member.name not in departed]
                together = batch(same, how=together.how) if same else together
        except CaptureError as error:
            alone |= {trial.member.name: one_line(error) for trial in same}
            same = []
    if same:
        file.begin()
        _train(together, file)
        alone |= _departed(together)
        seconds = (time.monotonic() - began) / len(same)
        outcomes += [
            _kept(together, index, out, item, seconds)
            for index in range(len(same))
            if index not in together.departed
        ]
    outcomes += [
        _alone(source, member, out, device, report, why=alone[member.name])
        for member in item.members
        if member.name in alone
    ]
    file.remove()
    return outcomes


def _departed(together: BatchedRuns) -> dict[str, str]:
    """Names of members that are not what their programs compute, and how that was seen."""
    return {together.trials[index].member.name: why for index, why in together.departed.items()}


def _made(batch: Callable[..., BatchedRuns], trials: Sequence[Trial], how: str) -> BatchedRuns:
    try:
        return batch(trials, how=how)
    except FusionError:
        return batch(trials)


def _alone(
    source: ExperimentFile, member: Member, out: Path, device: str, report: Report, *, why: str = ""
) -> Outcome:
    folder = out / "members" / member.name
    return train_alone(source, member, folder, device=device, report=report, why=why)


def _same_arithmetic(
    trials: Sequence[Trial], numbers: Sequence[str]
) -> tuple[list[Trial], dict[str, str], Hashable]:
    """The largest number of members that do the same arithmetic, why others do not; what it is."""
    by_key: dict[Hashable, list[Trial]] = defaultdict(list)
    alone: dict[str, str] = {}
    for trial in trials:
        if why := trial.why_alone():
            alone[trial.member.name] = why
            continue
        try:
            by_key[trial.outline(), trial.signature(numbers).digest].append(trial)
        except Exception as error:  # it is told of when the member is trained
            alone[trial.member.name] = one_line(error)
    key = max(by_key, key=lambda key: len(by_key[key]), default=None)
    largest = by_key.pop(key, [])
    rest = [trial.member.name for found in by_key.values() for trial in found]
    others = "it does not do the same arithmetic as the others"
    return largest, alone | dict.fromkeys(rest, others), key


def _train(together: BatchedRuns, file: ItemFile) -> None:
    state = file.read()
    if state is not None and state.get("how") == together.how and "steps" in state:
        together.load_state_dict(state)
    with stop_requests() as stop, process_settings(1):
        together.run(stop, Path())


def _kept(together: BatchedRuns, index: int, out: Path, item: Item, seconds: float) -> Outcome:
    """Write a member's run folder."""
    trial = together.trials[index]
    folder = RunFolder(out / "members" / trial.member.name)
    execution = Execution(
        together.how, "float32", "contiguous", 1, f"one of {len(together.trials)} at once"
    )
    checkpoint = together.checkpoint(index)
    config = trial.config | {"execution": asdict(execution), "together": True}
    folder.open_new(config, force=True)
    folder.write_checkpoint(checkpoint, together.histories[index])
    done = {"steps": checkpoint["step"], "seconds": seconds, "peak_resident_bytes": peak_memory()}
    folder.write_resources(done)
    why = together.set_aside.get(index)
    status = "finished" if why is None else "not finite"
    message = "" if why is None else why[0]
    return Outcome(trial.member.name, status, checkpoint["step"], seconds, message, together=True)
