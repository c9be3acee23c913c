"""`on_error` and `max_failures`: one bad input costs one result, and too many end the map."""

import asyncio
import logging
import time

import pytest

import paceline
import tasks
from paceline import (
    ArgumentNotPicklable,
    Pool,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    TooManyFailures,
    WorkerDied,
)

BACKENDS = ["processes", "threads", "serial"]


def odd_fails(value):
    if value % 2:
        raise KeyError(value)
    return value * 10


def shape(results):
    """Results as they are, failures by what they say."""
    return [f"{type(one).__name__}({one})" if isinstance(one, Exception) else one for one in results]


RETURNED = [0, "KeyError(1)", 20, "KeyError(3)", 40, "KeyError(5)"]
SKIPPED = [0, 20, 40]


@pytest.fixture(params=BACKENDS)
def any_pool(request):
    with Pool(2, backend=request.param) as pool:
        yield pool


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_failures_are_returned_in_the_place_of_results(any_pool, chunksize):
    assert shape(any_pool.map(odd_fails, range(6), chunksize, on_error="return")) == RETURNED
    assert shape(any_pool.map_async(odd_fails, range(6), chunksize, on_error="return").get()) == RETURNED


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_failures_are_skipped(any_pool, chunksize):
    assert any_pool.map(odd_fails, range(6), chunksize, on_error="skip") == SKIPPED


def test_failures_of_starmap(any_pool):
    items = [(number,) for number in range(6)]
    assert shape(any_pool.starmap(odd_fails, items, on_error="return")) == RETURNED
    assert any_pool.starmap_async(odd_fails, items, on_error="skip").get() == SKIPPED


@pytest.mark.parametrize("chunksize", [1, 4])
def test_failures_of_iterators(any_pool, chunksize):
    assert shape(any_pool.imap(odd_fails, range(6), chunksize, on_error="return")) == RETURNED
    assert list(any_pool.imap(odd_fails, range(6), chunksize, on_error="skip")) == SKIPPED
    assert sorted(any_pool.imap_unordered(odd_fails, range(6), chunksize, on_error="skip")) == SKIPPED
    assert shape(any_pool.imap(odd_fails, iter(range(6)), chunksize, on_error="return")) == RETURNED


def test_failures_of_awaited_maps(any_pool):
    async def main(**options):
        return [result async for result in any_pool.amap(odd_fails, range(6), **options)]

    assert shape(asyncio.run(main(on_error="return"))) == RETURNED
    assert asyncio.run(main(on_error="skip", chunksize=4)) == SKIPPED
    with pytest.raises(TooManyFailures):
        asyncio.run(main(on_error="skip", max_failures=1))


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
@pytest.mark.parametrize("chunksize", [1, 4])
def test_failures_of_executors(kind, chunksize):
    with kind(2) as executor:
        assert shape(executor.map(odd_fails, range(6), chunksize=chunksize, on_error="return")) == RETURNED
        assert list(executor.map(odd_fails, range(6), chunksize=chunksize, on_error="skip")) == SKIPPED
        unordered = executor.map_unordered(odd_fails, range(6), chunksize=chunksize, on_error="skip")
        assert sorted(unordered) == SKIPPED
        with pytest.raises(TooManyFailures):
            list(executor.map(odd_fails, range(6), on_error="skip", max_failures=2))


def test_failures_of_the_one_line_calls():
    assert shape(paceline.map(odd_fails, range(6), on_error="return")) == RETURNED
    assert paceline.starmap(odd_fails, [(1,), (2,)], on_error="skip") == [20]


def test_ordinary_map_raises_the_first_failure_in_order(any_pool):
    with pytest.raises(KeyError, match="1"):
        any_pool.map(odd_fails, range(6), 2)


def test_death_is_a_failure_like_any_other(pool):
    results = pool.map(lambda value: tasks.die_on(3, value), range(6), 3, on_error="return")
    assert results[:3] + results[4:] == [0, 1, 2, 4, 5]
    assert isinstance(results[3], WorkerDied)
    assert (results[3].index, results[3].arguments) == (3, "(3,)")


def test_returned_exception_is_a_result_like_any_other(any_pool):
    results = any_pool.map(ValueError, ["x"], on_error="skip")
    assert shape(results) == ["ValueError(x)"]


def test_too_many_failures_end_the_map(any_pool, tmp_path):
    path = str(tmp_path / "notes")

    def work(value):
        tasks.note(path, value)
        if value % 2:
            raise KeyError(value)
        time.sleep(0.001)
        return value

    with pytest.raises(TooManyFailures) as caught:
        any_pool.map(work, range(10_000), 1, on_error="skip", max_failures=3)
    error = caught.value
    assert 4 <= len(error.failures) < 200
    assert all(isinstance(failure, KeyError) and index % 2 for index, failure in error.failures.items())
    assert all(result == index for index, result in error.results.items())
    begun = len((tmp_path / "notes").read_text().split())
    assert begun == len(error.failures) + len(error.results)
    assert begun < 5_000
    assert "more than `max_failures` allows" in str(error)
    assert any_pool.map(tasks.square, range(5)) == [0, 1, 4, 9, 16]


def test_as_many_failures_as_allowed_end_nothing(any_pool):
    assert any_pool.map(odd_fails, range(6), 1, on_error="skip", max_failures=3) == SKIPPED


def test_map_that_raises_ends_at_the_first_failure_if_none_is_allowed(any_pool):
    with pytest.raises(KeyError):
        any_pool.map(odd_fails, range(1000), 1, max_failures=0)


def test_too_many_failures_end_an_iterator(any_pool):
    iterator = any_pool.imap(odd_fails, range(1000), on_error="skip", max_failures=1)
    assert next(iterator) == 0
    assert next(iterator) == 20
    with pytest.raises(TooManyFailures) as caught:
        next(iterator)
    assert sorted(caught.value.failures) == [1, 3]


def test_failure_is_shown_when_it_happens(gate, caplog):
    def work(value):
        if value == 1:
            raise KeyError(value)
        return tasks.through(gate.path, value) if value == 5 else value

    with Pool(2) as pool, caplog.at_level(logging.WARNING, logger="paceline"):
        future = pool.map_async(work, range(6), 1, on_error="skip")
        gate.wait_for_arrival()
        deadline = time.monotonic() + 60
        while not caplog.records:
            assert time.monotonic() < deadline, "the failure is shown while the map goes on"
            time.sleep(0.005)
        assert not future.ready()
        gate.let_through()
        assert future.get(30) == [0, 2, 3, 4, 5]
    (record,) = caplog.records
    assert record.getMessage().endswith("work[1] failed: KeyError: 1")


def test_failures_of_iterators_are_shown_with_the_items_own_index(caplog):
    with Pool(2) as pool, caplog.at_level(logging.WARNING, logger="paceline"):
        list(pool.imap(odd_fails, range(6), 4, on_error="skip"))
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"odd_fails[{number}] failed: KeyError: {number}" for number in (1, 3, 5)
    ]


def test_ordinary_map_shows_nothing(pool, caplog):
    with pytest.raises(KeyError):
        pool.map(odd_fails, range(6))
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"on_error": "ignore"}, ValueError),
        ({"on_error": None}, ValueError),
        ({"max_failures": -1}, ValueError),
        ({"max_failures": 1.5}, TypeError),
    ],
)
def test_policy_that_makes_no_sense_is_refused_at_once(any_pool, options, error):
    for call in (any_pool.map, any_pool.map_async, any_pool.imap, any_pool.imap_unordered):
        with pytest.raises(error):
            call(odd_fails, [1], **options)


class StaysAtHome:
    def __reduce__(self):
        raise TypeError("it stays at home")


def test_an_argument_that_cannot_be_pickled_costs_no_other_item_of_its_chunk(pool):
    items = [-1, -2, StaysAtHome(), -4, -5, -6, -7]
    results = pool.imap(abs, items, 5, on_error="return")
    assert [results.next(20), results.next(20)] == [1, 2]
    failure = results.next(20)
    assert isinstance(failure, ArgumentNotPicklable)
    assert "cannot pickle an argument, a `test_failure_policy.StaysAtHome`: it stays at home" in str(failure)
    assert list(results) == [4, 5, 6, 7]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_an_argument_that_cannot_be_pickled_fails_like_any_other_item(pool, executor, chunksize):
    items = [-1, StaysAtHome(), -3, -4]

    async def through_amap():
        return [result async for result in pool.amap(abs, items, chunksize=chunksize, on_error="skip")]

    assert pool.map(abs, items, chunksize, on_error="skip") == [1, 3, 4]
    assert sorted(pool.imap_unordered(abs, items, chunksize, on_error="skip")) == [1, 3, 4]
    assert list(executor.map(abs, items, chunksize=chunksize, on_error="skip")) == [1, 3, 4]
    assert asyncio.run(through_amap()) == [1, 3, 4]
    with pytest.raises(TooManyFailures) as caught:
        pool.map(abs, items, chunksize, on_error="return", max_failures=0)
    assert isinstance(caught.value.failures[1], ArgumentNotPicklable)
    with pytest.raises(ArgumentNotPicklable):
        pool.map(abs, items, chunksize)


def late_if_early(number):
    time.sleep((3 - number) * 0.2)
    if number < 2:
        raise ValueError(number)
    return number


@pytest.mark.parametrize("backend", BACKENDS[:2])
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_too_many_failures_of_iterators_are_told_by_the_index_of_the_item(backend, method):
    with Pool(2, backend=backend) as pool, pytest.raises(TooManyFailures) as caught:
        list(getattr(pool, method)(late_if_early, range(3), on_error="skip", max_failures=1))
    assert {index: error.args for index, error in caught.value.failures.items()} == {0: (0,), 1: (1,)}


def test_what_was_not_sent_is_shown_as_such(pool):
    (failure,) = pool.starmap(max, [(StaysAtHome(), 1)], on_error="return")
    details = failure.__cause__.details
    assert details.startswith("task `max[0]` called with (<what cannot be pickled>"), details


def test_items_before_one_that_cannot_be_pickled_are_had(executor):
    results = executor.map(abs, [-1, -2, StaysAtHome(), -4], chunksize=4)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ArgumentNotPicklable):
        next(results)
