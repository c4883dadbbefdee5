"""What is trained of an experiment, by the names that its author gave."""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.state import State


def count_parameters(experiment: Experiment, state: State) -> dict[str, int]:
    """Each network, or parameter of its own, to how many numbers of it are trained.

    What two networks share is counted in the first alone. A network has the name of the attribute
    or variable by which the programs know it, and its class.

    Args:
        experiment: What is run.
        state: What was found of it.
    """
    trained = list(state.parameters.values())
    trained += [p for a in experiment.auxiliaries.values() for p in a.module.parameters()]
    waiting = {id(parameter) for parameter in trained}
    counts: dict[str, int] = {}
    for name, parameters in _named_parameters(experiment, state):
        found = [parameter for parameter in parameters if id(parameter) in waiting]
        waiting -= {id(parameter) for parameter in found}
        if found:
            counts[name] = counts.get(name, 0) + sum(parameter.numel() for parameter in found)
    return counts


def _named_parameters(experiment: Experiment, state: State) -> Iterator[tuple[str, list[Tensor]]]:
    """All parameters with the name to count them under, the best name for each first."""
    named = [*_parts(experiment.model), *_parts(experiment.guide)]
    named += [(name, auxiliary.module) for name, auxiliary in experiment.auxiliaries.items()]
    for name, part in named:
        if isinstance(part, nn.Module):
            yield f"{name} ({type(part).__name__})", list(part.parameters())
        else:
            yield name.removesuffix("_unconstrained"), [part]  # Pyro's, of a constrained one
    for module in state.modules:
        yield type(module).__name__, list(module.parameters())
    for name, parameter in state.parameters.items():
        yield name, [parameter]


def _parts(program: Any) -> Iterator[tuple[str, nn.Module | Tensor]]:
    """The networks and parameters of a program's own, by attribute or variable."""
    program = inspect.unwrap(program)
    owner = getattr(program, "__self__", program)
    variables: dict[str, Any] = {}
    if isinstance(program, partial):  # as a handler of Pyro's makes of a program
        for inner in filter(callable, (program.func, *program.args)):
            yield from _parts(inner)
    elif isinstance(owner, nn.Module):
        variables = dict(owner.named_children()) | dict(owner.named_parameters(recurse=False))
    elif inspect.isfunction(program):
        found = inspect.getclosurevars(program)
        variables = {**found.globals, **found.nonlocals}
    else:
        variables = getattr(owner, "__dict__", {})
    yield from ((n, v) for n, v in variables.items() if isinstance(v, nn.Module | nn.Parameter))
