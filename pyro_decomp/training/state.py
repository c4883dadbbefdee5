"""All that training changes: networks, parameters, optimiser and random generators."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.params.param_store import ParamStoreDict
from torch import Tensor, nn

from pyro_decomp.acceleration import StepSource
from pyro_decomp.data.batches import Batch
from pyro_decomp.descriptions import constructor_call
from pyro_decomp.divergences.auxiliary import guide_codes
from pyro_decomp.elbo import Estimate
from pyro_decomp.errors import ExperimentError, RunError
from pyro_decomp.programs import preflight
from pyro_decomp.programs.automatic_guides import LocalGuides
from pyro_decomp.programs.program_state import ProgramState, preserving_rng_and_buffers
from pyro_decomp.programs.program_state.copies import not_run
from pyro_decomp.programs.program_state.modules import find_modules, in_mode, tensors_kept
from pyro_decomp.programs.sites import SampleTrace
from pyro_decomp.training.experiment import Experiment, Program
from pyro_decomp.training.first_batch import explained, give_sizes, has_lazy, run_on_first
from pyro_decomp.training.optimizers import build_optimizer


class UnkeptStateWarning(UserWarning):
    """Programs keep something that no checkpoint can keep."""


@dataclass(repr=False)
class State:
    """The live objects of an experiment that is trained: networks, parameters, Python state.

    Attributes:
        modules: The networks that the model and guide use, and then the auxiliary ones.
        parameters: Every tensor that the objective trains, by name, unconstrained; an auxiliary
            network's are not among them.
        kl_methods: Latent site to "analytic" or "Monte Carlo".
        store: What ``pyro.param`` keeps for this experiment.
        program: What else the programs and the objective keep in Python between their runs.
        unkept: Paths of what of it had moved and could not be kept when it was last saved.
        pyro_names: Name in ``parameters`` to the one that Pyro keeps it by, where it does.
    """

    modules: list[nn.Module]
    parameters: dict[str, Tensor]
    kl_methods: dict[str, str]
    store: ParamStoreDict = field(default_factory=ParamStoreDict)
    program: ProgramState = field(default_factory=ProgramState)
    unkept: list[str] = field(default_factory=list)
    pyro_names: Mapping[str, str] = field(default_factory=dict)

    __repr__ = constructor_call

    def tensors(self) -> dict[str, Any]:
        """Networks (parameters and buffers) and other parameters, as ``torch.save`` takes them."""
        in_modules = {id(p) for module in self.modules for p in module.parameters()}
        return {
            "modules": [module.state_dict() for module in self.modules],
            "unlisted": [_unlisted(module) for module in self.modules],
            "parameters": {
                name: parameter.detach()
                for name, parameter in self.parameters.items()
                if id(parameter) not in in_modules
            },
        }

    def load_tensors(self, tensors: dict[str, Any]) -> None:
        """Put back what :meth:`tensors` gave.

        Raises:
            ValueError, RuntimeError, KeyError: The experiment has other networks or parameters.
        """
        mine = self.tensors()["parameters"]
        shapes = [{n: tuple(p.shape) for n, p in d.items()} for d in (mine, tensors["parameters"])]
        if shapes[0] != shapes[1]:
            raise ValueError(f"expected parameters {shapes[0]}, got {shapes[1]}")
        unlisted = tensors.get("unlisted", [{}] * len(self.modules))
        for module, listed, others in zip(self.modules, tensors["modules"], unlisted, strict=True):
            values = listed | others
            for path, part in module.named_modules():
                for name, buffer in part._buffers.items():
                    saved = values.get(f"{path}.{name}" if path else name, buffer)
                    if buffer is not None and saved.dtype != buffer.dtype:  # one assigned anew
                        part._buffers[name] = buffer.to(saved.dtype)
            module.load_state_dict(listed)
            own = _unlisted(module)
            for name, value in others.items():
                own[name].copy_(value)
        for name, value in tensors["parameters"].items():
            mine[name].copy_(value)

    def python(self) -> dict[str, Any]:
        """The Python state of the programs that has changed, as ``torch.save`` takes it.

        Returns:
            ``values`` by dotted path, and the paths ``unkept`` of what no checkpoint can keep.
        """
        values, unkept = self.program.values()
        if unkept and not self.unkept:
            warnings.warn(
                f"{_listed(unkept)} moved, which no checkpoint can keep: the run can be neither "
                "resumed nor loaded; a number, list, array or tensor in its place can be kept",
                UnkeptStateWarning,
                stacklevel=2,
            )
        self.unkept = unkept
        return {"values": values, "unkept": unkept}

    def load_python(self, kept: Mapping[str, Any] | None) -> None:
        """Put back what :meth:`python` gave; None, from before it was kept, changes nothing.

        Raises:
            RunError: Something moved that could not be kept, or that the programs do not have.
        """
        if kept is None:
            return
        if kept["unkept"]:
            raise RunError(
                f"the programs had moved {_listed(kept['unkept'])}, which no checkpoint can keep: "
                "they would go on with other numbers; have a number, list, array or tensor in its "
                "place, and train anew"
            )
        if missing := self.program.load(kept["values"]):
            raise RunError(
                f"the checkpoint has {_listed(missing)}, which the programs of this experiment do "
                "not keep: expected the programs that the run was trained with"
            )

    def train(self, mode: bool) -> None:
        """Set every network to training or evaluation."""
        for module in self.modules:
            module.train(mode)


def optimizer_of(experiment: Experiment, state: State) -> torch.optim.Optimizer:
    """The optimiser of what a prepared experiment trains; see :func:`.build_optimizer`."""
    named = [(state.pyro_names.get(name, name), p) for name, p in state.parameters.items()]
    return build_optimizer(experiment.optimizer, named, len(experiment.data))


def step_source(experiment: Experiment, state: State) -> StepSource:
    """What the training steps of a prepared experiment are computed from."""
    return StepSource(
        programs=experiment,
        modules=state.modules,
        parameters=state.parameters,
        store=state.store,
        python=state.program,
        batches=experiment.batches,
    )


Check = Callable[[Experiment, Sequence[nn.Module], poutine.Trace], None]


def prepare(
    experiment: Experiment, device: torch.device | str = "cpu", *, check: Check | None = None
) -> State:
    """Move an experiment to a device, check it on its first batch, and find all that is trained.

    Random generators, buffers and what the programs keep in Python are as before afterwards,
    whatever the check drew or updated; what their first run makes once, such as a cache, stays.
    What they keep in Pyro's global store is from here on the experiment's own.

    Args:
        experiment: What will be trained, or was.
        device: Where.
        check: Called with the experiment, its networks and the model's trace of the first batch.

    Raises:
        ModelError: The model, guide and data do not fit together.
        ExperimentError: Nothing can be trained, or a network cannot be found.
    """
    experiment.apply_schedules(1)
    networks = find_modules([experiment.model, experiment.guide, *experiment.modules])
    auxiliaries = [auxiliary.module for auxiliary in experiment.auxiliaries.values()]
    networks = [network for network in networks if network not in auxiliaries]
    modules = [*networks, *auxiliaries]
    for module in modules:
        module.to(device)
    experiment.data = experiment.data.to(device)
    if experiment.test_data is not None:
        experiment.test_data = experiment.test_data.to(device)
    size = experiment.data_per_step
    if has_lazy(modules):
        with explained(experiment, modules, size):
            give_sizes(modules, partial(_run, experiment, modules, size))
    _check_buffers(modules)
    evaluate = partial(experiment.elbo.evaluate, experiment.model, experiment.guide)
    store = ParamStoreDict()
    program = ProgramState(
        modules, model=experiment.model, guide=experiment.guide, elbo=experiment.elbo
    )

    def run() -> Estimate:
        estimate = run_on_first(experiment, size, evaluate)
        data = experiment.data
        if rest := len(data) % size:  # the last, smaller batch
            with explained(experiment, modules, size, is_last=True):
                evaluate(*data[-rest:])
        return estimate

    with (
        explained(experiment, modules, size),
        in_mode(modules, training=True),
        not_run(experiment._copied_modules),
        preserving_rng_and_buffers(),
        tensors_kept(modules),
        poutine.trace(param_only=True) as capture,
        _own_store(store),
    ):
        estimate = program.look(run)
    if program.moves_nothing:
        experiment.elbo.stop_watching_programs()
    data = experiment.data
    preflight.check_plate_size(estimate.pairs[0].model, len(data))
    if experiment.test_data is not None:
        _check_test_data(experiment, estimate.pairs[0].model, data[:size])
    if check is not None:
        check(experiment, modules, estimate.pairs[0].model)
    if len(store):
        experiment.model = _with_store(store, experiment.model)
        experiment.guide = _with_store(store, experiment.guide)
    traced = {name: site["value"].unconstrained() for name, site in capture.trace.nodes.items()}
    others = {id(p) for module in auxiliaries for p in module.parameters()}
    trained = _trained(networks, traced, others)
    _check_all_trained(estimate.loss, others.union(map(id, trained.values())))
    program.start(trained.values())
    declared = {id(parameter): name for name, parameter in reversed(traced.items())}
    names = {name: declared[id(p)] for name, p in trained.items() if id(p) in declared}
    return State(modules, trained, experiment.elbo.kl_methods, store, program, pyro_names=names)


def _run(experiment: Experiment, modules: list[nn.Module], size: int) -> None:
    """Run the programs on the first batch, and the auxiliary networks if they have no sizes yet."""

    def programs(*batch: Tensor) -> None:
        guide = SampleTrace()(experiment.guide).get_trace(*batch)
        poutine.replay(experiment.model, trace=guide)(*batch)
        for auxiliary in experiment.auxiliaries.values():
            if has_lazy([auxiliary.module]):
                pair = experiment.elbo.drawn_pair(experiment.model, experiment.guide, *batch)
                auxiliary.loss(pair, partial(guide_codes, experiment.guide, *batch))

    everything = [experiment.model, experiment.guide, *modules]
    with preserving_rng_and_buffers(everything), _own_store(ParamStoreDict()):
        run_on_first(experiment, size, programs)


@contextmanager
def _own_store(store: ParamStoreDict) -> Iterator[None]:
    """Let ``pyro.param`` use this store; the global one mixes up experiments that share names.

    Unlike Pyro's ``scope`` it keeps the link from a parameter's value to its unconstrained tensor.
    """
    current = pyro.get_param_store()
    outside = dict(vars(current))
    vars(current).update(vars(store))
    try:
        yield
    finally:
        vars(store).update(vars(current))
        vars(current).update(outside)


def _with_store(store: ParamStoreDict, program: Program) -> Program:
    """A program whose ``pyro.param`` uses this store."""

    @wraps(program, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        with _own_store(store):
            return program(*args, **kwargs)

    return run


def _unlisted(module: nn.Module) -> dict[str, Tensor]:
    """The buffers of a network that its ``state_dict`` leaves out, ``persistent=False``."""
    return {
        f"{path}.{name}" if path else name: buffer
        for path, part in module.named_modules()
        for name, buffer in part._buffers.items()
        if buffer is not None and name in part._non_persistent_buffers_set
    }


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def _check_test_data(experiment: Experiment, model: poutine.Trace, batch: Batch) -> None:
    for name in LocalGuides.of(experiment.guide, model, batch, {}).named:
        raise ExperimentError(
            f"{name} has latents of its own for each of the training data and none for test_data: "
            "leave test_data out, or use a guide that encodes x"
        )


def _check_buffers(modules: list[nn.Module]) -> None:
    for module in modules:
        for name, buffer in module.named_buffers():
            if any(n > 1 and not s for n, s in zip(buffer.shape, buffer.stride(), strict=True)):
                raise ExperimentError(
                    f"the network buffer '{name}' is an expanded view, which no checkpoint can be "
                    "read into: register it with .clone()"
                )


def _trained(
    modules: list[nn.Module], traced: dict[str, Tensor], others: set[int]
) -> dict[str, Tensor]:
    """What the objective trains: all but the parameters, by identity, of others."""
    parameters: dict[str, Tensor] = {}
    known = set(others)
    for index, module in enumerate(modules):
        for name, weight in module.named_parameters():
            if weight.requires_grad and id(weight) not in known:
                parameters[f"{index}.{name}" if len(modules) > 1 else name] = weight
            known.add(id(weight))
    for name, parameter in sorted(traced.items()):
        if id(parameter) in known:
            continue
        if "$$$" in name:
            raise ExperimentError(
                f"the network that pyro.module registers as '{name.split('$$$')[0]}' cannot be "
                "found from the model or guide: give Experiment(modules=[...]) with it"
            )
        parameters[name] = parameter
    if not parameters:
        raise ExperimentError(
            "the model and guide have no parameters to train: expected networks, as in "
            "VAE(prior, encoder, decoder, size=N), or pyro.param"
        )
    return parameters


def _check_all_trained(loss: Tensor, known: Set[int]) -> None:
    """Check that the loss depends on no parameter that is reached in a way that nothing follows.

    Raises:
        ExperimentError: It does, and that parameter would stay as it is.
    """
    seen: set[Any] = set()
    left = [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            raise ExperimentError(
                f"the objective depends on a parameter of shape {tuple(leaf.shape)} that would not "
                "be trained, as it cannot be found from the model or guide: name its network at "
                "the top of the file or give Experiment(modules=[...]) with it, declare a "
                "parameter by itself with pyro.param, and call .requires_grad_(False) on what is "
                "to stay as it is"
            )
        left += [before for before, _ in node.next_functions]
