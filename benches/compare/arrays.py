"""What the workers run on arrays; apart from `tasks`, for that is part of every start-up, and NumPy slow to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PAGE_BYTES = 4096


def full(size: int, value: float) -> Floats:
    """A new array of `size` bytes, each of its pages written to."""
    return np.full(size // 8, value)


def read(array: Floats) -> float:
    """Looks at every page, so that nobody's way of handing the array over can leave some of it behind."""
    return float(array[:: PAGE_BYTES // 8].sum())


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's, as a textbook has it: some 30 µs for two thousand points."""
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))


def correlation_in(series: Floats, pair: tuple[int, int]) -> float:
    first, second = pair
    return correlation(series[first], series[second])
