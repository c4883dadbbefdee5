"""How the steps of a run are to be computed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from pyro_decomp import arguments
from pyro_decomp.acceleration.process import check_count
from pyro_decomp.errors import ExperimentError

CHOICES = {
    "steps": ("auto", "eager", "captured", "compiled", "fused"),
    "precision": ("auto", "float32", "bfloat16"),
    "memory_format": ("auto", "contiguous", "channels_last"),
}
MOST_THREADS = 1024


@dataclass(frozen=True)
class Stretch:
    """Steps of a run that were computed alike.

    Attributes:
        first_step: The first of them, from 1.
        steps: "eager", "captured", "fused" or "compiled".
        why: What decided it, where it was not asked for.
    """

    first_step: int
    steps: str
    why: str


@dataclass(frozen=True)
class Execution:
    """How the steps of a run are computed; the same choice gives the same bits on one machine.

    "auto" chooses by the experiment and the machine, never by the clock, so that it chooses the
    same again.

    Args:
        steps: "eager" runs the programs at every step; "captured" takes the arithmetic of a step
            down once and replays it, to the same bits; "fused" writes it as a few loops in C
            (:mod:`.fusion`), and "compiled" leaves that to torch's compiler: both round
            otherwise. "auto" takes what pays where the run is long enough to win more than it
            costs: fused steps where all operations can be written so, as in small networks.
        precision: Of the products in linear layers and convolutions: "float32", or "bfloat16" with
            sums in 32 bits (:mod:`.precision`), which is twice as fast for convolutions
            where the hardware has it, and ends at a somewhat lower ELBO. "auto" takes float32.
        memory_format: Of convolutions: "contiguous" or "channels_last". "auto" takes the latter.
        threads: Of the processor, or None for one for small batches and else as many as torch uses.
            A run begins with no more than 16 for each processor of the machine.
        why: What decided how steps are computed, where that was not asked for.
        why_format: What decided against the memory format that "auto" takes first.
        stretches: How they were computed from which step on, where that changed during the run.

    Raises:
        ExperimentError: A value is none of these.
    """

    steps: str = "auto"
    precision: str = "auto"
    memory_format: str = "auto"
    threads: int | None = None
    why: str = ""
    why_format: str = ""
    stretches: tuple["Stretch", ...] = ()

    def __post_init__(self) -> None:
        with arguments.raised_as(ExperimentError):
            for name, valid in CHOICES.items():
                arguments.one_of(valid, **{name: getattr(self, name)})
            arguments.whole(**arguments.given(threads=self.threads))
            if (self.threads or 0) > MOST_THREADS:  # fewer may be of a run of a larger machine
                check_count(threads=self.threads)
            arguments.text(why=self.why, why_format=self.why_format)
            arguments.items(Stretch, "stretches", stretches=self.stretches)

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Self:
        """What ``config.json`` records; runs from before it recorded anything were all eager."""
        kept = config.get("execution")
        if kept is None:
            return cls("eager", "float32", "contiguous")
        known = {field.name: kept[field.name] for field in fields(cls) if field.name in kept}
        stretches = tuple(Stretch(**each) for each in known.pop("stretches", ()))
        return cls(**known, stretches=stretches)

    def going(self, steps: str, step: int, why: str) -> Self:
        """This way of computing steps, in another one from a step on."""
        before = self.stretches or (Stretch(1, self.steps, self.why),)
        kept = tuple(stretch for stretch in before if stretch.first_step < step)
        stretches = (*kept, Stretch(step, steps, why))
        return replace(self, steps=steps, why=why, stretches=stretches)

    def differs_from(self, other: "Execution") -> list[str]:
        """What this asks for that the other is not, as "name value"; "auto" asks for nothing."""
        mine, others = asdict(self), asdict(other)
        return [
            f"{name} {value}"
            for name, value in mine.items()
            if name in (*CHOICES, "threads") and value not in ("auto", None, others[name])
            if name != "steps" or value not in {stretch.steps for stretch in other.stretches}
        ]

    def __str__(self) -> str:
        pieces = [f"{self.steps} steps" + (f" ({self.why})" if self.why else ""), self.precision]
        if self.memory_format == "channels_last":
            pieces.append("channels last")
        elif self.why_format:
            pieces.append(f"contiguous ({self.why_format})")
        if self.threads is not None:
            pieces.append("1 thread" if self.threads == 1 else f"{self.threads} threads")
        return ", ".join(pieces)
