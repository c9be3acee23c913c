"""What an experiment costs for each cell: 100,000 cells of a no-op, with their results safe in a store.

    python -m benches.experiment [cells] [workers]

Owns this one question, and compares with nothing: what the same calls cost without a store, `make bench` tells.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import paceline


def nothing(n: int) -> int:
    """A cell that does nothing."""
    return n


def disk_s(folder: Path, count: int = 20) -> float:
    """How long the disk takes to be sure of a page, on average."""
    with (folder / "probe").open("wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(count):
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
        return (time.perf_counter() - start) / count


def main(cells: int = 100_000, workers: int = 2) -> None:
    """Prints what each step takes."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        print(f"the disk takes {1e3 * disk_s(folder):.2f} ms to be sure of a page")
        store = folder / "results.db"
        start = time.perf_counter()
        experiment = paceline.Experiment(nothing, store)
        experiment.add_grid(n=range(cells))
        results = experiment.run(workers=workers)
        took = time.perf_counter() - start
        assert results["value"] == list(range(cells))
        print(f"{cells:,} cells on {workers} workers: {took:.2f} s, {1e6 * took / cells:.1f} µs for each")

        start = time.perf_counter()
        read = paceline.open_store(store).results()
        mean = sum(read["value"]) / len(read)
        took = time.perf_counter() - start
        assert mean == (cells - 1) / 2
        print(f"opened, read and averaged in {took:.2f} s; the file has {store.stat().st_size / 1e6:.1f} MB")

        start = time.perf_counter()
        again = paceline.Experiment(nothing, store)
        again.add_grid(n=range(cells))
        again.run(workers=workers)
        print(f"run again, with nothing missing: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
