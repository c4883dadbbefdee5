"""A copy of programs goes its own way: what its runs move is not the original's."""

import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from pyro_decomp.errors import ModelError
from pyro_decomp.programs.program_state import ProgramState
from pyro_decomp.programs.program_state.copies import check_own, copied
from pyro_decomp.programs.program_state.modules import find_modules
from tests.programs.program_state.kinds import KINDS, Kind

UNCOPIED = {"generator function"}
OF_CLASSES = {"attribute of a class", "context variable"}
COMPUTED_AGAIN = {"result that a function remembers"}
NETWORK = nn.Linear(2, 2)
X = torch.ones(3, 2)


@pytest.fixture(autouse=True)
def _own_parameters_of_pyro() -> Iterator[None]:
    with pyro.get_param_store().scope({"params": {}, "constraints": {}}):
        yield


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_a_copy_moves_is_its_own_or_refused(kind: Kind, request: Any) -> None:
    name, run = request.node.callspec.id, kind.make()
    run()
    if name in UNCOPIED:
        with pytest.raises(ModelError, match=rf"^{kind.path}: expected .* cannot pickle 'gen"):
            copied({"model": run})
        return
    copies = copied({"model": run})
    if name in COMPUTED_AGAIN:
        copies["model"]()
    state, before = ProgramState(model=run), ProgramState(model=run).fingerprint()
    moving = ProgramState(model=copies["model"]).moved_by(copies["model"])
    assert moving == {kind.path: kind.kind}
    if name in OF_CLASSES:
        with pytest.raises(ModelError, match=rf"^{kind.path}: expected .*others share it"):
            check_own({"model": run}, copies, moving)
        return
    check_own({"model": run}, copies, moving)
    assert before.difference(state.fingerprint()) == {}
    run()
    assert name in COMPUTED_AGAIN or run() == copies["model"]()


def encode(x: Tensor) -> Any:
    return NETWORK(x)


def by_global(x: Tensor) -> Any:
    return encode(x)


def closing(network: nn.Module) -> Callable[[Tensor], Any]:
    def program(x: Tensor) -> Any:
        return network(x)

    return program


class Owner:
    def __init__(self, network: nn.Module) -> None:
        self.parts = {"networks": [(network,)]}

    def program(self, x: Tensor) -> Any:
        return self.parts["networks"][0][0](x)


def hooked() -> nn.Module:
    network, other = nn.Linear(2, 2), nn.Linear(2, 2)
    network.register_forward_hook(lambda layer, given, found: other(found))
    return network


def recursive() -> Callable[[Tensor], Any]:
    network = nn.Linear(2, 2)

    def program(x: Tensor, depth: int = 2) -> Any:
        return network(x) if depth == 0 else program(x, depth - 1)

    return program


def of_python_module() -> Callable[[Tensor], Any]:
    networks = ModuleType("networks_of_a_user")
    networks.network = nn.Linear(2, 2)  # type: ignore[attr-defined]
    variables: dict[str, Any] = {"networks": networks, "__name__": "programs_of_a_user"}
    exec("def program(x): return networks.network(x)", variables)
    found: Callable[[Tensor], Any] = variables["program"]
    return found


def parametrized() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))


def with_parameters_of_pyro() -> nn.Module:
    network = PyroModule[nn.Linear](2, 2)
    network.weight = PyroParam(torch.eye(2).clone(), dist.constraints.positive)
    return network  # type: ignore[no-any-return]


HELD: dict[str, Callable[[], Callable[[Tensor], Any]]] = {
    "network": lambda: nn.Linear(2, 2),
    "closure": lambda: closing(nn.Linear(2, 2)),
    "global": lambda: by_global,
    "containers of an object": lambda: Owner(nn.Linear(2, 2)).program,
    "partial": lambda: partial(lambda network, x: network(x), nn.Linear(2, 2)),
    "default argument": lambda: lambda x, network=nn.Linear(2, 2): network(x),  # noqa: B008
    "default argument by name": lambda: lambda x, *, network=nn.Linear(2, 2): network(x),  # noqa: B008
    "handler": lambda: poutine.scale(closing(nn.Linear(2, 2)), scale=0.5),
    "handler as decorator": lambda: poutine.scale(scale=0.5)(closing(nn.Linear(2, 2))),
    "torch.no_grad": lambda: torch.no_grad()(closing(nn.Linear(2, 2))),
    "hook": hooked,
    "function that calls itself": recursive,
    "Python module": of_python_module,
    "parametrization": parametrized,
    "PyroModule": with_parameters_of_pyro,
}


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_networks_are_the_copys_own_and_compute_the_same(
    make: Callable[[], Callable[[Tensor], Any]],
) -> None:
    program = make()
    expected = program(X)
    copy = copied({"model": program})["model"]
    pyro.clear_param_store()  # by which networks of Pyro with equal names share
    assert torch.equal(copy(X), expected)
    (mine, *_), (its, *_) = find_modules([program]), find_modules([copy])
    assert mine is not its
    with torch.no_grad():
        for parameter in its.parameters():
            parameter.add_(1.0)
    pyro.clear_param_store()
    assert torch.equal(program(X), expected)
    pyro.clear_param_store()
    assert not torch.equal(copy(X), expected)


def test_what_two_programs_share_their_copies_share() -> None:
    owner = Owner(nn.Linear(2, 2))
    copies = copied({"model": owner.program, "guide": closing(owner.parts["networks"][0][0])})
    assert len(find_modules(copies.values())) == 1


def test_an_automatic_guide_is_of_the_copied_model() -> None:
    network = nn.Linear(2, 2)

    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(network(z), 1.0).to_event(1), obs=x)

    for is_run in (False, True):
        guide = AutoNormal(model)
        if is_run:
            guide(X)
        copies = copied({"model": model, "guide": guide})
        assert copies["guide"].model.args[-1] is copies["model"]
        pyro.clear_param_store()
        copies["guide"](X)
        assert (guide.prototype_trace is None) is not is_run
        found = {id(p) for p in copies["guide"].parameters()}
        assert found
        assert found.isdisjoint(id(p) for p in guide.parameters())


def test_lazy_networks_get_their_sizes_alone() -> None:
    network = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    copies = copied({"model": network})
    copies["model"](X)
    assert network[0].has_uninitialized_params()


class Named:
    def program(self, x: Tensor) -> Any:
        return NETWORK(x)


def test_a_network_that_a_class_names_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^model\.NETWORK: expected .* \(make it an attribute of"):
        copied({"model": Named().program})


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_a_scripted_network_is_refused() -> None:
    network = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(ModelError, match=r"^model: .*a scripted network"):
        copied({"model": network})
    assert ProgramState(model=network).moved_by(partial(network, X)) == {}


def test_a_network_that_a_cached_function_holds_is_refused() -> None:
    @cache
    def network() -> nn.Module:
        return nn.Linear(2, 2)

    def program(x: Tensor) -> Any:
        return network()(x)

    program(X)
    with pytest.raises(ModelError, match="a cached function holds a network"):
        copied({"model": program})


def test_large_tensors_and_data_are_not_copied() -> None:
    data, large = torch.randn(10, 2), torch.zeros(1 << 21)
    network = nn.Linear(2, 2)
    network.register_buffer("view", data[3:])
    network.register_buffer("own", torch.zeros(2))

    def program(x: Tensor) -> Any:
        return network(x) + data.mean() + large[0]

    copy = copied({"model": program}, [data])["model"]
    copies = dict(zip(copy.__code__.co_freevars, copy.__closure__, strict=True))
    assert copies["large"].cell_contents is large
    assert copies["data"].cell_contents is data
    its = copies["network"].cell_contents
    assert its.view.data_ptr() == network.view.data_ptr()
    assert its.own.data_ptr() != network.own.data_ptr()


@pytest.mark.parametrize(
    "large", [torch.zeros(1 << 21), np.zeros(1 << 20)], ids=["tensor", "array"]
)
def test_what_is_large_and_written_to_is_refused(large: Any) -> None:
    def program() -> None:
        large[0] += 1

    roots = {"model": program}
    copies = copied(roots)
    moving = ProgramState(**copies).moved_by(copies["model"])
    with pytest.raises(ModelError, match=r"^model\.large: expected .*others share it"):
        check_own(roots, copies, moving)


def test_locks_and_tensors_of_a_graph_are_shared() -> None:
    class Program(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.lock = nn.Linear(2, 2), threading.Lock()

        def forward(self, x: Tensor) -> Any:
            with self.lock:
                self.last = self.layer(x)
            return self.last

    program = Program()
    expected = program(X)
    assert torch.equal(copied({"model": program})["model"](X), expected)


def test_functions_of_libraries_are_themselves() -> None:
    assert copied({"model": pyro.sample})["model"] is pyro.sample
