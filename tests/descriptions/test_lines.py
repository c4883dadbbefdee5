"""Every object of ours is one line, the call that makes it, with its values at present."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from inspect import isclass
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import Tensor

import pyro_decomp
from pyro_decomp import (
    VAE,
    BetaELBO,
    Exact,
    FactorELBO,
    callbacks,
    divergences,
    elbo,
    schedules,
)
from pyro_decomp.data.batches import Data
from pyro_decomp.descriptions import Described, constructor_call, shortened, value_text
from pyro_decomp.divergences import MMD, RBF, InclusiveKL, WeightedSum
from pyro_decomp.networks import Discriminator, MLPDecoder, MLPEncoder
from pyro_decomp.priors import GaussianMixture, Laplace, VonMisesFisher
from pyro_decomp.schedules import Capacity, Constant, Cosine, Cyclical, Linear
from tests.divergences.laws import DIVERGENCES
from tests.elbo.objectives import OBJECTIVES
from tests.priors.priors import PRIORS
from tests.test_public_names import PUBLIC

SCHEDULES = {
    "Capacity": Capacity(25.0),
    "Constant": Constant(0.5, until=10),
    "Cosine": Cosine(1.0, 0.0),
    "Cyclical": Cyclical(0.0, 1.0, cycles=3),
    "Linear": Linear(0.0, 4.0, until=0.5),
    "Sequence": Constant(0.0, until=10).then(Linear(0.0, 1.0, until=30)),
}
ROWS: dict[str, Callable[[], object]] = {
    **{f"objective: {name}": row for name, row in OBJECTIVES.items()},
    **{f"divergence: {name}": row for name, row in DIVERGENCES.items()},
    **{f"prior: {name}": row for name, row in PRIORS.items()},
    **{f"schedule: {name}": partial(lambda one: one, one) for name, one in SCHEDULES.items()},
    "VAE": PRIORS["mixture"].vae,
    "Exact": lambda: Exact(torch.randn(400, 2)),
    "Data": lambda: Data((torch.randn(400, 2), torch.arange(400))),
}
NAMES = {**vars(elbo), **vars(divergences), **vars(schedules)}
CALLS = [
    name
    for name in ROWS
    if name.startswith(("objective", "divergence", "schedule"))
    and not ("adversarial" in name or "Factor" in name)  # which have networks
]
NOT_TOLD = ("discriminator", "optimizer")  # a network has its class alone, whatever it is


@pytest.mark.parametrize("name", ROWS)
def test_it_is_one_line_of_bounded_length(name: str) -> None:
    thing = ROWS[name]()
    line = repr(thing)
    assert "\n" not in line
    assert len(line) <= 200
    assert "tensor([" not in line
    assert "object at" not in line
    assert line.startswith(type(thing).__name__) or isinstance(thing, WeightedSum)


@pytest.mark.parametrize("module", ["elbo", "divergences", "priors", "schedules"])
def test_every_public_class_of_these_rooms_is_described(module: str) -> None:
    room = import_module(f"pyro_decomp.{module}")
    classes = {n: c for n, c in vars(room).items() if isclass(c) and not n.startswith("_")}
    ours = {n for n, c in classes.items() if c.__module__.startswith("pyro_decomp")}
    results = {"Estimate", "Described"}
    guides = {"BottomUpEncoder", "TopDownEncoder"}  # networks, which torch describes
    warned = {n for n in ours if issubclass(classes[n], Warning)}
    undescribed = {n for n in ours if not issubclass(classes[n], Described)}
    assert undescribed <= results | guides | warned


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_names_its_weights(name: str) -> None:
    row = OBJECTIVES[name]
    for weight in row.weights:
        assert f"{weight}={row.settings[weight]}" in repr(row())
        changed = row()
        setattr(changed, weight, 0.125)  # as a schedule does
        assert f"{weight}=0.125" in repr(changed)


@pytest.mark.parametrize("table", [OBJECTIVES, DIVERGENCES], ids=["objectives", "divergences"])
def test_every_argument_is_seen_that_has_another_value(table: dict[str, Any]) -> None:
    for row in table.values():
        for name, other in row.others.items():
            line = repr(row(**{name: other}))
            if name not in NOT_TOLD and "(...)" not in line:
                assert line != repr(row()), name


@pytest.mark.parametrize("name", CALLS)
def test_the_line_is_a_call_that_makes_it_again(name: str) -> None:
    line = repr(ROWS[name]())
    assert repr(eval(line, dict(NAMES))) == line


def test_a_sum_is_written_as_one_adds() -> None:
    both = InclusiveKL() + 10.0 * MMD(RBF(0.5))
    assert repr(both) == "InclusiveKL() + 10.0 * MMD(kernel=RBF(bandwidth=0.5))"
    learned = torch.tensor(2.0) * (InclusiveKL() + 3.0 * InclusiveKL(7))
    assert repr(learned) == "tensor(2.0) * (InclusiveKL() + 3.0 * InclusiveKL(num_samples=7))"
    assert repr(WeightedSum([])) == "WeightedSum([])"


def test_a_prior_tells_what_it_has_learned_by_now() -> None:
    prior = GaussianMixture(torch.eye(2), 0.5, learned=["scale"])
    assert "scale=<[2, 2] of 0.5>" in repr(prior)
    assert "learned=('scale',)" in repr(prior)
    with torch.no_grad():
        prior.log_scale.fill_(0.0)
    assert "scale=<[2, 2] of 1>" in repr(prior)
    assert repr(Laplace(3, 0.5)) == "Laplace(latent_dim=3, scale=<[3] of 0.5>)"
    assert "concentration=tensor(4.0)" in repr(VonMisesFisher(torch.ones(3), 4.0))


def test_the_properties_of_a_prior_are_what_it_was_made_of() -> None:
    locs, weights = torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([1.0, 3.0])
    prior = GaussianMixture(locs, torch.tensor([0.5, 2.0]), weights)
    torch.testing.assert_close(prior.scale, torch.tensor([[0.5, 2.0], [0.5, 2.0]]))
    torch.testing.assert_close(prior.weights, torch.tensor([0.25, 0.75]))


class Renamed(BetaELBO):
    def __init__(self, strength: float = 2.0) -> None:
        super().__init__(beta=strength)


class Forwarding(BetaELBO):
    def __init__(self, *args: Any, gamma: float = 1, **named: Any) -> None:
        super().__init__(*args, **named)
        self.gamma = gamma


class Failing(BetaELBO):
    @property
    def beta(self) -> float:
        raise RuntimeError

    @beta.setter
    def beta(self, value: float) -> None:
        pass

    def weights(self) -> dict[str, float | Tensor]:
        raise RuntimeError


class Containing(BetaELBO):
    def __init__(self, other: object = None) -> None:
        super().__init__()
        self.other = other


class Placed(BetaELBO):
    def __init__(self, first: float, /, second: float = 1.0, *rest: float, last: int = 0) -> None:
        super().__init__(first)
        self.first, self.second, self.rest, self.last = first, second, rest, last


class Lost(BetaELBO):
    def __init__(self, first: float, second: float = 1.0, *rest: float) -> None:
        super().__init__(first)
        self.second, self.rest = second, rest


@pytest.mark.parametrize(
    ("thing", "line"),
    [
        (Placed(2.0, last=3), "Placed(2.0, second=1.0, last=3)"),
        (Placed(2.0, 1.0, 5.0), "Placed(2.0, 1.0, 5.0)"),
        (Lost(2.0, 3.0, 4.0), "Lost(..., 3.0, 4.0, beta=2.0)"),
        (Renamed(), "Renamed(beta=2.0, ...)"),
        (Forwarding(3.0, num_particles=4), "Forwarding(gamma=1, beta=3.0, num_particles=4)"),
        (Failing(), "Failing(...)"),
        (BetaELBO(torch.tensor(0.5, requires_grad=True)), "BetaELBO(beta=tensor(0.5))"),
        (Containing(torch.randn(9, 9) * torch.nan), "Containing(other=<[9, 9] with NaN>)"),
        (Containing(np.zeros((0, 3))), "Containing(other=<[0, 3]>)"),
        (
            FactorELBO(2.0, Discriminator(2)),
            "FactorELBO(gamma=2.0, discriminator=Discriminator(...))",
        ),
    ],
    ids=[
        "by place",
        "and more",
        "one of them lost",
        "renamed",
        "forwarded",
        "failing",
        "tensor",
        "not a number",
        "empty",
        "network",
    ],
)
def test_objectives_of_other_kinds(thing: object, line: str) -> None:
    assert repr(thing) == line


def test_what_contains_itself_ends() -> None:
    first = Containing()
    first.other = first
    assert repr(first) == "Containing(other=...)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Trace_ELBO(), "Trace_ELBO()"),
        (RenyiELBO(alpha=0.5, num_particles=3), "RenyiELBO(alpha=0.5, num_particles=3)"),
        (partial(torch.optim.Adam, lr=1e-3), "partial(Adam, lr=0.001)"),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, ... 9 in all]"),
        ({"a": (1,)}, "{'a': (1,)}"),
        (MLPEncoder(3, 2), "MLPEncoder(...)"),
        (PRIORS["isotropic"].vae, "Prior.vae"),
        (np.float32(0.5), "float(0.5)"),
    ],
    ids=["Pyro's", "Renyi", "partial", "list", "dictionary", "network", "method", "numpy"],
)
def test_values_of_others(value: object, text: str) -> None:
    assert value_text(value).replace("tensor", "float") == text


def test_a_long_line_is_cut() -> None:
    line = repr(sum([MMD(RBF(0.1 * k)) for k in range(1, 30)]))
    assert len(line) == 200
    assert line.endswith("...)")
    assert shortened("a\n b") == "a b"


def test_results_are_lines_too() -> None:
    vae = VAE(Laplace(2), MLPEncoder(3, 2), MLPDecoder(2, 3), size=6)
    estimate = BetaELBO().evaluate(vae.model, vae.guide, torch.randn(6, 3))
    assert "\n" not in repr(estimate)
    assert len(repr(estimate)) <= 200
    assert constructor_call(object()) == "object()"
    assert pyro_decomp.BetaELBO().formula == "log_likelihood - kl"


CALLBACKS = {
    "BestCheckpoint(monitor='elbo')": callbacks.BestCheckpoint("elbo"),
    "CSVLog(path='log.csv', every=0.001)": callbacks.CSVLog("log.csv"),
    "EarlyStopping(patience=3, min_delta=0.0)": callbacks.EarlyStopping(patience=3),
    "GradientNorms()": callbacks.GradientNorms(),
    "HeldOut(every=0.1)": callbacks.HeldOut(0.1),
    "LearningRate(scheduler=partial(StepLR, step_size=5))": callbacks.LearningRate(
        partial(torch.optim.lr_scheduler.StepLR, step_size=5)
    ),
}


@pytest.mark.parametrize("line", CALLBACKS)
def test_callbacks_are_lines(line: str) -> None:
    assert repr(CALLBACKS[line]) == line


@pytest.mark.parametrize("module", PUBLIC)
def test_no_public_class_of_fields_shows_them_in_full(module: str) -> None:
    classes = [getattr(import_module(module), name) for name in PUBLIC[module].split()]
    for each in filter(is_dataclass, classes):
        hints = " ".join(str(field.type) for field in fields(each))
        if any(kind in hints for kind in ("Array", "Tensor", "Mapping", "Sequence")):
            assert not each.__dataclass_params__.repr, each


def test_a_line_does_nothing_to_a_terminal() -> None:
    assert shortened("a\x1b[2J\n\u202eb") == r"a\x1b[2J \u202eb"
