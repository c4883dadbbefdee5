"""What torch's compiler keeps is executed, so it must be the user's alone."""

import os
from pathlib import Path

import pytest
import torch

from pyro_decomp.acceleration.capture import compiled as module
from tests.acceleration.fusion.recorded import graph_of

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files"),
]


@pytest.mark.parametrize("name", ["TORCHINDUCTOR_CACHE_DIR", "TMPDIR"])
def test_nothing_is_compiled_where_others_can_write(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime import cache_dir_utils

    folder, own = tmp_path / "shared", tmp_path / "own"
    folder.mkdir()
    folder.chmod(0o777)
    default = folder if name == "TMPDIR" else own
    monkeypatch.setattr(cache_dir_utils, "default_cache_dir", lambda: str(default))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder if default == own else own))
    module._why_unsafe.cache_clear()
    try:
        reason = module._missing("cpu")
        assert f"others can write to {folder} (chmod go-w {folder}); {name} names" in reason
        x = torch.ones(3)
        with pytest.raises(RuntimeError, match=f"{name} names another folder"):
            module.compiled(graph_of(lambda x: [x.sin()], [x]), [x])
        assert not list(folder.iterdir())
        folder.chmod(0o755)
        module._why_unsafe.cache_clear()
        assert not module._why_unsafe()
    finally:
        module._why_unsafe.cache_clear()
