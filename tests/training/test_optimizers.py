"""Whatever builds an optimiser trains as it would by itself, or is refused in one sentence."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.optim
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Execution, Experiment, parameter_groups, train
from pyro_decomp.errors import ExperimentError
from pyro_decomp.seeds import derive, set_seed
from pyro_decomp.training.fitting import TRAINING_STREAM
from pyro_decomp.training.optimizers import build_optimizer
from pyro_decomp.training.state import optimizer_of, prepare
from tests.callbacks import Step
from tests.example_programs import PROGRAMS, D, N, Programs

Adam, SGD = torch.optim.Adam, torch.optim.SGD
STEPS = 20


def by_name(name: str) -> dict[str, Any]:
    return {"lr": 0.1 if name.startswith(("encoder.", "encoding")) else 1e-3}


def by_module(module: str, name: str) -> dict[str, Any]:
    return by_name(f"{module}.{name}")


def clipped(module: str, name: str) -> dict[str, Any]:
    return {"clip_value": 0.1} if "encod" in module + name else {}


PYRO: dict[str, Callable[[], pyro.optim.PyroOptim]] = {
    "Adam": partial(pyro.optim.Adam, {"lr": 0.01}),
    "AdamW": partial(pyro.optim.AdamW, {"lr": 0.01, "weight_decay": 0.5}),
    "SGD": partial(pyro.optim.SGD, {"lr": 1e-4, "momentum": 0.9, "nesterov": True}),
    "RMSprop": partial(pyro.optim.RMSprop, {"lr": 0.01}),
    "Rprop": partial(pyro.optim.Rprop, {"lr": 0.01}),
    "ClippedAdam": partial(pyro.optim.ClippedAdam, {"lr": 0.01, "clip_norm": 1.0, "lrd": 0.9}),
    "AdagradRMSProp": partial(pyro.optim.AdagradRMSProp, {"eta": 0.01}),
    "DCTAdam": partial(pyro.optim.DCTAdam, {"lr": 0.01}),
    "rates by name": partial(pyro.optim.Adam, by_name),
    "rates by module and name": partial(pyro.optim.Adam, by_module),
    "clipped norms": partial(pyro.optim.SGD, {"lr": 1e-3}, {"clip_norm": 1.0}),
    "clipped by name": partial(pyro.optim.SGD, {"lr": 1e-3}, clipped),
}
DECLARED = ("functions with pyro.module", "functions with pyro.param", "PyroModules")
X = torch.randn(N, D, dtype=torch.double, generator=torch.Generator().manual_seed(5))


def made(program: str) -> Programs:
    pyro.clear_param_store()
    torch.manual_seed(0)
    return PROGRAMS[program]()


@pytest.mark.full(but=["functions with pyro.param-clipped by name"])
@pytest.mark.parametrize("name", PYRO)
@pytest.mark.parametrize("program", DECLARED)
def test_an_optimiser_of_pyro_steps_as_in_svi(tmp_path: Path, program: str, name: str) -> None:
    objectives = BetaELBO(), Trace_ELBO()
    for elbo in objectives if name == "Adam" else objectives[:1]:
        ours = made(program)
        experiment = Experiment(
            ours.model, ours.guide, X, elbo, epochs=STEPS, optimizer=PYRO[name]()
        )
        run = train(experiment, tmp_path, execution=Execution(steps="eager"), force=True)
        pyros = made(program)
        set_seed(derive(0, TRAINING_STREAM))
        svi = SVI(pyros.model, pyros.guide, PYRO[name](), elbo)
        losses = [svi.step(X) for _ in range(STEPS)]
        wanted = pyros.parameters()
        for own, parameter in run.state.parameters.items():
            other = wanted[run.state.pyro_names[own]]
            torch.testing.assert_close(parameter, other, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            torch.tensor(run.history["objective"]), -torch.tensor(losses).double() / N
        )


def by_names(named_parameters: Iterable[tuple[str, Tensor]]) -> torch.optim.Optimizer:
    return Adam(named_parameters)


TORCH: dict[str, Any] = {
    **{
        name: partial(getattr(torch.optim, name), lr=0.01)
        for name in ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax")
    },
    **{
        name: partial(getattr(torch.optim, name), lr=0.01)
        for name in ("NAdam", "RAdam", "RMSprop", "Rprop", "SGD")
    },
    "nesterov": partial(SGD, lr=0.01, momentum=0.9, nesterov=True),
    "foreach": partial(Adam, foreach=True),
    "fused": partial(torch.optim.Adagrad, fused=True),
    "a tensor as rate": lambda parameters: Adam(parameters, lr=torch.tensor(1e-3)),
    "groups": parameter_groups(Adam, {"decoder.*": {"lr": 0.1}, "*.bias": {"weight_decay": 1.0}}),
    "named parameters": by_names,
    "pyro.optim": pyro.optim.ClippedAdam({"lr": 0.01}),
}


def experiment(optimizer: Any, **settings: Any) -> Experiment:
    ours = made("VAE")
    return Experiment(
        ours.model, ours.guide, X, BetaELBO(), optimizer=optimizer, **{"epochs": 5} | settings
    )


def trained(folder: Path, steps: str, optimizer: Any, **settings: Any) -> dict[str, Tensor]:
    run = train(
        experiment(optimizer), folder, execution=Execution(steps=steps), force=True, **settings
    )
    assert run.config["execution"]["steps"] == steps
    return {name: parameter.detach().clone() for name, parameter in run.state.parameters.items()}


@pytest.mark.full
@pytest.mark.parametrize("name", TORCH)
def test_captured_steps_of_an_optimiser_have_the_same_bits(tmp_path: Path, name: str) -> None:
    eager = trained(tmp_path, "eager", TORCH[name])
    torch.testing.assert_close(trained(tmp_path, "captured", TORCH[name]), eager, rtol=0, atol=0)
    torch.testing.assert_close(trained(tmp_path, "fused", TORCH[name]), eager)


def cleared(training: Any) -> None:
    if training.step == 2:
        training.optimizer.state.clear()


def loaded(training: Any) -> None:
    if training.step == 2:
        kept = training.optimizer.state_dict()
        for each in kept["state"].values():
            each["exp_avg"] = each["exp_avg"] * 3.0
        training.optimizer.load_state_dict(kept)


def cleared_in_part(training: Any) -> None:
    if training.step == 2:
        training.optimizer.state.pop(next(iter(training.optimizer.state)))


@pytest.mark.full
@pytest.mark.parametrize("change", [cleared, loaded, cleared_in_part])
def test_what_an_optimiser_keeps_can_be_changed_between_steps(tmp_path: Path, change: Any) -> None:
    told = [Step(change)]
    eager = trained(tmp_path, "eager", Adam, callbacks=told)
    torch.testing.assert_close(trained(tmp_path, "captured", Adam, callbacks=told), eager)
    torch.testing.assert_close(trained(tmp_path, "fused", Adam, callbacks=told), eager)


def slower(training: Any) -> None:
    for group in training.optimizer.param_groups:
        group["lr"] = 0.1 / (1 + training.step) ** 2


@pytest.mark.full
@pytest.mark.parametrize("name", ["Adam", "SGD", "groups", "named parameters", "pyro.optim"])
def test_a_rate_that_is_changed_between_steps_counts(tmp_path: Path, name: str) -> None:
    eager, other, captured, fused = (
        trained(tmp_path, steps, TORCH[name], callbacks=[Step(slower)] * is_changed)
        for steps, is_changed in (
            ("eager", True),
            ("eager", False),
            ("captured", True),
            ("fused", True),
        )
    )
    assert all(not torch.allclose(eager[parameter], other[parameter]) for parameter in eager)
    torch.testing.assert_close(captured, eager, rtol=0, atol=0)
    torch.testing.assert_close(fused, eager)


@pytest.mark.slow
def test_a_rate_that_is_changed_between_compiled_steps_counts(tmp_path: Path) -> None:
    eager, compiled = (
        trained(tmp_path, steps, TORCH["Adam"], callbacks=[Step(slower)])
        for steps in ("eager", "compiled")
    )
    torch.testing.assert_close(compiled, eager)


def test_parameters_are_grouped_by_the_first_pattern_that_holds() -> None:
    networks = nn.ModuleDict({"encoder": nn.Linear(2, 3), "decoder": nn.Linear(3, 2)})
    named = [(f"vae.{name}", parameter) for name, parameter in networks.named_parameters()]
    settings = {"decoder.*": {"lr": 0.1}, "vae.*.bias": {"lr": 0.2}}
    optimizer = build_optimizer(parameter_groups(partial(Adam, lr=0.3), settings), named, N)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(parameter)] for _, parameter in named] == [0.3, 0.2, 0.1, 0.1]


def test_networks_are_told_apart_by_the_names_that_pyro_knows() -> None:
    ours = made("functions with pyro.module")
    named = []

    def note(named_parameters: Iterable[tuple[str, Tensor]]) -> torch.optim.Optimizer:
        named.extend(name for name, _ in named_parameters)
        return Adam(parameter for _, parameter in named_parameters)

    noted = Experiment(ours.model, ours.guide, X, BetaELBO(), optimizer=note)
    optimizer_of(noted, prepare(noted))
    assert {name.partition(".")[0] for name in named} == {"encoder", "decoder"}


def scheduled(name: str, **settings: Any) -> pyro.optim.PyroOptim:
    return getattr(pyro.optim, name)({"optimizer": SGD, "optim_args": {"lr": 0.1}, **settings})


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.LBFGS, "expected one that steps by dense gradients alone.*LBFGS.*closure"),
        (torch.optim.SparseAdam, "SparseAdam does not support dense gradients"),
        (torch.optim.Muon, "cannot be made: Muon only supports 2D parameters"),
        (partial(Adam, capturable=True), "whose step fails: .*capturable=True"),
        (partial(Adam, differentiable=True), "whose step fails: .*in-place"),
        (lambda parameters: None, "expected a function that gives a torch optimiser, got None"),
        (lambda parameters: 1 / 0, "the optimiser cannot be made: division by zero"),
        (lambda _: Adam(nn.Linear(2, 3).parameters()), r"got 2 others, as of shape \(3, 2\): tell"),
        (pyro.optim.Adam, "optimiser cannot be made: optim_args must be"),
        (pyro.optim.Adam({"lr": -1.0}), "cannot be made: Invalid learning rate: -1.0"),
        (
            scheduled("ExponentialLR", gamma=0.5),
            r"give its pyro\.optim\.SGD, and .*\(partial\(torch.*ExponentialLR, gamma=0\.5\)\)\]",
        ),
        (scheduled("ReduceLROnPlateau", patience=3), r"patience=3, mode='max'\), monitor='elbo'"),
        (
            parameter_groups(Adam, {"dekoder.*": {"lr": 1.0}}),
            r"parameter_groups: expected 'dekoder\.\*' to match a parameter, got encoder\.",
        ),
    ],
)
def test_what_cannot_step_by_gradients_is_one_sentence_before_the_first_step(
    tmp_path: Path, optimizer: Any, message: str
) -> None:
    with pytest.raises(ExperimentError, match=message):
        train(experiment(optimizer), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("optimizer", [Adam([torch.zeros(1)]), "adam", 3])
def test_what_builds_no_optimiser_is_refused(optimizer: Any) -> None:
    with pytest.raises(ExperimentError, match=r"^optimizer: expected a function that builds one"):
        experiment(optimizer)


def test_the_optimisers_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    written: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(from functools.*?)^```", page, re.M | re.S)[0], written)
    trial = experiment(written["slower_decoder"])
    optimizer = optimizer_of(trial, prepare(trial))
    rates = [group["lr"] for group in optimizer.param_groups]
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    assert (rates, decays) == ([1e-4, 1e-3, 1e-3], [0.01, 0.0, 0.01])
    trial = experiment(written["as_in_svi"])
    (group,) = optimizer_of(trial, prepare(trial)).param_groups
    assert group["clip_norm"] == 10.0
