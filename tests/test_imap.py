"""`imap` and `imap_unordered`: order, bounds, and what happens to inputs and iterators that end in the middle."""

import itertools
import multiprocessing
import queue
import threading
from functools import partial

import pytest

import paceline
import tasks
from paceline import Pool, PoolClosed


@pytest.mark.parametrize("chunksize", [1, 7])
@pytest.mark.parametrize("sized", [True, False])
def test_imap_keeps_the_order(pool, sized, chunksize):
    items = range(1000) if sized else iter(range(1000))
    assert list(pool.imap(tasks.square, items, chunksize)) == [number * number for number in range(1000)]


@pytest.mark.parametrize("chunksize", [1, 7])
@pytest.mark.parametrize("sized", [True, False])
def test_imap_unordered_gives_every_result_once(pool, sized, chunksize):
    items = range(1000) if sized else iter(range(1000))
    assert sorted(pool.imap_unordered(tasks.square, items, chunksize)) == [number * number for number in range(1000)]


def test_imap_unordered_gives_what_ends_first(pool, gate):
    results = pool.imap_unordered(partial(tasks.through, gate.path), [])
    assert list(results) == []
    held = pool.submit(tasks.through, gate.path, "held")
    gate.wait_for_arrival()
    results = pool.imap_unordered(tasks.identity, ["a", "b"])
    assert sorted(results) == ["a", "b"]
    gate.let_through()
    assert held.result() == "held"


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("sized", [True, False])
def test_imap_reads_no_further_ahead_than_its_bound(pool, method, sized):
    read = []

    class Items:
        def __iter__(self):
            for number in range(100_000):
                read.append(number)
                yield number

    if sized:
        Items.__len__ = lambda self: 100_000
    results = getattr(pool, method)(tasks.identity, Items())
    next(results)
    assert len(read) <= 258
    for _ in range(1000):
        next(results)
    assert len(read) <= 1258
    del results


def test_imap_of_an_endless_input(pool):
    assert list(itertools.islice(pool.imap(tasks.square, itertools.count()), 1000)) == [n * n for n in range(1000)]


def test_imap_gives_a_result_while_its_input_blocks(pool):
    items = queue.SimpleQueue()
    results = pool.imap(tasks.square, iter(items.get, None))
    for number in range(10):
        items.put(number)
        assert next(results) == number * number
    items.put(None)
    with pytest.raises(StopIteration):
        next(results)


def test_imap_goes_on_after_an_item_that_failed(pool):
    results = pool.imap(partial(tasks.fail_on, 1), range(3))
    assert next(results) == 0
    with pytest.raises(ValueError, match="bad 1"):
        next(results)
    assert next(results) == 2
    with pytest.raises(StopIteration):
        next(results)


def test_imap_with_chunks_gives_what_came_before_a_failure(pool):
    results = pool.imap(partial(tasks.fail_on, 5), range(100), 4)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="bad 5"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 2, 4])
def test_imap_raises_what_its_input_raises_in_its_place(pool, chunksize):
    def items():
        yield from range(8)
        raise KeyError("input")

    results = pool.imap(tasks.square, items(), chunksize)
    assert [next(results) for _ in range(8)] == [number * number for number in range(8)]
    with pytest.raises(KeyError, match="input"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_imap_unordered_raises_what_its_input_raises_after_the_results(pool):
    def items():
        yield from range(8)
        raise KeyError("input")

    results = pool.imap_unordered(tasks.square, items())
    assert sorted(next(results) for _ in range(8)) == [number * number for number in range(8)]
    with pytest.raises(KeyError, match="input"):
        next(results)


def test_imap_raises_for_an_item_that_cannot_be_pickled_and_goes_on(pool):
    results = pool.imap(tasks.identity, [1, tasks.Unpicklable(), 3])
    assert next(results) == 1
    with pytest.raises(paceline.ArgumentNotPicklable):
        next(results)
    assert next(results) == 3


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 2])
def test_imap_next_with_a_timeout_loses_nothing(pool, gate, method, chunksize):
    results = getattr(pool, method)(partial(tasks.through, gate.path), [1, 2], chunksize)
    gate.wait_for_arrival()
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(0.01)
    with pytest.raises(TimeoutError):
        results.next(timeout=0)
    gate.let_through(2)
    assert sorted(results) == [1, 2]


def test_imap_next_times_out_while_the_input_blocks(pool):
    items = queue.SimpleQueue()
    results = pool.imap(tasks.square, iter(items.get, None))
    with pytest.raises(TimeoutError):
        results.next(0.01)
    items.put(2)
    items.put(None)
    assert list(results) == [4]


def test_imap_dropped_half_way_cancels_what_has_not_begun(pool, gate):
    results = pool.imap_unordered(partial(tasks.through, gate.path), range(100))
    gate.let_through(10)
    assert next(results) in range(11)
    del results
    gate.let_through(10)
    pool.close()
    pool.join()
    assert pool.report().items <= 20


def test_imap_never_looked_at_still_makes_its_calls(tmp_path):
    path = str(tmp_path / "notes")
    with Pool(2) as pool:
        pool.imap_unordered(partial(tasks.note, path), range(1000))
    assert sorted(map(int, (tmp_path / "notes").read_text().split())) == list(range(1000))


@pytest.mark.parametrize("sized", [True, False])
def test_close_and_join_read_the_input_of_imap_to_its_end(sized):
    pool = Pool(2)
    results = pool.imap(tasks.square, range(2000) if sized else iter(range(2000)))
    pool.close()
    pool.join()
    assert list(results) == [number * number for number in range(2000)]


def test_leaving_with_does_not_read_an_endless_input_to_its_end():
    with Pool(2) as pool:
        results = pool.imap(tasks.square, itertools.count())
        assert next(results) == 0
    with pytest.raises(PoolClosed):
        list(results)


def test_imap_keeps_its_pool_alive():
    assert list(Pool(2).imap(tasks.square, range(1000))) == [number * number for number in range(1000)]
    assert Pool(2).map_async(tasks.square, range(1000)).get() == [number * number for number in range(1000)]


def test_terminate_ends_whoever_waits_for_imap(gate):
    pool = Pool(1)
    results = pool.imap(partial(tasks.through, gate.path), itertools.count())
    gate.wait_for_arrival()
    ended = queue.SimpleQueue()

    def wait():
        try:
            next(results)
        except BaseException as error:
            ended.put(error)

    thread = threading.Thread(target=wait)
    thread.start()
    pool.terminate()
    pool.join()
    thread.join()
    assert type(ended.get()).__name__ == "CancelledError"


@pytest.mark.parametrize("sized", [True, False])
def test_limit_that_is_lifted_while_a_result_is_taken_stays_lifted(pool, sized):
    class Gauge:
        """As that of an engine that has no room, which is closed at the worst moment."""

        def note(self, future):
            results._feed.lift_the_limit()
            return True

        def has_room(self, ahead):
            return ahead == 0

    items = range(50)
    results = pool.imap(tasks.square, items if sized else iter(items), buffersize=2)
    results._feed.gauge = Gauge()
    assert next(results) == 0
    assert (results._feed.gauge, results._feed.asked_gauge) == (None, None)
    pool.close()
    pool.join()
    assert list(results) == [number**2 for number in items[1:]]
