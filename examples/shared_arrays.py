"""Large arrays that many calls need, without copying them: `share` for what is read, `empty` for what is written.

A matrix is multiplied by its transpose, block by block. Every call needs the whole matrix, which is sent once, and
writes its block of rows into an array that all processes see, so that no result travels at all.

    python examples/shared_arrays.py [ROWS] [COLUMNS]
"""

import sys

import numpy as np
from numpy.typing import NDArray

import paceline

Matrix = NDArray[np.float64]


def multiply(matrix: Matrix, first: int, block: Matrix) -> None:
    """Fills a block of rows of the product, the first of which is `first`."""
    block[:] = matrix[first : first + len(block)] @ matrix.T


def main(rows: int = 600, columns: int = 400, rows_each: int = 50) -> None:
    """Computes the product in blocks, and compares it with numpy's."""
    matrix = np.random.default_rng(1).normal(size=(rows, columns))
    product = paceline.empty((rows, rows))
    with paceline.Pool(2) as pool, paceline.share(matrix) as shared:
        pool.starmap(
            multiply, [(shared, first, product[first : first + rows_each]) for first in range(0, rows, rows_each)]
        )
        sent = pool.statistics().peak_input_bytes
    print("the product is right:", np.allclose(product, matrix @ matrix.T))
    print(f"{(matrix.nbytes + product.nbytes) / 1e6:.1f} MB of arrays, {sent / 1e6:.1f} MB sent with the calls")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
