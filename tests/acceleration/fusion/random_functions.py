"""Functions of tensors made up at random, from a seed: what a scheduler has to put in order.

Every operation of torch's that :class:`Invention` draws takes tensors of a pool, whatever their
shapes, and puts its result there; so that results are read at other places than they are computed
at, by several, and late. Values stay of the order of 1, and no choice hangs on rounding.
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST = 600  # numbers of a tensor

SHAPES = [(), (5,), (12,), (1, 12), (5, 12), (12, 5), (12, 1), (2, 5, 12), (3, 40), (40, 3), (4, 4)]


def inputs(seed: int) -> list[Tensor]:
    """Floating tensors of these shapes, and places to gather from."""
    generator = torch.Generator().manual_seed(seed)
    real = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    return [*real, torch.randint(0, 3, (7, 3), generator=generator)]


class Invention:
    """A function.

    Args:
        seed: Which.
        num_operations: How many operations it has.
        num_outputs: How many tensors it gives: the last ones, and others of the pool.
    """

    def __init__(self, seed: int, num_operations: int = 25, num_outputs: int = 4) -> None:
        self._seed = seed
        self._num_operations, self._num_outputs = num_operations, num_outputs

    def __call__(self, *given: Tensor) -> list[Tensor]:
        """Compute it; the same choices every time."""
        self._choices = random.Random(self._seed)
        *pool, self._places = given
        while len(pool) < len(given) - 1 + self._num_operations:
            operation = self._choices.choice(OPERATIONS)
            recent = pool[-8:] if self._choices.random() < 0.6 else pool
            result = operation(self, self._choices.choice(recent), pool)
            if result is not None and 0 < result.numel() <= MOST:
                pool.append(result)
        others = self._choices.sample(pool[:-2], self._num_outputs - 2)
        return [*pool[-2:], *others]

    def pointwise(self, x: Tensor, _: Sequence[Tensor]) -> Tensor:
        function = self._choices.choice(
            [
                torch.tanh,
                torch.sigmoid,
                torch.sin,
                torch.nn.functional.softplus,
                torch.nn.functional.silu,
            ]
        )
        result: Tensor = function(x)
        return result

    def of_two(self, x: Tensor, pool: Sequence[Tensor]) -> Tensor:
        y = self._beside(x, pool)
        function: Callable[[Tensor, Tensor], Tensor] = self._choices.choice(
            [
                lambda x, y: x + y,
                lambda x, y: 0.5 * x - y,
                lambda x, y: x * torch.tanh(y),
                lambda x, y: x / (1 + y * y),
                lambda x, y: torch.where(x > 0.3, x, 2 * y),
                lambda x, y: torch.maximum(x, y).detach(),
            ]
        )
        return function(x, y)

    def reduced(self, x: Tensor, _: Sequence[Tensor]) -> Tensor | None:
        if not x.dim():
            return None
        dims = self._choices.sample(range(x.dim()), self._choices.randint(1, x.dim()))
        keepdim = self._choices.random() < 0.4
        function = self._choices.choice([torch.sum, torch.mean, torch.logsumexp])
        return torch.tanh(function(x, dims, keepdim=keepdim))

    def normalised(self, x: Tensor, _: Sequence[Tensor]) -> Tensor | None:
        if not x.dim():
            return None
        function = self._choices.choice([torch.softmax, torch.log_softmax])
        result: Tensor = function(x, self._choices.randrange(x.dim()))
        return result

    def product(self, x: Tensor, pool: Sequence[Tensor]) -> Tensor | None:
        fitting = [y for y in pool if x.dim() == y.dim() == 2 and x.shape[1] in y.shape]
        if not fitting:
            return None
        y = self._choices.choice(fitting)
        y = y if y.shape[0] == x.shape[1] else y.T
        return (x @ y) / x.shape[1] ** 0.5

    def permuted(self, x: Tensor, _: Sequence[Tensor]) -> Tensor:
        return x.permute(self._choices.sample(range(x.dim()), x.dim()))

    def reshaped(self, x: Tensor, _: Sequence[Tensor]) -> Tensor:
        size, shape = x.numel(), []
        while size > 1 and len(shape) < 3:
            factor = self._choices.choice([n for n in (1, 2, 3, 4, 5, 12, size) if size % n == 0])
            shape.append(factor)
            size //= factor
        return x.reshape(*shape, size)

    def part(self, x: Tensor, _: Sequence[Tensor]) -> Tensor | None:
        if not x.dim():
            return None
        dim = self._choices.randrange(x.dim())
        start = self._choices.randrange(x.shape[dim])
        if self._choices.random() < 0.3:
            return x.select(dim, start)
        if self._choices.random() < 0.3:
            return torch.stack(torch.unbind(x.detach(), dim)[start::2], dim)
        return x.narrow(dim, start, self._choices.randint(1, x.shape[dim] - start))

    def joined(self, x: Tensor, pool: Sequence[Tensor]) -> Tensor | None:
        if not x.dim():
            return torch.stack([x, x * x, x.sin()])
        dim = self._choices.randrange(x.dim())
        size = [n for d, n in enumerate(x.shape) if d != dim]
        fitting = [
            y
            for y in pool
            if y.dim() == x.dim() and [n for d, n in enumerate(y.shape) if d != dim] == size
        ]
        return torch.cat([x, self._choices.choice(fitting), x], dim)

    def repeated(self, x: Tensor, _: Sequence[Tensor]) -> Tensor:
        wider = x.unsqueeze(self._choices.randrange(x.dim() + 1))
        if self._choices.random() < 0.5:
            return wider.expand([3 if n == 1 else n for n in wider.shape])
        return x.repeat([self._choices.choice([1, 2]) for _ in range(x.dim() + 1)])

    def gathered(self, x: Tensor, _: Sequence[Tensor]) -> Tensor | None:
        if x.dim() != 2 or min(x.shape) < 3:
            return None
        dim = self._choices.randrange(2)
        places = self._places if dim == 0 else self._places.T
        return x.detach().gather(dim, places[: x.shape[0], : x.shape[1]])

    def triangle(self, x: Tensor, _: Sequence[Tensor]) -> Tensor | None:
        if x.dim() < 2:
            return None
        return x.diagonal() if x.dim() == 2 and self._choices.random() < 0.5 else x.tril(-1)

    def _beside(self, x: Tensor, pool: Sequence[Tensor]) -> Tensor:
        """One of the pool that broadcasts with another."""

        def fits(y: Tensor) -> bool:
            pairs = zip(x.shape[::-1], y.shape[::-1], strict=False)
            return all(1 in pair or pair[0] == pair[1] for pair in pairs)

        return self._choices.choice([y for y in pool if fits(y)])


OPERATIONS: list[Callable[[Invention, Tensor, Sequence[Tensor]], Tensor | None]] = [
    *[Invention.pointwise, Invention.of_two] * 3,
    *[Invention.reduced, Invention.product, Invention.permuted, Invention.reshaped] * 2,
    *[Invention.normalised, Invention.part, Invention.joined, Invention.repeated],
    *[Invention.gathered, Invention.triangle],
]
