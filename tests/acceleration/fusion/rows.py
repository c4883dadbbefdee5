"""Forms of every operation that is written as C, as a table: one a row.

A name stands for a tensor: x, y, z [4, 12]; row [12]; column [4, 1]; number []; wide [3, 2, 5];
square [5, 5]; long [5, 12]; short [1, 3]; integers n, k [4, 12], and places [4, 7] and
n_rows [3, 12] to gather from; bools is_so, or_so [4, 12]. "real" is the floating type.
"""

import math
from typing import Any

import torch

aten = torch.ops.aten
ROWS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []


def row(target: Any, *arguments: Any, **named: Any) -> None:
    ROWS.append((target, arguments, named))


UNARY = (
    "neg reciprocal sqrt rsqrt square exp expm1 log log1p sin cos tanh erf silu lgamma sigmoid"
    " sgn sign relu abs isnan logical_not alias detach clone zeros_like ones_like sum mean"
)
for _name in UNARY.split():
    row(getattr(aten, _name).default, "x")
BINARY = "maximum minimum logical_and logical_or sigmoid_backward tanh_backward"
for _name in BINARY.split():
    row(getattr(aten, _name).default, "x", "y")
for _name in ["eq", "ne", "lt", "le", "gt", "ge"]:
    row(getattr(aten, _name).Tensor, "x", "row")
    row(getattr(aten, _name).Scalar, "x", 0.5)
    row(getattr(aten, _name).Tensor, "n", "k")
    row(getattr(aten, _name).Scalar, "n", 0.5)
for _with_alpha in (aten.add, aten.sub, aten.rsub):
    row(_with_alpha.Tensor, "x", "column")
    row(_with_alpha.Tensor, "x", "y", alpha=-3)
    row(_with_alpha.Scalar, "x", 2)
    row(_with_alpha.Scalar, "x", 2.5, 3)
    row(_with_alpha.Tensor, "n", "k", alpha=2)
    row(_with_alpha.Scalar, "n", -7)
row(aten.add.Tensor, "is_so", "or_so")
row(aten.add.Tensor, "is_so", "n")
row(aten.add.Tensor, "n", "x")
row(aten.mul.Tensor, "x", "number")
row(aten.mul.Tensor, "is_so", "or_so")
row(aten.mul.Tensor, "n", "k")
row(aten.mul.Scalar, "x", -0.3)
row(aten.div.Tensor, "x", "y")
row(aten.div.Tensor, "n", "k")
row(aten.div.Scalar, "n", 4)
row(aten.div.Scalar, "x", 3)
row(aten.neg.default, "n")
row(aten.square.default, "n")
row(aten.relu.default, "n")
row(aten.exp.default, "n")
row(aten.sqrt.default, "is_so")
row(aten.sigmoid.default, "n")
row(aten.lgamma.default, "y")
row(aten.clamp_min.default, "x", 0.25)
row(aten.clamp_min.default, "n", 1)
row(aten.clamp_max.default, "x", -0.25)
row(aten.clamp_max.default, "n", 1)
row(aten.clamp.default, "x", -0.5, 0.5)
row(aten.clamp.default, "x", None, 0.5)
row(aten.clamp.default, "x", 0.5, -0.5)
row(aten.clamp.default, "n", -1, 2)
row(aten.clamp_min.Tensor, "x", "row")
row(aten.clamp_max.Tensor, "x", "y")
row(aten.clamp.Tensor, "z", "x", "y")
row(aten.threshold_backward.default, "x", "y", 0.1)
row(aten.leaky_relu.default, "x")
row(aten.leaky_relu.default, "x", 0.3)
row(aten.leaky_relu_backward.default, "x", "y", 0.3, False)
row(aten.elu.default, "x")
row(aten.elu.default, "x", 0.7, 1.3, 0.9)
row(aten.elu_backward.default, "x", 0.7, 1.3, 1.0, False, "z")
row(aten.silu_backward.default, "x", "y")
row(aten.softplus.default, "x")
row(aten.softplus.default, "x", 2.0, 0.5)
row(aten.softplus_backward.default, "x", "y", 2.0, 0.5)
row(aten.xlogy.Tensor, "x", "y")
row(aten.xlogy.Scalar_Self, 0.0, "y")
row(aten.xlogy.Scalar_Other, "x", -1.0)
row(aten.binary_cross_entropy_with_logits.default, "x", "y", None, None, 0)
row(aten.bitwise_not.default, "is_so")
row(aten.bitwise_and.Tensor, "is_so", "or_so")
row(aten.bitwise_or.Tensor, "is_so", "or_so")
row(aten.bitwise_and.Scalar, "is_so", True)
row(aten.bitwise_and.Scalar_Tensor, True, "is_so")
row(aten.bitwise_or.Scalar, "is_so", False)
row(aten.bitwise_or.Scalar_Tensor, True, "is_so")
row(aten.logical_not.default, "n")
row(aten.logical_and.default, "is_so", "n")
for _exponent in (0.5, 1, 2, 3, -1, -2, 0, 2.5):
    row(aten.pow.Tensor_Scalar, "x", _exponent)
row(aten.pow.Tensor_Tensor, "x", "y")
row(aten.pow.Scalar, 2.5, "y")
row(aten.where.self, "is_so", "x", "row")
row(aten.where.self, "is_so", "n", "or_so")
row(aten.where.ScalarSelf, "is_so", 1.5, "x")
row(aten.where.Scalar, "is_so", 1.5, -2.5)
row(aten.where.ScalarOther, "is_so", "n", 0)
row(aten.where.ScalarOther, "is_so", "x", -math.inf)
row(aten.masked_fill.Scalar, "x", "is_so", -math.inf)
row(aten.masked_fill.Scalar, "n", "is_so", 2)
row(aten._to_copy.default, "n", dtype="real")
row(aten._to_copy.default, "n", dtype=torch.bool)
row(aten._to_copy.default, "z", dtype=torch.int64)
row(aten._to_copy.default, "x", dtype=torch.bool)
row(aten._to_copy.default, "is_so", dtype=torch.int64)
row(aten.new_zeros.default, "x", [2, 3])
row(aten.new_ones.default, "n", [2, 3])
row(aten.new_full.default, "x", [2, 3], -1.5)
row(aten.full_like.default, "x", True)
row(aten.full_like.default, "n", -4)

row(aten.t.default, "x")
row(aten.t.default, "row")
row(aten.transpose.int, "wide", -1, 0)
row(aten.permute.default, "wide", [2, 0, -2])
row(aten.expand.default, "column", [3, -1, 5])
row(aten.expand.default, "number", [2, 3])
row(aten.unsqueeze.default, "x", -1)
row(aten.unsqueeze.default, "number", 0)
row(aten.squeeze.default, "column")
row(aten.squeeze.dim, "column", -1)
row(aten.squeeze.dim, "column", 0)
row(aten.squeeze.dim, "number", 0)
row(aten.squeeze.dims, "column", [0, 1])
row(aten.select.int, "wide", 1, -1)
row(aten.slice.Tensor, "x", 1, 2, 11, 3)
row(aten.slice.Tensor, "x", -1, -5)
row(aten.slice.Tensor, "x", 0, 1, 2**63 - 1)
row(aten.view.default, "x", [2, 2, -1])
row(aten._unsafe_view.default, "wide", [6, 5])
row(aten.reshape.default, "wide", [5, 3, 2])
row(aten.repeat.default, "x", [2, 1, 3])
row(aten.cat.default, ["x", "column", "y"], -1)
row(aten.cat.default, ["n", "x"])
row(aten.cat.default, ["is_so", "n"])
row(aten.stack.default, ["x", "y", "x"], -1)
row(aten.stack.default, ["number", "number"])
row(aten.gather.default, "x", 1, "places")
row(aten.gather.default, "x", -2, "n_rows")
row(aten.diagonal.default, "square", 1)
row(aten.diagonal.default, "wide", -1, 0, 2)
row(aten.diag_embed.default, "x")
row(aten.diagonal_backward.default, "row", [12, 13], 1, 0, 1)
row(aten.diagonal_backward.default, "row", [14, 12], -2, 0, 1)
row(aten.triu.default, "square", 1)
row(aten.tril.default, "x", -1)
row(aten.slice_backward.default, "x", [9, 12], 0, 2, 6, 1)
row(aten.slice_backward.default, "x", [4, 15], -1, -12, 2**63 - 1, 1)
row(aten.select_backward.default, "x", [3, 4, 12], 0, -1)
row(aten.select_backward.default, "row", [12, 5], 1, 2)
row(aten.unbind.int, "wide", -1)
row(aten.split.Tensor, "x", 5, -1)
row(aten.split.sizes, "x", [3, 9], 1)
row(aten.split.default, "x", [3, 9], 1)
row(aten.split_with_sizes.default, "x", [3, 9], 1)

row(aten.sum.default, "n")
row(aten.sum.dim_IntList, "wide", [0, -1])
row(aten.sum.dim_IntList, "x", [0], True)
row(aten.sum.dim_IntList, "x", None)
row(aten.sum.dim_IntList, "number", [0])
row(aten.sum.dim_IntList, "is_so", [1])
row(aten.mean.dim, "x", [-1], True)
row(aten.amax.default, "wide", [1, 0], True)
row(aten.amax.default, "x", [0])
for _truth in (aten.all, aten.any):
    row(_truth.default, "is_so")
    row(_truth.dim, "is_so", -1)
    row(_truth.dim, "x", 0, True)
    row(_truth.dims, "n", [0, 1])
row(aten.logsumexp.default, "x", [1])
row(aten.logsumexp.default, "x", [0, 1], True)
row(aten.logsumexp.default, "wide", [1])
row(aten.logsumexp.default, "n", [1])
row(aten._log_softmax.default, "x", 1, False)
row(aten._log_softmax.default, "x", 0, False)
row(aten._softmax.default, "x", -1, False)
row(aten._softmax.default, "number", 0, False)
row(aten._log_softmax_backward_data.default, "x", "y", 1, "real")
row(aten._softmax_backward_data.default, "x", "y", 0, "real")
row(aten.linalg_vector_norm.default, "x")
row(aten.linalg_vector_norm.default, "x", 2, [1], True)
row(aten.mm.default, "square", "long")
row(aten.mm.default, "column", "short")
row(aten.addmm.default, "row", "square", "long")
row(aten.fill.Scalar, "x", -2)
row(aten.fill.Scalar, "n", 3)
row(aten.copy.default, "x", "n")
row(aten.copy.default, "wide", "number")

# Forms that are refused, of operations that are written.
REFUSED = [
    (aten.div.Tensor_mode, ("x", "y"), {"rounding_mode": "floor"}),
    (aten.div.Scalar_mode, ("x", 2), {"rounding_mode": "trunc"}),
    (aten.view.dtype, ("x", torch.int32), {}),
    (aten.fill.Tensor, ("x", "number"), {}),
    (aten.masked_fill.Tensor, ("x", "is_so", "number"), {}),
    (aten.where.default, ("is_so",), {}),
    (aten.mm.dtype, ("square", "long", torch.float32), {}),
    (aten.addmm.dtype, ("row", "square", "long", torch.float32), {}),
]
