"""What the files of a run say, read without torch."""

import ast
import csv
import math
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyro_decomp.training.json_files import plain

NOT_TERMS = ("step", "epoch")


def last_terms(folder: Path) -> tuple[dict[str, float | None], int]:
    """The terms in the last row of a run's ``history.csv``, and the step of it.

    Raises:
        OSError: There is no history.
        ValueError: It is not a table of numbers.
    """
    with (folder / "history.csv").open(newline="") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        last = deque(reader, maxlen=1)
    if not last:
        return {}, 0
    values = dict(zip(names, last[0], strict=True))
    step = int(values["step"])
    return {n: _finite(float(v or "nan")) for n, v in values.items() if n not in NOT_TERMS}, step


def flat(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """What `evaluate` measured, as one level of names; of components how many are at fault.

    >>> score = {"value": 0.3, "interval": [0.2, 0.4]}
    >>> flat({"test": {"elbo": -1.5, "scores": {"mig": score}, "left_out": {}}})
    {'test.elbo': -1.5, 'test.mig': 0.3, 'test.mig.low': 0.2, 'test.mig.high': 0.4}
    >>> flat({"train": {"components": {"empty": [4], "merged": [[0, 3], [1, 2]]}}})
    {'train.empty_components': 1.0, 'train.merged_components': 4.0}
    """
    found: dict[str, float | None] = {}
    for part, values in metrics.items():
        for name, value in values.items():
            if isinstance(value, int | float) or value is None:
                found[f"{part}.{name}"] = _finite(value)
        if "components" in values:
            faults = values["components"]
            found[f"{part}.empty_components"] = float(len(faults["empty"]))
            found[f"{part}.merged_components"] = float(sum(map(len, faults["merged"])))
        for name, score in values.get("scores", {}).items():
            found[f"{part}.{name}"] = _finite(score["value"])
            if score["interval"] is not None:
                low, high = score["interval"]
                found[f"{part}.{name}.low"] = _finite(low)
                found[f"{part}.{name}.high"] = _finite(high)
    return found


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def defaults_in(source: str) -> dict[str, Any]:
    """The defaults of ``experiment`` that are written as literals; nothing is executed."""
    with suppress(SyntaxError, ValueError):
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name == "experiment":
                return dict(_literal_defaults(node.args))
    return {}


def _literal_defaults(arguments: ast.arguments) -> list[tuple[str, Any]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = list(zip(reversed(positional), reversed(arguments.defaults), strict=False))[::-1]
    pairs += [
        (name, default)
        for name, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    ]
    found = []
    for name, default in pairs:
        with suppress(ValueError):
            found.append((name.arg, plain(ast.literal_eval(default))))
    return found
