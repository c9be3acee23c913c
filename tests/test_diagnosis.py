"""What a run would have gained from: each advice has a program that triggers it and gains from following it."""

import functools
import time

import numpy as np
import pytest

import paceline
from paceline import Pool
from paceline.diagnosis import Advice, Transport, diagnose
from paceline.history import Ending, History, Stretch


def report_of(program):
    """What the program's pool did."""
    with Pool(2) as pool:
        pool.map(abs, range(10))  # Its workers are there.
    with Pool(2) as pool:
        program(pool)
        return pool.report()


def kinds(report):
    return [advice.kind for advice in report.advice]


def advice_of(report, kind):
    found = [advice for advice in report.advice if advice.kind == kind]
    assert len(found) == 1, (report, report.advice)
    return found[0]


# -- programs ----------------------------------------------------------------------------------------------------------


def test_small_tasks_go_by_map():
    def singly(pool):
        for future in [pool.submit(abs, number) for number in range(60_000)]:
            future.result()

    slow, fast = report_of(singly), report_of(lambda pool: pool.map(abs, range(60_000)))
    advice = advice_of(slow, "small tasks")
    assert "60,000 tasks" in advice.text
    assert "by `map`" in advice.text
    assert kinds(fast) == []
    assert fast.wall_seconds < slow.wall_seconds / 2


def test_chunks_of_one_small_task_are_left_to_paceline():
    slow = report_of(lambda pool: [pool.map(abs, range(200_000), chunksize=1) for _ in range(4)])
    assert "leave `chunksize`" in advice_of(slow, "small tasks").text


def test_long_task_at_the_end_is_given_a_cost():
    times = [0.005] * 60 + [0.25]
    slow = report_of(lambda pool: pool.map(time.sleep, times))
    fast = report_of(lambda pool: pool.map(time.sleep, times, cost=times))
    advice = advice_of(slow, "tail")
    assert "1 task of 61 held the run up" in advice.text
    assert "`cost=`" in advice.text
    assert kinds(fast) == []
    assert fast.wall_seconds < 0.8 * slow.wall_seconds
    assert fast.lower_bound_seconds <= fast.wall_seconds < 1.3 * fast.lower_bound_seconds


def weigh(table, key):
    return len(table) + key


def test_large_argument_is_shared():
    table = {number: str(number) for number in range(200_000)}

    def sent_each_time(pool):
        for future in [pool.submit(weigh, table, key) for key in range(20)]:
            future.result()

    def shared(pool):
        handle = paceline.share(table)
        for future in [pool.submit(weigh, handle, key) for key in range(20)]:
            future.result()

    slow, fast = report_of(sent_each_time), report_of(shared)
    advice = advice_of(slow, "arguments")
    assert "argument 1 (dict)" in advice.text
    assert "`paceline.share`" in advice.text
    assert "arguments" not in kinds(fast)
    assert fast.wall_seconds < slow.wall_seconds / 2


def test_large_argument_that_is_given_by_name_is_called_by_it():
    table = {number: str(number) for number in range(200_000)}

    def program(pool):
        for future in [pool.submit(weigh, key=key, table=table) for key in range(20)]:
            future.result()

    assert "argument `table` (dict)" in advice_of(report_of(program), "arguments").text


class Opaque:
    """Something large whose size nobody knows, and which must not be asked."""

    def __init__(self):
        self.content = bytes(range(256)) * 4_000

    def __len__(self):
        raise AssertionError("it was asked")

    nbytes = property(__len__)


def ignore(*_, **named):
    pass


def transport_of(*calls):
    with Pool(1) as pool:
        for args, named in calls:
            pool.submit(ignore, *args, **named).result()
        return pool.report().transport


@pytest.mark.parametrize(
    ("args", "named", "largest"),
    [
        ((Opaque(), "short"), {}, (0, "Opaque")),
        (("short",), {"thing": Opaque()}, ("thing", "Opaque")),
        # More items than the array has bytes.
        ((list(range(200_000)), np.ones(10_000)), {}, (0, "list")),
        (([0] * 3_000, np.ones(200_000)), {}, (1, "ndarray")),
        (([np.ones(50_000)] * 2, b"x" * 50_000), {}, (0, "list")),
        # Nobody can tell which of the two.
        ((Opaque(), Opaque()), {}, None),
        # There are two halves.
        ((list(range(100_000)), list(range(100_000, 200_000)), list(range(200_000, 300_000))), {}, None),
    ],
    ids=["opaque", "opaque-named", "items", "array", "arrays", "two-opaque", "even"],
)
def test_argument_with_most_of_the_bytes_is_named_without_asking_it(args, named, largest):
    told = transport_of((args, named)).largest
    assert (told and told[:2]) == largest


def test_every_call_counts_whose_arguments_are_pickled():
    # Each takes less than the clock's step.
    told = transport_of(*[(({number: number},), {}) for number in range(500)], ((1, "plain"), {}))
    assert told.items == 500
    assert 10 < told.bytes / told.items < 50


def test_time_of_pickling_is_a_share_of_all_the_time():
    table = {number: str(number) for number in range(300_000)}
    once = transport_of(((table, 0), {}))
    assert once.before == once.seconds > 0, "the pool's clock began after it"
    twice = transport_of((({0: 0},), {}), ((table, 0), {}))
    assert twice.before < twice.seconds
    late = History((1,), (stretch(0, 0.0, 0.25),))
    (advice,) = diagnose(late, workers=1, wall=0.25, transport=Transport(0.75, 1, 9_000_000, None, before=0.75))
    assert advice.text.startswith("75 % of the time")
    (advice,) = diagnose(late, workers=1, wall=0.25, transport=Transport(0.5, 2, 9_000_000, None))
    assert advice.text.startswith("100 % of the time"), "of two threads"


def test_size_of_each_time_is_told_as_the_most_where_it_differs():
    history = History((1,), (stretch(0, 0.0, 1.0),))
    often = Transport(0.5, 10, 100_000_000, (1, "dict", 10_000_000))
    once = Transport(0.5, 1_000, 10_100_000, ("table", "dict", 10_000_000))
    texts = [diagnose(history, workers=1, wall=1.0, transport=transport)[0].text for transport in (often, once)]
    assert "argument 2 (dict), 10 MB each time" in texts[0]
    assert "argument `table` (dict), up to 10 MB each time" in texts[1]


def test_program_that_keeps_its_workers_waiting_submits_more_at_a_time():
    def one_by_one(pool):
        for _ in range(20):
            pool.submit(time.sleep, 0.01).result()
            time.sleep(0.01)

    def ahead(pool):
        for _ in pool.imap(time.sleep, [0.01] * 20):
            time.sleep(0.01)

    slow, fast = report_of(one_by_one), report_of(ahead)
    assert "`imap`" in advice_of(slow, "waiting for the program").text
    assert "waiting for the program" not in kinds(fast)
    assert fast.wall_seconds < 0.8 * slow.wall_seconds


@pytest.mark.parametrize(
    "program",
    [
        lambda pool: pool.map(time.sleep, [0.005] * 80),
        lambda pool: list(pool.imap_unordered(time.sleep, [0.005] * 80)),
        lambda pool: pool.map(functools.partial(np.multiply, np.ones(200_000)), range(40)),
        lambda pool: [pool.map(abs, range(200_000)) for _ in range(3)],
        lambda pool: [future.result() for future in [pool.submit(time.sleep, 0.002) for _ in range(100)]],
        # Long tasks, fewer than would even out; and one alone.
        lambda pool: pool.map(time.sleep, [0.1, 0.1, 0.1]),
        lambda pool: pool.apply(time.sleep, (0.2,)),
        # A program that has something else to do from time to time.
        lambda pool: [pool.map(time.sleep, [0.01] * 8) and time.sleep(0.05) for _ in range(4)],
        lambda pool: None,
    ],
    ids=["map", "unordered", "partial", "small", "submit", "few", "single", "pauses", "idle"],
)
def test_healthy_programs_get_no_advice(program):
    report = report_of(program)
    assert kinds(report) == [], report


# -- rules -------------------------------------------------------------------------------------------------------------


def stretch(worker, began, ended, **changes):
    values = {
        "worker": worker, "function": "f", "first_item": 0, "items": 1, "merged": 1, "attempt": 0,
        "ending": Ending.DONE, "submitted": 0.0, "began": began, "ended": ended,
        "busy": ended - began, "longest": ended - began,
    }  # fmt: skip
    return Stretch(**{**values, **changes})


def test_nothing_is_said_of_nothing():
    assert diagnose(History((), ()), workers=2, wall=0.0) == ()


def test_most_that_can_be_saved_comes_first():
    short = [stretch(number % 2, number / 10, number / 10 + 0.1) for number in range(20)]
    history = History((1, 2), (*short, stretch(0, 2.0, 4.0)))
    found = diagnose(history, workers=2, wall=4.0, transport=Transport(1.0, 21, 21_000_000, None))
    assert [advice.kind for advice in found] == ["tail", "arguments"]
    assert found[0].seconds > found[1].seconds
    assert "25 % of the time went into pickling the arguments, 1 MB each time" in str(found[1])


def test_long_task_that_began_first_is_nobodys_fault():
    short = [stretch(1, number / 10, number / 10 + 0.1) for number in range(10)]
    assert diagnose(History((1, 2), (stretch(0, 0.0, 4.0), *short)), workers=2, wall=4.0) == ()


def test_long_task_that_was_submitted_late_is_not_the_schedules_fault():
    short = [stretch(number % 2, number / 10, number / 10 + 0.1) for number in range(20)]
    assert diagnose(History((1, 2), (*short, stretch(0, 2.0, 4.0, submitted=1.99))), workers=2, wall=4.0) == ()


def test_what_would_save_little_is_not_said():
    short = [stretch(number % 2, number / 10, number / 10 + 0.1) for number in range(100)]
    history = History((1, 2), (*short, stretch(0, 10.0, 10.3)))
    assert diagnose(history, workers=2, wall=10.3) == ()


def test_advice_prints_as_its_text():
    assert str(Advice("kind", "do this", 1.0)) == "do this"
