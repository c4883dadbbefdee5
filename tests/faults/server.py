"""A process that has imported everything, and tries each wrong thing in a fork of itself.

Reads ``{"words": [...]}`` or ``{"code": "..."}`` a line; writes what came of it, as one line. What
is tried is stopped after 40 seconds of the processor's time, or 10 minutes.
"""

import json
import os
import re
import resource
import select
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import pyro_decomp
import pyro_decomp.analysis.evaluation
import pyro_decomp.analysis.pictures
import pyro_decomp.distributions.annealing
from pyro_decomp import data, metrics, networks, priors
from pyro_decomp.cli import commands, main
from pyro_decomp.errors import DecompError
from pyro_decomp.sweep import compare, read_table, sweep
from tests.faults.files import write_files

SECONDS, PROCESSOR_SECONDS, MEBIBYTE = 600, 40, 2**20
ESCAPED = 98
PYTHONS = re.compile(r"missing \d+ required|positional arguments? but|unexpected keyword argument")


def vae(size: Any = 400, **names: Any) -> Any:
    two = networks.MLPEncoder(2, 2), networks.MLPDecoder(2, 2)
    return pyro_decomp.VAE(priors.IsotropicNormal(2), *two, size=size, **names)


def experiment(**options: Any) -> Any:
    made = vae()
    usual = {"model": made.model, "guide": made.guide, "data": data.pinwheel()}
    return pyro_decomp.Experiment(**usual | {"elbo": pyro_decomp.BetaELBO()} | options)


NAMES = {name: getattr(pyro_decomp, name) for name in pyro_decomp.__all__}
NAMES |= {name: getattr(pyro_decomp.divergences, name) for name in pyro_decomp.divergences.__all__}
NAMES |= {
    "np": np,
    "pyro": pyro,
    "dist": dist,
    "torch": torch,
    "experiment": experiment,
    "vae": vae,
}
for room in ("callbacks", "distributions", "schedules"):
    NAMES[room] = import_module(f"pyro_decomp.{room}")
NAMES |= {"data": data, "metrics": metrics, "networks": networks, "priors": priors}
NAMES |= {"compare": compare, "read_table": read_table, "sweep": sweep}


def command(words: list[str]) -> int:
    try:
        main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
        return ESCAPED
    return 0


def told(error: BaseException) -> None:
    sys.stdout.write(f"{type(error).__name__}: {error}\n")


def call(code: str) -> int:
    try:
        exec(code, dict(NAMES))
    except DecompError as error:
        told(error)
        return 1
    except BaseException as error:
        told(error)
        return 1 if isinstance(error, TypeError) and PYTHONS.search(str(error)) else ESCAPED
    return 0


def tried(act: Callable[[], int]) -> dict[str, Any]:
    shutil.rmtree("o", ignore_errors=True)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS + 5))
        os.close(reading)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        code = act()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    os.close(writing)
    began, output = time.monotonic(), b""
    while select.select([reading], [], [], max(0.0, began + SECONDS - time.monotonic()))[0]:
        part = os.read(reading, 65_536)
        if not part:
            break
        output += part
    else:
        os.kill(child, 9)
        output += b"\nTIMEOUT"
    os.close(reading)
    _, status, used = os.wait4(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "output": output.decode(errors="replace"),
        "memory": used.ru_maxrss * 1024 // MEBIBYTE,
        "left": sorted(path.name for path in Path("o").iterdir()) if Path("o").is_dir() else [],
    }


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    write_files()
    made = tried(lambda: command(["train", "good.py", "--out", "run"]))
    assert made["code"] == 0, made
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MEBIBYTE
    print(json.dumps({"memory": used}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "words" in asked:
            answer = tried(lambda words=asked["words"]: command(words))
        else:
            answer = tried(lambda code=asked["code"]: call(code))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    assert commands.app
    serve()
