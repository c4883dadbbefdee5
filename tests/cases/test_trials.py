"""Experiments that a user writes on a first day: those that work, and those that are refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp import evaluate
from pyro_decomp.analysis.pictures.outputs import drawable
from pyro_decomp.errors import DecompError
from tests.cases.running import build, trained
from tests.not_yet import rows

WORKING: dict[str, dict[str, Any]] = {
    "bayesian_decoder": {},
    "conditional_by_input": {},
    "mixed_columns": {},
    "pyro_param": {},
    "zero_inflated_counts": {},
    "float64_default": {},
    "tokens": {},
    "channel_last": {},
    "last_batch_of_one": {"n": 32},
    **{f"weights, {kind}": {"kind": kind, "epochs": 20} for kind in ("plain", "lazy", "spectral")},
    **{f"weights, {kind}": {"kind": kind, "epochs": 20} for kind in ("weight", "tied", "frozen")},
}
OFTEN = {"mixed_columns", "float64_default", "tokens", "weights, lazy"}


@pytest.mark.full(but=["mixed_columns"])
@pytest.mark.parametrize("name", rows("trials", WORKING, often=OFTEN))
def test_it_trains_and_is_evaluated(name: str, tmp_path: Path) -> None:
    run = trained(name.partition(",")[0], tmp_path / "run", **WORKING[name])
    assert math.isfinite(run.history["elbo"][-1])
    for found in evaluate(run, only=["elbo", "mutual_information"]).values():
        assert math.isfinite(found["elbo"])
        assert not found["left_out"]


STEPS = ["eager", "captured", "fused", "auto"]


@pytest.mark.parametrize("steps", rows("value outside the support", STEPS, often=["eager"]))
def test_a_value_outside_the_support_is_refused_before_the_first_step(
    steps: str, tmp_path: Path
) -> None:
    with pytest.raises(DecompError, match=r"'x'") as caught:
        trained("support_late_row", tmp_path / "run", steps=steps)
    message = str(caught.value)
    assert "40" in message  # the row
    assert "255" in message
    assert "\n" not in message
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


ONE = ["right"]


@pytest.mark.parametrize("_", rows("a last batch of one", ONE, often=ONE))
def test_batch_statistics_of_one_datum_are_refused_before_the_first_step(
    _: str, tmp_path: Path
) -> None:
    with pytest.raises(DecompError, match="batch") as caught:
        trained("last_batch_of_one", tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert "33" in str(caught.value) or "1 datum" in str(caught.value)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize("_", rows("channels last", ONE, often=ONE))
def test_images_with_their_channels_last_are_drawn_as_images(_: str) -> None:
    x = build("channel_last").data.x[:4]
    drawn = drawable(x)
    assert drawn.shape in {(4, 3, 8, 8), (4, 8, 8, 3)}
    torch.testing.assert_close(drawn.sum(), x.sum())
