"""The progress of maps and futures: the right counts, whoever shows them, and nothing where nobody looks."""

import asyncio
import gc
import itertools
import os
import pty
import subprocess
import sys
import termios
import threading
import time

import pytest

import paceline
import paceline.progress
from paceline import ArgumentNotPicklable, Pool, Progress

N = 40


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


def nap(x):
    time.sleep(0.01)
    return x


def odd(x):
    if x % 2 == 0:
        raise ValueError(x)
    return x


def once_more(x):
    if x % 10 == 0 and paceline.current_task().attempt == 1:
        raise OSError
    return x


async def amap(pool, fn, items, **options):
    return [result async for result in pool.amap(fn, items, **options)]


WAYS = {
    "map": lambda pool, items, **options: pool.map(nap, items, **options),
    "map-chunks": lambda pool, items, **options: pool.map(nap, items, 7, **options),
    "map-async": lambda pool, items, **options: pool.map_async(nap, items, **options).get(),
    "starmap": lambda pool, items, **options: pool.starmap(nap, [(item,) for item in items], **options),
    "imap": lambda pool, items, **options: list(pool.imap(nap, items, **options)),
    "imap-chunks": lambda pool, items, **options: list(pool.imap(nap, items, 7, **options)),
    "imap-unordered": lambda pool, items, **options: list(pool.imap_unordered(nap, items, **options)),
    "amap": lambda pool, items, **options: asyncio.run(amap(pool, nap, items, **options)),
    "amap-chunks": lambda pool, items, **options: asyncio.run(amap(pool, nap, items, chunksize=7, **options)),
}


def last(seen):
    """What was shown last; of `map_async` that comes from another thread, after the result."""
    deadline = time.monotonic() + 60
    while not seen or seen[-1].done < N:
        assert time.monotonic() < deadline, seen
        time.sleep(0.01)
    return seen[-1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", ["processes", "threads"])
def test_every_way_counts_to_the_end(way, backend):
    seen = []
    with Pool(2, backend=backend) as pool:
        assert sorted(WAYS[way](pool, range(N), progress=seen.append)) == [*range(N)]
        assert (last(seen).done, last(seen).total) == (N, N)
    counts = [progress.done for progress in seen]
    assert counts == sorted(counts)
    assert counts[0] < N, "something was shown before the end"


@pytest.mark.parametrize("way", ["imap", "imap-unordered", "amap"])
def test_input_without_length_has_no_total(pool, way):
    seen = []
    WAYS[way](pool, (x for x in range(N)), progress=seen.append)
    assert (last(seen).done, last(seen).total) == (N, None)
    assert last(seen).remaining_seconds is None


@pytest.mark.parametrize("on_error", ["return", "skip"])
@pytest.mark.parametrize("way", ["map", "imap", "imap_unordered"])
def test_items_that_fail_count_as_well(pool, way, on_error):
    seen = []
    list(getattr(pool, way)(odd, range(N), chunksize=3, on_error=on_error, progress=seen.append))
    assert last(seen).done == N


def test_iterator_whose_calls_raise_counts_them(pool):
    seen = []
    results = pool.imap(odd, range(N), progress=seen.append)
    raised = 0
    while True:
        try:
            next(results)
        except ValueError:
            raised += 1
        except StopIteration:
            break
    assert (raised, last(seen).done) == (N // 2, N)


def test_items_that_are_run_again_count_once(pool):
    seen = []
    assert pool.options(retries=2, retry_on=OSError).map(once_more, range(N), chunksize=4, progress=seen.append) == [
        *range(N)
    ]
    assert max(progress.done for progress in seen) == N


def test_one_worker_and_input_in_pieces():
    seen = []
    with Pool(1, memory_budget=1 << 20) as pool:
        items = [bytes(100_000)] * N
        assert pool.map(len, items, progress=seen.append) == [100_000] * N
    assert (last(seen).done, last(seen).total) == (N, N)


def test_as_completed_counts(pool):
    seen = []
    futures = [pool.submit(nap, x) for x in range(N)]
    assert len(list(paceline.as_completed(futures, progress=seen.append))) == N
    assert (last(seen).done, last(seen).total) == (N, N)


def test_no_items(pool):
    seen = []
    assert pool.map(nap, [], progress=seen.append) == []
    assert [(progress.done, progress.total) for progress in seen] == [(0, 0)]


def test_what_shows_it_may_raise_and_the_rest_is_not_run(pool):
    def refuse(progress):
        raise LookupError(progress.done)

    with pytest.raises(LookupError):
        pool.map(nap, range(1_000), chunksize=1, progress=refuse)
    assert pool.map(nap, range(2)) == [0, 1]


@pytest.mark.parametrize("how", ["tqdm", "rich"])
def test_map_that_is_refused_leaves_no_bar(pool, how, monkeypatch):
    library = pytest.importorskip(how)
    if how == "tqdm":
        # It looks after its bars by a thread of its own, which stays.
        monkeypatch.setattr(library.tqdm, "monitor_interval", 0)
    for call in (pool.map, pool.map_async):
        with pytest.raises(ArgumentNotPicklable):
            call(len, [threading.Lock()], progress=how)
        with pytest.raises(ValueError, match="costs"):
            call(abs, [1, 2], cost=[1], progress=how)
    assert call(abs, [-1]).get() == [1]


def test_iterator_that_is_dropped_calls_nobody(pool):
    seen = []
    results = pool.imap(nap, itertools.count(), progress=seen.append)
    next(results)
    before = len(seen)
    del results
    gc.collect()
    assert len(seen) == before


class Refusing(list):
    """Raises at every second progress that it is shown."""

    def __call__(self, progress):
        self.append(progress)
        if len(self) % 2:
            raise LookupError(progress.done)


def patiently(give):
    """All that is given, whatever is raised in between."""
    given, refused = [], 0
    while True:
        try:
            given.append(give())
        except LookupError:
            refused += 1
        except StopIteration:
            return given, refused


LAZY = {
    "imap": lambda pool, items, **options: pool.imap(nap, items, **options),
    "imap-chunks": lambda pool, items, **options: pool.imap(nap, items, 3, **options),
    "imap-skip": lambda pool, items, **options: pool.imap(nap, items, on_error="skip", **options),
    "amap": lambda pool, items, **options: pool.amap(nap, items, **options),
    "amap-chunks": lambda pool, items, **options: pool.amap(nap, items, chunksize=3, **options),
    "amap-return": lambda pool, items, **options: pool.amap(nap, items, on_error="return", **options),
}


@pytest.mark.parametrize("way", LAZY)
def test_result_at_which_showing_it_raises_is_given_later(pool, way, monkeypatch):
    monkeypatch.setattr(paceline.progress, "_INTERVAL_S", 0.0)
    seen = Refusing()

    async def collect():
        results = LAZY[way](pool, range(N), progress=seen)
        if not hasattr(results, "__anext__"):
            return patiently(lambda: next(results))
        given, refused = [], 0
        while True:
            try:
                given.append(await anext(results))
            except LookupError:
                refused += 1
            except StopAsyncIteration:
                return given, refused

    given, refused = asyncio.run(collect())
    assert given == [*range(N)]
    assert refused > 1
    assert max(progress.done for progress in seen) == N, "each counts once"


def test_failure_at_which_showing_it_raises_is_given_later(pool, monkeypatch):
    monkeypatch.setattr(paceline.progress, "_INTERVAL_S", 0.0)
    results = pool.imap(odd, range(2), progress=Refusing())
    with pytest.raises(LookupError):
        next(results)
    with pytest.raises(ValueError, match="0"):
        next(results)
    assert next(results) == 1


def test_future_at_which_showing_it_raises_is_given_later(pool, monkeypatch):
    monkeypatch.setattr(paceline.progress, "_INTERVAL_S", 0.0)
    futures = {pool.submit(nap, x) for x in range(5)}
    completed = paceline.as_completed(futures, progress=Refusing())
    given, refused = patiently(lambda: next(completed))
    assert set(given) == futures
    assert len(given) == 5
    assert refused > 1


@pytest.fixture
def closed(monkeypatch):
    """What has been shown for the last time."""
    meters = []

    def note(meter):
        meters.append(meter)

    monkeypatch.setattr(paceline.progress._Callback, "_close", note)
    return meters


def test_futures_that_are_dropped_unread_leave_no_bar(pool, closed):
    seen = []
    completed = paceline.as_completed([pool.submit(nap, 1)], progress=seen.append)
    assert not closed
    del completed
    gc.collect()
    assert len(closed) == 1
    assert seen == []


def test_closing_an_asynchronous_map_ends_its_bar(pool, closed):
    seen = []

    async def closing():
        results = pool.amap(nap, itertools.count(), progress=seen.append)
        for _ in range(3):
            await anext(results)
        await results.aclose()
        assert len(closed) == 1
        assert seen[-1].done == 3

    asyncio.run(closing())
    assert len(closed) == 1


def test_asynchronous_map_that_is_refused_leaves_no_bar(pool, closed):
    async def refused():
        with pytest.raises(TypeError, match="not iterable"):
            pool.amap(nap, 3, progress=print)

    asyncio.run(refused())
    assert len(closed) == 1


def test_bar_that_cannot_be_closed_keeps_no_tasks(pool, monkeypatch):
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: complaints.append(what.exc_value))

    def refuse(meter):
        raise OSError("no bar")

    monkeypatch.setattr(paceline.progress._Callback, "_close", refuse)
    results = pool.imap(nap, itertools.count(), progress=lambda progress: None)
    next(results)
    del results
    gc.collect()
    assert [str(one) for one in complaints] == ["no bar"]
    # It is read no further, or this would never end.
    pool.close()
    pool.join()


def test_iterators_that_are_refused_leave_the_pool_as_it_was():
    async def refused(pool, items):
        with pytest.raises(TypeError, match="progress must be True"):
            pool.amap(nap, items, progress="bogus")

    items = iter(range(10))
    with Pool(1) as pool:
        with pytest.raises(TypeError, match="progress must be True"):
            pool.imap(nap, items, progress="bogus")
        asyncio.run(refused(pool, items))
        pool.close()
        pool.join()
    assert next(items) == 0


def test_what_is_neither_is_refused_at_the_call(pool):
    for call in (pool.map, pool.imap, pool.map_async):
        with pytest.raises(TypeError, match="progress must be True"):
            call(nap, range(3), progress=3)


def test_progress_tells_rate_and_rest():
    assert Progress(20, 80, 10.0).rate == 2.0
    assert Progress(20, 80, 10.0).remaining_seconds == 30.0
    assert Progress(0, 80, 10.0).remaining_seconds is None
    assert Progress(0, None, 0.0).rate == 0.0


PROGRAM = """
import sys, time, paceline
with paceline.Pool(2) as pool:
    assert pool.map(abs, range(-30, 0), progress={how}) == list(range(30, 0, -1))
    assert len(list(pool.imap(abs, (x for x in range(30)), progress={how}))) == 30
print("done")
"""


def in_terminal(program):
    """What a program prints on a terminal."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 100))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=its, stderr=its, stdin=its)
    os.close(its)
    printed = b""
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:
            break
        if not read:
            break
        printed += read
    os.close(ours)
    assert process.wait() == 0, printed
    return printed.decode()


def test_bar_in_a_terminal_and_silence_elsewhere():
    pytest.importorskip("tqdm")
    printed = in_terminal(PROGRAM.format(how="True"))
    assert "30/30" in printed
    assert "30task" in printed, "of an input without a length, as many as there were"
    run = subprocess.run([sys.executable, "-c", PROGRAM.format(how="True")], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("done\n", "")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(how="'tqdm'")], capture_output=True, text=True, check=True
    )
    assert "30/30" in run.stderr


def test_bar_of_rich():
    pytest.importorskip("rich")
    assert "30/30" in in_terminal(PROGRAM.format(how="'rich'"))


def test_missing_bar_says_how_to_get_it():
    program = "import sys; sys.modules['tqdm'] = None; import paceline\n"
    program += "with paceline.Pool(1) as pool:\n    pool.map(abs, [1], progress=True)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "hint: `pip install tqdm`" in run.stderr


def test_future_tells_how_far_it_is(pool):
    future = pool.map_async(nap, range(N), chunksize=10)
    counts = list(itertools.takewhile(lambda done: done < N, iter(lambda: future.progress()[1], -1)))
    assert future.progress() == (N, N)
    assert len(set(counts)) > 3, "items inside of a chunk are counted"
