"""What a trained run is worth: its terms, its overlap, its match to the prior, and its codes."""

import json
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from pyro import poutine
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.aggregate_posterior import StructuredPosterior
from pyro_decomp.analysis.components import components
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.evaluated import Evaluation
from pyro_decomp.analysis.findings import findings
from pyro_decomp.analysis.kl_decomposition import PARTS, decomposition
from pyro_decomp.analysis.log_likelihood import check_affordable, log_px_over
from pyro_decomp.analysis.metrics_file import checkpoint_of, write_metrics
from pyro_decomp.analysis.posterior_samples import PosteriorSamples, sample_posterior
from pyro_decomp.analysis.quantities import (
    LOG_PX,
    by_itself,
    hold_numbers,
    keep_finite,
)
from pyro_decomp.analysis.scores import OF_FACTORS, SCORES, hold_scores, scores
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.metrics.report import SLOW
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import derive, seeded
from pyro_decomp.training.data_support import check_data
from pyro_decomp.training.experiment import few_threads
from pyro_decomp.training.run import Run, untrained
from pyro_decomp.training.run_files.run_config import versions
from pyro_decomp.training.user_code import memory_counted

__all__ = ["MEASURES", "Evaluation", "check_names", "evaluate", "write_metrics"]

COMPONENTS = "components"
MEASURES = ("elbo", *PARTS, LOG_PX, COMPONENTS, *SCORES)
UNTRAINED = "untrained"
NO_FILE = "the run keeps no source, so that it cannot be made again as it was"
DIVERGENCE_STREAM, LOG_PX_STREAM = 1, 2

MIN_SAMPLES, MAX_SAMPLES = 1000, 10_000  # samples of q(z), and of p(z), that are scored
PAIR_ELEMENTS = 2**31  # dimensions times pairs of sample and datum, if that leaves enough samples
GUIDE_RUNS = 2**24  # pairs of sample and datum for which a guide of dependent sites is run
MIN_GUIDE_SAMPLES = 200


class LeftOutWarning(UserWarning):
    """A warning that names what cannot be measured because of how the programs are written."""


def evaluate(
    run: Run,
    *,
    seed: int = 0,
    num_importance_samples: int = 1000,
    only: Collection[str] | None = None,
    trees: bool = False,
) -> Evaluation:
    r"""Measure a run on its training data, and on its test data if it has some.

    Each quantity is measured by itself: one that fails, or is no finite number, is among
    ``left_out`` with its reason, and so is one that breaks a bound that follows from its
    definition (:func:`.hold_numbers`, :func:`.hold_scores`). With the same seed it is the same
    number whatever else is measured.

    In nats per datum over the whole set, each estimate with a standard error over the data (of the
    ELBO, its terms and log p(x)) or the samples (of the others) as ``<name>_standard_error``:

    ``elbo``, ``log_likelihood``, ``kl``, ...
        The plain ELBO and its terms.
    ``divergence``
        KL(p || q), its q(z) over the whole set; 10,000 draws from the prior, or fewer
        where the set is large, but no fewer than 1,000 (200 of a guide whose sites depend on one
        another, which is run for every pair of draw and datum); 100 per datum of a set of fewer
        than 100.
    ``mutual_information``
        I(x; z) = E[log q(z|x) - log q(z)] under the empirical distribution of the set, at most
        log N; of about as many samples.
    ``effective_sharing``
        exp(log N - I(x; z)): how many of the N data share a code, between 1 and N. No unit.
    ``marginal_kl``, ``total_correlation``, ``dimensionwise_kl``
        KL(q(z) || p(z)) and its two parts; see
        :func:`.kl_decomposition.decomposition`. Where the prior is given something
        of the datum there is ``prior_information`` too, and p(z) is the mixture over the set.
    ``importance_weighted_log_px``
        log p(x) by importance weighting, over ``importance_weighted_data`` data spread evenly over
        the set: 400, or fewer where they are large, so it may lie below ``elbo`` by chance; with
        K = ``importance_weighted_samples``.
    ``scores``
        The metrics of :mod:`pyro_decomp.metrics` that the codes and, if the experiment has them,
        the factors allow, by name; see :func:`.scores.scores`. Beside each is
        that of the encoder before training, unless the run keeps no source.
    ``components``
        How much of the data each component of a mixture prior holds, and which are empty or merged:
        see :func:`.components.components`. Absent where the prior has none.
    ``left_out``
        Why something cannot be measured, by name.
    ``findings``
        Of the training data, beside ``elbo``: what the run's numbers say in sentences; see
        :func:`pyro_decomp.analysis.findings.findings`.
    ``checkpoint``, ``seeds``, ``versions``
        Of which state of the run the numbers are, and, by name, the seed of each, and the versions
        of Python and of the packages that computed it.

    Args:
        run: The run.
        seed: The seed of every draw; the global random generators are left as they were.
        num_importance_samples: K, draws per datum for log p(x).
        only: Names among these (``elbo`` stands for its terms too) and the scores'; all by default.
        trees: Add the score ``dci_trees``, which takes minutes.

    Returns:
        ``{"train": {...}, "test": {...}}``; ``test`` only if there are test data. A notebook shows
        it as a table, and :meth:`.Evaluation.to_frame` is one of pandas.

    Raises:
        DataError: ``only`` has a name that is none of these, or no name; or so many importance
            samples would take more than an hour.
    """
    arguments.annotated(evaluate, locals(), num_importance_samples=1, seed=0)
    only = None if only is None else set(only)
    names = _names(only, trees=trees)
    trial = run.experiment
    sets = {"train": trial.data, "test": trial.test_data}
    factors = {"train": trial.factors, "test": trial.test_factors}
    encoded = {name: EncodedData.of(run, x) for name, x in sets.items() if x is not None}
    metrics = Evaluation()
    checkpoint = checkpoint_of(run)
    kept, less = run.state.program.preserving_rng_and_buffers(), "only some of it"
    with memory_counted(less), kept, torch.no_grad(), few_threads(trial):
        if LOG_PX in names:
            check_affordable([*encoded.values()], num_importance_samples)
        before, why_not = _untrained(run) if names & set(SCORES) else (None, {})
        for name, data in encoded.items():
            wanted = names - OF_FACTORS if factors[name] is None and only is None else names
            measurement = _Measurement(run, name, data, seed)
            measurement.measure_numbers(wanted, num_importance_samples, encoded["train"])
            if COMPONENTS in wanted:
                measurement.measure_components(is_asked=only is not None)
            measurement.measure_scores(wanted & set(SCORES), factors[name], before, why_not)
            metrics[name] = measurement.result(wanted) | {"checkpoint": checkpoint}
        if "elbo" in names:
            metrics["train"]["findings"] = findings(run, metrics, data=encoded["train"])
    return metrics


def check_names(names: Collection[str]) -> None:
    """Refuse names of nothing that can be measured.

    Raises:
        DataError: One is not among :data:`MEASURES`.
    """
    for name in names:
        if name not in MEASURES:
            raise DataError(f"only: expected names among {', '.join(MEASURES)}, got {name!r}")


def _names(only: Collection[str] | None, *, trees: bool) -> set[str]:
    if only is not None and not only:
        raise DataError(f"only: expected names among {', '.join(MEASURES)}, got none")
    check_names(only or ())
    names = set(MEASURES) - SLOW if only is None else set(only)
    return names | SLOW if trees else names


@dataclass
class _Measurement:
    """The quantities of one set of data, each measured by itself."""

    run: Run
    name: str
    data: EncodedData
    seed: int
    numbers: dict[str, float] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    components: dict[str, Any] = field(default_factory=dict)

    def measure_numbers(
        self, names: set[str], num_importance_samples: int, trained_on: EncodedData
    ) -> None:
        """Measure the ELBO and its terms, the KL in parts, and log p(x), those that are named."""
        refused: dict[str, str] = {}
        if names & {"elbo", LOG_PX}:
            with by_itself(refused, "log_likelihood"):
                kind = "data" if self.name == "train" else "test data"
                trial, modules = self.run.experiment, self.run.state.modules
                first = _plain_trace(trained_on)
                check_data(trial, modules, self.data.data, kind, first=first, is_whole=True)
        samples = None
        densities = [name for name in ("elbo", *PARTS) if name in names]
        if densities:
            with by_itself(self.left_out, *densities), seeded(self.seed):
                size = len(self.data)
                samples = sample_posterior(
                    self.data, lambda pair: _num_samples(pair, size), refused=refused
                )
        if samples is not None:
            self._add_samples(samples, names)
        if LOG_PX in names:
            with by_itself(self.left_out, LOG_PX), seeded(derive(self.seed, LOG_PX_STREAM)):
                if refused:
                    raise ModelError(refused["log_likelihood"])
                self.numbers |= log_px_over(self.data, num_importance_samples)
        keep_finite(self.numbers, self.left_out)
        if samples is not None:
            _hold(samples, self.numbers, self.left_out)

    def measure_components(self, *, is_asked: bool) -> None:
        """Find the components of the prior; to have none is no fault unless they are asked for."""
        with by_itself(self.left_out, COMPONENTS):
            try:
                found = components(self.data, seed=self.seed)
            except ModelError:
                if is_asked:
                    raise
                return
            json.dumps(found, allow_nan=False)  # refuses what is not finite
            self.components = {COMPONENTS: found}

    def measure_scores(
        self,
        names: set[str],
        factors: Int[Tensor, "n k"] | None,
        before: Run | None,
        why_not: Mapping[str, str],
    ) -> None:
        """Score the codes by the metrics that are named.

        Args:
            names: The names of the metrics.
            factors: Ground truth, a row a datum.
            before: The run before it was trained; None where there is none.
            why_not: Why there is none, if so.
        """
        if not names:
            return
        with by_itself(self.left_out, *sorted(names)), seeded(self.seed):
            untrained = None if before is None else EncodedData.of(before, self.data.data)
            self.scores, left_out = scores(
                self.data, factors, before=untrained, only=names, seed=self.seed
            )
            self.left_out |= left_out
        hold_scores(self.scores, self.left_out)
        if self.scores:
            self.left_out |= why_not

    def result(self, names: set[str]) -> dict[str, Any]:
        """All that was found, in JSON's types."""
        by = ", ".join(f"{name} {version}" for name, version in versions().items())
        return {
            **self.numbers,
            **self.components,
            "scores": self.scores,
            "left_out": self.left_out,
            "seeds": {name: self.seed for name in MEASURES if name in names},
            "versions": {name: by for name in MEASURES if name in names},
        }

    def _add_samples(self, samples: PosteriorSamples, names: set[str]) -> None:
        if "elbo" in names:
            self.numbers |= samples.terms
            self.left_out |= samples.left_out
        for some, stream in (({"divergence"}, DIVERGENCE_STREAM), ({*PARTS} - {"divergence"}, 0)):
            with seeded(derive(self.seed, stream)):
                found, left_out = decomposition(samples, samples.num_samples, names & some)
            self.numbers |= found
            self.left_out |= left_out
        named = [name for name in PARTS if name in names] if samples.reason else []
        if named:
            verb = "is" if len(named) == 1 else "are"
            sentence = f"{', '.join(named)} {verb} left out: {samples.reason}"
            warnings.warn(sentence, LeftOutWarning, stacklevel=4)


def _untrained(run: Run) -> tuple[Run | None, dict[str, str]]:
    """The run before it was trained, or why there is none."""
    why_not: dict[str, str] = {}
    before = None
    with by_itself(why_not, UNTRAINED):
        before = untrained(run)
    if before is None and not why_not:
        why_not[UNTRAINED] = NO_FILE
    return before, why_not


def _plain_trace(data: EncodedData) -> poutine.Trace | None:
    """The model's trace of the first batch; None where it has no plain one."""
    found: list[poutine.Trace] = []
    with by_itself({}, "log_likelihood"):  # whoever asks for more tells of programs that fail
        found += [] if data.first.summed_out else [data.first.model]
    return found[0] if found else None


def _hold(samples: PosteriorSamples, numbers: dict[str, float], left_out: dict[str, str]) -> None:
    first = samples.first
    hold_numbers(
        numbers,
        left_out,
        size=len(samples.data.valid),
        log_size=samples.log_size,
        num_dims=samples.samples[0].codes.shape[1] if samples.samples else 1,
        has_plain_kl=not (samples.reason or first.auxiliaries or first.rows.irregular),
    )


def _num_samples(pair: TracePair, size: int) -> int:
    """How many samples of q(z) can be scored over a set in a time that a person waits."""
    if pair.is_structured or isinstance(pair.aggregate_prior, StructuredPosterior):
        return min(max(GUIDE_RUNS // size, MIN_GUIDE_SAMPLES), MAX_SAMPLES)
    latents = (pair.guide.nodes[name]["fn"] for name in pair.latents)
    latent_dim = max(1, sum(fn.shape().numel() for fn in latents) // pair.batch_size)
    return min(max(PAIR_ELEMENTS // (size * latent_dim), MIN_SAMPLES), MAX_SAMPLES)
