"""Each deliberate difference from the standard library, shown on both sides; `docs/differences.md` has the table.

What would break a pool of the standard library, or hang it, is shown in a program of its own.
"""

import concurrent.futures
import itertools
import multiprocessing
import multiprocessing.pool
import pickle
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.pool import MaybeEncodingError

import differences
import pytest
from backends import make_standard_executor, spawn
from differences import shows

import paceline
import tasks
from program import Program

WAIT_S = 60


@pytest.fixture(scope="module")
def standard_pool():
    pool = spawn.Pool(1)
    pool.apply(tasks.pid)
    yield pool
    pool.close()
    pool.join()


@pytest.fixture
def standard_executor():
    with make_standard_executor(1) as executor:
        yield executor


def run_both(folder, source, *, pool="Pool"):
    """What a program prints with the standard library's pool, and with ours, as lists of lines."""
    home = "multiprocessing" if pool == "Pool" else "concurrent.futures"
    outputs = []
    for number, module in enumerate((home, "paceline")):
        script = folder / f"script{number}.py"
        script.write_text(f"from {module} import {pool}\n{source}")
        program = Program(str(script))
        code, out, err = program.finish()
        assert code == 0, err
        program.wait_until_nothing_is_left()
        outputs.append(out.split())
    return outputs


class Trap:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return tasks.explode, ()


def test_table_and_tests_have_the_same_differences():
    assert list(differences.shown) == differences.names()


@shows("unpicklable-argument")
def test_argument_that_cannot_be_pickled(standard_pool, pool):
    result = standard_pool.apply_async(tasks.identity, (tasks.Unpicklable(),))
    with pytest.raises(TypeError, match="stays at home") as caught:
        result.get(WAIT_S)
    assert type(caught.value) is TypeError
    with pytest.raises(paceline.ArgumentNotPicklable, match="stays at home") as caught:
        pool.apply_async(tasks.identity, (tasks.Unpicklable(),))
    assert isinstance(caught.value, TypeError)
    assert type(caught.value.__cause__) is TypeError


@shows("unpicklable-result")
def test_result_that_cannot_be_pickled(standard_pool, pool):
    with pytest.raises(MaybeEncodingError, match="stays at home"):
        standard_pool.apply(tasks.unpicklable_result)
    with pytest.raises(paceline.ResultNotPicklable, match="stays at home") as caught:
        pool.apply(tasks.unpicklable_result)
    assert isinstance(caught.value, TypeError)


@shows("closures")
def test_lambdas_travel(standard_pool, pool):
    offset = 3
    # What is raised depends on the version.
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        standard_pool.apply(lambda number: number + offset, (1,))
    assert pool.apply(lambda number: number + offset, (1,)) == 4
    with pytest.raises(MaybeEncodingError):
        standard_pool.apply(eval, ("lambda number: number + 2",))
    assert pool.apply(eval, ("lambda number: number + 2",))(1) == 3


@shows("inheritance")
def test_lock_given_to_the_initializer():
    lock = spawn.Lock()
    with spawn.Pool(1, tasks.set_shared, (lock,)) as pool:
        assert pool.apply(tasks.kind_of_shared) == "Lock"
        pool.close()
        pool.join()
    with pytest.raises(paceline.ArgumentNotPicklable, match="through inheritance"):
        paceline.Pool(1, tasks.set_shared, (lock,))


@shows("rebuild-failure")
def test_argument_and_result_that_cannot_be_unpickled(executor):
    for call in ((tasks.identity, Trap()), (Trap,)):
        with make_standard_executor(1) as standard:
            with pytest.raises(BrokenProcessPool):
                standard.submit(*call).result(WAIT_S)
            with pytest.raises(BrokenProcessPool):
                standard.submit(tasks.square, 2)
        with pytest.raises((paceline.ArgumentNotRebuilt, paceline.ResultNotRebuilt)) as caught:
            executor.submit(*call).result(WAIT_S)
        assert isinstance(caught.value, BrokenProcessPool)
        assert executor.submit(tasks.square, 2).result() == 4


@shows("exception-rebuild")
def test_exception_that_pickle_cannot_rebuild(standard_executor, executor):
    call = (tasks.raise_error, tasks.TwoArguments, 1, 2)
    with pytest.raises(BrokenProcessPool):
        standard_executor.submit(*call).result(WAIT_S)
    with pytest.raises(tasks.TwoArguments, match="1 and 2") as caught:
        executor.submit(*call).result(WAIT_S)
    assert (caught.value.left, caught.value.right) == (1, 2)


@shows("lost-worker")
def test_worker_that_dies(standard_executor, executor, tmp_path):
    with pytest.raises(BrokenProcessPool):
        standard_executor.submit(tasks.die).result(WAIT_S)
    with pytest.raises(BrokenProcessPool):
        standard_executor.submit(tasks.square, 2)
    with pytest.raises(paceline.WorkerDied) as caught:
        executor.submit(tasks.die).result(WAIT_S)
    assert isinstance(caught.value, BrokenProcessPool)
    assert executor.submit(tasks.square, 2).result() == 4
    source = """
import os, tasks
if __name__ == "__main__":
    pool = Pool(1)
    lost = pool.apply_async(tasks.leave, (3,))
    # Made by the worker that took the place of the lost one.
    pool.apply(tasks.square, (2,))
    try:
        lost.get(0.5)
    except Exception as error:
        print(type(error).__name__)
    pool.terminate()
"""
    assert run_both(tmp_path, source) == [["TimeoutError"], ["WorkerDied"]]


@shows("exit-in-a-call")
def test_call_that_exits(tmp_path):
    source = """
import sys, tasks
if __name__ == "__main__":
    pool = Pool(1)
    lost = pool.apply_async(tasks.raise_error, (SystemExit, 3))
    pool.apply(tasks.square, (2,))
    try:
        lost.get(0.5)
    except BaseException as error:
        print(type(error).__name__)
    pool.terminate()
"""
    assert run_both(tmp_path, source) == [["TimeoutError"], ["SystemExit"]]


@shows("map-chunksize")
def test_map_with_a_chunksize_below_one(standard_pool, pool):
    assert standard_pool.map(tasks.square, [1, 2], 0) == [None, None]
    with pytest.raises(ValueError, match="chunksize must be at least 1, not 0"):
        pool.map(tasks.square, [1, 2], 0)


@shows("map-failure")
def test_map_whose_calls_fail(standard_pool, pool, tmp_path):
    for number, (make, expected) in enumerate(((standard_pool, ["0"]), (pool, ["0", "1", "2", "3"]))):
        path = str(tmp_path / f"notes{number}")
        with pytest.raises(ZeroDivisionError):
            make.map(partial(note_and_divide, path), range(4), chunksize=4)
        assert (tmp_path / f"notes{number}").read_text().split() == expected


def note_and_divide(path, number):
    return 1 / (tasks.note(path, number) and 1) if number == 0 else tasks.note(path, number)


@shows("imap-failed-chunk")
def test_imap_with_a_chunk_of_which_one_call_fails(standard_pool, pool):
    results = standard_pool.imap(partial(tasks.fail_on, 2), range(8), 4)
    with pytest.raises(ValueError, match="bad 2"):
        next(results)
    results = pool.imap(partial(tasks.fail_on, 2), range(8), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="bad 2"):
        next(results)


@shows("imap-reads-lazily")
def test_imap_of_a_long_input(standard_pool, pool):
    def items(read, all_read):
        for number in range(5000):
            read.append(number)
            yield number
        all_read.set()

    read, all_read = [], threading.Event()
    results = standard_pool.imap(tasks.square, items(read, all_read))
    assert all_read.wait(WAIT_S)
    assert len(list(results)) == 5000
    read, all_read = [], threading.Event()
    results = pool.imap(tasks.square, items(read, all_read))
    # Twice as many as there may be ahead; then there is nothing more to come.
    taken = list(itertools.islice(results, 512))
    assert len(read) <= len(taken) + max(4 * 2, 256)
    assert not all_read.is_set()
    assert len(list(results)) == 5000 - 512
    assert all_read.is_set()


@shows("submit-waits")
def test_submission_of_more_than_fits(standard_pool, gate):
    larger = bytes(3_000_000)

    def submit_to(pool):
        """Whether a call is taken while the one before it holds the worker."""
        futures = [pool.apply_async(tasks.through, (gate.path, bytes(2_000_000)))]
        taken = threading.Event()

        def submit_another():
            futures.append(pool.apply_async(tasks.size, (larger,)))
            taken.set()

        thread = threading.Thread(target=submit_another)
        thread.start()
        gate.wait_for_arrival()
        was_taken = taken.wait(WAIT_S if pool is standard_pool else 0.5)
        gate.let_through()
        thread.join(WAIT_S)
        assert futures[1].get(WAIT_S) == len(larger)
        return was_taken

    assert submit_to(standard_pool)
    with paceline.Pool(1, memory_budget="4MB") as pool:
        assert not submit_to(pool)


@shows("with-waits")
def test_with_block_of_a_pool_that_has_work(tmp_path):
    source = """
import tasks
if __name__ == "__main__":
    with Pool(1) as pool:
        late = pool.map_async(tasks.square, range(100_000), chunksize=1)
    print(late.ready() and len(late.get()))
"""
    assert run_both(tmp_path, source) == [["False"], ["100000"]]


@shows("with-ctrl-c")
def test_with_block_of_an_executor_left_by_ctrl_c(gate, tmp_path):
    source = """
import sys, tasks
if __name__ == "__main__":
    try:
        with ProcessPoolExecutor(1) as executor:
            future = executor.submit(tasks.through, sys.argv[1], "done")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        print("cancelled" if future.cancelled() else future.result())
"""
    outputs = []
    for module in ("concurrent.futures", "paceline"):
        script = tmp_path / "script.py"
        script.write_text(f"from {module} import ProcessPoolExecutor\n{source}")
        program = Program(str(script), gate.path)
        if module == "concurrent.futures":
            gate.wait_for_arrival()
            gate.let_through()
        code, out, err = program.finish()
        assert (code, err) == (0, "")
        outputs.append(out.split())
    assert outputs == [["done"], ["cancelled"]]


@shows("callback-failure")
def test_callback_that_raises(tmp_path):
    source = """
import multiprocessing, os, sys, tasks
def broken(value):
    raise ArithmeticError(value)
if __name__ == "__main__":
    pool = Pool(1)
    pool.apply_async(tasks.square, (2,), callback=broken)
    try:
        print(pool.apply_async(tasks.square, (3,)).get(1))
    except Exception as error:
        print(type(error).__name__)
    sys.stdout.flush()
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(0)
"""
    assert run_both(tmp_path, source) == [["TimeoutError"], ["9"]]


@shows("terminated-results")
def test_result_that_is_asked_for_after_terminate(gate, tmp_path):
    pools = []
    for make in (spawn.Pool, paceline.Pool):
        pool = make(1)
        result = pool.apply_async(tasks.through, (gate.path,))
        gate.wait_for_arrival()
        pool.terminate()
        pool.join()
        pools.append(result)
    with pytest.raises(multiprocessing.TimeoutError):
        pools[0].get(0.1)
    with pytest.raises(concurrent.futures.CancelledError):
        pools[1].get()


@shows("cancel")
def test_cancelling_what_no_worker_has_begun(standard_executor, gate):
    with paceline.ProcessPoolExecutor(1) as executor:
        for each, reached in ((standard_executor, False), (executor, True)):
            held = each.submit(tasks.through, gate.path)
            gate.wait_for_arrival()
            next_one = each.submit(tasks.square, 2)
            # The standard executor fills its queue in a thread of its own.
            deadline = time.monotonic() + WAIT_S
            while not reached and not next_one.running():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert next_one.cancel() is reached
            gate.let_through()
            held.result(WAIT_S)


@shows("forgotten-pool")
def test_pool_that_is_dropped(tmp_path):
    source = """
import gc, sys, tasks, warnings
def main():
    pool = Pool(1)
    pool.apply(tasks.square, (2,))
    pool = None
    gc.collect()
    pool = Pool(1)
    pool.starmap_async(tasks.note, [(sys.argv[0] + ".notes", number) for number in range(5000)], 1)
if __name__ == "__main__":
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ResourceWarning)
        main()
    print(*[warning.category.__name__ for warning in caught])
"""
    assert run_both(tmp_path, source) == [["ResourceWarning"], []]
    notes = [tmp_path / f"script{number}.py.notes" for number in range(2)]
    counts = [len(path.read_text().split()) if path.exists() else 0 for path in notes]
    assert counts[0] < 5000
    assert counts[1] == 5000


@shows("start-method")
def test_what_workers_have_of_the_programs_memory(tmp_path):
    source = """
from multiprocessing import get_context
import tasks
if __name__ == "__main__":
    tasks.set_shared("changed")
    with ProcessPoolExecutor(1, get_context("fork")) as executor:
        print(executor.submit(tasks.get_shared).result())
"""
    assert run_both(tmp_path, source, pool="ProcessPoolExecutor") == [["changed"], ["None"]]


@shows("main-script")
def test_script_in_the_workers(tmp_path):
    source = """
from multiprocessing import get_context
print("imported", flush=True)
def work(number):
    return number + 1
if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        print(executor.submit(work, 1).result())
"""
    standard, ours = run_both(tmp_path, source, pool="ProcessPoolExecutor")
    assert standard == ["imported", "imported", "2"]
    assert ours == ["imported", "2"]


@shows("eager-workers")
def test_workers_before_there_is_much_to_do():
    with make_standard_executor(3) as standard, paceline.ProcessPoolExecutor(3) as executor:
        for each, started in ((standard, 1), (executor, 3)):
            each.submit(tasks.square, 2).result(WAIT_S)
            assert len(each._processes) == started


@shows("callback-thread")
def test_thread_that_calls_a_callback():
    for make, same in ((multiprocessing.pool.ThreadPool, False), (partial(paceline.Pool, backend="threads"), True)):
        go, seen = threading.Event(), []

        def work(go=go):
            assert go.wait(WAIT_S)
            return threading.get_ident()

        with make(1) as pool:
            call = pool.apply_async(work, callback=lambda _, seen=seen: seen.append(threading.get_ident()))
            go.set()
            assert (call.get(WAIT_S) == seen[0]) is same
            pool.close()
            pool.join()


@shows("worker-output")
def test_streams_that_hear_what_a_worker_prints(tmp_path):
    source = """
import contextlib
import io
if __name__ == "__main__":
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), Pool(1) as pool:
        pool.apply(print, ("hello",))
        pool.close()
        pool.join()
    print(repr(heard.getvalue().strip()))
"""
    assert run_both(tmp_path, source) == [["''"], ["'hello'"]]


@shows("worker-logging")
def test_loggers_that_hear_a_worker(tmp_path):
    source = """
import logging
def work():
    logging.getLogger("work").warning("hello")
class Counter(logging.Handler):
    count = 0
    def emit(self, record):
        self.count += 1
if __name__ == "__main__":
    counter = Counter()
    logging.getLogger().addHandler(counter)
    with Pool(1) as pool:
        pool.apply(work)
        pool.close()
        pool.join()
    print(counter.count)
"""
    assert run_both(tmp_path, source) == [["0"], ["1"]]


@shows("native-threads")
def test_native_threads_that_a_worker_may_start(tmp_path):
    source = """
import os
os.environ.pop("OMP_NUM_THREADS", None)
def work():
    return os.environ.get("OMP_NUM_THREADS")
if __name__ == "__main__":
    with Pool(2) as pool:
        print(pool.apply(work))
"""
    standard, ours = run_both(tmp_path, source)
    assert standard == ["None"]
    assert int(ours[0]) >= 1
