"""Memory and arithmetic for sums over pairs that are formed a block at a time."""

import threading

import torch
from torch import Tensor

BLOCK = 2**18  # pairs (times dimensions, where these are formed together) held at once


def workspace(name: str, shape: torch.Size, like: Tensor) -> Tensor:
    """Uninitialised memory that the next call of the same name gives again.

    Fresh memory for every block would cost more in page faults than the arithmetic on it. At most
    a block of each name, type and device is kept, a thread.
    """
    kept: dict[str, Tensor] = _kept.__dict__
    key = f"{name} {like.dtype} {like.device}"
    if key not in kept or kept[key].numel() < shape.numel():
        with torch.inference_mode(False):  # else training could not write to it later
            kept[key] = torch.empty(shape.numel(), dtype=like.dtype, device=like.device)
    return kept[key][: shape.numel()].view(shape)


_kept = threading.local()


def exp_(x: Tensor) -> Tensor:
    """Exp in place for x <= 0, floored far below rounding: denormal numbers are slow."""
    return x.clamp_min_(-60.0 if x.dtype == torch.float32 else -600.0).exp_()


def log_sum_exp(pairs: Tensor, out: Tensor) -> None:
    """Over the last dimension; overwrites ``pairs``."""
    largest = pairs.amax(-1)
    torch.sum(exp_(pairs.sub_(largest[..., None])), -1, out=out).log_().add_(largest)
