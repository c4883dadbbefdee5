"""What a user looks for on a run: methods that forward to the functions of ``analysis``.

The one place where training reaches up to a room above it, or to a module that makes runs; each
function is imported when its method is called, and takes the run as its first argument.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyro_decomp.data.batches import AnyData

if TYPE_CHECKING:
    from pyro_decomp.analysis.evaluated import Evaluation
    from pyro_decomp.analysis.generation import Draws
    from pyro_decomp.analysis.inference import Kind
    from pyro_decomp.analysis.summary import Summary
    from pyro_decomp.training.callbacks import Callback
    from pyro_decomp.training.run import Run

# ruff: noqa: PLC0415


class RunMethods:
    """The methods of :class:`~pyro_decomp.training.run.Run` that are functions of ``analysis``."""

    def train(
        self: Any, *, epochs: int | None = None, callbacks: "Sequence[Callback]" = ()
    ) -> "Run":
        """Go on with training, in the same folder and with this object.

        A run that has come to its end goes on from its last step: optimiser, random generators and
        batches continue, and schedules keep the values that they ended on. That is not the run
        that would have been had it been made as long from the beginning.

        Args:
            epochs: How many more than the run was to have; None trains an interrupted run to the
                end that it was to have.
            callbacks: Are told of what happens, in the order given.

        Returns:
            This run, at its new last step.

        Raises:
            RunError: The folder holds another run, or this one at another step; or no step is left
                and ``epochs`` is None.
            Interrupted: The user stopped it.
        """
        from pyro_decomp.training.going_on import train_on

        return train_on(self, epochs, callbacks)

    def codes(
        self: Any, x: AnyData | None = None, *, kind: "Kind" = "mean", seed: int = 0
    ) -> Tensor:
        """Codes of data, a row a datum; see :func:`pyro_decomp.codes`.

        Args:
            x: Data, as many tensors as the guide takes; by default the training data.
            kind: "mean" of q(z|x), or one draw of it, "sample".
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            The codes ``[n, d]``.
        """
        from pyro_decomp.analysis.latents import codes

        return codes(self, x, kind=kind, seed=seed)

    def latents(
        self: Any, x: AnyData | None = None, *, kind: "Kind" = "mean", seed: int = 0
    ) -> dict[str, Tensor]:
        """Codes of data, by latent site; see :func:`pyro_decomp.analysis.latents.latents`.

        Args:
            x: Data, as many tensors as the guide takes; by default the training data.
            kind: "mean" of q(z|x), or one draw of it, "sample".
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            Site to values ``[n, ...]``, in the order of the model.
        """
        from pyro_decomp.analysis.latents import latents

        return latents(self, x, kind=kind, seed=seed)

    def reconstruct(
        self: Any, x: AnyData | None = None, *, kind: "Kind" = "mean", seed: int = 0
    ) -> Tensor:
        """The mean of p(x|z) at each datum's code; see :func:`pyro_decomp.reconstruct`.

        Args:
            x: Data, as many tensors as the guide takes; by default the training data.
            kind: "mean" of q(z|x), or one draw of it, "sample".
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            The reconstructions ``[n, ...]``.
        """
        from pyro_decomp.analysis.latents import reconstruct

        return reconstruct(self, x, kind=kind, seed=seed)

    def log_likelihood(
        self: Any, x: AnyData | None = None, *, num_samples: int = 1000, seed: int = 0
    ) -> Tensor:
        """Log p(x) of each datum in nats; see :func:`pyro_decomp.log_likelihood`.

        Args:
            x: Data, as many tensors as the guide takes; by default the training data.
            num_samples: K, draws of the guide per datum.
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            The importance-weighted estimates ``[n]``.
        """
        from pyro_decomp.analysis.latents import log_likelihood

        return log_likelihood(self, x, num_samples=num_samples, seed=seed)

    def sample_prior(
        self: Any, num_samples: int, *, x: AnyData | None = None, seed: int = 0
    ) -> "Draws":
        """Draws of the prior, with the mean of the data; see :func:`pyro_decomp.sample_prior`.

        Args:
            num_samples: The number of draws.
            x: What the model takes beside the latents, where it takes something; by default the
                training data.
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            The draws: latents by site, and the mean of the data.
        """
        from pyro_decomp.analysis.generation import sample_prior

        return sample_prior(self, num_samples, x=x, seed=seed)

    def intervene(
        self: Any,
        given: Mapping[str, Any],
        *,
        num_samples: int | None = None,
        x: AnyData | None = None,
        seed: int = 0,
    ) -> "Draws":
        """Draws of the model under do(site = value); see :func:`pyro_decomp.intervene`.

        Args:
            given: Latent site to its values, ``[n, ...]``, or to one value for all draws.
            num_samples: n, where no site in ``given`` tells.
            x: What the model takes beside the latents, where it takes something; by default the
                training data.
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            The draws.
        """
        from pyro_decomp.analysis.generation import intervene

        return intervene(self, given, num_samples=num_samples, x=x, seed=seed)

    def traverse(
        self: Any,
        site: str,
        values: Sequence[Any] | Tensor,
        *,
        dim: int | None = None,
        x: AnyData | None = None,
        kind: "Kind" = "mean",
        seed: int = 0,
    ) -> "Draws":
        """One latent site moved through values; see :func:`pyro_decomp.traverse`.

        Args:
            site: The latent site.
            values: V numbers, or V values of the whole site.
            dim: Which dimension of the site to set, flattened; None sets all of it.
            x: One datum, ``[1, ...]``, whose code is the base; by default a draw of the prior is.
            kind: Whether the base is the mean of q(z|x) or a draw of it.
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            A draw for each value.
        """
        from pyro_decomp.analysis.generation import traverse

        return traverse(self, site, values, dim=dim, x=x, kind=kind, seed=seed)

    def evaluate(
        self: Any,
        *,
        seed: int = 0,
        num_importance_samples: int = 1000,
        only: Collection[str] | None = None,
        trees: bool = False,
    ) -> "Evaluation":
        """What the run is worth on its data and test data; see :func:`pyro_decomp.evaluate`.

        Args:
            seed: The seed of the draws; the global random generators are left as they were.
            num_importance_samples: K, draws per datum for log p(x).
            only: Names of what to measure; all by default.
            trees: Add the score ``dci_trees``, which takes minutes.

        Returns:
            The measures of each set, ``{"train": {...}, "test": {...}}``; nothing is written.
        """
        from pyro_decomp.analysis.evaluation import evaluate

        return evaluate(
            self, seed=seed, num_importance_samples=num_importance_samples, only=only, trees=trees
        )

    def plot(self: Any, *, seed: int = 0) -> list[Path]:
        """Draw the pictures of the run into ``plots/``; see ``pyro_decomp.analysis.pictures.draw``.

        Args:
            seed: The seed of the draws; the global random generators are left as they were.

        Returns:
            The files, in the order of drawing.
        """
        from pyro_decomp.analysis.pictures import draw

        return draw(self, seed=seed)

    def summary(self: Any) -> "Summary":
        """What the experiment is made of; see :func:`pyro_decomp.summarize`.

        Returns:
            Sites, priors, objective and parameters.
        """
        from pyro_decomp.analysis.summary import summarize

        return summarize(self.experiment, self.state)

    def _repr_html_(self: Any) -> str:
        from pyro_decomp.analysis.run_card import run_card

        return run_card(self)
