"""One training step made fast and verified, internal; never what is trained, or for how long.

Other rooms import from here alone, and only training and sweep do.
"""

from pyro_decomp.acceleration.auditor import Auditor, copied
from pyro_decomp.acceleration.backends import StepOutputs
from pyro_decomp.acceleration.batched.steps import BatchedSteps
from pyro_decomp.acceleration.batched.verification import BatchVerification
from pyro_decomp.acceleration.capture.compiled import unavailable_reason
from pyro_decomp.acceleration.capture.graph_hash import GraphHash, graph_hash
from pyro_decomp.acceleration.capture.places import Contents, Place, places_of
from pyro_decomp.acceleration.eager import EagerStep, StepResult
from pyro_decomp.acceleration.errors import (
    CaptureError,
    ChangedTooOften,
    Departed,
    FusionError,
    GoEager,
)
from pyro_decomp.acceleration.execution import CHOICES, Execution
from pyro_decomp.acceleration.flat_parameters import make_update
from pyro_decomp.acceleration.graph import GraphStep
from pyro_decomp.acceleration.joined_optimizers import JoinedUpdate, can_be_joined
from pyro_decomp.acceleration.optimizers import is_elementwise, unstackable_reason
from pyro_decomp.acceleration.policy import choose, resolve
from pyro_decomp.acceleration.process import (
    check_count,
    is_small,
    peak_memory,
    process_settings,
    threads,
)
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.verification import Audit

__all__ = [
    "CHOICES",
    "Audit",
    "Auditor",
    "BatchVerification",
    "BatchedSteps",
    "CaptureError",
    "ChangedTooOften",
    "Contents",
    "Departed",
    "EagerStep",
    "Execution",
    "FusionError",
    "GoEager",
    "GraphHash",
    "GraphStep",
    "JoinedUpdate",
    "Place",
    "StepOutputs",
    "StepResult",
    "StepSource",
    "can_be_joined",
    "check_count",
    "choose",
    "copied",
    "graph_hash",
    "is_elementwise",
    "is_small",
    "make_update",
    "peak_memory",
    "places_of",
    "process_settings",
    "resolve",
    "threads",
    "unavailable_reason",
    "unstackable_reason",
]
