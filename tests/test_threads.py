"""What is special about a pool of threads: nothing is pickled, threads start on demand, and none can be stopped."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import itertools
import logging
import pickle
import sys
import threading
import traceback
import weakref
from concurrent.futures.thread import BrokenThreadPool

import pytest

import paceline
import tasks

WAIT_S = 60


@pytest.fixture
def pool():
    with paceline.Pool(2, backend="threads", name="mine") as pool:
        yield pool


class Door:
    """Where tasks of this process wait until the test lets them through."""

    def __init__(self):
        self.arrived = threading.Semaphore(0)
        self.open = threading.Event()

    def through(self, value=None):
        self.arrived.release()
        assert self.open.wait(WAIT_S)
        return value

    def wait_for_arrival(self):
        assert self.arrived.acquire(timeout=WAIT_S)


@pytest.fixture
def door():
    door = Door()
    yield door
    door.open.set()


# -- objects, not bytes ------------------------------------------------------------------------------------------------


def test_function_arguments_and_result_are_the_objects_themselves(pool):
    lock = threading.Lock()
    future = pool.submit(lambda *args, **kwargs: (args[0], kwargs["key"]), lock, key=pool)
    assert future.result()[0] is lock
    assert future.result()[1] is pool


def test_map_gives_results_in_order_and_as_objects(pool):
    items = [object() for _ in range(1000)]
    results = pool.map(lambda item: item, items)
    assert all(one is other for one, other in zip(items, results, strict=True))


@pytest.mark.parametrize("chunksize", [None, 1, 7, 10_000])
def test_map_with_any_chunksize_gives_every_result(pool, chunksize):
    assert pool.map(tasks.square, range(5000), chunksize) == [number**2 for number in range(5000)]
    assert pool.starmap(tasks.add, [(1, 2), [3, 4]], chunksize) == [3, 7]
    assert pool.map(tasks.square, [], chunksize) == []


def test_map_leaves_the_callers_list_alone(pool):
    items = [1, 2, 3]
    assert pool.map(tasks.square, items) == [1, 4, 9]
    assert items == [1, 2, 3]


def test_map_raises_what_the_first_failed_item_raised_when_all_have_ended(pool):
    seen = []

    def fail_at_three_and_five(number):
        seen.append(number)
        if number in {3, 5}:
            raise ValueError(number)
        return number

    future = pool.map_async(fail_at_three_and_five, range(50))
    with pytest.raises(ValueError, match=r"^3$"):
        future.result()
    assert sorted(seen) == list(range(50))
    values, error = future.prefix()
    assert values == [0, 1, 2]
    assert error.args == (3,)


def test_exception_is_the_one_that_was_raised_with_the_frames_of_the_function_alone(pool):
    error = ValueError("no")

    def fail():
        raise error

    future = pool.submit(fail)
    assert future.exception() is error
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == ["fail"]
    with pytest.raises(ValueError, match="no") as caught:
        future.result()
    assert caught.value is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_exceptions_that_would_end_a_program_end_the_call_only(pool, error):
    future = pool.submit(tasks.raise_error, type(error))
    assert type(future.exception()) is type(error)
    assert pool.submit(tasks.identity, 1).result() == 1


class Thing:
    pass


def test_arguments_and_result_are_held_by_nobody_after_the_end(pool):
    argument, result = Thing(), Thing()
    watched = weakref.ref(argument), weakref.ref(result)
    box = [result]
    future = pool.submit(lambda _: box.pop(), argument)
    del argument, result
    future.wait()
    assert watched[0]() is None
    assert future.result() is watched[1]()
    del future
    assert watched[1]() is None


def test_exception_does_not_keep_its_future(pool):
    def call():
        future = pool.submit(tasks.fail, "no")
        try:
            future.result()
        except ValueError as error:
            return weakref.ref(future), error.with_traceback(None)

    gc.disable()
    try:
        future, error = call()
        assert future() is None
        assert error.args == ("no",)
    finally:
        gc.enable()


def test_future_in_a_circle_with_its_result_is_collected(pool):
    thing = Thing()
    thing.future = pool.submit(tasks.identity, thing)
    thing.future.wait()
    watched = weakref.ref(thing)
    del thing
    gc.collect()
    assert watched() is None


def test_coroutine_functions_are_run_to_their_end(pool):
    async def square(number):
        await asyncio.sleep(0)
        return number**2, paceline.task_random().random()

    assert pool.submit(square, 3).result()[0] == 9
    results = pool.map(square, range(5))
    assert [number for number, _ in results] == [0, 1, 4, 9, 16]
    assert len({drawn for _, drawn in results}) == 5


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_start_when_there_is_work_for_them_and_not_before(door):
    with paceline.Pool(3, backend="threads") as pool:
        assert pool._engine.threads() == []
        pool.submit(door.through)
        door.wait_for_arrival()
        assert len(pool._engine.threads()) == 1
        pool.submit(door.through)
        door.wait_for_arrival()
        assert len(pool._engine.threads()) == 2
        door.open.set()


def test_idle_thread_is_used_before_another_is_started():
    with paceline.Pool(3, backend="threads") as pool:
        for _ in range(20):
            assert pool.apply(tasks.identity, (1,)) == 1
            # Its thread is idle once it has gone to rest, which is a moment after the result is there.
            while pool._engine.idle_threads() < len(pool._engine.threads()):
                pass
        assert len(pool._engine.threads()) == 1


def test_threads_are_daemons_named_after_their_pool(pool, door):
    names = {pool.submit(threading.current_thread).result().name for _ in range(3)}
    assert names <= {"mine_0", "mine_1"}
    assert all(thread.daemon for thread in pool._engine.threads())
    with paceline.Pool(1, backend="threads") as unnamed:
        assert unnamed.apply(lambda: threading.current_thread().name).startswith("paceline-")


def test_tasks_run_side_by_side_in_as_many_threads_as_there_are_workers(pool):
    barrier = threading.Barrier(2)
    threads = pool.map(lambda _: (barrier.wait(WAIT_S), threading.get_ident())[1], range(2), 1)
    assert len(set(threads)) == 2


def test_task_may_wait_for_another_of_its_pool(pool):
    assert pool.submit(lambda: pool.submit(tasks.square, 3).result()).result() == 9


def test_submitting_from_many_threads_loses_nothing(pool):
    def submit(base):
        futures = [pool.submit(tasks.identity, base + number) for number in range(500)]
        results[base] = [future.result() for future in futures]

    results = {}
    threads = [threading.Thread(target=submit, args=(base,)) for base in range(0, 4000, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[base] == list(range(base, base + 500)) for base in range(0, 4000, 1000))


def test_function_in_c_does_not_keep_the_interpreter_for_itself(pool):
    future = pool.map_async(abs, range(5_000_000), 5_000_000)
    # Kept for all of the items, it would be given back when they are done.
    assert not future.wait(0.001)
    assert future.cancel() is False
    assert len(future.result()) == 5_000_000


def test_thread_that_cannot_be_started_fails_the_call_and_not_the_pool(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    with paceline.Pool(2, backend="threads") as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                pool.submit(tasks.identity, 1)
        assert pool.submit(tasks.identity, 2).result() == 2


def test_thread_that_cannot_be_started_is_done_without_if_there_are_others(monkeypatch, door):
    with paceline.Pool(2, backend="threads") as pool:
        pool.submit(door.through)
        door.wait_for_arrival()
        monkeypatch.setattr(threading.Thread, "start", lambda _: tasks.raise_error(RuntimeError, "none left"))
        future = pool.submit(tasks.identity, 2)
        door.open.set()
        assert future.result() == 2


def test_pids_and_report_name_the_threads(pool):
    barrier = threading.Barrier(2)
    ids = set(pool.map(lambda _: (barrier.wait(WAIT_S), threading.get_native_id())[1], range(2), 1))
    assert set(pool._engine.pids()) == ids
    pool.map(tasks.identity, range(100))
    report = pool.report()
    assert {worker.pid for worker in report.workers} == ids
    assert report.items == 102
    assert sorted(itertools.chain(*(worker.indices for worker in report.workers))) == list(range(102))


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or a measure of coverage traces this thread")
def test_profiler_of_threads_sees_the_tasks():
    seen = set()
    threading.setprofile(lambda frame, event, _: seen.add(frame.f_code.co_name) if event == "call" else None)
    try:
        with paceline.Pool(1, backend="threads") as pool:
            pool.apply(tasks.square, (3,))
    finally:
        threading.setprofile(None)
    assert "square" in seen


# -- initializer -------------------------------------------------------------------------------------------------------


def test_initializer_runs_once_in_each_thread():
    local = threading.local()
    barrier = threading.Barrier(2)

    def set_up(value):
        local.value = value
        local.calls = getattr(local, "calls", 0) + 1

    def look(_):
        barrier.wait(WAIT_S)
        return local.value, local.calls

    with paceline.Pool(2, set_up, ("ready",), backend="threads") as pool:
        assert pool.map(look, range(10), 1) == [("ready", 1)] * 10


def test_initializer_that_raises_breaks_the_pool_and_is_logged(caplog, door):
    error = ValueError("not today")

    def set_up():
        door.wait_for_arrival()
        raise error

    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        pool = paceline.Pool(1, set_up, backend="threads")
        future = pool.submit(tasks.identity, 1)
        door.arrived.release()
        with pytest.raises(paceline.WorkerStartError, match="not today") as caught:
            future.result()
    assert isinstance(caught.value, BrokenThreadPool)
    assert caught.value.__cause__ is error
    assert type(pickle.loads(pickle.dumps(caught.value))) is paceline.WorkerStartError
    assert "not today" in caplog.text
    with pytest.raises(BrokenThreadPool):
        pool.submit(tasks.identity, 1)
    pool.close()
    pool.join()


def test_initializer_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="initializer must be a callable"):
        paceline.Pool(1, 3, backend="threads")


# -- context variables -------------------------------------------------------------------------------------------------

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def look_and_set(value):
    seen = VARIABLE.get()
    VARIABLE.set(value)
    return seen


def test_context_variable_has_its_value_of_the_call_and_changes_stay_in_the_task(pool, door):
    pool.submit(door.through)
    pool.submit(door.through)
    VARIABLE.set("first")
    first = pool.submit(look_and_set, "changed")
    VARIABLE.set("second")
    second = pool.submit(look_and_set, "changed")
    several = pool.map_async(look_and_set, ["changed"] * 5)
    lazy = pool.imap(look_and_set, iter(["changed"] * 5))
    VARIABLE.set("third")
    door.open.set()
    assert first.result() == "first"
    assert second.result() == "second"
    assert several.result() == list(lazy) == ["second"] * 5
    assert VARIABLE.get() == "third"


# -- order and ends ----------------------------------------------------------------------------------------------------


def test_calls_of_higher_priority_begin_first(door):
    order = []
    with paceline.Pool(1, backend="threads") as pool:
        pool.submit(door.through)
        door.wait_for_arrival()
        for priority in (0, -5, 7, 0):
            pool.options(priority=priority).submit(order.append, priority)
        door.open.set()
    assert order == [7, 0, 0, -5]


def test_cancel_of_a_waiting_call_ends_it_and_calls_its_callbacks(door):
    with paceline.Pool(1, backend="threads") as pool:
        running = pool.submit(door.through, 1)
        door.wait_for_arrival()
        waiting = pool.submit(tasks.identity, 2)
        told = []
        waiting.add_done_callback(told.append)
        assert running.running()
        assert not running.cancel()
        assert waiting.cancel()
        assert waiting.cancelled()
        assert told == [waiting]
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result()
        door.open.set()
        assert running.result() == 1


def test_terminate_cancels_what_waits_and_join_waits_for_what_runs(door):
    pool = paceline.Pool(1, backend="threads")
    running = pool.submit(door.through, 1)
    door.wait_for_arrival()
    waiting = pool.submit(tasks.identity, 2)
    pool.terminate()
    assert waiting.cancelled()
    assert not running.done()
    assert not pool._engine.join(0.01)
    door.open.set()
    pool.join()
    assert running.result() == 1
    with pytest.raises(paceline.PoolClosed):
        pool.submit(tasks.identity, 3)


def test_leaving_with_an_exception_cancels_what_waits(door):
    with contextlib.suppress(LookupError), paceline.Pool(1, backend="threads") as pool:
        running = pool.submit(door.through)
        door.wait_for_arrival()
        waiting = pool.submit(tasks.identity, 2)
        waiting.add_done_callback(lambda _: door.open.set())
        raise LookupError
    assert waiting.cancelled()
    assert running.done()


def test_dropped_pool_does_what_it_has_and_its_threads_leave():
    pool = paceline.Pool(2, backend="threads")
    futures = [pool.submit(tasks.identity, number) for number in range(100)]
    threads = pool._engine.threads()
    del pool
    assert [future.result() for future in futures] == list(range(100))
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_join_by_a_task_of_the_pool_itself_raises():
    pool = paceline.Pool(1, backend="threads")

    def end():
        pool.close()
        pool.join()

    with pytest.raises(RuntimeError, match="from where it was opened"):
        pool.apply(end)
    pool.join()


def test_maxtasksperchild_is_refused():
    with pytest.raises(ValueError, match="maxtasksperchild"):
        paceline.Pool(1, maxtasksperchild=1, backend="threads")


def test_backend_of_another_name_is_refused():
    with pytest.raises(ValueError, match="backend must be"):
        paceline.Pool(1, backend="magic")


# -- futures of all kinds together -------------------------------------------------------------------------------------


def test_futures_of_threads_processes_and_the_standard_library_are_waited_for_together(pool, door):
    with paceline.Pool(1) as processes, concurrent.futures.ThreadPoolExecutor(1) as standard:
        waiting = pool.submit(door.through, 0)
        futures = [waiting, pool.submit(tasks.square, 2), processes.submit(tasks.square, 3), standard.submit(abs, -1)]
        first = next(concurrent.futures.as_completed(futures[1:]))
        assert first in futures[1:]
        done, left = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
        assert waiting in left
        door.open.set()
        done, left = concurrent.futures.wait(futures, WAIT_S)
        assert not left
        assert sorted(future.result() for future in done) == [0, 1, 4, 9]


def test_imap_hands_out_results_in_order_and_unordered_as_they_end(pool, door):
    assert list(itertools.islice(pool.imap(tasks.square, itertools.count()), 1000)) == [n**2 for n in range(1000)]
    late = pool.imap_unordered(lambda number: door.through(0) if number == 0 else number, range(5))
    assert sorted(next(late) for _ in range(4)) == [1, 2, 3, 4]
    door.open.set()
    assert next(late) == 0


def test_callbacks_are_called_by_the_thread_that_ran_the_call(pool, door):
    called = threading.Event()
    by = []

    def callback(value):
        by.append((value, threading.current_thread()))
        called.set()

    future = pool.apply_async(lambda: door.through(threading.current_thread()), callback=callback)
    door.open.set()
    assert called.wait(WAIT_S)
    value, thread = by[0]
    assert value is thread is future.get(WAIT_S)


def test_callback_that_raises_is_logged_and_harms_nothing(pool, caplog):
    future = pool.submit(tasks.identity, 1)
    future.add_done_callback(lambda _: tasks.fail("in a callback"))
    pool.submit(tasks.identity, 2).result()
    while "in a callback" not in caplog.text:
        pass
    assert future.result() == 1


def test_calls_are_awaited_like_those_of_processes(pool):
    async def main():
        squares = await asyncio.gather(*(pool.run(tasks.square, number) for number in range(300)))
        assert squares == [number**2 for number in range(300)]
        assert await asyncio.wrap_future(pool.submit(tasks.identity, 1)) == 1
        assert [square async for square in pool.amap(tasks.square, range(50))] == squares[:50]
        with pytest.raises(ValueError, match="no"):
            await pool.run(tasks.fail)

    asyncio.run(main())


def test_tasks_draw_the_same_numbers_as_those_of_processes():
    def draw(_):
        return paceline.task_random().random()

    drawn = []
    for backend in ("processes", "threads", "serial"):
        with paceline.Pool(2, backend=backend, seed=7) as pool:
            drawn.append([pool.apply(draw, (0,)), *pool.map(draw, range(20))])
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(set(drawn[0])) == 21
