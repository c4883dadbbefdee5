"""Data that are too large for memory, with too little memory for them.

Each test runs in a process of its own: one that has held more before may use that again.
"""

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, evaluate, train
from pyro_decomp.analysis import evaluation
from pyro_decomp.data.reading import as_data
from pyro_decomp.data.stored import memory_mapped

ROWS, COLUMNS = 50_000, 1_000  # 200 MB as float32
QUICK_MEASURES = {*evaluation.MEASURES} - {"divergence_from_prior", "dci_trees"}
SPARE = 150 * 2**20  # imports and threads take some of it


@contextmanager
def little_memory() -> Iterator[None]:
    """Let the process allocate no more than so much beside what it has; maps of files are free."""
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("VmData:")[2].split()[0]) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + SPARE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def in_fresh_process(function: Callable[[Path], None], path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(function, path).result()


def large_file(path: Path) -> Path:
    """Zeros that take no room on the disk, then a row of ones."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (ROWS, COLUMNS)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.seek((ROWS - 1) * COLUMNS * 4, 1)
        np.ones(COLUMNS, np.float32).tofile(file)
    return path


@pytest.mark.slow
def test_a_run_on_a_mapped_file_never_holds_it_all(tmp_path: Path) -> None:
    in_fresh_process(run_on_a_mapped_file, tmp_path)


def run_on_a_mapped_file(folder: Path) -> None:
    file = large_file(folder / "x.npy")
    evaluation.MIN_SAMPLES = evaluation.MAX_SAMPLES = 50
    encoder = nn.Linear(COLUMNS, 1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", ROWS, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("mean of x", dist.Normal(z, 1.0).to_event(1), obs=x.mean(1, keepdim=True))

    def guide(x: Tensor) -> None:
        with pyro.plate("data", ROWS, subsample=x):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    torch.optim.Adam(encoder.parameters())  # imports a compiler, once
    with little_memory():
        with pytest.raises(MemoryError):
            np.load(file)
        data = memory_mapped(file)
        assert data[-2:].mean(1).tolist() == [0.0, 1.0]
        trial = Experiment(model, guide, data, AggregateELBO(), epochs=1, batch_size=1000)
        run = train(trial, folder / "run")
        metrics = evaluate(run, num_importance_samples=2, only=QUICK_MEASURES)
    assert run.step == ROWS // 1000
    assert metrics["train"]["log_likelihood"] < -0.5 * np.log(2 * np.pi)


def test_a_file_of_a_gibibyte_is_mapped_without_being_asked(tmp_path: Path) -> None:
    in_fresh_process(map_a_gibibyte, tmp_path / "x.npy")


def map_a_gibibyte(path: Path) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**10, 2**20)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2**30)
    with little_memory():
        (stored,) = as_data(path).tensors
        assert stored[torch.tensor([1, 1000])].sum().item() == 0.0
