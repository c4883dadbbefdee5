"""What a run trains: a model, a guide, data and an objective, with how long and how fast."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.acceleration import is_small, threads
from pyro_decomp.data.batches import Batch
from pyro_decomp.data.factors import read_splits
from pyro_decomp.descriptions import Fact, card, shortened, value_text
from pyro_decomp.divergences.auxiliary import Auxiliary, OptimizerFactory, OwnsAuxiliaries
from pyro_decomp.divergences.base import Divergence, WeightedSum
from pyro_decomp.elbo import PyroELBO, TermsELBO
from pyro_decomp.elbo.numbers import Number, Numbers, check_distinct
from pyro_decomp.errors import ExperimentError
from pyro_decomp.programs.program_state.copies import copied
from pyro_decomp.schedules import Schedule
from pyro_decomp.training.callbacks import Callback

Program = Callable[..., Any]
CALLBACKS = "callbacks, such as [EarlyStopping()]"


@dataclass(repr=False)
class Experiment:
    """Everything that a run needs besides its seed, device and folder.

    Args:
        model: A Pyro program ``model(x)`` that opens one data plate with the size of the whole data
            set, ``pyro.plate("data", N, subsample=x)``.
        guide: A Pyro program ``guide(x)`` with the same plate and latent sites.
        data: What to train on: an array, a tensor, a path to ``.npy``, ``.npz``, ``.csv`` or
            ``.parquet``, or a torch ``Dataset``; its first axis is the data. A tuple of several of
            equal length, such as ``(x, labels)``, gives the programs as many arguments,
            ``model(x, labels)``; the first is what is reconstructed, and beside it whole numbers
            and truth values keep their type. See :func:`pyro_decomp.data.as_data`.
        elbo: The objective: one of this package or of Pyro, such as ``RenyiELBO()``, which becomes
            a :class:`~pyro_decomp.elbo.PyroELBO`.
        test_data: Held-out data for evaluation, of the same kinds; none by default.
        epochs: Passes over the data.
        batch_size: Data per step; None takes the whole data set at once.
        optimizer: Builds the optimiser from the parameters, by default Adam with rate 1e-3; one of
            ``pyro.optim``; or what :func:`.parameter_groups` makes, for settings of some parameters
            alone. A function whose first argument is called ``named_parameters`` is given pairs of
            name and parameter. Gradients are those of the mean over data; an optimiser of
            ``pyro.optim``, and its ``clip_args``, get those of the sum, as in Pyro's ``SVI``.
        clip_grad_norm: Largest Euclidean norm of the whole gradient; None never clips.
        modules: Networks that ``model`` and ``guide`` use but that cannot be found by looking at
            them (they are neither modules, nor methods of one, nor do they close over one).
        schedules: Dotted name of a number to the schedule that sets it before every step; see
            :mod:`pyro_decomp.schedules`. Names begin with ``model.``, ``guide.`` or ``elbo.`` and
            go through attributes, variables of functions and items of containers, such as
            ``model.prior.scale`` for a ``VAE`` whose prior has a ``scale``; ``beta`` is short for
            ``elbo.beta``. A run, trained or loaded, keeps the value of its last step, so that it is
            evaluated with the numbers that it ended on.
        factors: Ground-truth factors of the data, whole numbers, a row a datum and a column a
            factor, in anything that can be data; or the names of the columns of ``data`` that hold
            them, if that is the path of a table, whose other columns are then x. They are for
            evaluation and pictures; the programs never see them.
        test_factors: Those of the test data; where ``factors`` are columns, the same ones of its
            table.
        factor_names: A name for each factor; by default those of the columns, if they have any.
        callbacks: Are told of what happens in training, such as ``EarlyStopping()``; see
            :mod:`pyro_decomp.callbacks`. Every run has copies of its own.

    Attributes:
        data: The training data as :class:`~pyro_decomp.data.Data`, whatever was given: slices are
            batches, ``model(*experiment.data[:10])``, and the tensors are not copied.
        test_data: The held-out data as :class:`~pyro_decomp.data.Data`, or None.
        factors: int64 ``[N, k]``, or None.
        test_factors: The same of the test data.
        factor_names: One for each of the k factors.
        scheduled_steps: The steps over which schedules run, for a run that went on beyond them with
            their last values; None for all steps.
    """

    model: Program
    guide: Program
    data: Any
    elbo: Any
    test_data: Any = None
    epochs: int = 100
    batch_size: int | None = None
    optimizer: OptimizerFactory = field(default=partial(torch.optim.Adam, lr=1e-3, fused=True))
    clip_grad_norm: float | None = None
    modules: Sequence[nn.Module] = ()
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    factors: Any = None
    test_factors: Any = None
    factor_names: Sequence[str] | None = None
    callbacks: Sequence[Callback] = ()
    scheduled_steps: int | None = field(default=None, init=False, repr=False, compare=False)
    _numbers: Numbers = field(default_factory=Numbers, init=False, repr=False, compare=False)
    _copied_modules: Sequence[nn.Module] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        splits = read_splits(
            self.data, self.test_data, self.factors, self.test_factors, self.factor_names
        )
        self.data, self.test_data = splits.data, splits.test_data
        self.factors, self.test_factors = splits.factors, splits.test_factors
        self.factor_names = splits.factor_names
        for name in ("model", "guide"):
            if not callable(getattr(self, name)):
                raise ExperimentError(
                    f"{name}: expected a callable, got {type(getattr(self, name)).__name__}"
                )
        given = arguments.given
        with arguments.raised_as(ExperimentError):
            build = "a function that builds one, such as partial(torch.optim.Adam, lr=1e-3)"
            arguments.function(build, optimizer=self.optimizer)
            some = "an objective such as AggregateELBO() or Pyro's Trace_ELBO()"
            arguments.instance(ELBO, some, elbo=self.elbo)
            if not isinstance(self.elbo, TermsELBO):
                self.elbo = PyroELBO(self.elbo)
            arguments.whole(epochs=self.epochs, **given(batch_size=self.batch_size))
            self.epochs = int(self.epochs)
            self.batch_size = None if self.batch_size is None else int(self.batch_size)
            arguments.number("(0, inf)", **given(clip_grad_norm=self.clip_grad_norm))
            arguments.items(nn.Module, "networks, such as [network]", modules=self.modules)
            arguments.items(Callback, CALLBACKS, callbacks=self.callbacks)
            arguments.instance(Mapping, "a dictionary of schedules", schedules=self.schedules)
            arguments.items(str, "names of numbers", schedules=self.schedules)
        for name, schedule in self.schedules.items():
            self._check_schedule(name, schedule)
        check_distinct({name: self.number(name) for name in self.schedules})

    def __repr__(self) -> str:
        return shortened(f"Experiment({value_text(self.elbo)}, {self.data!r}, {self._length})")

    @property
    def _length(self) -> str:
        steps = "1 step" if self.steps_per_epoch == 1 else f"{self.steps_per_epoch} steps"
        return f"{self.epochs} epochs of {steps}"

    def _repr_html_(self) -> str:
        return card("Experiment", self.facts)

    @property
    def facts(self) -> dict[str, Fact]:
        """What a card says of the experiment, by name; as text, or as a function that gives it."""
        owner: Any = getattr(self.model, "__self__", None)  # a VAE has its prior
        return {
            "objective": lambda: value_text(self.elbo),
            "maximised": lambda: self.elbo.formula,
            "scheduled": lambda: ", ".join(
                f"{name} from {first:.4g} to {last:.4g}"
                for name, (first, last) in self.scheduled_ranges().items()
            ),
            "prior": lambda: value_text(owner.prior),
            "model, guide": lambda: f"{value_text(self.model)}, {value_text(self.guide)}",
            "data": str(self.data),
            "held-out data": "" if self.test_data is None else str(self.test_data),
            "factors": ", ".join(self.factor_names or ()),
            "length": f"{self._length}, {self.data_per_step} data in each",
            "callbacks": lambda: ", ".join(map(value_text, self.callbacks)),
            "optimiser": lambda: value_text(self.optimizer),
        }

    @property
    def data_per_step(self) -> int:
        """The number of data in a step: ``batch_size``, or all data where they are fewer."""
        return min(self.batch_size or len(self.data), len(self.data))

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in one pass over the data; the last may be smaller."""
        return -(-len(self.data) // self.data_per_step)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """Data of the shape of the first batch; then of an epoch's last, where that is smaller."""
        data, size = self.data, self.data_per_step
        rest = len(data) % size
        return (data[:size], data[-rest:]) if rest else (data[:size],)

    @property
    def total_steps(self) -> int:
        """The number of optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def auxiliaries(self) -> dict[str, Auxiliary]:
        """The networks that the objective and its divergences train beside themselves, by name.

        Of several of one name, the second is called ``<name>_2``, and so on.
        """
        found: dict[str, Auxiliary] = {}
        for auxiliary in _auxiliaries(self.elbo):
            if auxiliary in found.values():
                continue
            same = sum(each.name == auxiliary.name for each in found.values())
            found[f"{auxiliary.name}_{same + 1}" if same else auxiliary.name] = auxiliary
        return found

    @property
    def programs(self) -> dict[str, Any]:
        """All that training may change, by name: what is not data or a plain setting."""
        names = ("model", "guide", "elbo", "modules", "optimizer", "schedules")
        return {name: getattr(self, name) for name in names}

    def own(self) -> "Experiment":
        """A copy with networks, objective and Python state of its own, on the same data.

        Raises:
            ModelError: Something cannot be copied; the message names it.
        """
        sets = [each for each in (self.data, self.test_data) if each is not None]
        data = [t for each in sets for t in each.tensors if isinstance(t, Tensor)]
        other = copy(self)
        vars(other).update(copied(self.programs, data), _numbers=Numbers())
        other._copied_modules = tuple(self.modules)
        return other

    def number(self, name: str) -> Number:
        """A number of the model, guide or objective by its name, as in ``schedules``.

        Raises:
            ExperimentError: There is none of this name, or it cannot be set.
        """
        programs = {"model": self.model, "guide": self.guide, "elbo": self.elbo}
        return self._numbers.of(programs, name)

    def apply_schedules(self, step: int) -> dict[str, float]:
        """Set what schedules change as it is at a step, from 1, and return the values."""
        total = self.scheduled_steps or self.total_steps
        values = {n: s.value(min(step, total), total) for n, s in self.schedules.items()}
        for name, value in values.items():
            self.number(name).assign(value)
        return values

    @contextmanager
    def at_first_step(self) -> Iterator[None]:
        """Have scheduled numbers as at the first step while other changes are looked for."""
        before = {name: self.number(name).get() for name in self.schedules}
        self.apply_schedules(1)
        try:
            yield
        finally:
            for name, value in before.items():
                self.number(name).set(value)

    def scheduled_ranges(self) -> dict[str, tuple[float, float]]:
        """What each schedule sets its number to at the first step and at the last, by its name."""
        total = self.scheduled_steps or self.total_steps
        return {n: (s.value(1, total), s.value(total, total)) for n, s in self.schedules.items()}

    def _check_schedule(self, name: str, schedule: Schedule) -> None:
        number = self.number(name)
        if not isinstance(schedule, Schedule):
            raise ExperimentError(
                f"schedules[{name!r}]: expected a schedule such as Linear(0.0, 1.0, until=0.5), "
                f"got {schedule!r}"
            )
        before = number.get()
        for step in (1, self.total_steps):
            value = schedule.value(step, self.total_steps)
            try:
                number.assign(value)
            except Exception as error:
                raise ExperimentError(
                    f"schedules: {name!r} cannot be set to {value:.6g}, as at step {step}: {error}"
                ) from error
        number.set(before)


@contextmanager
def few_threads(experiment: Experiment) -> Iterator[None]:
    """Use one thread inside, where a batch is too small for several to be faster."""
    with threads(1 if is_small(experiment.batches[0]) else None):
        yield


def _auxiliaries(thing: TermsELBO | Divergence) -> Iterator[Auxiliary]:
    """The auxiliary networks of an objective or divergence, and of those that it is made of."""
    if isinstance(thing, OwnsAuxiliaries):
        yield from thing.auxiliaries
    summands = [part for _, part in thing.parts] if isinstance(thing, WeightedSum) else []
    for part in (*summands, *vars(thing).values()):
        if isinstance(part, Divergence):
            yield from _auxiliaries(part)
