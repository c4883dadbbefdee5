"""The beta-VAE written as a VAE with an annealed prior."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.distributions.closed_form_kl import analytic_kl
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.elbo.entropy import analytic_entropy
from pyro_decomp.programs.annealed_program import anneal_site, check_normalizers
from pyro_decomp.programs.structure import Program
from pyro_decomp.programs.traces import TracePair


class AnnealedPriorELBO(TermsELBO):
    r"""A VAE with the annealed prior, a reward for entropy, and what is left of the prior.

    .. math::
        L_\beta = E_{q(z|x)}[\log p(x|z)] - KL(q(z|x) || f_\beta(z))
            + (\beta - 1) H[q(z|x)] + \log F_\beta,
        \quad f_\beta = p^\beta / F_\beta, \quad F_\beta = \int p(z)^\beta dz

    Mathieu, Rainforth, Siddharth & Teh, "Disentangling Disentanglement in Variational
    Autoencoders", 2019, Theorem 1 (https://arxiv.org/abs/1812.02833): it equals the objective of
    :class:`BetaELBO`, and so do its gradients, on the same samples. Use it to see what beta does:
    how much of the objective is match to the annealed prior and how much is entropy, that is,
    overlap. ``beta=1`` is the plain ELBO.

    Terms, besides those of :class:`TermsELBO` (of which ``kl``, to the prior as it is, is only
    logged), in nats per datum and summed over the latent sites of a datum: ``annealed_kl``,
    KL(q || f_beta); ``entropy``, H[q(z|x)]; ``log_normalizer``, log F_beta. The first two are in
    closed form where the KL to p, that to f_beta and the entropy all have one, and else both are
    estimated from the same samples, without bias. For mixtures that are normalised by importance
    sampling ``log_normalizer`` has an error, which ``annealed_kl`` has too: it cancels in the
    objective.

    The prior is annealed site by site. Where a site's normaliser is computed from other latent
    sites that is not the annealed joint, and is refused; see :func:`.anneal`.

    Args:
        beta: The power, positive.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed forms of the KL and of the entropy where there are some.

    Attributes:
        entropy_methods: Latent site to "analytic" or "Monte Carlo", for its ``annealed_kl`` and
            ``entropy``, as of the last evaluation.

    Raises:
        ArgumentError: ``beta`` is not positive.
        ModelError: When evaluated: a site's prior cannot be annealed, or its normaliser is
            computed from other latent sites.

    Example:
        >>> AnnealedPriorELBO(4.0).weights()["entropy"]
        3.0
    """

    of_kl = frozenset({"kl", "annealed_kl", "entropy", "log_normalizer"})

    def __init__(
        self, beta: float | Tensor = 1.0, *, num_particles: int = 1, analytic_kl: bool = True
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("(0, inf)", beta=beta)
        self.beta = beta
        self.entropy_methods: dict[str, str] = {}
        self._annealable: tuple[Program, list[str]] | None = None

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, 0 (logged only), -1, -1, beta - 1 and 1."""
        return super().weights() | {
            "kl": 0.0,
            "annealed_kl": -1.0,
            "entropy": self.beta - 1,
            "log_normalizer": 1.0,
        }

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and those of Theorem 1.

        Raises:
            ModelError: A site's prior cannot be annealed.
        """
        terms = super().terms(traces)
        self.entropy_methods = {}
        sums = dict.fromkeys(
            ("annealed_kl", "entropy", "log_normalizer"), terms["kl"].new_zeros(())
        )
        for name in traces.latents:
            kl, entropy, log_f = self._site_terms(traces, name)
            sums["annealed_kl"] = sums["annealed_kl"] + traces.mean(kl)
            sums["entropy"] = sums["entropy"] + traces.mean(entropy)
            sums["log_normalizer"] = sums["log_normalizer"] + traces.mean(log_f)
        for name in traces.auxiliaries:  # of the guide alone, so that no prior is annealed
            log_q = traces.mean(traces.log_prob(name, guide=True))
            sums["annealed_kl"] = sums["annealed_kl"] + log_q
            sums["entropy"] = sums["entropy"] - log_q
        return terms | sums

    def trace_pairs(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Iterator[TracePair]:
        """Run the guide and the model once a particle; the first time, check the normalisers.

        Raises:
            ModelError: As the base; or a normaliser is computed from other latent sites.
        """
        for traces in super().trace_pairs(model, guide, *args, **kwargs):
            several = len(traces.latents) + len(traces.global_latents) > 1
            if several and self._annealable != (model, traces.latents):
                check_normalizers(lambda: model(*args, **kwargs), self.beta, traces.latents)
                self._annealable = (model, traces.latents)
            yield traces

    def _site_terms(self, traces: TracePair, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """KL(q || f_beta), H[q] and log F_beta of one site, each per datum, ``[B]``."""
        q, p = traces.guide.nodes[name], traces.model.nodes[name]
        f, log_normalizer = anneal_site(name, p["fn"], self.beta)
        log_f = traces.per_datum(log_normalizer, p)
        kl, entropy = None, None
        if traces.kl_methods[name] == "analytic":
            kl, entropy = analytic_kl(q["fn"], f), analytic_entropy(traces, name)
        if kl is not None and entropy is not None:
            self.entropy_methods[name] = "analytic"
            return traces.per_datum(kl, q), entropy, log_f
        self.entropy_methods[name] = "Monte Carlo"
        log_q = traces.log_prob(name, guide=True)
        return log_q - self.beta * traces.log_prob(name) + log_f, -log_q, log_f
