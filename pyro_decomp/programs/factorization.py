"""A prior that is a product over dimensions, and the distributions of its dimensions (internal)."""

from pyro.distributions import Distribution

from pyro_decomp.distributions.densities import is_factorised, stripped, unmasked
from pyro_decomp.distributions.slicing import combined
from pyro_decomp.programs.traces import TracePair


def is_product(pair: TracePair) -> bool:
    """Whether the prior of a datum is the product over sites and dimensions, by construction.

    The prior is its density given what enters of the datum (:class:`.PriorInputs`); one that is
    summed over labels is a mixture and no product.
    """
    if any(pair.prior_inputs.sites.values()):
        return False
    return all(
        is_factorised(fn) or fn.shape().numel() == pair.batch_size
        for fn in (unmasked(pair.model.nodes[name]["fn"]) for name in pair.latents)
    )


def of_one_datum(fn: Distribution) -> Distribution | None:
    """One datum's distribution of each dimension, ``[d]``, from one that all data share.

    Args:
        fn: A product over dimensions; its batch is the data, and the first one's is taken.

    Returns:
        None where it cannot be made from the family's parameters.
    """
    if len(fn.batch_shape) != 1:
        return None
    base = stripped(fn)
    dim = -len(base.batch_shape)
    return combined([base], lambda parameters, axis: parameters[0].select(axis, 0), dim)
