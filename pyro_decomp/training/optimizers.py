"""The optimiser of a run, from a function of its parameters or one of ``pyro.optim``."""

import inspect
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from pyro.optim import PyroLRScheduler, PyroOptim
from pyro.params.param_store import (
    module_from_param_with_module_name,
    normalize_param_name,
    user_param_name,
)
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.acceleration import is_elementwise
from pyro_decomp.divergences.auxiliary import OptimizerFactory, make_optimizer
from pyro_decomp.errors import ExperimentError, one_line

Named = Sequence[tuple[str, Tensor]]

Settings = Mapping[str, Any]

NAMED = "named_parameters"  # the first argument of a function that takes names too


def parameter_groups(
    optimizer: OptimizerFactory, settings: Mapping[str, Settings]
) -> OptimizerFactory:
    """Make a function that builds an optimiser with settings of their own for some parameters.

    A pattern such as ``"decoder.*"`` has the wildcards of :mod:`fnmatch` and holds for a parameter
    if it matches its name, or the end of it after a dot. Each parameter is in the group of the
    first pattern that holds for it, and those of no pattern have the settings of ``optimizer``.

    Args:
        optimizer: Builds the optimiser from the parameters.
        settings: Pattern to the settings of the parameters that it holds for.

    Returns:
        A function of named parameters, for ``Experiment(optimizer=...)``.

    Raises:
        ArgumentError: There are no patterns, or a pattern's settings are no dictionary.

    Example:
        >>> adam = partial(torch.optim.Adam, lr=1e-3)
        >>> build = parameter_groups(adam, {"decoder.*": {"lr": 1e-4}})
        >>> network = torch.nn.ModuleDict({"decoder": torch.nn.Linear(2, 3)})
        >>> [group["lr"] for group in build(network.named_parameters()).param_groups]
        [0.0001]
    """
    arguments.function(optimizer=optimizer)
    arguments.instance(
        Mapping, 'a dictionary such as {"decoder.*": {"lr": 1e-4}}', settings=settings
    )
    for pattern, each in settings.items():
        arguments.text(settings=pattern)
        arguments.instance(Mapping, 'a dictionary such as {"lr": 1e-4}', **{pattern: each})
    return partial(_grouped, optimizer, settings)


def _grouped(
    optimizer: OptimizerFactory, settings: Mapping[str, Settings], named_parameters: Named
) -> torch.optim.Optimizer:
    """An optimiser with a group for each pattern that holds for a parameter."""
    groups: dict[str | None, dict[str, Any]] = {
        pattern: {"params": [], **each} for pattern, each in settings.items()
    }
    groups[None] = {"params": []}
    names = []
    for name, parameter in named_parameters:
        names.append(name)
        found = (each for each in settings if _holds(each, name))
        groups[next(found, None)]["params"].append(parameter)
    for pattern in settings:
        if not any(_holds(pattern, name) for name in names):
            raise ExperimentError(
                f"parameter_groups: expected {pattern!r} to match a parameter, got "
                f"{', '.join(names)}"
            )
    return optimizer([group for group in groups.values() if group["params"]])


def _holds(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def build_optimizer(
    factory: OptimizerFactory | PyroOptim, named: Named, num_data: int
) -> torch.optim.Optimizer:
    """Build the optimiser of a run.

    Args:
        factory: Takes the parameters, or ``named_parameters`` as torch's modules give them; or one
            of ``pyro.optim``, which gets gradients of the sum over all data, as in Pyro's ``SVI``.
        named: Every parameter with the name that Pyro keeps it by, or else its own.
        num_data: N, the number of data.

    Raises:
        ExperimentError: It cannot be built, has parameters of its own, or cannot take a step.
    """
    optimizer = _built(factory, named, num_data)
    given = {id(parameter) for _, parameter in named}
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if others := [parameter for parameter in own if id(parameter) not in given]:
        raise ExperimentError(
            f"optimizer: expected parameters among those that it is given, got {len(others)} "
            f"other{'s' * (len(others) > 1)}, as of shape {tuple(others[0].shape)}: tell networks' "
            'apart by name, as in parameter_groups(torch.optim.Adam, {"decoder.*": {"lr": 1e-4}})'
        )
    special = [group.get(name) for group in optimizer.param_groups for name in SPECIAL]
    is_known = type(optimizer).__module__.startswith(("torch.", "pyro."))  # steps do nothing else
    if is_known and (not is_elementwise(optimizer) or any(special)):
        copies = [(name, p.detach().clone().requires_grad_()) for name, p in named]
        _try(_built(factory, copies, num_data), [copy for _, copy in copies])
    return optimizer


SPECIAL = ("capturable", "differentiable")  # which not every machine or loop allows


def _built(
    factory: OptimizerFactory | PyroOptim, named: Named, num_data: int
) -> torch.optim.Optimizer:
    try:
        if isinstance(factory, PyroLRScheduler):
            raise ExperimentError(_with_schedule(factory))
        if isinstance(factory, PyroOptim):
            return _of_pyro(factory, named, num_data)
        if _takes_names(factory):
            return make_optimizer(factory, [(normalize_param_name(n), p) for n, p in named])
        return make_optimizer(factory, [parameter for _, parameter in named])
    except ExperimentError:
        raise
    except Exception as error:  # a user's function raises what it likes
        raise ExperimentError(f"the optimiser cannot be made: {error}") from error


def _with_schedule(wrapper: PyroLRScheduler) -> str:
    """Say how an optimiser and its schedule are given, of which Pyro's user takes the steps."""
    kind = wrapper.pt_scheduler_constructor.__name__
    settings = {name: repr(value) for name, value in wrapper.kwargs.items()}
    monitor = ""
    if kind == "ReduceLROnPlateau":  # which is told a loss in Pyro
        settings["mode"], monitor = "'max'", ", monitor='elbo'"
    given = "".join(f", {name}={value}" for name, value in settings.items())
    return (
        f"optimizer: expected one without a schedule, got pyro.optim.{kind}: give its "
        f"pyro.optim.{wrapper.pt_optim_constructor.__name__}, and callbacks=[LearningRate("
        f"partial(torch.optim.lr_scheduler.{kind}{given}){monitor})]"
    )


def _takes_names(factory: OptimizerFactory) -> bool:
    try:
        return next(iter(inspect.signature(factory).parameters), None) == NAMED
    except (TypeError, ValueError):  # it has no signature that can be seen
        return False


def _try(optimizer: torch.optim.Optimizer, copies: Sequence[Tensor]) -> None:
    """Take a step on copies of the parameters, whose gradients are 0."""
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    try:
        optimizer.step()
    except Exception as error:
        raise ExperimentError(
            "optimizer: expected one that steps by dense gradients alone, such as "
            f"torch.optim.Adam, got {type(optimizer).__name__}, whose step fails: {one_line(error)}"
        ) from error


def _of_pyro(wrapper: PyroOptim, named: Named, num_data: int) -> torch.optim.Optimizer:
    """The one optimiser whose steps are those that Pyro's takes parameter by parameter."""
    make, groups = wrapper.pt_optim_constructor, _by_settings(wrapper, named)
    optimizer, *others = (make(parameters, **settings) for settings, parameters in groups)
    for other in others:
        optimizer.add_param_group(other.param_groups[0])
    clips = [(p, clip) for name, p in named if (clip := _called(wrapper.pt_clip_args, name))]

    def as_in_svi(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        own = [each for group in optimizer.param_groups for each in group["params"]]
        torch._foreach_mul_([each.grad for each in own if each.grad is not None], num_data)
        for parameter, clip in clips:
            wrapper._clip_grad(parameter, **clip)

    optimizer.register_step_pre_hook(as_in_svi)
    return optimizer


def _by_settings(wrapper: PyroOptim, named: Named) -> list[tuple[Settings, list[Tensor]]]:
    """Parameters that Pyro would give optimisers of equal settings, together."""
    found: list[tuple[Settings, list[Tensor]]] = []
    for name, parameter in named:
        settings = wrapper.pt_optim_args
        if callable(settings):
            by_name = wrapper.pt_optim_args_argc == 1
            settings = settings(normalize_param_name(name)) if by_name else _called(settings, name)
        for known, parameters in found:
            if known == settings:
                parameters.append(parameter)
                break
        else:
            found.append((settings, [parameter]))
    return found


def _called(settings: Any, name: str) -> Settings:
    """Settings, or what a function of a module's name and a parameter's gives."""
    if not callable(settings):
        return dict(settings)
    return dict(settings(module_from_param_with_module_name(name), user_param_name(name)))
