"""Costs that are learnt: what took long begins first in the next run, in this program or another."""

import json
import time
from math import inf

import pytest

import tasks
from paceline import Durations, Pool


def nap(seconds):
    time.sleep(seconds)
    return seconds


def invert(number):
    return 1 / number


def begin(item):
    return item, time.monotonic_ns()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "durations.json"


def test_second_run_begins_with_what_took_longest_in_the_first(pool, path):
    items = [0.001, 0.002, 0.2, 0.003]
    assert pool.map(nap, items, cost=Durations(path)) == items
    known = Durations(path).of(nap, [*items, 9])
    assert 0.2 <= known[2] < 5
    assert known[4] == inf
    order = Durations(path).of(nap, items)
    assert max(order) == order[2]
    with Pool(1) as single:
        kept = json.loads(path.read_text())
        kept["functions"][f"{begin.__module__}.begin"] = {"a": 1, "b": 3, "c": 2}
        path.write_text(json.dumps(kept))
        began = single.map(begin, ["a", "new", "b", "c"], cost=Durations(path))
    assert [item for item, _ in sorted(began, key=lambda one: one[1])] == ["new", "b", "c", "a"]


def test_map_async_and_starmap_learn_too(pool, path):
    future = pool.map_async(nap, [0.01], cost=Durations(path))
    future.wait()
    deadline = time.monotonic() + 60
    while Durations(path).of(nap, [0.01]) == [inf]:
        assert time.monotonic() < deadline
    pool.starmap(pow, [(2, 3)], cost=Durations(path, key=lambda item: f"{item[0]}^{item[1]}"))
    assert list(json.loads(path.read_text())["functions"]["builtins.pow"]) == ["2^3"]


def test_without_a_file_the_object_remembers(pool):
    durations = Durations()
    pool.map(nap, [0.01], cost=durations)
    assert durations.of(nap, [0.01])[0] >= 0.01
    assert Durations().of(nap, [0.01]) == [inf]


def test_items_that_fail_teach_nothing_and_the_others_do(pool, path):
    with pytest.raises(ZeroDivisionError):
        pool.map(invert, [1, 0, 2], cost=Durations(path))
    first, failed, second = Durations(path).of(invert, [1, 0, 2])
    assert first < inf
    assert second < inf
    assert failed == inf


@pytest.mark.parametrize("backend", ["threads", "serial"])
def test_threads_learn_as_well(path, backend):
    with Pool(2, backend=backend) as pool:
        assert pool.map(nap, [0.02, 0.01], cost=Durations(path)) == [0.02, 0.01]
    assert Durations(path).of(nap, [0.01, 0.02])[1] >= 0.02


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"paceline_durations": 1}', '{"paceline_durations": 1, "functions": {"f": 3}}']
)
def test_foreign_file_is_refused_and_kept(path, content):
    path.write_text(content)
    with pytest.raises(ValueError, match="is no file of durations"):
        Durations(path)
    assert path.read_text() == content


def test_file_of_a_later_version_is_refused(path):
    path.write_text('{"paceline_durations": 99}')
    with pytest.raises(ValueError, match="another version"):
        Durations(path)


def test_key_must_be_a_string(pool):
    with pytest.raises(TypeError, match="must be a string, not 1"):
        pool.map(tasks.square, [1], cost=Durations(key=lambda item: item))
