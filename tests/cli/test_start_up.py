"""A training command starts nothing and imports nothing that it can do without."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "pinwheel_mixture.py"
NOT_NEEDED = [
    *("torch._dynamo", "torch._inductor", "sympy", "torchvision", "functorch"),
    *("matplotlib.pyplot", "scipy", "sklearn", "pandas", "pyarrow"),
    *("IPython", "tensorboard", "torch.utils.tensorboard", "mlflow"),
]
PROGRAM = f"""
import sys
from pyro_decomp.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code
print("imported:", *[name for name in {NOT_NEEDED} if name in sys.modules])
"""


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_second_run_starts_no_compiler_and_imports_nothing_for_one(tmp_path: Path) -> None:
    compiler, log = tmp_path / "compiler", tmp_path / "log"
    compiler.write_text(f'#!/bin/sh\necho started >> "{log}"\nexec cc "$@"\n')
    compiler.chmod(0o755)
    log.touch()
    started = []
    for number in range(2):
        words = [
            "train",
            str(EXAMPLE),
            "--set",
            "epochs=4",
            "--set",
            "anneal=false",
            "--steps",
            "fused",
        ]
        words += ["--out", str(tmp_path / f"run-{number}")]
        environment = {"CC": str(compiler), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        environment["PYTHONHASHSEED"] = str(number)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1].strip() == "imported:"
        assert len(list((tmp_path / f"run-{number}" / "plots").iterdir())) >= 7
        started.append(len(log.read_text().splitlines()))
    assert started[0] > 0
    assert started[1] == started[0]


END = """
import atexit, ctypes, sys
from pyro_decomp.cli import main
system = ctypes.CDLL(None)
system.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(system.fopen(sys.argv.pop().encode(), b"w"))
atexit.register(lambda: system.fputs(b"told by C at the end", file))
main()
"""


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="no C library by that name")
@pytest.mark.parametrize(("word", "code"), [("--version", 0), ("no-such-command", 2)])
def test_nothing_is_lost_at_the_end(word: str, code: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", END, word, str(path)], check=False)
    assert done.returncode == code
    assert path.read_text() == "told by C at the end"
