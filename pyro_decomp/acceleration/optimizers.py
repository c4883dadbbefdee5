"""What is known of optimisers, and their steps without overhead. Internal."""

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

COMPILER = "torch._dynamo"

ELEMENTWISE = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
)


def is_elementwise(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it treats every number of a parameter by itself.

    Then parameters of several networks can be stacked, or those of one joined, and are trained as
    they would be apart.
    """
    return type(optimizer) in ELEMENTWISE


def is_unobserved(optimizer: torch.optim.Optimizer, *, but_for_schedulers: bool = False) -> bool:
    """Whether nothing of a user's runs at its steps: no hooks, nor a ``step`` other than torch's.

    A user's may be the optimiser's own, or its class's, in which it may be wrapped around torch's.
    The ``step`` that torch's schedulers give it, to see whether it has taken one, can be left out.
    """
    own = vars(optimizer).get("step")
    is_counted = but_for_schedulers and hasattr(own, "_wrapped_by_lr_sched")
    return not (
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or (own is not None and not is_counted)
        or not _is_of_torch(type(optimizer).step)
    )


def _is_of_torch(method: Callable[..., Any] | None) -> bool:
    """Whether torch has defined a method and all that is wrapped around it."""
    while method is not None:
        if not getattr(method, "__globals__", {}).get("__name__", "").startswith("torch."):
            return False
        method = getattr(method, "__wrapped__", None)
    return True


def unstackable_reason(optimizer: torch.optim.Optimizer) -> str:
    """Why one optimiser cannot train the parameters of several runs at once, in a clause.

    Returns:
        Empty if it can.
    """
    if not is_elementwise(optimizer):
        kind = type(optimizer).__name__
        return f"the optimiser {kind} is not known to treat numbers one by one"
    if not is_unobserved(optimizer):
        return "hooks run at the optimiser's steps, and may change what the programs compute"
    return ""


class Update:
    """``optimizer.step()``, without most of what torch does around its one call of a kernel.

    For Adam and AdamW with ``fused=True`` on the processor the kernel is called at once, with the
    optimiser's own state and settings: the same bits, at a fifth of the time for small networks.
    For all else, and at the first step, it is ``optimizer.step()``.
    """

    vector: Tensor | None = None  # that all parameters are views of

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._kernel = KERNELS.get(type(optimizer))

    def adopt(self) -> bool:
        """Whether steps can go on from what the optimiser keeps of earlier ones."""
        return True

    def may_go_on(self) -> bool:
        """Whether the optimiser may still be called in this way."""
        return True

    def leave(self) -> None:
        """Let another take the optimiser's steps from here on."""

    def __call__(self) -> None:
        """Change the parameters."""
        for group in self._optimizer.param_groups:
            _lay_out_gradients(group["params"])
        if self._kernel is None or not all(map(self._is_plain, self._optimizer.param_groups)):
            _step(self._optimizer)
            return
        for group in self._optimizer.param_groups:
            self._update(group)

    def _is_plain(self, group: dict[str, Any]) -> bool:
        """Whether the kernel can be called for a group: it has state, and nothing is special."""
        optimizer, state = self._optimizer, self._optimizer.state
        return bool(
            group["fused"]
            and not (group["capturable"] or group["differentiable"])
            and all(isinstance(value, float) for value in (group["lr"], *group["betas"]))
            and is_unobserved(optimizer)
            and all(
                p.is_cpu
                and p.grad is not None
                and p in state
                and p.dtype == group["params"][0].dtype
                for p in group["params"]
            )
        )

    @torch.no_grad()
    def _update(self, group: dict[str, Any]) -> None:
        states = [self._optimizer.state[parameter] for parameter in group["params"]]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        assert self._kernel is not None
        self._kernel(
            group["params"],
            [parameter.grad for parameter in group["params"]],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
            steps,
            amsgrad=group["amsgrad"],
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
            grad_scale=None,
            found_inf=None,
        )


def _step(optimizer: torch.optim.Optimizer) -> None:
    """``optimizer.step()``, which would import torch's compiler to tell it where to stop."""
    step = inspect.unwrap(type(optimizer).step)
    if COMPILER in sys.modules or not (is_elementwise(optimizer) and is_unobserved(optimizer)):
        optimizer.step()
        return
    with torch.set_grad_enabled(optimizer.defaults.get("differentiable", False)):
        step(optimizer)


def _without_compiler(method: Callable[..., Any]) -> None:
    """Keep a method of optimisers from importing torch's compiler, which takes a second.

    Torch wraps the method so that, at its first call, it imports the compiler to make, and keep on
    the method, a version that is not compiled. Until the compiler is there for another reason, the
    method is that version. A method that torch wraps otherwise is left as it is.
    """
    inner = getattr(method, "__wrapped__", None)
    if inner is None or hasattr(inner, "__dynamo_disable"):
        return

    @wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        if COMPILER not in sys.modules:
            return inner(*args, **kwargs)
        inner.__dict__.pop("__dynamo_disable", None)
        return method(*args, **kwargs)

    setattr(inner, "__dynamo_disable", call)


def _lay_out_gradients(parameters: Iterable[Tensor]) -> None:
    """Let gradients lie in memory as their parameters do.

    Autograd's own do; captured ones may be transposed, and torch's fused optimisers would take
    their numbers in the order in which they lie.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.stride() != parameter.stride():
            parameter.grad = torch.empty_like(parameter).copy_(gradient)


KERNELS: dict[type[torch.optim.Optimizer], Callable[..., None]] = {
    torch.optim.Adam: torch._fused_adam_,
    torch.optim.AdamW: torch._fused_adamw_,
}

for _name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
    _without_compiler(getattr(torch.optim.Optimizer, _name))
