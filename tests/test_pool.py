"""`Pool`: what its methods promise beyond what the contract suite compares with the standard library."""

import pickle
import queue
import threading
from functools import partial

import pytest

import paceline
import tasks
from paceline import Pool, PoolClosed

# -- one call ----------------------------------------------------------------------------------------------------------


def test_apply_passes_arguments_and_keywords(pool):
    assert pool.apply(tasks.collect, (1, 2), {"key": [3]}) == ((1, 2), {"key": [3]})
    assert pool.apply(tasks.collect, [1]) == ((1,), {})
    assert pool.apply(tasks.collect) == ((), {})


def test_submit_passes_everything_to_the_function(pool):
    assert pool.submit(tasks.collect, 1, fn=2, args=3).result() == ((1,), {"fn": 2, "args": 3})


def test_functions_raise_at_home_what_they_raise_there(pool):
    with pytest.raises(ValueError, match=r"^no$"):
        pool.apply(tasks.fail)


def test_calls_of_many_threads_all_arrive(pool):
    results = {}

    def submit(first):
        results[first] = [pool.apply(tasks.square, (number,)) for number in range(first, first + 50)]

    threads = [threading.Thread(target=submit, args=(first,)) for first in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {first: [number**2 for number in range(first, first + 50)] for first in range(0, 400, 50)}


def test_threads_can_submit_functions_by_value_at_once(pool):
    failures = queue.SimpleQueue()
    barrier = threading.Barrier(4)

    def submit(number):
        table = [number]
        barrier.wait()
        for item in range(50):
            try:
                result = pool.apply(lambda x: x + table[0], (item,))
                assert result == item + number
            except BaseException as error:
                failures.put(error)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures.empty(), failures.get()


def test_20_000_single_calls_come_back_in_order(pool):
    futures = [pool.apply_async(tasks.square, (number,)) for number in range(20_000)]
    assert [future.get() for future in futures] == [number * number for number in range(20_000)]


# -- callbacks ---------------------------------------------------------------------------------------------------------


def test_callbacks_have_been_called_when_get_returns(pool):
    results = []
    failures = []
    good = pool.apply_async(tasks.square, (3,), callback=results.append, error_callback=failures.append)
    bad = pool.apply_async(tasks.fail, callback=results.append, error_callback=failures.append)
    assert good.get() == 9
    assert results == [9]
    bad.wait()
    assert [str(error) for error in failures] == ["no"]


def test_callbacks_run_on_one_thread_that_is_not_the_callers(pool):
    threads = set()
    futures = [
        pool.apply_async(tasks.square, (n,), callback=lambda _: threads.add(threading.get_ident())) for n in range(200)
    ]
    for future in futures:
        future.wait()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_callbacks_are_called_in_the_order_of_completion(pool, gate):
    order = []
    held = pool.apply_async(tasks.through, (gate.path, "held"), callback=order.append)
    gate.wait_for_arrival()
    quick = pool.apply_async(tasks.identity, ("quick",), callback=order.append)
    quick.wait()
    gate.let_through()
    held.wait()
    assert order == ["quick", "held"]


def test_join_waits_for_callbacks():
    results = []
    pool = Pool(2)
    for number in range(100):
        pool.apply_async(tasks.square, (number,), callback=results.append)
    pool.map_async(tasks.square, range(3), callback=results.extend)
    pool.close()
    pool.join()
    assert sorted(results) == sorted([number * number for number in range(100)] + [0, 1, 4])


def test_callback_that_raises_is_logged_and_harms_nothing(pool, caplog):
    def callback(_):
        raise KeyError("in the callback")

    assert pool.apply_async(tasks.square, (3,), callback=callback).get() == 9
    assert pool.apply(tasks.square, (4,)) == 16
    assert "exception calling callback" in caplog.text
    assert "in the callback" in caplog.text
    caplog.clear()


def test_callback_may_submit_more_work(pool):
    done = threading.Event()
    results = []

    def second(result):
        results.append(result)
        done.set()

    pool.apply_async(
        tasks.square, (2,), callback=lambda result: pool.apply_async(tasks.square, (result,), callback=second)
    )
    assert done.wait(30)
    assert results == [16]


def test_callback_may_ask_for_its_own_result(pool):
    results = []
    ready = threading.Event()
    future = None

    def callback(_):
        ready.wait(30)
        results.append((future.ready(), future.get()))

    future = pool.apply_async(tasks.square, (3,), callback=callback)
    ready.set()
    assert future.get() == 9
    assert results == [(True, 9)]


def test_cancelled_call_calls_neither_callback(pool, gate):
    called = []
    for _ in range(2):
        pool.apply_async(tasks.through, (gate.path,))
    for _ in range(2):
        gate.wait_for_arrival()
    future = pool.apply_async(tasks.square, (1,), callback=called.append, error_callback=called.append)
    assert future.cancel()
    future.wait()
    gate.let_through(2)
    assert called == []


# -- maps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 10, 1000])
def test_map_keeps_the_order(pool, count, chunksize):
    assert pool.map(tasks.square, range(count), chunksize) == [number * number for number in range(count)]


def test_map_of_a_million_items(pool):
    assert pool.map(tasks.identity, range(10**6)) == list(range(10**6))


def test_map_reads_an_iterator_to_its_end_first(pool):
    assert pool.map(tasks.square, iter([1, 2, 3])) == [1, 4, 9]
    assert pool.map(tasks.square, {1: "a", 2: "b"}) == [1, 4]


def test_map_raises_what_the_first_failed_item_in_order_raised(pool):
    with pytest.raises(ValueError, match=r"^bad 3$"):
        pool.map(partial(tasks.fail_on, 3), range(10))
    assert pool.map(tasks.square, range(3)) == [0, 1, 4]


def test_map_raises_what_its_input_raises(pool):
    def items():
        yield 1
        raise KeyError("input")

    with pytest.raises(KeyError, match="input"):
        pool.map(tasks.square, items())
    assert pool.map(tasks.square, [2]) == [4]


def test_map_with_an_item_that_cannot_be_pickled_runs_nothing(pool):
    with pytest.raises(paceline.ArgumentNotPicklable):
        pool.map(tasks.square, [1, tasks.Unpicklable()])
    assert pool.report().items == 0


def test_map_callbacks_get_the_list_or_the_exception(pool):
    results = []
    pool.map_async(tasks.square, range(3), callback=results.append).wait()
    pool.map_async(tasks.fail, "ab", error_callback=results.append).wait()
    pool.starmap_async(tasks.add, [(1, 2)], callback=results.append).wait()
    assert results[0] == [0, 1, 4]
    assert str(results[1]) == "a"
    assert results[2] == [3]


def test_starmap_unpacks_any_iterable(pool):
    assert pool.starmap(tasks.add, [(1, 2), [3, 4], "56", iter((7, 8)) and (7,)]) == [3, 7, "56", 7]
    assert pool.starmap(tasks.add, zip(range(100), range(100), strict=True)) == [2 * number for number in range(100)]


@pytest.mark.parametrize("chunksize", [0, -1])
def test_chunksize_below_one_is_refused(pool, chunksize):
    for method in (pool.map, pool.starmap, pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match=r"(?i)chunksize must be"):
            method(tasks.square, [1], chunksize)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_closed_pool_refuses_every_call_with_either_name():
    pool = Pool(1)
    pool.close()
    for method in (pool.apply, pool.apply_async, pool.submit):
        for error in (ValueError, RuntimeError, PoolClosed):
            with pytest.raises(error, match="Pool not running"):
                method(tasks.pid)
    for method in (pool.map, pool.map_async, pool.starmap, pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="Pool not running"):
            method(tasks.square, [])
    with pytest.raises(ValueError, match="Pool not running"):
        pool.__enter__()
    pool.join()


def test_leaving_with_waits_for_what_was_submitted(tmp_path):
    path = str(tmp_path / "notes")
    with Pool(2) as pool:
        for number in range(100):
            pool.apply_async(tasks.note, (path, number))
    assert len((tmp_path / "notes").read_text().split()) == 100


def test_leaving_with_an_exception_ends_everything_at_once(gate):
    with pytest.raises(KeyError), Pool(1) as pool:  # noqa: PT012 - the `with` is what is tested.
        future = pool.apply_async(tasks.through, (gate.path,))
        gate.wait_for_arrival()
        raise KeyError
    assert future.cancelled()


def test_number_of_processes_is_checked_and_kept():
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="Number of processes must be at least 1"):
            Pool(wrong)
    with Pool(3, name="three") as pool:
        assert repr(pool) == "<paceline.Pool name='three' state=RUN pool_size=3>"


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "1"])
def test_maxtasksperchild_is_checked(wrong):
    with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
        Pool(1, maxtasksperchild=wrong)


def test_maxtasksperchild_replaces_workers():
    with Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(tasks.pid) for _ in range(6)]
    assert len(set(pids)) == 3
    assert pids[0] == pids[1]


def test_initializer_runs_once_in_each_worker(tmp_path):
    path = str(tmp_path / "notes")
    with Pool(2, tasks.note, (path, "here")) as pool:
        assert pool.map(tasks.square, range(100)) == [number * number for number in range(100)]
    assert (tmp_path / "notes").read_text().split() == ["here", "here"]


def test_initializer_sets_a_global_for_the_tasks():
    with Pool(2, tasks.set_shared, ([1, 2],)) as pool:
        assert pool.map(tasks.get_shared, range(10)) == [[1, 2]] * 10


def test_initializer_must_be_callable_and_picklable():
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Pool(1, initializer=5)
    with pytest.raises(paceline.ArgumentNotPicklable, match="positional argument 1"):
        Pool(1, tasks.collect, (1, tasks.Unpicklable()))


def test_pool_cannot_be_pickled(pool):
    with pytest.raises(NotImplementedError, match="cannot be passed between processes or pickled"):
        pickle.dumps(pool)


def test_report_accounts_for_every_item(pool):
    pool.apply(tasks.spin, (1,))
    pool.map(tasks.spin, range(100))
    report = pool.report()
    assert report.items == 101
    assert sorted(index for worker in report.workers for index in worker.indices) == list(range(101))
    assert report.work_seconds > 0
    assert 0 < report.wall_seconds < 60
    assert len({worker.pid for worker in report.workers}) == len(report.workers) <= 2


def test_workers_draw_different_random_numbers():
    def draw(_):
        import random

        return random.random()

    with Pool(2) as pool:
        assert len(set(pool.map(draw, range(100), 1))) == 100


# -- one line ----------------------------------------------------------------------------------------------------------


def test_map_in_one_line():
    assert paceline.map(tasks.square, range(10)) == [number * number for number in range(10)]
    assert paceline.map(tasks.square, iter([2]), workers=1, chunksize=1) == [4]
    assert paceline.map(tasks.square, []) == []
    assert paceline.starmap(tasks.add, [(1, 2), (3, 4)], 2) == [3, 7]
    assert paceline.starmap(tasks.add, iter([])) == []


def test_map_in_one_line_checks_its_workers():
    with pytest.raises(ValueError, match="at least 1"):
        paceline.map(tasks.square, [1], workers=0)
