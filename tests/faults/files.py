"""Files of all sorts in the current folder: experiments, arrays, tables, images, and others."""

import io
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HEAD = """
from functools import partial
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro_decomp import *
from pyro_decomp.data import pinwheel
from pyro_decomp.networks import MLPDecoder, MLPEncoder

def prior():
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

def made(data, elbo=None, size=None, encoder=None, decoder=None, **options):
    encoder, decoder = encoder or MLPEncoder(2, 2), decoder or MLPDecoder(2, 2)
    vae = VAE(prior, encoder, decoder, size=size or len(data))
    options = {"epochs": 3} | options
    return Experiment(vae.model, vae.guide, data=data, elbo=elbo or BetaELBO(), **options)

"""
PLAIN = {  # files that are whole as they stand
    "syntax.py": "def experiment(:\n",
    "noexp.py": "x = 1\n",
    "expint.py": "experiment = 3\n",
    "raises.py": "1/0\n",
    "exits.py": "import sys; sys.exit(0)\n",
    "ret.py": "def experiment(): return 3\n",
    "raise2.py": "def experiment(a: int = 1): raise ValueError('boom\\nline2')\n",
    "deep.py": "x=" + 5000 * "(" + 5000 * ")" + "\n",
    "recurse.py": "def experiment(): return experiment()\n",
    "base.py": "class X(BaseException): pass\nraise X('hm')\n",
}
EXPERIMENTS = {  # the signature of `experiment`, and what it returns
    "bigname.py": "a: complex = 1j): return made(pinwheel())",
    "star.py": "*a, **k): return made(pinwheel())",
    "anns.py": "a: 'Nope' = 1): return made(pinwheel())",
    "args.py": (
        "i: int = 1, f: float = 1.0, b: bool = False, s: str = 'a', t: tuple[int, ...] = (1,), "
        "l: Literal['x', 'y'] = 'x', o: int | None = None): return made(pinwheel())"
    ),
    "req.py": "i: int): return made(pinwheel())",
    "nandata.py": "):\n    d = pinwheel(); d[7, 1] = float('nan'); return made(d)",
    "wrongsize.py": "): return made(pinwheel(), size=99)",
    "wrongdim.py": "): return made(pinwheel(), encoder=MLPEncoder(3, 2))",
    "wronglat.py": "): return made(pinwheel(), decoder=MLPDecoder(3, 2))",
    "noplate.py": (
        "): return Experiment(lambda x: None, lambda x: None, data=pinwheel(), elbo=BetaELBO())"
    ),
    "emptydata.py": "): return made(torch.zeros(0, 2))",
    "onerow.py": "): return made(torch.zeros(1, 2), elbo=TotalCorrelationELBO())",
    "f16.py": "): return made(pinwheel().half())",
    "f16net.py": (
        "): return made(pinwheel(), encoder=MLPEncoder(2, 2).half(), "
        "decoder=MLPDecoder(2, 2).half())"
    ),
    "intd.py": "): return made((pinwheel() * 9).long())",
    "lr1e3.py": (
        "lr: float = 1e3): "
        "return made(pinwheel(), epochs=50, optimizer=partial(torch.optim.SGD, lr=lr))"
    ),
    "neglr.py": "): return made(pinwheel(), optimizer=partial(torch.optim.Adam, lr=-1))",
    "lastone.py": "): return made(torch.randn(101, 2), elbo=TotalCorrelationELBO(), batch_size=50)",
    "good.py": "a: float = 1.0, e: int = 3): return made(pinwheel(), epochs=e)",
}
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(60, 2))
ARRAYS: dict[str, Any] = {
    "ok.npy": ROWS,
    "short.npy": ROWS[:5],
    "one.npy": ROWS[:1],
    "empty.npy": ROWS[:0],
    "nan.npy": np.where(ROWS > 1, np.nan, ROWS),
    "const.npy": np.ones((60, 2)),
    "zero.npy": np.zeros((60, 2)),
    "huge.npy": 1e300 * ROWS,
    "f16.npy": ROWS.astype(np.float16),
    "cplx.npy": ROWS + 1j,
    "d0.npy": np.array(3.0),
    "d4.npy": np.zeros((3, 2, 2, 2)),
    "str.npy": np.array([["a", "b"], ["c", "d"]]),
    "obj.npy": np.array([[{}, []], [None, 1]], dtype=object),
    "f.npy": GENERATOR.integers(0, 3, (60, 2)),
    "f_float.npy": ROWS + 0.5,
    "f_neg.npy": GENERATOR.integers(-2, 2, (60, 2)),
}
TEXTS: dict[str, bytes] = {
    "afile": b"x",
    "latin1.py": b"x='\xe9'\n",
    "nulpy.py": b"x=1\0\n",
    "txt.npy": b"no array\n",
    "txt.npz": b"no archive\n",
    "ok.csv": b"a,b\n1,2\n3,4\n5,7\n",
    "dup.csv": b"a,a\n1,2\n3,4\n",
    "formula.csv": b"a,b\n=1+1,2\n3,4\n",
    "nul.csv": b"a,b\n1,\x002\n3,4\n",
    "ragged.csv": b"a,b\n1,2\n3\n",
    "empty.csv": b"",
    "onlyhead.csv": b"a,b\n",
    "latin.csv": b"\xe9,b\n1,2\n3,4\n",
    "semi.csv": b"a;b\n1;2\n3;4\n",
    "bigfield.csv": b"a,b\n" + 300_000 * b"1" + b",2\n",
    "utf16.csv": "a,b\n1,2\n3,4\n".encode("utf-16"),
    "nancsv.csv": b"a,b\n1,nan\n3,4\n",
    "wide.csv": b",".join(b"c%d" % i for i in range(5000))
    + b"\n"
    + b",".join(5000 * [b"1"])
    + b"\n",
    "bad.parquet": b"PAR1 no table PAR1",
}
TABLES = {
    "empty.parquet": {"a": pa.array([], pa.float64())},
    "strings.parquet": {"a": ["x", "y"]},
    "nested.parquet": {"a": [[1.0, 2.0], [3.0]]},
    "nulls.parquet": {"a": [1.0, None]},
}


def liar() -> bytes:
    """A header that tells of more numbers than any memory holds."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 9), }"
    padded = header + (118 - len(header) - 1) * b" " + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


def bomb() -> bytes:
    """More than a gigabyte of zeros, in a few megabytes."""
    zeros, out = 16 * bytes(2**20), io.BytesIO()
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10485760, 16), }"
    padded = head + (118 - len(head) - 1) * b" " + b"\n"
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("data.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded)
        for _ in range(80):
            member.write(zeros)
    return out.getvalue()


def images(folder: str, write: Callable[[Path], None]) -> None:
    Path(folder).mkdir()
    write(Path(folder) / "1.png")


def large_image(path: Path) -> None:
    """A small file of 900 million pixels, which are all black."""
    Image.new("1", (30_000, 30_000)).save(path)


def cut_image(path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(path)
    path.write_bytes(path.read_bytes()[:60])


def write_files() -> None:
    for name, text in PLAIN.items():
        Path(name).write_text(text)
    for name, rest in EXPERIMENTS.items():
        Path(name).write_text(f"{HEAD}def experiment({rest}\n")
    for name, content in {**TEXTS, "liar.npy": liar(), "bomb.npz": bomb()}.items():
        Path(name).write_bytes(content)
    for name, array in ARRAYS.items():
        np.save(name, array)
    Path("trunc.npy").write_bytes(Path("ok.npy").read_bytes()[:-100])
    np.savez("two.npz", a=ROWS, b=ROWS)
    np.savez("none.npz")
    for name, columns in TABLES.items():
        pq.write_table(pa.table(columns), name)
    pq.write_table(pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1]}), "whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    Path("trunc.parquet").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[40] ^= 255
    Path("flip.parquet").write_bytes(flipped)
    Path("notrun").mkdir()
    Path("notrun/x").write_text("keep")
    Path("emptydir").mkdir()
    images("img_ok", Image.new("RGB", (16, 16), "red").save)
    images("img_bomb", large_image)
    shutil.copytree("img_bomb", "img_bomb2")
    images("img_trunc", cut_image)
    images("img_txt", lambda path: path.write_text("no image"))
