"""What a run would have gained from: each advice has a program that triggers it and gains from following it."""

import functools
import json
import os
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import paceline
from paceline import Pool
from paceline.diagnosis import Advice, Transport, diagnose
from paceline.history import Ending, History, Stretch
from paceline.native_threads import NativeThreads, ThreadTime
from program import Program


def report_of(program):
    """What the program's pool did, in that of three runs which others on the machine have disturbed the least."""
    reports = []
    with Pool(2) as pool:
        pool.map(abs, range(10))  # Its workers are there.
    for _ in range(3):
        with Pool(2) as pool:
            program(pool)
            reports.append(pool.report())
    return min(reports, key=lambda report: report.wall_seconds)


def kinds(report):
    return [advice.kind for advice in report.advice]


def advice_of(report, kind):
    found = [advice for advice in report.advice if advice.kind == kind]
    assert len(found) == 1, (report, report.advice)
    return found[0]


# -- programs ----------------------------------------------------------------------------------------------------------


def test_small_tasks_go_by_map():
    def singly(pool):
        for future in [pool.submit(abs, number) for number in range(60_000)]:
            future.result()

    slow, fast = report_of(singly), report_of(lambda pool: pool.map(abs, range(60_000)))
    advice = advice_of(slow, "small tasks")
    assert "60,000 tasks" in advice.text
    assert "by `map`" in advice.text
    assert kinds(fast) == []
    assert fast.wall_seconds < slow.wall_seconds / 2


def test_small_tasks_of_threads_go_by_map():
    with Pool(2, backend="threads") as pool:
        for future in [pool.submit(abs, number) for number in range(150_000)]:
            future.result()
        advice = advice_of(pool.report(), "small tasks")
    assert "submitted one by one" in advice.text
    assert "by `map`" in advice.text


def test_chunks_of_one_small_task_are_left_to_paceline():
    slow = report_of(lambda pool: [pool.map(abs, range(200_000), chunksize=1) for _ in range(4)])
    assert "leave `chunksize`" in advice_of(slow, "small tasks").text


def test_long_task_at_the_end_is_given_a_cost():
    times = [0.005] * 60 + [0.25]
    slow = report_of(lambda pool: pool.map(time.sleep, times))
    fast = report_of(lambda pool: pool.map(time.sleep, times, cost=times))
    advice = advice_of(slow, "tail")
    assert "1 task of 61 held the run up" in advice.text
    assert "`cost=`" in advice.text
    assert kinds(fast) == []
    assert fast.wall_seconds < 0.8 * slow.wall_seconds
    assert fast.lower_bound_seconds <= fast.wall_seconds < 1.3 * fast.lower_bound_seconds


def weigh(table, key):
    return len(table) + key


def test_large_argument_is_shared():
    table = {number: str(number) for number in range(200_000)}

    def sent_each_time(pool):
        for future in [pool.submit(weigh, table, key) for key in range(20)]:
            future.result()

    def shared(pool):
        handle = paceline.share(table)
        for future in [pool.submit(weigh, handle, key) for key in range(20)]:
            future.result()

    slow, fast = report_of(sent_each_time), report_of(shared)
    advice = advice_of(slow, "arguments")
    assert "argument 1 (dict)" in advice.text
    assert "`paceline.share`" in advice.text
    assert "arguments" not in kinds(fast)
    assert fast.wall_seconds < slow.wall_seconds / 2


def test_large_argument_that_is_given_by_name_is_called_by_it():
    table = {number: str(number) for number in range(200_000)}

    def program(pool):
        for future in [pool.submit(weigh, key=key, table=table) for key in range(20)]:
            future.result()

    assert "argument `table` (dict)" in advice_of(report_of(program), "arguments").text


class Opaque:
    """Something large whose size nobody knows, and which must not be asked."""

    def __init__(self):
        self.content = bytes(range(256)) * 4_000

    def __len__(self):
        raise AssertionError("it was asked")

    nbytes = property(__len__)


def ignore(*_, **named):
    pass


def transport_of(*calls):
    with Pool(1) as pool:
        for args, named in calls:
            pool.submit(ignore, *args, **named).result()
        return pool.report().transport


@pytest.mark.parametrize(
    ("args", "named", "largest"),
    [
        ((Opaque(), "short"), {}, (0, "Opaque")),
        (("short",), {"thing": Opaque()}, ("thing", "Opaque")),
        # More items than the array has bytes.
        ((list(range(200_000)), np.ones(10_000)), {}, (0, "list")),
        (([0] * 3_000, np.ones(200_000)), {}, (1, "ndarray")),
        (([np.ones(50_000)] * 2, b"x" * 50_000), {}, (0, "list")),
        # Nobody can tell which of the two.
        ((Opaque(), Opaque()), {}, None),
        # There are two halves.
        ((list(range(100_000)), list(range(100_000, 200_000)), list(range(200_000, 300_000))), {}, None),
    ],
    ids=["opaque", "opaque-named", "items", "array", "arrays", "two-opaque", "even"],
)
def test_argument_with_most_of_the_bytes_is_named_without_asking_it(args, named, largest):
    told = transport_of((args, named)).largest
    assert (told and told[:2]) == largest


def test_every_call_counts_whose_arguments_are_pickled():
    # Each takes less than the clock's step.
    told = transport_of(*[(({number: number},), {}) for number in range(500)], ((1, "plain"), {}))
    assert told.items == 500
    assert 10 < told.bytes / told.items < 50


def test_time_of_pickling_is_a_share_of_all_the_time():
    table = {number: str(number) for number in range(300_000)}
    once = transport_of(((table, 0), {}))
    assert once.before == once.seconds > 0, "the pool's clock began after it"
    twice = transport_of((({0: 0},), {}), ((table, 0), {}))
    assert twice.before < twice.seconds
    late = History((1,), (stretch(0, 0.0, 0.25),))
    (advice,) = diagnose(late, workers=1, wall=0.25, transport=Transport(0.75, 1, 9_000_000, None, before=0.75))
    assert advice.text.startswith("75 % of the time")
    (advice,) = diagnose(late, workers=1, wall=0.25, transport=Transport(0.5, 2, 9_000_000, None))
    assert advice.text.startswith("100 % of the time"), "of two threads"


def test_size_of_each_time_is_told_as_the_most_where_it_differs():
    history = History((1,), (stretch(0, 0.0, 1.0),))
    often = Transport(0.5, 10, 100_000_000, (1, "dict", 10_000_000))
    once = Transport(0.5, 1_000, 10_100_000, ("table", "dict", 10_000_000))
    texts = [diagnose(history, workers=1, wall=1.0, transport=transport)[0].text for transport in (often, once)]
    assert "argument 2 (dict), 10 MB each time" in texts[0]
    assert "argument `table` (dict), up to 10 MB each time" in texts[1]


def test_program_that_keeps_its_workers_waiting_submits_more_at_a_time():
    def one_by_one(pool):
        for _ in range(20):
            pool.submit(time.sleep, 0.01).result()
            time.sleep(0.01)

    def ahead(pool):
        for _ in pool.imap(time.sleep, [0.01] * 20):
            time.sleep(0.01)

    slow, fast = report_of(one_by_one), report_of(ahead)
    assert "`imap`" in advice_of(slow, "waiting for the program").text
    assert "waiting for the program" not in kinds(fast)
    assert fast.wall_seconds < 0.8 * slow.wall_seconds


@pytest.mark.parametrize(
    "program",
    [
        lambda pool: pool.map(time.sleep, [0.005] * 80),
        lambda pool: list(pool.imap_unordered(time.sleep, [0.005] * 80)),
        lambda pool: pool.map(functools.partial(np.multiply, np.ones(200_000)), range(40)),
        lambda pool: [pool.map(abs, range(200_000)) for _ in range(3)],
        lambda pool: [future.result() for future in [pool.submit(time.sleep, 0.002) for _ in range(100)]],
        # Long tasks, fewer than would even out; and one alone.
        lambda pool: pool.map(time.sleep, [0.1, 0.1, 0.1]),
        lambda pool: pool.apply(time.sleep, (0.2,)),
        # A program that has something else to do from time to time.
        lambda pool: [pool.map(time.sleep, [0.01] * 8) and time.sleep(0.05) for _ in range(4)],
        lambda pool: None,
    ],
    ids=["map", "unordered", "partial", "small", "submit", "few", "single", "pauses", "idle"],
)
def test_healthy_programs_get_no_advice(program):
    report = report_of(program)
    assert kinds(report) == [], report


# Threads of OpenMP search for their siblings, which have no CPU, for as long as the system lets them.
CROWDED = """
import json, os, sys, time
from pathlib import Path
import numpy as np
import paceline

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

def cluster(seed, rounds):
    from sklearn.cluster import KMeans

    values = np.random.default_rng(seed).normal(size=(2_000, 8))
    KMeans(8, n_init=1, max_iter=rounds, tol=0, random_state=0).fit(values)

def prepare(folder):
    # Importing the library takes longer than working with it.
    cluster(0, 1)
    Path(folder, str(os.getpid())).touch()

def run(name, **options):
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    with paceline.Pool(2, prepare, (str(folder),), **options) as pool:
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        begin = time.perf_counter()
        pool.starmap(cluster, [(seed, 30) for seed in range(12)], chunksize=1)
        seconds = time.perf_counter() - begin
        report = pool.report()
    pool.join()
    kinds = [one.kind for one in report.advice]
    texts = [one.text for one in report.advice if one.kind == "native threads"]
    print(json.dumps([seconds, kinds, texts, texts and [one.kind for one in pool.report().advice]]), flush=True)

run("slow")
run("fast", threads_per_worker=1)
"""

counts_cpu_time = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists() or Path("/proc/self/schedstat").read_text().startswith("0 "),
    reason="the system does not count for how long threads wait",
)


@counts_cpu_time
@pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one CPU, libraries start no threads")
def test_native_threads_that_wait_for_each_other_are_limited(tmp_path):
    (tmp_path / "crowded.py").write_text(CROWDED)
    code, out, err = Program(str(tmp_path / "crowded.py"), str(tmp_path), OMP_NUM_THREADS="2").finish()
    assert (code, err) == (0, "")
    (slow, _, texts, afterwards), (fast, kinds_of_fast, _, _) = map(json.loads, out.splitlines())
    (text,) = texts
    assert text.startswith("each worker ran 2 native threads on 2 CPUs, and they waited ")
    assert text.endswith("`threads_per_worker=1`, or without `OMP_NUM_THREADS=2` in the environment")
    assert "native threads" in afterwards, "of workers that have left"
    assert "native threads" not in kinds_of_fast
    assert fast < slow / 2


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@counts_cpu_time
def test_workers_that_are_more_than_the_cpus_are_no_native_threads():
    with Pool(2 * len(os.sched_getaffinity(0))) as pool:
        pool.map(burn, [0.1] * 3 * pool.report().capacity, chunksize=1)
        report = pool.report()
    assert all(len(threads) >= 1 for _, threads in report.threads.workers)
    assert "native threads" not in kinds(report)


def linger_beside_threads(count):
    """Leaves threads behind that have been at work, and wait."""
    from threading import Event, Thread

    ready = []

    def work():
        burn(0.005)
        ready.append(True)
        Event().wait()

    threads = [Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    while len(ready) < count:
        time.sleep(0.001)
    return os.getpid()


@counts_cpu_time
@pytest.mark.parametrize("options", [{}, {"maxtasksperchild": 1}], ids=["closed", "replaced"])
def test_threads_of_workers_that_have_left_are_known_if_they_had_any(options):
    with Pool(1, **options) as pool:
        first = pool.apply(linger_beside_threads, (5,))
        second = pool.apply(os.getpid)
        pool.close()
        pool.join()
        known = dict(pool.report().threads.workers)
    assert len(known[first]) >= 6
    assert all(thread.ran >= 0.001 for thread in known[first])
    assert (second in known) == (second == first), "it was alone"


# -- rules -------------------------------------------------------------------------------------------------------------


def stretch(worker, began, ended, **changes):
    values = {
        "worker": worker, "function": "f", "first_item": 0, "items": 1, "merged": 1, "attempt": 0,
        "ending": Ending.DONE, "submitted": 0.0, "began": began, "ended": ended,
        "busy": ended - began, "longest": ended - began,
    }  # fmt: skip
    return Stretch(**{**values, **changes})


def test_nothing_is_said_of_nothing():
    assert diagnose(History((), ()), workers=2, wall=0.0) == ()


def test_most_that_can_be_saved_comes_first():
    short = [stretch(number % 2, number / 10, number / 10 + 0.1) for number in range(20)]
    history = History((1, 2), (*short, stretch(0, 2.0, 4.0)))
    found = diagnose(history, workers=2, wall=4.0, transport=Transport(1.0, 21, 21_000_000, None))
    assert [advice.kind for advice in found] == ["tail", "arguments"]
    assert found[0].seconds > found[1].seconds
    assert "25 % of the time went into pickling the arguments, 1 MB each time" in str(found[1])


def test_long_task_that_began_first_is_nobodys_fault():
    short = [stretch(1, number / 10, number / 10 + 0.1) for number in range(10)]
    assert diagnose(History((1, 2), (stretch(0, 0.0, 4.0), *short)), workers=2, wall=4.0) == ()


def test_long_task_that_was_submitted_late_is_not_the_schedules_fault():
    short = [stretch(number % 2, number / 10, number / 10 + 0.1) for number in range(20)]
    assert diagnose(History((1, 2), (*short, stretch(0, 2.0, 4.0, submitted=1.99))), workers=2, wall=4.0) == ()


def test_what_would_save_little_is_not_said():
    short = [stretch(number % 2, number / 10, number / 10 + 0.1) for number in range(100)]
    history = History((1, 2), (*short, stretch(0, 10.0, 10.3)))
    assert diagnose(history, workers=2, wall=10.3) == ()


def test_advice_prints_as_its_text():
    assert str(Advice("kind", "do this", 1.0)) == "do this"


def crew(*times, name="python"):
    """A worker's main thread, and others that are called so."""
    return tuple(ThreadTime("python" if number == 0 else name, *one) for number, one in enumerate(times))


def two_workers(*crews, cpus=2, told=2, teller="OMP_NUM_THREADS=2"):
    """What is said of two workers that were at it for ten seconds, and of their threads."""
    history = History((1, 2), (stretch(0, 0.0, 10.0), stretch(1, 0.0, 10.0)))
    threads = NativeThreads(cpus, told, teller, tuple(enumerate(crews, 1)))
    return diagnose(history, workers=2, wall=10.0, threads=threads)


def test_threads_that_are_more_than_the_cpus_are_told_with_what_they_waited():
    half = crew((5.0, 5.0), (4.0, 4.0), (0.001, 0.2))
    (advice,) = two_workers(half, half)
    assert advice.kind == "native threads"
    assert advice.text == (
        "each worker ran 2 native threads on 2 CPUs, and they waited 18 s for a CPU: open the pool with "
        "`threads_per_worker=1`, or without `OMP_NUM_THREADS=2` in the environment"
    )
    assert advice.seconds == pytest.approx(4.5)
    (advice,) = two_workers(half, half, teller="threads_per_worker=2")
    assert advice.text.endswith(": open the pool with `threads_per_worker=1`")
    (advice,) = two_workers(half, half, told=1, teller=None)
    assert "does not keep to the 1 that it was told" in advice.text
    (advice,) = two_workers(half, crew((5.0, 5.0), (4.0, 4.0), (4.0, 4.0)))
    assert "each worker ran up to 3 native threads" in advice.text
    own = crew((5.0, 5.0), (4.0, 4.0), name="polars-0")
    (advice,) = two_workers(own, own, told=1, teller=None)
    assert "have the library that calls them `polars-0` start fewer" in advice.text


@pytest.mark.parametrize(
    ("crews", "cpus"),
    [
        # One thread for each worker, beside programs that have most of the machine.
        ([crew((2.0, 8.0), (0.1, 0.4))] * 2, 2),
        # First one, then the other.
        ([crew((2.0, 3.0), (2.0, 3.0))] * 2, 2),
        # There are CPUs enough, and others want them as well.
        ([crew((5.0, 5.0), (5.0, 5.0))] * 2, 4),
        # Nobody waited long.
        ([crew((9.0, 0.1), (9.0, 0.1))] * 2, 2),
        # Before there was any task.
        ([crew((9.0, 0.1), (0.1, 0.1))] * 2, 1),
        ([], 2),
    ],
    ids=["others", "in-turns", "room", "short", "one", "unknown"],
)
def test_threads_are_not_blamed_for_what_others_do(crews, cpus):
    assert two_workers(*crews, cpus=cpus) == ()


def test_who_told_libraries_how_many_threads_is_named(monkeypatch):
    class Engine:
        workers = 2

        def thread_times(self):
            return 4, [(7, [("python", 1.0, 0.5)])]

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def told(threads_per_worker=None):
        found = NativeThreads.of(Engine(), threads_per_worker)
        return found.told, found.teller

    assert told() == (2, None)
    assert told(3) == (3, "threads_per_worker=3")
    monkeypatch.setenv("OMP_NUM_THREADS", "8,2")
    monkeypatch.setenv("MKL_NUM_THREADS", "many")
    assert told() == (8, "OMP_NUM_THREADS=8,2")
    assert told(3) == (3, "threads_per_worker=3")
    assert NativeThreads.of(Engine(), None).workers == ((7, (ThreadTime("python", 1.0, 0.5),)),)
