"""How many no-op tasks a second can be submitted one by one, their results gathered in order?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benches.compare.question import WORKERS, Figure, Question
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from benches.compare.peers import Peer


def ask(peer: type[Peer], quick: bool) -> dict[str, float]:
    count = 2_000 if quick else 20_000
    pool = peer(WORKERS)
    pool.submit_all(noop, zip(range(500)))
    start = time.perf_counter()
    results = pool.submit_all(noop, zip(range(count)))
    elapsed_s = time.perf_counter() - start
    pool.close()
    assert results == list(range(count))
    return {"rate": count / elapsed_s}


QUESTION = Question({"rate": Figure("20,000 no-op tasks, submitted one by one", "tasks/s", "more", 0)}, ask)
