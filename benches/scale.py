"""How far one driver goes on a cluster: `docs/scale.md`.

    python -m benches.scale [--quick | --simulate]

Owns the questions and the page. What is measured is measured here, on clusters on this machine; what is simulated is
played by `cargo run --example scale` with the costs that were measured. The two stand apart on the page.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import subprocess
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import paceline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scale.md"
DATA = ROOT / "docs" / "scale.json"

ENGINES = {"processes": "local processes", "dask": "Dask", "ray": "Ray"}
MEGABYTE = 1_000_000
# Enough: more of a driver's efforts buy little.
WANTED = 0.9
SLEEP_S = 0.02
NAPS = 10_000

TASKS = 10**9
TASK_S = (0.001, 0.01, 0.1, 1.0)
WORKERS = (100, 1_000, 10_000)
DRIVERS = (1, 4, 16)
OF_EACH_HOST = 32
MOST_WORKERS = 10_000
HOST_SIZES = (1, 8, 32, 128)
# A chunk of more work than this for each worker of its host is nobody's wish.
MOST_CHUNK_S = 60


def nothing(_: object) -> None:
    """A task that does nothing."""


def nap_s(number: int) -> float:
    """How long this task takes, in seconds: exponentially distributed, the same for the same number."""
    return -SLEEP_S * math.log(1.0 - random.Random(number).random())


def nap(number: int) -> None:
    """A task that needs no CPU."""
    time.sleep(nap_s(number))


def pid_after_nap(_: object) -> int:
    """Which worker this is; it leaves time for the others to come, too."""
    time.sleep(SLEEP_S)
    return os.getpid()


# -- measured ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """What handing over costs a driver: seconds for a chunk, for its way there and back, and for each task in it."""

    chunk: float
    way: float
    task: float
    bytes_per_s: float


@contextmanager
def cluster(engine: str, hosts: int, workers: int) -> Iterator[Any]:
    """The backend for a cluster of that engine on this machine, of so many hosts."""
    if engine == "dask":
        from distributed import Client, LocalCluster

        from paceline.clusters.dask import Dask

        made = LocalCluster(n_workers=hosts, threads_per_worker=workers, dashboard_address=None)
        with made, Client(made, set_as_default=False) as client:
            yield Dask(client)
    elif engine == "ray":
        import ray

        # Ray has one host on each machine.
        ray.init("local", num_cpus=hosts * workers, include_dashboard=False, log_to_driver=False)
        try:
            yield "ray"
        finally:
            ray.shutdown()
    else:
        yield engine


def seconds(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def costs_of(engine: str, *, quick: bool) -> Costs:
    """Measures them on two workers of this machine."""
    chunks, tasks, large = (100, 20_000, 20) if quick else (500, 100_000, 50)
    with cluster(engine, 1, 2) as backend, paceline.Pool(2 if engine == "processes" else None, backend=backend) as pool:
        pool.map(nothing, range(chunks), chunksize=1)
        chunk = median(seconds(lambda: pool.map(nothing, range(chunks), chunksize=1)) for _ in range(3)) / chunks
        alone = median(seconds(lambda: pool.apply(nothing, (None,))) for _ in range(50))
        task = median(seconds(lambda: pool.map(nothing, range(tasks), chunksize=tasks // 10)) for _ in range(3)) / tasks
        pool.map(len, [bytes(MEGABYTE)] * 4, chunksize=1)
        sent = seconds(
            lambda: pool.map(len, [bytes(MEGABYTE - 1) + bytes([n % 256]) for n in range(large)], chunksize=1)
        )
    return Costs(chunk, max(0.0, alone - chunk), max(0.0, task - 10 * chunk / tasks), large * MEGABYTE / sent)


class Checked(NamedTuple):
    """How busy sleeping workers were, and how busy they should have been."""

    engine: str
    hosts: int
    workers: int
    chunk: int
    measured: float
    simulated: float


def measured_share(engine: str, hosts: int, workers: int, chunk: int, tasks: int) -> float:
    """The share of its time that each of the workers slept, as it was told to."""
    everybody = hosts * workers
    asleep = sum(map(nap_s, range(tasks)))
    with cluster(engine, hosts, workers) as backend, paceline.Pool(backend=backend) as pool:
        # Workers that still start would be taken for idle ones.
        while len(set(pool.map(pid_after_nap, range(4 * everybody), chunksize=1))) < everybody:
            pass
        took = seconds(lambda: pool.map(nap, range(tasks), chunksize=chunk))
    return asleep / (everybody * took)


def checked(costs: dict[str, Costs]) -> list[Checked]:
    """Drivers that saturate, and such that do not, on workers that sleep and so need no CPUs of their own."""
    cases = []
    for engine in costs:
        if engine == "processes":
            continue
        for hosts, workers, chunk in ((1, 32, 1), (1, 32, 32)):
            cases.append((engine, hosts, workers, chunk, NAPS))
    played = simulated(
        Case(costs[engine], 1, hosts, workers, tasks, SLEEP_S, chunk, 2 * workers)
        for engine, hosts, workers, chunk, tasks in cases
    )
    return [
        Checked(*case[:4], measured_share(*case), outcome.in_tasks) for case, outcome in zip(cases, played, strict=True)
    ]


# -- simulated ---------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One run: see `crates/paceline-sim/examples/scale.rs`."""

    costs: Costs
    drivers: int
    hosts: int
    workers: int
    tasks: int
    task_s: float
    chunk: int
    ahead: int

    def line(self) -> str:
        costs = (self.costs.chunk, self.costs.way, self.costs.task)
        sizes = (self.drivers, self.hosts, self.workers, self.tasks)
        fields = [*(f"{1e9 * cost:.0f}" for cost in costs), *map(str, sizes), f"{self.task_s:.9f}"]
        return "\t".join([*fields, str(self.chunk), str(self.ahead)])


class Outcome(NamedTuple):
    """The time of a run, and which share of theirs the workers were in tasks and the drivers busy."""

    seconds: float
    in_tasks: float
    of_drivers: float


def simulated(cases: Iterable[Case]) -> list[Outcome]:
    command = ["cargo", "run", "-q", "--locked", "--release", "-p", "paceline-sim", "--example", "scale"]
    lines = "".join(f"{case.line()}\n" for case in cases)
    told = subprocess.run(command, cwd=ROOT, input=lines, capture_output=True, text=True, check=True).stdout
    return [Outcome(*map(float, line.split("\t")[-3:])) for line in told.splitlines()]


class Question(NamedTuple):
    """How large chunks have to be for these workers, tasks and drivers."""

    costs: Costs
    drivers: int
    workers: int
    of_each_host: int
    task_s: float

    def outcome(self, size: int) -> Outcome:
        hosts = max(self.drivers, self.workers // self.of_each_host)
        each = max(1, self.workers // hosts)
        (outcome,) = simulated([Case(self.costs, self.drivers, hosts, each, TASKS, self.task_s, size, 2)])
        return outcome


def least_chunk_s(question: Question) -> float | None:
    """The least work in a chunk, in seconds of one worker, with which workers are in tasks for 90 % of their time."""
    sizes = [2**power for power in range(40) if 2**power * question.task_s <= MOST_CHUNK_S * question.of_each_host]
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        if question.outcome(sizes[middle]).in_tasks >= WANTED:
            high = middle
        else:
            low = middle + 1
    return sizes[low] * question.task_s if low < len(sizes) else None


# -- the page ----------------------------------------------------------------------------------------------------------


def length(seconds: float | None) -> str:
    """A time for people.

    >>> [length(s) for s in (None, 0.0000123, 0.00456, 0.128, 6.4, 1234)]
    ['–', '12 µs', '4.6 ms', '130 ms', '6.4 s', '1,200 s']
    """
    if seconds is None:
        return "–"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            value = seconds / size
            digits = 1 if value < 10 else 0
            rounded = round(value, 1 - math.floor(math.log10(value))) if value else 0.0
            return f"{rounded:,.{digits}f} {unit}"
    raise AssertionError


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    marks = ["---", *("---:" for _ in heads[1:])]
    return "\n".join([f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows)])


def facts() -> dict[str, str]:
    with Path("/proc/cpuinfo").open() as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": f"{len(os.sched_getaffinity(0))} CPUs, {models[0] if models else platform.machine()}",
        "python": platform.python_version(),
    }


def costs_rows(costs: dict[str, Costs]) -> Iterable[Sequence[str]]:
    for engine, cost in costs.items():
        rates = f"{1 / cost.chunk:,.0f}", f"{1 / cost.task:,.0f}", f"{cost.bytes_per_s / 1e6:,.0f}"
        yield ENGINES[engine], length(cost.chunk), length(cost.way), length(cost.task), *rates


def said(text: str) -> str:
    """A paragraph, in lines of the width that the project has."""
    return fill(" ".join(text.split()), 120)


def page(found: dict[str, Any], costs: dict[str, Costs], checks: list[Checked], answers: dict[str, Any]) -> str:
    """The whole page."""
    about = f"{found['date']}, {found['processor']}, Python {found['python']}"
    measured_heads = ["engine", "a chunk", "its way", "a task more", "chunks / s", "tasks / s", "MB / s"]
    checked_heads = ["engine", "workers of the host", "tasks in a chunk", "measured", "simulated"]
    believed = (
        (ENGINES[one.engine], str(one.workers), str(one.chunk), f"{one.measured:.2f}", f"{one.simulated:.2f}")
        for one in checks
    )
    drivers = [f"{count} driver{'s' * (count > 1)}" for count in DRIVERS]
    parts = [
        "# Scale",
        said("""Where does one driver, the program that holds the pool, stop being fast enough for its cluster, and what
            helps?"""),
        f"## Measured ({about})",
        said("""By `make bench-scale`, on clusters of two workers on this one machine, so that the driver, the engine's
            scheduler and the workers share its CPUs: with machines of their own they are faster. A chunk is what is
            handed over at once; its way is the time there and back beyond that; a task more is what another task in a
            chunk costs. The rates are those at which a driver saturates: in chunks, in tasks when chunks are large, and
            in bytes of arguments."""),
        table(measured_heads, costs_rows(costs)),
        said(f"""Whether the simulation below can be believed: workers that sleep ({1e3 * SLEEP_S:g} ms each,
            exponentially distributed) need no CPUs, so there can be more of them than the machine has. The share of
            their time for which they were in tasks, in runs of 6 s or more. What hosts of 32 processes need themselves
            of these few CPUs is in the measured figures, and not in the model; where the two differ much, the model is
            not to be trusted for such hosts:"""),
        table(checked_heads, believed),
        "## Simulated",
        said("""By `make sim-scale`, in virtual time, with the costs above. Several drivers share the hosts among
            themselves, and have nothing to do with each other: pools of several programs."""),
        said(f"""How much work must a chunk have for {WANTED:.0%} of the workers' time to be spent in tasks? In seconds
            of one worker, of {TASKS:,} tasks, with hosts of {OF_EACH_HOST} workers; – stands for more than
            {MOST_CHUNK_S} s for each worker of a host, or never."""),
        table(["engine", "a task", "workers", *drivers], answers["chunks"]),
        said(f"""What a local pool on each host saves: the same for {MOST_WORKERS:,} workers, one driver, and tasks of
            100 ms, by the number of workers that share a chunk, in seconds of each of them."""),
        table(["engine", *(f"{size} to a host" for size in HOST_SIZES)], answers["hosts"]),
        "## What follows",
        said("""A driver hands over a fixed number of chunks a second, whatever is in them. So a chunk must have at
            least workers × cost of a chunk of work, and a `chunksize` that is given by hand should grow with the
            cluster."""),
        said("""It also touches each task once, and that no chunk size changes: one driver keeps no more workers busy
            than time of a task / cost of a task. Beyond that, longer tasks or more drivers are what is left."""),
        said("""A task that waits is held by its driver, as bytes: a lazy `imap` or `amap` holds `buffersize` of them, a
            `map` all. A billion tasks are for the former."""),
    ]
    return "\n\n".join(parts) + "\n"


def shared(seconds: float | None, size: int) -> float | None:
    return None if seconds is None else seconds / size


def answers_to(costs: dict[str, Costs]) -> dict[str, Any]:
    engines = [engine for engine in costs if engine != "processes"]
    rows = [(engine, task_s, workers) for engine in engines for task_s in TASK_S for workers in WORKERS]
    asked = [
        Question(costs[engine], drivers, workers, OF_EACH_HOST, task_s)
        for engine, task_s, workers in rows
        for drivers in DRIVERS
    ]
    by_host = [Question(costs[engine], 1, MOST_WORKERS, size, 0.1) for engine in engines for size in HOST_SIZES]
    found = iter(paceline.map(least_chunk_s, [*asked, *by_host], chunksize=1))
    return {
        "chunks": [
            [ENGINES[engine], length(task_s), f"{workers:,}", *(length(next(found)) for _ in DRIVERS)]
            for engine, task_s, workers in rows
        ],
        "hosts": [[ENGINES[engine], *(length(shared(next(found), size)) for size in HOST_SIZES)] for engine in engines],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="measure nothing: take the costs of the last time")
    parser.add_argument("--quick", action="store_true", help="measure little, and write nothing")
    options = parser.parse_args()
    if options.simulate:
        kept = json.loads(DATA.read_text())
        costs = {engine: Costs(**cost) for engine, cost in kept["costs"].items()}
        checks = [Checked(*check) for check in kept["checks"]]
        about = kept["facts"]
    else:
        costs = {engine: costs_of(engine, quick=options.quick) for engine in ENGINES}
        checks = checked(costs)
        about = facts()
        print(json.dumps({engine: vars(cost) for engine, cost in costs.items()}, indent=1))
        print(*checks, sep="\n")
    if options.quick:
        return
    PAGE.write_text(page(about, costs, checks, answers_to(costs)))
    data = {"facts": about, "costs": {engine: asdict(cost) for engine, cost in costs.items()}, "checks": checks}
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    print(f"wrote {PAGE.relative_to(ROOT)} and {DATA.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
