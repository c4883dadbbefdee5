"""The prior of a model: the program run only as far as its last latent site."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from pyro_decomp.distributions.densities import log_density, unmasked
from pyro_decomp.programs.enumeration import (
    NOTHING,
    Enumeration,
    Factor,
    companion,
    log_marginal,
    unlabelled,
)
from pyro_decomp.programs.sites import Site, plate_dims
from pyro_decomp.programs.substitute import Substitute


class PriorProgram:
    """The model run only as far as its last latent site: the prior, without a decoder pass.

    Args:
        program: The model with its arguments bound.
        axes: Local latent site to the data's (negative) dimension in its values.
        data_plate: The frame of the data plate.
        fixed: Values of the sites that are not drawn, such as global latents.
        enumeration: Which of the model's discrete sites the density is summed over.
        labels: Gives the observed discrete sites that are drawn and summed over too, so that the
            prior is the model's own marginal, the sum over c of p(c) p(z|c). With each come its
            values, ``[k, ...]``, for which the prior is run one after the other; or None, and all
            lie along a dimension of their own. It is asked when the prior is first run.

    Attributes:
        without_gradient: Sites of the last draw whose distribution is learned, or depends on what
            is, but whose sampler passes no gradients.
    """

    def __init__(  # noqa: PLR0917
        self,
        program: Callable[[], Any],
        axes: Mapping[str, int],
        data_plate: CondIndepStackFrame,
        fixed: dict[str, Tensor],
        enumeration: Enumeration = NOTHING,
        labels: Callable[[], dict[str, Tensor | None]] = dict,
    ) -> None:
        self._labelled = program
        self._labels = labels
        self._axes = dict(axes)
        self._plate = data_plate
        self._fixed = fixed
        self._of_model = enumeration
        self.without_gradient: list[str] = []

    @cached_property
    def _program(self) -> Callable[[], Any]:
        return unlabelled(self._labelled, tuple(self._values))

    @cached_property
    def _values(self) -> dict[str, Tensor | None]:
        return self._labels()

    @cached_property
    def _enumeration(self) -> Enumeration:
        discrete = self._of_model.model.difference(map(companion, self._values))
        at_once = (name for name, values in self._values.items() if values is None)
        return replace(self._of_model, model=discrete.union(at_once))

    def draw(self, num_samples: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Draw samples of every site, with their joint log density.

        Args:
            num_samples: How many, S; None for as many as the batch has data, one run of the prior.

        Returns:
            Values with S entries along the data dimension, and log p(z), ``[S]``, in nats. A
            learned prior's parameters receive gradients through both where its sampler allows.
            Where the prior is given something of the datum, value s is drawn given, and scored
            given, that of datum s modulo B.
        """
        if num_samples is None:
            return self._drawn()
        total = num_samples
        runs = [self._drawn() for _ in range(-(-total // self._plate.size))]
        values = {
            name: self._join([values[name] for values, _ in runs], name, total)
            for name in self._axes
        }
        return values, torch.cat([log_prob for _, log_prob in runs])[:total]

    def sites(self) -> tuple[dict[str, Site], CondIndepStackFrame]:
        """Run the prior once: its latent sites by name, and the frame of the data plate."""
        found = self._record(self._program, {})
        frames = next(iter(found.values()))["cond_indep_stack"]
        return found, next(frame for frame in frames if frame.name == self._plate.name)

    def log_prob(self, z: Mapping[str, Tensor]) -> Tensor:
        """Log p(z), ``[S]``, in nats, of S given values along the data dimension of every site.

        Returns:
            The log densities, ``[S]``.
        """
        size, (first, axis) = self._plate.size, next(iter(self._axes.items()))
        total = z[first].shape[axis]
        if total == size:
            return self.log_prob_of_data(z)
        index = torch.arange(-(-total // size) * size, device=z[first].device) % total
        blocks = [
            {name: z[name].index_select(axis, rows) for name, axis in self._axes.items()}
            for rows in index.split(size)
        ]
        return torch.cat([self.log_prob_of_data(block) for block in blocks])[:total]

    def log_prob_of_data(self, z: Mapping[str, Tensor]) -> Float[Tensor, " b"]:
        """Log p(z_i) of datum i, ``[B]``, in nats, given what the prior of that datum is given.

        Args:
            z: Values of every site, one a datum or, along that dimension of size 1, one for all.

        Returns:
            The log densities, ``[B]``.
        """
        in_turn = {name: values for name, values in self._values.items() if values is not None}
        joint = [
            self._log_marginal(self.scored({**z, **dict(zip(in_turn, values, strict=True))}))
            for values in product(*in_turn.values())
        ]
        return joint[0] if len(joint) == 1 else torch.stack(joint).logsumexp(0)

    def scored(self, z: Mapping[str, Tensor]) -> dict[str, Site]:
        """Run the prior at given values; discrete sites that are summed over have all of theirs.

        Args:
            z: Values of every other site, as :meth:`log_prob_of_data` takes them.

        Returns:
            The latent sites by name.
        """
        return self._record(self._enumeration.wrapped_model(self._program), z)

    def _join(self, values: list[Tensor], name: str, total: int) -> Tensor:
        if len(values) == 1 and total == self._plate.size:
            return values[0]
        return torch.cat(values, self._axes[name]).narrow(self._axes[name], 0, total)

    def _drawn(self) -> tuple[dict[str, Tensor], Tensor]:
        """A value of every site for each datum of the batch, and their joint log density."""
        found = self._record(self._program, {})
        factors = [_factor(site) for site in found.values()]
        values = {name: found[name]["value"] for name in self._axes}
        self.without_gradient = [
            factor.name
            for factor in factors
            if factor.log_prob.requires_grad and not found[factor.name]["value"].requires_grad
        ]
        if self._values or any(name in self._enumeration.model for name in found):
            return values, self.log_prob_of_data(values)
        return values, self._log_marginal(found, factors)

    def _log_marginal(self, found: dict[str, Site], factors: list[Factor] | None = None) -> Tensor:
        """Log p(z) of every datum, ``[B]``, from sites at given values, and their factors."""
        factors = factors or [_factor(site) for site in found.values()]
        discrete = [site for name, site in found.items() if name in self._enumeration.model]
        data_dim, num_plates = int(self._plate.dim), max(-min(f.dims) for f in factors)
        return log_marginal(factors, discrete, data_dim, num_plates)

    def _record(self, program: Callable[[], Any], z: Mapping[str, Tensor]) -> dict[str, Site]:
        """The sites, and the discrete ones that are summed out, in the program's order."""
        others, values = self._enumeration.model.union(self._values), {**self._fixed, **z}

        def given(site: Site) -> Tensor | None:
            value = values.get(site["name"])
            if value is not None and site["name"] in others:  # a label's value is one for all data
                return value.expand(site["fn"].shape())
            return value

        handler = Substitute(given, record=others, until=self._axes)
        with poutine.block(), handler:
            program()
        return handler.sites


def _factor(site: Site) -> Factor:
    density = log_density(unmasked(site["fn"]), site["value"])
    return Factor(density, plate_dims(site), site["name"])
