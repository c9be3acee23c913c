"""The shapes of a question: its figures, and what answers it for one peer in one fresh process.

A `Question` is asked of every peer, a `Contest` of sides of its own, where few peers have what it asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benches.compare.peers import Peer

WORKERS = 2


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    title: str
    unit: str
    better: Literal["more", "less"]
    digits: int = 1


@dataclass(frozen=True)
class Question:
    """`ask(peer, quick)` gives a value for each key of `figures`; `quick` asks for a short, rough answer."""

    figures: Mapping[str, Figure]
    ask: Callable[[type[Peer], bool], Mapping[str, float]]
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Peers about whose value the reader must know something, by name."""
    deadline_s: float = 120.0


@dataclass(frozen=True)
class Side:
    """A contestant: `ask(quick)` gives a value for each figure."""

    title: str
    ask: Callable[[bool], Mapping[str, float]]
    distribution: str | None = None
    """Where it comes from, if that is nobody's who is in the table."""


@dataclass(frozen=True)
class Contest:
    """`sides` by name, Paceline's first."""

    figures: Mapping[str, Figure]
    sides: Mapping[str, Side]
    deadline_s: float = 120.0
    once: bool = False
    """Asked in the first round only, because it takes long, and one long answer is better than several short ones."""
