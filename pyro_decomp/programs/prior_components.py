"""The components of a prior that is a mixture, found by looking at the program (internal)."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions import (
    Categorical,
    Distribution,
    MixtureOfDiagNormals,
    MixtureSameFamily,
    Normal,
)
from torch import Tensor

from pyro_decomp.distributions.densities import log_density, unmasked, unwrapped
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.enumeration import (
    Enumeration,
    Factor,
    enumerated_dim,
    factor,
    per_datum,
    sum_out,
    varies_along,
)
from pyro_decomp.programs.prior_program import PriorProgram
from pyro_decomp.programs.sites import Site, plate_dims
from pyro_decomp.programs.traces import TracePair

MOST_COMPONENTS = 1000


@dataclass(frozen=True)
class Joint:
    r"""Log p(c, z) of some data for every component c, and log p(c) given the sites before it.

    Attributes:
        sizes: For each site that makes up c, its number of values: the site is a discrete one, or
            one that is itself a mixture.
        log_joint: Log p(c, z), ``[*sizes, B]``, in nats; constants of z may be left out.
        log_weights: Log p(c), ``[*sizes, B]``.
        is_mixture: Whether z depends on c; if not, c is a discrete latent beside z.
    """

    sizes: dict[str, int]
    log_joint: Float[Tensor, "*k b"]
    log_weights: Float[Tensor, "*k b"]
    is_mixture: bool


class PriorComponents:
    """The components of the prior of one batch.

    The components are the values of the discrete sites with one value a datum on which continuous
    latent sites depend, whether they are summed out, inferred by the guide, or labels; of several
    such sites, all combinations. Without such sites, those of the latent sites that are
    ``MixtureSameFamily`` or ``MixtureOfDiagNormals`` over whole values; a mixture over each
    dimension by itself has no components of a datum. Without either, the discrete sites that the
    guide infers.
    """

    def __init__(self, pair: TracePair, program: Callable[[], Any]) -> None:
        found = Enumeration.of(pair.model, pair.guide)
        nodes = pair.model.nodes
        self._pair = pair
        self._data_dim = int(pair.data_plate.dim)
        self._inferred = [n for n in pair.latents if nodes[n]["fn"].has_enumerate_support]
        self._num_plates = found.num_plates
        self._prior = PriorProgram(
            program,
            pair.axes,
            pair.data_plate,
            {name: pair.guide.nodes[name]["value"] for name in pair.global_latents},
            Enumeration(frozenset(), found.model.union(self._inferred), found.num_plates),
            lambda: dict.fromkeys(pair.prior_inputs.labels),
        )

    def responsibilities(self, z: Mapping[str, Tensor], *, is_drawn: bool) -> Float[Tensor, "k b"]:
        """How likely each component is the one of each datum.

        p(c|z) for sites that the guide does not infer, and q(c|x) for those that it does. Columns
        add up to 1; several sites' values are in the order of their rows and columns.

        Args:
            z: As :meth:`joint` takes them, values of discrete sites included.
            is_drawn: Whether these are the guide's draws: q(c|x) is then known, of its last
                discrete site given the others' values. If not, a discrete site is what z has.

        Returns:
            The chances, ``[K, B]``.

        Raises:
            ModelError: As :meth:`joint`.
        """
        joint = self.joint(z)
        names = list(joint.sizes)
        told = [name for name in self._inferred if name in names]
        summed = [axis for axis, name in enumerate(names) if name not in told]
        chances = torch.ones_like(joint.log_joint)
        if summed:
            total = joint.log_joint.logsumexp(summed, keepdim=True)
            chances = (joint.log_joint - total).exp().nan_to_num()
        for name in told:
            is_soft = is_drawn and not summed and name == told[-1]
            of_site = self._chances(name, z[name], is_soft=is_soft)
            after = [1] * (len(names) - names.index(name) - 1)
            chances = chances * of_site.reshape(len(of_site), *after, -1)
        return chances.flatten(0, -2)

    def joint(self, z: Mapping[str, Tensor]) -> Joint:
        """The components' densities at values of the latent sites.

        Args:
            z: Values of every latent site, one a datum, along the axes of ``TracePair.axes``;
                those of discrete sites are not looked at.

        Raises:
            ModelError: There are no components, or more than 1,000; or the model cannot be run with
                all values of the guide's discrete sites at once.
        """
        given = {name: value for name, value in z.items() if name not in self._inferred}
        try:
            sites = self._prior.scored(given)
        except (RuntimeError, ValueError, IndexError) as error:
            if not self._inferred:
                raise
            raise ModelError(
                f"components: expected a model that takes all values of {self._inferred} at once, "
                f"along a dimension on the left, got {type(error).__name__}: {error}"
            ) from error
        discrete = [site for site in sites.values() if enumerated_dim(site) is not None]
        names = {site["name"] for site in discrete}
        flat = [site for site in discrete if plate_dims(site) == {self._data_dim}]
        factors = [
            factor(site, log_density(unmasked(site["fn"]), site["value"]), is_masked=False)
            for site in sites.values()
        ]
        others = [each for each in factors if each.name not in names]
        mixing = [site for site in flat if any(_varies(each, site) for each in others)]
        mixtures = [site for site in sites.values() if self._is_mixture(site)]
        if mixing or not mixtures:
            chosen = mixing or [site for site in flat if site["name"] in self._inferred]
            return self._of_discrete(factors, discrete, chosen, is_mixture=bool(mixing))
        return self._of_mixtures(factors, discrete, mixtures)

    def _of_discrete(
        self,
        factors: Sequence[Factor],
        discrete: Sequence[Site],
        chosen: Sequence[Site],
        *,
        is_mixture: bool,
    ) -> Joint:
        if not chosen:
            raise ModelError(
                "components: expected a prior that is a mixture or has a discrete site that the "
                "guide infers, got none"
            )
        _check(len(site["fn"].enumerate_support(expand=False)) for site in chosen)
        names = [site["name"] for site in chosen]
        rest = [site for site in discrete if site["name"] not in names]
        own = [each for each in factors if each.name in {site["name"] for site in discrete}]
        axes = [self._axis(site) for site in chosen]
        joint = self._product(sum_out(factors, rest), axes)
        weights = self._product(sum_out(own, rest), axes)
        sizes = dict(zip(names, joint.shape, strict=False))
        return Joint(sizes, joint, weights.expand(joint.shape), is_mixture)

    def _of_mixtures(
        self, factors: Sequence[Factor], discrete: Sequence[Site], mixtures: Sequence[Site]
    ) -> Joint:
        names = [site["name"] for site in mixtures]
        _check(len(self._of_each(site)[0]) for site in mixtures)
        others = sum_out([each for each in factors if each.name not in names], discrete)
        rest = self._product(others, [])
        joint, weights = rest, torch.zeros_like(rest)
        for site in reversed(mixtures):
            log_weights, log_prob = self._of_each(site)
            shape = (len(log_prob), *[1] * (joint.dim() - 1), joint.shape[-1])
            joint = joint + (log_weights + log_prob).reshape(shape)
            weights = weights + log_weights.reshape(shape)
        return Joint(dict(zip(names, joint.shape, strict=False)), joint, weights, True)

    def _of_each(self, site: Site) -> tuple[Float[Tensor, "k b"], Float[Tensor, "k b"]]:
        """Log weights and log densities of the components of a mixture."""
        fn = _mixture(site["fn"])
        assert fn is not None
        value = site["value"].unsqueeze(-1 - len(fn.event_shape))
        log_prob = log_density(fn.component_distribution, value)
        logits = fn.mixture_distribution.logits.log_softmax(-1)
        logits, log_prob = torch.broadcast_tensors(logits, log_prob)
        return tuple(each.reshape(-1, each.shape[-1]).T for each in (logits, log_prob))

    def _chances(self, name: str, value: Tensor, *, is_soft: bool) -> Float[Tensor, "k b"]:
        """What the guide says of a discrete site: its chances, or 1 for the value that it has."""
        fn = self._pair.guide.nodes[name]["fn"]
        if is_soft and fn.has_enumerate_support:
            log_prob = fn.log_prob(fn.enumerate_support(expand=True))
            return log_prob.reshape(len(log_prob), -1).exp()
        support = self._pair.model.nodes[name]["fn"].enumerate_support(expand=False)
        rows = value.movedim(self._pair.axes[name], 0).reshape(self._pair.batch_size, -1)
        return (support.reshape(len(support), 1, -1) == rows).all(-1).to(torch.get_default_dtype())

    def _is_mixture(self, site: Site) -> bool:
        """Whether a site is a mixture with one component for each datum."""
        inside = _mixture(site["fn"])
        return inside is not None and inside.batch_shape.numel() == self._pair.batch_size

    def _axis(self, site: Site) -> int:
        """The (negative) axis of a discrete site's values in what :func:`per_datum` gives."""
        return int(enumerated_dim(site) or 0) + self._num_plates - 1

    def _product(self, factors: Sequence[Factor], axes: Sequence[int]) -> Tensor:
        """The sum of factors' logarithms, given axes first and data last, all others summed out."""
        values = [per_datum(each.log_prob, self._data_dim, self._num_plates) for each in factors]
        total = sum(values, torch.zeros(self._pair.batch_size, device=self._device))
        missing = -min(axes, default=-1) - total.dim()
        total = total.reshape(*[1] * missing, *total.shape)
        first = total.movedim(tuple(axes), tuple(range(len(axes))))
        return first.reshape(*first.shape[: len(axes)], -1)

    @property
    def _device(self) -> torch.device:
        return self._pair.guide.nodes[self._pair.latents[0]]["value"].device


def _check(sizes: Iterable[int]) -> None:
    if (number := math.prod(sizes)) > MOST_COMPONENTS:
        raise ModelError(f"components: expected at most {MOST_COMPONENTS}, got {number}")


def _mixture(fn: Distribution) -> MixtureSameFamily | None:
    inside = unwrapped(fn)
    if isinstance(inside, MixtureOfDiagNormals):
        components = Normal(inside.locs, inside.coord_scale).to_event(1)
        return MixtureSameFamily(Categorical(logits=inside.component_logits), components)
    return inside if isinstance(inside, MixtureSameFamily) else None


def _varies(each: Factor, site: Site) -> bool:
    dim = enumerated_dim(site)
    return dim is not None and varies_along(each.log_prob, dim)
