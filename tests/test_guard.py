"""Guards: they fail when anything bound has changed, and are refused where something could change unseen."""

import dataclasses
import math
import sys
import timeit
import types

import pytest

from paceline import pickling
from paceline.pickling import dump_function, guard_holds


@pytest.fixture(params=[0, 200], ids=["new", "used"], autouse=True)
def uses(request, monkeypatch):
    """After some uses a guard checks in another way; every test is made both ways."""
    if request.param:
        original = pickling.dump_function

        def dump_and_use(fn):
            data, guard = original(fn)
            for _ in range(request.param):
                guard_holds(fn, guard)
            return data, guard

        monkeypatch.setattr(sys.modules[__name__], "dump_function", dump_and_use)


def make(source, name="function", **namespace):
    """A function with a namespace of its own."""
    exec(source, namespace)
    return namespace[name], namespace


def test_guard_fails_when_a_global_is_bound_anew():
    function, namespace = make("def function(x): return x + a", a=1)
    _, guard = dump_function(function)
    assert guard_holds(function, guard)
    namespace["a"] = 2
    assert not guard_holds(function, guard)


def test_guard_fails_when_a_missing_global_appears():
    function, namespace = make("def function(x): return maybe")
    _, guard = dump_function(function)
    assert guard_holds(function, guard)
    namespace["maybe"] = None
    assert not guard_holds(function, guard)


def test_guard_fails_when_a_global_of_a_called_function_changes():
    function, namespace = make("def function(x): return helper(x)\ndef helper(x): return x + a", a=1)
    _, guard = dump_function(function)
    assert guard_holds(function, guard)
    namespace["a"] = 2
    assert not guard_holds(function, guard)


def test_guard_fails_when_a_closure_variable_changes():
    value = 1

    def function():
        return value

    _, guard = dump_function(function)
    assert guard_holds(function, guard)
    value = 2
    assert not guard_holds(function, guard)


def test_guard_fails_when_code_or_defaults_are_replaced():
    for attribute, new in (("__code__", (lambda x=1: 2).__code__), ("__defaults__", (5,))):
        function, _ = make("def function(x=1): return x")
        _, guard = dump_function(function)
        assert guard_holds(function, guard)
        setattr(function, attribute, new)
        assert not guard_holds(function, guard)


def test_guard_fails_when_a_keyword_default_or_an_attribute_changes():
    function, _ = make("def function(*, x=1): return x")
    _, guard = dump_function(function)
    assert guard_holds(function, guard)
    function.__kwdefaults__["x"] = 2
    assert not guard_holds(function, guard)
    _, guard = dump_function(function)
    function.attribute = 1
    assert not guard_holds(function, guard)


@pytest.mark.parametrize("value", [[1], {}, set(), bytearray(), types.SimpleNamespace(), ([1],)], ids=repr)
def test_function_that_captures_what_can_change_is_good_for_one_use(value):
    function, _ = make("def function(x): return a", a=value)
    assert dump_function(function)[1] is False


@pytest.mark.parametrize("value", [1, "a", None, (1, ("b", 2.5)), frozenset({1}), math, math.sin, int], ids=repr)
def test_function_that_captures_what_cannot_change_has_a_guard_that_holds(value):
    function, _ = make("def function(x): return a", a=value)
    _, guard = dump_function(function)
    assert guard is not False
    assert guard_holds(function, guard)


def test_guard_watches_a_local_dataclass():
    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 0

        def norm(self):
            return abs(self.x) + abs(self.y)

    def function(x):
        return Point(x).norm()

    _, guard = dump_function(function)
    assert guard is not False
    assert guard_holds(function, guard)
    Point.y = 5
    assert not guard_holds(function, guard)


def test_guard_of_plain_function_takes_a_few_microseconds():
    function, _ = make("def function(x): return len(x) + helper(x)\ndef helper(x): return x + a", a=1)
    _, guard = dump_function(function)
    assert min(timeit.repeat(lambda: guard_holds(function, guard), number=1000, repeat=5)) < 0.02
