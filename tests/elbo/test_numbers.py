"""Numbers by dotted names: where they are found, what is refused, and that steps follow them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import MMD, VAE, AggregateELBO, Experiment, InclusiveKL, load, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.divergences.kernels import RBF
from pyro_decomp.errors import ExperimentError, RunError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.schedules import Constant, Linear, Schedule
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from tests.callbacks import Step
from tests.training.test_training_schedules import interrupt_at

TEMPERATURE = 2.0
HALF = Linear(2.0, 1.0, until=0.5)


def normal(scale: Any) -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))


class Pair(NamedTuple):
    loc: float
    scale: float


@dataclass(frozen=True)
class Settings:
    scale: float = 2.0

    def __post_init__(self) -> None:
        if not isinstance(self.scale, Tensor) and self.scale <= 0:
            raise ValueError(f"scale: expected a positive number, got {self.scale}")


class Prior:
    of_class = 2.0

    def __init__(self) -> None:
        self.scale = 2.0
        self.whole = 2
        self.tensor = torch.tensor(2.0)
        self.items = [0.0, {"scale": 2.0}]
        self.pair = Pair(0.0, 2.0)
        self.settings = Settings()
        self.space = SimpleNamespace(scale=2.0)
        self.numpy = np.float64(2.0)
        self.kept = 2.0
        self.flag = True
        self.vector = torch.ones(2)
        self.count = torch.tensor(2)
        self.nothing = None
        self.frozen = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.learned = nn.Parameter(torch.tensor(2.0))

    @property
    def settable(self) -> float:
        return self.kept

    @settable.setter
    def settable(self, value: float) -> None:
        self.kept = value

    @property
    def computed(self) -> float:
        return 2 * self.scale


class Reading(Prior):
    """A prior of the scale that a function finds in it."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.read = read

    def __call__(self) -> Tensor:
        return normal(self.read(self))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self) -> Tensor:
        return normal(self.scale)


def closure() -> Callable[[], Tensor]:
    scale = 2.0
    return lambda: normal(scale)


def of_global() -> Tensor:
    return normal(TEMPERATURE)


def of_default(scale: float = 2.0) -> Tensor:
    return normal(scale)


def decorated() -> Callable[[], Tensor]:
    inner = closure()

    @wraps(inner)
    def outer() -> Tensor:
        return inner()

    return outer


PRIORS: dict[str, tuple[str, Callable[[], Any]]] = {
    "attribute": ("scale", lambda: Reading(lambda p: p.scale)),
    "whole number": ("whole", lambda: Reading(lambda p: p.whole)),
    "tensor": ("tensor", lambda: Reading(lambda p: p.tensor)),
    "frozen parameter": ("frozen", lambda: Reading(lambda p: p.frozen)),
    "item of containers": ("items.1.scale", lambda: Reading(lambda p: p.items[1]["scale"])),
    "named tuple": ("pair.scale", lambda: Reading(lambda p: p.pair.scale)),
    "tuple": ("pair.1", lambda: Reading(lambda p: p.pair[1])),
    "frozen dataclass": ("settings.scale", lambda: Reading(lambda p: p.settings.scale)),
    "namespace": ("space.scale", lambda: Reading(lambda p: p.space.scale)),
    "numpy": ("numpy", lambda: Reading(lambda p: p.numpy)),
    "attribute of the class": ("of_class", lambda: Reading(lambda p: p.of_class)),
    "property": ("settable", lambda: Reading(lambda p: p.kept)),
    "buffer": ("scale", Network),
    "closure": ("scale", closure),
    "global": ("TEMPERATURE", lambda: of_global),
    "default": ("scale", lambda: partial(of_default)),
    "default of a function": ("scale", lambda: wraps(of_default)(of_default)),
    "keyword of a partial": ("scale", lambda: partial(normal, scale=2.0)),
    "argument of a partial": ("0", lambda: partial(normal, 2.0)),
    "decorated": ("scale", decorated),
}


def experiment(
    prior: Any, schedules: dict[str, Schedule], elbo: Any = None, **options: Any
) -> Experiment:
    pyro.set_rng_seed(0)
    data = torch.randn(20, 3)
    vae = VAE(prior, MLPEncoder(3, 2, (4,)), MLPDecoder(2, 3, (4,)), size=len(data))
    settings = {"epochs": 6, "batch_size": 13} | options
    elbo = AggregateELBO() if elbo is None else elbo
    return Experiment(vae.model, vae.guide, data, elbo, schedules=schedules, **settings)


@pytest.fixture(autouse=True)
def globals_kept() -> Any:
    yield
    globals()["TEMPERATURE"] = 2.0
    of_default.__defaults__ = (2.0,)


@pytest.mark.full(but=["closure"])
@pytest.mark.parametrize("kind", PRIORS)
def test_a_run_is_the_same_by_the_programs_and_captured(kind: str, tmp_path: Path) -> None:
    name, build = PRIORS[kind]
    runs = [
        train(
            experiment(build(), {f"model.prior.{name}": HALF}),
            tmp_path / how,
            execution=Execution(how),
        )
        for how in ("eager", "captured")
    ]
    eager, captured = (run.history for run in runs)
    for column, values in eager.items():
        np.testing.assert_array_equal(captured[column], values, column)
    steps = range(1, 13)
    assert eager[f"model.prior.{name}"].tolist() == [HALF.value(step, 12) for step in steps]
    plain = train(experiment(closure(), {}), tmp_path / "plain").history
    assert abs(plain["kl"] - eager["kl"]).min() > 1e-3  # the programs do read it


def test_a_scheduled_number_is_as_one_that_was_set_by_hand(tmp_path: Path) -> None:
    """The last scale of the prior, held: the same bits as a prior that has it."""
    held = train(experiment(closure(), {"model.prior.scale": Constant(0.7)}), tmp_path / "held")
    fixed = train(experiment(partial(normal, 0.7), {}), tmp_path / "fixed")
    assert held.history["kl"].tolist() == fixed.history["kl"].tolist()


BY_PYTHON: dict[str, Callable[[Any], Any]] = {
    "math": lambda p: math.exp(p.scale),
    "if": lambda p: p.scale if p.scale > 1.5 else 1.0,
    "numpy": lambda p: float(np.exp(p.scale)),
    "a new tensor": lambda p: torch.tensor([p.scale, 1.0]),
    "text": lambda p: float(f"{p.scale:.6f}"),
}


@pytest.mark.full(but=["if"])
@pytest.mark.parametrize("kind", BY_PYTHON)
def test_a_number_that_python_uses_makes_steps_eager(kind: str, tmp_path: Path) -> None:
    def build() -> Experiment:
        prior = Reading(BY_PYTHON[kind])
        return experiment(prior, {"beta": Constant(0.5), "model.prior.scale": HALF}, epochs=10**4)

    why = "model.prior.scale is used by Python"
    with pytest.raises(ExperimentError, match=f"expected eager or auto, as {why}"):
        train(build(), tmp_path / "captured", execution=Execution("captured"))
    with pytest.raises(Interrupted):
        train(build(), tmp_path / "auto", callbacks=[Step(interrupt_at(4))])
    execution = load(tmp_path / "auto", experiment=build()).config["execution"]
    assert execution["steps"] == "eager"
    assert why in execution["why"]


@pytest.mark.full
@pytest.mark.skipif(bool(library.why_not()), reason="no C compiler")
def test_fused_steps_follow(tmp_path: Path) -> None:
    schedules = {"model.prior.scale": HALF, "beta": Linear(0.0, 1.0, until=0.3)}
    fused, eager = (
        train(experiment(closure(), schedules), tmp_path / how, execution=Execution(how)).history
        for how in ("fused", "eager")
    )
    for name, column in eager.items():
        np.testing.assert_allclose(fused[name], column, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_compiled_steps_follow(tmp_path: Path) -> None:
    compiled, eager = (
        train(
            experiment(closure(), {"model.prior.scale": HALF}, batch_size=None),
            tmp_path / how,
            execution=Execution(how),
        ).history
        for how in ("compiled", "eager")
    )
    np.testing.assert_allclose(compiled["kl"], eager["kl"], rtol=1e-4)


def test_a_number_of_the_model_that_is_zero_is_a_number(tmp_path: Path) -> None:
    def shifted(loc: float) -> Tensor:
        return pyro.sample("z", dist.Normal(loc * torch.ones(2), 1.0).to_event(1))

    schedules = {"model.prior.0": Constant(0.0, until=4).then(Linear(0.0, 3.0))}
    captured, eager = (
        train(
            experiment(partial(shifted, 1.0), schedules), tmp_path / how, execution=Execution(how)
        )
        for how in ("captured", "eager")
    )
    assert captured.history["kl"].tolist() == eager.history["kl"].tolist()


@pytest.mark.parametrize("name", ["elbo.beta", "beta"])
def test_a_bare_name_is_the_objectives(name: str, tmp_path: Path) -> None:
    run = train(experiment(closure(), {name: Linear(0.0, 1.0)}), tmp_path / "run")
    assert run.history[name][-1] == run.experiment.elbo.beta == 1.0


@pytest.mark.full
def test_within_a_divergence(tmp_path: Path) -> None:
    def made(divergence: Any, *names: str) -> Experiment:
        schedules: dict[str, Schedule] = {name: Linear(0.5, 3.0) for name in names}
        return experiment(closure(), schedules, AggregateELBO(alpha=1.0, divergence=divergence))

    weights = ["divergence.0", "elbo.divergence.1"]
    captured, eager = (
        train(
            made(InclusiveKL() + InclusiveKL(), *weights), tmp_path / how, execution=Execution(how)
        )
        for how in ("captured", "eager")
    )
    assert captured.history["divergence"].tolist() == eager.history["divergence"].tolist()
    assert [weight for weight, _ in eager.experiment.elbo.divergence.parts] == [3.0, 3.0]
    kernel = "elbo.divergence.1.kernel.bandwidth"
    run = train(made(InclusiveKL() + MMD(kernel=RBF(bandwidth=1.0)), kernel), tmp_path / "kernel")
    assert run.experiment.elbo.divergence.parts[1][1].kernel == RBF(bandwidth=3.0)


def same_files(one: Run, other: Run) -> bool:
    names = ("checkpoint.pt", "history.csv")
    return all((one.path / n).read_bytes() == (other.path / n).read_bytes() for n in names)


@pytest.mark.full(but=["global-eager"])
@pytest.mark.parametrize("how", ["eager", "captured"])
@pytest.mark.parametrize("kind", ["attribute", "closure", "buffer", "frozen dataclass", "global"])
def test_a_resumed_and_a_loaded_run_have_it(kind: str, how: str, tmp_path: Path) -> None:
    name, build = PRIORS[kind]

    def make() -> Experiment:
        globals()["TEMPERATURE"] = 2.0
        return experiment(build(), {f"model.prior.{name}": Linear(2.0, 1.0)})

    whole = train(make(), tmp_path / "whole", execution=Execution(how))
    with pytest.raises(Interrupted):
        train(
            make(), tmp_path / "broken", execution=Execution(how), callbacks=[Step(interrupt_at(5))]
        )
    loaded = load(tmp_path / "broken", experiment=make())
    assert float(loaded.experiment.number(f"model.prior.{name}").get()) == pytest.approx(2 - 5 / 12)
    assert same_files(train(make(), tmp_path / "broken", resume=True), whole)


def test_a_run_goes_on_with_the_schedules_that_it_began_with(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(
            experiment(closure(), {"beta": HALF}),
            tmp_path / "run",
            callbacks=[Step(interrupt_at(3))],
        )
    for schedules in ({"elbo.beta": HALF}, {"beta": Linear(2.0, 0.5)}, {}):
        with pytest.raises(RunError, match=r"it was started with schedules .*beta"):
            train(experiment(closure(), schedules), tmp_path / "run", resume=True)


def test_what_is_replaced_later_is_followed() -> None:
    made = experiment(Reading(lambda p: p.scale), {"model.prior.scale": HALF})
    made.apply_schedules(1)
    made.model.__self__.prior = Reading(lambda p: p.scale)
    made.apply_schedules(12)
    assert made.model.__self__.prior.scale == 1.0


def test_one_tensor_in_two_places_is_one_number(tmp_path: Path) -> None:
    def build() -> Experiment:
        prior = Reading(lambda p: p.tensor * p.space.scale)
        prior.space.scale = prior.tensor
        return experiment(prior, {"model.prior.tensor": HALF})

    captured, eager = (
        train(build(), tmp_path / how, execution=Execution(how)) for how in ("captured", "eager")
    )
    assert captured.history["kl"].tolist() == eager.history["kl"].tolist()
    prior = eager.experiment.model.__self__.prior
    assert prior.tensor is prior.space.scale
    assert prior.tensor == 1.0


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["model.prior.scael"], r"model.prior \(Reading\) has no 'scael' \(did you mean 'scale'"),
        (["model.pior.scale"], r"model \(method\) has no 'pior.scale' \(did you mean 'prior'"),
        (["model.prior.flag"], "expected a number at 'model.prior.flag', got bool"),
        (["model.prior.nothing"], "expected a number at 'model.prior.nothing', got None"),
        (["model.prior.vector"], r"got a tensor of shape \(2,\)"),
        (["model.prior.count"], "got a tensor of type torch.int64"),
        (["model.prior.learned"], "got a tensor that is trained"),
        (["model.prior.computed"], "'model.prior.computed' is computed or fixed"),
        (["model.decoder"], "expected a number at 'model.decoder', got MLPDecoder"),
        (["beta", "elbo.beta"], "'beta' and 'elbo.beta' are two names of one number"),
        (["model.prior.scale", "guide.prior.scale"], "are two names of one number"),
        (["model.prior.kept", "model.prior.settable"], "are two names of one number"),
        (["elbo.betta"], r"got 'elbo.betta' \(did you mean 'beta'\?\)"),
        (["elbo.num_particles"], "expected one of supervision, beta, alpha .*'elbo.num_particles'"),
        (["model"], "got 'model'"),
    ],
)
def test_what_is_refused(names: list[str], told: str) -> None:
    with pytest.raises(ExperimentError, match=told) as refused:
        experiment(Reading(lambda p: p.scale), dict.fromkeys(names, HALF))
    assert "\n" not in str(refused.value)


def test_a_value_that_its_object_refuses_is_refused_before_the_run() -> None:
    schedules = {"model.prior.settings.scale": Linear(2.0, -1.0)}
    with pytest.raises(ExperimentError, match=r"cannot be set to -1, as at step 12: scale: exp"):
        experiment(Reading(lambda p: p.settings.scale), schedules)
