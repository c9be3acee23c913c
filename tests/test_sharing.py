"""`share` and `empty`: what is shared is sent once, never changes for others, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import paceline
from paceline import ArgumentNotPicklable, ArgumentNotRebuilt, Pool, WorkerDied

BIG = 1 << 18


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


def shared_files(pid=None):
    """How many files of shared memory a process has open or mapped."""
    process = Path("/proc", str(pid or os.getpid()))
    links = []
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(descriptor.readlink()))
    links += (process / "maps").read_text().splitlines()
    return sum("paceline-share" in link for link in links)


def total(array):
    return float(np.sum(array))


def scaled(array, factor):
    return float(array[0]) * factor


class Model:
    def __init__(self, weights):
        self.weights = weights

    def score(self, x):
        return float(self.weights[x])


# -- handles -----------------------------------------------------------------------------------------------------------


def test_function_gets_the_object_wherever_the_handle_is(pool):
    array = np.arange(BIG, dtype=float)
    handle = paceline.share(array)

    def look(first, nested, *, named):
        assert type(first) is np.ndarray
        return total(first), total(nested["deep"][0][1]), total(named)

    future = pool.submit(look, handle, {"deep": [(0, handle)]}, named=handle)
    assert future.result() == (array.sum(),) * 3
    assert pool.map(total, [handle] * 5) == [array.sum()] * 5
    assert pool.map(functools.partial(lambda a, x: float(a[x]), handle), [1, 2]) == [1.0, 2.0]


def test_handle_is_small_however_large_the_object_is(pool):
    with paceline.share(np.zeros(8 << 20)) as handle:
        assert handle.nbytes > 64 << 20
        before = pool.statistics().peak_input_bytes
        assert pool.map(len, [handle] * 1000) == [8 << 20] * 1000
        assert pool.statistics().peak_input_bytes < before + 200_000


@pytest.mark.parametrize(
    "obj",
    [
        {"a": [1, 2, 3]},
        "text" * 100_000,
        b"bytes" * 100_000,
        np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
        np.zeros((0, 4)),
        [np.ones(20_000), np.zeros(3)],
        np.ma.masked_array(np.arange(30_000), mask=np.arange(30_000) % 2 == 0),
        None,
    ],
    ids=["dict", "str", "bytes", "fortran", "zero-size", "list", "masked", "none"],
)
def test_objects_arrive_as_they_are(pool, obj):
    def same(given, sent):
        if isinstance(sent, np.ndarray):
            return (
                type(given) is type(sent)
                and given.flags.f_contiguous == sent.flags.f_contiguous
                and bool(np.array_equal(given, sent))
            )
        if isinstance(sent, list):
            return all(np.array_equal(one, two) for one, two in zip(given, sent, strict=True))
        return type(given) is type(sent) and given == sent

    handle = paceline.share(obj)
    assert pool.starmap(same, [(handle, obj)] * 4) == [True] * 4


def test_objects_of_the_script_itself_are_shared(pool):
    handle = paceline.share(Model(np.arange(BIG, dtype=float)))
    assert pool.starmap(Model.score, [(handle, 7), (handle, 9)]) == [7.0, 9.0]
    double = paceline.share(lambda x: 2 * x)
    assert pool.starmap(lambda function, x: function(x), [(double, 3)]) == [6]


def test_what_a_task_changes_nobody_else_sees(pool):
    array = np.zeros(BIG)
    handle = paceline.share(array)
    small = paceline.share({"list": [1]})

    def change(given, small):
        before = float(given[0]), float(given[-1]), list(small["list"]), given.shape
        given[0] = given[-1] = 5.0
        small["list"].append(2)
        given.shape = (2, -1)
        return before

    assert pool.starmap(change, [(handle, small)] * 20, chunksize=10) == [(0.0, 0.0, [1], (BIG,))] * 20
    assert array[0] == 0.0

    # Nor when it raises, or is stopped.
    def change_and_raise(given):
        given[:] = 7.0
        raise ValueError("on purpose")

    for _ in range(4):
        with pytest.raises(ValueError, match="on purpose"):
            pool.apply(change_and_raise, (handle,))
    assert pool.map(total, [handle] * 4) == [0.0] * 4


def test_what_this_process_changes_afterwards_is_not_shared(pool):
    array = np.zeros(BIG)
    handle = paceline.share(array)
    array[:] = 1.0
    assert pool.apply(total, (handle,)) == 0.0
    assert handle.get() is array


def test_call_keeps_what_it_needs_when_the_handle_has_gone(pool):
    def later(array):
        time.sleep(0.2)
        return total(array)

    handle = paceline.share(np.ones(BIG))
    futures = [pool.submit(later, handle) for _ in range(4)]
    handle.release()
    del handle
    assert [future.result() for future in futures] == [BIG] * 4
    kept = functools.partial(later, paceline.share(np.ones(BIG)))
    futures = [pool.submit(kept) for _ in range(4)]
    del kept
    gc.collect()
    assert [future.result() for future in futures] == [BIG] * 4


def test_functions_that_hold_shared_objects_do_not_fill_the_memory():
    with Pool(1) as pool:
        before = shared_files()
        for number in range(12):
            array = np.full(3 * BIG * 4, float(number))
            with paceline.share(array) as handle:
                assert pool.map(functools.partial(scaled, handle), [1, 2]) == [number, 2 * number]
            del handle
        # Those of 64 MB, in descriptors and mappings.
        assert shared_files() - before <= 2 * (64 * 2**20 // array.nbytes + 1)
        pool.close()
        gc.collect()
        assert shared_files() == before


def test_released_handle_is_refused_at_the_call(pool):
    with paceline.share(np.ones(BIG)) as handle:
        assert pool.apply(total, (handle,)) == BIG
    with pytest.raises(ArgumentNotPicklable, match="has been released"):
        pool.submit(total, handle)
    with pytest.raises(ValueError, match="has been released"):
        handle.get()
    assert "released" in repr(handle)
    handle.release()


def test_nothing_is_left_when_the_last_handle_has_gone():
    before = shared_files()
    with Pool(2) as pool:
        handles = [paceline.share(np.full(BIG, float(number))) for number in range(5)]
        assert pool.map(total, handles) == [BIG * float(number) for number in range(5)]
        pids = pool.map(lambda _: os.getpid(), range(20), chunksize=1)
        assert shared_files() > before
        del handles
        gc.collect()
        assert shared_files() == before

        # Workers let go with the next task, whatever that is.
        def next_task(_):
            time.sleep(0.05)
            return os.getpid()

        seen = set()
        while not seen >= set(pids):
            seen |= set(pool.map(next_task, range(4), chunksize=1))
        assert {pid: shared_files(pid) for pid in seen} == dict.fromkeys(seen, 0)


def test_function_that_cannot_be_sent_keeps_nothing_that_it_holds(pool):
    pool.apply(abs, (1,))
    before = shared_files()
    kept = functools.partial(total, paceline.share(np.ones(BIG)), threading.Lock())
    with pytest.raises(ArgumentNotPicklable):
        pool.submit(kept)
    del kept
    gc.collect()
    assert shared_files() == before


def test_task_may_keep_an_array_for_longer_than_it_is_shared(pool):
    def keep(array):
        import builtins

        builtins.kept_for_test = array
        return os.getpid()

    def look(_):
        import builtins

        time.sleep(0.05)
        kept = getattr(builtins, "kept_for_test", None)
        return None if kept is None else (total(kept), len(kept))

    handle = paceline.share(np.ones(BIG))
    pool.apply(keep, (handle,))
    del handle
    gc.collect()
    others = [paceline.share(np.zeros(BIG)) for _ in range(4)]
    assert pool.map(total, others * 2) == [0.0] * 8
    seen = [found for found in pool.map(look, range(8), chunksize=1) if found is not None]
    assert set(seen) == {(float(BIG), BIG)}
    pool.map(lambda _: (time.sleep(0.05), vars(__import__("builtins")).pop("kept_for_test", None))[0], range(8))


def test_death_of_a_worker_costs_one_task_and_no_share(pool):
    def die(array):
        array[:] = 3.0
        os.kill(os.getpid(), signal.SIGKILL)

    handle = paceline.share(np.ones(BIG))
    with pytest.raises(WorkerDied):
        pool.apply(die, (handle,))
    assert pool.map(total, [handle] * 6) == [float(BIG)] * 6


def test_initializer_of_every_worker_finds_it():
    def set_up(array):
        import builtins

        builtins.set_up_for_test = float(array.sum())

    def look(_):
        import builtins

        time.sleep(0.02)
        return os.getpid(), builtins.set_up_for_test

    with Pool(2, set_up, (paceline.share(np.ones(BIG)),)) as pool:
        gc.collect()
        seen = dict(pool.map(look, range(20), chunksize=1))
        with pytest.raises(WorkerDied):
            pool.apply(os._exit, (1,))
        seen |= dict(pool.map(look, range(40), chunksize=1))
        assert len(seen) >= 2
        assert set(seen.values()) == {float(BIG)}


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_workers_of_every_kind_find_it(start_method):
    handle = paceline.share(np.ones(BIG))
    with Pool(2, start_method=start_method) as pool:
        assert pool.map(total, [handle] * 4) == [float(BIG)] * 4


def test_workers_of_workers_find_it(pool):
    handle = paceline.share(np.ones(BIG))

    def nested(array):
        again = paceline.share(array)
        with Pool(1) as inner:
            return inner.map(total, [again, array])

    assert pool.apply(nested, (handle,)) == [float(BIG)] * 2


def test_threads_and_the_caller_itself_are_given_the_very_object():
    array = np.ones(10)
    handle = paceline.share(array)
    for backend in ("threads", "serial"):
        with Pool(2, backend=backend) as pool:
            assert pool.map(id, [handle, handle]) == [id(array)] * 2
            assert pool.starmap(lambda a, b: (a is array, b[0]["x"] is array), [(handle, [{"x": handle}])]) == [
                (True, True)
            ]
            assert pool.submit(lambda *, a: a is array, a=handle).result()
            assert pool.map(list, [[1, 2]]) == [[1, 2]]


def test_await_and_imap_take_handles(pool):
    handle = paceline.share(np.ones(BIG))

    async def main():
        return [await pool.run(total, handle)] + [value async for value in pool.amap(total, [handle] * 3)]

    assert asyncio.run(main()) == [float(BIG)] * 4
    assert list(pool.imap(total, (handle for _ in range(5)))) == [float(BIG)] * 5

    async def coroutine(array):
        await asyncio.sleep(0.01)
        return total(array)

    assert pool.map(coroutine, [handle] * 5) == [float(BIG)] * 5


def test_copies_of_a_handle_are_the_handle():
    handle = paceline.share([1])
    assert copy.copy(handle) is handle
    assert copy.deepcopy({"a": handle})["a"] is handle


def test_what_cannot_be_shared_says_so():
    with pytest.raises(ArgumentNotPicklable, match="cannot pickle a shared object"):
        paceline.share({"a": threading.Lock()})
    with pytest.raises(MemoryError, match="shared memory"):
        paceline.empty(1 << 50, "u1")


def test_task_that_finds_the_memory_gone_says_so(pool):
    program = (
        "import os, sys, time, pickle, paceline\n"
        "handle = paceline.share(bytes(1_000_000))\n"
        "sys.stdout.buffer.write(pickle.dumps(handle)); sys.stdout.flush(); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    data = os.read(other.stdout.fileno(), 10_000)
    other.communicate()

    class Late:
        def __reduce__(self):
            import pickle

            return pickle.loads, (data,)

    with pytest.raises(ArgumentNotRebuilt, match="the shared memory is gone"):
        pool.apply(len, (Late(),))


# -- arrays that all write to ------------------------------------------------------------------------------------------


def fill(part, value):
    part[...] = value


def test_workers_write_to_views_of_an_empty_array(pool):
    array = paceline.empty((8, 1000))
    assert not array.any()
    pool.starmap(fill, [(array[row], row) for row in range(8)])
    assert (array == np.arange(8.0)[:, None]).all()
    pool.starmap(fill, [(array.T[::2], -1.0), (array[::-1, 1::2][0], 5.0)])
    assert (array[:, ::2] == -1.0).all()
    assert (array[7, 1::2] == 5.0).all()
    assert (array[6, 1::2] == 6.0).all()


@pytest.mark.parametrize("dtype", ["i1", "<U5", "datetime64[s]", [("a", "i4"), ("b", "f8")], "complex128", ">f4"])
def test_empty_arrays_have_any_type_but_objects(pool, dtype):
    array = paceline.empty((3, 4), dtype)
    assert array.dtype == np.dtype(dtype)
    value = np.ones((), "i8").astype(dtype) if dtype != "<U5" else "abc"

    def set_all(part, value):
        part[...] = value
        return part.dtype.str

    assert pool.starmap(set_all, [(array, value)]) == [np.dtype(dtype).str]
    assert (array == value).all()


def test_only_views_are_shared_and_what_is_computed_is_not(pool):
    array = paceline.empty(1000)

    def set_one(part):
        part[0] = 1.0
        return type(part).__name__

    computed = array + 0
    assert type(computed) is np.ndarray
    assert type(array.sum()) is np.float64
    copied = array.copy()
    assert pool.map(set_one, [computed, copied, array[5:]]) == ["ndarray", "ndarray", "SharedArray"]
    assert (computed[0], copied[0], array[0], array[5]) == (0.0, 0.0, 0.0, 1.0)
    array += 1
    assert type(array).__name__ == "SharedArray"


def test_view_outlives_the_name_of_its_array(pool):
    view = paceline.empty(1000)[10:20]
    gc.collect()
    pool.apply(fill, (view, 3.0))
    assert view.sum() == 30.0
    before = shared_files()
    del view
    gc.collect()
    assert shared_files() < before


def test_returned_view_is_an_array_of_its_own(pool):
    array = paceline.empty((2, 1000))
    array[1] = 4.0
    row = pool.apply(lambda part: part[1], (array,))
    assert type(row) is np.ndarray
    assert row.sum() == 4000.0
    future = pool.submit(lambda count: paceline.empty(count) + 1, 5)
    assert future.result().sum() == 5.0

    def make(count):
        made = paceline.empty(count)
        made[:] = count
        return made

    assert [made.sum() for made in pool.map(make, range(1, 10))] == [count**2 for count in range(1, 10)]


@pytest.mark.parametrize("kind", ["small", "pickled", "with holes"])
def test_arrays_of_every_size_are_taken_back(pool, kind):
    def make():
        return {"small": np.zeros(10), "pickled": np.zeros(8191), "with holes": np.zeros((1000, 1000))[:, ::2]}[kind]

    handle = paceline.share(make())
    inside = paceline.share({"array": np.ascontiguousarray(make())})

    def add(array, inside, amount):
        array.flat[0] += amount
        inside["array"].flat[0] += amount
        return float(array.flat[0]), float(inside["array"].flat[0])

    seen = [pool.apply(add, (handle, inside, amount)) for amount in (0, 1, 0, 1, 0, 0)]
    assert seen == [(0.0, 0.0), (1.0, 1.0)] * 2 + [(0.0, 0.0)] * 2


def test_what_a_function_holds_is_taken_back_too(pool):
    handle = paceline.share(np.zeros(BIG))

    def add(array, _):
        array[0] += 1
        return float(array[0])

    function = functools.partial(add, handle)
    assert [pool.map(function, range(6)) for _ in range(3)] == [[1.0] * 6] * 3
    assert pool.map(total, [handle] * 4) == [0.0] * 4


def test_handles_inside_of_what_is_shared_live_as_long(pool):
    inner = {"array": paceline.share(np.ones(BIG))}
    outer = paceline.share(inner)
    inner.clear()
    gc.collect()
    assert pool.map(lambda given: total(given["array"]), [outer] * 4) == [float(BIG)] * 4


def test_empty_refuses_what_makes_no_array():
    with pytest.raises(ValueError, match="objects of one process"):
        paceline.empty(3, object)
    with pytest.raises(ValueError, match="negative"):
        paceline.empty((3, -1))
    with pytest.raises(TypeError):
        paceline.empty("ab")
    with pytest.raises(TypeError):
        paceline.empty(3, "no such type")
    assert paceline.empty(0).shape == (0,)
    assert paceline.empty((), int).shape == ()


def test_dying_writer_leaves_what_it_has_written(pool):
    array = paceline.empty(1000)

    def write_and_die(part):
        part[:500] = 1.0
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDied):
        pool.apply(write_and_die, (array,))
    assert array.sum() == 500.0
    pool.apply(fill, (array, 2.0))
    assert array.sum() == 2000.0


def test_idle_workers_let_go_after_a_while():
    with Pool(1) as pool:
        handle = paceline.share(np.ones(BIG))
        assert pool.apply(total, (handle,)) == BIG
        (pid,) = (process.pid for process in pool._pool)
        del handle
        assert shared_files(pid) > 0
        deadline = time.monotonic() + 60
        while shared_files(pid) > 0:
            assert time.monotonic() < deadline
            time.sleep(0.2)
