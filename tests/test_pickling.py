"""Functions, classes and arguments as bytes and back, carried to a fresh interpreter that stands in for a worker."""

import collections
import dataclasses
import enum
import functools
import math
import operator
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

import tasks
from paceline import errors, pickling
from paceline.pickling import dump_function, guard_holds
from stand_in_worker import StandInWorker

# By-value functions of this file find their globals here.
number = 1
numbers = [1, 2]
lock = threading.Lock()


@pytest.fixture(scope="module")
def worker():
    with StandInWorker() as worker:
        yield worker


def run_as_main(tmp_path, source):
    """Runs a script that has a stand-in worker at hand; its functions live in `__main__`."""
    script = tmp_path / "script.py"
    script.write_text("from stand_in_worker import StandInWorker\n" + source, encoding="utf-8")
    paths = [str(Path(__file__).parent), str(Path(pickling.__file__).parent.parent)]
    answer = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=150,
        env={"PYTHONPATH": ":".join(paths)},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


# -- functions by name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [len, math.sin, operator.add, tasks.square, str.upper, dict, collections.OrderedDict, tasks.TwoArguments],
    ids=lambda function: function.__qualname__,
)
def test_importable_function_travels_by_name_and_for_ever(function):
    data, guard = dump_function(function)
    assert guard is None
    assert len(data) < 100


def test_partial_of_importable_function_is_plain_pickle(worker):
    function = functools.partial(tasks.add, 3)
    data, guard = dump_function(function)
    assert b"add" in data
    assert guard_holds(function, guard)
    assert worker.call(function, 4) == 7


def test_partial_with_a_changed_keyword_is_stale():
    function = functools.partial(tasks.add, right=1)
    _, guard = dump_function(function)
    assert guard_holds(function, guard)
    function.keywords["right"] = 2
    assert not guard_holds(function, guard)


def test_partial_of_a_list_is_good_for_one_use():
    assert dump_function(functools.partial(tasks.identity, [1]))[1] is False


def test_function_of_a_module_that_cannot_be_imported_travels_by_value(worker, monkeypatch):
    module = types.ModuleType("made_by_hand")
    exec("factor = 3\ndef scale(x): return factor * x", module.__dict__)
    monkeypatch.setitem(sys.modules, "made_by_hand", module)
    assert worker.call(module.scale, 5) == 15


def test_function_of_a_module_that_is_being_imported_travels_by_value(monkeypatch):
    # Otherwise a worker would import it too, and open pools of its own.
    monkeypatch.setattr(tasks.__spec__, "_initializing", True, raising=False)
    assert len(dump_function(tasks.square)[0]) > 100


# -- functions by value ------------------------------------------------------------------------------------------------


def test_lambda_runs_elsewhere(worker):
    assert worker.call(lambda x: x + 1, 2) == 3


def test_closure_brings_its_variables(worker):
    def outer(base):
        def inner(x):
            return base + x + number

        return inner

    assert worker.call(outer(10), 5) == 16


def test_recursive_inner_function_finds_itself(worker):
    def factorial(n):
        return 1 if n < 2 else n * factorial(n - 1)

    assert worker.call(factorial, 5) == 120


def test_two_closures_over_one_variable_still_share_it(worker):
    def counter():
        count = 0

        def up():
            nonlocal count
            count += 1

        def value():
            return count

        return up, value

    up, value = counter()

    def both():
        up()
        up()
        return value()

    assert worker.call(both) == 2


def test_defaults_keywords_and_attributes_come_along(worker):
    def function(x, y=2, *, z=3):
        return x + y + z + function.extra

    function.extra = 4
    assert worker.call(function, 1) == 10


def test_function_reaches_submodules_of_a_package(worker):
    import concurrent.futures

    def function():
        return concurrent.futures.ThreadPoolExecutor.__name__

    assert worker.call(function) == "ThreadPoolExecutor"


def test_cached_function_comes_with_an_empty_cache(worker):
    @functools.lru_cache(maxsize=7)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert worker.call(fibonacci, 30) == 832040
    assert worker.call(lambda: fibonacci.cache_parameters()["maxsize"]) == 7


def test_class_inside_a_function_reads_globals(worker):
    def function():
        class Inside:
            value = number

        return Inside.value

    assert worker.call(function) == 1


def test_bound_method_of_an_importable_class(worker):
    assert worker.call("a-b".split, "-") == ["a", "b"]
    assert dump_function("a-b".split)[1] is not True


def test_bound_method_of_a_local_class_is_good_for_one_use(worker):
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x):
            return self.factor * x

        def method(self, x):
            return self.factor * x

    scale = Scale(3)
    assert worker.call(scale.method, 2) == 6
    assert worker.call(scale, 2) == 6
    assert dump_function(scale.method)[1] is False
    assert dump_function(scale)[1] is False


def test_function_with_a_generator_and_a_comprehension(worker):
    assert worker.call(lambda n: [x + 0 for x in (y + number for y in range(n))], 3) == [1, 2, 3]


def test_lock_of_an_importable_module_is_the_workers_own(worker):
    def function():
        with lock:
            return number

    assert worker.call(function) == 1


# -- namespaces in the worker ------------------------------------------------------------------------------------------


def test_initializer_of_a_script_sets_globals_for_its_tasks(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
shared = None
cache = {}

def initialize(value):
    global shared
    shared = value
    cache["x"] = value

def work(x):
    return x, shared, cache

with StandInWorker(initialize, 5) as worker:
    print(worker.call(work, 1))
    print(worker.call(lambda: shared))
""",
        )
        == "(1, 5, {'x': 5})\n5\n"
    )


def test_changed_global_of_a_script_reaches_the_next_call(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
factor = 2
table = [1]
work = lambda x: x * factor + sum(table)
with StandInWorker() as worker:
    print(worker.call(work, 10))
    factor = 3
    print(worker.call(work, 10))
    table.append(1)
    print(worker.call(work, 10))
""",
        )
        == "21\n31\n32\n"
    )


def test_worker_keeps_what_a_task_has_set_until_home_changes_it(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
count = 0
def up():
    global count
    count += 1
    return count
def look():
    return count
with StandInWorker() as worker:
    worker.call(up)
    print(worker.call(up), worker.call(look))
    count = 10
    print(worker.call(look))
""",
        )
        == "2 2\n10\n"
    )


def test_imported_initializer_is_not_undone_by_a_lambda(monkeypatch):
    # As if `tasks` were the module where the lambda stands.
    function = types.FunctionType((lambda: shared).__code__, tasks.__dict__)  # noqa: F821
    function.__module__ = "tasks"
    function.__qualname__ = "<lambda>"
    with StandInWorker(tasks.set_shared, 7) as worker:
        assert worker.call(function) == 7
        assert worker.call(tasks.get_shared) == 7


def test_functions_of_a_namespace_without_a_module_share_it(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
namespace = {}
exec("count = 0\\ndef up():\\n global count\\n count += 1\\ndef both():\\n up(); up(); return count", namespace)
with StandInWorker() as worker:
    print(worker.call(namespace["both"]))
""",
        )
        == "2\n"
    )


def test_returned_function_changes_no_name_at_home(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
value = 1
def change():
    global value
    value = 2
    return lambda: value
with StandInWorker() as worker:
    function = worker.call(change)
    print(value, function())
""",
        )
        == "1 1\n"
    )


# -- classes of __main__ -----------------------------------------------------------------------------------------------


def test_classes_of_a_script_come_back_as_themselves(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
import dataclasses, enum, typing

@dataclasses.dataclass
class Point:
    x: int
    made = 0
    def double(self):
        return Point(2 * self.x)

class Color(enum.Enum):
    RED = 1

class Pair(typing.NamedTuple):
    left: int
    right: int

class Broken(Exception):
    pass

def work(point, color, pair):
    return point.double(), color, Pair(pair.right, pair.left), [Color.RED, Point]

def fail():
    raise Broken("no")

double = Point.double
with StandInWorker() as worker:
    Point.made = 3
    point, color, pair, classes = worker.call(work, Point(4), Color.RED, Pair(1, 2))
    print(type(point) is Point, point, color is Color.RED, type(pair) is Pair, pair)
    print(classes[0] is Color.RED, classes[1] is Point, Point.made, Point.double is double)
    try:
        worker.call(fail)
    except Broken as error:
        print("broken", error)
""",
        )
        == "True Point(x=8) True True Pair(left=2, right=1)\nTrue True 3 True\nbroken no\n"
    )


def test_class_made_in_the_worker_comes_back_whole(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
def work():
    class Made:
        value = 5
        def get(self):
            return self.value
    return Made()
with StandInWorker() as worker:
    print(worker.call(work).get())
""",
        )
        == "5\n"
    )


def test_local_class_comes_back_as_itself(worker):
    class Local:
        def __init__(self):
            self.value = 1

    value = worker.call(lambda x: x, Local())
    assert type(value) is Local


def test_changed_class_of_a_script_reaches_the_next_call(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
class Scale:
    factor = 2
    def __call__(self, x):
        return self.factor * x
with StandInWorker() as worker:
    print(worker.call(Scale(), 5))
    Scale.factor = 3
    print(worker.call(Scale(), 5))
""",
        )
        == "10\n15\n"
    )


def test_plain_functions_of_a_script_do_not_load_cloudpickle(tmp_path):
    assert (
        run_as_main(
            tmp_path,
            """
import sys
def work(x):
    import sys
    return [name for name in ("cloudpickle", "typing", "paceline.guard") if name in sys.modules]
with StandInWorker() as worker:
    worker.call(lambda x: work(x), 1)
print("cloudpickle" in sys.modules)
""",
        )
        == "False\n"
    )


def test_local_enum_in_an_argument(worker):
    class Level(enum.Enum):
        LOW = 1

    assert worker.call(lambda level: level, Level.LOW) is Level.LOW


# -- what cannot be pickled --------------------------------------------------------------------------------------------


def test_unpicklable_argument_is_named_by_position_and_path():
    with pytest.raises(errors.ArgumentNotPicklable) as caught:
        pickling.dump_argument_fallback(((1, {"deep": [0, threading.Lock()]}), None))
    assert str(caught.value).startswith(
        "cannot pickle an argument at positional argument 1, `['deep']`, `[1]`, a `_thread.lock`: "
        "cannot pickle '_thread.lock' object\nhint: "
    )
    assert isinstance(caught.value.__cause__, TypeError)


def test_unpicklable_keyword_argument_is_named():
    with pytest.raises(errors.ArgumentNotPicklable, match="keyword argument `handle`"):
        pickling.dump_argument_fallback(((), {"fine": 1, "handle": threading.Lock()}))


def test_unpicklable_item_far_down_a_list_is_found_quickly():
    with pytest.raises(errors.ArgumentNotPicklable, match=r"at `\[70000\]`, a"):
        pickling.dump_argument_fallback([*range(70_000), threading.Lock(), *range(30_000)])


def test_unpicklable_attribute_is_named():
    with pytest.raises(errors.ArgumentNotPicklable, match=r"`\.handle`"):
        pickling.dump_argument_fallback(types.SimpleNamespace(handle=threading.Lock()))


def test_unpicklable_global_of_a_script_function_is_named():
    namespace = {"a": (number for number in numbers)}
    exec("def function(): return a", namespace)
    with pytest.raises(errors.ArgumentNotPicklable, match="`function` at its global `a`, a `generator`"):
        dump_function(namespace["function"])


def test_unpicklable_result_tells_where(worker):
    with pytest.raises(errors.ResultNotPicklable, match=r"cannot pickle the result at `\['list'\]`, `\[1\]`, a `tasks"):
        worker.call(tasks.unpicklable_result)


# -- failures ----------------------------------------------------------------------------------------------------------


def carry(error):
    return pickling.unpack_exception(pickling.pack_exception(error))


def test_exception_comes_with_its_type_and_the_remote_traceback(worker):
    with pytest.raises(ValueError, match=r"^no$") as caught:
        worker.call(tasks.fail, "no")
    assert type(caught.value) is ValueError
    text = str(caught.value.__cause__)
    assert text.startswith('\n"""\nTraceback (most recent call last):\n')
    assert "raise ValueError(message)" in text
    assert text.endswith('ValueError: no\n"""')


def test_exception_whose_init_takes_other_arguments_keeps_its_type_and_attributes():
    error = carry(tasks.TwoArguments(1, 2))
    assert type(error) is tasks.TwoArguments
    assert (error.left, error.right, str(error)) == (1, 2, "1 and 2")


def test_exception_with_a_lock_is_described():
    error = carry(tasks.HoldsLock("held"))
    assert type(error) is errors.RemoteError
    assert error.type_name == "tasks.HoldsLock"
    assert error.message == "held"
    assert "cannot pickle '_thread.lock' object" in error.reason


def test_exception_that_cannot_be_rebuilt_is_described():
    error = carry(tasks.BreaksWhenRebuilt("gone"))
    assert type(error) is errors.RemoteError
    assert error.message == "gone"
    assert "rebuilding it raised OSError: rebuilding is not to be had" in error.reason


def test_exception_that_cannot_even_be_shown_is_described():
    class Hopeless(Exception):
        def __str__(self):
            raise RuntimeError

        def __reduce__(self):
            raise RuntimeError

    assert carry(Hopeless()).type_name.endswith("Hopeless")


def test_notes_groups_and_causes_survive(worker):
    with pytest.raises(ValueError, match="noted") as caught:
        worker.call(tasks.raise_with_note)
    assert caught.value.__notes__ == ["a note from the worker"]
    with pytest.raises(ExceptionGroup) as group:
        worker.call(tasks.raise_group)
    assert [type(error) for error in group.value.exceptions] == [ValueError, KeyError]
    with pytest.raises(RuntimeError, match="outer") as outer:
        worker.call(tasks.raise_from)
    assert "ValueError: inner" in str(outer.value.__cause__)
    assert "direct cause" in str(outer.value.__cause__)


def test_frozen_exception_still_gets_its_cause():
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    error = carry(Frozen(3))
    assert error.code == 3
    assert isinstance(error.__cause__, errors.RemoteTraceback)


def test_unreadable_bytes_are_an_internal_error():
    assert isinstance(pickling.unpack_exception(b"nonsense"), errors.InternalError)
