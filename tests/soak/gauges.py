"""Memory and descriptors, measured every second, and whether they have stayed as they were.

Owns the samples, and the comparison of a window near the beginning with one at the end.
"""

import contextlib
import ctypes
import os
import statistics
import threading
import time
from pathlib import Path

import psutil

C = ctypes.CDLL(None)
# How much more of each there may be at the end: a share of what it was, and an amount.
ALLOWED = {
    "private_mb": (0.15, 20.0),
    "shared_mb": (0.35, 32.0),
    "server_mb": (0.15, 5.0),
    "memory_files_mb": (0.25, 32.0),
    "memory_files": (0.25, 16.0),
    "descriptors": (0.0, 12.0),
    "threads": (0.0, 4.0),
    "processes": (0.0, 8.0),
}


class Gauges:
    def __init__(self, is_steady, every_s=1.0):
        # Whether there are as many pools as always: one that is being replaced is there beside its successor.
        self.is_steady = is_steady
        self.every_s = every_s
        self.samples = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, name="gauges", daemon=True)

    def run(self):
        began = time.monotonic()
        while not self.over.wait(self.every_s):
            if self.is_steady():
                self.samples.append({"at_s": round(time.monotonic() - began, 1), **look()})

    def end(self):
        self.over.set()
        self.thread.join()

    def verdict(self):
        """The medians of a window after the first tenth and of the last, and what has grown."""
        width = max(1, len(self.samples) // 10)
        if len(self.samples) < 3:
            return {}, []
        early, late = self.samples[width : 3 * width] or self.samples[:1], self.samples[-2 * width :]
        windows, grown = {}, []
        for name, (share, amount) in ALLOWED.items():
            first = statistics.median(sample[name] for sample in early)
            last = statistics.median(sample[name] for sample in late)
            windows[name] = [round(first, 1), round(last, 1), round(max(sample[name] for sample in self.samples), 1)]
            if last > first * (1 + share) + amount:
                grown.append(f"{name} has grown from {first:.1f} to {last:.1f}")
        return windows, grown


def resident():
    """The memory of this process: its own, and what it has of memory files."""
    figures = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        figures[name] = value.split()
    return {"private_mb": int(figures["RssAnon"][0]) / 1e3, "shared_mb": int(figures["RssShmem"][0]) / 1e3}


def is_server(process):
    """Whether it is a fork server; what runs tasks as well may have them for its children."""
    return process.ppid() == os.getpid() and any("serve_forks" in word for word in process.cmdline())


def look():
    # What the allocator keeps of what was freed, in an arena for each thread, is nobody's memory.
    C.malloc_trim(0)
    this = psutil.Process()
    servers = processes = 0
    for child in this.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            processes += 1
            if is_server(child):
                servers += child.memory_info().rss
    names, total = set(), 0
    with Path("/proc/self/maps").open(encoding="utf-8") as maps:
        for line in maps:
            if "memfd:paceline" in line:
                first, _, last = line.split()[0].partition("-")
                total += int(last, 16) - int(first, 16)
                names.add(line.split()[4])
    return {
        **resident(),
        "server_mb": servers / 1e6,
        "memory_files_mb": total / 1e6,
        "memory_files": len(names),
        "descriptors": this.num_fds(),
        "threads": this.num_threads(),
        "processes": processes,
    }
