"""Numbers of an objective, model or guide as functions of how far a run has come."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described


class UnfinishedScheduleWarning(UserWarning):
    """The run ends before a schedule does."""


class Schedule(Described, ABC):
    """A number for every step of a run: a pure function, so a resumed run needs no state of it.

    ``Experiment(schedules={"beta": Linear(0.0, 1.0, until=0.5)})`` sets the objective's attribute
    ``beta`` before every step, and the name ``model.prior.scale`` the prior's ``scale``.
    """

    @abstractmethod
    def value(self, step: int, total_steps: int, *, since: float = 0.0) -> float:
        """The value at a step.

        Args:
            step: The step that is being taken, from 1, as in the run's history; 0 is before it.
            total_steps: Steps of the whole run.
            since: The step at which the schedule begins.
        """

    @abstractmethod
    def last_step(self, total_steps: int) -> float:
        """The step from which on the value stays as it is."""

    def then(self, following: "Schedule") -> "Sequence":
        """This schedule until its end, and from there ``following``.

        Example:
            >>> hold = Constant(0.0, until=10).then(Linear(0.0, 1.0, until=30))
            >>> [hold.value(step, 100) for step in (10, 20, 30, 99)]
            [0.0, 0.5, 1.0, 1.0]
        """
        return Sequence(self, following)


@dataclass(frozen=True, repr=False)
class Sequence(Schedule):
    """One schedule until its end and then another, which begins there.

    Args:
        first: What comes first.
        following: What comes after; its ``until`` counts from the beginning of the run too.
    """

    first: Schedule
    following: Schedule

    def __post_init__(self) -> None:
        arguments.instance(
            Schedule,
            "a schedule such as Linear(0.0, 1.0)",
            first=self.first,
            following=self.following,
        )

    def value(self, step: int, total_steps: int, *, since: float = 0.0) -> float:
        """The value at a step; see :meth:`Schedule.value`."""
        end = self.first.last_step(total_steps)
        if step <= end:
            return self.first.value(step, total_steps, since=since)
        return self.following.value(step, total_steps, since=end)

    def last_step(self, total_steps: int) -> float:
        """The step from which on the value stays as it is."""
        return max(self.first.last_step(total_steps), self.following.last_step(total_steps))


@dataclass(frozen=True, repr=False)
class Ramp(Schedule):
    r"""From ``start`` at step 0 to ``end`` at step ``until``, and ``end`` ever after.

    .. math:: v(t) = (1 - w) start + w end,  w = shape(t / until)

    Args:
        start: The value before the first step.
        end: The value at ``until``, and after it.
        until: Where it ends: a whole number counts steps, a fraction in (0, 1] is that part of the
            run (1.0 is the whole run; 1 is the first step).

    Raises:
        ArgumentError: A value is not finite, or ``until`` is neither of the two.
    """

    start: float
    end: float
    until: int | float = 1.0

    def __post_init__(self) -> None:
        arguments.number("(-inf, inf)", start=self.start, end=self.end)
        for name in ("start", "end", "until"):  # numpy's numbers as Python's
            object.__setattr__(self, name, arguments.plain(getattr(self, name)))
        in_steps = _is_whole(self.until)
        as_fraction = isinstance(self.until, float)
        if not ((in_steps and self.until >= 1) or (as_fraction and 0 < self.until <= 1)):
            steps = "a whole number of steps from 1 or a fraction of the run in (0, 1]"
            arguments.refuse("until", steps, self.until)

    @abstractmethod
    def shape(self, progress: float) -> float:
        """How far from ``start`` to ``end``, 0 to 1, at a progress in [0, 1]."""

    def value(self, step: int, total_steps: int, *, since: float = 0.0) -> float:
        """The value at a step; see :meth:`Schedule.value`."""
        end = self.last_step(total_steps)
        way = self.shape(1.0 if step >= end else max(0.0, (step - since) / (end - since)))
        return float((1.0 - way) * self.start + way * self.end)

    def last_step(self, total_steps: int) -> float:
        """The step from which on the value stays as it is."""
        return self.until * total_steps if isinstance(self.until, float) else float(self.until)


class Constant(Ramp):
    """The same value at every step.

    Args:
        value: The value.
        until: Where it ends, for :meth:`Schedule.then`; see :class:`Ramp`.
    """

    def __init__(self, value: float, until: int | float = 1.0) -> None:
        arguments.number("(-inf, inf)", value=value)
        super().__init__(value, value, until)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.end}, until={self.until})"

    def shape(self, progress: float) -> float:
        """The ramp's value, 1 throughout."""
        return 1.0


class Linear(Ramp):
    """A straight line between two values, w = progress; arguments of :class:`Ramp`.

    Example:
        >>> warm_up = Linear(0.0, 4.0, until=0.5)
        >>> [warm_up.value(step, total_steps=100) for step in (1, 25, 50, 100)]
        [0.08, 2.0, 4.0, 4.0]
    """

    def shape(self, progress: float) -> float:
        """The progress itself."""
        return progress


class Exponential(Ramp):
    r"""By equal ratios from one positive number to another; arguments of :class:`Ramp`.

    .. math:: v(t) = start^{1 - progress} end^{progress}

    For numbers that change over orders of magnitude, such as a temperature or a variance.

    Raises:
        ArgumentError: A value is not positive, or as for :class:`Ramp`.

    Example:
        >>> cooling = Exponential(1.0, 0.01, until=0.5)
        >>> [round(cooling.value(step, total_steps=100), 6) for step in (25, 50, 100)]
        [0.1, 0.01, 0.01]
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        arguments.number("(0, inf)", start=self.start, end=self.end)

    def shape(self, progress: float) -> float:
        """The way that equal ratios have gone."""
        ratio = self.end / self.start
        return progress if ratio == 1 else (ratio**progress - 1) / (ratio - 1)


class Cosine(Ramp):
    """Half a cosine between two values, flat at both ends: w = (1 - cos(pi progress)) / 2.

    Arguments are those of :class:`Ramp`.
    """

    def shape(self, progress: float) -> float:
        """Half a cosine."""
        return 0.5 - 0.5 * math.cos(math.pi * progress)


@dataclass(frozen=True, repr=False)
class Cyclical(Ramp):
    """From ``start`` to ``end`` again and again, and ``end`` after the last cycle.

    Each cycle rises in a straight line for a share ``ramp`` of its length and stays at ``end`` for
    the rest. Fu et al., "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL
    Vanishing", 2019, with M = 4 and R = 0.5 as there (https://arxiv.org/abs/1903.10145).

    Args:
        start: The value at the beginning of every cycle.
        end: The value that every cycle reaches.
        until: Where the last cycle ends; see :class:`Ramp`.
        cycles: M, how many.
        ramp: R, the share of a cycle in which the value changes, in (0, 1].
    """

    cycles: int = 4
    ramp: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        arguments.whole(cycles=self.cycles)
        arguments.number("(0, 1]", ramp=self.ramp)

    def shape(self, progress: float) -> float:
        """The rise within the cycle that this progress is in."""
        if progress >= 1:
            return 1.0
        within = round(progress * self.cycles, 9) % 1.0  # else a cycle may begin a step late
        return min(1.0, within / self.ramp)


class Capacity(Linear):
    """From 0 nats in a straight line to ``maximum``, and flat after it.

    For the ``capacity`` of :class:`~pyro_decomp.elbo.CapacityELBO`. Burgess et al., "Understanding
    disentangling in beta-VAE", 2018, section 5, raise it to 25 nats over 100,000 steps
    (https://arxiv.org/abs/1804.03599).

    Args:
        maximum: The capacity at ``until``, in nats per datum.
        until: Where it is reached; see :class:`Ramp`.
    """

    def __init__(self, maximum: float, until: int | float = 1.0) -> None:
        arguments.number("[0, inf)", maximum=maximum)
        super().__init__(0.0, maximum, until)

    @property
    def maximum(self) -> float:
        """The capacity at ``until``, in nats per datum."""
        return self.end


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
