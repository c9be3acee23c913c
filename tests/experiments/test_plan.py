"""What a run decides, without running anything."""

import pytest

from paceline.experiments.plan import Window, chosen, estimates, is_stale
from paceline.experiments.store import Known


def known(status="ok", seconds=1.0, seed=1, source="s", version=None):
    return Known(status, 1, seconds, seed, source, version)


@pytest.mark.parametrize(
    ("now", "then", "stale"),
    [
        (("s", None, 1), known(), False),
        (("t", None, 1), known(), True),
        (("s", None, 2), known(), True),
        (("t", "1", 1), known(version="1"), False),
        (("s", "2", 1), known(version="1"), True),
        (("s", "1", 1), known(), True),
        (("s", None, 1), known(version="1"), True),
        (("t", "1", 2), known(version="1"), True),
    ],
)
def test_staleness_is_by_version_if_declared_else_by_source_and_always_by_seed(now, then, stale):
    assert is_stale(then, *now) is stale


@pytest.mark.parametrize(
    ("rerun", "places"),
    [
        ((), [0, 5]),
        (("failed",), [0, 2, 3, 4, 5]),
        (("stale",), [0, 1, 5]),
        (("failed", "stale"), [0, 1, 2, 3, 4, 5]),
        (("all",), [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_missing_and_cancelled_cells_are_run_and_others_on_request(rerun, places):
    statuses = [None, "ok", "error", "timeout", "died", "cancelled", "ok"]
    cells = [None if status is None else known(status) for status in statuses]
    plan = chosen(cells, [False, True, False, False, False, False, False], frozenset(rerun))
    assert plan.to_run == places
    assert plan.stale == ([1] if 1 not in places else [])


def test_estimates_multiply_what_each_value_is_known_to_cost():
    took = [({"alg": a, "n": n}, x * n) for a, x in (("slow", 10.0), ("fast", 1.0)) for n in (1, 4)]
    told = estimates([{"alg": "slow", "n": 4, "rep": 9}, {"alg": "fast", "n": 1}, {"alg": "slow"}], took)
    assert told[0] == pytest.approx(40.0)
    assert told[1] == pytest.approx(1.0)
    assert told[2] == pytest.approx(20.0)
    assert estimates([{"a": 1}], []) == [0.0]


def test_window_of_long_cells_is_one_for_each_worker():
    window = Window(3)
    assert window.size == 3
    window.note([0.02, 0.5])
    assert (window.size, window.is_strict) == (3, True)


def test_window_of_short_cells_is_about_50_ms_for_each_worker_and_bounded():
    window = Window(2)
    window.note([0.001])
    assert window.size == 100
    window.note([1e-7] * 3)
    for _ in range(20):
        window.note([1e-7])
    assert window.size == 2 * 2048


def test_window_closes_at_once_when_cells_become_long():
    window = Window(2)
    window.note([1e-6])
    window.note([0.3])
    assert window.size == 2
