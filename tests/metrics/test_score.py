"""A score in plain values."""

import json

import numpy as np

from pyro_decomp.metrics import Score


def test_arrays_and_what_is_not_finite() -> None:
    score = Score(
        name="mig",
        value=np.float64(0.5),
        interval=(0.25, np.inf),
        variant={"factors": (1, 2), "num_rows": np.int64(7), 3: "x"},
        details={"gaps": np.array([[0.5, np.nan]])},
        corrected=np.float64(0.75),
    )
    assert json.loads(json.dumps(score.to_json(), allow_nan=False)) == {
        "name": "mig",
        "value": 0.5,
        "interval": [0.25, None],
        "variant": {"factors": [1, 2], "num_rows": 7, "3": "x"},
        "details": {"gaps": [[0.5, None]]},
        "corrected": 0.75,
        "no_interval": None,
    }
