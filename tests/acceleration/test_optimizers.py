import inspect
import subprocess
import sys
from functools import partial, wraps
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_decomp.acceleration.optimizers import COMPILER, ELEMENTWISE, Update, is_unobserved

CASES: dict[str, Any] = {
    "Adam": partial(torch.optim.Adam, lr=0.01, fused=True),
    "AMSGrad": partial(torch.optim.Adam, lr=0.01, amsgrad=True, fused=True),
    "decay": partial(torch.optim.Adam, lr=0.01, weight_decay=0.1, maximize=True, fused=True),
    "AdamW": partial(torch.optim.AdamW, lr=0.02, betas=(0.5, 0.9), eps=1e-6, fused=True),
    "not fused": partial(torch.optim.Adam, lr=0.01),
    "SGD": partial(torch.optim.SGD, lr=0.01, momentum=0.9),
}


def parameters() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(size, requires_grad=True) for size in (3, 17, 400)]


def trained(build: Any, *, by_update: bool) -> tuple[list[Tensor], dict[str, Any]]:
    own = parameters()
    optimizer = build([{"params": own[:2]}, {"params": own[2:], "lr": 0.03}])
    step = Update(optimizer) if by_update else optimizer.step
    for _ in range(5):
        for parameter in own:
            parameter.grad = torch.randn_like(parameter)
        step()
    return own, optimizer.state_dict()


@pytest.mark.parametrize("name", CASES)
def test_the_bits_are_those_of_the_optimiser(name: str) -> None:
    (wanted, state), (found, other) = (
        trained(CASES[name], by_update=by_update) for by_update in (False, True)
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    torch.testing.assert_close(other["state"], state["state"], rtol=0, atol=0)


def test_it_goes_on_with_a_state_that_was_loaded() -> None:
    results = []
    for by_update in (False, True):
        (own, state), again = trained(CASES["AMSGrad"], by_update=True), parameters()
        optimizer = CASES["AMSGrad"]([{"params": again[:2]}, {"params": again[2:], "lr": 0.03}])
        update = Update(optimizer)
        optimizer.load_state_dict(state)
        for parameter, before in zip(again, own, strict=True):
            parameter.data.copy_(before)
            parameter.grad = torch.ones_like(before)
        (update if by_update else optimizer.step)()
        results.append(again)
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_hooks_are_called() -> None:
    own = parameters()
    optimizer = CASES["Adam"](own)
    calls = []
    update = Update(optimizer)
    for step in range(3):
        if step == 1:
            optimizer.register_step_pre_hook(lambda *_: calls.append("called"))
        for parameter in own:
            parameter.grad = torch.ones_like(parameter)
        update()
    assert calls == ["called", "called"]


def test_a_rate_that_a_scheduler_sets_counts() -> None:
    results = []
    for by_update in (False, True):
        own = parameters()
        optimizer = CASES["Adam"](own)
        update = Update(optimizer) if by_update else optimizer.step
        for rate in (0.1, 0.01, 0.3):
            optimizer.param_groups[0]["lr"] = rate
            for parameter in own:
                parameter.grad = torch.ones_like(parameter)
            update()
        results.append(own)
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "Adagrad"])
def test_a_transposed_gradient_is_taken_for_what_it_is(kind: str) -> None:
    found, wanted = (torch.zeros(3, 2, requires_grad=True) for _ in range(2))
    slope = torch.arange(6.0).view(2, 3).t()
    for parameter, fused in ((found, True), (wanted, False)):
        update = Update(getattr(torch.optim, kind)([parameter], lr=0.1, fused=fused))
        for scale in (1.0, 2.0, -4.0):
            parameter.grad = (scale * slope.t() - 1.0).t()
            update()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_step_that_a_user_wraps_in_its_class_is_run(
    kind: type[torch.optim.Optimizer], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, step = [], kind.step

    @wraps(step)
    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return step(*args, **kwargs)

    (parameter, *_) = parameters()
    optimizer = kind([parameter], lr=0.1, fused=fused)
    assert is_unobserved(optimizer)
    monkeypatch.setattr(kind, "step", counted)
    assert not is_unobserved(optimizer)
    update = Update(optimizer)
    for _ in range(3):
        parameter.grad = torch.ones_like(parameter)
        update()
    assert len(calls) == 3


def compare_before_and_after_the_compiler() -> None:
    """Train, save and load with every optimiser; then import the compiler and do so again."""
    results = []
    for with_compiler in (False, True):
        if with_compiler:
            __import__(COMPILER)
        found = []
        for kind in ELEMENTWISE:
            own = parameters()
            optimizer, other = kind(own, lr=0.01), kind(parameters(), lr=0.01)
            update = Update(optimizer)
            for scale in (1.0, 2.0, -3.0):
                optimizer.zero_grad()
                sum((scale * parameter**2).sum() for parameter in own).backward()
                update()
            other.load_state_dict(optimizer.state_dict())
            found.append((own, other.state_dict()["state"]))
        assert (COMPILER in sys.modules) == with_compiler
        results.append(found)
    torch.testing.assert_close(*results, rtol=0, atol=0)
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        kept = vars(inspect.unwrap(getattr(torch.optim.Optimizer, name)))["__dynamo_disable"]
        assert kept.__globals__["__name__"].startswith(COMPILER)  # torch's own, as without us


@pytest.mark.full
def test_no_optimiser_imports_the_compiler() -> None:
    subprocess.run([sys.executable, __file__], check=True)


if __name__ == "__main__":
    compare_before_and_after_the_compiler()
