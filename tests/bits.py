"""Digests of what training leaves: history and checkpoint of runs that must keep their bits.

``python -m tests.bits`` writes ``tests/bits.json`` for this processor and version of torch. Do that
only for a change that is meant to alter bits, and say so in CHANGELOG.md.
"""

import hashlib
import json
import os
import platform
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pyro_decomp.acceleration import Execution
from pyro_decomp.sweep import sweep
from pyro_decomp.training.callbacks import Callback, Training
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.training import train
from tests.callbacks import Step

EXAMPLES = Path(__file__).parents[1] / "examples"
RECORDED = Path(__file__).with_suffix(".json")
STEPS = 24


def machine() -> str:
    """On what bits depend: torch, the kernels that it chooses, and its libraries."""
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {_processor()}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


PUBLISHED = {"alpha": 1.0, "batch_size": 400, "anneal": False}  # of the pinwheel


def trained(
    out: Path,
    file: str = "pinwheel_mixture",
    steps: str = "eager",
    *,
    stop: int | None = None,
    **arguments: Any,
) -> Path:
    """A run of an example from its beginning, or stopped after a step and resumed."""
    published = PUBLISHED if file == "pinwheel_mixture" else {}
    arguments = {"epochs": STEPS, **published, **arguments}
    source = ExperimentFile.read(EXAMPLES / f"{file}.py")

    def go(*callbacks: Callback, resume: bool) -> None:
        run = Execution(steps, threads=1)
        train(source, out, execution=run, resume=resume, arguments=arguments, callbacks=callbacks)

    def interrupt(training: Training) -> None:
        if training.step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    if stop is not None:
        with suppress(Interrupted):
            go(Step(interrupt), resume=False)
    go(resume=stop is not None)
    return out


def swept(out: Path) -> Path:
    """Four members of a grid, trained as one computation."""
    published = {name: [value] for name, value in PUBLISHED.items()}
    values = published | {"alpha": [0.5, 2.0], "epochs": [STEPS]}
    sweep(EXAMPLES / "pinwheel_mixture.py", values, 2, out=out, way="batched", num_workers=1)
    return out


KINDS: Mapping[str, Callable[[Path], Path]] = {
    "eager": trained,
    "captured": lambda out: trained(out, steps="captured"),
    "fused": lambda out: trained(out, steps="fused"),
    "resumed": lambda out: trained(out, stop=STEPS // 2),
    "resumed, captured": lambda out: trained(out, steps="captured", stop=STEPS // 2),
    "swept": swept,
    "auxiliary network": lambda out: trained(
        out, "compare_objectives", objective="factor", epochs=2
    ),
}


def digest(folder: Path) -> str:
    """Of all numbers of the histories and checkpoints below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.name == "history.csv":
            found.update(path.read_bytes())
        elif path.name == "checkpoint.pt":
            checkpoint = torch.load(path, weights_only=True)
            del checkpoint["random"]["python"]  # which the checks of shapes in tests move
            _add(found, checkpoint)
    return found.hexdigest()


def _add(found: "hashlib._Hash", value: Any) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            found.update(str(key).encode())
            _add(found, value[key])
    elif isinstance(value, torch.Tensor):
        found.update(str((value.dtype, tuple(value.shape))).encode())
        found.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, list | tuple):
        for item in value:
            _add(found, item)
    elif isinstance(value, int | float | str | None):
        found.update(repr(value).encode())


def digests() -> dict[str, str]:
    """Of every kind of run."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: digest(make(Path(folder) / str(i)))
            for i, (name, make) in enumerate(KINDS.items())
        }


def main() -> None:
    """Record the digests of this machine beside those of others."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    recorded[machine()] = digests()
    RECORDED.write_text(json.dumps(recorded, indent=2) + "\n")


if __name__ == "__main__":
    main()
