"""The inner loop of `local_rx` on a CPU: one row of pixel groups, compiled by Numba so that it runs without the GIL.

A group needs about forty calls of BLAS and LAPACK of ten microseconds each. If Python made each call, two threads would
spend more time passing the GIL to each other than computing. The compiled function calls the same routines directly:
those of SciPy, by the addresses that it publishes for compiled code (`scipy.linalg.cython_blas`).

Matrices are C-contiguous float64. Square ones are symmetric, and only their lower triangle is read and written; for the
Fortran routines that is the upper triangle of the transpose. Compiled once per machine, then cached.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import get_cython_function_address as address_of
from numba.extending import intrinsic

from workbench.parts.compiled import compiled

SINGULAR = 1e-10  # a pivot below this fraction of its band's variance is rounding error, not signal
BLOCK = 42  # bands per block of a factorisation or triangular solve

_BLAS, _LAPACK = "scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"
SYRK, TRMM, GEMM, POTRF, TRTRI = range(5)
ROUTINES = np.array(
    [
        address_of(_BLAS, "dsyrk"),
        address_of(_BLAS, "dtrmm"),
        address_of(_BLAS, "dgemm"),
        address_of(_LAPACK, "dpotrf"),
        address_of(_LAPACK, "dtrtri"),
    ]
)
# Constant arguments, which the routines take by reference: letters, and the numbers one, zero and minus one.
LETTERS = np.frombuffer(b"ULNT", np.uint8)
U, L, N, T = range(4)
NUMBERS = np.array([1.0, 0.0, -1.0])
ONE, ZERO, MINUS = 0, 8, 16


@intrinsic
def _call(_typing: Any, routine: Any, arguments: Any) -> Any:
    """Call the C function at an address with a tuple of addresses, since BLAS takes every argument by reference."""

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte] * len(arguments))
        pointers = [builder.inttoptr(builder.extract_value(values[1], i), byte) for i in range(len(arguments))]
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), pointers)
        return context.get_dummy_value()

    return types.void(routine, arguments), code


# Numba frees an array after its last use *as an array*, even if its address is still in use. So the functions below take no
# address of an array that they allocate: the caller owns such arrays, and integers are passed in `sizes`.
R, K, BLOCK_AT, LEFT, SIDE, INFO = range(0, 48, 8)  # bytes into `sizes`


@compiled
def _factor(matrix, inverses, sizes, routines, letters, numbers):
    """matrix (r, r) -> L in place, matrix = L L^T, and inverses (blocks, BLOCK, BLOCK) of L's diagonal blocks; returns whether
    it is definite. OpenBLAS multiplies by a small triangular matrix much faster than it solves with one, hence the inverses."""
    r = len(matrix)
    at, z, c, one = matrix.ctypes.data, sizes.ctypes.data, letters.ctypes.data, numbers.ctypes.data
    for i in range(len(inverses)):
        start = i * BLOCK
        stop = min(start + BLOCK, r)
        sizes[BLOCK_AT // 8], sizes[LEFT // 8] = stop - start, r - stop
        mine, inverse = at + 8 * (start * r + start), inverses.ctypes.data + 8 * BLOCK * BLOCK * i
        _call(routines[POTRF], (c + U, z + BLOCK_AT, mine, z + R, z + INFO))
        if sizes[INFO // 8] != 0:
            return False
        inverses[i, : stop - start, : stop - start] = matrix[start:stop, start:stop]
        _call(routines[TRTRI], (c + U, c + N, z + BLOCK_AT, inverse, z + SIDE, z + INFO))
        if stop < r:
            below, rest = at + 8 * (stop * r + start), at + 8 * (stop * r + stop)
            left = (c + L, c + U, c + T, c + N, z + BLOCK_AT, z + LEFT)
            _call(routines[TRMM], (*left, one, inverse, z + SIDE, below, z + R))
            _call(routines[SYRK], (c + U, c + T, z + LEFT, z + BLOCK_AT, one + MINUS, below, z + R, one, rest, z + R))
    return True


@compiled
def _solve(factor, inverses, rows, sizes, routines, letters, numbers):
    """rows (k, r) -> (L^-1 rows^T)^T in place, with the results of `_factor`. `sizes` contains k."""
    r = len(factor)
    z, c, one = sizes.ctypes.data, letters.ctypes.data, numbers.ctypes.data
    for i in range(len(inverses)):
        start = i * BLOCK
        stop = min(start + BLOCK, r)
        sizes[BLOCK_AT // 8], sizes[LEFT // 8] = stop - start, r - stop
        mine, inverse = rows.ctypes.data + 8 * start, inverses.ctypes.data + 8 * BLOCK * BLOCK * i
        left = (c + L, c + U, c + T, c + N, z + BLOCK_AT, z + K)
        _call(routines[TRMM], (*left, one, inverse, z + SIDE, mine, z + R))
        if stop < r:
            below, rest = factor.ctypes.data + 8 * (stop * r + start), rows.ctypes.data + 8 * stop
            size = (z + LEFT, z + K, z + BLOCK_AT)
            _call(routines[GEMM], (c + T, c + N, *size, one + MINUS, below, z + R, mine, z + R, one, rest, z + R))


@compiled
def _score(white, first, changes, vectors, members, uses, out, work, sizes, routines, letters, numbers):
    """`score` with preallocated work arrays."""
    gram, factor, inverses, all_rows, all_products, small = work
    r = len(gram)
    z, c, one = sizes.ctypes.data, letters.ctypes.data, numbers.ctypes.data
    done = 0
    for group in range(len(members)):
        for leaving in range(2):
            which = 2 * group + leaving
            pixel = changes[0][changes[1][which] : changes[1][which + 1]]
            if len(pixel):
                for i in range(len(pixel)):
                    all_rows[i] = white[first + pixel[i]]
                sizes[K // 8] = len(pixel)
                sign = one + MINUS * leaving
                rank, sums = all_rows.ctypes.data, gram.ctypes.data
                _call(routines[SYRK], (c + U, c + N, z + R, z + K, sign, rank, z + R, one, sums, z + R))
        for i in range(r):
            factor[i, : i + 1] = gram[i, : i + 1]
        definite = _factor(factor, inverses, sizes, routines, letters, numbers)
        if definite:
            for i in range(r):
                definite = definite and factor[i, i] ** 2 > SINGULAR * gram[i, i]
        if not definite:
            out[done : done + members[group]] = np.nan
            done += members[group]
            continue

        pixel = vectors[0][vectors[1][group] : vectors[1][group + 1]]
        size = len(pixel)
        extras = size - members[group]
        rows, products = all_rows[:size], all_products[: size * size].reshape(size, size)
        for i in range(size):
            rows[i] = white[first + pixel[i]]
        present = rows[:, 0].copy()
        sizes[K // 8] = size
        _solve(factor, inverses, rows, sizes, routines, letters, numbers)
        source, target = rows.ctypes.data, products.ctypes.data
        _call(routines[SYRK], (c + U, c + T, z + K, z + R, one, source, z + R, one + ZERO, target, z + K))

        # Woodbury: with S = 1 + the products of a ring's extras, and b their products with the pixel, the quadratic form
        # is (the pixel's own product) - b^T S^-1 b. It is the last pivot of the matrix S bordered by b.
        for own in range(extras, size):
            use = uses[0][uses[1][done] : uses[1][done + 1]]
            side = len(use) + 1
            bordered = small[: side * side].reshape(side, side)
            count = gram[0, 0]
            for i in range(side - 1):
                for j in range(i + 1):  # `use` ascends, so this reads the lower triangle
                    bordered[i, j] = products[use[i], use[j]]
                bordered[i, i] += 1
                count += present[use[i]]
                bordered[side - 1, i] = products[own, use[i]]
            bordered[side - 1, side - 1] = products[own, own]
            sizes[K // 8] = side
            _call(routines[POTRF], (c + U, z + K, bordered.ctypes.data, z + K, z + INFO))
            form = bordered[side - 1, side - 1] ** 2
            out[done] = (count - 1) * (form - 1 / count) if sizes[INFO // 8] == 0 else np.nan
            done += 1


Lists = tuple[np.ndarray, np.ndarray]  # indices and starts: list number i is indices[starts[i] : starts[i + 1]]


def score(white: np.ndarray, first: int, changes: Lists, vectors: Lists, members: np.ndarray, uses: Lists) -> np.ndarray:
    """Scores of the pixels of a row of groups, group by group; NaN for a group that is singular or nearly so.

    white: `(pixel, 1 + r)`, whitened spectra of the slab with a leading 1, zeros for missing pixels; `first` is the segment's
    first pixel; indices are relative to it.
    changes: for each group, the pixels that enter the core and those that leave it. vectors: the pixels that are in some but
    not all of the group's rings (extras), then the group's own pixels, `members` many. uses: for each pixel, which extras its ring
    has, ascending.
    """
    r = white.shape[1]
    most = max(np.diff(vectors[1]).max(), np.diff(changes[1]).max())
    work = (
        np.zeros((r, r)),
        np.empty((r, r)),
        np.zeros((-(-r // BLOCK), BLOCK, BLOCK)),
        np.empty((most, r)),
        np.empty(most**2),
        np.empty(most**2),
    )
    sizes = np.array([r, 0, 0, 0, BLOCK, 0])
    out = np.empty(members.sum())
    _score(white, first, changes, vectors, members, uses, out, work, sizes, ROUTINES, LETTERS, NUMBERS)
    return out
