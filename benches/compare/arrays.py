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


def read_shared(array: Floats, number: int) -> float:  # noqa: ARG001 - mpire gives what is shared, and an item.
    return read(array)


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's: some 30 µs for two thousand points."""
    x, y = a - a.mean(), b - b.mean()
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


def correlation_in(series: Floats, pair: tuple[int, int]) -> float:
    first, second = pair
    return correlation(series[first], series[second])


# What each worker keeps, for pools that share by an initializer.
_kept: list[Floats] = []


def keep(array: Floats) -> None:
    _kept[:] = [array]


def correlation_in_kept(pair: tuple[int, int]) -> float:
    return correlation_in(_kept[0], pair)
