"""Steps on one vector are the steps by parameter, and so is what the optimiser keeps."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_decomp.acceleration.flat_parameters import (
    FlatUpdate,
    can_be_flat,
    flattened,
    split_state,
)

OPTIMIZERS: dict[str, Any] = {
    "Adam, fused": partial(torch.optim.Adam, lr=0.1, fused=True),
    "AdamW, AMSGrad": partial(torch.optim.AdamW, lr=0.1, amsgrad=True, weight_decay=0.3),
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "SGD, momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.1, centered=True, momentum=0.5),
    "Adagrad": partial(torch.optim.Adagrad, lr=0.1),
    "Adadelta": torch.optim.Adadelta,
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
}


def start() -> list[Tensor]:
    torch.manual_seed(0)
    shapes = ((2, 3), (3,), ())
    return [nn.Parameter(torch.randn(shape, dtype=torch.double)) for shape in shapes]


def gradients(step: int, parameters: list[Tensor]) -> list[Tensor]:
    noise = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=noise, dtype=torch.double) for p in parameters]


def separately(optimizer: torch.optim.Optimizer, parameters: list[Tensor], steps: Any) -> None:
    for step in steps:
        for p, gradient in zip(parameters, gradients(step, parameters), strict=True):
            p.grad = gradient
        optimizer.step()


def jointly(update: FlatUpdate, vector: Tensor, parameters: list[Tensor], steps: Any) -> None:
    for step in steps:
        vector.grad = torch.cat([g.flatten() for g in gradients(step, parameters)])
        update()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_flattened_left_and_flattened_again(name: str) -> None:
    one, other = start(), start()
    alone, optimizer = OPTIMIZERS[name](one), OPTIMIZERS[name](other)
    assert can_be_flat(other, optimizer)
    vector = flattened(other)
    update = FlatUpdate(optimizer, vector)
    jointly(update, vector, other, range(4))
    kept = copy.deepcopy(optimizer.state_dict())
    update.leave()
    separately(optimizer, other, range(4, 7))
    separately(alone, one, range(7))
    torch.testing.assert_close(other, one)
    torch.testing.assert_close(optimizer.state_dict()["state"], alone.state_dict()["state"])
    again = start()
    separately(first := OPTIMIZERS[name](again), again, range(4))
    torch.testing.assert_close(kept["state"], first.state_dict()["state"])
    vector = flattened(again)
    resumed = FlatUpdate(first, vector)
    assert resumed.adopt()
    jointly(resumed, vector, again, range(4, 7))
    torch.testing.assert_close(again, one)


def test_settings_are_followed() -> None:
    one, other = start(), start()
    alone, optimizer = torch.optim.Adam(one, lr=0.1), torch.optim.Adam(other, lr=0.1)
    vector = flattened(other)
    update = FlatUpdate(optimizer, vector)
    for step in range(6):
        alone.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        separately(alone, one, [step])
        jointly(update, vector, other, [step])
    torch.testing.assert_close(other, one)


def test_parameters_that_have_come_differently_far_are_not_flattened() -> None:
    parameters = start()
    optimizer = torch.optim.Adam(parameters)
    parameters[0].grad = torch.ones(2, 3, dtype=torch.double)
    optimizer.step()
    assert not FlatUpdate(optimizer, flattened(parameters)).adopt()


def test_what_a_user_has_run_at_steps_is_not_flattened() -> None:
    parameters = start()
    optimizer = torch.optim.Adam(parameters)
    handle = optimizer.register_step_post_hook(lambda *_: None)
    assert not can_be_flat(parameters, optimizer)
    handle.remove()
    assert can_be_flat(parameters, optimizer)
    assert not can_be_flat(parameters[::-1], optimizer)
    torch.optim.lr_scheduler.StepLR(optimizer, 3)  # puts a step of its own in its place
    assert not can_be_flat(parameters, optimizer)


def test_a_vector_of_an_older_checkpoint_is_split() -> None:
    parameters = start()
    vector = torch.cat([p.detach().flatten() for p in parameters]).requires_grad_()
    old = torch.optim.Adam([vector], lr=0.1)
    vector.grad = torch.cat([g.flatten() for g in gradients(0, parameters)])
    old.step()
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    optimizer.load_state_dict(split_state(old.state_dict(), parameters))
    separately(other := torch.optim.Adam(again := start(), lr=0.1), again, [0])
    torch.testing.assert_close(optimizer.state_dict(), other.state_dict())
