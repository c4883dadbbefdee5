"""An experiment file of a line of points, which can fail in several ways and take its time."""

SOURCE = '''"""A line of points."""

import os
import signal
import time

import pyro
import pyro.distributions as dist
import torch

from pyro_decomp import AggregateELBO, Experiment

DATA = torch.linspace(-2.0, 2.0, 400)[:, None]


class Slow(torch.optim.SGD):
    """PAUSE makes a step long without making it costly; the file stays the same."""

    signal = None

    def step(self, closure=None):
        time.sleep(float(os.environ.get("PAUSE", 0)))
        if self.signal is not None and not os.environ.get("UNHARMED"):
            os.kill(os.getpid(), self.signal)
        return super().step(closure)


def model(x):
    with pyro.plate("data", 400, subsample=x):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1).to_event(1))
        pyro.sample("x", dist.Normal(z, 1).to_event(1), obs=x)


def experiment(
    beta: float = 1.0,
    lr: float = 0.01,
    hidden: tuple[int, ...] = (1,),
    epochs: int = 3,
    fail: str | None = None,
):
    network = torch.nn.Linear(1, 1)

    def guide(x):
        with pyro.plate("data", 400, subsample=x):
            pyro.sample("z", dist.Normal(network(x), 1).to_event(1))

    if fail == "build":
        raise RuntimeError("no\\nway")
    def optimizer(parameters):
        slow = Slow(parameters, lr=lr)
        slow.signal = {"die": signal.SIGKILL, "interrupt": signal.SIGINT}.get(fail)
        return slow

    return Experiment(
        model,
        guide,
        data=DATA,
        elbo=AggregateELBO(beta=beta),
        epochs=epochs,
        optimizer=optimizer,
    )
'''
