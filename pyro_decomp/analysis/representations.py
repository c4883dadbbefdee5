"""What metrics take of a run: codes, encodings, and draws of the prior that they are to match."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from pyro.distributions import Distribution, Normal
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, diagonal_gaussian
from pyro_decomp.aggregate_posterior.families import data_rows, marginals
from pyro_decomp.analysis.components import assigned
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.inference import Kind
from pyro_decomp.distributions.slicing import combined, joined, picked
from pyro_decomp.errors import ModelError
from pyro_decomp.metrics import normal_scores
from pyro_decomp.programs.factorization import is_product, of_one_datum
from pyro_decomp.seeds import derive, seeded

MAX_ROWS = 10_000  # data of which there are mean codes
FIRST = 100  # data that are run to see what there is
SAMPLED_ROWS = 500  # of which there are sampled ones
PRIOR = 1  # the stream of the prior's draws


class Representations:
    """The codes of a data set, in the forms that metrics take. Internal.

    Args:
        data: The data and their encodings.
        seed: The seed of everything random.
        max_rows: The largest number of data of which there are mean codes.

    Attributes:
        rows: Which data these are, in a random order; none that are masked.
        valid: Which data are not masked, in their order, as those of :attr:`encodings`.
        weights: How much each of the valid data counts; None where the data have no weights.
    """

    def __init__(self, data: EncodedData, seed: int = 0, *, max_rows: int = MAX_ROWS) -> None:
        self._data = data
        self._seed = seed
        data.encode(next(data.batches()))  # whole: rows are rounded as their batch is cut
        self._first = data.look(torch.arange(min(FIRST, len(data))))
        self.valid = data.valid
        counts = None if self._first.rows.weight is None else data.counts
        self.weights = None if counts is None else counts[self.valid]
        generator = torch.Generator().manual_seed(int(seed))
        self.rows = self.valid[torch.randperm(len(self.valid), generator=generator)[:max_rows]]

    @cached_property
    def means(self) -> dict[str, Float[Tensor, "n _"]]:
        """The mean code at each latent site, discrete ones included.

        Raises:
            ModelError: The mean of a site's family is not known.
        """
        return self._latents("mean", len(self.rows))

    @cached_property
    def codes(self) -> Float[Tensor, "n d"]:
        """Mean codes of all sites; those of :attr:`mapped` are mapped to Normal.

        Raises:
            ModelError: As :attr:`means`.
            DataError: A code has no place under its prior.
        """
        columns = [
            torch.from_numpy(normal_scores(value, self._priors[name]))
            if name in self.mapped
            else value.double()
            for name, value in self.means.items()
        ]
        return torch.cat(columns, -1)

    @cached_property
    def plain_codes(self) -> Float[Tensor, "n d"]:
        """Mean codes of all sites as they are, with a column for each value of a discrete site.

        Raises:
            ModelError: As :attr:`means`.
        """
        nodes = self._first.model.nodes
        columns = []
        for name, value in self.means.items():
            fn = nodes[name]["fn"]
            if fn.has_enumerate_support and not fn.event_shape and len(fn.enumerate_support()) > 2:
                value = (value[..., None] == value.unique()).flatten(1)  # noqa: PLW2901
            columns.append(value.double())
        return torch.cat(columns, -1)

    @cached_property
    def clusters(self) -> Int[Tensor, " n"] | None:
        """The prior's component of each mean code; None where the prior has no components.

        See :func:`pyro_decomp.analysis.components.assigned`.
        """
        try:
            return assigned(self._data, self.rows)
        except ModelError:
            return None

    @cached_property
    def mapped(self) -> dict[str, str]:
        """Sites whose prior is a product of something other than Normals, with its family."""
        return {n: type(p).__name__ for n, p in self._priors.items() if type(p) is not Normal}

    @cached_property
    def continuous(self) -> Float[Tensor, "n d"]:
        """Mean codes of the continuous sites, as they are.

        Raises:
            ModelError: No site is continuous; or as :attr:`means`.
        """
        return self._joined(self.means)

    @cached_property
    def sampled(self) -> Float[Tensor, "n d"]:
        """A draw of q(z|x) for up to 500 data, of the continuous sites.

        Raises:
            ModelError: No site is continuous.
        """
        return self._joined(self._latents("sample", SAMPLED_ROWS))

    @cached_property
    def drawn_from_prior(self) -> Float[Tensor, "n d"]:
        """Draws of the prior, as many as there are in :attr:`sampled` and laid out alike.

        Where the prior is given something of the datum, each is drawn given that of another datum,
        chosen at random, so that they are draws of the mixture of all data's priors.

        Raises:
            ModelError: No site is continuous.
        """
        with seeded(derive(self._seed, PRIOR)), torch.no_grad():
            size = len(self.rows[:SAMPLED_ROWS])
            z = self._data.draw_prior(self._first, size)
        axes = self._first.axes
        return self._joined({n: data_rows(z[n], axes[n]).cpu() for n in self._continuous})

    @cached_property
    def encodings(self) -> tuple[Tensor, Tensor] | Distribution:
        """q(z_d|x) of all data in order, for every dimension of the continuous sites.

        Location and scale, ``[N, d]``, where they are Normal; where they are another family, of
        one site, a distribution of that shape.

        Raises:
            ModelError: They are not known.
        """
        parts = self._known_posteriors()
        found = {
            name: [
                (marginals(name, part.qz_x[name]), part.dim - len(part.qz_x[name].event_shape))
                for part in parts
            ]
            for name in self._continuous
        }
        gaussians = [[diagonal_gaussian(*each) for each in of_site] for of_site in found.values()]
        known = [[each for each in of_site if each is not None] for of_site in gaussians]
        if known == gaussians and known:
            columns = [[torch.cat(rows) for rows in zip(*each, strict=True)] for each in known]
            loc, scale = (torch.cat(each, -1) for each in zip(*columns, strict=True))
            return loc[self.valid], scale[self.valid]
        if len(found) == 1:
            (of_site,) = found.values()
            fns = [fn for fn, _ in of_site]
            whole = combined(fns, joined, -2) if len(fns) > 1 else fns[0]
            if whole is not None and len(whole.batch_shape) == 2:
                has_all = len(self.valid) == len(self._data)
                some = whole if has_all else combined([whole], picked(self.valid), -2)
                if some is not None:
                    return some
        families = ", ".join(sorted({type(f).__name__ for each in found.values() for f, _ in each}))
        raise ModelError(f"encodings: expected Normals, or one site of a family, got {families}")

    @cached_property
    def _continuous(self) -> list[str]:
        """The continuous latent sites, in the model's order."""
        latent = set(self._first.latents)
        nodes = self._first.model.nodes
        return [n for n in nodes if n in latent and not nodes[n]["fn"].support.is_discrete]

    @cached_property
    def _priors(self) -> dict[str, Distribution]:
        """The prior of the dimensions of each continuous site, where that is a product."""
        if not is_product(self._first) or self._first.prior_inputs.given:
            return {}
        nodes = self._first.model.nodes
        priors = {name: of_one_datum(nodes[name]["fn"]) for name in self._continuous}
        return {name: prior for name, prior in priors.items() if prior is not None}

    def _latents(self, kind: Kind, limit: int) -> dict[str, Tensor]:
        """Codes of the first so many rows, gathered a batch at a time."""
        some, place = self.rows[:limit].sort()  # in their order: a guide may know data by it
        parts: dict[str, list[Tensor]] = {}
        for rows in self._data.batches(some):
            with seeded(self._seed), torch.no_grad():
                for name, value in self._data.latents(rows, kind=kind).items():
                    parts.setdefault(name, []).append(value.reshape(len(value), -1).cpu())
        back = place.argsort()
        return {name: torch.cat(values)[back] for name, values in parts.items()}

    def _joined(self, values: dict[str, Tensor]) -> Float[Tensor, "n d"]:
        if not self._continuous:
            raise ModelError("codes: expected a continuous latent site, got discrete ones")
        return torch.cat([values[name].double() for name in self._continuous], -1)

    def _known_posteriors(self) -> list[AggregatePosterior]:
        posteriors = self._data.posteriors
        parts = [part for part in posteriors if isinstance(part, AggregatePosterior)]
        if len(parts) < len(posteriors) or not parts:
            raise ModelError("encodings: expected sites that are independent given the datum")
        if reason := parts[0].why_no_density():
            raise ModelError(f"{reason}: expected a guide with spread")
        return parts
