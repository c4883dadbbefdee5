"""Which of the two loops of ``prelude.h`` a product of matrices is computed by."""

from dataclasses import dataclass, replace

from pyro_decomp.acceleration.errors import FusionError

MOST = 2**22  # multiplications: above, a library's product is faster
LANES = 16  # numbers of a vector, about
SUM_OF_A_VECTOR = 10  # what it costs, in multiplications of vectors


@dataclass(frozen=True)
class Matrix:
    """A strided matrix in memory.

    ``row`` and ``column`` are the strides to the next row and column, in numbers.
    """

    pointer: str
    shape: tuple[int, ...]
    row: int
    column: int

    @property
    def size(self) -> int:
        """How many numbers the matrix has."""
        return self.shape[0] * self.shape[1]

    def transposed(self) -> "Matrix":
        """The same memory with rows as columns."""
        return Matrix(self.pointer, self.shape[::-1], self.column, self.row)


def product_lines(left: Matrix, right: Matrix, out: Matrix) -> list[str]:
    """The lines of C that compute ``out = left right``, by whatever is least work.

    Raises:
        FusionError: It is too large to be fast.
    """
    if left.size * right.shape[1] > MOST:
        raise FusionError("a large product of matrices, which a library does faster")
    ways = [_across(left, right, out)]
    if out.column == 1:
        ways.append(_along(left, right, out))
    if out.row == 1:
        ways.append(_along(right.transposed(), left.transposed(), out.transposed()))
    return min(ways)[1]


def _along(left: Matrix, right: Matrix, out: Matrix) -> tuple[float, list[str]]:
    """The cost of vectors of results along a row of ``out``, and the lines of C."""
    (rows, terms), columns = left.shape, right.shape[1]
    cost, lines, right = _in_rows(right, "packed")
    lines.append(
        f"product_along({rows}, {columns}, {terms}, {right.pointer}, {right.row}, "
        f"{left.pointer}, {left.column}, {left.row}, {out.pointer}, {out.row});"
    )
    return cost + rows * terms * -(-columns // LANES), lines


def _across(left: Matrix, right: Matrix, out: Matrix) -> tuple[float, list[str]]:
    """The cost of vectors of terms of one result, and the lines of C."""
    (rows, terms), columns = left.shape, right.shape[1]
    cost, lines, left = _in_rows(left, "left")
    more, others, right = _in_rows(right.transposed(), "right")
    line = (
        f"product_across({rows}, {columns}, {terms}, {left.pointer}, {left.row}, "
        f"{right.pointer}, {right.row}, {out.pointer}, {out.row}, {out.column});"
    )
    multiplied = rows * columns * (-(-terms // LANES) + SUM_OF_A_VECTOR)
    return cost + more + multiplied, [*lines, *others, line]


def _in_rows(matrix: Matrix, name: str) -> tuple[float, list[str], Matrix]:
    """The cost of a matrix with contiguous rows, the lines of C that pack it, and that matrix."""
    if matrix.column == 1:
        return 0.0, [], matrix
    rows, columns = matrix.shape
    lines = [
        f"static _Thread_local _Alignas(64) real {name}[{matrix.size}];",
        f"pack({rows}, {columns}, {matrix.pointer}, {matrix.row}, {matrix.column}, {name});",
    ]
    return 1.0 * matrix.size, lines, replace(matrix, pointer=name, row=columns, column=1)
