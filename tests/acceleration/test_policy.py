"""Memory format and precision are tried before they are taken."""

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import Experiment, train
from pyro_decomp.acceleration import Execution, resolve
from pyro_decomp.elbo import BetaELBO
from pyro_decomp.errors import ExperimentError
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.state import prepare, step_source

N = 6
IMAGES = torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Viewing(nn.Module):
    """Takes the result of a convolution as rows in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, padding=1)
        self.head, self.decoder = nn.Linear(48, 4), nn.Linear(2, 16)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = self.decoder(z).view(-1, 1, 4, 4)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(3), obs=x)

    def guide(self, x: Tensor) -> None:
        h = self.convolution(x)
        loc, log_scale = self.head(h.view(len(x), -1)).chunk(2, -1)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def build(**options: Any) -> tuple[Experiment, Viewing]:
    set_seed(0)
    programs = Viewing()
    experiment = Experiment(programs.model, programs.guide, IMAGES, BetaELBO(), epochs=2, **options)
    return experiment, programs


def test_a_format_that_programs_do_not_allow_is_dropped_and_said(tmp_path: Path) -> None:
    experiment, programs = build(batch_size=4)
    run = train(experiment, tmp_path / "auto")
    other, _ = build(batch_size=4)
    plain = train(other, tmp_path / "plain", execution=Execution(memory_format="contiguous"))
    recorded = run.config["execution"]
    assert recorded["memory_format"] == "contiguous"
    assert recorded["why_format"].startswith("the programs fail under channels_last (")
    assert programs.convolution.weight.is_contiguous()
    for name, parameter in plain.state.parameters.items():
        assert torch.equal(parameter, run.state.parameters[name])


def test_asked_for_it_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"^memory_format: expected contiguous or auto, as"):
        train(build()[0], tmp_path / "run", execution=Execution(memory_format="channels_last"))
    assert not (tmp_path / "run").exists()


def test_networks_stay_in_the_format_that_a_user_gave_them() -> None:
    experiment, programs = build()
    state = prepare(experiment)
    programs.decoder.weight.data = programs.decoder.weight.data.t().contiguous().t()
    before = [(p, p.data_ptr(), p.stride()) for p in state.parameters.values()]
    noise = torch.get_rng_state()
    assert resolve(Execution(), step_source(experiment, state)).memory_format == "contiguous"
    assert all((p.data_ptr(), p.stride()) == (where, how) for p, where, how in before)
    assert all(p.grad is None for p, *_ in before)
    assert torch.equal(noise, torch.get_rng_state())
