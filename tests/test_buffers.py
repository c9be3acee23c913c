"""Large buffers of arguments and results: they travel beside their pickle, and whoever gets them may change them.

That everything arrives as it was is seen to in `test_round_trips`.
"""

import array
import asyncio
import itertools
import os
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import tasks
from paceline import Pool, ProcessPoolExecutor, WorkerDied

KB = 1 << 10
MB = 1 << 20

# Python 3.12 and later warn of it.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

RNG = np.random.default_rng(5)


def test_buffers_anywhere_in_the_arguments(pool):
    def total(first, *others, last):
        return float(first["deep"][0].sum() + sum(other.sum() for other in others) + last.sum())

    big = np.ones(100_000)
    assert pool.submit(total, {"deep": (big,)}, big, big * 2, last=big).result() == 500_000
    assert pool.apply(len, (array.array("d", bytes(MB)),)) == MB // 8


def add_one(values):
    values += 1
    return float(values.sum())


def test_what_a_task_writes_into_its_arguments_harms_nobody(pool):
    values = np.zeros(100_000)
    assert pool.map(add_one, [values] * 6, chunksize=3) == [100_000.0] * 6
    assert pool.apply(add_one, (values,)) == 100_000
    assert not values.any()


def test_what_comes_again_in_a_retry_is_as_it_was(tmp_path):
    def spoil_and_die_once(values):
        total = add_one(values)
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            tasks.die()
        return total

    with Pool(1, retries=1) as pool:
        assert pool.apply(spoil_and_die_once, (np.zeros(100_000),)) == 100_000


KEPT = []


def keep(values):
    KEPT.append(values)


async def keep_later(values):
    await asyncio.sleep(0)
    keep(values)


def keep_and_fail(values):
    keep(values)
    raise ValueError


def kept(_=None):
    return [(float(values.min()), float(values.max())) for values in KEPT]


@pytest.mark.parametrize("keeps", [keep, keep_later, keep_and_fail])
def test_what_a_task_keeps_of_its_arguments_stays_as_it_was(keeps):
    with Pool(1) as pool:
        for number in range(8):
            pool.submit(keeps, np.full(50_000, float(number))).exception(30)
        for number in range(8, 12):
            pool.map_async(keeps, [np.full(50_000, float(number))] * 2, 2).exception(30)
        seen = pool.apply(kept)
    expected = [*range(8), 8, 8, 9, 9, 10, 10, 11, 11]
    assert seen == [(float(number), float(number)) for number in expected]


def test_input_that_is_changed_between_two_items_is_sent_as_it_was(pool):
    def changing():
        values = np.zeros(100_000)
        for number in range(6):
            values[:] = number
            yield values

    assert pool.map(np.max, changing()) == [0, 1, 2, 3, 4, 5]


def shared_bytes(process):
    maps = [part for part in process.memory_maps(grouped=False) if "memfd:paceline-inputs" in part.path]
    return sum(part.rss for part in maps)


def test_the_same_array_is_sent_once_in_one_map():
    values = RNG.random(4 * MB // 8)
    with Pool(1) as pool:
        assert pool.map(np.size, [values] * 20) == [values.size] * 20
        assert shared_bytes(psutil.Process()) < 8 * MB


def test_memory_of_buffers_is_used_again(pool):
    values = RNG.random(4 * MB // 8)
    for _ in range(40):
        assert pool.apply(np.size, (values,)) == values.size
    assert shared_bytes(psutil.Process()) < 16 * MB


def test_buffers_of_what_is_refused_are_freed():
    values = RNG.random(4 * MB // 8)
    pool = Pool(1)
    with pytest.raises(TypeError, match="pickle"):
        pool.map(np.size, [values, threading.Lock()])
    pool.close()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.apply(np.size, (values,))
    pool.join()


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_buffers_arrive_however_workers_start(method):
    with ProcessPoolExecutor(1, start_method=method) as executor:
        assert executor.submit(np.sum, np.ones((500, 500))).result(60) == 250_000


def test_a_worker_that_dies_with_a_buffer_costs_its_task(pool):
    values = RNG.random((300, 400))

    def end(values):
        values += 1
        os._exit(3)

    with pytest.raises(WorkerDied) as caught:
        pool.apply(end, (values,))
    assert caught.value.arguments == "(<array of float64, shape (300, 400)>,)"
    assert pool.apply(np.shape, (values,)) == (300, 400)


def test_a_failure_tells_of_an_array_by_its_shape(pool):
    with pytest.raises(TypeError) as caught:
        pool.apply(tasks.fail_on, (RNG.random((300, 400)),))
    assert "called with (<array of float64, shape (300, 400)>,)" in caught.value.__cause__.details


def test_large_results_are_not_copied_and_can_be_changed(pool):
    result = pool.apply(np.ones, (2 * MB,))
    address = result.__array_interface__["data"][0]
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "paceline-results" in line]
    assert any(int(start, 16) <= address < int(end, 16) for start, end in ranges)
    result[::1000] = 5
    again = pool.apply(np.ones, (2 * MB,))
    assert result.sum() == 2 * MB + 4 * len(result[::1000])
    assert again.sum() == 2 * MB


def test_results_that_are_kept_stay_as_they_are(pool):
    kept = [pool.apply(np.full, ((200_000,), float(number))) for number in range(20)]
    for number, result in enumerate(kept):
        assert (result == number).all()
    rest = kept[::2]
    del kept
    more = [pool.apply(np.full, ((200_000,), float(number))) for number in range(100, 120)]
    assert [result[-1] for result in rest] == list(range(0, 20, 2))
    assert [result[0] for result in more] == list(range(100, 120))


def test_memory_of_results_goes_back_when_they_are_collected():
    def peak(rounds):
        for _ in range(rounds):
            assert pool.apply(np.ones, (MB,)).sum() == MB
        (worker,) = psutil.Process().children(recursive=True)[-1:]
        return sum(part.rss for part in worker.memory_maps(grouped=False) if "paceline-results" in part.path)

    with Pool(1) as pool:
        once = peak(3)
        assert peak(30) <= once + 8 * MB


def test_results_outlive_their_workers_and_their_pool():
    with Pool(2) as pool:
        results = pool.map(np.ones, [300_000, 400_000], 1)
        futures = [pool.submit(np.ones, 500_000) for _ in range(2)]
        pool.close()
        pool.join()
    results += [future.result() for future in futures]
    assert [int(result.sum()) for result in results] == [300_000, 400_000, 500_000, 500_000]


def test_result_that_refers_to_the_same_buffer_twice(pool):
    def twice():
        values = np.zeros(200_000)
        return values, values, values[10:].copy()

    first, second, third = pool.apply(twice)
    assert first is second
    assert len(third) == 199_990


@forks
def test_a_forked_child_harms_no_result(pool):
    result = pool.apply(np.ones, (MB,))
    child = os.fork()
    if child == 0:
        result[:] = 7
        del result
        os._exit(0)
    os.waitpid(child, 0)
    others = [pool.apply(np.zeros, (MB,)) for _ in range(4)]
    assert result.sum() == MB
    assert not any(other.any() for other in others)


def wait_for_a_byte_and_check(pipe, values, number):
    os.read(pipe, 1)
    os._exit(0 if (values == number).all() else 1)


@forks
def test_a_forked_child_keeps_the_results_that_it_has_inherited(pool):
    result = pool.apply(np.full, ((MB,), 7.0))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        wait_for_a_byte_and_check(reading, result, 7)
    del result
    for number in range(6):
        assert pool.apply(np.full, ((MB,), float(number))).sum() == number * MB
    os.write(writing, b".")
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    os.close(writing)


def check_in_a_child(gate, note, values):
    reading = os.open(gate, os.O_RDWR)
    if os.fork() == 0:
        # Twice, so that the worker need not wait for it.
        child = os.fork()
        if child == 0:
            wait_for_a_byte_and_check(reading, values, 7)
        tasks.note(note, str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        os._exit(0)


def test_a_child_of_a_task_keeps_the_arguments_that_it_has_inherited(tmp_path, gate):
    with Pool(1) as pool:
        pool.apply(check_in_a_child, (gate.path, str(tmp_path / "note"), np.full(MB, 7.0)))
        for number in range(6):
            assert pool.apply(np.sum, (np.full(MB, float(number)),)) == number * MB
        gate.let_through()
        deadline = time.monotonic() + 60
        while not (tmp_path / "note").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert (tmp_path / "note").read_text().strip() == "0"


def test_buffers_at_the_border(pool):
    sizes = [64 * KB - 8, 64 * KB, 64 * KB + 8, MB, MB + 8]
    for size, copies in itertools.product(sizes, (1, 3)):
        values = RNG.random(size // 8)
        assert pool.map(np.sum, [values] * copies) == [float(np.sum(values))] * copies
        for result in pool.map(tasks.identity, [values] * copies):
            np.testing.assert_array_equal(result, values)


@pytest.mark.parametrize("bytes_each", [800, 8_000, 80_000, 2_000_000])
def test_array_that_is_filled_anew_for_each_item_is_sent_as_it_was(bytes_each):
    def anew():
        array = np.empty(bytes_each // 8)
        for number in range(5):
            array[:] = number
            yield array

    class Scratch:
        """Gives, when it is pickled, memory that is filled anew each time."""

        memory = np.empty(bytes_each // 8)

        def __init__(self, number):
            self.number = number

        def __reduce__(self):
            self.memory[:] = self.number
            return np.asarray, (self.memory,)

    with Pool(2) as pool:
        assert pool.map(np.sum, anew()) == [number * (bytes_each // 8) for number in range(5)]
        assert list(pool.imap(np.sum, anew())) == [number * (bytes_each // 8) for number in range(5)]
        items = [Scratch(number) for number in range(5)]
        assert pool.map(np.sum, items) == [number * (bytes_each // 8) for number in range(5)]
        same = np.full(bytes_each // 8, 3.0)
        assert pool.map(np.sum, [same] * 4) == [3.0 * (bytes_each // 8)] * 4
        assert pool.starmap(np.dot, [(same, same)] * 4) == [9.0 * (bytes_each // 8)] * 4
        array = np.zeros(bytes_each // 8)
        futures = []
        for number in range(5):
            array[:] = number
            futures.append(pool.submit(np.sum, array))
        assert [future.result() for future in futures] == [number * (bytes_each // 8) for number in range(5)]


@pytest.mark.parametrize("length", [100, 100_000, 2_000_000])
def test_bare_buffers_arrive_as_something_with_a_length(pool, length):
    def look(memory):
        return len(memory), bytes(memory[:3]), memory

    seen_length, start, back = pool.apply(look, (pickle.PickleBuffer(bytearray(b"abc" * length)),))
    assert (seen_length, start, bytes(back)) == (3 * length, b"abc", b"abc" * length)


def fingerprint(values, number):
    """Of an array that is too small to be mapped, which the task then spoils."""
    seen = float(values[number]), float(values.sum())
    values[:] = -1
    return seen


@pytest.mark.parametrize("way", ["submit", "map", "starmap"])
def test_small_arrays_that_are_sent_again_and_again_are_sent_once(way):
    series = [RNG.standard_normal(4_000) for _ in range(10)]
    calls = [(values, number) for number in range(100) for values in series]
    expected = [(values[number], values.sum()) for values, number in calls]
    with Pool(2) as pool:
        if way == "submit":
            assert [future.get() for future in [pool.submit(fingerprint, *call) for call in calls]] == expected
        elif way == "starmap":
            assert pool.starmap(fingerprint, calls) == expected
        else:
            assert pool.map(lambda call: fingerprint(*call), calls) == expected
        sent = sum(values.nbytes for values, _ in calls)
        told = pool.statistics()
        assert told.peak_input_bytes < sent / 10
        assert told.input_segment_bytes < 8 * MB
        assert told.input_bytes == 0


def test_small_arrays_that_change_are_sent_as_they_were(pool):
    values, expected, futures = np.zeros(2_000), [], []
    for number in range(1_000):
        # Every now and then, and anywhere in it.
        if RNG.random() < 0.2:
            values[RNG.integers(len(values))] = number
        expected.append((values[number], values.sum()))
        futures.append(pool.submit(fingerprint, values, number))
    assert [future.get() for future in futures] == expected


def test_small_arrays_whose_memory_is_used_again_are_sent_as_they_were(pool):
    futures = [pool.submit(fingerprint, np.full(2_000, number // 3, float), 0) for number in range(600)]
    assert [future.get()[0] for future in futures] == [number // 3 for number in range(600)]


def test_many_small_arrays_take_no_more_memory_than_a_part_of_the_budget():
    arrays = [np.full(4_000, number, float) for number in range(1_000)]
    with Pool(2, memory_budget=64 * MB) as pool:
        for _ in range(3):
            futures = [pool.submit(fingerprint, one, 0) for one in arrays]
            assert [future.get()[0] for future in futures] == [*range(1_000)]
        # Eight of those that are sent again, and what was under way.
        assert pool.statistics().input_segment_bytes <= (8 + 64 + 1) * MB


def test_a_worker_that_dies_with_small_arrays_costs_its_task():
    def spoil_and_die(values, dies):
        total = fingerprint(values, 0)
        if dies:
            tasks.die()
        return total

    values = np.arange(4_000, dtype=float)
    expected = values[0], values.sum()
    with Pool(2) as pool:
        futures = [pool.submit(spoil_and_die, values, dies=number % 20 == 19) for number in range(100)]
        outcomes = [future.exception() or future.result() for future in futures]
    died = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, WorkerDied)]
    assert died == [19, 39, 59, 79, 99]
    assert all(outcome == expected for outcome in outcomes if not isinstance(outcome, WorkerDied))
