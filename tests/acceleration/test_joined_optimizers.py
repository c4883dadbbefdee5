"""Optimisers of one parameter each take the same steps together as one after another."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from pyro_decomp.acceleration.joined_optimizers import JoinedUpdate, can_be_joined

KINDS: dict[str, Callable[[Sequence[Tensor]], Optimizer]] = {
    "Adam": partial(Adam, lr=0.01),
    "AdamW, amsgrad": partial(AdamW, lr=0.01, amsgrad=True, weight_decay=0.1),
    "SGD, momentum": partial(SGD, lr=0.01, momentum=0.9),
}


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=generator).double().requires_grad_() for n in (3, 1, 4)]


def give_gradients(parameters: Sequence[Tensor], step: int) -> None:
    for index, parameter in enumerate(parameters):
        parameter.grad = (parameter.detach() * (index + 1) + step).sin()


def steps(
    kind: Callable[[Sequence[Tensor]], Optimizer], *, is_joined: bool, is_rounded: bool = False
) -> tuple[list[Tensor], list[Any]]:
    trained = parameters()
    own = [kind([parameter]) for parameter in trained]
    schedulers = [ExponentialLR(each, 0.5) for each in own]
    update: JoinedUpdate | None = None
    for step in range(8):
        give_gradients(trained, step)
        if is_joined and update is None and step:
            assert can_be_joined(own)
            update = JoinedUpdate(own, is_rounded=is_rounded)
        if update is None or not update():
            for each in own:
                each.step()
        if step == 3:
            schedulers[1].step()  # one parameter has other settings from here on
        if step == 5:
            own[0].load_state_dict(own[0].state_dict())  # which keeps other tensors
    return trained, [each.state_dict()["state"] for each in own]


@pytest.mark.parametrize("is_rounded", [False, True], ids=["the same bits", "rounded"])
@pytest.mark.parametrize("name", KINDS)
def test_together_and_apart_are_alike(name: str, is_rounded: bool) -> None:
    apart = steps(KINDS[name], is_joined=False)
    together = steps(KINDS[name], is_joined=True, is_rounded=is_rounded)
    tolerance = 1e-12 if is_rounded else 0.0
    torch.testing.assert_close(together, apart, rtol=tolerance, atol=tolerance)


def test_optimisers_that_somebody_watches_are_left_apart() -> None:
    trained = parameters()
    own = [Adam([parameter]) for parameter in trained]
    give_gradients(trained, 0)
    for each in own:
        each.step()
    update = JoinedUpdate(own)
    own[1].register_step_post_hook(lambda *_: None)
    before = [parameter.detach().clone() for parameter in trained]
    assert not update()
    assert not can_be_joined(own)
    torch.testing.assert_close(trained, before, rtol=0, atol=0)


def test_different_kinds_are_left_apart() -> None:
    first, second, third = parameters()
    assert not can_be_joined([Adam([first]), SGD([second]), Adam([third])])
    assert not can_be_joined([Adam([first, second])])
