"""How long until the first result: of a fresh process with its first pool, and of a second pool beside it?"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benches.compare.question import WORKERS, Figure, Question
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from benches.compare.peers import Peer


def ask_first(peer: type[Peer], quick: bool) -> dict[str, float]:
    opened, called, closed = peer.script
    script = f"{opened}\nfrom benches.compare.tasks import noop\nassert {called} == 7\n{closed}\n"
    times_ms = []
    for _ in range(2 if quick else 6):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True, stdin=subprocess.DEVNULL)
        times_ms.append((time.perf_counter() - start) * 1e3)
    return {"time": statistics.median(times_ms[1:])}


def ask_second(peer: type[Peer], quick: bool) -> dict[str, float]:
    first = peer(WORKERS)
    first.submit_all(noop, zip(range(100)))
    times_ms = []
    for _ in range(2 if quick else 6):
        start = time.perf_counter()
        second = peer(WORKERS)
        assert second.call(noop, 7) == 7
        times_ms.append((time.perf_counter() - start) * 1e3)
        second.close()
    first.close()
    return {"time": statistics.median(times_ms)}


FIRST_POOL = Question(
    {"time": Figure("fresh process: import, pool of 2, first result, exit", "ms", "less", 1)},
    ask_first,
)
SECOND_POOL = Question(
    {"time": Figure("second pool in the same process: create, first result", "ms", "less", 1)},
    ask_second,
    {"joblib": "The second pool is the first again: `Parallel` keeps one executor for the whole process."},
)
