"""Calls that are awaited: run and amap on real event loops, with every way a wait can end."""

import asyncio
import concurrent.futures
import os
import threading

import pytest

import paceline
import tasks

DEADLINE_S = 60


def running(main, *args):
    """Runs a coroutine function to its end, in a loop of its own, within the deadline."""

    async def limited():
        async with asyncio.timeout(DEADLINE_S):
            return await main(*args)

    return asyncio.run(limited(), debug=False)


def through_or_pass(gate):
    if gate is not None:
        tasks.through(gate)
    return gate


def stop_iteration():
    raise StopIteration("over")


# -- run ---------------------------------------------------------------------------------------------------------------


def test_run_awaited_gives_the_result(pool):
    async def main():
        return await pool.run(tasks.collect, 1, key=2)

    assert running(main) == ((1,), {"key": 2})


def test_run_whose_function_raises_raises_it(pool):
    async def main():
        with pytest.raises(ValueError, match="7") as caught:
            await pool.run(int, "x7")
        return caught.value

    assert isinstance(running(main).__cause__, paceline.RemoteTraceback)


def test_run_whose_worker_dies_raises_and_the_pool_goes_on(pool):
    async def main():
        with pytest.raises(paceline.WorkerDied):
            await pool.run(tasks.die)
        return await pool.run(abs, -1)

    assert running(main) == 1


def test_run_of_what_raises_stop_iteration_raises_an_error_instead_of_hanging(pool):
    async def main():
        with pytest.raises((TypeError, RuntimeError), match="StopIteration"):
            await pool.run(stop_iteration)

    running(main)


def test_run_of_an_unpicklable_argument_raises_at_the_call(pool):
    async def main():
        with pytest.raises(paceline.ArgumentNotPicklable):
            pool.run(abs, threading.Lock())
        return await pool.run(abs, -2)

    assert running(main) == 2


def test_run_without_a_loop_raises_runtime_error(pool):
    with pytest.raises(RuntimeError, match="no running event loop"):
        pool.run(abs, -1)


def test_run_on_a_closed_pool_raises(pool):
    async def main():
        pool.close()
        with pytest.raises(ValueError, match="Pool not running"):
            pool.run(abs, -1)

    running(main)


def test_run_gathered_keeps_the_order(pool):
    async def main():
        return await asyncio.gather(*(pool.run(abs, -number) for number in range(3000)))

    assert running(main) == list(range(3000))


def test_run_gathered_with_return_exceptions_gives_them_in_place(pool):
    async def main():
        return await asyncio.gather(pool.run(int, "1"), pool.run(int, "a"), pool.run(int, "3"), return_exceptions=True)

    first, second, third = running(main)
    assert (first, third) == (1, 3)
    assert isinstance(second, ValueError)


def test_run_in_a_task_group_and_as_a_task(pool):
    async def main():
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(pool.run(pow, 2, number)) for number in range(20)]
        alone = asyncio.create_task(pool.run(pow, 3, 2))
        waited = await asyncio.wait_for(pool.run(pow, 2, 2), DEADLINE_S)
        return [task.result() for task in made], await alone, waited

    assert running(main) == ([2**number for number in range(20)], 9, 4)


def test_run_in_a_task_group_that_fails_cancels_its_siblings(pool, gate):
    async def main():
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pool.run(tasks.through, gate.path))
                group.create_task(pool.run(int, "wrong"))
        except* ValueError as caught:
            raised.extend(caught.exceptions)
        finally:
            gate.let_through()

    raised = []
    running(main)
    assert [type(error) for error in raised] == [ValueError]


def test_run_cancelled_before_it_begins_never_runs(pool, gate, tmp_path):
    mark = tmp_path / "ran"

    async def main():
        held = [asyncio.ensure_future(pool.run(tasks.through, gate.path)) for _ in range(2)]
        gate.wait_for_arrival()
        gate.wait_for_arrival()
        task = asyncio.create_task(pool.run(os.mkdir, str(mark)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.let_through(2)
        await asyncio.gather(*held)

    running(main)
    pool.close()
    pool.join()
    assert not mark.exists()


def test_run_over_its_timeout_raises_timeout_error_and_the_pool_goes_on(pool, gate):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.run(tasks.through, gate.path)
        gate.let_through()
        return await pool.run(abs, -3)

    assert running(main) == 3


def test_run_while_the_pool_is_terminated_raises(pool, gate):
    async def main():
        awaited = asyncio.ensure_future(pool.run(tasks.through, gate.path))
        gate.wait_for_arrival()
        pool.terminate()
        with pytest.raises(concurrent.futures.CancelledError):
            await awaited

    running(main)


def test_run_ten_thousand_and_cancel_half_of_them_midway_leaves_nothing_running():
    """That nothing is left over is looked after by the fixture of every test."""

    async def main(pool):
        made = [asyncio.create_task(pool.run(tasks.identity, number)) for number in range(10_000)]
        await made[100]
        for task in made[::2]:
            task.cancel()
        ends = await asyncio.gather(*made, return_exceptions=True)
        for number, end in enumerate(ends):
            assert end == number or (number % 2 == 0 and isinstance(end, asyncio.CancelledError))
        assert [ends[number] for number in range(1, 10_000, 2)] == list(range(1, 10_000, 2))

    with paceline.Pool(2) as pool:
        running(main, pool)


def test_run_left_by_a_loop_that_ends_harms_nobody(pool, gate):
    async def leave():
        left.append(pool.run(tasks.through, gate.path))
        gate.wait_for_arrival()

    async def main():
        return await pool.run(abs, -4)

    left = []
    running(leave)
    assert running(main) == 4
    gate.let_through()


def test_run_on_two_pools_and_in_two_threads(pool):
    async def main(other):
        both = await asyncio.gather(*(which.run(abs, -5) for which in (pool, other) for _ in range(200)))
        return set(both)

    with paceline.Pool(1) as other, concurrent.futures.ThreadPoolExecutor(1) as thread:
        elsewhere = thread.submit(running, main, other)
        assert running(main, other) == {5}
        assert elsewhere.result(DEADLINE_S) == {5}


def test_run_through_a_view_has_its_options(pool):
    async def main():
        with pytest.raises(paceline.WorkerDied, match="`phoenix`"):
            await pool.options(name="phoenix").run(tasks.die)

    running(main)


def test_executor_in_run_in_executor(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, abs, -number) for number in range(200)))

    assert running(main) == list(range(200))


# -- amap --------------------------------------------------------------------------------------------------------------


async def counted(count, seen=None):
    for number in range(count):
        if seen is not None:
            seen.append(number)
        yield number
        await asyncio.sleep(0)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
@pytest.mark.parametrize("chunksize", [1, 7])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_amap_gives_every_result_once(pool, asynchronous, chunksize, ordered):
    async def main():
        items = counted(500) if asynchronous else range(500)
        return [result async for result in pool.amap(tasks.identity, items, chunksize=chunksize, ordered=ordered)]

    results = running(main)
    assert (results if ordered else sorted(results)) == list(range(500))


def test_amap_of_nothing_ends(pool):
    async def main():
        return [result async for result in pool.amap(abs, [])]

    assert running(main) == []


def test_amap_unordered_gives_first_what_ends_first(pool, gate):
    async def main():
        results = pool.amap(through_or_pass, [gate.path, None], ordered=False)
        first = await anext(results)
        gate.let_through()
        return first, await anext(results)

    assert running(main) == (None, gate.path)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
def test_amap_reads_no_further_than_its_buffer(pool, asynchronous):
    seen = []

    def plain():
        for number in range(1000):
            seen.append(number)
            yield number

    async def main():
        results = pool.amap(abs, counted(1000, seen) if asynchronous else plain(), buffersize=3)
        taken = [await anext(results) for _ in range(10)]
        await results.aclose()
        return taken

    assert running(main) == list(range(10))
    # What is taken, what is out, and one that waits for its place.
    assert len(seen) <= 10 + 3 + 1


def test_amap_goes_on_after_an_item_that_raised(pool):
    async def main():
        results = pool.amap(int, ["1", "two", "3"])
        first = await anext(results)
        with pytest.raises(ValueError, match="two"):
            await anext(results)
        third = await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        return first, third

    assert running(main) == (1, 3)


def test_amap_input_that_raises_does_so_after_the_results_before_it(pool):
    async def broken():
        yield 1
        yield 2
        raise LookupError("no more")

    async def main(items):
        results = pool.amap(abs, items, ordered=False)
        taken = [await anext(results), await anext(results)]
        with pytest.raises(LookupError, match="no more"):
            await anext(results)
        return sorted(taken)

    assert running(main, broken()) == [1, 2]
    assert running(main, (1 if number < 2 else raise_lookup() for number in range(3))) == [1, 1]


def raise_lookup():
    raise LookupError("no more")


def test_amap_dropped_halfway_cancels_what_has_not_begun(pool, gate, tmp_path):
    def touch(number):
        if number >= 2:
            (tmp_path / str(number)).touch()
        else:
            tasks.through(gate.path)

    async def main():
        results = pool.amap(touch, range(40))
        waiting = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0)
        gate.wait_for_arrival()
        gate.wait_for_arrival()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await results.aclose()
        gate.let_through(2)

    running(main)
    pool.close()
    pool.join()
    assert list(tmp_path.glob("[0-9]*")) == []


def test_amap_sizes_below_one_raise_at_the_call(pool):
    async def main():
        for wrong in ({"chunksize": 0}, {"buffersize": 0}):
            with pytest.raises(ValueError, match="at least 1"):
                pool.amap(abs, [1], **wrong)

    running(main)


def test_amap_without_a_loop_raises_runtime_error(pool):
    with pytest.raises(RuntimeError, match="no running event loop"):
        pool.amap(abs, counted(3))
