"""What a metric says where scikit-learn is missing."""

import sys

import numpy as np
import pytest

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import mig, sap


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for module in ("sklearn.svm", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, module, None)
    v = np.random.default_rng(0).integers(2, size=[40, 2])
    with pytest.raises(DataError, match=r"scikit-learn: expected it for this metric.*\[metrics\]"):
        sap(v, v)
    assert mig(v, v, num_resamples=0).value > 0.8  # needs none
