"""The sites of one run of the guide and the model: which there are, and which rows are data."""

from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from pyro_decomp.aggregate_posterior import Estimator, Exact, PairWeights, pair_weights
from pyro_decomp.distributions.densities import log_density, without_validation
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.enumeration import NOTHING, OBSERVED, UNOBSERVED, Enumeration
from pyro_decomp.programs.rows import Rows, own_scale, rows_of
from pyro_decomp.programs.sites import Site, data_plate, sample_sites

TINY = 1e-30  # stands in the place of a sum of weights that is 0


class TracedSites:
    """The sites of one guide trace and of the model trace replayed against it.

    Args:
        model: The model's trace.
        guide: The guide's trace.
        enumeration: The discrete sites that are summed over.

    Attributes:
        model: The model's trace.
        guide: The guide's trace.
        data_plate: The frame of the data plate.
        batch_size: B, the data in this batch.
        num_data: N, the full size of the data plate.
        latents: Latent sites inside the data plate, in the guide's order.
        global_latents: Latent sites outside it.
        auxiliaries: Sites of the guide alone that it marks as auxiliary, inside the data plate.
        global_auxiliaries: The same outside it.
        observed: The model's observed sites.
        labels: Sites that are observed in the guide too.
        summed_out: Discrete sites of the model alone.
    """

    def __init__(
        self, model: poutine.Trace, guide: poutine.Trace, enumeration: Enumeration = NOTHING
    ) -> None:
        self.model = model
        self.guide = guide
        self.data_plate = data_plate(model)
        self._of_guide, self._of_model = sample_sites(guide), sample_sites(model)
        self.batch_size = int(self.data_plate.size)
        self.num_data = int(self.data_plate.full_size or self.data_plate.size)
        self._enumeration = enumeration
        self._num_plates = enumeration.num_plates if enumeration else None
        self._log_probs: dict[tuple[int, bool], Tensor] = {}
        self._is_scaled = False
        self._inside = {
            site["name"]
            for site in (*self._of_guide, *self._of_model)
            if self.data_plate.name in [frame.name for frame in site["cond_indep_stack"]]
        }
        drawn = [site["name"] for site in self._of_guide if not site["is_observed"]]
        local = [name for name in drawn if name in self._inside]
        outside = [name for name in drawn if name not in self._inside]
        self.latents = [name for name in local if name in model.nodes]
        self.global_latents = [name for name in outside if name in model.nodes]
        self.auxiliaries = [name for name in local if name not in model.nodes]
        self.global_auxiliaries = [name for name in outside if name not in model.nodes]
        self.observed = [site["name"] for site in self._of_model if site["is_observed"]]
        labels = [site["name"] for site in self._of_guide if site["is_observed"]]
        self.labels = [name for name in labels if name in self._inside]
        self.summed_out = [n for n in model.nodes if n in enumeration.model]

    @cached_property
    def axes(self) -> dict[str, int]:
        """Latent site of a datum to the data's (negative) dimension in its values."""
        events = {name: len(self.guide.nodes[name]["fn"].event_shape) for name in self.latents}
        return {name: self.data_plate.dim - event_dim for name, event_dim in events.items()}

    @cached_property
    def rows(self) -> Rows:
        """Which rows of the batch are data, and how much each counts."""
        apart = self._unobserved()
        names = [name for name in self.latents if name not in apart]
        latent = [("guide", self.guide.nodes[name]) for name in names]
        latent += [("model", self.model.nodes[name]) for name in names]
        others = [("model", self.model.nodes[name]) for name in self.observed]
        others += [("guide", self.guide.nodes[name]) for name in (*self.labels, *self.auxiliaries)]
        others = [(role, site) for role, site in others if site["name"] in self._inside]
        if not latent:
            return Rows()
        is_one = self.model is self.guide
        return rows_of(latent, others, self.data_plate, self.batch_size, of_one_program=is_one)

    @cached_property
    def counts(self) -> Float[Tensor, " b"] | None:
        """How much each row counts: 0 if masked, else its weight; None if all count the same."""
        counts = self.rows.counts
        return None if counts is None else counts.to(self.dtype)

    @cached_property
    def total(self) -> int | float | Tensor:
        """How much all data count: N, less those masked, or the sum of weights.

        It is N/B times that of the batch, where it is not known.
        """
        if self.counts is None:
            return self.num_data
        return (self.counts.sum() * (self.num_data / self.batch_size)).clamp_min(TINY)

    @cached_property
    def num_valid(self) -> float | Tensor | None:
        """How many of the N rows are data; None where no row is masked."""
        valid = self.rows.valid
        return None if valid is None else valid.sum() * (self.num_data / self.batch_size)

    @cached_property
    def num_rows(self) -> int:
        """How many rows of the batch are data; B too inside a transform that hides values."""
        valid = self.rows.valid
        try:
            return self.batch_size if valid is None else int(valid.sum())
        except RuntimeError:
            return self.batch_size

    def mean(self, values: Float[Tensor, "*k b"]) -> Float[Tensor, "*k"]:
        """The mean over the data of the batch: weighted, and of rows that are not masked.

        Args:
            values: One a row; a scalar is left as it is.

        Returns:
            The mean over the last dimension.
        """
        if values.dim() == 0:
            return values
        if self.counts is None:
            return values.mean(-1)
        kept = values.masked_fill(self.counts == 0, 0.0)
        return (kept * self.counts).sum(-1) / (self.total * (self.batch_size / self.num_data))

    @property
    def has_scales(self) -> bool:
        """Whether a site of the user's has a scale that the weights of data do not account for."""
        scales = [own_scale(site) for site in (*self._of_guide, *self._of_model)]
        return any(isinstance(scale, Tensor) or scale != 1 for scale in scales)

    @property
    def scaled(self) -> Self:
        """A copy in which every density has the scale of its site, as the objective has it."""
        pair = copy(self)
        pair._is_scaled = True
        return pair

    def require_regular(self, what: str) -> None:
        """Refuse masks and scales under which it is not said what q(z) is.

        Args:
            what: What has no meaning under them, as the error is to name it.

        Raises:
            ModelError: They are not the same around all sites of a datum.
        """
        if self.rows.irregular:
            raise ModelError(
                f"{self.rows.irregular}, so that {what} has no meaning: expected poutine.mask and "
                "poutine.scale over the data plate, around all sites of a datum in both programs; "
                "or an objective that is an ELBO alone, such as BetaELBO()"
            )

    def require_rows(self) -> None:
        """Refuse a batch in which too few rows are data for q(z) to be estimated.

        Raises:
            ModelError: There is none, or only one where the batch is not all the data.
        """
        if self.rows.valid is None:
            return
        least = 1 if self.batch_size >= self.num_data else 2
        if self.num_rows < least:
            raise ModelError(
                f"a batch has {self.batch_size} rows of which {self.num_rows} are not masked: "
                f"expected at least {least} for terms of q(z); choose larger batches, or leave out "
                "masked rows"
            )

    def pair_weights(self, estimator: Estimator) -> PairWeights | None:
        """How much each encoding counts in log q(z_i) of this batch's own samples.

        Args:
            estimator: The estimator of q(z).

        Returns:
            The weights; None for :class:`Exact`, whose encodings all count 1/N.

        Raises:
            ModelError: The rows are masked or weighted in a way that the estimator cannot follow.
        """
        if isinstance(estimator, Exact):
            return None
        self.require_rows()
        return pair_weights(
            estimator,
            self.num_data,
            self.batch_size,
            counts=self.counts,
            total=self.total,
            num_valid=self.num_valid,
        )

    def codes(self) -> Float[Tensor, "b d"]:
        """This batch's own samples of all latent sites, one row a datum, flattened and joined.

        Rows that are masked are left out.

        Returns:
            The codes, a row for each datum that counts.

        Raises:
            ModelError: Some of them are discrete, and have all of their values instead of one.
        """
        return self.kept(self.all_codes())

    def all_codes(self) -> Float[Tensor, "b d"]:
        """The samples of :meth:`codes`, with the rows that are masked among them.

        Returns:
            The codes, a row for each row of the batch.

        Raises:
            ModelError: As :meth:`codes`.
        """
        self._check_drawn_for_all()
        if discrete := [n for n in self.latents if n in self._enumeration.guide]:
            named = ", ".join(map(repr, discrete))
            raise ModelError(
                f"the guide's site {named} is discrete and summed over, so that a datum has no one "
                "code to sample: use a divergence of densities, InclusiveKL() or ExclusiveKL(), or "
                "set the weight of this term to 0"
            )
        if not self.rows.is_of_sites:
            self.require_regular("a sample of q(z)")
        return self.joined({name: self.guide.nodes[name]["value"] for name in self.latents})

    def row_weights(self) -> Float[Tensor, " b"] | None:
        """The weight of every row of :meth:`codes`; None where all count the same."""
        weight = self.rows.weight
        return None if weight is None else self.kept(weight.to(self.dtype))

    def kept(self, rows: Float[Tensor, " b *d"]) -> Float[Tensor, " k *d"]:
        """Those of the batch's rows that are data, without the masked ones.

        Args:
            rows: A row for each row of the batch, such as :meth:`joined` gives.

        Returns:
            The rows of the data, in the order of :meth:`codes`.
        """
        if self.rows.valid is None:
            return rows
        int(self.rows.valid.sum())  # lest a transform take their number as fixed
        return rows[self.rows.valid.nonzero()[:, 0]]

    def joined(self, z: Mapping[str, Tensor]) -> Float[Tensor, "b d"]:
        """Values of all latent sites, or gradients by these, laid out as :meth:`all_codes`.

        Args:
            z: A tensor of the shape of its values for each latent site.

        Returns:
            One row a datum, flattened and joined.
        """
        rows = [z[name].movedim(axis, 0) for name, axis in self.axes.items()]
        return torch.cat([row.reshape(len(row), -1) for row in rows], -1)

    def _unobserved(self) -> set[str]:
        """Latent sites that stand for the rows for which an ``obs_mask`` knows no value."""
        names = {*self.model.nodes}
        ends = [(n, n.removesuffix(UNOBSERVED)) for n in self.latents]
        return {name for name, stem in ends if stem != name and stem + OBSERVED in names}

    def _check_drawn_for_all(self) -> None:
        """Refuse codes of which the guide draws a site for some of the data only."""
        if partly := sorted(self._unobserved()):
            raise ModelError(
                f"the guide's site '{partly[0].removesuffix(UNOBSERVED)}' is observed for some of "
                "the data and drawn for the others, so that codes are of two kinds: for terms "
                "of the aggregate posterior leave it out of the guide, and it is summed out of the "
                "model; or set their weight to 0 to do without"
            )

    @property
    def dtype(self) -> torch.dtype:
        """The type of the densities."""
        return self._raw_log_prob(self.guide.nodes[self.latents[0]]).dtype

    def _raw_log_prob(self, site: Site) -> Tensor:
        """A site's log density over all plates, unmasked and unscaled, computed once."""
        key = id(site), torch.is_grad_enabled()
        if key not in self._log_probs:
            fn, value = site["fn"], site["value"]
            if site["is_observed"]:
                log_prob = fn.log_prob(value, *site["args"], **site["kwargs"])
            elif self.guide.nodes.get(site["name"]) is site:
                log_prob = without_validation(fn).log_prob(value)  # its own draws
            else:  # the guide's draws may lie outside of the prior's support
                log_prob = log_density(fn, value)
            self._log_probs[key] = log_prob
        return self._log_probs[key]
