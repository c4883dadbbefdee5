"""``SVI`` gives Pyro's values, parameters and random numbers, whatever changes between steps."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.optim
import pytest
import torch
from pyro import infer, poutine
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal
from torch import Tensor, nn

from pyro_decomp import SVI, BetaELBO, TotalCorrelationELBO
from pyro_decomp.acceleration import graph, verification
from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.svi import svi as module

NUM_DATA = 12


@pytest.fixture(autouse=True)
def own_store() -> Iterator[None]:
    with pyro.get_param_store().scope():
        yield


class Linear(nn.Module):
    """A VAE of two linear maps, in 64 bits; ``beta`` weighs the KL."""

    def __init__(self, size: int = NUM_DATA) -> None:
        super().__init__()
        self.size = size
        self.encoder, self.decoder = nn.Linear(3, 2), nn.Linear(2, 3)
        self.norm: nn.Module = nn.Identity()
        self.double()

    def model(self, x: Tensor, beta: float = 1.0, is_wide: bool = False) -> Tensor:
        pyro.module("decoder", self.decoder)
        scale = pyro.param(
            "scale", torch.tensor(0.7).double(), constraint=dist.constraints.positive
        )
        with pyro.plate("data", self.size, subsample=x):
            prior = dist.Normal(torch.zeros(2).double(), 2.0 if is_wide else 1.0).to_event(1)
            with poutine.scale(scale=beta):
                z = pyro.sample("z", prior)
            return pyro.sample("x", dist.Normal(self.decoder(z), scale).to_event(1), obs=x)

    def guide(self, x: Tensor, beta: float = 1.0, is_wide: bool = False) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", self.size, subsample=x), poutine.scale(scale=beta):
            loc = self.encoder(self.norm(x))
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))


def data(rows: int = NUM_DATA, seed: int = 0) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed)).double()


def by_function(model: Callable[..., Any], guide: Callable[..., Any], *args: Any) -> Tensor:
    """The loss of Pyro's tutorial on custom objectives."""
    drawn = poutine.trace(guide).get_trace(*args)
    scored = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args)
    return drawn.log_prob_sum() - scored.log_prob_sum()


LOSSES: dict[str, Callable[[], Any]] = {
    "trace": infer.Trace_ELBO,
    "particles": lambda: infer.Trace_ELBO(num_particles=2),
    "vectorized": lambda: infer.Trace_ELBO(num_particles=2, vectorize_particles=True),
    "mean-field": infer.TraceMeanField_ELBO,
    "graph": infer.TraceGraph_ELBO,
    "enum": lambda: infer.TraceEnum_ELBO(strict_enumeration_warning=False),
    "renyi": lambda: infer.RenyiELBO(alpha=0.5, num_particles=3),
    "jit": infer.JitTrace_ELBO,
    "jit-mean-field": infer.JitTraceMeanField_ELBO,
    "beta": lambda: BetaELBO(2.0),
    "total-correlation": lambda: TotalCorrelationELBO(beta=3.0),
    "function": lambda: by_function,
}
PLAIN = {"jit": infer.Trace_ELBO, "jit-mean-field": infer.TraceMeanField_ELBO}  # what Jit is of


def _scheduled(kind: Any, **settings: Any) -> Callable[[], Any]:
    return lambda: kind({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, **settings})


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: pyro.optim.Adam({"lr": 0.01}),
    "adamw": lambda: pyro.optim.AdamW({"lr": 0.01, "weight_decay": 0.1}),
    "sgd": lambda: pyro.optim.SGD({"lr": 1e-4, "momentum": 0.9}),
    "rmsprop": lambda: pyro.optim.RMSprop({"lr": 0.01}),
    "clipped": lambda: pyro.optim.ClippedAdam({"lr": 0.01, "lrd": 0.99, "clip_norm": 5.0}),
    "by-name": lambda: pyro.optim.Adam(lambda n: {"lr": 0.03 if "decoder" in n else 0.01}),
    "clip-args": lambda: pyro.optim.Adam({"lr": 0.01}, {"clip_norm": 2.0}),
    "exponential": _scheduled(pyro.optim.ExponentialLR, gamma=0.9),
    "plateau": _scheduled(pyro.optim.ReduceLROnPlateau, patience=2, factor=0.5),
}


def values(kind: Any, loss: Any, optimizer: Any, play: Callable[..., Any], **asked: Any) -> Any:
    """Losses, and all parameters and buffers, after a play of steps; the SVI last."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    programs = Linear()
    svi = kind(programs.model, programs.guide, optimizer, loss, **asked)
    losses = list(play(svi, programs))
    kept = {**programs.state_dict(), "scale": pyro.param("scale"), "next": torch.rand(())}
    return losses, {name: tensor.detach().clone() for name, tensor in kept.items()}, svi


def assert_as_pyro(
    play: Callable[..., Any],
    *,
    loss: str = "trace",
    optimizer: str = "adam",
    is_captured: bool = True,
    steps: str = "captured",
) -> Any:
    plain = PLAIN.get(loss, LOSSES[loss])
    wanted, kept, _ = values(infer.SVI, plain(), OPTIMIZERS[optimizer](), play)
    found, ours, svi = values(SVI, LOSSES[loss](), OPTIMIZERS[optimizer](), play, steps=steps)
    assert svi.execution.steps == (steps if is_captured else "eager"), svi.execution
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    for name, tensor in kept.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-9, atol=1e-9, equal_nan=True)
    return svi


def ten_steps(svi: Any, programs: Linear) -> Iterator[float]:
    for _ in range(10):
        yield svi.step(data())
        if hasattr(svi.optim, "step"):
            plateau = isinstance(svi.optim.pt_scheduler_constructor, type) and "Plateau" in str(
                svi.optim.pt_scheduler_constructor
            )
            svi.optim.step(*[1.0] * plateau)
    yield svi.evaluate_loss(data())


@pytest.mark.full(but=["beta"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_pyros_steps(loss: str) -> None:
    assert_as_pyro(ten_steps, loss=loss)


@pytest.mark.full(but=["exponential"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_gives_pyros_steps(optimizer: str) -> None:
    assert_as_pyro(ten_steps, optimizer=optimizer)


def annealed(svi: Any, programs: Linear) -> Iterator[float]:
    for beta in np.linspace(0.1, 1.0, 12):
        yield svi.step(data(), float(beta))
        yield svi.step(data(), beta=beta)  # of numpy


def in_minibatches(svi: Any, programs: Linear) -> Iterator[float]:
    for epoch in range(4):
        for rows in (5, 5, 2):
            yield svi.step(data(rows, epoch), is_wide=epoch % 2 == 1)


def moved_by_hand(svi: Any, programs: Linear) -> Iterator[float]:
    store = pyro.get_param_store()
    saved = [{n: t.clone() for n, t in programs.state_dict().items()}]

    def replace_scale() -> None:
        store["scale"] = torch.tensor(0.9).double()

    moves: list[Callable[[], object]] = [
        lambda: programs.encoder.weight.data.mul_(0.5),
        lambda: programs.decoder.bias.detach().fill_(0.3),
        lambda: programs.load_state_dict(saved[0]),
        lambda: setattr(programs.decoder.weight, "data", torch.ones(3, 2).double()),
        replace_scale,
        pyro.clear_param_store,
        lambda: programs.encoder.requires_grad_(False),
        lambda: programs.encoder.requires_grad_(True),
        lambda: setattr(programs, "norm", nn.Tanh()),
        lambda: (setattr(programs, "decoder", nn.Linear(2, 3).double()), pyro.clear_param_store()),
    ]
    for move in moves:
        move()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*was not registered in the param store")
            for _ in range(3):
                yield svi.step(data())


def changed_in_python(svi: Any, programs: Linear) -> Iterator[float]:
    scales = torch.ones(2).double()
    inner = programs.model
    svi.model = lambda x: inner(x, scales[0])
    for change in (
        lambda: setattr(programs, "size", 30),
        lambda: scales.mul_(2.0),
        lambda: setattr(programs, "size", 24),
    ):
        yield from (svi.step(data()) for _ in range(5))
        change()
    yield from (svi.step(data()) for _ in range(5))


def gradients_by_hand(svi: Any, programs: Linear) -> Iterator[float]:
    seen: list[float] = []
    yield svi.step(data())
    programs.encoder.weight.register_hook(lambda g: seen.append(float(g.norm())))
    programs.encoder.bias.register_hook(lambda g: 0.5 * g)
    for _ in range(4):
        yield svi.step(data())
        programs.decoder.weight.square().sum().backward()
    yield from seen


def with_settings(svi: Any, programs: Linear) -> Iterator[float]:
    yield from (svi.step(data()) for _ in range(3))
    for optimizer in svi.optim.optim_objs.values():
        optimizer.param_groups[0]["lr"] = 0.1
    yield from (svi.step(data()) for _ in range(3))
    state = {name: kept["state"][0]["exp_avg"] for name, kept in svi.optim.get_state().items()}
    yield from (float(each.norm()) for _, each in sorted(state.items()))
    svi.optim = pyro.optim.Adam({"lr": 0.2})
    yield from (svi.step(data()) for _ in range(3))


def with_batch_norm(svi: Any, programs: Linear) -> Iterator[float]:
    programs.norm = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    for mode in (True, False, True):
        programs.train(mode)
        yield from (svi.step(data()) for _ in range(3))


def with_numbers_that_python_uses(svi: Any, programs: Linear) -> Iterator[float]:
    inner = programs.model

    def model(x: Tensor, beta: float) -> Tensor:
        return inner(x, float(np.exp(beta)) if beta > 0.5 else beta + 0.1)

    svi.model, svi.guide = model, lambda x, beta: programs.guide(x)
    for beta in (0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.6, 0.2):
        yield svi.step(data(), beta)


def with_what_optimisers_keep_cleared(svi: Any, programs: Linear) -> Iterator[float]:
    yield from (svi.step(data()) for _ in range(4))
    for optimizer in svi.optim.optim_objs.values():
        optimizer.state.clear()
    yield from (svi.step(data()) for _ in range(4))


def with_one_network_by_two_names(svi: Any, programs: Linear) -> Iterator[float]:
    inner = programs.model
    svi.model = lambda x: (pyro.module("again", programs.decoder), inner(x))
    yield from (svi.step(data()) for _ in range(5))


def inside_of_handlers(svi: Any, programs: Linear) -> Iterator[float]:
    yield from (svi.step(data()) for _ in range(4))
    for handler in (poutine.scale(scale=3.0), poutine.mask(mask=False)):
        with handler:
            yield svi.step(data())
        yield svi.step(data())


def with_not_a_number(svi: Any, programs: Linear) -> Iterator[float]:
    yield from (svi.step(data()) for _ in range(3))
    with pyro.validation_enabled(False), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield float(np.isnan(svi.step(data() * np.nan)))
        yield len([each for each in told if "NaN" in str(each.message)])


PLAYS = {
    play.__name__: play
    for play in (
        annealed,
        changed_in_python,
        in_minibatches,
        moved_by_hand,
        gradients_by_hand,
        inside_of_handlers,
        with_settings,
        with_batch_norm,
        with_what_optimisers_keep_cleared,
        with_one_network_by_two_names,
        with_numbers_that_python_uses,
        with_not_a_number,
    )
}


def test_inside_of_a_handler_that_is_said() -> None:
    def play(svi: Any, programs: Linear) -> Iterator[float]:
        with poutine.scale(scale=0.5):
            yield svi.step(data())

    svi = assert_as_pyro(play, is_captured=False)
    assert svi.execution.why == "they are taken inside of a handler of Pyro's"


@pytest.mark.full
@pytest.mark.parametrize("play", PLAYS)
def test_what_changes_between_steps_is_seen(play: str) -> None:
    assert_as_pyro(PLAYS[play])


def eager_reason(model: Any, guide: Any, *args: Any, loss: Any = None, **kwargs: Any) -> str:
    """Why steps of programs are not captured; they equal Pyro's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BEFORE_CAPTURE", 1)
        found = []
        for kind in (infer.SVI, SVI):
            pyro.clear_param_store()
            pyro.set_rng_seed(0)
            optimizer = pyro.optim.Adam({"lr": 0.01})
            svi = kind(model, guide, optimizer, loss or infer.Trace_ELBO())
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                found.append([svi.step(*args, **kwargs) for _ in range(4)])
    assert found[0] == found[1]
    assert svi.execution.steps == "eager"
    (only,) = [str(each.message) for each in told if each.category is ExecutionWarning]
    assert svi.execution.why in only
    return svi.execution.why


def simple(*args: Any, **kwargs: Any) -> None:
    loc = pyro.param("loc", torch.tensor(0.5))
    pyro.sample("z", dist.Normal(loc, 1.0))


def normal(*args: Any, **kwargs: Any) -> None:
    pyro.sample("z", dist.Normal(0.0, 1.0))


def captures(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Receives an item for every graph that is captured."""
    calls: list[object] = []
    capture = graph.capture

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return capture(*args, **kwargs)

    monkeypatch.setattr(graph, "capture", counted)
    return calls


def test_what_cannot_be_captured_runs_and_says_why() -> None:
    assert "tensor with gradients" in eager_reason(normal, simple, torch.ones(2).requires_grad_())
    assert "argument is a ndarray" in eager_reason(normal, simple, [np.ones(2)])
    assert "no parameters to Pyro" in eager_reason(normal, normal)
    assert "write to their arguments" in eager_reason(
        lambda x: (normal(), x.add_(1.0)), simple, torch.ones(2)
    )

    def loss(model: Any, guide: Any) -> Tensor:
        value = by_function(model, guide)
        value.register_hook(lambda g: value.sign() * g)
        return value * float(value > 0)

    assert "values of tensors decide" in eager_reason(normal, simple, loss=loss)


def test_a_loss_that_changes_gradients_itself_is_run() -> None:
    def loss_and_grads(model: Any, guide: Any) -> float:
        value = by_function(model, guide)
        value.backward()  # type: ignore[no-untyped-call]
        pyro.get_param_store()._params["loc"].grad *= 0.5
        return value.item()

    optimizer = pyro.optim.Adam({"lr": 0.01})
    svi = SVI(normal, simple, optimizer, by_function, loss_and_grads, steps="captured")
    svi.step()
    with pytest.raises(ExperimentError, match="expected eager or auto, as"):
        svi.step()


def test_what_is_changed_within_a_list_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "LEAST", 1e9)  # every audit at steps 2, 4, 8, ...
    programs, scales = Linear(), [1.0, object()]
    inner = programs.model
    adam = OPTIMIZERS["adam"]()
    svi = SVI(
        lambda x: inner(x, scales[0]), programs.guide, adam, infer.Trace_ELBO(), steps="captured"
    )
    for _ in range(3):  # 2 captured ones, the second of them audited
        svi.step(data())
    scales.append(2.0)
    svi.step(data())
    with pytest.warns(ExecutionWarning, match="scales changed between steps"):
        svi.step(data())
    assert svi.execution.steps == "eager"
    assert "after 1 of them" in svi.execution.why
    moments = adam.get_state()["encoder$$$weight"]["state"][0]
    assert moments["step"] == 3  # by the programs, captured, by the programs
    assert scales[0::2] == [1.0, 2.0]  # the user's own


@pytest.mark.full
def test_steps_are_captured_ever_later_where_each_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = captures(monkeypatch)

    def play(svi: Any, programs: Linear) -> Iterator[float]:
        for size in range(12, 42):
            programs.size = size
            yield svi.step(data())

    assert_as_pyro(play, is_captured=False)
    assert len(calls) == 4  # after 1, 2, 4 and 8 steps


@pytest.mark.full
def test_values_that_never_come_again_keep_nothing_from_being_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = captures(monkeypatch)

    def play(svi: Any, programs: Linear) -> Iterator[float]:
        inner = programs.model
        svi.model, svi.guide = lambda x, n: inner(x, 1.0 + n), lambda x, n: programs.guide(x)
        for number in (*range(30), 0, 0, 0):
            yield svi.step(data(), number)

    assert_as_pyro(play)
    assert len(calls) == 1


@pytest.mark.full
def test_an_annealed_number_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = captures(monkeypatch)
    svi = assert_as_pyro(annealed)
    assert svi.execution.steps == "captured"
    assert len(calls) == 2  # by place, and by name


@pytest.mark.full
def test_automatic_guides_train_and_their_parameters_are_saved(tmp_path: Path) -> None:
    def model(x: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, scale).to_event(1), obs=x)

    x = data().float()
    for guide in (AutoNormal, AutoMultivariateNormal, AutoIAFNormal):
        found = []
        for kind, asked in ((infer.SVI, {}), (SVI, {"steps": "captured"})):
            pyro.clear_param_store()
            pyro.set_rng_seed(0)
            svi = kind(
                model, guide(model), pyro.optim.Adam({"lr": 0.1}), infer.Trace_ELBO(), **asked
            )
            losses = [svi.step(x) for _ in range(8)]
            pyro.get_param_store().save(str(tmp_path / "store"))
            pyro.clear_param_store()
            pyro.get_param_store().load(str(tmp_path / "store"))
            kept = {name: value.tolist() for name, value in pyro.get_param_store().items()}
            found.append((losses, kept))
        assert svi.execution.steps == "captured"
        np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-6)
        assert found[1][1] == found[0][1]


def test_jit_losses_start_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.jit, "trace", None)
    assert_as_pyro(
        lambda svi, _: iter([svi.step(data())]), loss="jit", steps="eager", is_captured=False
    )


@pytest.mark.parametrize("steps", ["fast", "", None])
def test_other_ways_are_refused(steps: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="steps: expected"):
        SVI(normal, simple, pyro.optim.Adam({}), infer.Trace_ELBO(), steps=steps)


@pytest.mark.full
def test_fused_steps_are_pyros_but_for_rounding() -> None:
    assert_as_pyro(ten_steps, steps="fused")
