"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benches.compare.peers import PEERS
from benches.compare.question import Contest
from benches.compare.rows import QUESTIONS


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("model name", "Hardware")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def distributions() -> list[str]:
    """What takes part, beside Python itself."""
    names = {peer.distribution for peer in PEERS.values()}
    for question in QUESTIONS.values():
        if isinstance(question, Contest):
            names |= {side.distribution for side in question.sides.values()}
    return sorted(name for name in names if name)


def describe() -> dict[str, str]:
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{processor()}, {len(os.sched_getaffinity(0))} cores usable, {memory_gb():.0f} GB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for name in distributions():
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts
