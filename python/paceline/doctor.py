"""What a person should know of this machine before, or after, running a pool on it.

Owns the checks: each uses what a pool would use, and tells in plain words what came of it. Never changes anything.
What the system says of itself is read in `machine.py`; what might hang or break is tried in a process of its own.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import resource
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from paceline import bench, machine
from paceline.probe import ProbeFailed, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    Verdict = Literal["ok", "note", "problem"]

__all__ = ["CHECKS", "Finding", "run"]

# A worker starts in tens of milliseconds; after this long, it is not going to.
DEADLINE_S = 20.0
BENCHMARK_S = 3.0
MIB = 1 << 20

# File descriptors that a process has for its pools, at most: for each worker, for a pool, and for all of them once.
FILES_PER_WORKER = 8
FILES_BESIDE = 16

OPTIONAL_PACKAGES = ("numpy", "pandas", "tqdm", "matplotlib", "joblib", "threadpoolctl")


@dataclass(frozen=True)
class Finding:
    """One thing that was found, and where it helps, what to do about it."""

    verdict: Verdict
    what: str
    hint: str = ""


# -- the package -------------------------------------------------------------------------------------------------------


def check_python() -> Iterator[Finding]:
    import paceline

    build = f"Paceline {paceline.__version__} on {platform.python_implementation()} {platform.python_version()}"
    if sys.implementation.name != "cpython":
        yield Finding("problem", build, "Paceline is made for CPython")
    elif sys.version_info.releaselevel != "final":
        yield Finding("note", build, "this is no final release of Python")
    else:
        yield Finding("ok", build)


def check_engine() -> Iterator[Finding]:
    try:
        from paceline import engine
    except ImportError as error:
        yield Finding(
            "problem",
            f"the native engine cannot be loaded: {error}",
            "install it for this Python and this machine: `pip install --force-reinstall paceline`",
        )
    else:
        yield Finding("ok", f"the native engine is loaded; ways to start workers: {', '.join(engine.START_METHODS)}")


def check_packages() -> Iterator[Finding]:
    yield _cloudpickle()
    versions = {name: _version(name) for name in OPTIONAL_PACKAGES}
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = ", ".join(name for name, version in versions.items() if not version)
    yield Finding("ok", f"optional packages: {there or 'none'}" + (f"; not installed: {missing}" if missing else ""))


def _cloudpickle() -> Finding:
    import re
    from importlib.metadata import PackageNotFoundError, requires

    found = _version("cloudpickle")
    try:
        wanted = re.search(r"cloudpickle *>= *([\d.]+)", " ".join(requires("paceline") or ()))
    except PackageNotFoundError:
        wanted = None
    hint = "lambdas and functions of a script cannot be sent without it: `pip install --upgrade cloudpickle`"
    if not found:
        return Finding("problem", "cloudpickle is not installed", hint)
    if wanted and _numbers(found) < _numbers(wanted[1]):
        return Finding("problem", f"cloudpickle {found} is older than {wanted[1]}", hint)
    return Finding("ok", f"cloudpickle {found}")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


# -- the machine -------------------------------------------------------------------------------------------------------


def check_system() -> Iterator[Finding]:
    what = f"{platform.system()} {platform.release()} on {platform.machine()}"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        hint = "Paceline watches its workers by it; it needs Linux 5.3 or later, and a sandbox that lets it through"
        yield Finding("problem", f"{what}: `pidfd_open` fails: {error.strerror}", hint)
    else:
        yield Finding("ok", what)


def check_cpus() -> Iterator[Finding]:
    from paceline.engine import default_workers

    there, usable, quota = machine.cpus(), machine.usable_cpus(), machine.limits().cpu_quota
    workers = default_workers()
    limits = "no quota" if quota is None else f"a quota of {quota:.3g} CPUs"
    what = f"{usable} of {_counted(there, 'CPU')} may be used, {limits}: a pool has {_counted(workers, 'worker')}"
    hints = []
    if usable < there:
        hints.append("the affinity mask (taskset, cpuset) leaves out the others")
    if quota is not None and quota < usable:
        hints.append("the control group of this process or container limits its time, not which CPUs it has")
    if workers == 1:
        hints.append("one worker runs one task at a time: a pool keeps the program responsive, but not faster")
    yield Finding("note" if hints else "ok", what, "; ".join(hints))


def check_memory() -> Iterator[Finding]:
    _, total, available, limit, kills = machine.limits()
    if total is None or available is None:
        yield Finding("note", "the system does not tell how much memory it has", "is /proc mounted?")
        return
    group = "no limit of a control group" if limit is None or limit >= total else f"{_bytes(limit)} for its group"
    what = f"{_bytes(total)}, {_bytes(available)} of it available, {group}"
    hints = []
    if min(available, limit or available) < 256 * MIB:
        hints.append("little is left; set `Pool(memory_budget=...)` and take fewer workers")
    if kills:
        what += f"; the system has ended {_counted(kills, 'process', 'es')} of its group for want of memory"
        hints.append("`Pool(memory_limit=...)` ends a task that grows too large before the system chooses a victim")
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        what += f"; at most {_bytes(most)} of address space (`ulimit -v`)"
        hints.append("address space is taken without being used; limit workers by `Pool(memory_limit=...)` instead")
    yield Finding("note" if hints else "ok", what, "; ".join(hints))


def check_memory_files() -> Iterator[Finding]:
    size = 64 * MIB
    try:
        shared = os.statvfs("/dev/shm")  # noqa: S108 - only its size is told.
        beside = f"`/dev/shm` has {_bytes(shared.f_blocks * shared.f_frsize)}, and is not used"
    except OSError:
        beside = "there is no `/dev/shm`, and none is needed"
    try:
        file = os.memfd_create("paceline-doctor", os.MFD_CLOEXEC)
        try:
            os.ftruncate(file, size)
            with mmap.mmap(file, size) as one, mmap.mmap(file, size) as other:
                one[size - 5 :] = b"hello"
                works = other[size - 5 :] == b"hello"
        finally:
            os.close(file)
    except OSError as error:
        yield Finding(
            "problem",
            f"memory files (`memfd_create`) do not work: {error.strerror or error}",
            "everything between processes goes through them; look at `ulimit -f`, `ulimit -v` and the sandbox's rules",
        )
        return
    if works:
        yield Finding("ok", f"memory files work; {beside}")
    else:
        yield Finding(
            "problem", "what is written to a memory file cannot be read there", "this is a fault of the kernel"
        )


def check_proc() -> Iterator[Finding]:
    missing = [
        name for name in ("self/statm", "self/fd", "self/cgroup", "meminfo") if not os.path.exists(f"/proc/{name}")
    ]
    if missing:
        yield Finding(
            "problem",
            f"/proc is not mounted, or lacks {', '.join(missing)}",
            "mount it: `mount -t proc proc /proc`; memory limits and shared objects need it",
        )
    else:
        yield Finding("ok", "/proc is mounted")


def check_open_files() -> Iterator[Finding]:
    from paceline.engine import default_workers

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    workers = default_workers()
    needed = FILES_BESIDE + FILES_PER_WORKER * workers
    if soft == resource.RLIM_INFINITY:
        yield Finding("ok", f"any number of open files; a pool of {workers} needs {needed}")
        return
    what = f"at most {soft:,} open files; a pool of {workers} needs {needed}"
    # A program has its standard streams, and opens some file or other to import a module.
    rest = soft - 4
    wanted = max(4096, 4 * needed)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        hint = f"allow more: `ulimit -n {wanted}`"
    else:
        hint = f"the hard limit is {hard:,}: have whoever set it allow more (`ulimit -Hn`, or the container's settings)"
    if rest < needed:
        yield Finding("problem", what, hint)
    elif rest < 4 * needed:
        yield Finding("note", what, f"that is enough for {_counted(rest // needed, 'such pool')}; {hint}")
    else:
        yield Finding("ok", what)


# -- workers -----------------------------------------------------------------------------------------------------------


def check_start_methods() -> Iterator[Finding]:
    for method in ("forkserver", "spawn", "fork"):
        try:
            first_ms, second_ms = ask(time_first_results, method, deadline_s=DEADLINE_S)
        except ProbeFailed as failure:
            yield Finding(
                "problem",
                f"`{method}`: no worker runs a task: {_first_line(failure)}",
                f'try it by itself: `python -c "import paceline; '
                f"print(paceline.Pool(1, start_method='{method}').apply(abs, (-1,)))\"`",
            )
            continue
        what = f"`{method}`: first result after {first_ms:.0f} ms, of a second pool after {second_ms:.0f} ms"
        if first_ms > 2000:
            yield Finding(
                "note", what, "that is slow: a busy machine, or a `sitecustomize` or `.pth` file that does a lot"
            )
        else:
            yield Finding("ok", what)


def time_first_results(method: Any) -> tuple[float, float]:
    """Runs in a process of its own: milliseconds from opening a pool to its first result, of one and of another."""
    import paceline

    times_ms = []
    for _ in range(2):
        start = time.perf_counter()
        with paceline.Pool(1, backend="processes", start_method=method) as pool:
            if pool.apply(os.getpid) == os.getpid():
                raise RuntimeError("the task ran in the process that asked for it")
            times_ms.append(1000 * (time.perf_counter() - start))
    return times_ms[0], times_ms[1]


def check_shared_objects() -> Iterator[Finding]:
    try:
        ask(share_and_read, deadline_s=DEADLINE_S)
    except ProbeFailed as failure:
        hint = "a worker opens its parent's memory by /proc; a sandbox, or `hidepid`, may be in the way"
        yield Finding("problem", f"workers cannot read shared objects: {_first_line(failure)}", hint)
    else:
        yield Finding("ok", "workers read shared objects (`paceline.share`)")


def share_and_read() -> None:
    """Runs in a process of its own."""
    import paceline

    block = bytes(range(256)) * 4096
    with paceline.Pool(1, backend="processes") as pool, paceline.share(block) as shared:
        if pool.apply(len, (shared,)) != len(block):
            raise RuntimeError("a worker found something else than what was shared")


# -- native threads ----------------------------------------------------------------------------------------------------


def check_native_threads() -> Iterator[Finding]:
    from paceline.engine import default_workers

    workers, usable = default_workers(), machine.usable_cpus()
    yield _thread_variables(workers, usable)
    try:
        pools = ask(native_threads_of_workers, workers, deadline_s=DEADLINE_S)
    except ProbeFailed as failure:
        yield Finding("problem", f"native threads of workers: {_first_line(failure)}")
        return
    if pools is None:
        what = "threadpoolctl is not installed, so libraries that are loaded before the workers start are not limited"
        yield Finding("ok", what, "`pip install threadpoolctl`, if numpy and the like are preloaded")
        return
    told = ", ".join(f"{name} {_counted(threads, 'thread')}" for name, threads in pools) or "none is loaded by numpy"
    what = f"native libraries in each worker of a pool of {workers}: {told}"
    if any(threads * workers > max(usable, workers) for _, threads in pools):
        yield Finding("note", what, f"that is more than {_counted(usable, 'CPU')}; try `Pool(threads_per_worker=1)`")
    else:
        yield Finding("ok", what)


def _thread_variables(workers: int, usable: int) -> Finding:
    from paceline.worker import THREAD_VARIABLES

    chosen = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    if not chosen:
        share = max(1, usable // workers)
        return Finding("ok", f"no variable sets native threads; a pool gives each worker {share} by default")
    told = ", ".join(f"{name}={value}" for name, value in chosen.items())
    # Of a list, the first is that of the outermost level.
    most = max((int(value.split(",")[0]) for value in chosen.values() if value.split(",")[0].isdecimal()), default=0)
    if most * workers > usable:
        hint = f"{workers} × {most} threads are more than {_counted(usable, 'CPU')}: unset it, or use "
        return Finding(
            "note", f"the environment sets {told}, and workers keep to it", hint + "`Pool(threads_per_worker=1)`"
        )
    return Finding("ok", f"the environment sets {told}, and workers keep to it")


def native_threads_of_workers(workers: int) -> list[tuple[str, int]] | None:
    """Runs in a process of its own."""
    import paceline

    with paceline.Pool(workers, backend="processes") as pool:
        found: list[tuple[str, int]] | None = pool.apply(native_threads)
        return found


def native_threads() -> list[tuple[str, int]] | None:
    """Runs in a worker: the thread pools of the libraries that numpy loads, and their sizes."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    try:
        import numpy as np
    except ImportError:
        return []
    del np
    return [(pool["internal_api"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info()]


# -- the benchmark -----------------------------------------------------------------------------------------------------


def check_benchmark() -> Iterator[Finding]:
    from paceline.engine import default_workers

    workers, end = default_workers(), time.monotonic() + BENCHMARK_S
    ours: dict[str, float] = {}
    for name, subject in bench.SUBJECTS.items():
        try:
            left_s = max(0.01, end - time.monotonic())
            figures = bench.measure(name, workers, bench.GLANCE[name], deadline_s=left_s)
        except ProbeFailed as failure:
            hint = "something else may use the CPUs; `paceline bench` takes its time"
            yield Finding("note", f"{subject.title} could not be measured: {_first_line(failure)}", hint)
            continue
        ours = ours or figures
        yield _comparison(name, subject, figures, ours)


def _comparison(name: str, subject: bench.Subject, figures: dict[str, float], ours: dict[str, float]) -> Finding:
    round_trip, submits = bench.number(figures["round-trip"]), bench.number(figures["submits"])
    if name == "paceline":
        return Finding("ok", f"Paceline: round trip {round_trip} µs, {submits} submits/s")
    if ours is figures:
        return Finding("note", f"{subject.title}: round trip {round_trip} µs, {submits} submits/s")
    what = (
        f"{subject.title}: round trip {round_trip} µs, {submits} submits/s: "
        f"Paceline is {bench.ratio('round-trip', ours, figures)} and {bench.ratio('submits', ours, figures)} as fast"
    )
    if min(bench.times(question, ours, figures) for question in figures) < 1:
        return Finding(
            "note", what, f"it should be faster; the load is {os.getloadavg()[0]:.1f}, so something may disturb"
        )
    return Finding("ok", what)


# -- telling -----------------------------------------------------------------------------------------------------------

CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "python": check_python,
    "engine": check_engine,
    "packages": check_packages,
    "system": check_system,
    "cpus": check_cpus,
    "memory": check_memory,
    "memory-files": check_memory_files,
    "proc": check_proc,
    "open-files": check_open_files,
    "start-methods": check_start_methods,
    "shared-objects": check_shared_objects,
    "native-threads": check_native_threads,
    "benchmark": check_benchmark,
}
COLOURS: dict[Verdict, str] = {"ok": "32", "note": "33", "problem": "31"}


def run(*, as_json: bool = False, benchmark: bool = True) -> int:
    """Makes all checks and prints what they find; the exit code, which is 1 if there is a problem."""
    told: list[dict[str, str]] = []
    coloured = wants_colour(sys.stdout)
    for name, finding in findings(benchmark=benchmark):
        told.append({"check": name, **asdict(finding)})
        if not as_json:
            print(line(name, finding, coloured=coloured), flush=True)
    counts = {verdict: sum(each["verdict"] == verdict for each in told) for verdict in COLOURS}
    if as_json:
        print(json.dumps({"counts": counts, "findings": told}, indent=2))
    else:
        problems = _counted(counts["problem"], "problem") if counts["problem"] else "no problem"
        print(f"{problems}, {_counted(counts['note'], 'note')}")
    return 1 if counts["problem"] else 0


def findings(*, benchmark: bool) -> Iterator[tuple[str, Finding]]:
    """All that the checks find, one after the other. A check that fails has found a problem as well."""
    for name, check in CHECKS.items():
        if name == "benchmark" and not benchmark:
            continue
        made = check()
        while True:
            try:
                finding = next(made)
            except StopIteration:
                break
            except Exception as error:
                yield name, Finding("problem", f"this could not be checked: {type(error).__name__}: {error}")
                break
            yield name, finding


def line(name: str, finding: Finding, *, coloured: bool) -> str:
    verdict = f"{finding.verdict:8}"
    if coloured:
        verdict = f"\x1b[{COLOURS[finding.verdict]}m{verdict}\x1b[0m"
    hint = f"\n{'':24}hint: {finding.hint}" if finding.hint else ""
    return f"{verdict}{name:16}{finding.what}{hint}"


def wants_colour(stream: TextIO) -> bool:
    """Whether it is a terminal that shows colours, and its user has not asked for none (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _counted(count: int, noun: str, ending: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else ending}"


def _bytes(amount: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount} bytes"


def _first_line(failure: ProbeFailed) -> str:
    return str(failure).partition("\n")[0]
