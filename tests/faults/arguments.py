"""Every argument of every public function and class, given values of other kinds.

Run as a program it writes, as JSON, for each callable what was accepted or refused in other words
than its own: a run of its own, since the checks of shapes that tests install would speak first.
"""

import inspect
import json
import math
import os
import re
import sys
import tempfile
import types
import typing
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyro.distributions as dist
import pyro.optim
import torch
from pyro import infer
from torch import Tensor

import pyro_decomp
from pyro_decomp import Experiment, data, divergences, networks, plots, priors
from pyro_decomp.errors import DecompError
from pyro_decomp.schedules import Linear

MODULES = (
    "callbacks",
    "elbo",
    "divergences",
    "priors",
    "networks",
    "distributions",
    "distributions.annealing",
    "data",
    "metrics",
    "plots",
    "sweep",
)
SCHEDULES = ("Constant", "Linear", "Exponential", "Cosine", "Cyclical", "Capacity", "Sequence")
NOT_CALLED = {  # by a user
    "Callback": "without arguments",
    "Divergence": "abstract",
    "TermsELBO": "abstract",
    "Stored": "abstract",
    "Exact": "without arguments",
    "register_annealed": "a decorator, whose argument is a family of distributions",
    **dict.fromkeys(
        [
            *("Attributes", "Combination", "Comparison", "Estimate", "MeanInterval", "Plan"),
            *("Score", "TracePair", "Training"),
        ],
        "a result",
    ),
    **dict.fromkeys(["Interrupted", "SweepInterrupted", "SweepProgress"], "a message"),
}

NAN, OBJECT, ON_META = math.nan, object(), torch.ones((), device="meta")
NUMBER, WHOLE, WORD, FLAG = "number", "whole", "word", "flag"
WRONG: dict[str, list[Any]] = {  # values of no use, by what an argument is
    NUMBER: ["a", NAN, math.inf, [], OBJECT, True, 1j, np.float32("nan")],
    WHOLE: ["a", NAN, 1.5, [], OBJECT, True, -1, np.float64(2), 2**63, ON_META],
    WORD: [3, [], OBJECT, b"a"],
    FLAG: ["a", 3, OBJECT],
    "choice": ["a", 3, [], OBJECT],
    "path": [3, [], OBJECT, "", "a\0b"],
    "function": ["a", 3, OBJECT],
    "wholes": [3, "a", [NAN], [1.5], [-1], OBJECT],
    "words": [3, [3], OBJECT],
    "mapping": [3, [1], OBJECT],
    "tensor": [3, "a", [], OBJECT],
    "array": ["a", OBJECT],
    "object": [3, "a", OBJECT],
}
TORCHS = {"validate_args"}  # arguments of torch, of which only the truth matters
RIGHT: dict[tuple[str, str], tuple[list[Any], str]] = {  # which of these are right, and why
    ("data.pinwheel", "seed"): ([-1], "torch takes every whole number of 64 bits for a seed"),
    ("sweep.sweep", "seeds"): ([3], "how many"),
    ("metrics.index_code_information", "codes"): (
        [3, "a", OBJECT],
        "used beside a function alone",
    ),
    ("metrics.report", "untrained_encodings"): ([3, "a", OBJECT], "said of the encodings"),
    ("traverse", "dim"): ([-1], "counted from the end"),
    **{
        (called, name): (["a"], "the name of a file, which the message has")
        for called, name in (
            ("Experiment", "data"),
            ("Experiment", "test_data"),
            ("Experiment", "factors"),
            ("data.as_data", "data"),
            ("data.as_tensor", "data"),
        )
    },
}


def kind_of(name: str, annotation: Any) -> str:
    """Which of ``WRONG`` belong to an argument."""
    members = [m for m in members_of(annotation) if m is not type(None)]
    origins = {typing.get_origin(m) or m for m in members}
    if Literal in origins:
        return "choice"
    if any(is_array(m) for m in members):
        return NUMBER if float in origins else "tensor" if Tensor in origins else "array"
    if origins & {Path, os.PathLike}:
        return "path"
    for types_, kind in (
        ({bool}, FLAG),
        ({float}, NUMBER),
        ({str}, WORD),
        ({Callable}, "function"),
        ({Mapping}, "mapping"),
    ):
        if origins & types_:
            return kind
    if origins & {Sequence, Collection, tuple}:
        inner = {m for each in members for m in typing.get_args(each)}
        return "wholes" if inner == {int} else "words" if str in inner else "object"
    return WHOLE if origins == {int} else "object"


def members_of(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [m for each in typing.get_args(annotation) for m in members_of(each)]
    return [annotation]


def is_array(annotation: Any) -> bool:
    return "Tensor" in str(annotation) or "numpy" in str(annotation)


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every callable that is offered, once, by a name that says where it is."""
    import pyro_decomp

    seen = set()
    places = [("", pyro_decomp, [n for n in pyro_decomp.__all__ if n != "__version__"])]
    for name in MODULES:
        module = import_module(f"pyro_decomp.{name}")
        places.append((f"{name}.", module, module.__all__))
    places.append(("schedules.", import_module("pyro_decomp.schedules"), SCHEDULES))
    for prefix, module, names in places:
        for name in names:
            it = getattr(module, name)
            if callable(it) and it not in seen and name not in NOT_CALLED:
                seen.add(it)
                yield prefix + name, it


def good(folder: Path) -> Callable[[str, str], Any]:
    """What makes an argument that is right, by the callable's name and its own."""
    torch.manual_seed(0)
    locs, codes = torch.zeros(3, 2), np.random.default_rng(0).normal(size=(60, 2))
    factors = np.arange(60)[:, None] // 2 % 3
    vae_parts = priors.IsotropicNormal(2), networks.MLPEncoder(2, 2), networks.MLPDecoder(2, 2)
    vae = pyro_decomp.VAE(*vae_parts, size=20)
    experiment = Experiment(
        vae.model, vae.guide, data.pinwheel(4, 5), pyro_decomp.BetaELBO(), epochs=1
    )
    run = pyro_decomp.train(experiment, folder / "run")
    (folder / "images").mkdir()
    figure = plots.scatter([plots.Points("a", [1.0, 2.0], [1.0, 2.0])], "x", "y")
    plots.save(figure, folder / "images" / "one.png")
    np.save(folder / "x.npy", codes)
    (folder / "x.csv").write_text("a,b\n1,2\n3,5\n")
    (folder / "good.py").write_text(EXPERIMENT)
    values: dict[str, Any] = {
        "alpha": 0.5,
        "array": codes,
        "base": dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2), 1.0)
        ),
        "beta": 2.0,
        "captions": ["a"],
        "classes": np.zeros(60, int),
        "codes": codes,
        "columns": 3,
        "concentration": 1.0,
        "configuration": "A",
        "covariance": np.eye(2),
        "curves": [plots.TradeOff("a", [1.0, 2.0], [1.0, 2.0])],
        "data": data.pinwheel(4, 5),
        "decoded": np.zeros((2, 3, 4)),
        "decoder": vae.decoder,
        "df": 3.0,
        "dim": 3,
        "directions": torch.eye(2),
        "discriminator": networks.Discriminator(2, hidden=(3,)),
        "elbo": pyro_decomp.BetaELBO(),
        "encoder": vae.encoder,
        "encodings": (codes, np.ones_like(codes)),
        "end": 1.0,
        "estimate": [1.0],
        "experiment": experiment,
        "factor_names": ["shape"],
        "factors": factors,
        "figure": figure,
        "file": folder / "good.py",
        "first": Linear(0.0, 1.0),
        "following": Linear(0.0, 1.0),
        "frames": np.zeros((2, 4, 4, 3), np.uint8),
        "gamma": 1.0,
        "given": {},
        "group_label": "group",
        "groups": ["a"],
        "guide": vae.guide,
        "history": {"step": [1, 2], "elbo": [1.0, 2.0]},
        "image_shape": (1, 4, 4),
        "importance": np.eye(2),
        "in_dim": 2,
        "information": np.eye(2)[:, :1],
        "inner": torch.ones(2),
        "kind": "I",
        "labels": factors[:, 0],
        "lambda_d": 1.0,
        "lambda_od": 1.0,
        "latent_dim": 2,
        "latent_dims": (3, 2),
        "loc": torch.tensor([1.0, 0.0]),
        "locs": locs,
        "log_qz": np.zeros((3, 3)),
        "loss": infer.Trace_ELBO(),
        "lower": [0.0],
        "maximum": 1.0,
        "merged": {0: {1: 0}},
        "methods": [plots.Points("a", [1.0, 2.0], [1.0, 2.0])],
        "model": vae.model,
        "n": 3,
        "name": "toys",
        "objective": infer.Trace_ELBO(),
        "num_rows": 60,
        "num_samples": 5,
        "offsets": torch.zeros(3, 2, 2),
        "optim": pyro.optim.Adam({"lr": 1e-3}),
        "optimizer": torch.optim.Adam,
        "out": folder / "out",
        "out_dim": 2,
        "outer": torch.tensor(1.0),
        "p": dist.Normal(0.0, 1.0),
        "panels": [[plots.DensityPanel("a", [0.0, 1.0], [0.0, 1.0], np.zeros((2, 2)))]],
        "parts": [(1.0, divergences.MMD())],
        "path": folder / "x.csv",
        "paths": [folder / "run"],
        "posterior": (codes, np.ones_like(codes)),
        "power": 2.0,
        "prior": vae.prior,
        "program": vae.prior,
        "pseudo_inputs": locs,
        "reconstruction": data.pinwheel(4, 5),
        "render": lambda v: torch.zeros(len(v), 1, 4, 4),
        "rows": 3,
        "run": run,
        "runs": [codes, codes],
        "samples": codes,
        "scale": 1.0,
        "scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau,
        "settings": {"decoder.*": {"lr": 0.1}},
        "site": "z",
        "size": 20,
        "sizes": (1, 1),
        "start": 0.0,
        "state": run.state,
        "statistic": lambda rows: 0.0,
        "tables": {},
        "tensors": (locs,),
        "title": "a",
        "upper": [2.0],
        "value": 1.0,
        "value_label": "value",
        "values": [1.0, 2.0],
        "x": torch.randn(5, 2),
        "x_label": "x",
        "y": torch.randn(6, 2),
        "y_label": "y",
        "z": torch.randn(5, 2),
    }
    own: dict[tuple[str, str], Any] = {
        ("AdversarialDivergence", "kind"): "kl",
        ("amortization_gap", "x"): data.pinwheel(4, 5)[:1],
        ("load", "path"): folder / "run",
        ("load", "experiment"): experiment,
        ("traverse", "values"): [[1.0, 2.0]],
        ("priors.AnisotropicNormal", "scale"): torch.ones(2),
        ("distributions.LpNested", "scale"): torch.ones(2),
        ("distributions.VonMisesFisher", "concentration"): torch.tensor(1.0),
        ("data.GroundTruth", "factors"): {"a": 2},
        ("data.image_folder", "path"): folder / "images",
        ("data.image_paths", "path"): folder / "images",
        ("data.memory_mapped", "path"): folder / "x.npy",
        ("data.read_with_factors", "factors"): ["b"],
        ("data.joint_factors", "data"): data.sprites(16),
        ("metrics.modularity", "factors"): np.hstack([factors, factors[::-1]]),
        ("metrics.divergence_from_prior", "prior"): dist.Normal(torch.zeros(2), 1.0).to_event(1),
        ("metrics.normal_scores", "prior"): dist.Normal(torch.zeros(2), 1.0).to_event(1),
        ("plots.aggregate_density", "x"): [0.0, 1.0, 2.0],
        ("plots.aggregate_density", "y"): [0.0, 1.0, 2.0],
        ("plots.Boxes", "values"): [[1.0]],
        ("plots.DensityPanel", "log_qz"): np.zeros((2, 2)),
        ("plots.box_plots", "methods"): [plots.Boxes("a", [[1.0, 2.0]])],
        ("plots.contact_sheet", "rows"): [np.zeros((2, 4, 4, 3))],
        ("plots.encodings", "loc"): codes,
        ("plots.encodings", "covariance"): np.tile(np.eye(2), (60, 1, 1)),
        ("plots.save", "path"): folder / "figure.png",
        ("plots.save_animation", "path"): folder / "frames.gif",
        ("plots.traversals", "values"): [0.0, 1.0, 2.0],
        ("plots.traversal_frames", "values"): [0.0, 1.0, 2.0],
        ("compare", "paths"): folder / "run",
        ("sweep.read_table", "path"): folder / "run",
        ("sweep.sweep", "values"): {"beta": [1.0]},
    }
    return lambda called, name: own.get((called, name), values[name])


def wrongly_taken(
    called: str, call: Callable[..., Any], make: Callable[[str, str], Any]
) -> list[str]:
    """What was accepted, or refused in words that do not name the argument."""
    found = []
    parameters = inspect.signature(call).parameters.values()
    parameters = [p for p in parameters if p.kind != p.VAR_KEYWORD and p.name not in TORCHS]
    try:
        usual = {p.name: make(called, p.name) for p in parameters if p.default is p.empty}
    except KeyError as name:
        return [f"{name}: expected a right value of it in `good` of tests/faults/arguments.py"]
    for parameter in parameters:
        annotation = parameter.annotation
        wrong = list(WRONG[kind_of(parameter.name, annotation)])
        if type(None) not in members_of(annotation) and annotation not in {Any, object}:
            wrong.append(None)
        right, _ = RIGHT.get((called, parameter.name), ([], ""))
        for value in wrong:
            if any(type(value) is type(each) and value == each for each in right):
                continue
            if said := taken(call, usual | {parameter.name: value}, parameter.name):
                found.append(f"{parameter.name}={value!r}: {said}")
    return found


def wrongly_refused(
    called: str, call: Callable[..., Any], make: Callable[[str, str], Any]
) -> list[str]:
    """Numbers of numpy, and tensors without dimensions, that are not taken as Python's are."""
    found = []
    parameters = inspect.signature(call).parameters.values()
    parameters = [p for p in parameters if p.kind != p.VAR_KEYWORD]
    usual = {p.name: make(called, p.name) for p in parameters if p.default is p.empty}
    usual |= FEW.get(called, {})
    for parameter in parameters:
        kind = kind_of(parameter.name, parameter.annotation)
        value = usual.get(parameter.name, parameter.default)
        if kind not in {NUMBER, WHOLE} or type(value) not in {int, float}:
            continue
        as_numpy = np.float32(value) if type(value) is float else np.int64(value)
        for form in (as_numpy, torch.tensor(value)):
            if error := failure(call, usual | {parameter.name: form}):
                found.append(f"{parameter.name}={form!r}: {error}")
    return found


def failure(call: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(**arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def taken(call: Callable[..., Any], arguments: Mapping[str, Any], name: str) -> str:
    """What is wrong with how it was refused; nothing where one sentence names the argument."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(**arguments)
    except DecompError as error:
        said = str(error)
        if re.search(rf"\b{re.escape(name)}\b", said) and "expected" in said and "\n" not in said:
            return ""
        return f"{type(error).__name__}: {said}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


_FEW_DRAWS = {"num_samples": 4, "warmup_steps": 1, "num_importance_samples": 2}
_TWO_FACTORS = {"factors": np.arange(60)[:, None] // np.array([2, 6]) % 3}
FEW: dict[str, dict[str, Any]] = {  # arguments that take less time, or that the others go with
    "amortization_gap": _FEW_DRAWS,
    "evaluate": {"only": ["elbo"]},
    "sweep.sweep": {"values": {}},
    "intervene": {"num_samples": 3},
    "schedules.Exponential": {"start": 0.5},
    **{
        f"metrics.{name}": _TWO_FACTORS
        for name in ("beta_vae_score", "dci_lasso", "dci_trees", "factor_vae_score", "irs")
    },
}
ABSENT = {"data.celeba", "data.celeba_attributes", "data.chairs", "data.mnist", "data.dsprites"}
SLOW = {"metrics.dci_trees", "metrics.beta_vae_score", "metrics.factor_vae_score"}

EXPERIMENT = """
from pyro_decomp import BetaELBO, Experiment, VAE
from pyro_decomp.data import pinwheel
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.priors import IsotropicNormal

def experiment(beta: float = 1.0) -> Experiment:
    vae = VAE(IsotropicNormal(2), MLPEncoder(2, 2), MLPDecoder(2, 2), size=20)
    return Experiment(vae.model, vae.guide, pinwheel(4, 5), BetaELBO(beta), epochs=1)
"""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make = good(Path(folder))
        found = {}
        for name, call in public():
            if sys.argv[1:] == ["taken"]:
                found[name] = wrongly_taken(name, call, make)
            elif name not in ABSENT | SLOW and not name.startswith("data.fashion"):
                found[name] = wrongly_refused(name, call, make)
    answers.write(json.dumps(found))
    answers.close()


if __name__ == "__main__":
    main()
