"""Batch normalisation from its formula."""

import torch


def standardised(x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation with its initial weight of 1 and bias of 0."""
    loc = x.mean((0, 2, 3), keepdim=True)
    return (x - loc) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
