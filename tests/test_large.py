"""Payloads that do not fit a slot: they arrive whole, and their memory goes back."""

import hashlib

import numpy as np
import psutil
import pytest

import tasks
from paceline import Pool

KB = 1 << 10
MB = 1 << 20
GB = 1 << 30

# Around every border: a slot's inline bytes, a page, an outcome with a segment of its own, a megabyte.
SIZES = [0, 1, 200, 340, 352, 353, 354, 355, 360, 361, 4 * KB - 10, 4 * KB, 5 * KB, 64 * KB - 20, 64 * KB - 9, 64 * KB]
SIZES += [64 * KB + 1, 100 * KB, MB - 1, MB, MB + 1, 7 * MB]


def pattern(size):
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def shared_bytes(process):
    return sum(part.shared_clean + part.shared_dirty + part.private_dirty for part in maps_of(process))


def maps_of(process):
    return [part for part in process.memory_maps(grouped=False) if "memfd:" in part.path]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_of_any_size_go_there_and_back_whole(pool, size):
    data = pattern(size)
    assert pool.apply(digest, (data,)) == digest(data)
    assert pool.apply(pattern, (size,)) == data
    assert pool.map(tasks.identity, [data, bytearray(data), [data]]) == [data, data, [data]]


def test_results_of_all_sizes_in_one_chunk_stay_in_order(pool):
    sizes = [3, 70 * KB, 0, 5 * KB, 64 * KB, 200, 2 * MB, 1] * 5
    assert pool.map(pattern, sizes, chunksize=len(sizes)) == [pattern(size) for size in sizes]


def test_long_text_and_arrays_arrive_unchanged(pool):
    text = "naïve 数 " * 100_000
    array = np.arange(1_000_000, dtype="f8").reshape(1000, 1000)
    assert pool.apply(tasks.identity, (text,)) == text
    np.testing.assert_array_equal(pool.apply(tasks.identity, (array,)), array)
    np.testing.assert_array_equal(pool.apply(np.transpose, (array,)), array.T)


def test_memory_of_large_payloads_is_used_again(pool):
    data = pattern(8 * MB)
    for _ in range(3):
        assert len(pool.apply(tasks.identity, (data,))) == len(data)
    before = sum(part.size for part in maps_of(psutil.Process()))
    for _ in range(20):
        assert len(pool.apply(tasks.identity, (data,))) == len(data)
    after = sum(part.size for part in maps_of(psutil.Process()))
    # Two workers answer from arenas of their own, so a second segment of each kind may have been added, and no more.
    assert after - before < 3 * len(data)


def test_a_result_that_was_read_gives_its_segment_back_before_the_future_goes(pool):
    futures = [pool.submit(tasks.zeros, 4 * MB) for _ in range(30)]
    assert all(len(future.result()) == 4 * MB for future in futures)
    again = [pool.submit(tasks.zeros, 4 * MB) for _ in range(30)]
    assert all(len(future.result()) == 4 * MB for future in again)
    del futures, again


def test_results_of_a_dead_worker_can_still_be_read(pool):
    future = pool.submit(pattern, 3 * MB)
    future.wait()
    dead = pool.submit(tasks.die)
    assert dead.exception() is not None
    assert future.result() == pattern(3 * MB)


def test_functions_larger_than_a_segment_class_travel_as_well(pool):
    table = list(range(200_000))
    assert pool.map(lambda index: table[index], [0, 199_999]) == [0, 199_999]


def test_a_result_of_three_gibibytes_arrives():
    if psutil.virtual_memory().available < 16 * GB:
        pytest.skip("needs 16 GiB of free memory")
    with Pool(1) as pool:
        result = pool.apply(tasks.zeros, (3 * GB,))
        assert len(result) == 3 * GB
        assert result[0] == result[-1] == 0
        del result
        assert pool.apply(tasks.square, (3,)) == 9
