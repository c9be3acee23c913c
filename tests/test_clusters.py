"""Pools on a cluster: what is Paceline's own is the same there, and what a cluster cannot do is refused at the call.

The contract of pools and executors is asked of clusters in `tests/contract`, their faults in `test_cluster_faults.py`.
"""

import contextlib
import gc
import os
import random
import time
from functools import partial
from queue import SimpleQueue

import pytest

import paceline
import tasks
from cluster_hosts import need, wait_until_gone
from paceline.backends import chosen_backend
from program import Program

WAIT_S = 60


@pytest.fixture(scope="module", params=["dask", "ray"])
def cluster(request):
    """A cluster of each engine, as a backend, with two workers."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def pool(cluster):
    with paceline.Pool(backend=cluster) as pool:
        yield pool


def test_pool_has_as_many_workers_as_the_cluster_has_threads(pool, gate):
    assert repr(pool) == "<paceline.Pool state=RUN pool_size=2>"
    mapped = pool.map_async(partial(tasks.through, gate.path), range(50), chunksize=1)
    assert gate.wait_for_arrival() != gate.wait_for_arrival(), "two workers run a task each at the same time"
    gate.let_through(50)
    assert mapped.get(WAIT_S) == list(range(50))


# -- the same numbers, chunks, options ---------------------------------------------------------------------------------


def drawn(item):
    return item, paceline.task_random().random(), paceline.current_task().number, paceline.current_task().index


def drawn_alone():
    return drawn("alone")


def test_random_numbers_are_those_of_every_other_backend(cluster):
    def run(backend):
        with paceline.Pool(2, seed=7, backend=backend) as pool:
            first = pool.map(drawn, range(30))
            single = pool.submit(drawn_alone).result()
            lazy = list(pool.imap(drawn, range(10), chunksize=3))
            costly = pool.map(drawn, range(9), cost=lambda item: item)
        return first, single, lazy, costly

    assert run(cluster) == run("processes") == run("threads")


def test_results_of_a_map_and_of_iterators_are_in_order_with_items_of_any_length(pool):
    def wait(item):
        time.sleep(random.Random(item).uniform(0, 0.004))
        return item

    assert pool.map(wait, range(300)) == list(range(300))
    assert list(pool.imap(wait, range(100))) == list(range(100))
    assert sorted(pool.imap_unordered(wait, range(100))) == list(range(100))


def test_endless_input_is_read_no_further_than_it_is_taken(pool):
    read = 0

    def count():
        nonlocal read
        while True:
            read += 1
            yield read

    results = pool.imap(tasks.identity, count(), buffersize=20)
    assert [next(results) for _ in range(50)] == list(range(1, 51))
    assert read <= 50 + 21
    del results


def test_short_items_are_sent_many_at_a_time(dask):
    with paceline.Pool(backend=dask) as pool:
        before = started(dask)
        assert pool.map(abs, range(20_000)) == list(range(20_000))
        assert started(dask) - before < 200


def started(dask):
    """How many tasks the engine has been given so far."""
    client = dask._connected()
    return client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter) // 3


def test_failures_stay_with_their_items(pool):
    results = pool.map(partial(tasks.fail_on, 3), range(6), on_error="return")
    assert results[:3] + results[4:] == [0, 1, 2, 4, 5]
    assert type(results[3]) is ValueError
    assert pool.map(partial(tasks.fail_on, 3), range(6), on_error="skip") == [0, 1, 2, 4, 5]
    with pytest.raises(paceline.TooManyFailures) as caught:
        pool.map(partial(tasks.fail_on, 3), [3] * 9, chunksize=1, on_error="skip", max_failures=2)
    assert len(caught.value.failures) > 2


class HomeMade(Exception):
    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")
        self.left = left


def raise_home_made(item):
    raise HomeMade(item, "b")


def test_exceptions_come_back_as_they_were_with_their_traceback(pool):
    with pytest.raises(HomeMade, match="a and b") as caught:
        pool.apply(raise_home_made, ("a",))
    assert caught.value.left == "a"
    assert "raise HomeMade" in str(caught.value.__cause__)
    assert "called with ('a',)" in str(caught.value.__cause__)


def fail_twice(item):
    attempt = paceline.current_task().attempt
    if attempt < 3:
        raise KeyError(attempt)
    return item, attempt


def test_calls_are_run_again_after_what_they_may_be_run_again_after(pool):
    assert pool.options(retries=2, retry_on=KeyError).map(fail_twice, range(3)) == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(KeyError, match="2"):
        pool.options(retries=1, retry_on=KeyError).apply(fail_twice, (0,))
    with pytest.raises(KeyError, match="1"):
        pool.options(retries=2, retry_on=OSError).apply(fail_twice, (0,))


def hang(item):
    if item == 2:
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)
    return item


def test_time_limit_kills_what_resists_and_nothing_else(pool):
    results = pool.options(timeout=0.3, grace=0.2).map(hang, range(5), on_error="return")
    assert results[:2] + results[3:] == [0, 1, 3, 4]
    error = results[2]
    assert type(error) is paceline.TaskTimeout
    assert (error.function, error.index, error.arguments, error.limit) == ("hang", 2, "(2,)", 0.3)
    assert any(note.startswith("on host ") for note in error.__notes__)


def die(item):
    if item == 1:
        os._exit(7)
    return item


def test_death_of_a_worker_costs_the_one_call(pool):
    results = pool.map(die, range(4), on_error="return")
    assert results[:1] + results[2:] == [0, 2, 3]
    assert type(results[1]) is paceline.WorkerDied
    assert (results[1].exit_code, results[1].index, results[1].arguments) == (7, 1, "(1,)")


def grow(item):
    return len(bytearray(400 << 20))


def test_memory_limit_holds_on_each_host(cluster):
    with paceline.Pool(backend=cluster, memory_limit="200MB") as pool:
        with pytest.raises(paceline.MemoryLimitExceeded):
            pool.apply(grow, (0,))
        assert pool.apply(abs, (-1,)) == 1


async def slept(item):
    import asyncio

    await asyncio.sleep(0.01)
    return item, paceline.current_task().index


def test_coroutine_functions_are_awaited_with_a_task_of_their_own_each(pool):
    assert pool.map(slept, "abc") == [("a", 0), ("b", 1), ("c", 2)]


def test_calls_can_be_awaited(pool):
    import asyncio

    async def main():
        one = await pool.run(tasks.square, 3)
        return one, [value async for value in pool.amap(tasks.square, range(5))]

    assert asyncio.run(main()) == (9, [0, 1, 4, 9, 16])


def test_context_variables_travel(cluster):
    from contextvars import ContextVar

    variable = ContextVar("variable")

    def read(_):
        return variable.get(None)

    with paceline.Pool(backend=cluster, context_vars=[variable]) as pool:
        variable.set("here")
        assert pool.map(read, range(2)) == ["here", "here"]
        variable.set("there")
        assert pool.apply(read, (0,)) == "there"


def test_initializer_that_raises_breaks_the_pool_with_its_traceback(cluster):
    with paceline.Pool(backend=cluster, initializer=tasks.fail) as pool:
        for _ in range(2):
            with pytest.raises(paceline.WorkerStartError, match="no"):
                pool.apply(abs, (1,))


def test_what_waits_can_be_cancelled_and_closing_waits_for_the_rest(cluster, gate):
    with paceline.Pool(1, backend=cluster) as pool:
        held = pool.submit(tasks.through, gate.path, "held")
        gate.wait_for_arrival()
        waiting = [pool.submit(abs, number) for number in range(3)]
        assert waiting[1].cancel()
        gate.let_through()
    assert (held.result(0), waiting[0].result(0), waiting[2].result(0)) == ("held", 0, 2)
    assert waiting[1].cancelled()


def test_terminated_pool_ends_what_runs_on_the_hosts(cluster, gate):
    with paceline.Pool(1, backend=cluster) as pool:
        running = pool.submit(tasks.through, gate.path)
        pid = gate.wait_for_arrival()
        pool.terminate()
        pool.join()
    assert running.cancelled()
    wait_until_gone([pid], WAIT_S)


# Sooner than a pool ends that has had nothing to do.
SOON_S = 10


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_pool_that_its_own_callback_ends_leaves_nothing_on_the_hosts(cluster, end):
    pool = paceline.Pool(1, backend=cluster)
    ended = SimpleQueue()

    def end_it(pid):
        getattr(pool, end)()
        pool.join()
        ended.put(pid)

    pool.apply_async(os.getpid, callback=end_it)
    wait_until_gone([ended.get(timeout=WAIT_S)], SOON_S)


def test_chunk_that_comes_after_the_end_of_its_pool_does_not_open_it_again():
    from paceline.clusters.carrier import opening_of
    from paceline.clusters.host import _Unwanted, end_pool, run_chunk
    from paceline.clusters.parcel import Reply, pack, unpack

    def chunk(key):
        return pack((key, opening_of(None, (), {}), [], []))

    # One that has not ended is opened by its first chunk.
    assert Reply(*unpack(run_chunk(chunk("test-of-late-chunks"), 1), "this test")).broken is None
    end_pool("test-of-late-chunks", True)
    with pytest.raises(_Unwanted):
        run_chunk(chunk("test-of-late-chunks"), 1)


def end_local_pools():
    from paceline.clusters import host

    for key in list(host._pools):
        host._drop_pool(key, at_once=True)


def test_chunk_whose_local_pool_is_ended_is_run_again(cluster, gate):
    with paceline.Pool(1, backend=cluster) as pool:
        mapped = pool.map_async(partial(tasks.through, gate.path), range(3), chunksize=3)
        first = gate.wait_for_arrival()
        cluster.everywhere(end_local_pools)
        assert gate.wait_for_arrival() != first
        gate.let_through(3)
        assert mapped.get(WAIT_S) == [0, 1, 2]


# -- what is told ------------------------------------------------------------------------------------------------------


def test_report_tells_hosts_and_processes(pool, tmp_path):
    future = pool.map_async(partial(tasks.fail_on, 3), range(40))
    future.wait(WAIT_S)
    report = pool.report()
    (host,) = {worker.host for worker in report.workers}
    assert host == os.uname().nodename
    assert report.items == 40
    assert sorted(index for worker in report.workers for index in worker.indices) == list(range(40))
    assert report.failures == {"raised": 1}
    assert f"({host}:{report.workers[0].pid})" in str(report)
    assert all(0 <= one.began <= one.ended <= report.wall_seconds + 0.01 for one in report.history.stretches)
    assert {worker.host for worker in future.report().workers} == {host}
    report.save(tmp_path / "report.json")
    assert paceline.Report.load(tmp_path / "report.json").history == report.history
    report.plot(tmp_path / "report.html")
    assert host in (tmp_path / "report.html").read_text()


# -- shared objects ----------------------------------------------------------------------------------------------------


def known_shares():
    from paceline.clusters import shares

    return len(shares._laid_out)


def item_of(words, place):
    return words[place], id(words), os.getpid()


def test_shared_object_is_sent_once_and_gone_with_its_handle(cluster, pool):
    words = paceline.share([str(number) for number in range(5000)])
    told = pool.starmap(item_of, [(words, place) for place in range(100)])
    assert [word for word, _, _ in told] == [str(place) for place in range(100)]
    # In each worker it is one and the same object.
    assert len({(identity, pid) for _, identity, pid in told}) == len({pid for _, _, pid in told})
    assert pool.apply(partial(item_of, words), (7,))[0] == "7"
    assert set(cluster.everywhere(known_shares)) <= {0, 1}
    assert sum(cluster.everywhere(known_shares)) >= 1
    del words
    gc.collect()
    deadline = time.monotonic() + WAIT_S
    while sum(cluster.everywhere(known_shares)) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def changed(array):
    array[0] += 1
    return float(array.sum()), array.flags.owndata


def test_shared_array_is_mapped_and_what_a_task_writes_is_taken_back(pool):
    np = pytest.importorskip("numpy")
    with paceline.share(np.ones(10_000)) as array:
        assert pool.map(changed, [array] * 20) == [(10_001.0, False)] * 20


def test_released_handle_is_refused(pool):
    words = paceline.share(["a"])
    words.release()
    with pytest.raises(paceline.ArgumentNotPicklable, match="released"):
        pool.apply(len, (words,))


# -- what a cluster cannot do ------------------------------------------------------------------------------------------


def test_array_that_all_write_to_is_refused_by_the_call(pool):
    pytest.importorskip("numpy")
    with pytest.raises(paceline.ArgumentNotPicklable, match="memory of this host"):
        pool.apply(changed, (paceline.empty(5),))


def test_resources_are_refused(cluster, pool):
    with pytest.raises(ValueError, match="resources are for worker processes of this machine"):
        paceline.Pool(backend=cluster, resources={"gpu": 1})
    with pytest.raises(ValueError, match="resources are for worker processes of this machine"):
        pool.options(resources={"gpu": 1})


def test_events_are_refused(pool):
    with pytest.raises(ValueError, match="runs its calls on a cluster"):
        pool.subscribe(print)


def test_what_cannot_be_pickled_raises_at_the_call_or_stays_with_its_item(pool):
    with pytest.raises(paceline.ArgumentNotPicklable, match="stays at home"):
        pool.apply_async(tasks.identity, (tasks.Unpicklable(),))
    with pytest.raises(paceline.ArgumentNotPicklable, match="stays at home"):
        pool.map_async(tasks.identity, [1, tasks.Unpicklable()])
    results = pool.map(tasks.identity, [1, tasks.Unpicklable()], on_error="return")
    assert results[0] == 1
    assert isinstance(results[1], paceline.ArgumentNotPicklable)
    with pytest.raises(paceline.ResultNotPicklable):
        pool.apply(tasks.unpicklable_result)


# -- which backend -----------------------------------------------------------------------------------------------------


def test_address_without_a_port_has_the_schedulers_own():
    from paceline.clusters.opening import cluster_of

    assert cluster_of("dask://far")._where == "tcp://far:8786"
    assert cluster_of("dask://far:99")._where == "tcp://far:99"
    assert cluster_of("dask")._where is None


def test_names_and_addresses_of_backends(monkeypatch):
    monkeypatch.delenv("PACELINE_BACKEND", raising=False)
    assert chosen_backend(None) == "processes"
    monkeypatch.setenv("PACELINE_BACKEND", "dask://host:8786")
    assert chosen_backend(None) == "dask://host:8786"
    assert chosen_backend("threads") == "threads"
    for name in ("Dask", "dask:", "dask://", "spark", ""):
        if name:
            with pytest.raises(ValueError, match=r"^backend must be"):
                chosen_backend(name)
    monkeypatch.setenv("PACELINE_BACKEND", "spark")
    with pytest.raises(ValueError, match=r"^the environment's PACELINE_BACKEND must be"):
        paceline.Pool(1)
    with pytest.raises(TypeError, match=r"clusters\.Dask"):
        paceline.Pool(1, backend=object())


# As a script, which is not imported again: without a guard, it would run once more in each process that did.
PROGRAM = """
import os, paceline
def where(item):
    return os.getppid()
with paceline.Pool(2) as pool:
    print(len(set(pool.map(where, range(20)))) and repr(pool.apply(pow, (2, 3))))
with paceline.ProcessPoolExecutor() as executor:
    print(list(executor.map(abs, [-1, -2])))
print(paceline.map(abs, [-3]), paceline.starmap(pow, [(2, 2)]), paceline.map_reduce(abs, max, [-4, 1]))
exp = paceline.Experiment(lambda n: n * n)
exp.add_grid(n=range(3))
print(exp.run()["value"].tolist() if hasattr(exp.run()["value"], "tolist") else list(exp.run()["value"]))
with paceline.Pool(1, backend="serial") as pool:
    print(pool.apply(os.getpid) == os.getpid())
"""


def test_environment_moves_a_program_to_a_cluster(dask, tmp_path):
    moves(dask._where.scheduler.address.replace("tcp", "dask"), tmp_path)


@pytest.mark.parametrize("backend", ["threads", "serial", "dask"])
def test_environment_moves_a_program_to_another_backend(backend, tmp_path):
    if backend == "dask":
        need("distributed")
    moves(backend, tmp_path)


def moves(backend, folder):
    script = folder / "program.py"
    script.write_text(PROGRAM)
    program = Program(str(script), PACELINE_BACKEND=backend)
    code, out, err = program.finish()
    assert code == 0, err
    assert out.splitlines() == ["8", "[1, 2]", "[3] [4] 4", "[0, 1, 4]", "True"]
    program.wait_until_nothing_is_left()


UNENDED = """
import paceline, time
def slow(item):
    time.sleep(0.5)
    return item
executor = paceline.ProcessPoolExecutor(backend="dask")
executor.submit(slow, 3).add_done_callback(lambda future: print(future.result()))
print("end")
"""


def test_program_that_ends_waits_for_what_it_has_submitted(tmp_path):
    need("distributed")
    script = tmp_path / "program.py"
    script.write_text(UNENDED)
    program = Program(str(script))
    code, out, err = program.finish()
    assert (code, out.split(), err) == (0, ["end", "3"], "")
    program.wait_until_nothing_is_left()


@pytest.mark.parametrize("address", ["127.0.0.1:8786/", "127.0.0.1:", "127.0.0.1:port", "::1", "tls://far:8786"])
def test_what_is_no_address_of_a_scheduler_is_told_plainly(address):
    pytest.importorskip("distributed")
    with pytest.raises(ValueError, match=r"is no address of a scheduler of Dask's: .*\nhint: it is like 'dask://host"):
        paceline.Pool(backend=f"dask://{address}")


def test_scheduler_that_is_not_there_is_told_plainly():
    pytest.importorskip("distributed")
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "300ms"}),
        pytest.raises(paceline.ClusterError, match=r"no scheduler of Dask's at tcp://127.0.0.1:9"),
    ):
        paceline.Pool(backend="dask://127.0.0.1:9")
