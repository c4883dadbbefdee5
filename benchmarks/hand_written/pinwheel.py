"""The step of examples/pinwheel_mixture.py by hand."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

LOCS = torch.tensor([[0.0, 0.0, 1.0, -1.0], [1.0, -1.0, 0.0, 0.0]])
VARIANCE = 0.03
MIN_SCALE = 1e-6
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Pinwheel:
    """Both networks, the objective, its gradient and Adam with AMSGrad as one compiled function.

    What was tried, in milliseconds a step of 400 points on one thread of an Intel Xeon (AVX-512,
    torch 2.14, 2026-11-22), at alpha = 0 and at alpha = 1:

    ====================================================================== ===== =====
    operations one by one, fused Adam                                       1.75  3.07
    ``torch.compile`` of the loss, ``backward``, fused Adam                 2.53  2.93
    value and gradient in one compiled graph, fused Adam                    1.78  1.98
    the same over one vector of all parameters                              0.76  1.25
    the optimiser compiled too, one datum a row                             0.48  0.93
    one datum a column, as here: the compiler vectorises over data, where   0.33  0.71
    rows have 2 or 4 numbers
    ====================================================================== ===== =====

    Noise that is drawn inside the compiled function costs 0.5 ms more, ``cpp_wrapper`` and
    ``max_autotune`` win nothing, a second thread loses. Pairs as squared differences cost 1.3 ms;
    as one matrix product, whose rounding grows with (z/scale)^2, 0.3 ms.

    Args:
        x: The data, ``[N, 2]``.
        alpha: Weight of KL(p(z) || q(z)).
        hidden: Units of the hidden layer of each network.
        lr: Learning rate.
        compiled: False runs operations one by one.
    """

    def __init__(
        self,
        x: Tensor,
        alpha: float = 1.0,
        *,
        hidden: int = 100,
        lr: float = 1e-3,
        compiled: bool = True,
    ) -> None:
        self.x = x.T.contiguous()
        self.alpha = alpha
        self.lr = lr
        network = [(hidden, 2), (hidden,), (2, hidden), (2,), (2, hidden), (2,)]
        self.shapes = network * 2
        size = sum(map(math.prod, self.shapes))
        self.parameters = 0.1 * torch.randn(size)
        self.moments = [torch.zeros(size) for _ in range(3)] + [torch.zeros(())]
        self._update = torch.compile(self.update, dynamic=False) if compiled else self.update

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the parameters of a ``VAE``, in the order of its ``state_dict``."""
        weights = [w for n, w in state.items() if n.startswith(("encoder.", "decoder."))]
        if [tuple(w.shape) for w in weights] != self.shapes:
            raise ValueError(f"state: expected shapes {self.shapes}")
        self.parameters = torch.cat([w.detach().flatten() for w in weights])

    def noise(self) -> tuple[Tensor, ...]:
        """Standard draws for the codes, and for ``alpha`` a component and more for the prior."""
        eps = torch.randn(self.x.shape)
        if not self.alpha:
            return (eps,)
        return eps, torch.randint(4, self.x.shape[1:]), torch.randn(self.x.shape)

    @torch.no_grad()
    def step(self) -> Tensor:
        """One step; minus the objective before it."""
        return self._update(self.parameters, self.moments, self.x, self.noise())

    def update(
        self, parameters: Tensor, moments: Sequence[Tensor], x: Tensor, noise: Sequence[Tensor]
    ) -> Tensor:
        """Change the first two in place, by one step of Adam with AMSGrad."""
        mean, square, largest, count = moments
        eps, *of_prior = noise
        draws = prior_draws(*of_prior) if of_prior else None
        gradient, loss = torch.func.grad_and_value(self.loss)(parameters, x, eps, draws)
        count.add_(1)
        mean.lerp_(gradient, 1 - BETA1)
        square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        largest.copy_(torch.maximum(largest, square))
        rate = self.lr / (1 - BETA1**count)
        parameters.sub_(rate * mean / (largest.sqrt() / (1 - BETA2**count).sqrt() + EPS))
        return loss

    def loss(
        self, parameters: Tensor, x: Tensor, eps: Tensor, draws: Tensor | None = None
    ) -> Tensor:
        """Minus the objective, in nats per datum; data, noise and the prior's draws ``[2, N]``."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = zip(parameters.split(sizes), self.shapes, strict=True)
        weights = [part.view(shape) for part, shape in parts]
        loc, scale = perceptron(weights[:6], x)
        z = loc + scale * eps
        kl = -0.5 * eps.square() - scale.log() - 0.5 * math.log(2 * math.pi)
        x_loc, x_scale = perceptron(weights[6:], z)
        residual = (x - x_loc) / x_scale
        log_px = -0.5 * residual.square() - x_scale.log() - 0.5 * math.log(2 * math.pi)
        objective = (log_px.sum(0) - kl.sum(0) + log_prior(z)).mean()
        if draws is not None:
            log_qz = log_mixture(draws, loc, scale)
            objective = objective - self.alpha * (log_prior(draws) - log_qz).mean()
        return -objective


def perceptron(weights: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale, the two heads as one product."""
    features = torch.relu(weights[0] @ x + weights[1][:, None])
    heads = torch.cat([weights[2], weights[4]]) @ features
    heads = heads + torch.cat([weights[3], weights[5]])[:, None]
    return heads[:2], softplus(heads[2:]) + MIN_SCALE


def prior_draws(component: Tensor, eps: Tensor) -> Tensor:
    """Draws of the clusters from their numbers and standard draws, ``[2, S]``."""
    return LOCS[:, component] + VARIANCE**0.5 * eps


def log_prior(z: Tensor) -> Tensor:
    """Log p(z), four equal Gaussian clusters, ``[S]``."""
    locs = LOCS.to(z)[..., None]
    squares = (z[0] - locs[0]).square() + (z[1] - locs[1]).square()
    return (-0.5 / VARIANCE * squares).logsumexp(0) - math.log(4 * 2 * math.pi * VARIANCE)


def log_mixture(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log of the equal mixture of Normal(loc, scale) at z, ``[S]``: all pairs as one product."""
    precision = scale.pow(-2)
    constant = (-0.5 * loc.square() * precision - scale.log()).sum(0, keepdim=True)
    of_z = torch.cat([z.square(), z, torch.ones_like(z[:1])])
    of_components = torch.cat([-0.5 * precision, loc * precision, constant])
    pairs = of_z.T @ of_components
    return pairs.logsumexp(1) - math.log(2 * math.pi * loc.shape[1])
