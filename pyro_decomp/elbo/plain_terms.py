"""The terms of the plain evidence lower bound, each computed when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_decomp.programs.traces import TracePair


@dataclass(frozen=True)
class PlainTerm:
    """One of the plain ELBO's terms, computed when it is asked for; see :func:`plain_terms`.

    Attributes:
        per_datum: Of each datum of the batch, ``[B]``, in nats; None where there is no such part.
        shared: Of all N data together, in nats; None where there is no such part.
    """

    per_datum: Callable[[], Tensor] | None = None
    shared: Callable[[], Tensor] | None = None

    def mean(self, traces: TracePair) -> Tensor:
        """The term per datum."""
        own = None if self.per_datum is None else traces.mean(self.per_datum())
        if self.shared is None:
            assert own is not None
            return own
        shared = self.shared() / traces.total
        return shared if own is None else own + shared


def plain_terms(traces: TracePair) -> dict[str, PlainTerm]:
    """The plain ELBO's terms by name, as :meth:`TermsELBO.terms` defines them."""
    found = {
        "log_likelihood": PlainTerm(traces.log_likelihood, traces.global_log_likelihood),
        "kl": PlainTerm(traces.total_kl),
    }
    outside = (*traces.global_latents, *traces.global_auxiliaries)
    if outside:
        zero = torch.zeros(())
        found["global_kl"] = PlainTerm(shared=lambda: sum(map(traces.kl, outside), zero))
    if traces.labels:
        found["supervision"] = PlainTerm(traces.supervision)
    return found
