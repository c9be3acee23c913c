"""What the pools of `multiprocessing` do and ours must do as well: every test runs on theirs, as oracles, and on ours.

Where they differ on purpose nothing is asked here, but in `test_differences.py`.
"""

import multiprocessing
import pickle
import queue
import threading
from functools import partial

import pytest
from backends import POOLS

import tasks

WAIT_S = 60


@pytest.fixture(scope="module", params=POOLS, ids=lambda backend: backend.name)
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def make(backend, request):
    if backend.cluster is None:
        return backend.make
    return partial(backend.make, backend=request.getfixturevalue(backend.cluster))


@pytest.fixture(scope="module")
def slow_pool(backend, make):
    """One for all tests, since the standard one takes long to start."""
    if backend.ours:
        yield None
        return
    pool = make(2)
    pool.map(tasks.identity, range(2))
    yield pool
    pool.close()
    pool.join()


@pytest.fixture
def pool(slow_pool, make):
    if slow_pool is not None:
        yield slow_pool
        return
    with make(2) as pool:
        yield pool


# -- apply -------------------------------------------------------------------------------------------------------------


def test_apply(pool):
    assert pool.apply(tasks.collect) == ((), {})
    assert pool.apply(tasks.collect, (1,)) == ((1,), {})
    assert pool.apply(tasks.collect, [1, 2], {"a": 3}) == ((1, 2), {"a": 3})
    assert pool.apply(tasks.collect, kwds={"a": 3}) == ((), {"a": 3})
    assert pool.apply(func=tasks.collect, args=(1,)) == ((1,), {})


@pytest.mark.apart
def test_apply_raises_what_the_function_raises_with_the_remote_traceback_as_cause(pool):
    with pytest.raises(ValueError, match=r"^no$") as caught:
        pool.apply(tasks.fail)
    assert type(caught.value) is ValueError
    assert caught.value.args == ("no",)
    text = str(caught.value.__cause__)
    assert text.startswith('\n"""\nTraceback (most recent call last):')
    assert "raise ValueError(message)" in text


def test_call_with_wrong_arguments_raises_type_error(pool):
    with pytest.raises(TypeError, match="positional argument"):
        pool.apply(tasks.square)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        pool.apply(tasks.square, (1,), {"x": 1})
    with pytest.raises(TypeError, match="not callable"):
        pool.apply(5)


@pytest.mark.parametrize("kind", [KeyError, OSError, StopIteration, TimeoutError, ZeroDivisionError, UnicodeError])
def test_exceptions_keep_their_type_and_arguments(pool, kind):
    with pytest.raises(kind) as caught:
        pool.apply(tasks.raise_error, (kind, 2, "text"))
    assert caught.value.args == (2, "text")


VALUES = [None, True, 0, -1, 2**31, 2**63, 2**64, -(2**70), 1.5, float("inf"), 1j, "", "ä\ud800", b"", b"x" * 1000, ...]
VALUES += [(), (1,), ((((((1,),),),),),), tuple(range(300)), [], [[1], [2]], {}, {"a": [1]}, {1, 2}, frozenset({1})]
VALUES += [range(3), bytearray(b"x"), int, len]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_values_of_every_kind_come_back_equal_and_of_their_type(pool, value):
    result = pool.apply(tasks.identity, (value,))
    assert result == value
    assert type(result) is type(value)


def test_two_places_that_share_an_object_still_do(pool):
    inner = []
    result = pool.apply(tasks.identity, ([inner, inner],))
    assert result[0] is result[1]
    args, kwargs = pool.apply(tasks.collect, (inner,), {"same": inner})
    assert args[0] is kwargs["same"]


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.beside
def test_result_is_polled_waited_for_and_asked(pool, gate):
    result = pool.apply_async(tasks.through, (gate.path, "value"))
    assert result.ready() is False
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.01)
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0)
    result.wait(0.01)
    assert result.ready() is False
    gate.let_through()
    result.wait()
    assert result.ready() is True
    assert result.successful() is True
    assert result.get() == "value"
    assert result.get(0) == "value"


def test_failed_result_is_ready_and_not_successful(pool):
    result = pool.apply_async(tasks.fail)
    result.wait(WAIT_S)
    assert result.ready() is True
    assert result.successful() is False
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            result.get()


def test_callbacks_are_called_before_get_returns(pool):
    called = []
    result = pool.apply_async(tasks.square, (2,), callback=called.append, error_callback=called.append)
    assert result.get() == 4
    assert called == [4]
    result = pool.apply_async(tasks.fail, callback=called.append, error_callback=called.append)
    result.wait(WAIT_S)
    assert type(called[1]) is ValueError
    pool.map_async(tasks.square, [1, 2], callback=called.append).wait(WAIT_S)
    assert called[2] == [1, 4]
    pool.starmap_async(tasks.add, [(1, 2)], callback=called.append).wait(WAIT_S)
    assert called[3] == [3]


@pytest.mark.apart
def test_callbacks_run_in_one_thread_beside_the_caller(pool):
    seen = queue.SimpleQueue()
    for number in range(20):
        pool.apply_async(tasks.identity, (number,), callback=lambda _: seen.put(threading.get_ident()))
    threads = {seen.get(timeout=WAIT_S) for _ in range(20)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


# -- map ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 2, 1000])
@pytest.mark.parametrize("count", [0, 1, 9, 100])
def test_map_and_starmap(pool, count, chunksize):
    assert pool.map(tasks.square, range(count), chunksize) == [number * number for number in range(count)]
    assert pool.map(tasks.square, iter(range(count)), chunksize=chunksize) == list(map(tasks.square, range(count)))
    pairs = [(number, 1) for number in range(count)]
    assert pool.starmap(tasks.add, pairs, chunksize) == [number + 1 for number in range(count)]
    assert pool.map_async(tasks.square, range(count), chunksize).get(WAIT_S) == list(map(tasks.square, range(count)))
    assert pool.starmap_async(tasks.add, iter(pairs), chunksize).get(WAIT_S) == [number + 1 for number in range(count)]


def test_map_takes_any_iterable(pool):
    assert pool.map(tasks.identity, "abc") == ["a", "b", "c"]
    assert pool.map(tasks.identity, {"k": 1}) == ["k"]
    assert pool.map(tasks.identity, (number for number in (1, 2))) == [1, 2]
    assert pool.starmap(tasks.collect, ["ab", [1], ()]) == [(("a", "b"), {}), ((1,), {}), ((), {})]


def test_map_of_what_cannot_be_iterated_raises_type_error(pool):
    for method in (pool.map, pool.map_async, pool.starmap):
        with pytest.raises(TypeError, match="iterable"):
            method(tasks.square, 5)


def test_map_raises_what_an_item_raises(pool):
    with pytest.raises(ValueError, match="bad 3"):
        pool.map(partial(tasks.fail_on, 3), range(5))
    result = pool.map_async(partial(tasks.fail_on, 3), range(5))
    with pytest.raises(ValueError, match="bad 3"):
        result.get(WAIT_S)
    assert not result.successful()


def test_map_raises_what_its_input_raises(pool):
    with pytest.raises(KeyError, match="input"):
        pool.map(tasks.square, broken_input(3), 1)
    assert pool.map(tasks.square, [3]) == [9]


def broken_input(count):
    yield from range(count)
    raise KeyError("input")


# -- imap --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
def test_imap_and_imap_unordered(pool, chunksize):
    expected = [number * number for number in range(100)]
    assert list(pool.imap(tasks.square, range(100), chunksize)) == expected
    assert list(pool.imap(tasks.square, iter(range(100)), chunksize=chunksize)) == expected
    assert sorted(pool.imap_unordered(tasks.square, range(100), chunksize)) == expected
    assert list(pool.imap(tasks.square, [], chunksize)) == []
    assert list(pool.imap_unordered(tasks.square, [], chunksize)) == []


def test_imap_is_an_iterator_that_ends(pool):
    results = pool.imap(tasks.square, [3])
    assert iter(results) is results
    assert next(results) == 9
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


@pytest.mark.beside
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_imap_next_times_out_and_loses_nothing(pool, gate, method):
    results = getattr(pool, method)(partial(tasks.through, gate.path), [7])
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(timeout=0.01)
    gate.let_through()
    assert results.next(WAIT_S) == 7


def test_imap_raises_in_place_and_goes_on(pool):
    results = pool.imap(partial(tasks.fail_on, 1), range(3))
    assert next(results) == 0
    with pytest.raises(ValueError, match="bad 1"):
        next(results)
    assert next(results) == 2


@pytest.mark.parametrize("chunksize", [1, 2, 4])
def test_imap_raises_what_its_input_raises_at_its_place(pool, chunksize):
    whole = 6 // chunksize * chunksize
    results = pool.imap(tasks.square, broken_input(6), chunksize)
    assert [next(results) for _ in range(whole)] == [number * number for number in range(whole)]
    with pytest.raises(KeyError, match="input"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_imap_unordered_raises_what_its_input_raises(pool):
    results = pool.imap_unordered(tasks.square, broken_input(4))
    seen = []
    with pytest.raises(KeyError, match="input"):
        seen.extend(results)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [0, -1])
def test_imap_refuses_a_chunksize_below_one(pool, method, chunksize):
    with pytest.raises(ValueError, match=r"Chunksize must be 1\+"):
        getattr(pool, method)(tasks.square, [1], chunksize)


@pytest.mark.beside
def test_imap_waits_for_an_input_that_blocks(pool):
    items = queue.SimpleQueue()
    results = pool.imap(tasks.square, iter(items.get, None))
    for number in range(3):
        items.put(number)
        assert next(results) == number * number
    items.put(None)
    assert list(results) == []


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_wrong_options_are_refused(make):
    with pytest.raises(ValueError, match="Number of processes must be at least 1"):
        make(0)
    with pytest.raises(ValueError, match="Number of processes must be at least 1"):
        make(processes=-1)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(1, initializer="x")


@pytest.mark.apart
def test_wrong_numbers_of_tasks_are_refused(make):
    with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
        make(1, maxtasksperchild=0)
    with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
        make(1, maxtasksperchild=1.0)


def test_initializer_and_end_of_a_pool(make):
    pool = make(1, tasks.set_shared, ("set",))
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    assert pool.apply(tasks.get_shared) == "set"
    late = pool.map_async(tasks.square, range(100))
    unread = pool.imap(tasks.square, range(100))
    pool.close()
    pool.close()
    for call in (pool.apply, pool.apply_async):
        with pytest.raises(ValueError, match="Pool not running"):
            call(tasks.square, (1,))
    for call in (pool.map, pool.map_async, pool.imap, pool.imap_unordered, pool.starmap, pool.starmap_async):
        with pytest.raises(ValueError, match="Pool not running"):
            call(tasks.square, [1])
    with pytest.raises(ValueError, match="Pool not running"):
        pool.__enter__()
    pool.join()
    assert late.get(0) == [number * number for number in range(100)]
    assert list(unread) == [number * number for number in range(100)]


@pytest.mark.apart
def test_with_block_gives_the_pool_and_terminate_ends_it(make, gate):
    with make(1, maxtasksperchild=1) as pool:
        pids = [pool.apply(tasks.pid) for _ in range(3)]
        assert len(set(pids)) == 3
        pool.apply_async(tasks.through, (gate.path,))
        gate.wait_for_arrival()
        pool.terminate()
        pool.terminate()
        pool.join()


def test_pool_cannot_be_pickled(pool):
    with pytest.raises(NotImplementedError, match="pool objects cannot be passed between processes or pickled"):
        pickle.dumps(pool)


@pytest.mark.apart
def test_unpicklable_result_raises_and_the_pool_goes_on(pool):
    with pytest.raises(Exception, match="stays at home"):
        pool.apply(tasks.unpicklable_result)
    assert pool.apply(tasks.square, (3,)) == 9
