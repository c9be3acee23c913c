"""How many items a second does a map of a no-op get through: with the peer's own chunking, and one by one?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benches.compare.question import WORKERS, Figure, Question
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from benches.compare.peers import Peer


def ask_default(peer: type[Peer], quick: bool) -> dict[str, float]:
    items = range(peer.map_items // (50 if quick else 1))
    pool = peer(WORKERS)
    pool.map(noop, range(2_000))
    start = time.perf_counter()
    results = pool.map(noop, items)
    elapsed_s = time.perf_counter() - start
    pool.close()
    assert results == list(items)
    return {"rate": len(items) / elapsed_s}


def ask_singly(peer: type[Peer], quick: bool) -> dict[str, float]:
    items = range(2_000 if quick else 20_000)
    pool = peer(WORKERS)
    pool.map_singly(noop, range(500))
    start = time.perf_counter()
    results = pool.map_singly(noop, items)
    elapsed_s = time.perf_counter() - start
    pool.close()
    assert results == list(items)
    return {"rate": len(items) / elapsed_s}


FEWER = "Measured on 50,000 of the items: its default is one item to a chunk, and a million would take minutes."

DEFAULT_CHUNKS = Question(
    {"rate": Figure("`map` of a no-op over 10⁶ ints, default chunks", "items/s", "more", 0)},
    ask_default,
    {"executor": FEWER, "loky": FEWER},
)
SINGLE_ITEMS = Question(
    {"rate": Figure("`map` of a no-op over 20,000 ints, `chunksize=1`", "items/s", "more", 0)},
    ask_singly,
)
