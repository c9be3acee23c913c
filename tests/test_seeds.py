"""Random numbers in workers: a task's own generator, and global ones that are never silently the same."""

import contextlib
import random
import sys
import threading
from functools import partial

import numpy as np
import pytest

import paceline
import tasks
from paceline import Pool
from paceline.engine import Terms, choose_seed, current_item, open_engine


@contextlib.contextmanager
def engine(workers=2, **options):
    opened = open_engine(workers, None, (), options.pop("max_tasks_per_worker", None), **options)
    try:
        yield opened
    finally:
        opened.close()
        assert opened.join(30)


def draw(_=None):
    return int(paceline.task_rng().integers(1 << 62))


def draw_plain(_=None):
    return paceline.task_random().getrandbits(62)


def draw_twice(_=None):
    return paceline.task_rng().random(), paceline.task_rng().random()


def draw_from_both(_=None):
    return draw(), draw_plain()


def draw_or_die(path, item):
    drawn = draw(), draw_plain()
    try:
        with open(path, "x"):  # noqa: PTH123
            pass
    except FileExistsError:
        return drawn
    if item == 0:
        tasks.die()
    return drawn


@pytest.mark.parametrize("function", [draw, draw_plain])
def test_task_draws_the_same_whatever_workers_chunks_and_calls(function):
    with engine(1, seed=7) as one:
        expected = one.map(Terms(), function, range(60)).result()
    assert len(set(expected)) == 60
    with engine(2, seed=7, max_tasks_per_worker=1) as two:
        assert two.map(Terms(), function, range(60), chunksize=7).result() == expected
    with engine(2, seed=7) as two:
        futures = [two.submit(Terms(), function, (), None) for _ in range(30)]
        rest = two.map(Terms(), function, range(30))
        assert [future.result() for future in futures] + rest.result() == expected
    with engine(1, seed=8) as other:
        assert not set(expected) & set(other.map(Terms(), function, range(60)).result())


def test_task_draws_what_numpy_gives_to_its_child_of_that_number():
    children = np.random.SeedSequence(2**100).spawn(5)
    with engine(seed=2**100) as opened:
        drawn = opened.map(Terms(), draw, range(5)).result()
    assert drawn == [int(np.random.default_rng(child).integers(1 << 62)) for child in children]


def test_task_draws_the_same_when_it_is_run_again_after_a_death(tmp_path):
    with engine(1, seed=7) as one:
        expected = one.map(Terms(), draw_from_both, range(4)).result()
    with engine(1, seed=7) as one:
        again = one.map(Terms(retries=1), partial(draw_or_die, str(tmp_path / "died")), range(4), chunksize=4)
        assert again.result() == expected


def test_generator_goes_on_within_one_task_and_ends_with_it():
    with engine(1, seed=3) as one:
        first, second = one.map(Terms(), draw_twice, range(2)).result()
    for number, drawn in enumerate((first, second)):
        rng = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(number,)))
        assert drawn == (rng.random(), rng.random())


def test_pool_without_a_seed_draws_differently_each_time():
    drawn = set()
    for _ in range(3):
        with Pool(1) as pool:
            drawn.update(pool.map(draw_from_both, range(2)))
    assert len(drawn) == 6


def outside(_=None):
    failures = []

    def ask():
        for function in (paceline.task_rng, paceline.task_random):
            try:
                function()
            except RuntimeError as error:
                failures.append(str(error).partition("\n")[0])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return failures


def test_generator_outside_of_a_task_is_refused(pool):
    expected = [f"`{name}` was called outside of a task" for name in ("task_rng", "task_random")]
    assert outside() == expected
    assert pool.apply(outside) == expected, "a thread that a task started is not the task"
    with pytest.raises(RuntimeError, match="outside of a task\nhint: "):
        paceline.task_rng()
    assert current_item() is None


def draw_in_initializer():
    paceline.task_rng()


def test_generator_in_an_initializer_is_refused():
    pool = Pool(1, initializer=draw_in_initializer)
    with pytest.raises(paceline.WorkerStartError) as caught:
        pool.apply(tasks.identity, (1,))
    pool.terminate()
    pool.join()
    assert "`task_rng` was called outside of a task" in str(caught.value.__cause__)


def draw_without_numpy(_=None):
    sys.modules["numpy"] = sys.modules["numpy.random"] = None
    return draw_plain(), draw()


def test_generator_without_numpy_says_what_to_do(pool):
    with pytest.raises(ImportError, match="`task_random` gives a generator"):
        pool.apply(draw_without_numpy)


def test_seed_that_makes_no_sense_is_refused():
    for seed, kind in [("7", TypeError), (1.0, TypeError), (-1, ValueError), (1 << 128, ValueError)]:
        with pytest.raises(kind, match=r"^seed must be"):
            choose_seed(seed)
    assert choose_seed((1 << 128) - 1) == (1 << 128) - 1
    assert choose_seed(None) != choose_seed(None)


# -- what the process has of its own -----------------------------------------------------------------------------------


def draw_global(_=None):
    import numpy.random

    return random.random(), random.randrange(1 << 60), numpy.random.random(), numpy.random.randint(1 << 60)


def test_global_generators_differ_in_every_worker():
    with Pool(2, maxtasksperchild=1) as pool:
        drawn = pool.map(draw_global, range(6), chunksize=1)
    assert all(len(set(column)) == 6 for column in zip(*drawn, strict=True))
