"""A module of a user's beside the file of a function."""

import torch

NETWORK = torch.nn.Linear(1, 1)


def helped() -> int:
    """Something to import."""
    return 7
