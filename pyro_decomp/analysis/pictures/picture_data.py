"""What the pictures of a run are drawn from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.aggregate_posterior.families import data_rows
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.generation import descendants_in
from pyro_decomp.analysis.kl_decomposition import information_of_dimensions
from pyro_decomp.analysis.plot_calls import Drawing
from pyro_decomp.programs.sites import Site
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run

MAX_DRAWN = 2000  # data whose encodings and reconstructions are drawn


@dataclass(frozen=True)
class Column:
    """One dimension of a continuous latent site.

    Attributes:
        site: The site.
        dim: Which of its dimensions, flattened.
        label: What to call it in a picture.
    """

    site: str
    dim: int
    label: str


class PictureData:
    """A run, and some of its training data with their codes. Internal.

    Args:
        run: The run.
        seed: The seed of everything random.
        most: Data that are drawn; by default 2,000.

    Attributes:
        encoded: All training data and their encodings.
        rows: Up to so many rows of these, chosen at random and in their order.
    """

    def __init__(self, run: Run, seed: int, most: int | None = None) -> None:
        self.run = run
        self.seed = seed
        self.encoded = EncodedData.of(run)
        generator = torch.Generator().manual_seed(int(seed))
        order = torch.randperm(len(self.encoded), generator=generator)
        self.rows: Int[Tensor, " n"] = order[: MAX_DRAWN if most is None else most].sort().values

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def pairs(self) -> list[TracePair]:
        """Guide and model on the data, a batch at a time."""
        return list(self.encoded.pairs(self.rows))

    @cached_property
    def means(self) -> dict[str, Tensor]:
        """The mean code at every latent site, the likeliest value at discrete ones."""
        with seeded(self.seed):
            found = self.encoded.latents(self.rows)
        return {name: value.reshape(len(value), -1).cpu() for name, value in found.items()}

    @cached_property
    def columns(self) -> list[Column]:
        """The dimensions of the continuous sites."""
        names = [name for name in self.means if not is_discrete(self.pairs[0].model.nodes[name])]
        return [
            Column(name, dim, _label(name, dim, size, alone=len(names) == 1))
            for name in names
            for size in [self.means[name].shape[1]]
            for dim in range(size)
        ]

    @cached_property
    def below(self) -> dict[str, set[str]]:
        """The sites that depend on each site of :attr:`columns`."""
        sites = dict.fromkeys(each.site for each in self.columns)
        return {site: descendants_in(self.encoded, site) for site in sites}

    @cached_property
    def codes(self) -> Float[np.ndarray, "n d"]:
        """Mean codes, a column each of :attr:`columns`."""
        return self._arranged(self.means)

    @cached_property
    def sampled(self) -> Float[np.ndarray, "n d"]:
        """A draw of q(z|x) for each datum, a column each of :attr:`columns`."""
        parts: dict[str, list[Tensor]] = {}
        for pair in self.pairs:
            for name in pair.latents:
                site = pair.guide.nodes[name]
                axis = int(pair.data_plate.dim) - len(site["fn"].event_shape)
                parts.setdefault(name, []).append(data_rows(site["value"], axis).cpu())
        return self._arranged({name: torch.cat(values) for name, values in parts.items()})

    @cached_property
    def information(self) -> Float[np.ndarray, " d"] | None:
        """I(x; z_d) in nats over the data, for each of :attr:`columns`; None if it is not known."""
        found = information_of_dimensions(self.pairs)
        if found is None:
            return None
        return np.array([float(found[each.site][each.dim]) for each in self.columns])

    @cached_property
    def order(self) -> Int[np.ndarray, " d"]:
        """The columns from the most informative down; from the most variable, if it is unknown."""
        amounts = self.codes.var(0) if self.information is None else self.information
        return np.argsort(-amounts, kind="stable")

    def _arranged(self, values: dict[str, Tensor]) -> Float[np.ndarray, "n d"]:
        """Values of the sites, a column each of :attr:`columns`."""
        rows = [values[each.site][:, each.dim].double() for each in self.columns]
        return torch.stack(rows, -1).numpy() if rows else np.empty((len(self), 0))


def drawing_of(name: str, *given: Any, **named: Any) -> Drawing:
    """A call of one of ``plots`` that another process can make, even one without torch."""
    arrays = (np.asarray(each) if isinstance(each, Tensor) else each for each in given)
    return Drawing(name, tuple(arrays), named)


def is_discrete(site: Site) -> bool:
    """Whether the values of a site are whole numbers or other separate points."""
    discrete: bool = site["fn"].support.is_discrete
    return discrete


def _label(name: str, dim: int, size: int, *, alone: bool) -> str:
    if alone:
        return f"$z_{{{dim + 1}}}$"
    return name if size == 1 else f"{name} {dim + 1}"
