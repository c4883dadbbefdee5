"""The plain ELBO's terms over a whole set of data, each with its error or why it is left out."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pyro_decomp.analysis.quantities import by_itself, mean
from pyro_decomp.elbo.base import PlainTerm, plain_terms
from pyro_decomp.programs.traces import TracePair

SIGNS = {"log_likelihood": 1.0, "kl": -1.0, "global_kl": -1.0}  # of the ELBO's parts


class TermSums:
    """Terms of all data of a set, summed over the batches of one pass or several.

    Args:
        size: Rows of the set.
        refused: Terms that are not tried, and why.

    Attributes:
        counts: How much each row counts, ``[N]``; 0 where it is masked.
    """

    def __init__(self, size: int, refused: Mapping[str, str] | None = None) -> None:
        self.counts = torch.ones(size, dtype=torch.float64)
        self._rows_seen = 0
        self._own: dict[str, Tensor] = {}
        self._shared: dict[str, Tensor] = {}
        self._left_out = dict(refused or {})

    def add(self, pair: TracePair, start: int) -> None:
        """Add a batch.

        Args:
            pair: Guide and model on it.
            start: The row of the set that its first row is.
        """
        rows = slice(start, start + pair.batch_size)
        self._rows_seen += pair.batch_size
        if pair.counts is not None:
            self.counts[rows] = pair.counts.cpu().double()
        for name, term in plain_terms(pair).items():
            if name not in self._left_out:
                with by_itself(self._left_out, name):
                    self._add(name, term, pair, rows)

    def numbers(self) -> tuple[dict[str, float], dict[str, str]]:
        """The ELBO and its terms in nats per datum, and why others are left out, by name.

        Beside each is its standard error over the data, ``<name>_standard_error``, that of the part
        which each datum has for itself.
        """
        passes = self._rows_seen / len(self.counts)
        own = {name: values / passes for name, values in self._own.items()}
        shared = {name: values / passes for name, values in self._shared.items()}
        left_out = dict(self._left_out)
        parts = [name for name in SIGNS if name in {*own, *shared, *left_out}]
        if missing := next((name for name in parts if name in left_out), None):
            left_out["elbo"] = left_out[missing]
        else:
            for each in (own, shared):
                each["elbo"] = sum(
                    (SIGNS[name] * each[name] for name in parts if name in each),
                    torch.zeros_like(self.counts),
                )
        found: dict[str, float] = {}
        for name in ("elbo", *(name for name in {**own, **shared} if name != "elbo")):
            if name not in left_out:
                numbers, reason = self._mean(name, own.get(name), shared.get(name))
                found |= numbers
                left_out |= {name: reason} if reason else {}
        return found, left_out

    def _add(self, name: str, term: PlainTerm, pair: TracePair, rows: slice) -> None:
        zero = torch.zeros_like(self.counts)
        if term.per_datum is not None:
            values = term.per_datum()
            if pair.counts is not None and values.dim():
                values = values.masked_fill(pair.counts == 0, 0.0)
            self._own.setdefault(name, zero.clone())[rows] += values.cpu().double()
        if term.shared is not None:
            value = (term.shared() / pair.total).cpu().double()
            self._shared.setdefault(name, zero)[rows] += value

    def _mean(
        self, name: str, own: Tensor | None, shared: Tensor | None
    ) -> tuple[dict[str, float], str]:
        """The mean over the data and its error, or why it is no number to report."""
        valid = self.counts > 0
        counts = self.counts[valid]
        weights = None if bool((counts == counts[0]).all()) else counts
        found = {name: 0.0} if own is None else mean(name, own[valid], weights)
        if shared is not None:
            found[name] += mean(name, shared[valid], weights)[name]
        if math.isfinite(found[name]):
            return {key: value for key, value in found.items() if math.isfinite(value)}, ""
        zero = torch.zeros_like(self.counts)
        total = sum((each for each in (own, shared) if each is not None), zero)
        spoilt = valid & ~total.isfinite()
        where = f"{int(spoilt.sum())} of {int(valid.sum())} data, first in row"
        return {}, f"it is {found[name]} in {where} {int(spoilt.nonzero()[0])}"
