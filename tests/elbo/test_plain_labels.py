"""Data that are labelled in part, against explicit sums."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn.functional import one_hot

from pyro_decomp.elbo import BetaELBO
from tests.statistics import assert_mean

NUM_DATA, BATCH, CLASSES, WIDTH = 60, 14, 3, 4
Q_SCALE, P_SCALE, NOISE = 0.3, 0.7, 0.5


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


class PartlyLabelled:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.x, self.y = torch.randn(BATCH, WIDTH), torch.randint(CLASSES, (BATCH,))
        self.known = torch.rand(BATCH) < 0.5
        self.decoder, self.classifier = nn.Linear(2, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.encoder = nn.Linear(WIDTH + CLASSES, 2)
        self.locs, self.shares = torch.randn(CLASSES, 2), torch.tensor([0.5, 0.3, 0.2])

    def loc(self, x: Tensor, c: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(x.shape[:-1], c.shape)
        columns = x.expand(*shape, WIDTH), one_hot(c, CLASSES).to(x).expand(*shape, CLASSES)
        return self.encoder(torch.cat(columns, -1))

    def model(self, x: Tensor, y: Tensor, known: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            c = pyro.sample("c", dist.Categorical(self.shares), obs=y, obs_mask=known)
            z = pyro.sample("z", dist.Normal(self.locs[c], P_SCALE).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), NOISE).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor, known: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            classes = dist.Categorical(logits=self.classifier(x))
            c = pyro.sample("c", classes, obs=y, obs_mask=known)
            pyro.sample("z", dist.Normal(self.loc(x, c), Q_SCALE).to_event(1))

    def each(self) -> tuple[Tensor, Tensor, Tensor]:
        """log q(c|x), and of each class the codes' locations and KL: [CLASSES, BATCH]."""
        loc = self.loc(self.x, torch.arange(CLASSES)[:, None].expand(-1, BATCH))
        qz, pz = dist.Normal(loc, Q_SCALE), dist.Normal(self.locs[:, None], P_SCALE)
        return self.classifier(self.x).log_softmax(-1).T, loc, kl_divergence(qz, pz).sum(-1)

    def by_datum(self, of_class: Tensor, log_q: Tensor) -> Tensor:
        """Of the label where it is known; the mean over q(c|x) elsewhere."""
        labelled = of_class.gather(0, self.y[None])[0]
        return torch.where(self.known, labelled, (log_q.exp() * of_class).sum(0))


@pytest.mark.parametrize(("beta", "supervision"), [(1.0, 1.0), (2.0, 5.0)])
def test_all_but_the_likelihood_is_the_explicit_sum(beta: float, supervision: float) -> None:
    programs = PartlyLabelled()
    elbo = BetaELBO(beta)
    elbo.supervision = supervision
    estimate = elbo.evaluate(programs.model, programs.guide, programs.x, programs.y, programs.known)
    log_q, _, kl = programs.each()
    log_shares = programs.shares.log()[:, None]
    of_unlabelled = torch.where(programs.known, 0.0, log_q - log_shares)
    wanted_kl = programs.by_datum(kl + of_unlabelled, log_q).mean()
    labelled = (log_q.gather(0, programs.y[None])[0] * programs.known).mean()
    torch.testing.assert_close(estimate.terms["kl"], wanted_kl)
    torch.testing.assert_close(estimate.terms["supervision"], labelled)
    rest = estimate.objective - estimate.terms["log_likelihood"]
    torch.testing.assert_close(rest, -beta * wanted_kl + supervision * labelled)


@pytest.mark.full
def test_the_likelihood_is_unbiased_with_the_labels_of_those_that_have_one() -> None:
    """Of a Normal decoder E log p(x|z) has a closed form; log p(c) of labels belongs to it."""
    programs, elbo = PartlyLabelled(), BetaELBO(1.0)
    data = programs.x, programs.y, programs.known
    with torch.no_grad():
        found = torch.stack(
            [
                elbo.evaluate(programs.model, programs.guide, *data).terms["log_likelihood"]
                for _ in range(200)
            ]
        )
        log_q, loc, _ = programs.each()
        at_mean = dist.Normal(programs.decoder(loc), NOISE).log_prob(programs.x).sum(-1)
        spread = 0.5 * programs.decoder.weight.square().sum() * (Q_SCALE / NOISE) ** 2
        of_labels = programs.shares.log()[programs.y] * programs.known
        wanted = (programs.by_datum(at_mean - spread, log_q) + of_labels).mean()
    assert_mean(found, wanted)
