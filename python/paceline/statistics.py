"""How many bytes of a pool are under way, as an object.

Owns the shape of these numbers; the engine counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from paceline.engine import LocalEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from paceline.engine import AnyEngine

__all__ = ["Statistics", "statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Bytes of a pool's inputs and results, at one moment, and at most since it was opened.

    >>> from paceline import Pool
    >>> with Pool(2) as pool:
    ...     lengths = pool.map(len, [bytes(1_000_000)] * 4)
    ...     statistics = pool.statistics()
    >>> statistics.bytes_in_flight
    0
    >>> 1_000_000 < statistics.peak_input_bytes < 5_000_000
    True

    `bytes_in_flight` is the sum of `input_bytes`, the inputs whose calls have not ended, and `result_bytes`, the
    results that nobody has taken. What fits into a slot of the task table, some dozens of bytes, does not count. The
    `peak_` ones are the highest that these have been. `input_segment_bytes` and `result_segment_bytes` are the memory
    behind the segments that they travel in, with warm ones that wait for more; these are given back when nothing has
    happened for some ten seconds. `memory_budget` is how many bytes should be in flight at most; see `Pool`. A pool of
    threads has none of these: zeros.
    """

    bytes_in_flight: int = 0
    input_bytes: int = 0
    result_bytes: int = 0
    peak_bytes_in_flight: int = 0
    peak_input_bytes: int = 0
    peak_result_bytes: int = 0
    input_segment_bytes: int = 0
    result_segment_bytes: int = 0
    memory_budget: int = 0


def statistics(engine: AnyEngine) -> Statistics:
    return Statistics() if isinstance(engine, LocalEngine) else Statistics(**dict(engine.statistics()))
