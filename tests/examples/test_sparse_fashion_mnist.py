from pathlib import Path

import pyro
import pytest
import torch

from pyro_decomp import load, train
from pyro_decomp.data import fashion_mnist
from pyro_decomp.data.mnist import DEBIAN_FOLDER
from pyro_decomp.divergences import DimensionwiseMMD, InverseMultiquadratic
from pyro_decomp.errors import DataError
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment_file import ExperimentFile

FILE = Path(__file__).parents[2] / "examples" / "sparse_fashion_mnist.py"

needs_images = pytest.mark.skipif(
    not DEBIAN_FOLDER.exists(), reason="needs Debian's package dataset-fashion-mnist"
)


@pytest.mark.parametrize("gamma", [0.0, 0.8])
def test_the_prior_is_the_formula_of_the_paper(gamma: float) -> None:
    source = ExperimentFile.read(FILE)
    prior = source.function.__globals__["SparsePrior"](gamma, variance=0.05, latent_dim=3)
    z = torch.linspace(-3, 3, 601)[:, None].expand(601, 3) * torch.tensor([1.0, 0.1, -2.0])
    with pyro.plate("data", 601), pyro.poutine.trace() as traced, pyro.condition(data={"z": z}):
        prior()
    off = torch.exp(-(z**2) / (2 * 0.05)) / (2 * torch.pi * 0.05) ** 0.5
    on = torch.exp(-(z**2) / 2) / (2 * torch.pi) ** 0.5
    expected = (gamma * off + (1 - gamma) * on).log().sum(1)
    site = traced.trace.nodes["z"]
    found = site["fn"].log_prob(site["value"])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_without_images_one_line_says_what_to_do(tmp_path: Path) -> None:
    source = ExperimentFile.read(FILE)
    with pytest.raises(DataError, match=r"got neither in .*download=true.* or install") as caught:
        source.build({"root": str(tmp_path)})
    assert "\n" not in str(caught.value)


@pytest.mark.full
@needs_images
def test_it_trains_on_real_images(tmp_path: Path) -> None:
    source = ExperimentFile.read(FILE, seed=0)
    arguments = {"limit": 300, "batch_size": 20, "epochs": 1, "root": str(DEBIAN_FOLDER)}
    set_seed(0)
    trial = source.build(arguments)
    assert torch.equal(trial.data.x, fashion_mnist(DEBIAN_FOLDER, limit=300))
    run = train(source, tmp_path / "run", arguments=arguments)
    likelihood = run.history["log_likelihood"]
    assert len(likelihood) == 15
    assert likelihood[-3:].mean() > likelihood[:3].mean() + 500
    assert run.state.kl_methods == {"z": "Monte Carlo"}
    loaded = load(tmp_path / "run")
    for one, other in zip(run.state.modules, loaded.state.modules, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value)


@needs_images
def test_the_defaults_are_the_published_settings() -> None:
    source = ExperimentFile.read(FILE)
    defaults = {parameter.name: parameter.default for parameter in source.parameters}
    published = {"gamma": 0.8, "variance": 0.05, "alpha": 1000.0, "beta": 1.0, "latent_dim": 50}
    published |= {"epochs": 80, "batch_size": 500, "lr": 5e-4}
    assert published.items() <= defaults.items()
    trial = source.build({"limit": 5, "root": str(DEBIAN_FOLDER)})
    assert trial.data.x.shape == trial.test_data.x.shape == (5, 1, 32, 32)
    assert (trial.elbo.alpha, trial.elbo.beta) == (1000.0, 1.0)
    assert type(trial.elbo.divergence) is DimensionwiseMMD
    assert trial.elbo.divergence.kernel == InverseMultiquadratic()
    guide = pyro.poutine.trace(trial.guide).get_trace(trial.data.x)
    model = pyro.poutine.trace(pyro.poutine.replay(trial.model, trace=guide)).get_trace(
        trial.data.x
    )
    assert guide.nodes["z"]["value"].shape == (5, 50)
    px_z = model.nodes["x"]["fn"]
    while hasattr(px_z, "base_dist"):
        px_z = px_z.base_dist
    assert type(px_z).__name__ == "Laplace"
    assert px_z.scale.unique().item() == pytest.approx(0.1)
