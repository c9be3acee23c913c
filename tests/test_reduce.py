"""`map_reduce`: the same as a fold in one process, whatever the grouping; failures, empty inputs, bounds."""

import functools
import itertools
import operator
import os
import random
import threading
from concurrent.futures import CancelledError

import pytest

import paceline
import tasks
from paceline import Pool, PoolClosed, WorkerDied

PRIME = 1_000_003


def concatenate(left, right):
    return left + right


def multiply_matrices(left, right):
    a, b, c, d = left
    e, f, g, h = right
    return (a * e + b * g) % PRIME, (a * f + b * h) % PRIME, (c * e + d * g) % PRIME, (c * f + d * h) % PRIME


def compose_affine(inner, outer):
    """Of `x -> a * x + b`: first `inner`, then `outer`."""
    return inner[0] * outer[0] % PRIME, (inner[1] * outer[0] + outer[1]) % PRIME


def leftmost_none(left, right):
    return left if left is None else right


def note_pair(left, right):
    """Not associative: shows how the results were grouped."""
    return f"({left} {right})"


ASSOCIATIVE = {
    "strings": (concatenate, lambda generator: generator.choice("abcdefgh")),
    "matrices": (multiply_matrices, lambda generator: tuple(generator.randrange(PRIME) for _ in range(4))),
    "affine maps": (compose_affine, lambda generator: (generator.randrange(1, PRIME), generator.randrange(PRIME))),
    "first None": (leftmost_none, lambda generator: generator.choice([None, 1, 2, 3])),
}
SIZES = [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 66, 127, 257, 1000]


def expected(reducer, values):
    return functools.reduce(reducer, values)


# -- the same as a fold in one process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("name", ASSOCIATIVE)
def test_map_reduce_of_a_random_associative_operation_equals_a_fold(name, workers):
    reducer, draw = ASSOCIATIVE[name]
    generator = random.Random(f"{name} {workers}")
    with Pool(workers) as pool:
        for size in [*SIZES, *(generator.randrange(1, 1000) for _ in range(10))]:
            values = [draw(generator) for _ in range(size)]
            for chunksize in (None, generator.randrange(1, 2 * size + 1)):
                source = generator.choice([values, iter(values)])
                result = pool.map_reduce(tasks.identity, reducer, source, chunksize=chunksize)
                assert result == expected(reducer, values), (size, chunksize)


@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_map_reduce_begins_with_initial(pool, chunksize):
    for size in (1, 2, 10, 100):
        result = pool.map_reduce(str, operator.add, range(size), initial="begin ", chunksize=chunksize)
        assert result == "begin " + "".join(map(str, range(size)))


def test_map_reduce_with_none_as_initial_uses_it(pool):
    assert pool.map_reduce(tasks.identity, leftmost_none, [1, 2], initial=None) is None


def test_map_reduce_keeps_results_that_are_none(pool):
    assert pool.map_reduce(tasks.identity, lambda left, right: (left, right), [None, None]) == (None, None)
    assert pool.map_reduce(tasks.identity, leftmost_none, [None]) is None


def test_map_reduce_of_one_item_does_not_reduce(pool):
    assert pool.map_reduce(tasks.square, tasks.fail, [3]) == 9


def test_map_reduce_of_nothing_is_initial(pool):
    initial = object()
    assert pool.map_reduce(tasks.fail, tasks.fail, [], initial=initial) is initial
    assert pool.map_reduce(tasks.fail, tasks.fail, iter(()), initial=None) is None


@pytest.mark.parametrize("commutative", [False, True])
def test_map_reduce_of_nothing_without_initial_raises_as_reduce_does(pool, commutative):
    with pytest.raises(TypeError, match=r"map_reduce\(\) of empty iterable with no initial value"):
        pool.map_reduce(str, operator.add, [], commutative=commutative)


@pytest.mark.parametrize("workers", [1, 3])
def test_map_reduce_that_is_commutative_uses_every_item_once(workers):
    with Pool(workers) as pool:
        for size in SIZES:
            result = pool.map_reduce(lambda item: [item], operator.add, range(size), commutative=True)
            assert sorted(result) == list(range(size))


def test_map_reduce_of_module_opens_its_own_pool():
    assert paceline.map_reduce(str, operator.add, range(12)) == "01234567891011"
    assert paceline.map_reduce(str, operator.add, iter("abc"), 2, initial="-", chunksize=2) == "-abc"
    with pytest.raises(TypeError, match="empty iterable"):
        paceline.map_reduce(str, operator.add, ())


@pytest.mark.parametrize("backend", ["threads", "serial"])
def test_map_reduce_is_the_same_on_every_backend(pool, backend):
    with Pool(2, backend=backend) as other:
        for size in SIZES:
            expected = pool.map_reduce(str, note_pair, range(size))
            assert other.map_reduce(str, note_pair, range(size)) == expected
        with pytest.raises(ValueError, match="bad 70") as caught:
            other.map_reduce(functools.partial(tasks.fail_on, 70), operator.add, range(100))
        assert caught.value.__notes__ == ["raised by the mapper for item 70: 70"]


# -- the grouping ------------------------------------------------------------------------------------------------------


def test_map_reduce_groups_alike_on_any_number_of_workers_and_from_any_source():
    found = set()
    for workers in (1, 2, 3):
        with Pool(workers) as pool:
            for source in (range(300), iter(range(300)), list(range(300))):
                found.add(pool.map_reduce(str, note_pair, source))
    assert len(found) == 1


def test_map_reduce_groups_alike_when_the_calls_take_their_time(pool, gate):
    quick = pool.map_reduce(str, note_pair, range(20))

    def slowly(item):
        return tasks.through(gate.path, str(item)) if item % 3 == 0 else str(item)

    threading.Thread(target=gate.let_through, args=(7,)).start()
    assert pool.map_reduce(slowly, note_pair, range(20)) == quick


def test_map_reduce_with_chunksize_groups_by_it(pool):
    assert pool.map_reduce(str, note_pair, range(6), chunksize=3) == "(((0 1) 2) ((3 4) 5))"


def test_map_reduce_of_floats_is_the_same_each_time():
    generator = random.Random(7)
    values = [generator.uniform(-1e10, 1e10) * 10.0 ** generator.randrange(-10, 10) for _ in range(2000)]
    found = set()
    for workers in (1, 2, 2, 3):
        with Pool(workers) as pool:
            found.add(pool.map_reduce(tasks.identity, operator.add, values))
    assert len(found) == 1


def test_map_reduce_reduces_on_the_workers(pool):
    home = os.getpid()

    def where(left, right):
        return left | right | {os.getpid()}

    assert home not in pool.map_reduce(lambda item: {os.getpid()}, where, range(500))


@pytest.mark.parametrize("source", ["task_rng", "task_random"])
def test_map_reduce_gives_each_item_its_own_random_numbers_whatever_the_timing(source):
    def draw(item):
        return [getattr(paceline, source)().random()]

    def mix(left, right):
        return [*left, *right, getattr(paceline, source)().random()] if len(left) % 5 == 0 else [*left, *right]

    found = []
    for workers in (1, 2, 3):
        with Pool(workers, seed=5) as pool:
            found.append(pool.map_reduce(draw, mix, range(200)))
            again = pool.map_reduce(draw, mix, range(200))
            assert again != found[-1]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == len(found[0]) >= 200


# -- lazy and bounded --------------------------------------------------------------------------------------------------


def test_map_reduce_reads_no_further_ahead_than_its_bound(gate):
    read = []
    result = []

    def items():
        for number in range(60):
            read.append(number)
            yield number

    def call():
        with Pool(1) as pool:
            held = functools.partial(tasks.through, gate.path)
            result.append(pool.map_reduce(held, operator.add, items(), chunksize=1))

    caller = threading.Thread(target=call)
    caller.start()
    furthest = 0
    for begun in range(1, 61):
        gate.wait_for_arrival()
        furthest = max(furthest, len(read) - begun)
        gate.let_through()
    caller.join()
    assert result == [sum(range(60))]
    assert furthest <= 16


def test_map_reduce_of_an_endless_input_ends_when_an_item_fails(pool):
    with pytest.raises(ValueError, match="bad 5000"):
        pool.map_reduce(functools.partial(tasks.fail_on, 5000), operator.add, itertools.count())


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commutative", [False, True])
def test_map_reduce_raises_what_the_mapper_raises_and_names_the_item(pool, commutative):
    with pytest.raises(ValueError, match="bad 70") as caught:
        pool.map_reduce(functools.partial(tasks.fail_on, 70), operator.add, range(100), commutative=commutative)
    assert "raised by the mapper for item 70: 70" in caught.value.__notes__
    assert "reduce.py" not in str(caught.value.__cause__).partition("fail_on")[0]
    assert pool.map_reduce(tasks.identity, operator.add, range(100)) == 4950


def test_map_reduce_raises_what_the_reducer_raises_inside_a_block_and_names_the_items(pool):
    with pytest.raises(TypeError) as caught:
        pool.map_reduce(lambda item: item if item < 3 else "three", operator.add, range(5), chunksize=5)
    assert "raised by the reducer for the results of items 0 to 2 and of item 3" in caught.value.__notes__


def test_map_reduce_raises_what_the_reducer_raises_between_blocks_and_names_the_items(pool):
    with pytest.raises(TypeError) as caught:
        pool.map_reduce(lambda item: item if item < 4 else "four", operator.add, range(6), chunksize=2)
    # The last block is a string already: its two items were concatenated.
    assert "raised by the reducer for the results of items 0 to 3 and of items 4 to 5" in caught.value.__notes__


def test_map_reduce_raises_what_the_reducer_raises_for_initial(pool):
    with pytest.raises(TypeError) as caught:
        pool.map_reduce(tasks.identity, operator.add, [1, 2], initial="text")
    assert "raised by the reducer for the results of `initial` and of item 0" in caught.value.__notes__


def test_map_reduce_with_several_failures_raises_the_first_in_order(pool, gate):
    """The later item fails while the earlier one is still running."""

    def late(item):
        if item == 2:
            tasks.through(gate.path)
            raise ValueError("first in order")
        if item == 9:
            raise ValueError("first in time")
        return item

    failed = pool.submit(tasks.identity, None)
    failed.result()
    result = []

    def call():
        with pytest.raises(ValueError, match="first in order") as caught:
            pool.map_reduce(late, operator.add, range(100))
        result.append(caught.value)

    caller = threading.Thread(target=call)
    caller.start()
    gate.wait_for_arrival()
    # The other worker is past item 9 when it has come to this.
    pool.submit(tasks.identity, None).result()
    gate.let_through()
    caller.join()
    assert len(result) == 1


def test_map_reduce_whose_input_raises_does_so_when_what_came_before_has_ended(pool, tmp_path):
    notes = tmp_path / "notes"

    def items():
        yield from range(10)
        raise KeyError("input")

    with pytest.raises(KeyError, match="input"):
        pool.map_reduce(functools.partial(tasks.note, str(notes)), operator.add, items())
    assert sorted(map(int, notes.read_text().split())) == list(range(10))


def test_map_reduce_of_an_item_that_cannot_be_pickled_says_which(pool):
    with pytest.raises(paceline.ArgumentNotPicklable) as caught:
        pool.map_reduce(tasks.identity, operator.add, [1, 2, tasks.Unpicklable(), 4])
    assert "for item 2" in caught.value.__notes__


@pytest.mark.parametrize("commutative", [False, True])
def test_map_reduce_with_a_killed_worker_raises_worker_died_and_names_the_items(pool, commutative):
    with pytest.raises(WorkerDied) as caught:
        pool.map_reduce(functools.partial(tasks.die_on, 20), operator.add, range(100), commutative=commutative)
    assert "lost while mapping item 20" in caught.value.__notes__
    assert "die_on" in caught.value.function
    assert "map_block" not in str(caught.value)
    assert pool.map_reduce(tasks.identity, operator.add, range(100)) == 4950


def die_the_first_time(path, value):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return value
    tasks.die()
    return None


def test_map_reduce_with_retries_survives_a_killed_worker(pool, tmp_path):
    mapper = functools.partial(die_the_first_time, str(tmp_path / "died"))
    assert pool.options(retries=1).map_reduce(mapper, operator.add, range(50)) == 1225


def test_map_reduce_on_a_terminated_pool_ends():
    pool = Pool(1)
    caught = []

    def call():
        with pytest.raises((PoolClosed, CancelledError)) as info:
            pool.map_reduce(tasks.identity, operator.add, itertools.count())
        caught.append(info.value)

    caller = threading.Thread(target=call)
    caller.start()
    pool.apply(tasks.identity, (1,))
    pool.terminate()
    caller.join()
    pool.join()
    assert len(caught) == 1


def test_map_reduce_goes_on_when_its_pool_is_closed(pool, gate):
    result = []

    def items():
        yield from range(50)

    def held(item):
        return tasks.through(gate.path, item) if item == 0 else item

    caller = threading.Thread(target=lambda: result.append(pool.map_reduce(held, operator.add, items())))
    caller.start()
    gate.wait_for_arrival()
    pool.close()
    gate.let_through()
    caller.join()
    assert result == [1225]


async def identity_in_a_while(item):
    return item


# -- bad calls ---------------------------------------------------------------------------------------------------------


def test_map_reduce_refuses_bad_arguments(pool):
    with pytest.raises(TypeError, match="the mapper must be callable, not 3"):
        pool.map_reduce(3, operator.add, [1])
    with pytest.raises(TypeError, match="the reducer must be callable, not None"):
        pool.map_reduce(str, None, [1])
    with pytest.raises(TypeError, match="the mapper must not be a coroutine function\nhint:"):
        pool.map_reduce(identity_in_a_while, operator.add, [1])
    with pytest.raises(TypeError, match="not iterable"):
        pool.map_reduce(str, operator.add, 3)
    with pytest.raises(ValueError, match="chunksize must be at least 1, not 0"):
        pool.map_reduce(str, operator.add, [1], chunksize=0)


def test_map_reduce_on_a_closed_pool_is_refused(pool):
    pool.close()
    with pytest.raises(PoolClosed):
        pool.map_reduce(str, operator.add, [1])
