"""A cell of a grid: its key, and its random numbers, which follow from that key and the experiment's seed alone.

Owns both rules, and that they never change: stores are found again by the one and results repeated by the other. It
knows nothing of orders, workers or attempts, so no random number can depend on them.
"""

from __future__ import annotations

from hashlib import blake2b
from json import JSONEncoder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.experiments.axes import Axes

__all__ = ["TREATMENTS", "Cell", "Randomness", "canonical"]

# What the axis of a comparison is usually called.
TREATMENTS = frozenset({
    "alg", "algo", "algorithm", "classifier", "estimator", "learner", "method", "model", "optimiser", "optimizer",
    "regressor", "solver", "treatment",
})  # fmt: skip

# One text for one cell, whatever the order of its axes; numbers as `repr` has them, so 1 and 1.0 are two values.
canonical = JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class Cell:
    """One call of an experiment's function: `axes` are its arguments by name, and `key` is what it is found by."""

    __slots__ = ("axes", "key", "text")

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.text = canonical(axes)
        self.key = blake2b(self.text.encode(), digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Cell) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Cell({', '.join(f'{axis}={value!r}' for axis, value in self.axes.items())})"


class Randomness:
    """From an experiment's seed to that of each cell.

    Cells that differ only in the axes of `treatment` have the same random numbers.
    """

    def __init__(self, seed: int, treatment: Iterable[str]) -> None:
        self.seed = seed
        self.treatment = frozenset(treatment)

    def entropy(self, axes: Axes) -> int:
        """The 128 bits of which everything random in a cell is made."""
        block = {axis: value for axis, value in axes.items() if axis not in self.treatment}
        text = canonical({"seed": self.seed, "cell": block})
        digest = blake2b(text.encode(), digest_size=16, person=b"paceline cell").digest()
        return int.from_bytes(digest, "big")


def seed_of(entropy: int) -> int:
    """A seed for libraries that take no more than 32 bits: the first of them."""
    return entropy >> 96
