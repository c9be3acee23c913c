"""`ProcessPoolExecutor`: what it promises beyond what the contract suite compares with the standard library."""

import concurrent.futures
import itertools
import multiprocessing
import pickle
import threading
from concurrent.futures.process import BrokenProcessPool

import pytest

import paceline
import tasks
from paceline import ProcessPoolExecutor, ThreadPoolExecutor


def test_executor_is_one_of_the_standard_librarys(executor):
    assert isinstance(executor, concurrent.futures.Executor)
    future = executor.submit(tasks.collect, 1, key=2)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == ((1,), {"key": 2})


def test_submit_takes_every_keyword(executor):
    assert executor.submit(tasks.collect, self=1, fn=2).result() == ((), {"self": 1, "fn": 2})


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_takes_several_iterables_to_the_shortest(executor, chunksize):
    assert list(executor.map(tasks.add, range(10), itertools.count(), chunksize=chunksize)) == list(range(0, 20, 2))
    assert list(executor.map(tasks.square, [], chunksize=chunksize)) == []
    assert list(executor.map(tasks.collect, chunksize=chunksize)) == []


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_gives_the_results_before_a_failure_and_ends_there(executor, chunksize):
    results = executor.map(tasks.fail_on, itertools.repeat(5), range(20), chunksize=chunksize)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="bad 5"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_timeout_counted_from_the_call(executor, gate, chunksize):
    results = executor.map(tasks.through, itertools.repeat(gate.path), [1, 2], timeout=0.05, chunksize=chunksize)
    with pytest.raises(TimeoutError):
        list(results)
    gate.let_through(2)


def test_map_with_a_buffersize_reads_no_further(executor):
    read = []

    def items():
        for number in itertools.count():
            read.append(number)
            yield number

    results = executor.map(tasks.square, items(), buffersize=3)
    assert read == [0, 1, 2]
    assert [next(results) for _ in range(10)] == [number * number for number in range(10)]
    assert len(read) == 13
    results.close()


def test_map_checks_its_options(executor):
    with pytest.raises(ValueError, match=r"chunksize must be >= 1\."):
        executor.map(tasks.square, [1], chunksize=0)
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        executor.map(tasks.square, [1], buffersize=0)
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        executor.map(tasks.square, [1], buffersize="1")


def test_closing_the_results_of_map_cancels_what_has_not_begun(gate):
    with ProcessPoolExecutor(1) as executor:
        results = executor.map(tasks.through, itertools.repeat(gate.path, 50))
        gate.wait_for_arrival()
        gate.let_through()
        next(results)
        results.close()
        gate.let_through(2)
    assert executor.report().items <= 3


def test_shut_down_executor_refuses_calls():
    executor = ProcessPoolExecutor(1)
    executor.shutdown()
    for call in (executor.submit, executor.map):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            call(tasks.square, [1])
    executor.shutdown()


def test_shutdown_without_waiting_still_does_the_work(gate):
    executor = ProcessPoolExecutor(1)
    future = executor.submit(tasks.through, gate.path, "done")
    gate.wait_for_arrival()
    executor.shutdown(wait=False)
    assert not future.done()
    gate.let_through()
    assert future.result() == "done"


def test_shutdown_can_cancel_what_has_not_begun(gate):
    executor = ProcessPoolExecutor(1)
    running = executor.submit(tasks.through, gate.path, "done")
    gate.wait_for_arrival()
    waiting = [executor.submit(tasks.square, number) for number in range(2000)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.let_through()
    executor.shutdown(wait=True)
    assert running.result() == "done"


def test_forgotten_executor_still_does_its_work(tmp_path):
    path = str(tmp_path / "notes")
    future = ProcessPoolExecutor(2).submit(tasks.note, path, 1)
    assert future.result() == 1
    executor = ProcessPoolExecutor(1)
    for number in range(100):
        executor.submit(tasks.note, path, number)
    last = executor.submit(tasks.note, path, "last")
    del executor
    last.result()
    assert len((tmp_path / "notes").read_text().split()) == 102


def test_constructor_checks_its_arguments_as_the_standard_library_does():
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        ProcessPoolExecutor(0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        ProcessPoolExecutor(1, initializer=5)
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        ProcessPoolExecutor(1, max_tasks_per_child="1")
    with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
        ProcessPoolExecutor(1, max_tasks_per_child=0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_contexts_of_every_start_method_are_taken(method):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method), tasks.set_shared, (3,)) as executor:
        assert executor.submit(tasks.get_shared).result() == 3


def test_fork_context_with_max_tasks_per_child_is_refused_as_in_the_standard_library():
    with pytest.raises(ValueError, match="incompatible with the 'fork' multiprocessing start method"):
        ProcessPoolExecutor(1, multiprocessing.get_context("fork"), max_tasks_per_child=1)


def test_max_tasks_per_child_replaces_workers():
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as executor:
        assert len({executor.submit(tasks.pid).result() for _ in range(3)}) == 3


def test_broken_initializer_breaks_the_executor_as_in_the_standard_library():
    with ProcessPoolExecutor(1, initializer=tasks.fail) as executor:
        future = executor.submit(tasks.square, 1)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            future.result()
        with pytest.raises(paceline.WorkerStartError):
            executor.submit(tasks.square, 1)


def test_executor_cannot_be_pickled(executor):
    with pytest.raises(NotImplementedError):
        pickle.dumps(executor)


def test_ctrl_c_leaves_the_with_block_at_once(gate):
    with pytest.raises(KeyboardInterrupt), ProcessPoolExecutor(1) as executor:  # noqa: PT012 - the `with` is tested.
        future = executor.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        raise KeyboardInterrupt
    assert future.cancelled()


def test_results_of_map_are_not_kept_alive(executor):
    class Marked:
        alive = 0

        def __init__(self, value):
            self.value = value
            type(self).alive += 1

        def __del__(self):
            type(self).alive -= 1

        def __reduce__(self):
            return Marked, (self.value,)

    results = executor.map(Marked, range(5))
    next(results)
    assert Marked.alive == 0
    for value in results:
        assert Marked.alive == 1
        del value


def test_calls_of_many_threads_all_arrive(executor):
    sums = []

    def submit():
        sums.append(sum(executor.map(tasks.square, range(100))))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [328350] * 8


@pytest.mark.parametrize("method", ["terminate_workers", "kill_workers"])
def test_workers_that_are_ended_fail_what_they_run_and_the_rest_is_cancelled(gate, method):
    executor = ProcessPoolExecutor(1)
    running = executor.submit(tasks.through, gate.path)
    gate.wait_for_arrival()
    waiting = [executor.submit(tasks.square, number) for number in range(10)]
    getattr(executor, method)()
    with pytest.raises(BrokenProcessPool, match="SIGTERM" if method == "terminate_workers" else "SIGKILL"):
        running.result(30)
    assert all(future.cancelled() for future in waiting)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(tasks.square, 1)
    executor.shutdown()


def test_processes_of_an_executor_can_be_watched_and_ended(gate):
    with ProcessPoolExecutor(2) as executor:
        assert executor._max_workers == 2
        processes = executor._processes
        future = executor.submit(tasks.through, gate.path)
        pid = gate.wait_for_arrival()
        assert sorted(processes) == sorted(executor._engine.pids())
        assert processes[pid].is_alive()
        processes[pid].kill()
        processes[pid].join(30)
        assert not processes[pid].is_alive()
        processes[pid].terminate()
        with pytest.raises(paceline.WorkerDied, match="SIGKILL"):
            future.result(30)


def test_proxies_of_a_manager_work_in_workers():
    with multiprocessing.get_context("spawn").Manager() as manager, ProcessPoolExecutor(2) as executor:
        shared = manager.dict()
        list(executor.map(shared.__setitem__, range(4), "abcd"))
        assert shared.copy() == dict(enumerate("abcd"))


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_unordered_gives_every_result_once(executor, chunksize):
    assert sorted(executor.map_unordered(tasks.square, range(20), chunksize=chunksize)) == [n * n for n in range(20)]
    pairs = executor.map_unordered(tasks.add, range(10), itertools.count(1), chunksize=chunksize)
    assert sorted(pairs) == list(range(1, 20, 2))
    assert list(executor.map_unordered(tasks.square, [], chunksize=chunksize)) == []


def test_map_unordered_gives_what_ends_first_and_goes_on_after_a_failure(executor, gate):
    calls = iter([(tasks.through, gate.path), (tasks.square, 2), (tasks.fail, "no"), (tasks.square, 3)])
    results = executor.map_unordered(lambda call: call[0](call[1]), calls)
    gate.wait_for_arrival()
    seen = []
    for _ in range(3):
        try:
            seen.append(results.next(30))
        except ValueError as error:
            seen.append(str(error))
    assert seen == [4, "no", 9]
    with pytest.raises(TimeoutError):
        results.next(0)
    gate.let_through()
    assert list(results) == [None]


def test_map_unordered_reads_no_further_than_its_buffersize(executor):
    read = []

    def items():
        for number in itertools.count():
            read.append(number)
            yield number

    results = executor.map_unordered(tasks.square, items(), buffersize=3)
    taken = {next(results) for _ in range(10)}
    assert len(taken) == 10
    assert len(read) <= 13
    del results


def test_map_unordered_checks_its_options(executor):
    with pytest.raises(ValueError, match=r"chunksize must be >= 1\."):
        executor.map_unordered(tasks.square, [1], chunksize=0)
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        executor.map_unordered(tasks.square, [1], buffersize=0)


def test_shutdown_reads_a_sized_input_to_its_end_and_no_other():
    executor = ProcessPoolExecutor(1)
    sized = executor.map_unordered(tasks.square, range(1000))
    endless = executor.map_unordered(tasks.square, itertools.count())
    executor.shutdown()
    assert len(list(sized)) == 1000
    with pytest.raises(paceline.PoolClosed, match="shut down before this was read"):
        list(endless)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map_unordered(tasks.square, [1])


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_map_calls_the_submit_of_a_subclass(kind):
    submitted = []

    class Counting(kind):
        def submit(self, fn, /, *args, **kwargs):
            submitted.append(args)
            return super().submit(fn, *args, **kwargs)

    with Counting(2) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
    assert submitted == [(-1,), (-2,)]
