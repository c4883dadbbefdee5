"""What the steps of a run were computed by and on, as ``config.json`` keeps it.

An *environment* is a mapping of ``from_step``, the first step that it computed, from 1; ``steps``,
as of :class:`.Execution`; ``threads``; ``processor``; ``compiler``, of C, None where there is none;
and ``versions`` by name. A run has a list of them, in the order of their steps.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_decomp.acceleration import Audit, EagerStep, Execution, StepSource
from pyro_decomp.aggregate_posterior import gaussian
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.training.run_files.run_config import versions

Environment = dict[str, Any]
EXACT = {"eager", "captured"}  # steps that have the same bits


def environment(execution: Execution, device: torch.device, from_step: int) -> Environment:
    """What computes steps in this process, from a step on."""
    libc = " ".join(platform.libc_ver()).strip()
    return {
        "from_step": from_step,
        "steps": execution.steps,
        "threads": execution.threads,
        "processor": processor(device),
        "compiler": library.compiler_text() or None,
        "versions": versions() | ({"libc": libc} if libc else {}),
    }


def processor(device: torch.device) -> str:
    """What computes on a device: the processor, with the instructions that torch takes, or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
    return f"{library.processor_text()}, {capability}"


def of_config(config: Mapping[str, Any], until_step: int) -> list[Environment]:
    """The environments that computed the steps of a run up to one; what is not known is not there.

    Runs from before they were recorded have one, with what else their ``config.json`` tells.
    """
    known = config.get("environments") or [{"from_step": 1, "versions": config.get("versions", {})}]
    return [dict(each) for each in known if each["from_step"] <= until_step]


def followed(before: Sequence[Environment], now: Environment) -> list[Environment]:
    """The environments of a run once it goes on in another one, or in the same, which adds none."""
    kept = [each for each in before if each["from_step"] < now["from_step"]]
    is_same = bool(kept) and not _differences(kept[-1], now)
    return kept if is_same else [*kept, now]


def departure(
    before: Sequence[Environment], now: Environment, sums_pairs: Callable[[], bool]
) -> str:
    """A sentence on what is other than before and may change bits; empty if nothing is.

    Args:
        before: The environments of the steps before, if there were any.
        now: That of the steps to come.
        sums_pairs: Asked where the compiler is another and steps are not fused; see
            :func:`sums_pairs`.
    """
    if not before:
        return ""
    found = _differences(before[-1], now)
    steps = {before[-1].get("steps"), now["steps"]}
    if steps <= EXACT:
        found.pop("steps", None)
    is_fused = "fused" in steps
    if "compiler" in found and not is_fused and not sums_pairs():
        del found["compiler"]
    pieces = [
        f"{_named(name, new)} in place of {_named(name, old)}" for name, (old, new) in found.items()
    ]
    if not pieces:
        return ""
    return (
        f"from step {now['from_step']} on with {', '.join(pieces)}: the bits may differ from "
        "those of an uninterrupted run, and config.json keeps which steps were computed by what"
    )


def _differences(before: Environment, now: Environment) -> dict[str, tuple[Any, Any]]:
    """By name what was and what is, where both are known and differ."""
    old, new = (
        {n: v for n, v in each.items() if n not in {"from_step", "versions"}} | each["versions"]
        for each in (before, now)
    )
    return {n: (old[n], new[n]) for n in new if n in old and old[n] != new[n]}


def _named(name: str, value: Any) -> str:
    """One entry of an environment in words."""
    if name == "compiler":
        return f"the C compiler {value}" if value else "no C compiler"
    if name == "threads":
        return "1 thread" if value == 1 else f"{value or 'unknown'} threads"
    return f"{value} steps" if name == "steps" else f"{name} {value}"


def sums_pairs(source: StepSource) -> bool:
    """Whether the objective sums over pairs of Gaussians, which compiled C does where it can."""
    seen: set[Any] = set()

    class Seeing(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.add(function)
            return function(*args, **(kwargs or {}))

    try:
        with Audit(source, "float32").unmoved(), Seeing():
            EagerStep(source, "float32").estimate(source.batches[0], 1)
    except Exception:  # told of when training goes on
        return True
    return gaussian.forward in seen
