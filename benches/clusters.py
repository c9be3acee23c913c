"""What a pool on a cluster costs beside the engine alone: the same tasks on the same two hosts of this machine.

    python -m benches.clusters [tasks] [engine ...]

Owns this one comparison. It prints what it measures, and writes it to docs/clusters-benchmarks.md.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import paceline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "clusters-benchmarks.md"
HOSTS = 2
# Of the shorter comparisons, the least of so many.
ROUNDS = 3


def spin(item: int) -> int:
    """A task that keeps a CPU for a millisecond."""
    until = time.perf_counter_ns() + 1_000_000
    while time.perf_counter_ns() < until:
        pass
    return item


def nothing(item: int) -> int:
    """A task that does nothing."""
    return item


def total(array: Any) -> float:
    """A task that looks at all of an array."""
    return float(array.sum())


class Engine(NamedTuple):
    """A cluster that runs, as a backend, and the same map without Paceline."""

    name: str
    call: str
    backend: Any
    alone: Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@contextlib.contextmanager
def dask() -> Iterator[Engine]:
    """A scheduler, and two workers with a thread each."""
    from distributed import Client, LocalCluster

    from paceline.clusters import Dask

    with (
        LocalCluster(n_workers=HOSTS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def alone(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
            # Without `pure=False` a second round would find the results of the first.
            results: list[Any] = client.gather(client.map(function, items, pure=False))
            return results

        yield Engine("dask", "client.gather(client.map(…))", Dask(client), alone)


@contextlib.contextmanager
def ray() -> Iterator[Engine]:
    """A node with two CPUs, beside Ray's own pool."""
    from ray.util.multiprocessing import Pool

    # Its two actors want no CPUs, so that those of the node are there for ours, too; only one pool works at a time.
    with local_ray() as backend, Pool(HOSTS, ray_remote_args={"num_cpus": 0}) as pool:
        yield Engine("ray", "ray.util.multiprocessing.Pool.map", backend, pool.map)


@contextlib.contextmanager
def ray_tasks() -> Iterator[Engine]:
    """The same node, beside a task for each item."""
    import ray

    with local_ray() as backend:

        def alone(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
            # Two at a time, without the CPUs, which are ours.
            remote = ray.remote(function).options(num_cpus=0, resources={"turn": 1})
            results: list[Any] = ray.get([remote.remote(item) for item in items])
            return results

        yield Engine("ray, a task for each item", "ray.get([f.remote(item) for …])", backend, alone)


@contextlib.contextmanager
def local_ray() -> Iterator[Any]:
    """A node with two CPUs."""
    import ray

    from paceline.clusters import Ray

    ray.init(
        address="local",
        num_cpus=HOSTS,
        resources={"turn": HOSTS},
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield Ray()
    finally:
        ray.shutdown()


ENGINES = {"dask": dask, "ray": ray, "ray-tasks": ray_tasks}


class Measured(NamedTuple):
    """A workload, and the seconds that both ways took."""

    what: str
    alone_s: float
    ours_s: float

    @property
    def row(self) -> str:
        """A row of the table."""
        return f"| {self.what} | {self.alone_s:.3f} s | {self.ours_s:.3f} s | {self.alone_s / self.ours_s:.1f}× |"


def seconds(run: Callable[[], list[Any]], expected: list[Any], rounds: int = 1) -> float:
    """The least of some rounds; each must give what is expected."""
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        results = run()
        took.append(time.perf_counter() - start)
        assert results == expected
    return min(took)


def measure(engine: Engine, tasks: int) -> Iterator[Measured]:
    """Each workload, first without Paceline."""
    with paceline.Pool(backend=engine.backend) as pool:

        def compare(what: str, function: Callable[[Any], Any], items: Sequence[Any], rounds: int) -> Measured:
            expected = list(map(function, items)) if function is not spin else list(items)
            # Both have sent the function, and what they have is warm.
            for run in (engine.alone, pool.map):
                run(function, items[:8])
            alone_s = seconds(lambda: engine.alone(function, items), expected, rounds)
            ours_s = seconds(lambda: pool.map(function, items), expected, rounds)
            return Measured(what, alone_s, ours_s)

        yield compare("one call that does nothing", nothing, [1], 10 * ROUNDS)
        yield compare("10,000 calls that do nothing", nothing, range(10_000), 1)
        import numpy as np

        arrays = [np.full(12_500, number, float) for number in range(500)]
        yield compare("500 arrays of 100 kB, summed", total, arrays, ROUNDS)
        yield compare(f"{tasks:,} tasks of 1 ms", spin, range(tasks), 1)


def page(told: list[tuple[Engine, list[Measured]]], versions: dict[str, str]) -> str:
    """The page."""
    lines = [
        "# What a pool on a cluster costs",
        "",
        "Written by `make bench-clusters` (`benches/clusters.py`): the same tasks on the same cluster of two hosts",
        "with a worker each, all on one machine; by the engine alone, and by `Pool(backend=…).map`.",
        "",
        "Ray's own pool cuts what it is given into four chunks for each actor before it begins, whatever is in",
        "them. Where all tasks take the same, nothing is cheaper; and 100,000 of a millisecond need 50 s of two",
        "CPUs, whoever runs them. With it, one call that dies fails the map, and so do the maps that follow; here",
        "it costs one call.",
        "",
        f"Python {platform.python_version()} on {platform.system()} ({platform.machine()}), {os.cpu_count()} CPUs; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
    ]
    for engine, rows in told:
        lines += ["", f"## {engine.name}", "", f"| | `{engine.call}` | `pool.map` | |", "| --- | ---: | ---: | ---: |"]
        lines += [row.row for row in rows]
    return "\n".join([*lines, ""])


def main(tasks: int = 100_000, *names: str) -> None:
    """Measures every engine that is installed, or those that are named."""
    from importlib.metadata import PackageNotFoundError, version

    told, versions = [], {}
    for name in names or ENGINES:
        package = {"dask": "distributed", "ray-tasks": "ray"}.get(name, name)
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            print(f"{package} is not installed")
            continue
        with ENGINES[name]() as engine:
            rows = []
            for measured in measure(engine, tasks):
                print(f"{name}: {measured.row}", flush=True)
                rows.append(measured)
        told.append((engine, rows))
    if not names:
        PAGE.write_text(page(told, versions), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, *sys.argv[2:])
