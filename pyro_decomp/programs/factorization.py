"""A prior that is a product over dimensions, and the distributions of its dimensions.

This module is internal.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import Distribution, MixtureSameFamily
from torch import Tensor

from pyro_decomp.distributions.unwrapping import is_factorised, stripped, unmasked
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
    return _rebuilt([stripped(fn)], lambda parameters: parameters[0][0])


def concatenated(fns: Sequence[Distribution]) -> Distribution | None:
    """One distribution of all data from those of several batches.

    Args:
        fns: Of one family and shape, with the data along the first batch dimension.

    Returns:
        None where it cannot be made from the family's parameters.
    """
    return fns[0] if len(fns) == 1 else _rebuilt(fns, torch.cat)


def rows_of(fn: Distribution, rows: Tensor) -> Distribution | None:
    """A distribution of some of the data, which lie along the first batch dimension.

    Returns:
        None where it cannot be made from the family's parameters.
    """
    return _rebuilt([stripped(fn)], lambda parameters: parameters[0][rows])


def _rebuilt(fns: Sequence[Any], combine: Callable[[list[Tensor]], Tensor]) -> Distribution | None:
    """A distribution of the same family, its parameters combined from those of several."""
    kind, first = type(fns[0]), fns[0]
    if any(type(fn) is not kind for fn in fns) or hasattr(first, "base_dist"):
        return None
    if isinstance(first, MixtureSameFamily):
        weights = _rebuilt([fn.mixture_distribution for fn in fns], combine)
        components = _rebuilt([fn.component_distribution for fn in fns], combine)
        return None if weights is None or components is None else kind(weights, components)
    names = [name for name in first.arg_constraints if name in vars(first)]
    if {"probs", "logits"} <= set(names):  # torch keeps one that it was asked for beside the other
        names.remove("probs")
    try:
        return kind(**{name: combine([_whole(fn, name) for fn in fns]) for name in names})
    except (TypeError, ValueError):  # it is made from something else
        return None


def _whole(fn: Any, name: str) -> Tensor:
    """A parameter, expanded to every datum and dimension."""
    parameter: Tensor = getattr(fn, name)
    event = parameter.shape[parameter.dim() - fn.arg_constraints[name].event_dim :]
    return parameter.expand(*fn.batch_shape, *event)
