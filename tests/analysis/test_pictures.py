import random
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.image import imread
from PIL import Image
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment, train
from pyro_decomp.analysis.encoding import encode
from pyro_decomp.analysis.pictures import density_on_grid, draw, picture_data
from pyro_decomp.networks import ConvDecoder32, ConvEncoder32, MLPDecoder, MLPEncoder
from pyro_decomp.training.run import Run
from pyro_decomp.training.run_files.run_folder import PICTURES

OF_ALL = ["terms.png", "reconstructions.png", "prior_samples.png"]
OF_THE_PLANE = ["aggregate_posterior.png", "encodings.png"]
TRAVERSALS = ["traversals.gif", "traversals.png"]
OF_FACTORS = ["mutual_information.png", "codes_against_factors.png"]


def build(
    folder: Path, latent_dim: int = 2, *, data: Tensor | None = None, networks: Any = None
) -> Run:
    """A run of three steps with the prior N(1, 0.5^2) in each dimension."""
    data = torch.randn(24, 3) if data is None else data

    def prior() -> Any:
        z = dist.Normal(torch.ones(latent_dim), 0.5).to_event(1)
        return pyro.sample("z", z)

    encoder, decoder = networks or (
        MLPEncoder(3, latent_dim, (8,)),
        MLPDecoder(latent_dim, 3, (8,)),
    )
    vae = VAE(prior, encoder, decoder, size=len(data))
    trial = Experiment(vae.model, vae.guide, data=data, elbo=AggregateELBO(), epochs=3)
    return train(trial, folder / "run")


def names(paths: list[Path]) -> list[str]:
    assert all(imread(path).shape[-1] in {3, 4} for path in paths if path.suffix == ".png")
    for path in paths:
        if path.suffix == ".gif":
            with Image.open(path) as animation:
                assert animation.n_frames > 2
    return [path.name for path in paths]


@pytest.mark.full
def test_images_and_latents_that_are_not_two_leave_out_the_latent_space(tmp_path: Path) -> None:
    networks = ConvEncoder32(5), ConvDecoder32(5, scale=0.1)
    run = build(tmp_path, 5, data=torch.rand(6, 1, 32, 32), networks=networks)
    assert names(draw(run)) == [*OF_ALL, *TRAVERSALS]


@pytest.mark.full
def test_two_latents_give_the_plane_too_and_nothing_else_changes(tmp_path: Path) -> None:
    run = build(tmp_path)
    parameters = [p.detach().clone() for p in run.state.parameters.values()]
    for module in run.state.modules:
        module.train(True)
    modes = [part.training for module in run.state.modules for part in module.modules()]

    def draws() -> Any:
        return torch.rand(3).tolist(), np.random.rand(), random.random()

    pyro.set_rng_seed(3)
    expected = draws()
    pyro.set_rng_seed(3)
    paths = draw(run)
    assert draws() == expected
    drawn = names(paths)
    assert drawn == [*OF_ALL, *OF_THE_PLANE, *TRAVERSALS]
    assert set(drawn) < set(PICTURES)
    assert all(path.parent == run.folder.plots_path for path in paths)
    assert [p.training for module in run.state.modules for p in module.modules()] == modes
    for before, after in zip(parameters, run.state.parameters.values(), strict=True):
        assert torch.equal(before, after)


@pytest.mark.full
def test_the_density_is_the_exact_mixture_over_all_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pyro_decomp.analysis.encoding.BATCH_ELEMENTS", 3 * 10
    )  # batches of 10, 10, 4
    run = build(tmp_path)
    with torch.no_grad():
        pairs = list(encode(run, run.data))
        axis, log_qz, log_pz = density_on_grid(pairs, limit=8.0)
        (vae,) = run.state.modules
        assert isinstance(vae, nn.Module)
        qz_x = vae.encoder(run.data.x)  # type: ignore[operator]
        mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(24)), qz_x)
        for row, column in [(0, 0), (100, 100), (90, 120), (13, 180), (199, 7)]:
            z = torch.tensor([axis[column], axis[row]])  # rows run along the second latent
            assert log_qz[row, column] == pytest.approx(mixture.log_prob(z).item(), rel=1e-4)
            log_prior = dist.Normal(1.0, 0.5).log_prob(z).sum().item()
            assert log_pz[row, column] == pytest.approx(log_prior, rel=1e-4)
    cell = (axis[1] - axis[0]) ** 2
    assert np.exp(log_qz).sum() * cell == pytest.approx(1.0, abs=2e-3)
    assert np.exp(log_pz).sum() * cell == pytest.approx(1.0, abs=2e-3)


@pytest.mark.full
def test_a_grid_that_is_not_given_holds_the_codes_and_the_prior(tmp_path: Path) -> None:
    run = build(tmp_path)
    with torch.no_grad():
        axis, log_qz, log_pz = density_on_grid(list(encode(run, run.data)))
    cell = (axis[1] - axis[0]) ** 2
    assert axis[0] == -axis[-1]
    assert np.exp(log_pz).sum() * cell == pytest.approx(1.0, abs=0.02)
    assert np.exp(log_qz).sum() * cell > 0.9


def test_a_large_set_in_some_order_is_drawn_from_all_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_data, "MAX_DRAWN", 6)
    run = build(tmp_path, data=torch.arange(24.0)[:, None].expand(24, 3))
    drawn = picture_data.PictureData(run, 0)
    (x,) = drawn.encoded.batch(drawn.rows)
    assert len(x) == 6
    assert x[:, 0].tolist() == drawn.rows.tolist() == sorted(set(drawn.rows.tolist()))
    assert drawn.rows.max() - drawn.rows.min() > 12


@pytest.mark.full
def test_factors_give_pictures_of_codes_against_them(tmp_path: Path) -> None:
    run = build(tmp_path, 1, data=torch.randn(24, 3))
    run.experiment.factors = torch.cartesian_prod(torch.arange(4), torch.arange(6))
    run.experiment.factor_names = ("a", "b")
    drawn = names(draw(run))
    assert drawn[: len(OF_ALL)] == OF_ALL
    assert set(drawn) >= {*TRAVERSALS, *OF_FACTORS}


@pytest.mark.full
def test_one_factor_of_classes_gives_their_mean_codes_unless_a_plane_shows_them(
    tmp_path: Path,
) -> None:
    of_a_label = ["code_magnitudes.png", "active_dimensions.png"]
    for latent_dim in (2, 3):
        run = build(tmp_path / str(latent_dim), latent_dim, data=torch.randn(24, 3))
        run.experiment.factors = torch.arange(24)[:, None] % 3
        run.experiment.factor_names = ("class",)
        drawn = names(draw(run))
        assert drawn[-2:] == (OF_FACTORS if latent_dim == 2 else of_a_label)
