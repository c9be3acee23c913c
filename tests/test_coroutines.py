"""Coroutine functions as tasks: many at a time in each worker, and none of them special otherwise."""

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from collections import Counter
from functools import partial

import numpy  # noqa: F401, ICN001 - now, or its threads would be taken for what a test has left behind.
import pytest

import paceline
import tasks
from paceline import Pool, WorkerDied
from paceline.engine import Terms, open_local_engine
from paceline.functions import gives_coroutine
from paceline.loop import run_to_end

# -- many at a time ----------------------------------------------------------------------------------------------------


def test_200_coroutines_that_wait_together_all_end(pool, gate):
    futures = [pool.submit(tasks.pid_through_later, gate.path) for _ in range(200)]
    arrived = Counter(gate.wait_for_arrival() for _ in futures)
    assert sorted(arrived.values()) == [100, 100], "each of the two workers has as many as it may"
    gate.let_through(200)
    assert Counter(future.result() for future in futures) == arrived


under_way = most_under_way = 0


async def count_through(gate, _):
    global under_way, most_under_way
    under_way += 1
    most_under_way = max(under_way, most_under_way)
    await tasks.through_later(gate)
    under_way -= 1
    return most_under_way


def test_no_more_coroutines_are_under_way_than_asked_for(gate):
    with Pool(1, concurrency_per_worker=3) as pool:
        futures = [pool.submit(count_through, gate.path, number) for number in range(10)]
        for _ in range(3):
            gate.wait_for_arrival()
        for _ in range(7):
            gate.let_through()
            gate.wait_for_arrival()
        gate.let_through(3)
        assert [future.result() for future in futures][-1] == 3
        assert max(future.result() for future in futures) == 3


@pytest.mark.parametrize(("number", "kind"), [(0, ValueError), (-1, ValueError), (True, TypeError), (2.0, TypeError)])
def test_concurrency_that_makes_no_sense_is_refused(number, kind):
    with pytest.raises(kind, match="concurrency_per_worker must be"):
        Pool(1, concurrency_per_worker=number)


def test_plain_calls_run_beside_coroutines_that_wait(gate):
    with Pool(1) as pool:
        future = pool.submit(tasks.pid_through_later, gate.path)
        pid = gate.wait_for_arrival()
        for number in range(20):
            assert pool.apply(tasks.pid) == pid
            assert pool.apply(tasks.square_later, (number,)) == number * number
        assert pool.map(tasks.square, range(1000)) == [number * number for number in range(1000)]
        assert not future.done()
        gate.let_through()
        assert future.result() == pid


def start_a_loop_of_its_own(value):
    return asyncio.run(tasks.square_later(value))


def test_plain_call_beside_coroutines_may_start_its_own_event_loop(gate):
    with Pool(1) as pool:
        future = pool.submit(tasks.through_later, gate.path, 1)
        gate.wait_for_arrival()
        assert pool.apply(start_a_loop_of_its_own, (5,)) == 25
        gate.let_through()
        assert future.result() == 1


async def block(gate):
    await asyncio.sleep(0)
    return tasks.through(gate, "blocked")


def test_worker_whose_loop_is_blocked_keeps_nothing_from_others(pool, gate):
    future = pool.submit(block, gate.path)
    blocked = gate.wait_for_arrival()
    for _ in range(20):
        assert pool.apply(tasks.pid) != blocked
    gate.let_through()
    assert future.result() == "blocked"


def test_coroutines_of_two_pools_know_nothing_of_each_other(gate):
    with Pool(1) as one, Pool(1) as other:
        waiting = one.submit(tasks.through_later, gate.path, 1)
        gate.wait_for_arrival()
        assert other.map(tasks.square_later, range(5)) == [0, 1, 4, 9, 16]
        gate.let_through()
        assert waiting.result() == 1


# -- every way to call -------------------------------------------------------------------------------------------------


class Caller:
    factor = 3

    async def method(self, value):
        await asyncio.sleep(0)
        return self.factor * value

    async def __call__(self, value):
        return await self.method(value) + 1

    @classmethod
    async def of_class(cls, value):
        return cls.factor * value

    @staticmethod
    async def static(value):
        return value


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (tasks.square_later, 16),
        (partial(tasks.square_later), 16),
        (Caller().method, 12),
        (Caller(), 13),
        (partial(Caller()), 13),
        (Caller.of_class, 12),
        (Caller.static, 4),
    ],
    ids=["function", "partial", "method", "object", "partial-object", "classmethod", "staticmethod"],
)
def test_everything_that_gives_a_coroutine_is_one(pool, function, expected):
    assert gives_coroutine(function)
    assert pool.apply(function, (4,)) == expected
    assert pool.map(function, [4, 4]) == [expected, expected]


async def generate():
    yield 1


@pytest.mark.parametrize("thing", [tasks.square, len, Caller, partial(tasks.square), generate, [].append, int, 3])
def test_what_gives_no_coroutine_is_none(thing):
    assert not gives_coroutine(thing)


def test_lambda_that_returns_a_coroutine_gives_its_result(pool):
    assert pool.apply(lambda: tasks.square_later(6)) == 36
    assert pool.map(lambda value: tasks.square_later(value + 1), range(4)) == [1, 4, 9, 16]


async def add_later(left, right=0):
    return left + right


def test_every_way_to_call_takes_coroutine_functions(pool):
    squares = [number * number for number in range(50)]
    assert pool.map(tasks.square_later, range(50)) == squares
    assert pool.map(tasks.square_later, range(50), chunksize=7) == squares
    assert pool.map_async(tasks.square_later, range(50)).get() == squares
    assert list(pool.imap(tasks.square_later, range(50))) == squares
    assert list(pool.imap(tasks.square_later, range(50), chunksize=4)) == squares
    assert sorted(pool.imap_unordered(tasks.square_later, range(50))) == squares
    assert pool.starmap(add_later, [(1, 2), (3, 4)]) == [3, 7]
    assert pool.apply_async(add_later, (1,), {"right": 2}).get() == 3
    with paceline.ProcessPoolExecutor(1) as executor:
        assert executor.submit(add_later, 1, right=5).result() == 6
        assert list(executor.map(add_later, range(5), range(5), chunksize=2)) == [0, 2, 4, 6, 8]


def test_chunks_do_not_keep_coroutines_from_running_together(pool, gate):
    result = pool.map_async(partial(tasks.through_later, gate.path), range(40), chunksize=40)
    arrived = {gate.wait_for_arrival() for _ in range(40)}
    assert arrived <= set(pool._engine.pids())
    gate.let_through(40)
    assert result.get() == list(range(40))


def test_large_results_of_coroutines_come_back(pool):
    async def large(number):
        await asyncio.sleep(0)
        return bytes([number]) * 300_000

    assert pool.map(large, range(20)) == [bytes([number]) * 300_000 for number in range(20)]


# -- failures ----------------------------------------------------------------------------------------------------------


async def fail_later(kind, *args):
    await asyncio.sleep(0)
    raise kind(*args)


@pytest.mark.parametrize(
    "kind", [ValueError, asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit, StopAsyncIteration]
)
def test_exception_of_a_coroutine_is_raised_at_home_and_harms_no_other(gate, kind):
    with Pool(1) as pool:
        other = pool.submit(tasks.pid_through_later, gate.path)
        pid = gate.wait_for_arrival()
        future = pool.submit(fail_later, kind, "no")
        error = future.exception()
        assert type(error) is kind
        assert error.args == ("no",)
        gate.let_through()
        assert other.result() == pid == pool.apply(tasks.pid)


def test_traceback_of_a_coroutine_has_its_frames_alone(pool):
    error = pool.submit(fail_later, ValueError, "no").exception()
    text = str(error.__cause__)
    assert "in fail_later" in text
    assert "paceline/loop.py" not in text
    assert "asyncio" not in text


def test_arguments_that_do_not_fit_are_the_calls_fault_alone(pool):
    with pytest.raises(TypeError, match="square_later"):
        pool.apply(tasks.square_later, (1, 2))
    with pytest.raises(ValueError, match=r"^bad$"):
        pool.map(partial(fail_later, ValueError), ["bad", "bad"])
    assert pool.apply(tasks.square_later, (2,)) == 4


async def cancel_itself(_):
    asyncio.current_task().cancel("enough")
    await asyncio.sleep(0)


async def return_unpicklable():
    return tasks.Unpicklable()


def test_coroutine_that_cancels_itself_or_cannot_be_sent_back_fails_alone(pool):
    assert type(pool.submit(cancel_itself, 0).exception()) is asyncio.CancelledError
    with pytest.raises(paceline.ResultNotPicklable):
        pool.apply(return_unpicklable)
    assert pool.map(tasks.square_later, [1, 2]) == [1, 4]


async def stop_the_loop(value):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return value


def test_coroutine_that_stops_the_loop_changes_nothing(pool):
    assert pool.map(stop_the_loop, range(10)) == list(range(10))


async def die_later():
    await asyncio.sleep(0)
    tasks.die()


def test_killed_worker_fails_what_it_had_under_way_and_nothing_else(gate):
    with Pool(2, concurrency_per_worker=5) as pool:
        futures = [pool.submit(tasks.pid_through_later, gate.path) for _ in range(10)]
        arrived = Counter(gate.wait_for_arrival() for _ in futures)
        assert sorted(arrived.values()) == [5, 5]
        waiting = pool.submit(tasks.square_later, 3)
        victim = next(iter(arrived))
        os.kill(victim, 9)
        assert waiting.result() == 9
        gate.let_through(5)
        errors = [future.exception() for future in futures]
        assert Counter(type(error) for error in errors) == {WorkerDied: 5, type(None): 5}
        assert victim not in [future.result() for future in futures if future.exception() is None]


def test_coroutine_that_kills_its_worker_is_tried_again_where_asked(tmp_path):
    async def once(path, value):
        await asyncio.sleep(0)
        try:
            with open(path, "x"):  # noqa: PTH123, ASYNC230
                pass
        except FileExistsError:
            return value
        return tasks.die()

    with Pool(1, retries=1) as pool:
        assert pool.apply(once, (str(tmp_path / "died"), 4)) == 4
    with Pool(1) as pool, pytest.raises(WorkerDied):
        pool.apply(die_later)


# -- the worker's life -------------------------------------------------------------------------------------------------


def test_worker_leaves_after_as_many_coroutines_as_it_may_run(gate):
    with Pool(1, maxtasksperchild=3) as pool:
        futures = [pool.submit(tasks.pid_through_later, gate.path) for _ in range(7)]
        for count in (3, 3, 1):
            (pid,) = {gate.wait_for_arrival() for _ in range(count)}
            gate.let_through(count)
            assert [future.result() for future in futures[:count]] == [pid] * count
            del futures[:count]


def test_closed_pool_waits_for_its_coroutines(gate):
    pool = Pool(1)
    future = pool.submit(tasks.through_later, gate.path, 1)
    gate.wait_for_arrival()
    pool.close()
    gate.let_through()
    pool.join()
    assert future.result() == 1


def test_terminated_pool_does_not_wait_for_its_coroutines(gate):
    pool = Pool(1)
    future = pool.submit(tasks.through_later, gate.path, 1)
    gate.wait_for_arrival()
    pool.terminate()
    pool.join()
    assert future.cancelled()


left_behind = set()


async def leave_behind(path, gate):
    async def go_on():
        try:
            tasks.note(path, "begun")
            await tasks.through_later(gate)
            tasks.note(path, "gone on")
            await asyncio.sleep(3600)
        finally:
            tasks.note(path, "cancelled")
            await asyncio.sleep(0)
            tasks.note(path, "cleaned up")

    left_behind.add(asyncio.create_task(go_on()))
    await asyncio.sleep(0)


def test_what_a_coroutine_leaves_behind_goes_on_and_is_cancelled_at_the_end(tmp_path, gate):
    path = tmp_path / "notes"
    with Pool(1) as pool:
        pool.apply(leave_behind, (str(path), gate.path))
        gate.wait_for_arrival()
        gate.let_through()
        # While others are under way, the event loop runs, and with it what was left behind.
        while "gone on" not in path.read_text():
            pool.apply(tasks.square_later, (1,))
    assert path.read_text().splitlines() == ["begun", "gone on", "cancelled", "cleaned up"]


async def fork_in_the_middle(value):
    await asyncio.sleep(0)
    if os.fork() == 0:
        return -1
    return value


def test_fork_that_comes_back_from_a_coroutine_answers_nothing(pool):
    assert pool.map(fork_in_the_middle, range(5)) == list(range(5))


# -- asyncio in it -----------------------------------------------------------------------------------------------------


async def use_asyncio(value):
    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    doubled = await asyncio.gather(*(double(number) for number in range(value)))
    async with asyncio.TaskGroup() as group:
        one = group.create_task(double(1))
    async with asyncio.timeout(30):
        threaded = await asyncio.to_thread(tasks.square, value)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(5)", stdout=subprocess.PIPE)
    printed, _ = await process.communicate()
    return sum(doubled), one.result(), threaded, int(printed)


def test_coroutines_have_all_of_asyncio(pool):
    assert pool.map(use_asyncio, [3, 4]) == [(6, 2, 9, 5), (12, 2, 16, 5)]


variable = contextvars.ContextVar("variable", default=None)


async def keep_apart(value):
    before = variable.get()
    variable.set(value)
    await asyncio.sleep(0)
    return before, variable.get()


def test_coroutines_have_contexts_of_their_own(pool):
    assert pool.map(keep_apart, range(20)) == [(None, value) for value in range(20)]


async def see_variable(gate, value):
    await tasks.through_later(gate)
    return value, variable.get()


def test_declared_variables_are_seen_by_coroutines_that_run_together(gate):
    with Pool(1, context_vars=[variable]) as pool:
        variable.set("seen")
        result = pool.map_async(partial(see_variable, gate.path), range(5))
        variable.set(None)
        for _ in range(5):
            gate.wait_for_arrival()
        gate.let_through(5)
        assert result.get() == [(number, "seen") for number in range(5)]


def number_of_task():
    from paceline.engine import current_item

    return current_item()


async def numbers_of_task(gate, _):
    async def inner():
        return number_of_task()

    before = number_of_task()
    await tasks.through_later(gate)
    return before, number_of_task(), await asyncio.create_task(inner()), await asyncio.to_thread(number_of_task)


def test_coroutine_knows_its_number_whoever_runs_beside_it(gate):
    with Pool(1) as pool:
        result = pool.map_async(partial(numbers_of_task, gate.path), range(5))
        for _ in range(5):
            gate.wait_for_arrival()
        assert pool.apply(number_of_task) == 5
        gate.let_through(5)
        assert result.get() == [(number,) * 4 for number in range(5)]


async def draw_later(_):
    first = paceline.task_rng().random()
    await asyncio.sleep(0)
    return first, paceline.task_rng().random(), paceline.task_random().random()


def draw(_):
    return paceline.task_rng().random(), paceline.task_rng().random(), paceline.task_random().random()


def test_coroutines_draw_the_same_numbers_as_plain_calls_would():
    with Pool(2, seed=5) as pool:
        plain = pool.map(draw, range(30))
    with Pool(2, seed=5) as pool:
        assert pool.map(draw_later, range(30)) == plain


# -- one coroutine in a thread -----------------------------------------------------------------------------------------


async def who_runs(value):
    await asyncio.sleep(0)
    return value, threading.get_ident(), variable.get()


def run_in_thread(*values):
    outcome = []
    thread = threading.Thread(
        target=lambda: outcome.extend(run_to_end(who_runs(value), variable, value) for value in values)
    )
    thread.start()
    thread.join()
    return outcome, thread.ident


def test_coroutine_runs_to_its_end_in_any_thread():
    assert run_to_end(who_runs(1), variable, 2) == (1, threading.get_ident(), 2)
    outcome, thread = run_in_thread(3, 4)
    assert outcome == [(3, thread, 3), (4, thread, 4)]


def test_coroutine_runs_to_its_end_beside_a_loop_that_is_running():
    async def outer():
        return run_to_end(who_runs(1), variable, 2)

    value, thread, seen = asyncio.run(outer())
    assert (value, seen) == (1, 2)
    assert thread != threading.get_ident()
    with pytest.raises(ValueError, match=r"^no$"):
        asyncio.run(fail_beside())


async def fail_beside():
    run_to_end(fail_later(ValueError, "no"), variable, None)


@pytest.mark.parametrize("prefix", ["thread", None], ids=["threads", "serial"])
def test_coroutine_functions_run_on_every_backend(prefix):
    with Pool(2, seed=5) as pool:
        drawn = pool.map(draw, range(20))
    engine = open_local_engine(2, None, (), prefix=prefix, seed=5)
    assert engine.map(Terms(), draw_later, range(20)).result() == drawn
    assert engine.submit(Terms(), Caller(), (2,), None).result() == 7
    with pytest.raises(ValueError, match=r"^no$"):
        engine.submit(Terms(), fail_later, (ValueError, "no"), None).result()
    assert engine.map(Terms(), use_asyncio, [3]).result() == [(6, 2, 9, 5)]
    engine.close()
    assert engine.join(30)


@pytest.mark.parametrize("in_thread", [False, True])
def test_what_a_coroutine_leaves_behind_in_a_thread_is_cancelled_at_its_end(in_thread):
    ended = []

    async def linger():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async def leave():
        left_behind.add(asyncio.create_task(linger()))
        await asyncio.sleep(0)

    def run():
        run_to_end(leave(), variable, None)
        ended.append("returned")

    if in_thread:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()
    left_behind.clear()
    assert ended == ["cancelled", "returned"]
