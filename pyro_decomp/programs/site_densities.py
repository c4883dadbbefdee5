"""Log densities of the sites of a run, per datum and free of scales, and sums of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from types import MappingProxyType

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions.util import broadcast_shape, scale_and_mask
from torch import Tensor

from pyro_decomp.distributions.closed_form_kl import analytic_kl
from pyro_decomp.distributions.densities import why_no_density
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.enumeration import (
    NOTHING,
    Enumeration,
    enumerated_dim,
    factor,
    log_marginal,
    per_datum,
    varies_along,
)
from pyro_decomp.programs.rows import Along, own_scale, plates_scale, same, same_mask, site_mask
from pyro_decomp.programs.sites import Site
from pyro_decomp.programs.traced_sites import TracedSites


@dataclass(frozen=True)
class OwnSamples:
    """The batch's own samples of q(z|x), for one choice of the guide's discrete sites.

    Attributes:
        z: Values of all latent sites of a datum.
        log_qz_x: Their joint log density under the encodings, ``[B]``.
        log_pz: Their joint log density under the prior of each datum, p(z|u) where it is given
            something, ``[B]``.
    """

    z: Mapping[str, Tensor]
    log_qz_x: Float[Tensor, " b"]
    log_pz: Float[Tensor, " b"]


class SiteDensities(TracedSites):
    """The densities of the sites of one guide trace and the model trace replayed against it.

    Everything is per datum, in nats, and free of scales, the plate's N/B and those of the user's
    own handlers: a vector with one entry for each of the B rows in the batch, 0 where a site is
    masked. :meth:`mean` is over the rows that are data, as :attr:`rows` tells. Where discrete sites
    of the guide have all of their values, what is given is the expectation over them; over those
    of the model alone, densities are summed.

    Args:
        model: The model's trace.
        guide: The guide's trace.
        enumeration: The discrete sites that are summed over.
        guide_dependencies: Latent site of the guide to the others that it depends on.
        use_analytic_kl: Whether to use closed forms of the KL.

    Attributes:
        kl_methods: For each latent site whose KL was asked for, "analytic" or "Monte Carlo".
    """

    def __init__(
        self,
        model: poutine.Trace,
        guide: poutine.Trace,
        enumeration: Enumeration = NOTHING,
        *,
        guide_dependencies: Mapping[str, set[str]] = MappingProxyType({}),
        use_analytic_kl: bool = True,
    ) -> None:
        super().__init__(model, guide, enumeration)
        self.guide_dependencies = guide_dependencies
        self.use_analytic_kl = use_analytic_kl
        self.kl_methods: dict[str, str] = {}

    def log_prob(self, name: str, *, guide: bool = False) -> Tensor:
        """The site's log density per datum, ``[B]``; a scalar for a site outside the data plate.

        Args:
            name: The site.
            guide: Whether its density in the guide is asked for, not that in the model.

        Returns:
            The log density, in nats.

        Raises:
            ModelError: The site's density depends on a discrete site that is summed out.
        """
        if not guide and name in self.depends_on_marginalized:
            summed = ", ".join(map(repr, self.summed_out))
            raise ModelError(
                f"site '{name}' has no density of its own, as it depends on {summed}, which is "
                "summed out: expected a mixture inside one site, such as MixtureSameFamily"
            )
        return self.expectation(self._log_prob(name, guide=guide))

    def kl(self, name: str) -> Tensor:
        """KL(q(z|x) || p(z)) of one latent site per datum, ``[B]``.

        Analytic where a closed form is registered, the site's prior depends on nothing drawn after
        it in the guide, and both programs mask and scale it alike; else the one-sample estimate
        log q - log p, which for an auxiliary site is log q. A scalar for a site outside the data
        plate.

        Returns:
            The KL, in nats.

        Raises:
            ModelError: The site's prior depends on a discrete site that is summed out.
        """
        if name not in self.model.nodes:
            return self.log_prob(name, guide=True)
        q, p = self.guide.nodes[name], self.model.nodes[name]
        is_joint = name not in self.depends_on_marginalized and self._order_agrees(name)
        if self.use_analytic_kl and is_joint and self._counts_alike(q, p):
            kl = analytic_kl(q["fn"], p["fn"])
            if kl is not None:
                self.kl_methods[name] = "analytic"
                return self.per_datum(kl, q)
        self.kl_methods[name] = "Monte Carlo"
        return self.log_prob(name, guide=True) - self.log_prob(name)

    def total_kl(self) -> Tensor:
        """KL(q(z|x) || p(z)) of all latent sites of a datum, ``[B]``.

        The prior is summed over the discrete sites that the model alone has.
        """
        summed = self.depends_on_marginalized
        total = _total(
            self.kl(name) for name in (*self.latents, *self.auxiliaries) if name not in summed
        )
        joint = [name for name in self.latents if name in summed]
        if not joint:
            return total
        self.kl_methods |= dict.fromkeys(joint, "Monte Carlo")
        log_q = _total(self.log_prob(name, guide=True) for name in joint)
        return total + log_q - self.expectation(self._marginal_log_prob(observed=False))

    def log_likelihood(self) -> Tensor:
        """Log p(x|z) of all observed sites of a datum, ``[B]``.

        Where some depend on discrete sites that the model alone has, log p(x, z) - log p(z), each
        summed over these.
        """
        local = [n for n in self.observed if n in self._inside]
        names = [name for name in local if name not in self.depends_on_marginalized]
        total = _total(self.log_prob(name) for name in names)
        if len(names) == len(local):
            return total
        joint = self._marginal_log_prob(observed=True)
        return total + self.expectation(joint - self._marginal_log_prob(observed=False))

    def global_log_likelihood(self) -> Tensor:
        """Log density of the observed sites outside the data plate, a scalar."""
        outside = [n for n in self.observed if n not in self._inside]
        return _total(self.log_prob(name) for name in outside)

    def log_prior(self) -> Tensor:
        """Log p(z) of all latent sites of a datum, ``[B]``."""
        return self.expectation(self._log_prior())

    def log_posterior(self) -> Tensor:
        """Log q(z|x) of all latent and auxiliary sites of a datum, ``[B]``."""
        names = (*self.latents, *self.auxiliaries)
        return _total(self.log_prob(name, guide=True) for name in names)

    def why_not_weighted(self) -> str:
        """Why p(x, z) / q(z|x) says nothing of p(x); empty where its mean over q is p(x).

        A Delta at a function of a datum's auxiliary sites, with its ``log_density``, is a change of
        variables and has a density; one of auxiliary sites that all data share has not.
        """
        drawn = set(self.auxiliaries)
        own = (n for n in self.latents if not drawn & self.guide_dependencies.get(n, set()))
        return why_no_density({name: self.guide.nodes[name]["fn"] for name in own})

    def supervision(self) -> Tensor:
        """Log q(y|x) of the labels, sites that are observed in the guide too, ``[B]``."""
        return _total(self.log_prob(name, guide=True) for name in self.labels)

    def expectation(self, value: Tensor) -> Tensor:
        """The expectation of a quantity over the guide's discrete sites, ``[B]``.

        Args:
            value: ``[..., B]``, with the values of these sites along dimensions to the left; a
                scalar is left as it is.

        Returns:
            The expectation, ``[B]``.
        """
        if self._log_weights is None or value.dim() == 0:
            return value
        weights = self._log_weights.exp()
        shape = broadcast_shape(weights.shape, value.shape)
        weights, value = weights.expand(shape), value.expand(shape)
        weighted = weights * value.masked_fill(weights == 0, 0.0)
        return weighted.flatten(0, -2).sum(0)

    def per_datum(self, value: Tensor, site: Site) -> Tensor:
        """A quantity of a site summed over plates, without N/B and in expectation, ``[B]``.

        Args:
            value: The quantity, of the site's batch shape.
            site: The site.

        Returns:
            The expectation, ``[B]``.
        """
        return self.expectation(self._per_datum(value, site))

    def over_own_samples(self, f: Callable[[OwnSamples], Tensor]) -> Tensor:
        """The expectation over the guide's discrete sites of ``f`` at the batch's own samples.

        Args:
            f: A function whose result is ``[..., B]``.

        Returns:
            The expectation, ``[..., B]``.
        """
        log_qz_x = _total(self._log_prob(name, guide=True) for name in self.latents)
        log_pz = self._log_prior()
        if self._log_weights is None:
            z = {name: self.guide.nodes[name]["value"] for name in self.latents}
            return f(OwnSamples(z, log_qz_x, log_pz))
        shape = self._log_weights.shape
        per_choice, total = partial(torch.broadcast_to, size=shape), torch.zeros(())
        log_qz_x, log_pz = per_choice(log_qz_x), per_choice(log_pz)
        for choice in product(*map(range, shape[:-1])):
            z = {name: self._chosen(name, choice) for name in self.latents}
            value = f(OwnSamples(z, log_qz_x[choice], log_pz[choice]))
            total = total + self._log_weights[choice].exp() * value
        return total

    @cached_property
    def depends_on_marginalized(self) -> set[str]:
        """The model's sites whose density depends on a discrete site that is summed out."""
        dims = [enumerated_dim(self.model.nodes[name]) for name in self.summed_out]
        if not self.summed_out:
            return set()
        return {
            site["name"]
            for site in self._of_model
            if site["name"] not in self.summed_out
            if any(varies_along(self._raw_log_prob(site), dim) for dim in dims if dim)
        }

    def _marginal_log_prob(self, *, observed: bool) -> Tensor:
        """Log p of the sites that depend on those summed out, ``[..., B]``."""
        names = [n for n in self.depends_on_marginalized if observed or n not in self.observed]
        discrete = [self.model.nodes[name] for name in self.summed_out]
        others = [self.model.nodes[n] for n in sorted(names, key=list(self.model.nodes).index)]
        scale = self._common_scale([*discrete, *others])
        # A datum whose discrete site is masked out has it all the same: it sums to one.
        factors = [factor(site, self._raw_log_prob(site), is_masked=False) for site in discrete]
        factors += [factor(site, self._raw_log_prob(site)) for site in others]
        plates = int(self.data_plate.dim), self._enumeration.num_plates
        total = log_marginal(factors, discrete, *plates)
        return total if scale is None else total * scale

    def _common_scale(self, sites: list[Site]) -> float | Tensor | None:
        """The scale of a sum over discrete sites, which is all of its factors'; None if it is 1.

        Raises:
            ModelError: They have not one scale.
        """
        along = Along(int(self.data_plate.dim), self.batch_size)
        scales = [along.vector(1.0 if (s := self._scale(site)) is None else s) for site in sites]
        for site, scale in zip(sites, scales, strict=True):
            is_one = scale is not None and scales[0] is not None and same(scale, scales[0])
            if not is_one or (self.rows.irregular and not same(scale, 1.0)):
                raise ModelError(
                    f"site '{site['name']}' has a scale of its own beside a discrete site that is "
                    "summed out: expected one poutine.scale around all latent sites of both "
                    "programs, or none; the objective's weights apply after the sum"
                )
        return scales[0] if isinstance(scales[0], Tensor) or scales[0] != 1 else None

    def _log_prior(self) -> Tensor:
        """Log p(z) for every choice of the guide's discrete sites, ``[..., B]``."""
        names = [name for name in self.latents if name not in self.depends_on_marginalized]
        total = _total(self._log_prob(name, guide=False) for name in names)
        if len(names) == len(self.latents):
            return total
        return total + self._marginal_log_prob(observed=False)

    @cached_property
    def _log_weights(self) -> Tensor | None:
        """Log q of the guide's discrete sites, for every choice of their values: ``[..., B]``."""
        if not self._enumeration.guide:
            return None
        discrete = [s for s in self._of_guide if s["name"] in self._enumeration.guide]
        plates = int(self.data_plate.dim), self._enumeration.num_plates
        # A datum whose site is masked out has it all the same, and its values sum to one.
        return _total(per_datum(self._raw_log_prob(site), *plates) for site in discrete)

    def _chosen(self, name: str, choice: tuple[int, ...]) -> Tensor:
        """A latent site's values for one choice of the guide's discrete sites."""
        site = self.guide.nodes[name]
        value, event_dim = site["value"], len(site["fn"].event_shape)
        plates = self._enumeration.num_plates
        shape = [1] * plates
        shape[self.data_plate.dim] = self.batch_size
        extra = value.dim() - event_dim - plates
        value = value[(None,) * (len(choice) - extra)] if extra < len(choice) else value
        for index in choice:
            value = value[min(index, len(value) - 1)]
        batch = broadcast_shape(value.shape[: value.dim() - event_dim], tuple(shape))
        return value.expand(*batch, *value.shape[value.dim() - event_dim :])

    def _log_prob(self, name: str, *, guide: bool) -> Tensor:
        """A site's log density for every choice of the guide's discrete sites, ``[..., B]``."""
        site = (self.guide if guide else self.model).nodes[name]
        return self._per_datum(self._raw_log_prob(site), site)

    def _per_datum(self, log_prob: Tensor, site: Site) -> Tensor:
        """A quantity of a site, masked and scaled as it is, summed over plates, ``[..., B]``."""
        scale = self._scale(site)
        if scale is not None or site["mask"] is not None:
            log_prob = scale_and_mask(log_prob, 1.0 if scale is None else scale, site["mask"])
        if site["name"] not in self._inside:
            return log_prob.sum()
        num_plates = log_prob.dim() if self._num_plates is None else self._num_plates
        return per_datum(log_prob, int(self.data_plate.dim), num_plates)

    def _scale(self, site: Site) -> float | Tensor | None:
        """What a site's density is multiplied by; None where it is as it is."""
        scale: float | Tensor = plates_scale(site, without=self.data_plate.name)
        if self._is_scaled:
            scale = own_scale(site) * scale
            weight = self.rows.weight
            if weight is not None and site["name"] in self._inside:
                scale = scale / weight.reshape(-1, *[1] * (-int(self.data_plate.dim) - 1))
        return None if not isinstance(scale, Tensor) and scale == 1 else scale

    def _counts_alike(self, q: Site, p: Site) -> bool:
        """Whether log q and log p are masked and scaled alike, so that they are a KL together."""
        masks = [site_mask(site)[0] for site in (q, p)]
        if masks[0] is not masks[1] and not same_mask(*masks):
            return False
        return not self._is_scaled or same(own_scale(q), own_scale(p))

    def _order_agrees(self, name: str) -> bool:
        """Whether all latents drawn before this one in the model are so in the guide too."""
        latents = [*self.global_latents, *self.latents]
        model_order = [site["name"] for site in self._of_model if site["name"] in latents]
        guide_order = [site["name"] for site in self._of_guide]
        before = set(guide_order[: guide_order.index(name)])
        return before.issuperset(model_order[: model_order.index(name)])


def _total(values: Iterable[Tensor]) -> Tensor:
    """The sum of tensors; 0 where there are none."""
    return sum(values, torch.zeros(()))
