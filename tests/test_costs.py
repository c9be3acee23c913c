"""The longest first: what `cost=` changes, which is the order in which items begin, and nothing else."""

import time

import pytest

import paceline
from paceline import Pool, TooManyFailures


@pytest.fixture(params=["processes", "threads", "serial"])
def pool(request):
    with Pool(1, backend=request.param) as pool:
        yield pool


def told(x):
    return x, paceline.current_task().index, time.monotonic()


def odd(x):
    if x % 2 == 0:
        raise ValueError(x)
    return x


COSTS = [3, 9, 1, 7, 7, 0]


@pytest.mark.parametrize("cost", [COSTS, lambda x: COSTS[x]], ids=["numbers", "function"])
def test_costliest_begin_first_and_results_stand_in_the_items_order(pool, cost):
    results = pool.map(told, range(6), cost=cost)
    assert [(x, index) for x, index, _ in results] == [(x, x) for x in range(6)]
    assert sorted(range(6), key=lambda x: results[x][2]) == [1, 3, 4, 0, 2, 5], "equal ones in the items' order"


def draw(x):
    return x, paceline.task_random().random()


@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
def test_random_numbers_of_tasks_do_not_depend_on_the_order(backend):
    drawn = []
    for options in ({}, {"cost": COSTS}, {"cost": lambda x: x}):
        with Pool(2, backend=backend, seed=5) as pool:
            drawn.append(pool.map(draw, range(6), **options))
    assert drawn[0] == drawn[1] == drawn[2]
    assert len({number for _, number in drawn[0]}) == 6


def test_time_limits_and_reports_know_the_items_of_another_order():
    with Pool(2, timeout=0.5) as pool:
        outcomes = pool.map(time.sleep, [0, 30, 0, 0.01], cost=[1, 2, 9, 5], on_error="return")
        report = pool.report()
    assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType", "TaskTimeout", "NoneType", "NoneType"]
    assert outcomes[1].index == 1
    assert sorted(index for worker in report.workers for index in worker.indices) == [0, 1, 2, 3]
    assert [one.first_item for one in report.history.stretches if one.ending.name == "STOPPED"] == [1]


def test_every_map_of_lists_takes_costs(pool):
    assert pool.starmap(pow, [(2, 3), (3, 2)], cost=[1, 2]) == [8, 9]
    assert pool.map_async(abs, [-1, -2], cost=abs).get() == [1, 2]
    assert pool.starmap_async(pow, [(2, 3), (3, 2)], cost=lambda pair: pair[0]).get() == [8, 9]
    assert pool.map(abs, (x for x in (-1, -2)), cost=abs) == [1, 2]
    assert pool.map(abs, [], cost=abs) == []


def test_failures_are_those_of_the_items_order(pool):
    with pytest.raises(ValueError, match=r"^2$"):
        pool.map(odd, [1, 2, 3, 4, 6], cost=lambda x: x)
    outcomes = pool.map(odd, range(5), cost=lambda x: x, on_error="return")
    assert [type(outcome) is int for outcome in outcomes] == [False, True, False, True, False]
    assert pool.map(odd, range(5), cost=lambda x: x, on_error="skip") == [1, 3]


def test_too_many_failures_tell_their_indices(pool):
    with pytest.raises(TooManyFailures) as caught:
        pool.map(odd, range(20_000), cost=lambda x: x, on_error="skip", max_failures=1)
    # From the last item on; some more may have begun.
    assert set(caught.value.failures) >= {19_998, 19_996}
    assert caught.value.results.items() >= {19_999: 19_999, 19_997: 19_997}.items()
    assert 0 not in caught.value.failures


def test_death_tells_its_index():
    def die_at_three(x):
        if x == 3:
            import os

            os._exit(3)
        return x

    with Pool(2) as pool:
        outcomes = pool.map(die_at_three, range(6), cost=lambda x: x, on_error="return")
    assert [outcome for outcome in outcomes if type(outcome) is int] == [0, 1, 2, 4, 5]
    assert outcomes[3].index == 3


def test_costs_that_make_no_sense_are_refused_at_the_call(pool):
    with pytest.raises(ValueError, match="there are 1 costs for 2 items"):
        pool.map(abs, [1, 2], cost=[1])
    with pytest.raises(ValueError, match="exclude each other"):
        pool.map(abs, [1, 2], 1, cost=[1, 2])
    with pytest.raises(TypeError):
        pool.map(abs, [1, 2], cost=[1, "x"])
    assert pool.map(abs, [-1]) == [1]
