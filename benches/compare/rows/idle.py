"""What does a pool cost that has nothing to do: memory of all its processes, and time of the cores?"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

from benches.compare import processes
from benches.compare.question import Figure, Question

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benches.compare.peers import Peer


@contextlib.contextmanager
def idle_pool(peer: type[Peer], calls: int) -> Iterator[str]:
    """A process in which nothing but the peer was imported, its pool idle after some calls; gives its mark."""
    opened, called, closed = peer.script
    script = (
        f"{opened}\nfrom benches.compare.tasks import noop\nfor _ in range({calls}): {called}\n"
        f"print('ready', flush=True)\ninput()\n{closed}\n"
    )
    mark = uuid.uuid4().hex
    command = [sys.executable, "-c", script]
    environment = {**os.environ, processes.MARK: mark}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the idle pool did not get ready")
        yield mark
        process.stdin.write("\n")
        process.stdin.flush()


def ask_memory(peer: type[Peer], quick: bool) -> dict[str, float]:
    with idle_pool(peer, 100) as mark:
        time.sleep(0.2 if quick else 1.0)
        pss_mb = sum(processes.pss_bytes(pid) for pid in processes.marked(mark)) / 1e6
    return {"pss": pss_mb}


def ask_cpu(peer: type[Peer], quick: bool) -> dict[str, float]:
    seconds = 1.0 if quick else 5.0
    with idle_pool(peer, 1_000) as mark:
        time.sleep(1.0)
        before_s = sum(processes.cpu_seconds(pid) for pid in processes.marked(mark))
        start = time.perf_counter()
        time.sleep(seconds)
        elapsed_s = time.perf_counter() - start
        used_s = sum(processes.cpu_seconds(pid) for pid in processes.marked(mark)) - before_s
    return {"load": 100 * used_s / elapsed_s}


MEMORY = Question({"pss": Figure("memory of an idle pool of 2, all processes (PSS)", "MB", "less", 1)}, ask_memory)
CPU = Question(
    {"load": Figure("load of an idle pool of 2, from 1 s to 6 s after its last task", "% of a core", "less", 3)},
    ask_cpu,
)
