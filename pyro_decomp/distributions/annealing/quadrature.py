"""Integrals over the real line of a mixture's density to a power (internal)."""

import math

import torch
from pyro.distributions import MixtureSameFamily
from torch import Tensor

from pyro_decomp.distributions.annealing.registry import Power, require

# Breakpoints in units of a component's scale: close to a peak or kink, even where its bulk is, then
# ever wider, until what is left is a power law, if anything is.
_PEAK = [1 / 64, 1 / 16, 1 / 4]
_BULK = [k / 2 for k in range(1, 9)]
_FLANK = [6.0, 8.0, 12.0, 16.0]
_TAIL = [2.0**k for k in range(5, 21)]
_SIDE = _PEAK + _BULK + _FLANK + _TAIL
_STEPS = [-step for step in reversed(_SIDE)] + [0.0, *_SIDE]

# Gauss-Kronrod rule of 15 nodes on [-1, 1] and, at every other node, Gauss's of 7 (QUADPACK, 1983).
_HALF_NODES = [
    (0.991455371120812639206854697526329, 0.022935322010529224963732008058970, 0.0),
    (0.949107912342758524526189684047851, 0.063092092629978553290700663189204, 0.12948496616886969),
    (0.864864423359769072789712788640926, 0.104790010322250183839876322541518, 0.0),
    (0.741531185599394439863864773280788, 0.140653259715525918745189590510238, 0.27970539148927667),
    (0.586087235467691130294144691258296, 0.169004726639267902826583426598550, 0.0),
    (0.405845151377397166906606412076961, 0.190350578064785409913256402421014, 0.38183005050511894),
    (0.207784955007898467600689403773245, 0.204432940075298892414161999234649, 0.0),
]
_MIDDLE = (0.0, 0.209482141084727828012999174891714, 0.41795918367346939)
_RULE = [(-x, k, g) for x, k, g in _HALF_NODES] + [_MIDDLE] + _HALF_NODES[::-1]


def has_quadrature(p: MixtureSameFamily) -> bool:
    """Whether the components are over the real line and have a ``loc`` and a ``scale``."""
    components = p.component_distribution
    real = p.event_shape == () and components.support is torch.distributions.constraints.real
    return real and hasattr(components, "loc") and hasattr(components, "scale")


def log_integral(p: MixtureSameFamily, beta: Power) -> tuple[Tensor, Tensor]:
    r"""Log of the integral of p(z)^beta over the real line, for every entry of the batch.

    Gauss-Kronrod quadrature on panels whose ends lie at multiples, from 0 to 2^20, of every
    component's scale around its location, so that a component of any width is resolved. Beyond the
    last panel p^beta is continued as a power law, which is exact to rounding for Student-t tails
    and 0 for lighter ones. In float64 it is good to 1e-10 for powers from 0.01 to 50.

    Args:
        p: A mixture over the real line whose components have ``loc`` and ``scale``.
        beta: The power.

    Returns:
        The log integral, with gradients, and a bound on its error that is usually far from being
        reached: the difference from the Gauss rule of half the nodes. Both in nats.

    Raises:
        ArgumentError: A tail of p^beta falls no faster than 1/|z|, so that the integral is
            infinite.
    """
    components = p.component_distribution
    with torch.no_grad():
        loc, scale = components.loc.movedim(-1, 0), components.scale.movedim(-1, 0)
        steps = loc.new_tensor(_STEPS).reshape(-1, *[1] * loc.dim())
        ends = (loc + scale * steps).flatten(0, 1).sort(0).values
        rule = loc.new_tensor(_RULE)
        abscissa, kronrod, gauss = rule.T.reshape(3, -1, *[1] * ends.dim())
        half = (ends[1:] - ends[:-1]) / 2
        nodes = (ends[1:] + ends[:-1]) / 2 + half * abscissa
        log_weights = (half * kronrod).log()
    log_values = beta * p.log_prob(nodes)
    tails = [_log_tail(p, beta, end, loc.mean(0)) for end in (ends[0], ends[-1])]
    panels = (log_values + log_weights).flatten(0, 1)
    result = torch.cat([panels, torch.stack(tails)]).logsumexp(0)
    with torch.no_grad():
        values = (log_values - result).exp()
        error = (half * (kronrod - gauss) * values).sum(0).abs().sum(0)
    return result, error


def _log_tail(p: MixtureSameFamily, beta: Power, end: Tensor, centre: Tensor) -> Tensor:
    """Log of the integral of p^beta beyond ``end``, a power law there: reach p^beta / (a - 1)."""
    at_end, half_way = (beta * p.log_prob(z) for z in (end, (end + centre) / 2))
    order = (half_way - at_end) / math.log(2)
    require(
        order > 1,
        lambda: (
            f"expected a density whose power beta = {beta} has a finite integral, got tails "
            "that fall no faster than 1/|z|"
        ),
    )
    return at_end + (end - centre).abs().log() - (order - 1).log()
